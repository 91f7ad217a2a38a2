//! Why a tool could not do it, in words that a model can act on.

use std::error::Error;
use std::fmt;

use secret_gate_core::client::ClientError;
use secret_gate_core::daemon::{ConnectError, Failure, FailureKind, SettingsError};
use secret_gate_core::exec::ExecError;
use secret_gate_core::ssh::LoginError;
use secret_gate_core::wire::Candidate;

/// The longest text of a refusal, in bytes: parts of it may come from elsewhere.
const MAX_TEXT: usize = 16 * 1024;

/// What to do where the server is away.
const AWAY: &str =
    "Try again in a moment; if that fails as well, tell the user that the secret-gate server can't be reached";

/// Why it can't be done, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl Refusal {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(cut(text.into(), MAX_TEXT))
    }

    /// What happened, and what to do next.
    pub(crate) fn with_hint(what: impl fmt::Display, hint: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self::new(format!("{}. {hint}", what.strip_suffix('.').unwrap_or(&what)))
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

/// The text, or its first bytes.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let at = (0..=bytes).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(at);
        text.push_str(" […]");
    }
    text
}

/// An error with what caused it first, where that says more.
fn with_cause(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |cause: &&dyn Error| (**cause).source());
    causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let Failure { kind, message, candidates, fields } = failure;
        match kind {
            FailureKind::NotFound => not_found(&message, &candidates),
            FailureKind::Ambiguous => ambiguous(&message, &candidates),
            FailureKind::UnknownField => unknown_field(&message, &fields),
            FailureKind::Denied => Self::with_hint(
                message,
                "Do not ask again by yourself: tell the user, and go on without the secret unless they say otherwise",
            ),
            FailureKind::Expired => {
                Self::with_hint(message, "Ask again with request_secret when the user says that somebody can answer")
            }
            FailureKind::Unreachable => Self::with_hint(message, AWAY),
            FailureKind::Unauthorized => Self::with_hint(
                message,
                "Tell the user that SECRET_GATE_API_KEY or api_key_file does not fit this server; asking again changes nothing",
            ),
            FailureKind::AlreadyUsed => Self::with_hint(
                message,
                "Tell the user that somebody else got the value; ask again only if they say so",
            ),
            FailureKind::Protocol => Self::with_hint(
                message,
                "Tell the user to run `secret-gate daemon stop`, so that a daemon of this version starts",
            ),
            FailureKind::NotGranted | FailureKind::Invalid | FailureKind::UnknownGrant | FailureKind::Failed => {
                Self::new(message)
            }
            _ => Self::new(message),
        }
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotFound { message, suggestions } => not_found(&message, &suggestions),
            ClientError::Ambiguous { message, candidates } => ambiguous(&message, &candidates),
            ClientError::UnknownField { message, fields } => unknown_field(&message, &fields),
            ClientError::TooManyRequests { message, retry_after } => match retry_after {
                Some(pause) => Self::with_hint(message, format!("Try again in {} s", pause.as_secs().max(1))),
                None => Self::with_hint(message, "Try again in a minute"),
            },
            ClientError::Unreachable { .. } | ClientError::Interrupted { .. } => {
                Self::with_hint(with_cause(&error), AWAY)
            }
            ClientError::Unauthorized { message } => Self::with_hint(
                message,
                "Tell the user that SECRET_GATE_API_KEY or api_key_file does not fit this server; asking again changes nothing",
            ),
            other => Self::new(with_cause(&other)),
        }
    }
}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        let hint = error.hint();
        match (error, hint) {
            (SettingsError::Client(error), None) => error.into(),
            (error, Some(hint)) => Self::with_hint(with_cause(&error), format!("Tell the user: {hint}")),
            (error, None) => Self::with_hint(with_cause(&error), "Tell the user"),
        }
    }
}

impl From<ConnectError> for Refusal {
    fn from(error: ConnectError) -> Self {
        Self::with_hint(
            with_cause(&error),
            "Tell the user that the secret-gate daemon can't be used; `secret-gate daemon status` may say more",
        )
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        ConnectError::from(error).into()
    }
}

impl From<ExecError> for Refusal {
    fn from(error: ExecError) -> Self {
        Self::new(with_cause(&error))
    }
}

impl From<LoginError> for Refusal {
    fn from(error: LoginError) -> Self {
        Self::new(with_cause(&error))
    }
}

fn not_found(message: &str, suggestions: &[Candidate]) -> Refusal {
    if suggestions.is_empty() {
        Refusal::with_hint(message, "Look for its name with search_secrets")
    } else {
        Refusal::with_hint(message, format!("Did you mean {}?", listed(suggestions)))
    }
}

fn ambiguous(message: &str, candidates: &[Candidate]) -> Refusal {
    Refusal::with_hint(
        message,
        format!("Call again with the whole name, and with vault where names are equal: {}", listed(candidates)),
    )
}

fn unknown_field(message: &str, fields: &[String]) -> Refusal {
    Refusal::with_hint(message, format!("It has the fields {}", fields.join(", ")))
}

fn listed(candidates: &[Candidate]) -> String {
    let each = candidates.iter().map(|candidate| {
        let Candidate { secret_name, vault_name, .. } = candidate;
        if vault_name.is_empty() { secret_name.clone() } else { format!("{secret_name} (vault {vault_name})") }
    });
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_ends_once() {
        for what in ["several secrets go by that name", "several secrets go by that name."] {
            assert_eq!(Refusal::with_hint(what, "Ask").into_text(), "several secrets go by that name. Ask");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("ää".to_owned(), 4), "ää");
        assert_eq!(cut("äää".to_owned(), 3), "ä […]");
        assert!(Refusal::new("x".repeat(1_000_000)).into_text().len() < MAX_TEXT + 10);
    }
}
