use std::sync::Arc;

use secret_gate_core::conformance::cache::{self, Differences};
use secret_gate_core::{MemoryCache, NoCache};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_cache() {
    cache::all(&|clock| Arc::new(MemoryCache::with_clock(clock)), &Differences::none()).await;
}

#[tokio::test]
async fn memory_cache_on_one_thread() {
    cache::all(&|clock| Arc::new(MemoryCache::with_clock(clock)), &Differences::none()).await;
}

#[tokio::test]
async fn no_cache() {
    cache::all(&|_| Arc::new(NoCache), &Differences::none().keeps_nothing()).await;
}
