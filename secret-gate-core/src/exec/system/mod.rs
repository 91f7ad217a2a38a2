//! What each operating system does in its own way.

use std::path::PathBuf;

use nix::unistd::{Uid, User};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(super) use linux::{Descendants, path_of, program_path, sealed_copy};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{Descendants, path_of, program_path, sealed_copy};

/// The home of this user as the system knows it, whatever `HOME` says; `None` for a user that it does not know.
pub(super) fn home() -> Option<PathBuf> {
    User::from_uid(Uid::current()).ok().flatten().map(|user| user.dir)
}
