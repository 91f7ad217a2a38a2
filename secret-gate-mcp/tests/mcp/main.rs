//! The real program over standard input and output, against the real server between the doubles of its services.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in tests, a failure is a panic"
)]

mod protocol;
#[expect(dead_code, clippy::print_stderr, reason = "made for the tests of the library, which use more of it")]
#[path = "../../../secret-gate-core/tests/ssh/support.rs"]
mod sshd;
mod story;
mod support;
mod using;
mod waiting;
