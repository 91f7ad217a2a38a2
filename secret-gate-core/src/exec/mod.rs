//! Using a secret: in a command whose output shows nothing of it.

mod redact;

pub use redact::{MIN_REDACTED, RedactedStream, Redactor, TooShort};
