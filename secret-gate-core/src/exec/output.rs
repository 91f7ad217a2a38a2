//! Where the output of a command goes, and how the command ended.

use std::{fmt, io};

use async_trait::async_trait;

/// One of the two streams that a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum StreamName {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// Takes the output of a command as it comes, redacted.
///
/// While a call is not done, no more is read from the command, which then waits in its turn: nothing piles up. A call
/// is seen through to its end, even when the command was killed meanwhile, unless the whole run is dropped.
#[async_trait]
pub trait Output: Send {
    /// Takes output of one stream.
    ///
    /// # Errors
    /// Whoever reads the output is gone; the command is then killed.
    async fn write(&mut self, stream: StreamName, bytes: &[u8]) -> io::Result<()>;

    /// Hears, at most once a stream, that output beyond so many bytes is dropped.
    ///
    /// # Errors
    /// As with [`write`](Self::write).
    async fn truncated(&mut self, stream: StreamName, limit: u64) -> io::Result<()>;
}

/// Output kept in memory; give the command a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Collected {
    /// What came on standard output.
    pub stdout: Vec<u8>,
    /// What came on standard error.
    pub stderr: Vec<u8>,
}

impl Collected {
    /// Nothing so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Output for Collected {
    async fn write(&mut self, stream: StreamName, bytes: &[u8]) -> io::Result<()> {
        match stream {
            StreamName::Stdout => self.stdout.extend_from_slice(bytes),
            StreamName::Stderr => self.stderr.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// The result of the run says it as well.
    async fn truncated(&mut self, _: StreamName, _: u64) -> io::Result<()> {
        Ok(())
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed since its time was up.
    TimedOut,
    /// It was killed since the caller wanted no more of it.
    Cancelled,
}

/// What is to be said of a command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// How it ended.
    pub ended: Ended,
    /// The streams of which output was dropped.
    pub truncated: Vec<StreamName>,
    /// The labels, `item/field`, of the values that it got and that were not redacted.
    pub unredacted: Vec<String>,
}

impl Exit {
    /// The code that a shell gives: 128 and the number for a signal, 124 when the time was up, 130 when cancelled.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self.ended {
            Ended::Code(code) => code,
            Ended::Signal(signal) => 128 + signal,
            Ended::TimedOut => 124,
            Ended::Cancelled => 130,
        }
    }
}
