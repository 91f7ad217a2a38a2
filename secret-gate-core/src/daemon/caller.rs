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

/// How long a client that has left may take to read what its command still says.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    /// Whether it took a message in part: it can be told nothing more.
    is_deaf: AtomicBool,
}

impl Client {
    pub(super) fn new(writer: OwnedWriteHalf, umask: u32) -> Self {
        Self {
            umask,
            writer: Mutex::new(writer),
            stdin: Mutex::default(),
            left: CancellationToken::new(),
            has_begun: AtomicBool::new(false),
            is_deaf: AtomicBool::new(false),
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

    /// Returns when the client has gone, and what it began must end; one that says more than its call has as well. Before
    /// that, there is time to take its question back or to end its command, and to tell it where it still listens.
    pub(super) async fn gone(&self, reader: &mut OwnedReadHalf) {
        tokio::select! {
            _ = reader.read_u8() => {}
            // nobody reads any more
            () = self.left.cancelled() => {}
        }
        self.left.cancel();
        tokio::time::sleep(FAREWELL + Duration::from_secs(1)).await;
    }

    /// What its command reads from.
    pub(super) fn reads_from(&mut self, stdin: Option<OwnedFd>) {
        self.stdin = Mutex::new(stdin);
    }

    /// What a command is to read from; once.
    pub(super) async fn take_stdin(&self) -> Option<OwnedFd> {
        self.stdin.lock().await.take()
    }

    /// Passes output of a command on, however long the client takes: it may be a person who reads. What nobody reads any
    /// more is dropped, so that the command can end in its own way.
    pub(super) async fn pass_on(&self, kind: Kind, output: &[u8]) {
        let mut writer = self.writer.lock().await;
        for piece in output.chunks(64 * 1024) {
            if self.is_deaf.load(Ordering::Relaxed) {
                return;
            }
            let sent = tokio::select! {
                sent = send(&mut *writer, kind, piece) => sent.is_ok(),
                () = after(&self.left, LAST_WORDS) => false,
            };
            if !sent {
                self.is_deaf.store(true, Ordering::Relaxed);
                self.left.cancel();
            }
        }
    }

    pub(super) async fn send(&self, event: &Event) -> io::Result<()> {
        let mut writer = self.writer.lock().await;
        // a client that does not listen is left alone
        let sent = tokio::time::timeout(CALL_PATIENCE, send_message(&mut *writer, event)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tells how a command ended, however long the client takes, as it may with the output before that; one that has gone
    /// has a few seconds.
    pub(super) async fn finish(&self, event: &Event, reader: &mut OwnedReadHalf, stopping: &CancellationToken) {
        let mut writer = self.writer.lock().await;
        if self.is_deaf.load(Ordering::Relaxed) {
            return;
        }
        let enough = async {
            tokio::select! {
                _ = reader.read_u8() => {}
                () = stopping.cancelled() => {}
            }
            tokio::time::sleep(CALL_PATIENCE).await;
        };
        tokio::select! {
            sent = send_message(&mut *writer, event) => drop(sent),
            () = enough => {}
        }
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

/// Returns this long after the token was cancelled.
async fn after(token: &CancellationToken, time: Duration) {
    token.cancelled().await;
    tokio::time::sleep(time).await;
}

/// Takes whatever is said, until its end.
pub(super) async fn drained(reader: &mut OwnedReadHalf) -> io::Result<Option<u64>> {
    tokio::io::copy(reader, &mut tokio::io::sink()).await.map(Some)
}

/// What a client says in time; `None` for one that has gone, or says nothing.
pub(super) async fn heard<T>(saying: impl Future<Output = io::Result<Option<T>>>) -> Option<io::Result<T>> {
    tokio::time::timeout(CALL_PATIENCE, saying).await.ok().and_then(Result::transpose)
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    /// A client that has taken so much that nothing more gets in, and its other end.
    fn full() -> (Client, OwnedReadHalf, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (reader, writer) = ours.into_split();
        for size in [64 * 1024, 1] {
            while writer.try_write(&vec![b'x'; size]).is_ok() {}
        }
        (Client::new(writer, 0o022), reader, theirs)
    }

    fn exited() -> Event {
        Event::Exited { code: 7, timed_out: false, truncated: Vec::new(), unredacted: Vec::new() }
    }

    async fn read(mut stream: UnixStream) -> String {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        String::from_utf8(all).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn how_a_command_ended_reaches_whoever_reads_slowly() {
        let (client, mut reader, theirs) = full();
        let finishing = async move { client.finish(&exited(), &mut reader, &CancellationToken::new()).await };
        let reading = async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            read(theirs).await
        };
        let (said, ()) = tokio::join!(reading, finishing);
        assert!(said.contains("\"exited\"") && said.contains("7"), "{}", &said[said.len() - 200..]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_gone_or_keeps_a_daemon_from_ending_is_not_waited_for() {
        let (client, mut reader, mut theirs) = full();
        tokio::io::AsyncWriteExt::shutdown(&mut theirs).await.unwrap();
        client.finish(&exited(), &mut reader, &CancellationToken::new()).await;
        let (client, mut reader, _theirs) = full();
        let stopping = CancellationToken::new();
        stopping.cancel();
        client.finish(&exited(), &mut reader, &stopping).await;
    }

    #[tokio::test(start_paused = true)]
    async fn output_that_nobody_reads_any_more_is_dropped() {
        let (client, _reader, theirs) = full();
        drop(theirs);
        client.pass_on(Kind::Output, b"more").await;
        assert!(client.left().is_cancelled());

        let (client, _reader, _theirs) = full();
        client.left().cancel();
        client.pass_on(Kind::Output, b"more").await;
        client.pass_on(Kind::Output, b"yet more").await;
    }
}
