//! A request, and the states it goes through.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::approver::{Approval, Outcome, Question, Said};
use crate::audit::{AuditAnchor, AuditEntry, AuditEvent, AuditItem};
use crate::gate::pin::Pin;
use crate::{Requester, Use};

/// What is asked of a human, before names are resolved.
///
/// ```
/// use secret_gate_core::Request;
///
/// let request = Request::new("database").field("password").reason("migrate the orders table");
/// let by_reference = Request::new("op://infra/database/password").reason("migrate the orders table");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Request {
    /// The secrets, at least one.
    pub secrets: Vec<Wanted>,
    /// What the values are for; `None` means that the requester simply receives them.
    pub intended_use: Option<Use>,
    /// How long the requester would keep the grant, at most 24 hours; one hour where there is a use and this is `None`.
    pub keep: Option<Duration>,
    /// What the requester says of itself.
    pub said: Said,
    /// Who asks, as far as it was checked.
    pub requester: Requester,
}

/// One secret by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wanted {
    /// Title or id of the item, or a secret reference (`op://…`).
    pub name: String,
    /// Name or id of the vault; all vaults where absent.
    pub vault: Option<String>,
    /// Names of the fields; the whole item where empty.
    pub fields: Vec<String>,
}

impl Wanted {
    /// The whole item of this name, from whichever vault holds it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), vault: None, fields: Vec::new() }
    }

    /// The same from this vault.
    #[must_use]
    pub fn in_vault(mut self, vault: impl Into<String>) -> Self {
        self.vault = Some(vault.into());
        self
    }

    /// The same, but only the fields named, this one and others.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.fields.push(field.into());
        self
    }
}

impl Request {
    /// Asks for the whole item of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self::of([Wanted::new(name)])
    }

    /// Asks for several secrets at once.
    pub fn of(secrets: impl IntoIterator<Item = Wanted>) -> Self {
        Self { secrets: secrets.into_iter().collect(), ..Self::default() }
    }

    /// The same from this vault (the last secret named).
    #[must_use]
    pub fn vault(mut self, vault: impl Into<String>) -> Self {
        if let Some(last) = self.secrets.last_mut() {
            last.vault = Some(vault.into());
        }
        self
    }

    /// The same, but only the fields named, this one and others (of the last secret named).
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        if let Some(last) = self.secrets.last_mut() {
            last.fields.push(field.into());
        }
        self
    }

    /// The same with a reason.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.said.reason = Some(reason.into());
        self
    }

    /// The same for this use.
    #[must_use]
    pub fn for_use(mut self, intended_use: Use) -> Self {
        self.intended_use = Some(intended_use);
        self
    }

    /// The same, to be kept this long.
    #[must_use]
    pub const fn keep(mut self, keep: Duration) -> Self {
        self.keep = Some(keep);
        self
    }

    /// The same by this requester.
    #[must_use]
    pub fn by(mut self, requester: Requester) -> Self {
        self.requester = requester;
        self
    }
}

/// A request as the store keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) question: Arc<Question>,
    pub(crate) pins: Arc<[Pin]>,
    pub(crate) state: State,
    /// When `state` began.
    pub(crate) since: SystemTime,
}

/// Where a request stands. Every step from one to another is one compare-and-set on the store.
///
/// `Pending -> Approved -> Releasing -> Released`; `Pending -> Denied | Expired | Withdrawn`;
/// `Approved -> Expired | Revoked`; `Releasing -> Approved` (the token is unspent); `Released -> Revoked`.
///
/// What hangs on it lies apart: most requests are kept while they are pending, and looked at far more often than decided.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Pending,
    Approved(Arc<Approval>),
    Releasing(Arc<Approval>),
    Released(Arc<Approval>),
    Denied { by: Arc<str> },
    Expired { unused: Option<Arc<Approval>> },
    Withdrawn,
    Revoked(Arc<Approval>),
}

/// A [`State`] without what hangs on it, to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Approved,
    Releasing,
    Released,
    Denied,
    Expired,
    Withdrawn,
    Revoked,
}

impl State {
    pub(crate) const fn phase(&self) -> Phase {
        match self {
            Self::Pending => Phase::Pending,
            Self::Approved(_) => Phase::Approved,
            Self::Releasing(_) => Phase::Releasing,
            Self::Released(_) => Phase::Released,
            Self::Denied { .. } => Phase::Denied,
            Self::Expired { .. } => Phase::Expired,
            Self::Withdrawn => Phase::Withdrawn,
            Self::Revoked(_) => Phase::Revoked,
        }
    }

    /// How the request stands, to people; `None` while it is open.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let whole = |approval: &Arc<Approval>| Approval::clone(approval);
        Some(match self {
            Self::Pending => return None,
            Self::Approved(approval) | Self::Releasing(approval) => Outcome::Approved(whole(approval)),
            Self::Released(approval) => Outcome::Released(whole(approval)),
            Self::Denied { by } => Outcome::Denied { by: by.to_string() },
            Self::Expired { unused } => Outcome::Expired { unused: unused.as_ref().map(whole) },
            Self::Withdrawn => Outcome::Withdrawn,
            Self::Revoked(approval) => Outcome::Revoked(whole(approval)),
        })
    }

    pub(crate) const fn audit_event(&self) -> AuditEvent {
        match self {
            Self::Pending => AuditEvent::Asked,
            Self::Approved(_) | Self::Releasing(_) => AuditEvent::Approved,
            Self::Released(_) => AuditEvent::Released,
            Self::Denied { .. } => AuditEvent::Denied,
            Self::Expired { .. } => AuditEvent::Expired,
            Self::Withdrawn => AuditEvent::Withdrawn,
            Self::Revoked(_) => AuditEvent::Revoked,
        }
    }

    /// The approval that was given, whatever became of it.
    pub(crate) fn approval(&self) -> Option<&Approval> {
        match self {
            Self::Approved(approval)
            | Self::Releasing(approval)
            | Self::Released(approval)
            | Self::Revoked(approval)
            | Self::Expired { unused: Some(approval) } => Some(approval),
            Self::Denied { .. } | Self::Pending | Self::Expired { unused: None } | Self::Withdrawn => None,
        }
    }

    /// The same with the audit line that says so, for states in which a human has said yes.
    pub(crate) fn recorded(self, audit: Option<AuditAnchor>) -> Self {
        let with_line = |approval| Arc::new(Approval { audit, ..Arc::unwrap_or_clone(approval) });
        match self {
            Self::Approved(approval) => Self::Approved(with_line(approval)),
            Self::Released(approval) => Self::Released(with_line(approval)),
            other => other,
        }
    }

    fn decided_by(&self) -> Option<&str> {
        match self {
            Self::Denied { by } => Some(by),
            state => state.approval().map(|approval| approval.by.as_str()),
        }
    }
}

impl Record {
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        now >= self.question.expires_at
    }

    /// The audit line that says that the request gets into `state`.
    pub(crate) fn audit_entry(&self, state: &State, at: SystemTime) -> AuditEntry {
        AuditEntry {
            at,
            event: state.audit_event(),
            request_id: self.question.id.clone(),
            requester: self.question.requester.clone(),
            items: self.pins.iter().map(audit_item).collect(),
            intended_use: self.question.intended_use.clone(),
            by: state.decided_by().map(str::to_owned),
        }
    }
}

fn audit_item(pin: &Pin) -> AuditItem {
    AuditItem {
        vault_id: pin.vault.id.clone(),
        vault: pin.vault.name.clone(),
        item_id: pin.item_id.clone(),
        title: pin.title.clone(),
        fields: pin.fields.iter().map(|field| field.name.clone()).collect(),
    }
}
