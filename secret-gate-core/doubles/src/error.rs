//! What can go wrong in a double itself, as opposed to what it plays.

use std::{io, net::SocketAddr, time::Duration};

/// A failure of the double or of the test that drives it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoubleError {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    #[non_exhaustive]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// What a test waited for did not happen in time.
    #[error("{what} did not happen within {after:?}")]
    #[non_exhaustive]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// An items file or a seed names something that does not fit.
    #[error("{what}")]
    #[non_exhaustive]
    Seed {
        /// What does not fit.
        what: String,
    },
}
