use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use secret_gate_core::cache::{CacheError, CacheKey, Lease};
use secret_gate_core::clock::Clock;
use secret_gate_core::conformance::cache::{self, Differences};
use secret_gate_core::{Cache, FieldKind, MemoryCache, Revision, Use};

use super::caught;

/// Drops what has ended when somebody looks, and not before.
#[derive(Debug)]
struct LazyCache {
    clock: Arc<dyn Clock>,
    leases: Mutex<HashMap<CacheKey, Arc<Lease>>>,
}

impl LazyCache {
    fn living(&self) -> MutexGuard<'_, HashMap<CacheKey, Arc<Lease>>> {
        let mut leases = self.leases.lock().unwrap();
        leases.retain(|_, lease| self.clock.now() < lease.grant.expires_at);
        leases
    }
}

impl Cache for LazyCache {
    fn put(&self, key: CacheKey, lease: Lease) -> Result<(), CacheError> {
        self.living().insert(key, Arc::new(lease));
        Ok(())
    }

    fn get(&self, key: &CacheKey) -> Option<Arc<Lease>> {
        self.living().get(key).cloned()
    }

    fn remove(&self, key: &CacheKey) -> bool {
        self.living().remove(key).is_some()
    }

    fn clear(&self) {
        self.living().clear();
    }

