//! How slow a client may be: a stream that fails once the head of a request, or the taking of an answer, takes too long.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the head of a request may take, from the connection's start or from the first byte after an answer.
pub(super) const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer that waits for it.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// The calls of one connection, counted at their start and again at their end: an odd number means one is under way.
///
/// On HTTP/1 a connection makes one call at a time.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<AtomicU64>);

/// A call under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Call(Calls);

impl Calls {
    pub(super) fn begin(&self) -> Call {
        self.0.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A stream that keeps its client to these times.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    calls: Calls,
    /// How many were counted when the head's time was last looked at.
    counted: u64,
    head: Patience,
    write: Patience,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, calls: Calls) -> Self {
        let counted = calls.count();
        // who connects is expected to ask
        let mut head = Patience::new(HEAD_PATIENCE, "the head of a request took too long");
        head.begin();
        let write = Patience::new(WRITE_PATIENCE, "the answer was not taken");
        Self { stream, calls, counted, head, write }
    }

    /// Whether what is read now belongs to a head: between calls. The time for a body is its reader's matter.
    fn reads_head(&mut self) -> bool {
        let count = self.calls.count();
        if count != self.counted {
            self.counted = count;
            self.head.end();
        }
        count.is_multiple_of(2)
    }

    fn timed<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write.end();
            return written;
        }
        self.write.begin();
        self.write.over(cx).map(Err)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let head = self.reads_head();
        if head && let Poll::Ready(error) = self.head.over(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if head && buf.filled().len() > before {
            self.head.begin();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.timed(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A time that runs out, unless what it was begun for ends first.
#[derive(Debug)]
struct Patience {
    allowed: Duration,
    else_say: &'static str,
    running: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    const fn new(allowed: Duration, else_say: &'static str) -> Self {
        Self { allowed, else_say, running: None }
    }

    /// Goes on where it has begun before.
    fn begin(&mut self) {
        self.running.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.allowed)));
    }

    fn end(&mut self) {
        self.running = None;
    }

    /// Ready with what to say once the time is over; until then whoever asks is woken for it.
    fn over(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(running) = &mut self.running else { return Poll::Pending };
        running.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, self.else_say))
    }
}
