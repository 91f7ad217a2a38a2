//! What there is: a gate, its vaults, its human, its audit log, its clock; all of it can fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use secret_gate_core::audit::MemoryAudit;
use secret_gate_core::clock::{Clock, ManualClock};
use secret_gate_core::{
    Approver, ApproverError, BackendError, Ballot, CastError, Decision, Error, Field, FieldKind, Gate, Item,
    ItemSummary, MemoryBackend, Outcome, Posted, Question, Release, RequestId, Revision, SecretBackend, Submitted,
    Token, Vault,
};
use tokio::task::JoinHandle;

/// Two items of each of two vaults, by vault id, item id and title.
pub(crate) const ITEMS: [(&str, &str, &str); 4] =
    [("v1", "i1", "database"), ("v1", "i2", "deploy-key"), ("v2", "i3", "cookies"), ("v2", "i4", "mail")];
/// How long a request stays open.
pub(crate) const TTL: Duration = Duration::from_secs(15 * 60);
/// How many may wait, in all and of one requester.
pub(crate) const MAX_PENDING: (usize, usize) = (12, 6);

pub(crate) type Versions = BTreeMap<(String, String), i64>;

/// Numbers that look random and are the same each time (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    fn next(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub(crate) fn below(&self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// Once in so many times.
    pub(crate) fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        if all.is_empty() { None } else { all.get(self.below(all.len())) }
    }

    /// Lets others go first, a few times.
    pub(crate) async fn dawdle(&self) {
        for _ in 0..self.below(4) {
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) gate: Gate,
    pub(crate) dice: Arc<Dice>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) audit: MemoryAudit,
    pub(crate) vaults: Arc<Vaults>,
    pub(crate) human: Arc<Human>,
    pub(crate) history: Arc<Mutex<History>>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

/// What was seen from outside.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) submitted: Vec<(Submitted, Versions)>,
    /// Requests that were shown, and whose requester heard an error or went away.
    pub(crate) failed: Vec<Error>,
    pub(crate) casts: Vec<Cast>,
    pub(crate) releases: Vec<(RequestId, Release)>,
    pub(crate) refusals: Vec<(RequestId, Error)>,
}

/// A decision that a human made, and what became of it; `None` while it is on its way.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) id: RequestId,
    pub(crate) decision: Decision,
    pub(crate) at: SystemTime,
    pub(crate) result: Option<Result<Outcome, CastError>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = Arc::new(Dice(AtomicU64::new(seed)));
        let vaults = Arc::new(Vaults::new(Arc::clone(&dice)));
        let human = Arc::new(Human {
            dice: Arc::clone(&dice),
            vaults: Arc::clone(&vaults),
            is_away: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let (audit, clock) = (MemoryAudit::new(), Arc::new(ManualClock::new()));
        let gate =
            Gate::builder(Arc::clone(&vaults) as Arc<dyn SecretBackend>, Arc::clone(&human) as Arc<dyn Approver>)
                .audit(Arc::new(audit.clone()))
                .clock(Arc::clone(&clock) as Arc<dyn Clock>)
                .request_ttl(TTL)
                .max_pending(MAX_PENDING.0, MAX_PENDING.1)
                .build();
        Self { gate, dice, clock, audit, vaults, human, history: Arc::default(), tasks: Vec::new() }
    }

    /// From now on nothing fails.
    pub(crate) fn heal(&self) {
        self.vaults.is_down.store(false, Ordering::SeqCst);
        self.human.is_away.store(false, Ordering::SeqCst);
        self.audit.fail_on(None);
    }

    /// Waits until nobody does anything any more, and the audit log is owed nothing.
    pub(crate) async fn settle(&mut self) {
        for task in std::mem::take(&mut self.tasks) {
            // those that went away were told to
            if let Err(error) = task.await {
                assert!(error.is_cancelled(), "{error}");
            }
        }
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.gate.settle().await, 0, "the audit log is owed lines");
    }
}

