//! Whoever made a call: heard, answered, and gone.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::ask::FAREWELL;
use super::call::{Event, Failure, FailureKind};
use super::frame::{Kind, send, send_message};

/// How long a client may take to say what it wants.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// Whoever made a call.
#[async_trait]
pub(super) trait Caller: Send + Sync {
    /// Tells them how it goes on.
    async fn hear(&self, event: &Event);

    /// Cancelled when they have left: nobody waits for the answer any more, but for how it ended.
    fn left(&self) -> &CancellationToken;
}

/// The client of one call.
pub(super) struct Client {
    writer: Mutex<OwnedWriteHalf>,
    /// What a command reads from.
    stdin: Mutex<Option<OwnedFd>>,
    umask: u32,
    left: CancellationToken,
    /// Whether the values are in use.
    has_begun: AtomicBool,
}

impl Client {
    pub(super) fn new(writer: OwnedWriteHalf, umask: u32) -> Self {
        Self {
            umask,
            writer: Mutex::new(writer),
            stdin: Mutex::default(),
            left: CancellationToken::new(),
            has_begun: AtomicBool::new(false),
        }
    }

    /// What its files begin without.
    pub(super) const fn umask(&self) -> u32 {
        self.umask
    }

    /// To be called right before values are used.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        self.has_begun.store(true, Ordering::Relaxed);
        if self.left.is_cancelled() {
            return Err(Failure::new(FailureKind::Withdrawn, "whoever wanted it has left"));
        }
        Ok(())
    }

    /// Returns when the client has gone, and what it began must end; one that says more than its call has as well. One whose
    /// question is open, and who still listens, is told first whether that is taken back.
    pub(super) async fn gone(&self, reader: &mut OwnedReadHalf) {
        reader.read_u8().await.ok();
        self.left.cancel();
        if !self.has_begun.load(Ordering::Relaxed) {
            tokio::time::sleep(FAREWELL + Duration::from_secs(1)).await;
        }
    }

    /// What its command reads from.
    pub(super) fn reads_from(&mut self, stdin: Option<OwnedFd>) {
        self.stdin = Mutex::new(stdin);
    }

    /// What a command is to read from; once.
    pub(super) async fn take_stdin(&self) -> Option<OwnedFd> {
        self.stdin.lock().await.take()
    }

    /// Passes output of a command on, however long the client takes: it may be a person who reads.
    pub(super) async fn pass_on(&self, kind: Kind, output: &[u8]) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        for piece in output.chunks(64 * 1024) {
            send(&mut *writer, kind, piece).await?;
        }
        Ok(())
    }

    pub(super) async fn send(&self, event: &Event) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        // a client that does not listen is left alone
        let sent = tokio::time::timeout(CALL_PATIENCE, send_message(&mut *writer, event)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[async_trait]
impl Caller for Client {
    async fn hear(&self, event: &Event) {
        self.send(event).await.ok();
    }

    fn left(&self) -> &CancellationToken {
        &self.left
    }
}

/// What a client says in time; `None` for one that has gone, or says nothing.
pub(super) async fn heard<T>(saying: impl Future<Output = io::Result<Option<T>>>) -> Option<io::Result<T>> {
    tokio::time::timeout(CALL_PATIENCE, saying).await.ok().and_then(Result::transpose)
}
