//! What every [`Cache`] must do.
//!
//! Each rule takes a function that makes an empty cache on the clock that it is given, and [`Differences`]. The clock
//! stands still until the suite moves it.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a suite fails the test that calls it")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use super::wait::{PATIENCE, until, within};
use crate::cache::{CacheKey, Lease};
use crate::clock::{Clock, ManualClock};
use crate::{Cache, ExactCommand, ExactHost, FieldKind, Grant, ReleasedField, ReleasedItem, Revision, Use};

/// Makes an empty cache that reads the time from this clock.
pub type Make<'a> = &'a (dyn Fn(Arc<dyn Clock>) -> Arc<dyn Cache> + Sync);

const MINUTE: Duration = Duration::from_secs(60);

const WIPED: &str =
    "a lease is dropped, and so wiped, when its grant ends, by a timer and not when somebody looks next";

/// What a cache may do differently.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Differences {
    keeps_nothing: bool,
    capacity: usize,
    patience: Duration,
}

impl Differences {
    /// None: the cache keeps at least 10,000 leases.
    #[must_use]
    pub const fn none() -> Self {
        Self { keeps_nothing: false, capacity: 10_000, patience: PATIENCE }
    }

    /// The cache never keeps anything, on purpose. Then the rules are that nothing is ever found in it.
    #[must_use]
    pub const fn keeps_nothing(mut self) -> Self {
        self.keeps_nothing = true;
        self
    }

    /// The cache keeps at most this many leases, and refuses others. At least 10, for the rules to make sense.
    #[must_use]
    pub const fn capacity(mut self, leases: usize) -> Self {
        self.capacity = leases;
        self
    }

    /// How long the suite waits for a timer after the clock has moved. 10 seconds unless said otherwise.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Default for Differences {
    fn default() -> Self {
        Self::none()
    }
}

/// All rules, one after another, each on a cache of its own.
pub async fn all(make: Make<'_>, differences: &Differences) {
    if differences.keeps_nothing {
        nothing_is_kept(make);
        return;
    }
    a_lease_is_kept_and_removed(make);
    a_lease_is_kept_whole(make);
    a_lease_is_replaced(make);
    keys_are_kept_apart(make);
    clear_drops_everything(make);
    an_ended_lease_is_never_returned(make);
    a_timer_drops_what_has_ended(make, differences).await;
    a_renewed_lease_outlives_the_first(make, differences).await;
    a_shortened_lease_ends_early(make, differences).await;
    the_clock_may_jump(make, differences).await;
    a_dropped_cache_keeps_nothing(make, differences).await;
    thousands_are_kept(make, differences).await;
    threads_share_it(make, differences).await;
    nothing_shows_a_value(make);
}

/// For a cache that keeps nothing: whatever is put there is not found, and not listed.
pub fn nothing_is_kept(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    let rule = "a cache that keeps nothing finds nothing";
    // it may refuse as well
    cache.put(key("a"), lease(&*clock, "hunter2", MINUTE)).ok();
    assert!(cache.get(&key("a")).is_none() && cache.list().is_empty() && !cache.remove(&key("a")), "{rule}");
    cache.clear();
    assert!(cache.get(&key("a")).is_none(), "{rule}");
}

/// What is put is found with its values and listed with its end, until it is removed.
pub fn a_lease_is_kept_and_removed(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    assert!(cache.list().is_empty() && cache.get(&key("a")).is_none(), "a new cache is empty");
    assert!(!cache.remove(&key("a")), "removing says whether there was something: there was nothing");
    put(&*cache, key("a"), lease(&*clock, "hunter2", MINUTE));
    finds(&*cache, &key("a"), "hunter2", "what was put is found");
    finds(&*cache, &key("a"), "hunter2", "what was put is found again");
    let listed = [(key("a"), clock.now() + MINUTE)];
    assert_eq!(cache.list(), listed, "what is kept is listed, with the end of its grant");

    let kept = watch(&*cache, &key("a"));
    assert!(cache.remove(&key("a")), "removing says whether there was something: there was");
    assert!(!cache.remove(&key("a")), "what was removed is gone");
    assert!(cache.get(&key("a")).is_none() && cache.list().is_empty(), "what was removed is gone");
    assert!(kept.upgrade().is_none(), "what was removed is dropped, and so wiped");
}

