//! What the daemon holds: approvals, with the values that they are for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::call::Held;
pub(super) use super::item::{CURRENT_CODE, HoldingField, HoldingItem, Name, NoSeed};
use crate::client::RemoteGate;
use crate::clock::Clock;
use crate::sync::lock;
use crate::wire::GrantInfo;
use crate::{Grant, SecretValue, Use};

/// An approval that is held.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) server: String,
    /// Whose approval it is: the server, and the key that it was asked with.
    pub(super) scope: String,
    pub(super) grant: Grant,
    /// The client of that server; none in tests.
    pub(super) gate: Option<Arc<RemoteGate>>,
    /// The server's token for it, to watch and to revoke.
    pub(super) token: SecretValue,
    pub(super) items: Vec<HoldingItem>,
    pub(super) since: SystemTime,
    /// Cancelled when the approval is taken back: whatever runs with it stops.
    pub(super) revoked: CancellationToken,
}

impl Holding {
    pub(super) fn describe(&self) -> Held {
        Held {
            server: self.server.clone(),
            grant: self.grant_info(),
            items: self.items.iter().map(HoldingItem::describe).collect(),
        }
    }

    /// Whether all there is are codes that the server computed.
    fn has_codes_alone(&self) -> bool {
        self.items.iter().flat_map(|item| &item.fields).all(|field| field.label.ends_with(CURRENT_CODE))
    }

    pub(super) fn grant_info(&self) -> GrantInfo {
        GrantInfo {
            id: self.grant.id.clone(),
            allowed: self.grant.allowed.clone(),
            expires_at: humantime::format_rfc3339_seconds(self.grant.expires_at).to_string(),
            once: self.grant.once,
        }
    }
}

/// An item of a holding, for one use.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) holding: Arc<Holding>,
    at: usize,
}

impl Found {
    /// The item that was asked for by this name.
    pub(super) fn named(holding: &Arc<Holding>, name: &Name) -> Option<Self> {
        let at = holding.items.iter().position(|item| item.asked.contains(name))?;
        Some(Self { holding: Arc::clone(holding), at })
    }

    pub(super) fn item(&self) -> Option<&HoldingItem> {
        self.holding.items.get(self.at)
    }
}

#[derive(Debug)]
struct Kept {
    holding: Arc<Holding>,
    // stops the timer
    _timer: DropGuard,
}

/// Everything that is held. A handle: clones are the same holdings.
#[derive(Debug, Clone)]
pub(super) struct Holdings {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Mutex<HashMap<String, Kept>>,
    /// Whatever was ever used and may be in use: it can be taken back although it is not held any more.
    lent: Mutex<Vec<Weak<Holding>>>,
    clock: Arc<dyn Clock>,
    changed: watch::Sender<usize>,
}