    fn list(&self) -> Vec<(CacheKey, SystemTime)> {
        self.living().iter().map(|(key, lease)| (key.clone(), lease.grant.expires_at)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum CacheFault {
    ReturnsTheEnded,
    ForgetsScopes,
    KeepsTheFirst,
    HoldsWhatIsRemoved,
    HoldsWhatIsCleared,
    KeepsAThousand,
    OneTimerForAKey,
    OutlivesItself,
    NeverKeeps,
    WidensGrants,
    ProlongsGrants,
    ForgetsOnce,
    ForgetsRevisions,
    ForgetsFields,
    ForgetsKinds,
    MixesUpValues,
}

#[derive(Debug)]
struct BrokenCache {
    fault: CacheFault,
    clock: Arc<dyn Clock>,
    inner: Arc<MemoryCache>,
    held: Mutex<HashMap<CacheKey, Arc<Lease>>>,
}

impl BrokenCache {
    fn key(&self, key: &CacheKey) -> CacheKey {
        match self.fault {
            CacheFault::ForgetsScopes => CacheKey::new("", key.vault_id.clone(), key.item_id.clone()),
            _ => key.clone(),
        }
    }

    fn hold(&self, key: &CacheKey) {
        let lease = self.inner.get(key);
        self.held.lock().unwrap().extend(lease.map(|lease| (key.clone(), lease)));
    }
}

impl Cache for BrokenCache {
    fn put(&self, key: CacheKey, mut lease: Lease) -> Result<(), CacheError> {
        let key = self.key(&key);
        match self.fault {
            CacheFault::WidensGrants => {
                lease.grant.allowed = Use::any_command();
                lease.grant.allowed.reveal = true;
            }
            CacheFault::ProlongsGrants => lease.grant.expires_at += Duration::from_secs(3600),
            CacheFault::ForgetsOnce => lease.grant.once = false,
            CacheFault::ForgetsRevisions => lease.item.revision = Revision::Unknown,
            CacheFault::ForgetsFields => lease.item.fields.retain(|field| field.name == "password"),
            CacheFault::ForgetsKinds => {
                lease.item.fields.iter_mut().for_each(|field| field.kind = FieldKind::concealed());
            }
            CacheFault::MixesUpValues => {
                let first: String = lease.item.fields[0].value.expose().to_owned();
                lease.item.fields.iter_mut().for_each(|field| field.value = first.as_str().into());
            }
            CacheFault::NeverKeeps => return Ok(()),
            CacheFault::KeepsTheFirst if self.inner.get(&key).is_some() => return Ok(()),
            CacheFault::KeepsAThousand if self.inner.list().len() >= 1000 => return Err(CacheError::new("full")),
            CacheFault::OneTimerForAKey => {
                let (clock, inner, key) = (Arc::clone(&self.clock), Arc::clone(&self.inner), key.clone());
                let ends = lease.grant.expires_at;
                tokio::spawn(async move {
                    clock.sleep_until(ends).await;
                    inner.remove(&key);
                });
            }
            CacheFault::OutlivesItself => {
                let inner = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    std::future::pending::<()>().await;
                    drop(inner);
                });
            }
            _ => {}
        }
        self.inner.put(key.clone(), lease)?;
        if self.fault == CacheFault::ReturnsTheEnded {
            self.hold(&key);
        }
        Ok(())
    }

    fn get(&self, key: &CacheKey) -> Option<Arc<Lease>> {
        let held = || self.held.lock().unwrap().get(key).cloned();
        match self.fault {
            CacheFault::ReturnsTheEnded => held(),
            _ => self.inner.get(&self.key(key)),
        }
    }

    fn remove(&self, key: &CacheKey) -> bool {
        match self.fault {
            CacheFault::HoldsWhatIsRemoved => self.hold(key),
            _ => drop(self.held.lock().unwrap().remove(key)),
        }
        self.inner.remove(&self.key(key))
    }

    fn clear(&self) {
        for (key, _) in self.list() {
            match self.fault {
                CacheFault::HoldsWhatIsCleared => self.hold(&key),
                _ => drop(self.held.lock().unwrap().remove(&key)),
            }
        }
        self.inner.clear();
    }

    fn list(&self) -> Vec<(CacheKey, SystemTime)> {
        self.inner.list()
    }
}

#[tokio::test]
async fn caches() {
    use CacheFault::*;
    let differences = Differences::none().patience(Duration::from_millis(300));
    let rule = "by a timer and not when somebody looks next";
    let make = |clock| Arc::new(LazyCache { clock, leases: Mutex::default() }) as Arc<dyn Cache>;
    caught(rule, cache::all(&make, &differences)).await;
    let faults = [
        (ReturnsTheEnded, "a lease is not found at the moment its grant ends"),
        (KeepsTheFirst, "a later lease takes the place of an earlier one"),
        (HoldsWhatIsRemoved, "what was removed is dropped"),
        (HoldsWhatIsCleared, "clearing drops everything, and so wipes it: something is held"),
        (KeepsAThousand, "a lease can be put"),
        (OneTimerForAKey, "a renewed lease outlives the end of the first"),
        (OutlivesItself, "a cache that is dropped drops"),
        (NeverKeeps, "what was put is found"),
        (WidensGrants, ", with its grant"),
        (ProlongsGrants, "what is kept is listed, with the end of its grant"),
        (ForgetsOnce, ", with its grant"),
        (ForgetsRevisions, ", with its revision"),
        (ForgetsFields, ", with all its fields and their kinds"),
        (ForgetsKinds, ", with all its fields and their kinds"),
        (MixesUpValues, ", with its values: username has another"),
    ];
    let broken = |fault, clock: Arc<dyn Clock>| {
        let inner = Arc::new(MemoryCache::with_clock(Arc::clone(&clock)));
        Arc::new(BrokenCache { fault, clock, inner, held: Mutex::default() }) as Arc<dyn Cache>
    };
    for (fault, rule) in faults {
        caught(rule, cache::all(&|clock| broken(fault, clock), &differences)).await;
    }
    let apart = async { cache::keys_are_kept_apart(&|clock| broken(ForgetsScopes, clock)) };
    caught("keys that differ in scope, vault or item are kept apart", apart).await;
    // one that keeps, where it is said to keep nothing
    let keeps = Differences::none().keeps_nothing();
    let make = |clock| Arc::new(MemoryCache::with_clock(clock)) as Arc<dyn Cache>;
    caught("a cache that keeps nothing", cache::all(&make, &keeps)).await;
}
