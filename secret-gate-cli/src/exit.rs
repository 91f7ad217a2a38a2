//! Exit codes: what a script can tell from how the program ended.

use std::process::ExitCode;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Done,
    /// It could not, for a reason that has no code of its own.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The human said no, or took the approval back.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// No such secret or field, or several.
    NotFound,
    /// The server can't be reached.
    Unreachable,
    /// SIGHUP, which a closed terminal sends: 128 + SIGHUP.
    HungUp,
    /// Ctrl-C: 128 + SIGINT, as shells count.
    Interrupted,
    /// Whoever reads standard output takes no more: 128 + SIGPIPE.
    PipeClosed,
    /// SIGTERM: 128 + SIGTERM.
    Terminated,
    /// As the command ended that it ran.
    Child(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Denied => 3,
            Exit::Expired => 4,
            Exit::NotFound => 5,
            Exit::Unreachable => 6,
            Exit::HungUp => 129,
            Exit::Interrupted => 130,
            Exit::PipeClosed => 141,
            Exit::Terminated => 143,
            Exit::Child(code) => code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_promise() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Denied, 3),
            (Exit::Expired, 4),
            (Exit::NotFound, 5),
            (Exit::Unreachable, 6),
            (Exit::HungUp, 129),
            (Exit::Interrupted, 130),
            (Exit::PipeClosed, 141),
            (Exit::Terminated, 143),
            (Exit::Child(7), 7),
        ];
        for (exit, code) in codes {
            assert_eq!(ExitCode::from(exit), ExitCode::from(code), "{exit:?}");
        }
    }
}