#[derive(Debug)]
pub(crate) struct Vaults {
    dice: Arc<Dice>,
    inner: MemoryBackend,
    pub(crate) is_down: AtomicBool,
    versions: Mutex<Versions>,
}

/// What a field of an item holds at a version: it says where it is from.
pub(crate) fn value_of(vault: &str, item: &str, version: i64, field: &str) -> String {
    format!("{vault}/{item}@{version}/{field}")
}

impl Vaults {
    fn new(dice: Arc<Dice>) -> Self {
        let inner = MemoryBackend::new().with_vault("v1", "infra").with_vault("v2", "web");
        let vaults = Self { dice, inner, is_down: AtomicBool::new(false), versions: Mutex::default() };
        for (vault, item, _) in ITEMS {
            vaults.edit(vault, item);
        }
        vaults
    }

    /// Changes an item.
    pub(crate) fn edit(&self, vault: &str, id: &str) {
        let (.., title) = ITEMS.into_iter().find(|known| (known.0, known.1) == (vault, id)).unwrap();
        let mut versions = self.versions.lock().unwrap();
        let version = versions.entry((vault.to_owned(), id.to_owned())).or_default();
        *version += 1;
        let field = |label: &str, kind| Field::new(label, label, kind, value_of(vault, id, *version, label));
        let item = Item::new(id, vault, title).with_revision(Revision::Version(*version));
        let item = item.with_field(field("username", FieldKind::text()));
        self.inner.put(item.with_field(field("password", FieldKind::concealed())));
    }

    pub(crate) fn versions(&self) -> Versions {
        self.versions.lock().unwrap().clone()
    }

    async fn may_fail(&self) -> Result<(), BackendError> {
        self.dice.dawdle().await;
        if self.is_down.load(Ordering::SeqCst) && !self.dice.once_in(3) {
            return Err(BackendError::unavailable("down"));
        }
        Ok(())
    }
}

#[async_trait]
impl SecretBackend for Vaults {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        self.may_fail().await?;
        self.inner.vaults().await
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        self.may_fail().await?;
        self.inner.items(vault_id).await
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        self.may_fail().await?;
        let item = self.inner.item(vault_id, item_id).await;
        // the answer is on its way while others act
        self.dice.dawdle().await;
        item
    }

    async fn check(&self) -> Result<(), BackendError> {
        self.may_fail().await
    }
}

/// Sees questions; what they answer is up to the moves.
#[derive(Debug)]
pub(crate) struct Human {
    dice: Arc<Dice>,
    vaults: Arc<Vaults>,
    pub(crate) is_away: AtomicBool,
    seen: Mutex<Vec<Arc<Seen>>>,
}

/// A question that a human saw, or that was on its way when the connection broke.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) question: Arc<Question>,
    pub(crate) ballot: Ballot,
    pub(crate) versions: Versions,
    pub(crate) shown: Mutex<Option<Outcome>>,
}

impl Human {
    pub(crate) fn seen(&self) -> Vec<Arc<Seen>> {
        self.seen.lock().unwrap().clone()
    }
}

#[async_trait]
impl Approver for Human {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        self.dice.dawdle().await;
        let seen = Seen { question, ballot, versions: self.vaults.versions(), shown: Mutex::default() };
        let seen = Arc::new(seen);
        self.seen.lock().unwrap().push(Arc::clone(&seen));
        // may have been seen all the same, and be answered
        self.dice.dawdle().await;
        if self.is_away.load(Ordering::SeqCst) && !self.dice.once_in(3) {
            return Err(ApproverError::unreachable("away"));
        }
        Ok(Box::new(Shown(seen)))
    }

    async fn check(&self) -> Result<(), ApproverError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Shown(Arc<Seen>);

impl Posted for Shown {
    fn show(&self, outcome: &Outcome) {
        *self.0.shown.lock().unwrap() = Some(outcome.clone());
    }
}

/// A token once more.
pub(crate) fn copy(token: &Token) -> Token {
    Token::presented(token.expose())
}
