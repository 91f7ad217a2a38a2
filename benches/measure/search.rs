//! Looking for a name in twenty vaults of five hundred items.

use std::time::{Duration, Instant};

use secret_gate_doubles::ConnectDouble;

use crate::Outcome;
use crate::figures::Figure;
use crate::raw::Connection;
use crate::stage::{Stage, login, serve};

const SAMPLES: usize = 100;
const BODY: &str = r#"{"query":"item-250"}"#;

pub(crate) async fn measure() -> Outcome<Vec<Figure>> {
    let stage = Stage::start().await?;
    fill(&stage.connect);
    let server = serve(&stage.connect, &stage.telegram).await?;
    let mut connection = Connection::open(&server.url).await?;
    connection.post("/search", BODY).await?;
    stage.connect.clear_calls();
    let mut warm = Vec::new();
    for _ in 0..SAMPLES {
        let start = Instant::now();
        connection.post("/search", BODY).await?;
        warm.push(start.elapsed());
    }
    let calls = stage.connect.calls().len();

    stage.connect.faults().latency(Duration::from_millis(20));
    let (mut cold, mut cold_calls) = (Vec::new(), 0);
    for _ in 0..10 {
        let server = serve(&stage.connect, &stage.telegram).await?;
        let mut connection = Connection::open(&server.url).await?;
        stage.connect.clear_calls();
        let start = Instant::now();
        connection.post("/search", BODY).await?;
        cold.push(start.elapsed());
        cold_calls = stage.connect.calls().len();
    }
    let count = |name, calls: usize, target: f64| Figure::new(name, "calls", [calls as f64]).target(target);
    Ok(vec![
        Figure::ms("warm search, 20 vaults of 500 items", &warm).target(2.0),
        count("upstream calls of all warm searches", calls, 0.0),
        Figure::ms("cold search, upstream 20 ms away", &cold)
            .target(100.0)
            .floor(40.0, "two calls, one after the other"),
        count("upstream calls of a cold search", cold_calls, 22.0),
    ])
}

fn fill(connect: &ConnectDouble) {
    for vault in 0..20 {
        let vault = connect.add_vault("", &format!("vault-{vault}"));
        for item in 0..500 {
            connect.add_item(&vault, login(&format!("item-{item} of {vault}")));
        }
    }
}
