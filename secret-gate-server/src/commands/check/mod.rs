//! `check`: whether all that the server needs is there and works.
//!
//! `connect` looks at 1Password Connect, `telegram` at the bot and its chat, `local` at files and the clock, `base_url`
//! at the way back to this server. All at the same time; what was found is printed in one order.

mod base_url;
mod connect;
pub(super) mod http;
mod local;
mod telegram;

use std::time::Duration;

use clap::{Args, ValueEnum};
use secret_gate_server::config::Config;
use secret_gate_server::logging::LogFormat;
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use super::failure::{self, Exit, Failure};
use super::print::{self, GREEN, RED, RESET, YELLOW};

/// The longest that anything is waited for.
const LIMIT: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  secret-gate-server check                  with the environment that the server would get
  secret-gate-server check --format json    an array of {check, state, detail, hint}

Asks nobody, reads no secret, polls nothing: it can be run beside a server that serves. Where none
runs, it listens on PORT itself for a moment, 3 s at most, to see whether WEBHOOK_BASE_URL leads
here; a server that is started in this moment can't.

Exit codes: 0 nothing FAILs, 1 something does, 2 usage.";

/// See whether all that the server needs is there and works.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each check, and one with what to do
    Text,
    /// An array of {check, state, detail, hint}
    Json,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    detail: String,
    /// What to do; nothing where all is well.
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Warn,
    Fail,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Ok, detail: detail.into(), hint: None }
    }

    fn warn(check: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, state: State::Warn, detail: detail.into(), hint: Some(hint.into()) }
    }

    fn fail(check: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { check, state: State::Fail, detail: detail.into(), hint: Some(hint.into()) }
    }

    fn failure(check: &'static str, failure: impl Into<Failure>) -> Self {
        let failure = failure.into();
        Self::fail(check, failure.what, failure.hint)
    }
}

impl Check {
    pub(super) async fn run(self) -> Result<Exit, Failure> {
        let findings = match configuration() {
            Ok((config, all_well)) => {
                let mut findings = vec![all_well];
                findings.extend(look(&config).await);
                findings
            }
            Err(problems) => problems,
        };
        print(&findings, self.format)?;
        let fails = findings.iter().any(|finding| finding.state == State::Fail);
        Ok(if fails { Exit::Failed } else { Exit::Done })
    }
}

/// Reads what the server would, and tells of every problem with it.
fn configuration() -> Result<(Config, Finding), Vec<Finding>> {
    let mut problems = Vec::new();
    if let Err(problem) = LogFormat::from_env() {
        problems.push(problem);
    }
    if EnvFilter::builder().from_env().is_err() {
        problems.push("RUST_LOG is malformed; write RUST_LOG=info, or another level".to_owned());
    }
    let config = Config::from_env();
    if let Err(error) = &config {
        problems.extend(error.to_string().lines().map(str::to_owned));
    }
    match config {
        Ok(config) if problems.is_empty() => {
            Ok((config, Finding::ok("configuration", "every variable can be understood")))
        }
        _ => Err(problems
            .iter()
            .map(|line| {
                let (what, hint) = failure::problem(line);
                Finding::fail("configuration", what, hint)
            })
            .collect()),
    }
}

async fn look(config: &Config) -> Vec<Finding> {
    let ((connect, connect_time), telegram, telegram_time, base_url) =
        tokio::join!(connect::look(config), telegram::look(config), telegram::time(config), base_url::look(config),);
    let mut findings = connect;
    findings.extend(telegram);
    findings.push(local::api_keys(config));
    findings.push(local::audit_log(config));
    findings.push(local::clock(&[("1Password Connect", connect_time), ("Telegram", telegram_time)]));
    findings.push(base_url);
    findings
}

fn print(findings: &[Finding], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        let json = serde_json::to_string_pretty(findings).map_err(|error| {
            Failure::new(format!("what was found can't be written: {error}"), "try without --format")
        })?;
        return print::data(&json);
    }
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for Finding { check, state, detail, hint } in findings {
        let (colour, word) = match state {
            State::Ok => (GREEN, "ok  "),
            State::Warn => (YELLOW, "warn"),
            State::Fail => (RED, "FAIL"),
        };
        print::data(&format!("{colour}{word}{RESET}  {check:width$}  {detail}"))?;
        if let Some(hint) = hint {
            print::data(&format!("      {hint}"))?;
        }
    }
    Ok(())
}

/// A count and its noun.
fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}
