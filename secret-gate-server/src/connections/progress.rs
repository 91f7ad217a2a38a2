//! What a connection is doing, as its stream, its calls, and whoever makes room for another one see it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// On HTTP/1 a connection does one of these at a time.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Nothing of the next request has come.
    Idle { since: Instant },
    /// The head of a request comes in.
    Head { since: Instant },
    /// A call is answered, from the end of its head to the end of the answer's body.
    Call,
    /// The last bytes of an answer have to leave.
    Leaving,
    /// It was closed to make room.
    LetGo,
}

/// The stage of one connection. Clones are of the same one.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    stage: Mutex<Stage>,
    turned_idle: Arc<Notify>,
}

impl Progress {
    /// Of a new connection: who connects is expected to ask. Later on it tells when it turns idle.
    pub(super) fn new(turned_idle: Arc<Notify>) -> Self {
        let stage = Mutex::new(Stage::Head { since: Instant::now() });
        Self(Arc::new(Shared { stage, turned_idle }))
    }

    /// Since when it waits for a request or for the rest of its head, if it does.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match *self.stage() {
            Stage::Idle { since } | Stage::Head { since } => Some(since),
            Stage::Call | Stage::Leaving | Stage::LetGo => None,
        }
    }

    /// Since when a head comes in, if one does.
    pub(super) fn head_since(&self) -> Option<Instant> {
        match *self.stage() {
            Stage::Head { since } => Some(since),
            Stage::Idle { .. } | Stage::Call | Stage::Leaving | Stage::LetGo => None,
        }
    }

    /// Some bytes came in.
    pub(super) fn read(&self) {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Idle { .. }) {
            *stage = Stage::Head { since: Instant::now() };
        }
    }

    /// All bytes so far have left.
    pub(super) fn flushed(&self) {
        let mut stage = self.stage();
        if matches!(*stage, Stage::Leaving) {
            *stage = Stage::Idle { since: Instant::now() };
            self.0.turned_idle.notify_one();
        }
    }

    /// A call that lasts until it is dropped; none on a connection that was let go.
    pub(super) fn begin_call(&self) -> Option<Call> {
        let mut stage = self.stage();
        if matches!(*stage, Stage::LetGo) {
            return None;
        }
        *stage = Stage::Call;
        Some(Call(self.clone()))
    }

    /// Lets it go unless it makes a call; returns whether it did. From then on it makes none.
    pub(super) fn let_go(&self) -> bool {
        let mut stage = self.stage();
        let waits = matches!(*stage, Stage::Idle { .. } | Stage::Head { .. });
        if waits {
            *stage = Stage::LetGo;
        }
        waits
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Call(Progress);

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.stage() = Stage::Leaving;
    }
}

/// An answer's body that keeps its call under way until it has been handed over whole.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: Body,
    _call: Call,
}

impl AnswerBody {
    pub(super) const fn new(body: Body, call: Call) -> Self {
        Self { body, _call: call }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
