//! What the tools answer. No member ever holds a value.

use schemars::JsonSchema;
use secret_gate_core::wire::{FieldInfo, SearchResult};
use serde::Serialize;

/// Result of `search_secrets`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Matches {
    /// The matches, best first
    pub(crate) results: Vec<Match>,
    /// The query
    pub(crate) query: String,
    /// How many matches these are
    pub(crate) count: usize,
    /// Vaults that could not be searched just now
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) incomplete: Vec<String>,
}

/// A secret whose name matches.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Match {
    /// Its name
    secret_name: String,
    /// The vault it is in
    vault_name: String,
    /// How good the match is, from 0 to 1
    score: f64,
    /// How it matches: exact, prefix, contains or fuzzy
    match_type: String,
}

impl From<SearchResult> for Match {
    fn from(result: SearchResult) -> Self {
        let SearchResult { secret_name, vault_name, score, match_type } = result;
        Self { secret_name, vault_name, score, match_type }
    }
}

/// Result of `inspect_fields`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Fields {
    /// The secret's name
    pub(crate) secret_name: String,
    /// The vault it is in
    pub(crate) vault_name: String,
    /// Its fields, without values
    pub(crate) fields: Vec<FieldOf>,
}

/// A field, without its value.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct FieldOf {
    /// The name to use it by
    label: String,
    /// What it holds, such as CONCEALED, STRING, OTP or SSHKEY
    r#type: String,
}

impl From<FieldInfo> for FieldOf {
    fn from(field: FieldInfo) -> Self {
        Self { label: field.label, r#type: field.kind }
    }
}

/// Result of `request_secret`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Decision {
    /// How the request stands
    pub(crate) status: Status,
    /// The name it was asked by; use the same one from here on
    pub(crate) secret_name: String,
    /// Whether it was approved before, so that nobody was asked
    pub(crate) cached: bool,
    /// The fields that can be used now
    pub(crate) fields_available: Vec<String>,
    /// What to do next
    pub(crate) message: String,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Approved,
    Pending,
    Denied,
    Expired,
    #[expect(dead_code, reason = "older servers said so; clients know the word")]
    Timeout,
}

/// Result of `exec_with_secret` and `ssh_with_secret`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ran {
    /// The exit code; -1 when it was killed because its time was up
    pub(crate) exit_code: i32,
    /// Standard output, in which values are replaced by [redacted:name/field]
    pub(crate) stdout: String,
    /// Standard error, in the same way, followed by notices of this server
    pub(crate) stderr: String,
    /// What was used: name/field
    pub(crate) secret_used: String,
}

/// Result of `daemon_status`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct DaemonStatus {
    /// Whether the daemon runs; it starts when it is needed
    pub(crate) running: bool,
    /// For how long it has run, such as 5m30s
    pub(crate) uptime: String,
    /// How many approvals it holds
    pub(crate) entry_count: usize,
    /// Where it listens
    pub(crate) socket_path: String,
    /// Its process; 0 when it does not run
    pub(crate) pid: u32,
}
