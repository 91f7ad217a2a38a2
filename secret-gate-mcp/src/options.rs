//! How the server behaves.

use std::time::Duration;

/// How the server behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// For how long `request_secret` waits for the human where the call does not say: 45 s, since many clients give up
    /// on a call after a minute.
    pub wait: Duration,
    /// For how long a question stays open whose call was cancelled, in case the call is made again: 60 s.
    pub grace: Duration,
    /// How often a client that wants to know hears that the server still waits: every 5 s.
    pub progress: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { wait: Duration::from_secs(45), grace: Duration::from_secs(60), progress: Duration::from_secs(5) }
    }
}

impl Options {
    /// The same with this time to wait.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The same with this time for a cancelled question.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The same with this time between two notifications of progress.
    #[must_use]
    pub fn with_progress(self, progress: Duration) -> Self {
        Self { progress, ..self }
    }
}
