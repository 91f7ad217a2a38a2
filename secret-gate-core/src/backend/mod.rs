//! Where secrets live.

mod memory;
#[cfg(feature = "onepassword")]
pub mod onepassword;

use std::fmt;

use async_trait::async_trait;

use crate::{Item, ItemSummary, Vault};

pub use memory::MemoryBackend;

/// A place that keeps secrets: vaults that hold items that hold fields.
///
/// A backend reads, by ids, and nothing else: it never sees a name that someone typed, a request or an approval.
/// Finding the item that a name means is the gate's work, so that every backend finds it the same way.
/// Implemented by [`MemoryBackend`] and `OnePassword` (feature `onepassword`); called by [`Gate`](crate::Gate). Run
/// `conformance::backend::all` (feature `conformance`) on your own.
#[async_trait]
pub trait SecretBackend: fmt::Debug + Send + Sync + 'static {
    /// Lists the vaults that the backend's credentials can see.
    ///
    /// # Errors
    /// When the listing can't be had, whole.
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError>;

    /// Lists the items of a vault, without fields.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] when there is no such vault, [`BackendError::Forbidden`] for one outside what the
    /// credentials see; otherwise when the listing can't be had, whole.
    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError>;

    /// Reads one item with its fields and their values, as it is now. The ids are to be taken exactly, whatever is in
    /// them; what is returned carries them.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] when there is no such item (any more); otherwise when it can't be read, whole.
    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError>;

    /// Asks whether the backend can answer now.
    ///
    /// # Errors
    /// Says why it can't.
    async fn check(&self) -> Result<(), BackendError>;
}

/// Why a backend gave no answer. No message holds a secret or the backend's credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// There is no such vault or item.
    #[error("not found")]
    NotFound,
    /// It is outside of what the credentials may see.
    #[error("forbidden")]
    Forbidden,
    /// The credentials were refused.
    #[error("the backend refused the credentials")]
    Unauthorized,
    /// The backend can't be reached, is out of order, or answered something that makes no sense; trying again may help.
    #[error("{message}")]
    Unavailable {
        /// What happened, in a sentence for people.
        message: String,
    },
}

impl BackendError {
    /// [`BackendError::Unavailable`] with this message.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable { message: message.into() }
    }
}
