//! Putting a gate together.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::SecretBackend;
use crate::approver::Approver;
use crate::audit::{AuditLog, TracingAudit};
use crate::cache::{Cache, NoCache};
use crate::clock::{Clock, SystemClock};
use crate::gate::journal::Journal;
use crate::gate::step::{Listener, Step};
use crate::gate::store::{RequestStore, Room};
use crate::gate::{Gate, Inner};
use crate::index::TitleIndex;

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) request_ttl: Duration,
    pub(super) index_ttl: Duration,
    pub(super) room: Room,
}

/// Puts a [`Gate`] together. Comes from [`Gate::builder`] with the defaults that each setting names.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
/// use secret_gate_core::audit::MemoryAudit;
/// use secret_gate_core::{Decision, Gate, Item, MemoryBackend, MemoryCache, Request, ScriptedApprover};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), secret_gate_core::Error> {
/// let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(Item::new("i1", "v1", "database"));
/// let human = ScriptedApprover::new().then(Decision::approve("Ann"));
/// let (log, steps) = (MemoryAudit::new(), Arc::new(AtomicUsize::new(0)));
/// let counter = Arc::clone(&steps);
///
/// let gate = Gate::builder(Arc::new(vault), Arc::new(human))
///     .audit(Arc::new(log.clone()))
///     .cache(Arc::new(MemoryCache::new()))
///     .request_ttl(Duration::from_secs(120))
///     .max_pending(20, 2)
///     .on_step(move |_| drop(counter.fetch_add(1, Ordering::Relaxed)))
///     .build();
///
/// gate.request(Request::new("database")).await?;
/// // asked, approved, released
/// assert_eq!((log.lines().len(), steps.load(Ordering::Relaxed)), (3, 3));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct GateBuilder {
    backend: Arc<dyn SecretBackend>,
    approver: Arc<dyn Approver>,
    cache: Arc<dyn Cache>,
    audit: Arc<dyn AuditLog>,
    clock: Arc<dyn Clock>,
    listener: Listener,
    settings: Settings,
}

impl GateBuilder {
    /// Keeps what [`Gate::request`] released under a grant. Default: nothing is kept.
    #[must_use]
    pub fn cache(mut self, cache: Arc<dyn Cache>) -> Self {
        self.cache = cache;
        self
    }

    /// Where audit entries go. Default: [`TracingAudit`], the program's log as [`tracing`] has it; in a program without a
    /// `tracing` subscriber that is nowhere.
    #[must_use]
    pub fn audit(mut self, audit: Arc<dyn AuditLog>) -> Self {
        self.audit = audit;
        self
    }

    /// Where the time comes from. Default: the computer's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// How long a request can be approved and redeemed, and so how long [`Gate::request`] waits at most. Default: 15
    /// minutes.
    #[must_use]
    pub const fn request_ttl(mut self, ttl: Duration) -> Self {
        self.settings.request_ttl = ttl;
        self
    }

    /// How old the titles may be that a search looks through. Default: 60 seconds.
    #[must_use]
    pub const fn index_ttl(mut self, ttl: Duration) -> Self {
        self.settings.index_ttl = ttl;
        self
    }

    /// How many questions may wait for a decision at once, in all and per requester. Default: 100 and 10.
    #[must_use]
    pub const fn max_pending(mut self, in_all: usize, per_requester: usize) -> Self {
        self.settings.room = Room { in_all, per_requester };
        self
    }

    /// Calls this after each step of a request's life, once, to count and to time. It must not block; when it panics,
    /// that is logged and the step stands. A quick human may have decided before the question counts as asked, and a
    /// question that reaches nobody is [`Undelivered`](crate::audit::AuditEvent::Undelivered) without having been
    /// [`Asked`](crate::audit::AuditEvent::Asked). What the cache answers is no request, and makes no step.
    #[must_use]
    pub fn on_step(mut self, listen: impl Fn(&Step) + Send + Sync + 'static) -> Self {
        self.listener = Listener::new(listen);
        self
    }

    /// The gate. Starts nothing: it lists, asks and writes only when it is called.
    #[must_use]
    pub fn build(self) -> Gate {
        let Self { backend, approver, cache, audit, clock, listener, settings } = self;
        let index = TitleIndex::new(Arc::clone(&backend), Arc::clone(&clock));
        let (store, posted, deciding) = (RequestStore::default(), Mutex::default(), tokio::sync::Mutex::default());
        let inner = Inner {
            backend,
            approver,
            cache,
            journal: Journal::new(audit, Arc::clone(&clock)),
            clock,
            index,
            store,
            posted,
            deciding,
            listener,
            settings,
        };
        Gate { inner: Arc::new(inner) }
    }
}

impl Gate {
    /// A gate before these secrets, kept by this approver.
    pub fn builder(backend: Arc<dyn SecretBackend>, approver: Arc<dyn Approver>) -> GateBuilder {
        GateBuilder {
            backend,
            approver,
            cache: Arc::new(NoCache),
            audit: Arc::new(TracingAudit::new()),
            clock: Arc::new(SystemClock::new()),
            listener: Listener::default(),
            settings: Settings {
                request_ttl: Duration::from_secs(15 * 60),
                index_ttl: Duration::from_secs(60),
                room: Room { in_all: 100, per_requester: 10 },
            },
        }
    }
}
