//! The parts of a gate, with their errors counted.

use std::sync::Arc;

use async_trait::async_trait;
use secret_gate_core::audit::{AuditAnchor, AuditEntry, AuditError, AuditLog};
use secret_gate_core::{
    Approver, ApproverError, BackendError, Ballot, Item, ItemSummary, Posted, Question, SecretBackend, Vault,
};

use crate::metrics::Metrics;

impl Metrics {
    /// The same backend, its errors counted.
    #[must_use]
    pub fn backend(&self, backend: Arc<dyn SecretBackend>) -> Arc<dyn SecretBackend> {
        Arc::new(Metered { inner: backend, metrics: self.clone() })
    }

    /// The same approver, its errors counted.
    #[must_use]
    pub fn approver(&self, approver: Arc<dyn Approver>) -> Arc<dyn Approver> {
        Arc::new(Metered { inner: approver, metrics: self.clone() })
    }

    /// The same audit log, its errors counted.
    #[must_use]
    pub fn audit(&self, audit: Arc<dyn AuditLog>) -> Arc<dyn AuditLog> {
        Arc::new(Metered { inner: audit, metrics: self.clone() })
    }
}

#[derive(Debug)]
struct Metered<T: ?Sized> {
    inner: Arc<T>,
    metrics: Metrics,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl SecretBackend for Metered<dyn SecretBackend> {
    async fn vaults(&self) -> Result<Vec<Vault>, BackendError> {
        self.inner.vaults().await.inspect_err(|error| self.metrics.count_backend_error("vaults", error))
    }

    async fn items(&self, vault_id: &str) -> Result<Vec<ItemSummary>, BackendError> {
        self.inner.items(vault_id).await.inspect_err(|error| self.metrics.count_backend_error("items", error))
    }

    async fn item(&self, vault_id: &str, item_id: &str) -> Result<Item, BackendError> {
        self.inner.item(vault_id, item_id).await.inspect_err(|error| self.metrics.count_backend_error("item", error))
    }

    async fn check(&self) -> Result<(), BackendError> {
        self.inner.check().await.inspect_err(|error| self.metrics.count_backend_error("check", error))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Approver for Metered<dyn Approver> {
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError> {
        self.inner.ask(question, ballot).await.inspect_err(|error| {
            // a question that is too long is the requester's fault
            if !matches!(error, ApproverError::TooLongToShow { .. }) {
                self.metrics.count_approver_error("ask");
            }
        })
    }

    async fn check(&self) -> Result<(), ApproverError> {
        self.inner.check().await.inspect_err(|_| self.metrics.count_approver_error("check"))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl AuditLog for Metered<dyn AuditLog> {
    async fn append(&self, entry: &AuditEntry) -> Result<Option<AuditAnchor>, AuditError> {
        self.inner.append(entry).await.inspect_err(|_| self.metrics.count_audit_error())
    }
}
