//! Linux: processes by their descent, files by their descriptors.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::{Pid, PidfdFlags, Signal};

/// The path under which a child that is about to start finds this open file.
pub(crate) fn program_path(file: &File) -> Option<PathBuf> {
    Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
}

/// Where this open file is, whatever path led to it.
pub(crate) fn path_of(file: &File, _: &Path) -> io::Result<PathBuf> {
    if file.metadata()?.nlink() == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// A copy in memory that nobody can change.
pub(crate) fn sealed_copy(content: &[u8]) -> io::Result<Option<OwnedFd>> {
    let copy = rustix::fs::memfd_create("script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(copy);
    copy.write_all(content)?;
    // perl reads on where the descriptor stands, instead of opening the path
    copy.rewind()?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(Some(copy.into()))
}

/// The members of a process group, all that they started, whatever group those are in by now, and what else writes to
/// the pipes of the command.
///
/// A process is known by its descriptor, so that a signal never meets another one that got its number. One whose parent
/// has ended already, and that left the group and let go of the pipes before, is not found.
#[derive(Debug)]
pub(crate) struct Descendants {
    known: HashMap<i32, (Stat, OwnedFd)>,
    /// The pipes, as `/proc/PID/fd` shows them.
    pipes: Vec<PathBuf>,
    /// When the command was started. What ran before may have been handed a pipe, and belongs to somebody else.
    since: u64,
}

impl Descendants {
    /// Of a command with this leader, which is not reaped yet, that writes to these pipes.
    pub(crate) fn of(leader: Pid, pipes: [BorrowedFd<'_>; 2]) -> Self {
        let shown = |pipe: &BorrowedFd<'_>| fs::read_link(format!("/proc/self/fd/{}", pipe.as_raw_fd())).ok();
        let since = Stat::started(leader.as_raw_pid()).unwrap_or(u64::MAX);
        Self { known: HashMap::new(), pipes: pipes.iter().filter_map(shown).collect(), since }
    }

    /// Looks for members that are not known yet; returns whether there were any.
    pub(crate) fn gather(&mut self, group: Pid) -> bool {
        let group = group.as_raw_pid();
        let running = running();
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for (pid, stat) in &running {
            children.entry(stat.parent).or_default().push(*pid);
        }
        let is_known =
            |pid: i32, stat: &Stat| self.known.get(&pid).is_some_and(|(known, _)| known.started == stat.started);
        let is_root = |pid: i32, stat: &Stat| {
            stat.group == group || is_known(pid, stat) || (stat.started >= self.since && self.is_written_by(pid))
        };
        let mut queue: Vec<i32> =
            running.iter().filter(|(pid, stat)| is_root(**pid, stat)).map(|(pid, _)| *pid).collect();
        let mut members = HashSet::new();
        while let Some(pid) = queue.pop() {
            if members.insert(pid) {
                queue.extend(children.get(&pid).into_iter().flatten());
            }
        }
        let is_new = |(pid, stat): &(i32, Stat)| members.contains(pid) && !is_known(*pid, stat);
        let new: Vec<(i32, Stat)> = running.into_iter().filter(is_new).collect();
        let mut has_new = false;
        for (pid, stat) in new {
            has_new |= self.add(pid, stat);
        }
        has_new
    }

    /// Sends every known member a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        for (_, descriptor) in self.known.values() {
            // an error says that it has ended, or that it runs as another user
            rustix::process::pidfd_send_signal(descriptor, signal).ok();
        }
    }

    /// Whether this process has one of the pipes open to write to it.
    fn is_written_by(&self, pid: i32) -> bool {
        // an error says that it has ended, or that it runs as another user
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.map(|descriptor| descriptor.path()).any(|path| {
            fs::read_link(&path).is_ok_and(|pipe| self.pipes.contains(&pipe))
                && fs::symlink_metadata(&path).is_ok_and(|link| link.mode() & 0o200 != 0)
        })
    }

    fn add(&mut self, pid: i32, stat: Stat) -> bool {
        let Some(descriptor) =
            Pid::from_raw(pid).and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return false;
        };
        // the number may have gone to another process before it was opened
        if Stat::read(pid).is_none_or(|now| now.started != stat.started) {
            return false;
        }
        self.known.insert(pid, (stat, descriptor));
        true
    }
}

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
#[derive(Debug)]
struct Stat {
    parent: i32,
    group: i32,
    /// In ticks since the machine started.
    started: u64,
}

impl Stat {
    /// `None` for what is not there or has ended.
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// When a process started that may have ended since.
    fn started(pid: i32) -> Option<u64> {
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        line.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
    }

    fn parse(line: &str) -> Option<Self> {
        // the name, in parentheses, may hold anything
        let (_, line) = line.rsplit_once(')')?;
        let mut fields = line.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        Some(Self { parent, group, started })
    }
}

/// Every process that can be seen.
fn running() -> HashMap<i32, Stat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, Stat::read(pid)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_whatever_the_name_is() {
        let line = "42 (a) R 1 (b) S 7 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.started), (7, 9, 12345));
        assert!(Stat::parse("42 (a) Z 7 9 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1000 0").is_none());
        for broken in ["", "42", "42 (a)", "42 (a) S x", "42 (a) S 7 9 9"] {
            assert!(Stat::parse(broken).is_none(), "{broken}");
        }
        let own = Stat::read(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.parent, rustix::process::getppid().unwrap().as_raw_pid());
        assert!(own.started > 0);
        assert_eq!(Stat::started(std::process::id().cast_signed()), Some(own.started));
    }

    #[test]
    fn a_sealed_copy_stays_as_it_is() {
        let copy = File::from(sealed_copy(b"#!/bin/sh\n").unwrap().unwrap());
        let again = fs::OpenOptions::new().write(true).open(program_path(&copy).unwrap());
        assert!(again.and_then(|mut file| file.write_all(b"x")).is_err());
        assert!(copy.set_len(0).is_err());
        assert_eq!(fs::read(program_path(&copy).unwrap()).unwrap(), b"#!/bin/sh\n");
    }
}
