//! Whether a server could serve, without asking anybody.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::error::{self, About};
use super::exchange::{Answer, Repeat, exchange};
use super::{ClientError, RemoteGate};

/// How long a server may take to say how it is.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a server that serves says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// The server's clock when it answered, to the second; none where it does not say, or a cache in between may have.
    pub date: Option<SystemTime>,
}

/// Whether the parts that a request needs can do theirs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether all can.
    pub ready: bool,
    /// The secret backend: `ok` or `unavailable`.
    #[serde(default)]
    pub backend: String,
    /// The way to the human: `ok` or `unavailable`.
    #[serde(default)]
    pub approver: String,
}

impl RemoteGate {
    /// Whether the server serves.
    ///
    /// # Errors
    /// [`ClientError`] when it can't be reached or answers like another kind of server.
    pub async fn health(&self) -> Result<Health, ClientError> {
        let answer = self.look("health").await?;
        if answer.is_success() {
            return Ok(Health { date: answer.date });
        }
        Err(error::from_answer(&answer, About::Names, None))
    }

    /// Whether the server could serve a request now; none where it is too old to tell.
    ///
    /// # Errors
    /// [`ClientError`] when it can't be reached or answers like another kind of server.
    pub async fn readiness(&self) -> Result<Option<Readiness>, ClientError> {
        let answer = self.look("ready").await?;
        match answer.status {
            404 | 405 => Ok(None),
            // says which part is not
            503 if serde_json::from_slice::<Readiness>(&answer.body).is_ok() => {
                Answer { status: 200, ..answer }.parse(About::Names, None).map(Some)
            }
            _ => answer.parse(About::Names, None).map(Some),
        }
    }

    async fn look(&self, path: &str) -> Result<Answer, ClientError> {
        let url = self.server.join(&[path]);
        exchange(&self.server, Repeat::Unsent, TIMEOUT, || self.http.get(url.clone())).await
    }
}
