//! How long a yes lasts.

mod memory;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{Grant, ReleasedItem};

pub use memory::MemoryCache;

/// Keeps what was released until its grant ends. What it keeps is wiped when it ends, not when somebody looks next.
///
/// Implemented by [`MemoryCache`] and [`NoCache`]; called by [`Gate::request`](crate::Gate::request). Run
/// `conformance::cache::all` (feature `conformance`) on your own.
pub trait Cache: fmt::Debug + Send + Sync + 'static {
    /// Keeps a lease until its grant's end, in place of an earlier one under the same key.
    ///
    /// # Errors
    /// When the lease can't be kept; it is dropped, and wiped.
    fn put(&self, key: CacheKey, lease: Lease) -> Result<(), CacheError>;

    /// The lease under this key, if its grant has not ended.
    fn get(&self, key: &CacheKey) -> Option<Arc<Lease>>;

    /// Drops the lease under this key; says whether there was one.
    fn remove(&self, key: &CacheKey) -> bool;

    /// Drops everything.
    fn clear(&self);

    /// What is kept and until when, without values, in no particular order.
    fn list(&self) -> Vec<(CacheKey, SystemTime)>;
}

/// What a lease is kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheKey {
    /// Whom the yes was for, and from where: a requester's identity or a server's URL.
    pub scope: String,
    /// The vault's id.
    pub vault_id: String,
    /// The item's id.
    pub item_id: String,
}

impl CacheKey {
    /// The key of an item within a scope.
    pub fn new(scope: impl Into<String>, vault_id: impl Into<String>, item_id: impl Into<String>) -> Self {
        Self { scope: scope.into(), vault_id: vault_id.into(), item_id: item_id.into() }
    }
}

/// A released item together with what may be done with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lease {
    /// The item.
    pub item: ReleasedItem,
    /// What may be done with it, until when.
    pub grant: Grant,
}

impl Lease {
    /// This item under this grant.
    #[must_use]
    pub const fn new(item: ReleasedItem, grant: Grant) -> Self {
        Self { item, grant }
    }
}

/// A lease could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("a lease can't be kept: {message}")]
pub struct CacheError {
    message: &'static str,
}

impl CacheError {
    /// Could not be kept for this reason.
    #[must_use]
    pub const fn new(message: &'static str) -> Self {
        Self { message }
    }
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "has no state and never will")]
pub struct NoCache;

impl Cache for NoCache {
    fn put(&self, _key: CacheKey, _lease: Lease) -> Result<(), CacheError> {
        Ok(())
    }

    fn get(&self, _key: &CacheKey) -> Option<Arc<Lease>> {
        None
    }

    fn remove(&self, _key: &CacheKey) -> bool {
        false
    }

    fn clear(&self) {}

    fn list(&self) -> Vec<(CacheKey, SystemTime)> {
        Vec::new()
    }
}
