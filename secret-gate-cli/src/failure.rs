//! What the user is told when something fails: what happened, what to do about it, and the exit code.

use secret_gate_core::client::ClientError;
use secret_gate_core::daemon::{self, ConnectError, FailureKind, SettingsError};
use secret_gate_core::wire::Candidate;

use crate::exit::Exit;

/// A failure in the user's words.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What happened.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// How the program ends.
    pub(crate) exit: Exit,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, exit }
    }

    /// The secret has no such field, but these.
    pub(crate) fn no_field(label: &str, labels: &[&str]) -> Self {
        let hint = format!("it has: {}", labels.join(", "));
        Self::new(Exit::NotFound, format!("the secret has no field {label}")).with_hint(hint)
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let (exit, hint) = match &error {
            ClientError::Unreachable { .. } => {
                (Exit::Unreachable, Some("check that the server runs and that its URL is right".to_owned()))
            }
            ClientError::Interrupted { .. } => (Exit::Unreachable, Some("try again".to_owned())),
            ClientError::Unauthorized { .. } => (
                Exit::Failed,
                Some(
                    "set SECRET_GATE_API_KEY or api_key_file, together with the URL of the server it is for".to_owned(),
                ),
            ),
            ClientError::KeyInTheClear { .. } => (Exit::Failed, Some("use https, or remove the API key".to_owned())),
            ClientError::NotFound { suggestions, .. } => (Exit::NotFound, Some(did_you_mean(suggestions))),
            ClientError::Ambiguous { candidates, .. } => {
                (Exit::NotFound, Some(format!("name one with --vault, or by its id: {}", listed(candidates))))
            }
            ClientError::UnknownField { fields, .. } => {
                (Exit::NotFound, Some(format!("it has: {}", fields.join(", "))))
            }
            ClientError::TooManyRequests { retry_after: Some(pause), .. } => {
                (Exit::Failed, Some(format!("try again in {} s", pause.as_secs())))
            }
            ClientError::UnknownRequest => {
                (Exit::Expired, Some("it has expired, or the server was restarted: ask again".to_owned()))
            }
            ClientError::NotApproved { .. } => {
                (Exit::Denied, Some("the approval has ended or was taken back: ask again".to_owned()))
            }
            ClientError::AlreadyUsed => (
                Exit::Failed,
                Some("this program did not redeem it, so someone else has: change the secret".to_owned()),
            ),
            ClientError::Redirect { .. } => {
                (Exit::Failed, Some("set the server's URL to the address that it redirects to".to_owned()))
            }
            ClientError::Server { code, .. } if code == "item_changed" => {
                (Exit::Failed, Some("the item was changed after the human saw it: ask again".to_owned()))
            }
            ClientError::Server { status: 404, .. } | ClientError::Protocol { .. } => (
                Exit::Failed,
                Some("check the server's URL and its path: it does not answer like a secret-gate server".to_owned()),
            ),
            _ => (Exit::Failed, None),
        };
        Self { what: with_cause(&error), hint, exit }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        let exit = match error {
            SettingsError::Client(error) => return error.into(),
            SettingsError::Url { ref place, .. } if place == "--server" => Exit::Usage,
            _ => Exit::Failed,
        };
        Self { what: with_cause(&error), hint: error.hint(), exit }
    }
}

impl From<daemon::Failure> for Failure {
    fn from(failure: daemon::Failure) -> Self {
        let daemon::Failure { kind, message, candidates, fields } = failure;
        let (exit, hint) = match kind {
            FailureKind::Denied => (Exit::Denied, None),
            FailureKind::Expired => (Exit::Expired, Some("ask again when someone can look at the phone".to_owned())),
            FailureKind::NotFound => (Exit::NotFound, Some(did_you_mean(&candidates))),
            FailureKind::Ambiguous => {
                (Exit::NotFound, Some(format!("name one with --vault, or by its id: {}", listed(&candidates))))
            }
            FailureKind::UnknownField => (Exit::NotFound, Some(format!("it has: {}", fields.join(", ")))),
            FailureKind::UnknownGrant => (Exit::NotFound, Some("secret-gate grants lists them".to_owned())),
            FailureKind::Unreachable => {
                (Exit::Unreachable, Some("check that the server runs and that its URL is right".to_owned()))
            }
            FailureKind::Unauthorized => (
                Exit::Failed,
                Some(
                    "set SECRET_GATE_API_KEY or api_key_file, together with the URL of the server it is for".to_owned(),
                ),
            ),
            FailureKind::AlreadyUsed => (
                Exit::Failed,
                Some("this program did not redeem it, so someone else has: change the secret".to_owned()),
            ),
            FailureKind::Protocol => {
                (Exit::Unreachable, Some("run secret-gate daemon stop, so that a new one starts".to_owned()))
            }
            FailureKind::Stopping => (Exit::Unreachable, Some("try again; a new one starts".to_owned())),
            _ => (Exit::Failed, None),
        };
        Self { what: message, hint, exit }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(Exit::Unreachable, with_cause(&error))
    }
}

/// The error and what is at the bottom of it; the layers between say nothing to a user.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn did_you_mean(suggestions: &[Candidate]) -> String {
    if suggestions.is_empty() {
        return "secret-gate --search WORD finds names".to_owned();
    }
    let names: Vec<_> =
        suggestions.iter().map(|one| format!("{} (vault {})", one.secret_name, one.vault_name)).collect();
    format!("did you mean {}?", names.join(", "))
}

fn listed(candidates: &[Candidate]) -> String {
    let names: Vec<_> =
        candidates.iter().map(|one| format!("{} (vault {}, id {})", one.secret_name, one.vault_name, one.id)).collect();
    names.join(", ")
}
