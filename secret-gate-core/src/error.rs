use std::time::Duration;

use crate::audit::AuditError;
use crate::wire::Candidate;
use crate::{ApproverError, BackendError, ReferenceError, UseError};

/// What can go wrong at the gate, by what the caller can do next. No message holds a value or a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The search has no query.
    #[error("a query is needed")]
    MissingQuery,
    /// The request names no secret.
    #[error("the name of a secret is needed")]
    MissingName,
    /// The request names more secrets than one question can hold.
    #[error("one request can ask for at most {limit} secrets")]
    TooManySecrets {
        /// How many it can hold.
        limit: usize,
    },
    /// The request names more fields of a secret than one question can hold.
    #[error("one request can name at most {limit} fields of a secret")]
    TooManyFields {
        /// How many it can hold.
        limit: usize,
    },
    /// A name that starts with `op://` is not a secret reference.
    #[error("not a secret reference")]
    Reference(#[from] ReferenceError),
    /// A secret reference stands beside a vault or fields of its own.
    #[error("a secret reference names vault and field itself, so neither can be given beside it")]
    ReferenceWithFields,
    /// The use means nothing.
    #[error(transparent)]
    Use(#[from] UseError),
    /// The item has no field of this name.
    #[error("{title} has no field {field}")]
    UnknownField {
        /// The item's title.
        title: String,
        /// The name that was asked for.
        field: String,
        /// The names there are.
        fields: Vec<String>,
    },
    /// No item goes by this name, or no vault by the name that was given with it.
    #[error("{}", not_found(name, unknown_vault.as_deref()))]
    NotFound {
        /// The name.
        name: String,
        /// The vault that was to be looked in, where none goes by that name.
        unknown_vault: Option<String>,
        /// Items that come close, best first.
        suggestions: Vec<Candidate>,
    },
    /// Several items go by this name.
    #[error("several secrets go by the name {name}")]
    Ambiguous {
        /// The name.
        name: String,
        /// The items.
        candidates: Vec<Candidate>,
    },
    /// The question can't be shown whole, so it is not asked.
    #[error("the question is too long to be shown whole: {length} of at most {limit} characters")]
    TooLongToShow {
        /// Characters it would take.
        length: usize,
        /// Characters there are.
        limit: usize,
    },
    /// Too much was asked lately; nobody was asked.
    #[error("{message}")]
    TooManyRequests {
        /// Of what there is too much.
        message: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// The backend gave no answer.
    #[error("the secret backend is not available")]
    Backend {
        /// Why.
        #[source]
        source: BackendError,
    },
    /// Vaults that could hold the secret can't be listed.
    #[error("the secret may be in a vault that can't be listed now: {}", vaults.join(", "))]
    Unlisted {
        /// Their names.
        vaults: Vec<String>,
    },
    /// The question did not reach a human, so nobody will answer it.
    #[error("the question did not reach a human")]
    NotificationFailed {
        /// Why.
        #[source]
        source: ApproverError,
    },
    /// No request goes by this token (any more).
    #[error("no request goes by this token")]
    UnknownToken,
    /// The request is not approved: not yet, or not any more.
    #[error("the request is not approved")]
    NotApproved,
    /// The request was redeemed before.
    #[error("the request was redeemed before")]
    AlreadyUsed,
    /// The item is not as it was when it was approved. Ask again.
    #[error("{title} was changed after the question was asked")]
    ItemChanged {
        /// The item's title.
        title: String,
    },
    /// The human said no.
    #[error("denied by {by}")]
    Denied {
        /// Who.
        by: String,
    },
    /// Nobody answered in time.
    #[error("nobody answered in time")]
    Expired,
    /// The audit log can't be written, and nothing happens without it.
    #[error("the audit log can't be written")]
    Audit {
        /// Why.
        #[source]
        source: AuditError,
    },
    /// The operating system gives no random numbers, or a task died.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

fn not_found(name: &str, unknown_vault: Option<&str>) -> String {
    match unknown_vault {
        Some(vault) => format!("no vault goes by the name {vault}"),
        None => format!("no secret goes by the name {name}"),
    }
}

impl From<BackendError> for Error {
    fn from(source: BackendError) -> Self {
        Self::Backend { source }
    }
}

impl From<AuditError> for Error {
    fn from(source: AuditError) -> Self {
        Self::Audit { source }
    }
}

impl From<ApproverError> for Error {
    fn from(source: ApproverError) -> Self {
        match source {
            ApproverError::TooLongToShow { length, limit } => Self::TooLongToShow { length, limit },
            source @ ApproverError::Unreachable { .. } => Self::NotificationFailed { source },
        }
    }
}