impl Holdings {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kept: Mutex::default(),
                lent: Mutex::default(),
                clock,
                changed: watch::Sender::new(0),
            }),
        }
    }

    /// How many there are, as it changes.
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.inner.changed.subscribe()
    }

    /// Holds an approval until it ends; a timer drops it then, and what nobody uses is wiped.
    pub(super) fn put(&self, holding: Holding) -> Arc<Holding> {
        let (id, end) = (holding.grant.id.clone(), holding.grant.expires_at);
        let holding = Arc::new(holding);
        {
            let mut lent = lock(&self.inner.lent);
            lent.retain(|holding| holding.strong_count() > 0);
            lent.push(Arc::downgrade(&holding));
        }
        let stop = CancellationToken::new();
        let kept = Kept { holding: Arc::clone(&holding), _timer: stop.clone().drop_guard() };
        self.change(|all| drop(all.insert(id.clone(), kept)));
        let (holdings, clock) = (Arc::downgrade(&self.inner), Arc::clone(&self.inner.clock));
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(end) => {}
            }
            if let Some(inner) = holdings.upgrade() {
                Self { inner }.forget(&id);
            }
        });
        holding
    }

    /// An item of this name under an approval that covers the use. One for a single use stays until it is
    /// [taken](Self::take_all).
    pub(super) fn find(&self, scope: &str, wanted: &Name, intended_use: &Use) -> Option<Found> {
        let now = self.inner.clock.now();
        let all = lock(&self.inner.kept);
        let fits = |kept: &&Kept| {
            let Kept { holding, .. } = kept;
            holding.scope == scope && holding.grant.covers(intended_use, now) && !holding.revoked.is_cancelled()
        };
        let mut fitting: Vec<&Kept> = all.values().filter(fits).collect();
        // what lasts is taken before what is good for one use
        fitting.sort_by_key(|kept| (kept.holding.grant.once, kept.holding.since));
        fitting.into_iter().find_map(|kept| {
            let at = kept.holding.items.iter().position(|item| item.is(wanted))?;
            Some(Found { holding: Arc::clone(&kept.holding), at })
        })
    }

    /// Drops the approval of this id; returns it, and one that is in use and not held any more as well.
    pub(super) fn remove(&self, id: &str) -> Option<Arc<Holding>> {
        let mut removed = None;
        self.change(|all| removed = all.remove(id));
        let in_use = || self.in_use().into_iter().find(|holding| holding.grant.id == id);
        removed.map(|kept| Arc::clone(&kept.holding)).or_else(in_use)
    }

    /// Takes the approvals among these that are for one use: all of them, or none where one is gone already.
    pub(super) fn take_all(&self, found: &[Found]) -> bool {
        let holdings = || found.iter().map(|found| &found.holding);
        let once = || holdings().filter(|holding| holding.grant.once);
        // nobody can use it again, so there is no reason to hold it
        let used_up = || holdings().filter(|holding| holding.grant.once || holding.has_codes_alone());
        let mut taken = false;
        self.change(|all| {
            let is_held = |holding: &Arc<Holding>| {
                all.get(&holding.grant.id).is_some_and(|kept| Arc::ptr_eq(&kept.holding, holding))
            };
            taken = once().all(is_held);
            if taken {
                // several items may be of one approval
                used_up().for_each(|holding| drop(all.remove(&holding.grant.id)));
            }
        });
        taken
    }

    /// Drops the approval of this id, which has ended.
    pub(super) fn forget(&self, id: &str) {
        self.change(|all| drop(all.remove(id)));
    }

    /// What is held or in use.
    pub(super) fn in_use(&self) -> Vec<Arc<Holding>> {
        lock(&self.inner.lent).iter().filter_map(Weak::upgrade).collect()
    }

    /// Drops everything; returns what was held, and what is in use.
    pub(super) fn clear(&self) -> Vec<Arc<Holding>> {
        let all = self.in_use();
        self.change(HashMap::clear);
        all
    }

    /// Everything, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Holding>> {
        let mut all: Vec<_> = lock(&self.inner.kept).values().map(|kept| Arc::clone(&kept.holding)).collect();
        all.sort_by_key(|holding| holding.since);
        all
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Kept>)) {
        let mut all = lock(&self.inner.kept);
        change(&mut all);
        let count = all.len();
        self.inner.changed.send_if_modified(|known| std::mem::replace(known, count) != count);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::FieldKind;
    use crate::clock::ManualClock;

    fn holding(clock: &ManualClock, id: &str, allowed: Use, seconds: u64, once: bool) -> Holding {
        let field =
            |label: &str| HoldingField { label: label.into(), kind: None, value: Arc::new("value".to_owned().into()) };
        Holding {
            server: "https://gate".into(),
            scope: "https://gate".into(),
            grant: Grant::new(id, allowed, clock.now() + Duration::from_secs(seconds), once),
            gate: None,
            token: "token".to_owned().into(),
            items: vec![HoldingItem {
                asked: vec![Name::new("database", None, &["user".into(), "password".into()])],
                title: "Database".into(),
                vault: "infra".into(),
                vault_id: "v1".into(),
                item_id: "i1".into(),
                whole: false,
                fields: vec![field("user"), field("password")],
            }],
            since: clock.now(),
            revoked: CancellationToken::new(),
        }
    }

    fn name(text: &str, vault: Option<&str>, fields: &[&str]) -> Name {
        Name::new(text, vault, &fields.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn what_covers_what() {
        let clock = Arc::new(ManualClock::new());
        let holdings = Holdings::new(Arc::clone(&clock) as Arc<dyn Clock>);
        holdings.put(holding(&clock, "g", Use::any_command(), 60, false));
        let found = |server: &str, wanted: &Name, intended: &Use| holdings.find(server, wanted, intended).is_some();
        let exec = Use::any_command();
        let covered = [
            name("database", None, &["password"]),
            name("database", None, &["user"]),
            name("i1", Some("v1"), &["password", "user"]),
            name("Database", Some("infra"), &["password"]),
            name("op://infra/Database/password", None, &[]),
        ];
        for wanted in covered {
            assert!(found("https://gate", &wanted, &exec), "{wanted:?}");
        }
        let not_covered = [
            // it was asked for by another name, which meant this item; this one may mean another
            name("Database", None, &["password"]),
            name("database", None, &["password?attribute=otp"]),
            name("Database", Some("infra"), &[]),
            name("Database", None, &["password", "port"]),
            name("Database", Some("web"), &["password"]),
            name("database2", None, &["password"]),
            name("op://infra/Database/port", None, &[]),
        ];
        for wanted in not_covered {
            assert!(!found("https://gate", &wanted, &exec), "{wanted:?}");
        }
        let wanted = name("database", None, &["password"]);
        assert!(!found("https://other", &wanted, &exec), "another server");
        for wider in [Use::any_host(), Use::reveal()] {
            assert!(!found("https://gate", &wanted, &wider));
        }
        clock.advance(Duration::from_secs(60));
        assert!(!found("https://gate", &wanted, &exec), "it has ended");
    }

    #[tokio::test]
    async fn what_is_for_one_use_is_used_once_and_last() {
        let clock = Arc::new(ManualClock::new());
        let holdings = Holdings::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let find = || holdings.find("https://gate", &name("database", None, &["user"]), &Use::any_command());
        holdings.put(holding(&clock, "once", Use::any_command(), 60, true));
        holdings.put(holding(&clock, "hour", Use::any_command(), 60, false));
        let lasting = find().unwrap();
        assert_eq!(lasting.holding.grant.id, "hour");
        assert!(holdings.take_all(&[lasting]) && find().unwrap().holding.grant.id == "hour");
        holdings.remove("hour");
        // looking does not use it up
        let (one, other) = (find().unwrap(), find().unwrap());
        assert_eq!(one.holding.grant.id, "once");
        assert!(holdings.take_all(&[one.clone(), one]));
        assert!(find().is_none() && *holdings.count().borrow() == 0);
        assert!(!holdings.take_all(std::slice::from_ref(&other)), "it is spent");

        // of several, all are used, or none
        holdings.put(holding(&clock, "fresh", Use::any_command(), 60, true));
        let fresh = find().unwrap();
        assert!(!holdings.take_all(&[fresh.clone(), other]) && find().is_some());
        fresh.holding.revoked.cancel();
        assert!(find().is_none(), "it was taken back");
    }

    #[tokio::test]
    async fn a_seed_is_used_by_its_codes() {
        let clock = Arc::new(ManualClock::new());
        let uri = "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let field = |label: &str, kind: Option<FieldKind>, value: &str| HoldingField {
            label: label.into(),
            kind,
            value: Arc::new(value.to_owned().into()),
        };
        let mut holding = holding(&clock, "g", Use::any_command(), 60, false);
        holding.items[0].fields = vec![
            field("seed", Some(FieldKind::one_time_password()), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"),
            field("uri", None, uri),
            field("broken", Some(FieldKind::new("TOTP")), "no base32!"),
            field("word", Some(FieldKind::concealed()), "GEZDGNBVGY3TQOJQ"),
            field("gone?attribute=otp", Some(FieldKind::concealed()), "123456"),
        ];
        let item = &holding.items[0];
        let used = |label: &str| item.value_to_use(label).map(|value| value.map(|value| value.expose().to_owned()));
        for label in ["seed", "uri", "seed?attribute=otp", "uri?attribute=otp"] {
            let code = used(label).unwrap().unwrap();
            assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{label}: {code}");
        }
        assert!(matches!(used("broken"), Some(Err(NoSeed))) && matches!(used("word?attribute=otp"), Some(Err(NoSeed))));
        assert_eq!(used("word").unwrap().unwrap(), "GEZDGNBVGY3TQOJQ");
        assert_eq!(used("gone?attribute=otp").unwrap().unwrap(), "123456", "right after the server computed it");
        assert!(used("gone").is_none() && used("?attribute=otp").is_none());
        assert_eq!(item.value_to_reveal("uri").unwrap().unwrap().expose(), uri);
        assert_eq!(item.value_to_reveal("uri?attribute=otp").unwrap().unwrap().expose().len(), 6);

        let has = |label: &str| item.is(&name("database", None, &[label]));
        assert!(has("seed?attribute=otp") && has("uri?attribute=otp"));
        assert!(
            !has("word?attribute=otp") && !has("gone?attribute=otp"),
            "no code that was computed elsewhere is kept"
        );
    }

    #[tokio::test]
    async fn a_timer_drops_what_has_ended() {
        let clock = Arc::new(ManualClock::new());
        let holdings = Holdings::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let kept = Arc::downgrade(&holdings.put(holding(&clock, "g", Use::reveal(), 60, false)));
        let mut count = holdings.count();
        assert_eq!(*count.borrow_and_update(), 1);
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(60));
        count.wait_for(|count| *count == 0).await.unwrap();
        while kept.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
