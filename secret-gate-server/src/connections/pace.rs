//! How slow a client may be: a stream that fails once the head of a request, or the taking of an answer, takes too long.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::progress::Progress;

/// How long the head of a request may take, from the connection's start or from the first byte after an answer.
pub(super) const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take nothing of an answer that waits for it.
pub(super) const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// A stream that keeps its client to these times.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    progress: Progress,
    head: Patience,
    write: Patience,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, progress: Progress) -> Self {
        let head = Patience::new(HEAD_PATIENCE, "the head of a request took too long");
        let write = Patience::new(WRITE_PATIENCE, "the answer was not taken");
        Self { stream, progress, head, write }
    }

    /// Fails once a head takes too long. The time for a body is its reader's matter.
    fn time_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match self.progress.head_since() {
            Some(since) => self.head.begin(since),
            None => self.head.end(),
        }
        self.head.over(cx)
    }

    fn timed<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write.end();
            return written;
        }
        self.write.begin(Instant::now());
        self.write.over(cx).map(Err)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.time_head(cx) {
            return Poll::Ready(Err(error));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.progress.read();
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
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.progress.flushed();
        }
        flushed
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
    fn begin(&mut self, since: Instant) {
        self.running.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + self.allowed)));
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
