//! `audit`: the audit log.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use secret_gate_core::audit::{self, AuditAnchor, Verified, VerifyError};

use super::failure::Failure;
use super::print;

const VERIFY_EXAMPLES: &str = "\
Examples:
  secret-gate-server audit verify                               the file that AUDIT_LOG names
  secret-gate-server audit verify --at 4711:3f2a91c04b7d6e55    against what a message on the phone says
  secret-gate-server audit verify old.jsonl audit.jsonl         in parts, oldest first

By itself the log shows what was changed, removed, added or moved within it. That its end was cut
off, or that all of it was written anew, shows only against what somebody else remembers: each
approval message ends with the place of its line. Take several, the latest ones above all.
Files that were set aside by `audit rotate` are found by themselves.";

const ROTATE_EXAMPLES: &str = "\
Example:
  secret-gate-server audit rotate    audit.jsonl becomes audit.jsonl.1-4711, and a new one goes on

A running server goes on in the new file. The chain goes on through both: keep the old one as long
as the log is to be verified from its beginning.";

/// The audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// See whether the log is whole: nothing changed, removed, added or moved
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Set the file aside and begin a new one that continues it
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(Rotate),
}

/// A log to look at.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The files of the log, oldest first
    #[arg(value_name = "FILE", env = "AUDIT_LOG", required = true)]
    files: Vec<PathBuf>,
    /// A line that must be there as it was: its number and the beginning of its hash, as messages show it; repeatable
    #[arg(long, value_name = "N:HASH")]
    at: Vec<AuditAnchor>,
}

/// A file to set aside.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The file of the log
    #[arg(value_name = "FILE", env = "AUDIT_LOG", required = true)]
    file: PathBuf,
}

impl Audit {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run(),
            Self::Rotate(rotate) => rotate.run(),
        }
    }
}

impl Verify {
    fn run(self) -> Result<(), Failure> {
        let Self { files, at } = self;
        let Verified { files, lines, last, notes, .. } = audit::verify(&files, &at).map_err(failure)?;
        for note in notes {
            print::note(&format!("note: {note}"));
        }
        let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        let Some(last) = last else { return print::data(&format!("whole: no lines yet, in {}", names.join(", "))) };
        let against = match at.len() {
            0 => String::new(),
            1 => ", as one message says".to_owned(),
            count => format!(", as {count} messages say"),
        };
        print::data(&format!("whole{against}: {lines} lines, the last {last}, in {}", names.join(", ")))
    }
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let Self { file } = self;
        let set_aside = audit::rotate(&file).map_err(|error| {
            let hint = "name the file that AUDIT_LOG of the server names, as the user that the server runs as";
            Failure::new(format!("{} can't be set aside: {error}", file.display()), hint)
        })?;
        match set_aside {
            Some(path) => print::data(&path.display().to_string()),
            None => {
                print::note("nothing was written since the last time; nothing to set aside");
                Ok(())
            }
        }
    }
}

fn failure(error: VerifyError) -> Failure {
    match error {
        VerifyError::NotWhole { findings } => {
            let findings: Vec<_> = findings.iter().map(|finding| format!("\n  {finding}")).collect();
            let hint = "compare with a copy of the log, and with what the messages in the chat say";
            Failure::new(format!("the audit log is not whole:{}", findings.concat()), hint)
        }
        error => Failure::new(
            secret_gate_server::logging::chain(&error),
            "name the file that AUDIT_LOG of the server names, as a user who may read it",
        ),
    }
}