/// A lease is found as it was put: for which use, until when and whether once; which revision; all fields with their kinds
/// and values. A cache that made more of it would allow what no human did.
pub fn a_lease_is_kept_whole(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    let values: Vec<_> = (0..10_u32).map(|number| (number, format!("value {number}"))).collect();
    let ends = |number| clock.now() + MINUTE * (number + 1);
    for (number, value) in &values {
        put(&*cache, key(value), lease(&*clock, value, MINUTE * (number + 1)));
    }
    let rule = "a lease is found as it was put";
    let listed: HashMap<_, _> = cache.list().into_iter().collect();
    for (number, value) in &values {
        finds(&*cache, &key(value), value, rule);
        let found = cache.get(&key(value)).map(|lease| lease.grant.expires_at);
        assert_eq!(found, Some(ends(*number)), "{rule}, with its grant's end");
        assert_eq!(listed.get(&key(value)), Some(&ends(*number)), "a key is listed with its grant's end");
    }
}

/// A later lease takes the place of an earlier one under the same key, which is dropped.
pub fn a_lease_is_replaced(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("a"), lease(&*clock, "old", MINUTE));
    let old = watch(&*cache, &key("a"));
    put(&*cache, key("a"), lease(&*clock, "new", MINUTE * 2));
    finds(&*cache, &key("a"), "new", "a later lease takes the place of an earlier one");
    let listed = [(key("a"), clock.now() + MINUTE * 2)];
    assert_eq!(cache.list(), listed, "a key is listed once, with the end of the later lease");
    assert!(old.upgrade().is_none(), "a lease that was replaced is dropped, and so wiped");
}

/// Scope, vault and item each tell one key from another, wherever in them the difference is.
pub fn keys_are_kept_apart(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    let keys = [
        CacheKey::new("s", "v", "i"),
        CacheKey::new("t", "v", "i"),
        CacheKey::new("s", "w", "i"),
        CacheKey::new("s", "v", "j"),
        CacheKey::new("s", "vi", ""),
        CacheKey::new("sv", "", "i"),
        CacheKey::new("S", "v", "i"),
        CacheKey::new("s/v", "i", "i"),
        CacheKey::new("s", "v/i", "i"),
    ];
    for (at, key) in keys.iter().enumerate() {
        put(&*cache, key.clone(), lease(&*clock, &format!("value {at}"), MINUTE));
    }
    for (at, key) in keys.iter().enumerate() {
        finds(&*cache, key, &format!("value {at}"), "keys that differ in scope, vault or item are kept apart");
    }
    let [first, rest @ ..] = &keys;
    assert!(cache.remove(first), "what was put can be removed");
    assert!(cache.get(first).is_none(), "what was removed is gone");
    for (at, key) in rest.iter().enumerate() {
        finds(&*cache, key, &format!("value {}", at + 1), "removing one key leaves the others");
    }
}

/// Clearing drops everything at once.
pub fn clear_drops_everything(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    let kept: Vec<_> = (0..5)
        .map(|at| {
            let key = key(&at.to_string());
            put(&*cache, key.clone(), lease(&*clock, "hunter2", MINUTE));
            watch(&*cache, &key)
        })
        .collect();
    cache.clear();
    let rule = "clearing drops everything, and so wipes it";
    assert!(cache.list().is_empty() && cache.get(&key("0")).is_none(), "{rule}: something is left");
    assert!(kept.iter().all(|lease| lease.upgrade().is_none()), "{rule}: something is held");
    put(&*cache, key("0"), lease(&*clock, "again", MINUTE));
    finds(&*cache, &key("0"), "again", "a cache that was cleared can be used");
}

/// A lease whose grant has ended is not found, neither at the moment it ends nor where it had ended before it was put;
/// whether or not a timer got around to it.
pub fn an_ended_lease_is_never_returned(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("a"), lease(&*clock, "hunter2", MINUTE));
    clock.advance(MINUTE - Duration::from_nanos(1));
    finds(&*cache, &key("a"), "hunter2", "a lease is found until its grant ends");
    // no task runs between here and the look
    clock.advance(Duration::from_nanos(1));
    assert!(cache.get(&key("a")).is_none(), "a lease is not found at the moment its grant ends");

    for (name, past) in [("now", Duration::ZERO), ("before", MINUTE)] {
        let ended = Lease::new(item("hunter2"), grant("hunter2", clock.now() - past));
        // it may be refused as well
        cache.put(key(name), ended).ok();
        assert!(cache.get(&key(name)).is_none(), "a lease whose grant has ended before is not found");
    }
}

/// A lease is dropped when its grant ends, although nobody calls the cache; others stay.
pub async fn a_timer_drops_what_has_ended(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("short"), lease(&*clock, "short", MINUTE));
    put(&*cache, key("long"), lease(&*clock, "long", MINUTE * 10));
    let short = watch(&*cache, &key("short"));
    clock.advance(MINUTE);
    until(differences.patience, WIPED, || short.upgrade().is_none()).await;
    finds(&*cache, &key("long"), "long", "the timer of one lease leaves the others");
    let listed = [(key("long"), clock.now() + MINUTE * 9)];
    assert_eq!(cache.list(), listed, "what has ended is not listed");
    // one that had ended before goes as well
    cache.put(key("late"), Lease::new(item("late"), grant("late", clock.now()))).ok();
    until(differences.patience, "a lease whose grant had ended is not kept", || cache.list().len() == 1).await;
}

