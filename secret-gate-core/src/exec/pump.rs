//! Passing output on, redacted, as it comes.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::{Output, RedactedStream, Redactor, StreamName};

/// After so long without output, what is held back of a prompt is shown.
const PAUSE: Duration = Duration::from_millis(50);

/// How much is read at once, in bytes: what a pipe holds by default.
const READ: usize = 64 * 1024;

/// What can be seen of a pump from outside while it runs.
#[derive(Debug, Default)]
pub(super) struct Progress {
    read: AtomicU64,
    is_writing: AtomicBool,
    is_stopped: AtomicBool,
    truncated: [AtomicBool; 2],
}

impl Progress {
    /// How much was read so far, in bytes of both streams.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether the reader of the output is at work, or asleep.
    pub(super) fn is_writing(&self) -> bool {
        self.is_writing.load(Ordering::Relaxed)
    }

    /// Has no more read than was read.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// The streams of which output was dropped.
    pub(super) fn truncated(&self) -> Vec<StreamName> {
        let streams = [StreamName::Stdout, StreamName::Stderr].into_iter().zip(&self.truncated);
        streams.filter(|(_, truncated)| truncated.load(Ordering::Relaxed)).map(|(stream, _)| stream).collect()
    }
}

/// Reads both streams and passes them on.
pub(super) struct Pump<'a> {
    stdout: Side,
    stderr: Side,
    limit: Option<u64>,
    output: &'a mut dyn Output,
    progress: &'a Progress,
}

struct Side {
    name: StreamName,
    pipe: pipe::Receiver,
    /// `None` once the stream has ended.
    redacted: Option<RedactedStream>,
    /// When to show what is held back.
    pause: Option<Instant>,
    passed: u64,
}

enum Next {
    Stdout,
    Stderr,
    PauseOfStdout,
    PauseOfStderr,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        [stdout, stderr]: [pipe::Receiver; 2],
        redactor: &Redactor,
        limit: Option<u64>,
        output: &'a mut dyn Output,
        progress: &'a Progress,
    ) -> Self {
        let side = |name, pipe| Side { name, pipe, redacted: Some(redactor.stream()), pause: None, passed: 0 };
        let (stdout, stderr) = (side(StreamName::Stdout, stdout), side(StreamName::Stderr, stderr));
        Self { stdout, stderr, limit, output, progress }
    }

    /// Runs until nobody holds the other ends of the pipes any more, or it is stopped.
    ///
    /// # Errors
    /// The reader of the output is gone.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut buffer = Zeroizing::new(vec![0; READ]);
        while !self.progress.is_stopped() && (self.stdout.redacted.is_some() || self.stderr.redacted.is_some()) {
            let next = tokio::select! {
                _ = self.stdout.pipe.readable(), if self.stdout.redacted.is_some() => Next::Stdout,
                _ = self.stderr.pipe.readable(), if self.stderr.redacted.is_some() => Next::Stderr,
                () = at(self.stdout.pause) => Next::PauseOfStdout,
                () = at(self.stderr.pause) => Next::PauseOfStderr,
            };
            let side = match next {
                Next::Stdout | Next::PauseOfStdout => &mut self.stdout,
                Next::Stderr | Next::PauseOfStderr => &mut self.stderr,
            };
            let shown = match next {
                Next::Stdout | Next::Stderr => side.read(&mut buffer, self.progress),
                Next::PauseOfStdout | Next::PauseOfStderr => side.pause(),
            };
            self.pass(next, &shown).await?;
            // to look through a piece takes a while; others have their turn, the end of the time among them
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn pass(&mut self, from: Next, shown: &[u8]) -> io::Result<()> {
        let side = match from {
            Next::Stdout | Next::PauseOfStdout => &mut self.stdout,
            Next::Stderr | Next::PauseOfStderr => &mut self.stderr,
        };
        let left = self.limit.map_or(u64::MAX, |limit| limit - side.passed);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(shown.len());
        let passed = shown.get(..wanted).unwrap_or_default();
        self.progress.is_writing.store(true, Ordering::Relaxed);
        if !passed.is_empty() {
            side.passed += passed.len() as u64;
            self.output.write(side.name, passed).await?;
        }
        let truncated = match side.name {
            StreamName::Stdout => &self.progress.truncated[0],
            StreamName::Stderr => &self.progress.truncated[1],
        };
        if passed.len() < shown.len() && !truncated.swap(true, Ordering::Relaxed) {
            self.output.truncated(side.name, self.limit.unwrap_or_default()).await?;
        }
        self.progress.is_writing.store(false, Ordering::Relaxed);
        Ok(())
    }
}

impl Side {
    /// Takes what there is; returns what can be shown.
    fn read(&mut self, buffer: &mut [u8], progress: &Progress) -> Vec<u8> {
        match self.pipe.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Vec::new(),
            Ok(0) | Err(_) => {
                self.pause = None;
                self.redacted.take().map(RedactedStream::finish).unwrap_or_default()
            }
            Ok(count) => {
                progress.read.fetch_add(count as u64, Ordering::Relaxed);
                self.pause = Some(Instant::now() + PAUSE);
                let read = buffer.get(..count).unwrap_or_default();
                self.redacted.as_mut().map(|redacted| redacted.push(read)).unwrap_or_default()
            }
        }
    }

    fn pause(&mut self) -> Vec<u8> {
        self.pause = None;
        self.redacted.as_mut().map(RedactedStream::pause).unwrap_or_default()
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
