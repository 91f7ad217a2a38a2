//! Resident memory.

use std::process::Stdio;

use secret_gate_core::Use;
use secret_gate_core::daemon::{Answer, Event, SocketPath, Verb, Wish, call};
use secret_gate_core::wire::WantedSecret;
use serde_json::{Value, json};

use crate::Outcome;
use crate::figures::Figure;
use crate::stage::{Stage, login, program, resident};

const PENDING: usize = 10_000;
const GRANTS: usize = 1_000;

pub(crate) async fn measure() -> Outcome<Vec<Figure>> {
    let stage = Stage::start().await?;
    let server = stage.server.pid()?;
    let idle = resident(server)?;
    for _ in 0..PENDING {
        stage.post("/request", &json!({"secret_name": "db"})).await?;
    }
    let pending = resident(server)?;

    let stage = Stage::start().await?;
    let daemon = daemon(&stage).await?;
    let daemon_idle = resident(daemon)?;
    hold(&stage).await?;
    let holding = resident(daemon)?;
    stage.stop_daemon().await?;
    Ok(vec![
        Figure::new("server, idle", "MB", [idle]).target(10.0),
        Figure::new("server, 10,000 pending", "MB", [pending]).target(22.0),
        Figure::new("daemon, idle", "MB", [daemon_idle]).target(10.0),
        Figure::new("daemon, 1,000 grants", "MB", [holding]).target(10.0),
    ])
}

/// Starts the daemon; returns its process.
async fn daemon(stage: &Stage) -> Outcome<u32> {
    stage.client(&program("secret-gate")?).args(["daemon", "start"]).stderr(Stdio::null()).status().await?;
    let place = SocketPath::at(stage.socket())?;
    match call(place.connect().await?, Verb::Status).await?.next().await? {
        Some(Answer::Event(event)) => match *event {
            Event::Status(status) => Ok(status.pid),
            other => Err(format!("{other:?}").into()),
        },
        other => Err(format!("{other:?}").into()),
    }
}

/// Has the daemon hold so many grants, of an item each.
async fn hold(stage: &Stage) -> Outcome<()> {
    for number in 0..GRANTS {
        stage.connect.add_item(&stage.vault, login(&format!("secret-{number:04}")));
    }
    let place = SocketPath::at(stage.socket())?;
    for number in 0..GRANTS {
        let last = stage.last_message();
        let secret = WantedSecret { secret_name: format!("secret-{number:04}"), vault: None, fields: None };
        let wish = Wish {
            server: stage.server.url.clone(),
            secrets: vec![secret],
            intended_use: Use::any_command(),
            duration: Some("1h".to_owned()),
            ..Wish::default()
        };
        let mut answers = call(place.connect().await?, Verb::Request(wish)).await?;
        let granted = async {
            loop {
                match answers.next().await? {
                    Some(Answer::Event(event)) => match *event {
                        Event::Asked { .. } => {}
                        Event::Granted(_) => return Outcome::Ok(()),
                        other => return Err(format!("{other:?}").into()),
                    },
                    other => return Err(format!("{other:?}").into()),
                }
            }
        };
        tokio::try_join!(granted, stage.approve_after(last))?;
    }
    let held = stage.client(&program("secret-gate")?).args(["grants", "--format", "json"]).output().await?;
    let held: Value = serde_json::from_slice(&held.stdout)?;
    match held.as_array().map(Vec::len) {
        Some(GRANTS) => Ok(()),
        other => Err(format!("the daemon holds {other:?} grants").into()),
    }
}
