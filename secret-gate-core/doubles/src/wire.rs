//! Serving on loopback over connections that a handler can cut.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::connect_info::Connected,
    response::Response,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::error::DoubleError;

/// A running server. Dropping it stops the listener and cuts every open connection.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    _cut_all_on_drop: DropGuard,
}

impl Server {
    pub(crate) async fn start(address: SocketAddr, router: Router) -> Result<Self, DoubleError> {
        let refused = |source| DoubleError::Listen { address, source };
        let tcp = TcpListener::bind(address).await.map_err(refused)?;
        let address = tcp.local_addr().map_err(refused)?;
        let stop = CancellationToken::new();
        let lines = Lines { tcp, stop: stop.clone() };
        let serving = axum::serve(lines, router.into_make_service_with_connect_info::<Line>());
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = serving => {}
                () = stopped.cancelled() => {}
            }
        });
        Ok(Self { address, _cut_all_on_drop: stop.drop_guard() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The handler's grip on the connection that its request came in on.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    cut: CancellationToken,
    reset: Arc<AtomicBool>,
}

impl Line {
    /// Ends the connection without an answer. The peer sees an orderly end of stream.
    pub(crate) fn close(&self) -> Response {
        self.cut.cancel();
        // Never written: the wire fails first.
        Response::default()
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(&self) -> Response {
        self.reset.store(true, Ordering::SeqCst);
        self.close()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Line {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Announces the whole body, sends half of it, then ends the connection.
pub(crate) fn truncated(status: u16, content_type: &str, body: &str) -> Response {
    let mut half = Some(Bytes::copy_from_slice(body.as_bytes().split_at(body.len() / 2).0));
    let mut told = false;
    let chunks = futures_util::stream::poll_fn(move |context: &mut Context<'_>| {
        if let Some(half) = half.take() {
            return Poll::Ready(Some(Ok(half)));
        }
        // One "not yet" in between lets hyper flush the half before it learns that no more will come.
        if !told {
            told = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted))))
    });
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("content-length", body.len())
        .body(Body::from_stream(chunks))
        .unwrap_or_default()
}

/// Accepts connections and hands out their [`Line`]s.
#[derive(Debug)]
struct Lines {
    tcp: TcpListener,
    stop: CancellationToken,
}

impl Lines {
    fn line(&self) -> Line {
        Line { cut: self.stop.child_token(), reset: Arc::default() }
    }
}

impl Listener for Lines {
    type Io = Wire;
    type Addr = Line;

    async fn accept(&mut self) -> (Wire, Line) {
        loop {
            match self.tcp.accept().await {
                Ok((stream, _peer)) => {
                    // Best effort: without it answers are merely slower.
                    stream.set_nodelay(true).ok();
                    let line = self.line();
                    let wire = Wire {
                        stream,
                        cut: Box::pin(line.cut.clone().cancelled_owned()),
                        reset: Arc::clone(&line.reset),
                    };
                    return (wire, line);
                }
                // Out of descriptors, most likely: others may close soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Line> {
        Ok(self.line())
    }
}

/// A TCP stream that fails as soon as its [`Line`] is cut.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    reset: Arc<AtomicBool>,
}

impl Wire {
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(context).is_pending() {
            return Ok(());
        }
        if self.reset.load(Ordering::SeqCst) {
            // With zero linger the close that follows sends a reset.
            self.stream.set_zero_linger()?;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
