//! Secrets from a [1Password Connect](https://developer.1password.com/docs/connect/) server.
//!
//! [`OnePassword`] reads vaults and items by their ids over Connect's HTTP API, version 1. It writes nothing, and uses no
//! filters: names are found by listing and comparing, which is the gate's work.
//!
//! ```
//! use secret_gate_core::{OnePassword, SecretValue};
//!
//! let token = SecretValue::from("eyJhbGciOiJFUzI1NiIs.example");
//! let backend = OnePassword::builder("http://localhost:8080", token).build()?;
//! assert_eq!(backend.to_string(), "1Password Connect at http://localhost:8080");
//! # Ok::<(), secret_gate_core::backend::onepassword::OnePasswordError>(())
//! ```

// `builder` holds the settings, `call` sends a request until it succeeds or `patience` ends, `route` has the paths,
// `answer` makes sense of the answers, `error` says what went wrong
mod answer;
mod builder;
mod call;
mod error;
mod patience;
mod route;

use std::fmt;

use async_trait::async_trait;

use self::call::Connection;
use self::error::Fault;
use self::route::{Id, Route};
use super::{BackendError, SecretBackend};
use crate::{Item, ItemSummary, SecretValue, Vault};

pub use self::builder::OnePasswordBuilder;
pub use self::error::OnePasswordError;

/// The vaults that a 1Password Connect server shows to one token.
///
/// Reads that fail for a reason that may pass (no connection, a timeout, status 429 or 5xx, an answer cut short) are
/// tried again within the bounds that [`OnePasswordBuilder`] sets. A first refusal of the token is tried again once,
/// since a server that has just started may refuse a good one. An id that could not be one of 1Password's is not found,
/// without a request.
///
/// `Debug` and all messages leave the token out; `Display` names the host.
pub struct OnePassword {
    connection: Connection,
}

impl OnePassword {
    /// Starts with a Connect server's URL and an access token for it.
    ///
    /// The URL may have a path in front of the API's own, and may end with a slash or `/v1`. Over plain `http` the token
    /// and all values travel readable, so that is for this machine or a private network of containers.
    pub fn builder(host: impl Into<String>, token: SecretValue) -> OnePasswordBuilder {
        OnePasswordBuilder::new(host.into(), token)
    }

    /// Whether the server's own report says that it has the vaults at hand.
    async fn check_sync(&self) -> Result<(), BackendError> {
        let status = match self.connection.read(Route::Health, answer::sync_status).await {
            Ok(status) => status,
            // a proxy that lets only the API through hides the report, and then there is none
            Err(error) if error.fault.is_refusal() => None,
            Err(error) => return Err(error.into()),
        };
        match status {
            Some(status) if status != "ACTIVE" => {
                Err(self.connection.error(Route::Health, 1, Fault::NotInSync { status }).into())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SecretBackend for OnePassword {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        match self.connection.read(Route::Vaults, answer::vaults).await {
            Ok(vaults) => Ok(vaults),
            // every Connect server has this list: the address is wrong, not the question
            Err(error) if matches!(error.fault, Fault::NotFound) => {
                Err(self.connection.error(Route::Vaults, error.attempts, Fault::Foreign { status: 404 }).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        let vault = Id::parse(vault_id).ok_or(BackendError::NotFound)?;
        Ok(self.connection.read(Route::Items { vault }, answer::items).await?)
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        let vault = Id::parse(vault_id).ok_or(BackendError::NotFound)?;
        let item = Id::parse(item_id).ok_or(BackendError::NotFound)?;
        Ok(self.connection.read(Route::Item { vault, item }, |body| answer::item(body, vault, item)).await?)
    }

    // The token first: a server that has just started fetches nothing until it has seen one.
    async fn check(&self) -> Result<(), BackendError> {
        self.vaults().await?;
        self.check_sync().await
    }
}

impl fmt::Display for OnePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1Password Connect at {}", self.connection)
    }
}

impl fmt::Debug for OnePassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection } = self;
        f.debug_struct("OnePassword").field("connection", connection).finish()
    }
}
