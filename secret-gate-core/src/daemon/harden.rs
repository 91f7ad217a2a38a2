//! Keeping other processes of the same user out of this one's memory.

use std::io;

/// Makes this process leave no core dump, and keeps debuggers and `/proc` readers of the same user out of it (Linux;
/// elsewhere there are only no core dumps). Call it first thing in `main`, before there are threads or secrets.
///
/// # Errors
/// When the system refuses.
pub fn harden_process() -> io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
