//! Who says yes: the joint between the gate and a human.

mod deny_all;
mod function;
pub mod message;
mod scripted;
#[cfg(feature = "telegram")]
pub mod telegram;
mod terminal;
#[cfg(test)]
mod testing;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::audit::AuditAnchor;
use crate::{Decision, Grant, RequestId, Requester, Use};

pub use deny_all::DenyAll;
pub use function::FnApprover;
pub use scripted::{Asked, ScriptedApprover};
#[cfg(feature = "telegram")]
pub use telegram::TelegramApprover;
pub use terminal::TerminalApprover;

/// Puts questions before a human and reports what they decide.
///
/// The decision does not come back from [`ask`](Self::ask): it is cast on the [`Ballot`], whenever and from wherever
/// the approver hears of it. Silence is a no. Implemented by [`DenyAll`], [`ScriptedApprover`], [`FnApprover`],
/// [`TerminalApprover`] and `TelegramApprover` (feature `telegram`); called by [`Gate`](crate::Gate). Run
/// `conformance::approver::all` (feature `conformance`) on your own.
#[async_trait]
pub trait Approver: fmt::Debug + Send + Sync + 'static {
    /// Puts the question before a human. Returns once they can see it; what it returns is told how the question ends,
    /// and dropped when the gate forgets the question.
    ///
    /// # Errors
    /// When the human can't see the question, whole. The question is then dropped: nobody waits for an answer to it.
    async fn ask(&self, question: Arc<Question>, ballot: Ballot) -> Result<Box<dyn Posted>, ApproverError>;

    /// Asks whether a question would reach a human now.
    ///
    /// # Errors
    /// Says why it wouldn't.
    async fn check(&self) -> Result<(), ApproverError>;
}

/// A question that a human can see.
pub trait Posted: fmt::Debug + Send + Sync + 'static {
    /// Shows how the question stands now. Called at each step, the latest call counts; it must not block, and has
    /// nobody to report errors to.
    fn show(&self, outcome: &Outcome);
}

/// For approvers that show nothing after the question.
impl Posted for () {
    fn show(&self, _outcome: &Outcome) {}
}

/// Everything a human is told before they decide.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Question {
    /// Names the request; random, not secret.
    pub id: RequestId,
    /// What would be released.
    pub items: Vec<AskedItem>,
    /// Who asks, as far as the gate could check.
    pub requester: Requester,
    /// What the value would be used for. `None` for requesters that don't say: they receive the value.
    pub intended_use: Option<Use>,
    /// How long the requester would keep the grant. Only where there is an intended use.
    pub keep: Option<Duration>,
    /// What the requester says of itself, unchecked.
    pub said: Said,
    /// When the question was asked.
    pub asked_at: SystemTime,
    /// Until when it can be answered, and the answer be used.
    pub expires_at: SystemTime,
    /// The line of the audit log that says that it was asked; to be shown, so that whoever sees it is a witness.
    pub audit: Option<AuditAnchor>,
}

/// An item as the human sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AskedItem {
    /// The resolved title, never shortened.
    pub title: String,
    /// The vault's name, never shortened.
    pub vault: String,
    /// Ids of vault and item, where title and vault's name alone don't tell the item from another.
    pub ids: Option<String>,
    /// The fields that would be released.
    pub fields: Vec<AskedField>,
}

/// A field as the human sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AskedField {
    /// The name it would be released under.
    pub name: String,
    /// Whether the value is the seed of one-time passwords, which makes every code to come.
    pub is_seed: bool,
}

/// What a requester says of itself; nothing here is checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    /// The machine's name.
    pub machine: Option<String>,
    /// The program that asks, with its version.
    pub agent: Option<String>,
    /// The folder it works in.
    pub working_dir: Option<String>,
    /// Why it asks.
    pub reason: Option<String>,
}

/// The right to answer one question, once.
#[derive(Clone)]
pub struct Ballot {
    id: RequestId,
    sink: Arc<dyn BallotBox>,
}

/// Where ballots are cast. The gate implements it; nothing else needs to.
#[async_trait]
pub(crate) trait BallotBox: Send + Sync {
    async fn cast(self: Arc<Self>, id: RequestId, decision: Decision) -> Result<Outcome, CastError>;
}

impl Ballot {
    pub(crate) fn new(id: RequestId, sink: Arc<dyn BallotBox>) -> Self {
        Self { id, sink }
    }

    /// Reports the human's decision. When this returns `Ok`, the decision is recorded and counts.
    ///
    /// # Errors
    /// When it doesn't count; see [`CastError`].
    pub async fn cast(&self, decision: Decision) -> Result<Outcome, CastError> {
        Arc::clone(&self.sink).cast(self.id.clone(), decision).await
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ballot").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a decision did not count.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CastError {
    /// The question was answered before, or ended otherwise.
    #[error("the question has ended")]
    Ended(Box<Outcome>),
    /// The gate does not know the question (any more).
    #[error("the question is not known")]
    Unknown,
    /// The decision could not be written to the audit log, so it is a no for now; the question stays open.
    #[error("the decision could not be recorded")]
    NotRecorded,
}

/// How a question stands after its first step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A human said yes.
    Approved(Approval),
    /// A human said no.
    Denied {
        /// Who.
        by: String,
    },
    /// Nobody answered in time, or the approval was not used in time.
    Expired {
        /// The approval that was not used, where there was one.
        unused: Option<Approval>,
    },
    /// The requester took the question back.
    Withdrawn,
    /// The secret went to the requester.
    Released(Approval),
    /// The approval was taken back, before or after the release.
    Revoked(Approval),
}

/// Who approved, and what that allows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Approval {
    /// Who.
    pub by: String,
    /// What it left behind; `None` where the requester said nothing of keeping it.
    pub grant: Option<Grant>,
    /// The time of the decision.
    pub at: SystemTime,
    /// The line of the audit log that says so: of the approval, and once that is so, of the release.
    pub audit: Option<AuditAnchor>,
}

/// Why a question did not reach a human. No message holds the approver's credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ApproverError {
    /// The parts that are never shortened don't fit into one message.
    #[error("the question is too long to be shown whole: {length} of at most {limit} characters")]
    TooLongToShow {
        /// Characters it would take.
        length: usize,
        /// Characters there are.
        limit: usize,
    },
    /// The human can't be reached now.
    #[error("{message}")]
    Unreachable {
        /// What happened, in a sentence for people.
        message: String,
    },
}

impl ApproverError {
    /// [`ApproverError::Unreachable`] with this message.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::Unreachable { message: message.into() }
    }
}
