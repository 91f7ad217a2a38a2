//! Every implementation of a joint against its suite; and every suite against implementations that are broken on purpose.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail the test that calls them"
)]

mod approvers;
mod audit_logs;
mod backends;
mod broken;
mod caches;
mod hands;