/// A lease that took the place of an earlier one is kept until its own end, not until that of the first.
pub async fn a_renewed_lease_outlives_the_first(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("a"), lease(&*clock, "old", MINUTE));
    put(&*cache, key("a"), lease(&*clock, "new", MINUTE * 2));
    // tells that the timers of this moment have run
    put(&*cache, key("b"), lease(&*clock, "other", MINUTE));
    let (renewed, other) = (watch(&*cache, &key("a")), watch(&*cache, &key("b")));
    clock.advance(MINUTE);
    until(differences.patience, WIPED, || other.upgrade().is_none()).await;
    finds(&*cache, &key("a"), "new", "a renewed lease outlives the end of the first");
    clock.advance(MINUTE);
    until(differences.patience, WIPED, || renewed.upgrade().is_none()).await;
}

/// A lease that took the place of a longer one ends at its own end.
pub async fn a_shortened_lease_ends_early(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("a"), lease(&*clock, "long", MINUTE * 10));
    put(&*cache, key("a"), lease(&*clock, "short", MINUTE));
    let short = watch(&*cache, &key("a"));
    clock.advance(MINUTE);
    assert!(cache.get(&key("a")).is_none(), "a shortened lease is not found after its end");
    until(differences.patience, WIPED, || short.upgrade().is_none()).await;
}

/// A clock that jumps over the ends of many leases, by years, ends them all.
pub async fn the_clock_may_jump(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    let kept: Vec<_> = (1..=8_u32)
        .map(|minutes| {
            let key = key(&minutes.to_string());
            put(&*cache, key.clone(), lease(&*clock, "hunter2", MINUTE * minutes));
            watch(&*cache, &key)
        })
        .collect();
    clock.advance(Duration::from_secs(10 * 365 * 24 * 60 * 60));
    assert!((1..=8).all(|minutes| cache.get(&key(&minutes.to_string())).is_none()), "a jump of the clock ends leases");
    until(differences.patience, WIPED, || kept.iter().all(|lease| lease.upgrade().is_none())).await;
    assert!(cache.list().is_empty(), "what has ended is not listed");
}

/// With the last handle of the cache all that it keeps is dropped, whatever timers still run.
pub async fn a_dropped_cache_keeps_nothing(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("a"), lease(&*clock, "hunter2", MINUTE));
    let kept = watch(&*cache, &key("a"));
    drop(cache);
    let rule = "a cache that is dropped drops, and so wipes, what it keeps";
    until(differences.patience, rule, || kept.upgrade().is_none()).await;
}

/// As many leases as it is said to keep, 10,000 otherwise, are kept, told apart, and dropped when they end.
pub async fn thousands_are_kept(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    let count = differences.capacity.min(10_000);
    for at in 0..count {
        put(&*cache, key(&at.to_string()), lease(&*clock, &format!("value {at}"), MINUTE));
    }
    let listed: HashSet<_> = cache.list().into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed.len(), count, "as many leases are kept as were put, and each is listed");
    for at in (0..count).step_by(97) {
        finds(&*cache, &key(&at.to_string()), &format!("value {at}"), "each of thousands of leases is found");
    }
    let kept: Vec<_> = (0..count).step_by(97).map(|at| watch(&*cache, &key(&at.to_string()))).collect();
    clock.advance(MINUTE);
    until(differences.patience, WIPED, || kept.iter().all(|lease| lease.upgrade().is_none())).await;
    until(differences.patience, WIPED, || cache.list().is_empty()).await;
}

/// Threads that put, get, list and remove at once do not disturb each other.
pub async fn threads_share_it(make: Make<'_>, differences: &Differences) {
    let Scene { cache, clock } = Scene::new(make);
    let threads: Vec<_> = (0..8_u32)
        .map(|thread| {
            let (cache, clock) = (Arc::clone(&cache), Arc::clone(&clock));
            tokio::task::spawn_blocking(move || {
                let own = key(&format!("of {thread}"));
                for round in 0..50 {
                    put(&*cache, key("shared"), lease(&*clock, "shared", MINUTE));
                    put(&*cache, own.clone(), lease(&*clock, &format!("{thread} {round}"), MINUTE));
                    finds(&*cache, &own, &format!("{thread} {round}"), "what a thread puts is what it finds");
                    assert!(cache.list().iter().filter(|(key, _)| *key == own).count() == 1, "each key is listed once");
                    cache.remove(&key("shared"));
                }
            })
        })
        .collect();
    for thread in threads {
        if let Err(died) = within(differences.patience, "threads that share a cache come to an end", thread).await {
            // with the rule that it broke
            std::panic::resume_unwind(died.into_panic());
        }
    }
    assert!(!cache.remove(&key("shared")), "what the last thread removed is gone");
    assert_eq!(cache.list().len(), 8, "each thread's last lease is kept");
}

