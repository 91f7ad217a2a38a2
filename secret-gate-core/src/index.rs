//! The index of titles: what there is, without values, so that a search costs no call upstream while it is fresh.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt as _};

use crate::clock::Clock;
use crate::resolve::VaultListing;
use crate::sync::lock;
use crate::{BackendError, SecretBackend};

/// How many vaults are listed at once.
const CONCURRENT_LISTINGS: usize = 32;

/// All titles, as they were at one time.
#[derive(Debug)]
pub(crate) struct Titles {
    pub(crate) listings: Vec<VaultListing>,
    taken_at: SystemTime,
    // the number of the refresh that brought them
    refresh: u64,
}

/// A moment in the order of refreshes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

#[derive(Debug)]
pub(crate) struct TitleIndex {
    backend: Arc<dyn SecretBackend>,
    clock: Arc<dyn Clock>,
    latest: Mutex<Option<Arc<Titles>>>,
    refreshes: AtomicU64,
    refreshing: tokio::sync::Mutex<()>,
    // how many refreshes failed so far, and why the latest did
    failures: Mutex<(u64, Option<BackendError>)>,
}

impl TitleIndex {
    pub(crate) fn new(backend: Arc<dyn SecretBackend>, clock: Arc<dyn Clock>) -> Self {
        Self {
            backend,
            clock,
            latest: Mutex::new(None),
            refreshes: AtomicU64::new(0),
            refreshing: tokio::sync::Mutex::new(()),
            failures: Mutex::default(),
        }
    }

    /// The moment now, for [`newer_than`](Self::newer_than).
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.refreshes.load(Ordering::SeqCst))
    }

    /// Titles that are at most this old.
    pub(crate) async fn at_most(&self, age: Duration) -> Result<Arc<Titles>, BackendError> {
        let clock = Arc::clone(&self.clock);
        self.get(|titles| clock.now().duration_since(titles.taken_at).is_ok_and(|passed| passed <= age)).await
    }

    /// Titles that were listed after this moment.
    pub(crate) async fn newer_than(&self, mark: Mark) -> Result<Arc<Titles>, BackendError> {
        self.get(|titles| titles.refresh > mark.0).await
    }

    async fn get(&self, good: impl Fn(&Titles) -> bool + Send + Sync) -> Result<Arc<Titles>, BackendError> {
        let look = || lock(&self.latest).as_ref().filter(|titles| good(titles)).map(Arc::clone);
        if let Some(titles) = look() {
            return Ok(titles);
        }
        // One refresh at a time; whoever waited for it takes what it brought, be it a failure, before starting another.
        let failed_before = lock(&self.failures).0;
        let _turn = self.refreshing.lock().await;
        if let Some(titles) = look() {
            return Ok(titles);
        }
        if let (failed, Some(error)) = &*lock(&self.failures)
            && *failed > failed_before
        {
            return Err(error.clone());
        }
        match self.fetch().await {
            Ok(titles) => {
                let titles = Arc::new(titles);
                *lock(&self.latest) = Some(Arc::clone(&titles));
                Ok(titles)
            }
            Err(error) => {
                let mut failures = lock(&self.failures);
                *failures = (failures.0 + 1, Some(error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<Titles, BackendError> {
        let refresh = self.refreshes.fetch_add(1, Ordering::SeqCst) + 1;
        let taken_at = self.clock.now();
        let vaults = self.backend.vaults().await?;
        let listings = stream::iter(vaults)
            .map(|vault| async move {
                let items = self.backend.items(&vault.id).await;
                if let Err(error) = &items {
                    tracing::warn!(vault = vault.name, %error, "a vault can't be listed");
                }
                VaultListing::new(vault, items)
            })
            .buffered(CONCURRENT_LISTINGS)
            // what the token can't see, and what has gone meanwhile, is not there
            .filter(|listing| {
                let gone = matches!(listing.items, Err(BackendError::Forbidden | BackendError::NotFound));
                std::future::ready(!gone)
            })
            .collect()
            .await;
        Ok(Titles { listings, taken_at, refresh })
    }
}
