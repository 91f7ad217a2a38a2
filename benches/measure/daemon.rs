//! What an approval that is held costs per use: over the CLI, over MCP, and the daemon's bare round trip.

use std::process::Stdio;
use std::time::Instant;

use secret_gate_core::daemon::{Answer, Event, SocketPath, Verb, call};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::Outcome;
use crate::figures::{Figure, times};
use crate::stage::{Stage, program};

const SAMPLES: usize = 100;

/// The first thing that an MCP client says.
pub(crate) const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","#,
    r#""capabilities":{},"clientInfo":{"name":"measure","version":"0"}}}"#,
    "\n"
);

pub(crate) async fn measure() -> Outcome<Vec<Figure>> {
    let stage = Stage::start().await?;
    let client = program("secret-gate")?;
    let exec = || {
        let mut command = stage.client(&client);
        command.args([
            "exec",
            "--any",
            "--secret",
            "db",
            "--env",
            "P=password",
            "--reason",
            "measure",
            "--",
            "/bin/true",
        ]);
        command.stderr(Stdio::null());
        command
    };
    let mut first = exec();
    let (first, _) = tokio::try_join!(async { Outcome::Ok(first.status().await?) }, stage.approve_after(0))?;
    if !first.success() {
        return Err("exec failed".into());
    }
    let shell = times(SAMPLES, || async {
        Command::new("/bin/sh").args(["-c", "/bin/true"]).status().await?;
        Ok(())
    });
    let shell = Figure::ms("sh -c /bin/true", &shell.await?);
    let cli = times(SAMPLES, || {
        let mut command = exec();
        async move {
            let status = command.status().await?;
            if status.success() { Ok(()) } else { Err("exec failed".into()) }
        }
    });
    let cli = Figure::ms("cached exec over the CLI", &cli.await?).target(shell.median() + 5.0);
    let cli = cli.floor(shell.median(), "sh -c /bin/true");

    let place = SocketPath::at(stage.socket())?;
    let round_trip = times(1_000, || async {
        let mut answers = call(place.connect().await?, Verb::Status).await?;
        match answers.next().await? {
            Some(Answer::Event(event)) if matches!(*event, Event::Status(_)) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    });
    let round_trip = Figure::ms("daemon: one verb, with its connection", &round_trip.await?).target(0.1);
    let mut figures = vec![cli, round_trip];
    if let Ok(mcp) = program("secret-gate-mcp") {
        let mcp = over_mcp(&stage, &mcp).await?;
        figures
            .push(Figure::ms("cached exec over MCP", &mcp).target(shell.median() + 1.0).floor(shell.median(), "sh -c"));
    }
    figures.insert(0, shell);
    stage.stop_daemon().await?;
    Ok(figures)
}

async fn over_mcp(stage: &Stage, program: &std::path::Path) -> Outcome<Vec<std::time::Duration>> {
    let mut child = stage.client(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut session = Session {
        stdin: child.stdin.take().ok_or("no standard input")?,
        lines: BufReader::new(child.stdout.take().ok_or("no standard output")?).lines(),
    };
    session.say(INITIALIZE).await?;
    session.answer().await?;
    session.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n").await?;
    let exec = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "exec_with_secret",
        "arguments": {"secret_name": "db", "field": "password", "env_var": "P", "command": "/bin/true"}}});
    let exec = format!("{exec}\n");
    let mut took = Vec::new();
    for _ in 0..=SAMPLES {
        let start = Instant::now();
        session.say(&exec).await?;
        let answer = session.answer().await?;
        took.push(start.elapsed());
        if answer.pointer("/result/structuredContent/exit_code") != Some(&json!(0)) {
            return Err(format!("exec over MCP: {answer}").into());
        }
    }
    drop(session);
    child.wait().await?;
    Ok(took.split_off(1))
}

struct Session {
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Session {
    async fn say(&mut self, text: &str) -> Outcome<()> {
        Ok(self.stdin.write_all(text.as_bytes()).await?)
    }

    async fn answer(&mut self) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.lines.next_line().await?.ok_or("the MCP server has ended")?)?)
    }
}
