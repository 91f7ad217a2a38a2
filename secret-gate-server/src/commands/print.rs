//! The one file of the commands that prints.
//!
//! Rules: standard output is data alone; everything else goes to standard error. A failure is two lines: what happened,
//! then `hint:` what to do. Colours only on a terminal, and not where `NO_COLOR` is set.

use std::io::Write as _;
use std::process::ExitCode;

use super::failure::{Exit, Failure};

pub(super) const RED: &str = "\x1b[1;31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[1;36m";
pub(super) const RESET: &str = "\x1b[0m";

/// Writes a line of data.
pub(super) fn data(line: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| {
        Failure::new(format!("can't write to standard output: {error}"), "check where it leads, and try again")
    })
}

/// Tells something beside the data.
pub(super) fn note(text: &str) {
    writeln!(anstream::stderr(), "{text}").ok();
}

/// Tells what failed.
pub(super) fn failure(failure: &Failure) -> ExitCode {
    note(&format!("{RED}error:{RESET} {}\n{CYAN}hint:{RESET} {}", failure.what, failure.hint));
    exit(failure.exit)
}

pub(super) fn exit(exit: Exit) -> ExitCode {
    ExitCode::from(exit as u8)
}
