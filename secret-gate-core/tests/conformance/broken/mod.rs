//! Implementations that break one rule each, and the suite that must find it.

mod approvers;
mod audit_logs;
mod backends;
mod caches;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// The suite fails, and says which rule was broken.
async fn caught(rule: &str, suite: impl Future<Output = ()>) {
    let panic = AssertUnwindSafe(suite).catch_unwind().await.expect_err(rule);
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap();
    assert!(said.contains(rule), "expected {rule:?}, but it said {said:?}");
}
