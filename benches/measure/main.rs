//! Measures the programs as they are used: starts the real server, client and daemon between doubles of 1Password Connect
//! and Telegram, and prints a table, with what this machine could do at best beside it.
//!
//! ```text
//! cargo build --release --bins && cargo run --release -p secret-gate-benches --bin measure [-- --json FILE] [NAME…]
//! ```
//!
//! NAME leaves out all parts but those: starts, approvals, search, daemon, memory, load, redaction. All talk is over
//! loopback. Rates come from `wrk` (Debian: wrk); where it is missing they are left out, and said to be.

mod approvals;
mod daemon;
mod figures;
mod load;
mod memory;
mod raw;
mod redaction;
mod search;
mod stage;
mod starts;

use std::process::ExitCode;

use crate::figures::Figure;

/// What went wrong ends the run, so it need only be told.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["constant"] {
        return ended(load::serve_a_constant().await);
    }
    let mut file = None;
    if let Some(at) = args.iter().position(|arg| arg == "--json") {
        file = args.drain(at..(at + 2).min(args.len())).nth(1);
    }
    ended(measure(&args, file).await)
}
fn ended(outcome: Outcome<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
async fn measure(parts: &[String], file: Option<String>) -> Outcome<()> {
    let known = ["starts", "approvals", "search", "daemon", "memory", "load", "redaction"];
    if let Some(odd) = parts.iter().find(|part| !known.contains(&part.as_str())) {
        return Err(format!("{odd} is none of {}", known.join(", ")).into());
    }
    let mut figures: Vec<Figure> = Vec::new();
    for part in known.into_iter().filter(|part| parts.is_empty() || parts.iter().any(|named| named == part)) {
        eprintln!("measuring: {part}");
        figures.extend(match part {
            "starts" => starts::measure().await?,
            "approvals" => approvals::measure().await?,
            "search" => search::measure().await?,
            "daemon" => daemon::measure().await?,
            "memory" => memory::measure().await?,
            "load" => load::measure().await?,
            _ => redaction::measure()?,
        });
    }
    print!("{}", figures::table(&figures));
    if let Some(file) = file {
        std::fs::write(file, figures::document(&figures).to_string())?;
    }
    Ok(())
}
