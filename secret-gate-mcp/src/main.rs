//! `secret-gate-mcp`: the MCP server on standard input and output.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use secret_gate_core::daemon::{Config, harden_process, serve_here};
use secret_gate_core::parse_duration;
use secret_gate_mcp::{Options, serve_stdio};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is given back: this program can be the daemon, which holds values.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Serve MCP clients on standard input and output: agents use secrets that they do not see.
#[derive(Debug, Parser)]
#[command(name = "secret-gate-mcp", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// How long request_secret waits for the human before it answers "pending" [default: 45s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// How long a question stays open whose call was cancelled, in case the call is made again [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What this program is started as where no daemon runs
    #[command(subcommand, hide = true)]
    Daemon(Daemon),
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Daemon {
    /// Be the daemon
    Serve,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = std::iter::successors(error.source(), |cause| cause.source());
            tell(&causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let is_daemon = cli.command.is_some();
    if is_daemon {
        harden_process()?;
    }
    // what a client says wrongly is answered, and that it has gone concerns nobody
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,rmcp=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        if is_daemon {
            return be_daemon().await;
        }
        let mut options = Options::default();
        options.wait = cli.wait.unwrap_or(options.wait);
        options.grace = cli.grace.unwrap_or(options.grace);
        Ok(serve_stdio(options).await?)
    });
    // a read of standard input that is pending must not hold up the end
    runtime.shutdown_background();
    ended
}

async fn be_daemon() -> Result<(), Failure> {
    let config = Config::read(&Config::path().unwrap_or_default())?;
    let [mut hangup, mut interrupt, mut terminate] =
        [signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let stop = async move {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Ok(serve_here(&config, stop).await?)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| format!("{text:?} is not a duration; write it like 90s or 5m"))
}

#[expect(clippy::print_stderr, reason = "the one place where this program speaks for itself")]
fn tell(text: &str) {
    eprintln!("error: {text}");
}
