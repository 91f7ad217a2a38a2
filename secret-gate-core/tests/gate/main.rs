//! The gate's promises, through its public door.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on fails")]

mod embedding;
mod faults;
mod life;
mod naming;
mod take_back;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secret_gate_core::audit::{AuditEvent, MemoryAudit};
use secret_gate_core::clock::{Clock, ManualClock};
use secret_gate_core::{
    Approver, ApproverError, BackendError, Ballot, CastError, Decision, Error, Field, FieldKind, Gate, GateBuilder,
    Item, ItemSummary, Keep, MemoryBackend, MemoryCache, Outcome, Posted, Question, Request, Requester, Revision,
    ScriptedApprover, SecretBackend, Submitted, Token, Use, Vault, Wanted,
};
use tokio::sync::{Semaphore, watch};

const TTL: Duration = Duration::from_secs(15 * 60);

fn item(vault: &str, id: &str, title: &str, version: i64) -> Item {
    Item::new(id, vault, title)
        .with_revision(Revision::Version(version))
        .with_field(Field::new("u", "username", FieldKind::text(), "ann"))
        .with_field(Field::new("p", "password", FieldKind::concealed(), format!("value of {id} v{version}")))
}

fn vaults() -> MemoryBackend {
    MemoryBackend::new()
        .with_vault("v1", "infra")
        .with_vault("v2", "web")
        .with_item(item("v1", "i1", "database", 1))
        .with_item(item("v1", "i2", "deploy-key", 1))
        .with_item(item("v2", "i3", "cookies", 1))
}

/// A gate with everything about it in the test's hands.
struct TestGate {
    gate: Gate,
    human: ScriptedApprover,
    audit: MemoryAudit,
    clock: Arc<ManualClock>,
    vaults: Arc<TestBackend>,
}

impl TestGate {
    fn new(human: ScriptedApprover) -> Self {
        Self::with(human, |builder| builder)
    }

    fn with(human: ScriptedApprover, adjust: impl Fn(GateBuilder) -> GateBuilder) -> Self {
        let vaults = Arc::new(TestBackend::new(vaults()));
        let (audit, clock) = (MemoryAudit::new(), Arc::new(ManualClock::new()));
        let builder = Gate::builder(Arc::clone(&vaults) as Arc<dyn SecretBackend>, Arc::new(human.clone()))
            .audit(Arc::new(audit.clone()))
            .clock(Arc::clone(&clock) as Arc<dyn Clock>);
        Self { gate: adjust(builder).build(), human, audit, clock, vaults }
    }

    async fn submit(&self, name: &str) -> Submitted {
        self.gate.submit(Request::new(name)).await.unwrap()
    }

    async fn decide(&self, submitted: &Submitted, decision: Decision) -> Result<Outcome, CastError> {
        self.gate.decide(&submitted.request_id, decision).await
    }

    async fn approved(&self, name: &str) -> Token {
        let submitted = self.submit(name).await;
        self.decide(&submitted, Decision::approve("Ann")).await.unwrap();
        submitted.token
    }

    /// Redeems until the backend is being read, and leaves then. Reads stay held up.
    async fn leave_during_the_release(&self, token: &Token) {
        let mut reading = self.vaults.reading.subscribe();
        reading.mark_unchanged();
        self.vaults.hold_reads();
        tokio::select! {
            _ = self.gate.redeem(token) => panic!("must wait for the backend"),
            _ = reading.changed() => {}
        }
    }

    fn outcome(&self, token: &Token) -> Option<Outcome> {
        self.gate.standing(token).unwrap().outcome
    }
}

/// A backend that can be held up and made to fail.
#[derive(Debug)]
struct TestBackend {
    inner: MemoryBackend,
    reads: Semaphore,
    reading: watch::Sender<usize>,
    listings: watch::Sender<usize>,
    listings_fail: AtomicBool,
    failing: std::sync::Mutex<Option<&'static str>>,
    failing_vault: std::sync::Mutex<Option<(&'static str, bool)>>,
}

impl TestBackend {
    fn new(inner: MemoryBackend) -> Self {
        Self {
            inner,
            reads: Semaphore::new(Semaphore::MAX_PERMITS),
            reading: watch::Sender::new(0),
            listings: watch::Sender::new(0),
            listings_fail: AtomicBool::new(false),
            failing: std::sync::Mutex::new(None),
            failing_vault: std::sync::Mutex::new(None),
        }
    }

    /// From now on each read waits for a permit.
    fn hold_reads(&self) {
        self.reads.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn fail(&self, message: Option<&'static str>) {
        *self.failing.lock().unwrap() = message;
    }

    fn fail_listings(&self, fail: bool) {
        self.listings_fail.store(fail, Ordering::SeqCst);
    }

    fn fail_vault(&self, vault: &'static str, forbidden: bool) {
        *self.failing_vault.lock().unwrap() = Some((vault, forbidden));
    }
}

#[async_trait]
impl SecretBackend for TestBackend {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        self.listings.send_modify(|count| *count += 1);
        // lets whoever else wants the listing queue up for it
        tokio::task::yield_now().await;
        if self.listings_fail.load(Ordering::SeqCst) {
            return Err(BackendError::unavailable("down"));
        }
        self.inner.vaults().await
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        match *self.failing_vault.lock().unwrap() {
            Some((vault, true)) if vault == vault_id => return Err(BackendError::Forbidden),
            Some((vault, false)) if vault == vault_id => return Err(BackendError::unavailable("down")),
            _ => {}
        }
        self.inner.items(vault_id).await
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        self.reading.send_modify(|count| *count += 1);
        let permit = self.reads.acquire().await.map_err(|_| BackendError::unavailable("closed"))?;
        permit.forget();
        self.reads.add_permits(1);
        let failing = *self.failing.lock().unwrap();
        if let Some(message) = failing {
            assert_ne!(message, "panic", "told to");
            return Err(BackendError::unavailable(message));
        }
        self.inner.item(vault_id, item_id).await
    }

    async fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Polls once.
pub(crate) async fn poll_once<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
