//! Other systems: a process group is all that is known, and files go by their paths.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

/// None: the program is started by its path, a moment after it was looked at.
pub(crate) fn program_path(_: &File) -> Option<PathBuf> {
    None
}

/// Where the path leads at this moment.
pub(crate) fn path_of(_: &File, path: &Path) -> io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// None: the interpreter opens the script by its path, a moment after it was looked at.
pub(crate) fn sealed_copy(_: &[u8]) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Nothing beyond the process group.
#[derive(Debug)]
pub(crate) struct Descendants;

impl Descendants {
    pub(crate) fn of(_: Pid, _: [BorrowedFd<'_>; 2]) -> Self {
        Self
    }

    pub(crate) fn gather(&mut self, _: Pid) -> bool {
        false
    }

    pub(crate) fn signal(&self, _: Signal) {}
}
