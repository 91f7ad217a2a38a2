//! How long programs take to start, and how big they are.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use crate::Outcome;
use crate::figures::{Figure, times};
use crate::stage::{Stage, program, serve};

const SAMPLES: usize = 50;

pub(crate) async fn measure() -> Outcome<Vec<Figure>> {
    let stage = Stage::start().await?;
    let (client, server) = (program("secret-gate")?, program("secret-gate-server")?);
    let ended = |path: &Path, args: &[&str]| {
        let mut command = Command::new(path);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        async move {
            command.status().await?;
            Ok(())
        }
    };
    let nothing = Figure::ms("/bin/true", &times(SAMPLES, || ended(Path::new("/bin/true"), &[])).await?);
    let version = Figure::ms("client --version", &times(SAMPLES, || ended(&client, &["--version"])).await?)
        .target(nothing.median() + 2.0)
        .floor(nothing.median(), "/bin/true");

    let mut health = Vec::new();
    for _ in 0..SAMPLES {
        health.push(serve(&stage.connect, &stage.telegram).await?.started_in);
    }
    let health = Figure::ms("server: start to first /health", &health).target(6.0).floor(nothing.median(), "/bin/true");

    let mut daemons = Vec::new();
    for _ in 0..SAMPLES {
        let start = Instant::now();
        stage.client(&client).args(["daemon", "start"]).stderr(Stdio::null()).status().await?;
        daemons.push(start.elapsed());
        stage.stop_daemon().await?;
    }
    let daemons = Figure::ms("client: start of the daemon", &daemons).floor(nothing.median(), "/bin/true");

    let mut figures = vec![nothing, version, health, daemons];
    if let Ok(mcp) = program("secret-gate-mcp") {
        let initialize = times(SAMPLES, || initialize(&stage, &mcp)).await?;
        figures.push(Figure::ms("MCP: start to the answer of initialize", &initialize).target(7.0));
    }
    for (name, path) in [("size of secret-gate-server", &server), ("size of secret-gate", &client)] {
        let size = std::fs::metadata(path)?.len() as f64 / 1e6;
        figures.push(Figure::new(name, "MB", [size]).target(8.0));
    }
    Ok(figures)
}

async fn initialize(stage: &Stage, program: &Path) -> Outcome<()> {
    let mut child = stage.client(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
    stdin.write_all(crate::daemon::INITIALIZE.as_bytes()).await?;
    lines.next_line().await?.ok_or("no answer to initialize")?;
    drop(stdin);
    child.wait().await?;
    Ok(())
}