/// `Debug` of a cache shows no value.
pub fn nothing_shows_a_value(make: Make<'_>) {
    let Scene { cache, clock } = Scene::new(make);
    put(&*cache, key("a"), lease(&*clock, "hunter2-planted", MINUTE));
    assert!(!format!("{cache:?} {cache:#?}").contains("hunter2"), "nothing that is printed holds a value");
}

struct Scene {
    cache: Arc<dyn Cache>,
    clock: Arc<ManualClock>,
}

impl Scene {
    fn new(make: Make<'_>) -> Self {
        let clock = Arc::new(ManualClock::new());
        Self { cache: make(Arc::clone(&clock) as Arc<dyn Clock>), clock }
    }
}

fn put(cache: &dyn Cache, key: CacheKey, lease: Lease) {
    if let Err(error) = cache.put(key, lease) {
        panic!("a lease can be put: {error}");
    }
}

/// The lease that was made for this value is under the key.
fn finds(cache: &dyn Cache, key: &CacheKey, value: &str, rule: &str) {
    let Some(lease) = cache.get(key) else { panic!("{rule}: there is none under {key:?}") };
    let Lease { item: found, grant: granted } = &*lease;
    let right = found.value("password").is_some_and(|found| found.expose() == value);
    assert!(right, "{rule}: another one is under {key:?}");
    // the end is another rule's business: it depends on when the lease was made
    assert_eq!(*granted, grant(value, granted.expires_at), "{rule}, with its grant");
    let expected = item(value);
    assert_eq!(names(found), names(&expected), "{rule}, with its names");
    assert_eq!(found.revision, expected.revision, "{rule}, with its revision");
    let kinds = |item: &ReleasedItem| -> Vec<_> {
        item.fields.iter().map(|field| (field.name.clone(), field.kind.clone())).collect()
    };
    assert_eq!(kinds(found), kinds(&expected), "{rule}, with all its fields and their kinds");
    for (one, other) in found.fields.iter().zip(&expected.fields) {
        assert!(one.value.expose() == other.value.expose(), "{rule}, with its values: {} has another", one.name);
    }
}

fn names(item: &ReleasedItem) -> [&str; 5] {
    [&item.name, &item.title, &item.vault_id, &item.vault, &item.item_id].map(String::as_str)
}

/// Tells whether the lease under this key is still held by anybody.
fn watch(cache: &dyn Cache, key: &CacheKey) -> Weak<Lease> {
    let Some(lease) = cache.get(key) else { panic!("what was put is found: there is none under {key:?}") };
    Arc::downgrade(&lease)
}

fn key(item: &str) -> CacheKey {
    CacheKey::new("scope", "v", item)
}

fn lease(clock: &dyn Clock, value: &str, lasts: Duration) -> Lease {
    Lease::new(item(value), grant(value, clock.now() + lasts))
}

// what goes with a value differs from value to value, so that nothing can be made up or taken from another

fn number(value: &str) -> u32 {
    value.bytes().map(u32::from).sum()
}

fn grant(value: &str, ends: SystemTime) -> Grant {
    let number = number(value);
    let command =
        ExactCommand::new(["psql".to_owned(), format!("orders-{number}")], "/srv", "/usr/bin/psql", "0".repeat(64));
    let allowed = match number % 5 {
        0 => Use::any_command(),
        1 => Use::command(command.with_env("PGPASSWORD", "password")),
        2 => Use::any_host(),
        3 => Use::host(ExactHost::new("db.example")),
        _ => Use::reveal(),
    };
    Grant::new(format!("g{number}"), allowed, ends, number.is_multiple_of(2))
}

fn item(value: &str) -> ReleasedItem {
    let number = number(value);
    let mut fields = vec![ReleasedField::new("password", FieldKind::concealed(), value)];
    // not with each: thousands of values are kept at once, in pages of their own maybe
    if number.is_multiple_of(4) {
        fields.push(ReleasedField::new("username", FieldKind::text(), format!("orders-admin-{number}")));
    }
    ReleasedItem {
        name: format!("infra/database {number}"),
        title: format!("database {number}"),
        vault_id: "v".to_owned(),
        vault: "infra".to_owned(),
        item_id: "i".to_owned(),
        revision: match number % 3 {
            0 => Revision::Version(number.into()),
            1 => Revision::UpdatedAt(format!("2026-01-01T00:00:00.{number}Z")),
            _ => Revision::Unknown,
        },
        fields,
    }
}
