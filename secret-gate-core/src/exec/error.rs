//! Why a command did not run, or could not be watched to its end.

use std::io;
use std::path::PathBuf;

use super::TooShort;

/// Why a command did not run.
///
/// No variant holds a value, an argument or more of the environment than a variable's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The argument vector does not begin with the name of a program.
    #[error("the command must start with the program's name")]
    NoProgram,
    /// A variable can't have this name.
    #[error("{name:?} can't be the name of a variable: only A-Z, a-z, 0-9 and _ can stand in it, no digit first")]
    VariableName {
        /// The name.
        name: String,
    },
    /// A value must not go into this variable.
    #[error("{name} must not carry a value: it changes what programs load or run")]
    LoaderVariable {
        /// The variable.
        name: String,
    },
    /// Two values for one variable.
    #[error("{name} is given two values")]
    VariableTwice {
        /// The variable.
        name: String,
    },
    /// More than one thing to be read from standard input.
    #[error("standard input can carry one thing only")]
    StdinTwice,
    /// A value that no variable can hold.
    #[error("{label} holds a NUL byte, which no variable can: pass it on stdin or as a /dev/fd path")]
    Nul {
        /// Which field, as `item/field`.
        label: String,
    },
    /// A value that is longer than the operating system lets a variable be.
    #[error("{label} is too long for a variable: pass it on stdin or as a /dev/fd path")]
    TooLong {
        /// Which field, as `item/field`.
        label: String,
    },
    /// A value that can't be told from other text.
    #[error(transparent)]
    TooShort(#[from] TooShort),
    /// The program, or its interpreter, is not there or can't be run.
    #[error("no such program: {name:?}")]
    NotFound {
        /// As it was called.
        name: String,
    },
    /// The working folder is not there.
    #[error("no such folder: {path:?}")]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// An exact command can't be made of this.
    #[error("{path:?} can't be run as an exact command: {problem}")]
    NotExact {
        /// The program or script.
        path: PathBuf,
        /// What stands in the way.
        problem: &'static str,
    },
    /// What was approved is not what would run now.
    #[error("not what was approved: {what} changed since")]
    Changed {
        /// What is different.
        what: &'static str,
    },
    /// A program or script can't be read.
    #[error("can't read {path:?}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system did not start it.
    #[error("can't start the command")]
    Start(#[source] io::Error),
    /// Whoever reads the output takes no more. The command was killed.
    #[error("can't pass on the output")]
    Output(#[source] io::Error),
    /// Somebody else waited for the command, so that its end is not known.
    #[error("the end of the command is not known")]
    Lost,
}
