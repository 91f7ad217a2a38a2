//! Rates, as `wrk` finds them with 32 connections.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::Outcome;
use crate::figures::Figure;
use crate::stage::Stage;

const SECONDS: &str = "5s";

/// Answers every call with the same bytes, by the same HTTP library, on a port that it prints.
pub(crate) async fn serve_a_constant() -> Outcome<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(async || {
        (
            [("content-type", "application/json"), ("cache-control", "no-store")],
            "{\"status\":\"pending\",\"message\":\"\"}",
        )
    });
    Ok(axum::serve(listener, app).await?)
}
pub(crate) async fn measure() -> Outcome<Vec<Figure>> {
    if Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await.is_err() {
        eprintln!("LEFT OUT: rates, since wrk is missing (Debian: wrk)");
        return Ok(Vec::new());
    }
    let stage = Stage::start().await?;
    let mut constant = Command::new(std::env::current_exe()?);
    let mut constant = constant.arg("constant").stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut url = String::new();
    let mut stdout = tokio::io::BufReader::new(constant.stdout.take().ok_or("no standard output")?);
    tokio::io::AsyncBufReadExt::read_line(&mut stdout, &mut url).await?;
    let bare = wrk(&format!("{}/", url.trim()), None).await?;
    constant.kill().await?;

    let asked = stage.post("/request", &json!({"secret_name": "db"})).await?;
    let token = asked.get("token").and_then(Value::as_str).ok_or("no token")?;
    let status = wrk(&format!("{}/status/{token}", stage.server.url), None).await?;

    let folder = tempfile::tempdir()?;
    let script = |name: &str, body: &Value| {
        let path = folder.path().join(name);
        let text = format!(
            "wrk.method = \"POST\"\nwrk.body = '{body}'\nwrk.headers[\"Content-Type\"] = \"application/json\"\n"
        );
        std::fs::write(&path, text).map(|()| path)
    };
    let ask = script("ask.lua", &json!({"secret_name": "db"}))?;
    let send = script("send.lua", &json!({"chat_id": crate::stage::ANN, "text": "a question"}))?;
    // what the double takes by itself; each in a world of its own, since it keeps all messages
    let other = Stage::start().await?;
    let telegram = format!("{}/bot{}/SendMessage", other.telegram.url(), other.telegram.token());
    let double = wrk(&telegram, Some(&send)).await?;
    drop(other);
    let request = wrk(&format!("{}/request", stage.server.url), Some(&ask)).await?;
    Ok(vec![
        Figure::new("/status under load", "1/s", [status])
            .target(45_000.0)
            .floor(bare, "a handler that returns a constant"),
        Figure::new("/request under load", "1/s", [request]).floor(double, "sendMessage of the double alone"),
    ])
}

/// Requests a second; an error where answers were none of success.
async fn wrk(url: &str, script: Option<&std::path::Path>) -> Outcome<f64> {
    let mut command = Command::new("wrk");
    command.args(["-t2", "-c32", &format!("-d{SECONDS}")]);
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    let output = tokio::time::timeout(Duration::from_secs(60), command.arg(url).output()).await??;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") {
        return Err(format!("{url}: {text}").into());
    }
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).ok_or("wrk tells no rate")?;
    Ok(line.trim().parse()?)
}
