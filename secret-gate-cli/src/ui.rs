//! The one file that prints.
//!
//! Rules: standard output is data alone, so that it can be piped; everything else goes to standard error, lower case
//! and without a full stop. A failure is two lines: what happened, then `hint:` what to do. Text that comes from
//! elsewhere is shown with its control and direction characters spelled out, except a secret's value, which is data.
//! Colours, and lines that rewrite themselves, only on a terminal, and colours not where `NO_COLOR` is set.

use std::fmt::Display;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) const RED: &str = "\x1b[1;31m";
pub(crate) const GREEN: &str = "\x1b[1;32m";
pub(crate) const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[1;36m";
pub(crate) const BOLD: &str = "\x1b[1m";
pub(crate) const DIM: &str = "\x1b[2m";
pub(crate) const RESET: &str = "\x1b[0m";
/// Back to the start of the line, and empty it.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// Where the program talks to the user.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    rewrites_lines: bool,
}

impl Ui {
    pub(crate) fn new() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { rewrites_lines: io::stderr().is_terminal() && !dumb }
    }

    /// Writes data to standard output.
    pub(crate) fn data(&self, data: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(data).and_then(|()| out.flush()).map_err(|error| unwritable(&error))
    }

    /// Passes on what a command writes to standard error.
    pub(crate) fn error_output(&self, output: &[u8]) {
        let mut err = io::stderr().lock();
        err.write_all(output).and_then(|()| err.flush()).ok();
    }

    /// Writes a line of the program's own words to standard output, where they are what was asked for.
    pub(crate) fn tell(&self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| unwritable(&error))
    }

    /// Tells what failed and how the program ends. That nobody reads on is not told: other programs say nothing, either.
    pub(crate) fn failure(&self, failure: &Failure) -> Exit {
        if failure.exit == Exit::PipeClosed {
            return failure.exit;
        }
        self.line(format_args!("{RED}error:{RESET} {}", visible(&failure.what)));
        if let Some(hint) = &failure.hint {
            self.line(format_args!("{CYAN}hint:{RESET} {}", visible(hint)));
        }
        failure.exit
    }

    /// Tells what the user should know although the work goes on.
    pub(crate) fn warning(&self, text: &str) {
        self.line(format_args!("{YELLOW}warning:{RESET} {}", visible(text)));
    }

    /// Tells something in passing.
    pub(crate) fn note(&self, text: &str) {
        self.line(format_args!("{}", visible(text)));
    }

    /// Prints the help or version that was asked for, or what is wrong with the command line.
    pub(crate) fn command_line(&self, answer: &clap::Error) -> Exit {
        // nobody is left to tell where even this can't be written
        answer.print().ok();
        if answer.use_stderr() { Exit::Usage } else { Exit::Done }
    }

    /// Does `work` while showing what is waited for and how to end that: on a terminal as a line at the start and one
    /// that counts the time, else as a line at the start and one every 30 seconds.
    pub(crate) async fn waiting<T>(&self, what: &str, way_out: &str, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let step = Duration::from_secs(if self.rewrites_lines { 1 } else { 30 });
        let mut ticks = interval_at(started + step, step);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        if self.rewrites_lines {
            self.note(&format!("waiting for {what}; {way_out}"));
        }
        self.show_wait(what, Duration::ZERO);
        let mut work = pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => {
                    if self.rewrites_lines {
                        self.write(CLEAR_LINE);
                    }
                    return outcome;
                }
                _ = ticks.tick() => self.show_wait(what, started.elapsed()),
            }
        }
    }

    fn show_wait(&self, what: &str, elapsed: Duration) {
        let elapsed = humantime::format_duration(Duration::from_secs(elapsed.as_secs()));
        if self.rewrites_lines {
            // a line that wraps can't be rewritten, so nothing of variable length is in it
            self.write(&format!("{CLEAR_LINE}waiting … {elapsed}"));
        } else {
            self.line(format_args!("waiting for {} ({elapsed})", visible(what)));
        }
    }

    /// A line whose colours are left out where nobody would see them.
    fn line(&self, text: impl Display) {
        writeln!(anstream::stderr(), "{text}").ok();
    }

    /// Text for a terminal that is known to understand it.
    fn write(&self, text: &str) {
        let mut terminal = io::stderr().lock();
        terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush()).ok();
    }
}

fn unwritable(error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::BrokenPipe { Exit::PipeClosed } else { Exit::Failed };
    Failure::new(exit, format!("can't write to standard output: {error}"))
}

/// The text with characters that move the cursor, hide or turn text around spelled out.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        if c.is_control() || hidden { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_out_what_could_deceive() {
        assert_eq!(visible("pläin “text” 🔑"), "pläin “text” 🔑");
        assert_eq!(visible("a\x1b[2Kb\r\nc\u{202e}d\u{200b}"), "a\\u{1b}[2Kb\\r\\nc\\u{202e}d\\u{200b}");
    }
}
