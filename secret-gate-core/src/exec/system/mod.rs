//! What each operating system does in its own way.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(super) use linux::{Descendants, path_of, program_path, sealed_copy};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{Descendants, path_of, program_path, sealed_copy};
