//! From the tap on the phone to the value: what the human waits for.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Outcome;
use crate::figures::Figure;
use crate::raw::Connection;
use crate::stage::{ANN, Stage, program};

const SAMPLES: usize = 100;

pub(crate) async fn measure() -> Outcome<Vec<Figure>> {
    let stage = Stage::start().await?;
    let (mut values, mut exits, mut commands) = (Vec::new(), Vec::new(), Vec::new());
    let mut loopback = Vec::new();
    let mut connection = Connection::open(&stage.server.url).await?;
    for _ in 0..SAMPLES {
        let start = Instant::now();
        connection.get("/health").await?;
        loopback.push(start.elapsed());
    }
    let loopback = Figure::ms("one /health over an open connection", &loopback);
    for _ in 0..SAMPLES {
        values.push(value(&stage, &mut connection).await?);
    }
    for _ in 0..SAMPLES / 2 {
        exits.push(exit(&stage).await?);
        stage.stop_daemon().await?;
    }
    for _ in 0..SAMPLES / 2 {
        commands.push(command(&stage).await?);
        stage.stop_daemon().await?;
    }
    let floor = loopback.median();
    Ok(vec![
        loopback,
        Figure::ms("tap to released value", &values).target(20.0).floor(3.0 * floor, "three calls of /health"),
        Figure::ms("tap to the end of the client, default flags", &exits).target(50.0),
        Figure::ms("tap to the start of the command (exec)", &commands).target(50.0),
    ])
}

/// Waits at `/status?wait=`, then fetches.
async fn value(stage: &Stage, connection: &mut Connection) -> Outcome<Duration> {
    let last = stage.last_message();
    let asked = stage.post("/request", &json!({"secret_name": "db"})).await?;
    let token = asked.get("token").and_then(Value::as_str).ok_or("no token")?.to_owned();
    let message = stage.telegram.wait_message(|message| message.message_id > last).await?;
    let status = format!("/status/{token}?wait=30s");
    let press = async {
        // the wait is taken in by the time this is answered
        stage.get("/health").await?;
        Outcome::Ok(stage.telegram.press(message.message_id, "Approve", ANN).await?)
    };
    let fetch = async {
        let status = connection.get(&status).await?;
        if !status.contains("\"approved\"") {
            return Err(status.into());
        }
        let value = connection.get(&format!("/secret/{token}")).await?;
        if !value.contains("correct-horse-battery") {
            return Err(value.into());
        }
        Outcome::Ok(Instant::now())
    };
    let (press, arrived) = tokio::try_join!(press, fetch)?;
    let delivered = stage.telegram.wait_delivered(&press).await?;
    Ok(arrived.saturating_duration_since(delivered))
}

/// The client as older scripts call it.
async fn exit(stage: &Stage) -> Outcome<Duration> {
    let last = stage.last_message();
    let mut client = stage.client(&program("secret-gate")?);
    let client = client.args(["--secret", "db", "--reason", "measure"]).stdout(Stdio::piped());
    let client = async { Outcome::Ok((succeeded(client.output().await?)?, Instant::now())) };
    let ((output, ended), tapped) = tokio::try_join!(client, stage.approve_after(last))?;
    if output.stdout != b"correct-horse-battery\n" {
        return Err("the client did not print the value".into());
    }
    Ok(ended.saturating_duration_since(tapped))
}

/// A command that says when it started.
async fn command(stage: &Stage) -> Outcome<Duration> {
    let last = stage.last_message();
    let mut client = stage.client(&program("secret-gate")?);
    let args = ["exec", "--any", "--secret", "db", "--env", "P=password", "--reason", "measure", "--", "date", "+%s%N"];
    let client = client.args(args).stdout(Stdio::piped());
    let tapped = async {
        let tapped = stage.approve_after(last).await?;
        Outcome::Ok(SystemTime::now() - tapped.elapsed())
    };
    let client = async { succeeded(client.output().await?) };
    let (output, tapped) = tokio::try_join!(client, tapped)?;
    let started: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok((UNIX_EPOCH + Duration::from_nanos(started)).duration_since(tapped).unwrap_or_default())
}

fn succeeded(output: Output) -> Outcome<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}
