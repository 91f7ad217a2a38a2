use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::{Cache, CacheError, CacheKey, Lease};
use crate::clock::{Clock, SystemClock};
use crate::sync::lock;

/// Keeps leases in memory, each value in locked pages (see [`SecretValue`](crate::SecretValue)); a timer drops each
/// when its grant ends.
///
/// The timers are tasks of the Tokio runtime that [`put`](Cache::put) is called in; outside of one it refuses. With the
/// last handle of the cache everything in it is dropped.
///
/// ```
/// use std::sync::Arc;
/// use secret_gate_core::{Decision, Field, FieldKind, Gate, Item, MemoryBackend, MemoryCache, Request};
/// use secret_gate_core::{ScriptedApprover, Use};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), secret_gate_core::Error> {
/// let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(
///     Item::new("i1", "v1", "database").with_field(Field::new("f1", "password", FieldKind::concealed(), "hunter2")),
/// );
/// let human = ScriptedApprover::new().then(Decision::approve("Ann"));
/// let gate = Gate::builder(Arc::new(vault), Arc::new(human.clone())).cache(Arc::new(MemoryCache::new())).build();
///
/// // a request that says what the value is for leaves a grant behind, and the next one finds it
/// let request = Request::new("database").for_use(Use::any_command());
/// gate.request(request.clone()).await?;
/// let again = gate.request(request).await?;
/// assert_eq!(again.value("password").unwrap().expose(), "hunter2");
/// assert_eq!(human.count(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    leases: Arc<Mutex<HashMap<CacheKey, Arc<Lease>>>>,
}

impl MemoryCache {
    /// An empty cache on the computer's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// An empty cache on this clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { clock, leases: Arc::default() }
    }
}

impl Default for MemoryCache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache for MemoryCache {
    fn put(&self, key: CacheKey, lease: Lease) -> Result<(), CacheError> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| CacheError::new("its timer needs a Tokio runtime, and there is none here"))?;
        let lease = Arc::new(lease);
        let (clock, leases) = (Arc::clone(&self.clock), Arc::downgrade(&self.leases));
        let (watched, watched_key) = (Arc::downgrade(&lease), key.clone());
        let ends = lease.grant.expires_at;
        lock(&self.leases).insert(key, lease);
        runtime.spawn(async move {
            clock.sleep_until(ends).await;
            let Some(leases) = leases.upgrade() else { return };
            let mut leases = lock(&leases);
            // a later lease under the same key has a timer of its own
            if leases.get(&watched_key).is_some_and(|kept| std::ptr::eq(Arc::as_ptr(kept), watched.as_ptr())) {
                leases.remove(&watched_key);
            }
        });
        Ok(())
    }

    fn get(&self, key: &CacheKey) -> Option<Arc<Lease>> {
        let lease = lock(&self.leases).get(key).map(Arc::clone)?;
        (self.clock.now() < lease.grant.expires_at).then_some(lease)
    }

    fn remove(&self, key: &CacheKey) -> bool {
        lock(&self.leases).remove(key).is_some()
    }

    fn clear(&self) {
        lock(&self.leases).clear();
    }

    fn list(&self) -> Vec<(CacheKey, SystemTime)> {
        lock(&self.leases).iter().map(|(key, lease)| (key.clone(), lease.grant.expires_at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::{FieldKind, Grant, ReleasedField, ReleasedItem, Revision, Use};

    fn lease(clock: &ManualClock, value: &str, seconds: u64) -> Lease {
        let item = ReleasedItem {
            name: "db".into(),
            title: "db".into(),
            vault_id: "v".into(),
            vault: "infra".into(),
            item_id: "i".into(),
            revision: Revision::Version(1),
            fields: vec![ReleasedField::new("password", FieldKind::concealed(), value)],
        };
        Lease::new(item, Grant::new("g", Use::reveal(), clock.now() + Duration::from_secs(seconds), false))
    }

    fn key(item: &str) -> CacheKey {
        CacheKey::new("scope", "v", item)
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_timer_drops_what_has_ended() {
        let clock = Arc::new(ManualClock::new());
        let cache = MemoryCache::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        cache.put(key("short"), lease(&clock, "a", 60)).unwrap();
        cache.put(key("long"), lease(&clock, "b", 600)).unwrap();
        let short = Arc::downgrade(&cache.get(&key("short")).unwrap());
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(60));
        assert!(cache.get(&key("short")).is_none());
        // nobody asks for it, and it goes
        until(|| short.upgrade().is_none()).await;
        assert_eq!(cache.list().len(), 1);
        assert!(cache.get(&key("long")).is_some());
    }

    #[tokio::test]
    async fn a_renewed_lease_outlives_the_first_timer() {
        let clock = Arc::new(ManualClock::new());
        let cache = MemoryCache::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        cache.put(key("a"), lease(&clock, "old", 60)).unwrap();
        let old = Arc::downgrade(&cache.get(&key("a")).unwrap());
        cache.put(key("a"), lease(&clock, "new", 120)).unwrap();
        assert!(old.upgrade().is_none());
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(60));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert!(cache.get(&key("a")).is_some());
        assert!(cache.remove(&key("a")) && !cache.remove(&key("a")));
    }

    #[tokio::test]
    async fn clear_drops_everything_at_once() {
        let clock = Arc::new(ManualClock::new());
        let cache = MemoryCache::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        cache.put(key("a"), lease(&clock, "x", 60)).unwrap();
        let kept = Arc::downgrade(&cache.get(&key("a")).unwrap());
        cache.clear();
        assert!(kept.upgrade().is_none() && cache.list().is_empty());
    }

    #[test]
    fn outside_a_runtime_nothing_is_kept_and_nothing_panics() {
        let clock = Arc::new(ManualClock::new());
        let cache = MemoryCache::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
        assert!(cache.put(key("a"), lease(&clock, "x", 60)).is_err());
        assert!(cache.list().is_empty());
    }
}
