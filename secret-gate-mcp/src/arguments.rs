//! What the tools take. Names and meanings of the members are fixed: clients and their skill files know them.
//!
//! Where a human is asked or a secret is used, what is not known is refused: a mistyped `command` would be lost, and the
//! question would be for any.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// Arguments of `search_secrets`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Search {
    /// Part of a name, such as "database"; case does not matter
    pub(crate) query: String,
    /// How many matches to give at most (default 10, at most 100)
    #[serde(default)]
    pub(crate) limit: Option<i64>,
}

/// Arguments of `inspect_fields`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Inspect {
    /// Name of the secret, as search_secrets gives it
    pub(crate) secret_name: String,
    /// Vault to look in (default: all)
    #[serde(default)]
    pub(crate) vault: Option<String>,
}

/// Arguments of `request_secret`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Name of the secret, as search_secrets gives it
    pub(crate) secret_name: String,
    /// Vault to look in (default: all)
    #[serde(default)]
    pub(crate) vault: Option<String>,
    /// Why you need it, in a sentence; the human reads it before deciding
    pub(crate) reason: String,
    /// The one field that is needed (default: all fields)
    #[serde(default)]
    pub(crate) field: Option<String>,
    /// The fields that are needed (default: all fields)
    #[serde(default)]
    pub(crate) fields: Option<Vec<String>>,
    /// Ask for exactly this command, as exec_with_secret will be given it (a shell line, or with args a program; for a script
    /// always give args, even empty ones, so that its content is checked). With host: the command to run there
    #[serde(default)]
    pub(crate) command: Option<String>,
    /// The arguments of the program that command names
    #[serde(default)]
    pub(crate) args: Option<Vec<String>>,
    /// With command: the environment variable that will carry field
    #[serde(default)]
    pub(crate) env_var: Option<String>,
    /// With command: which environment variable will carry which field, or which secret reference (op://vault/item/field).
    /// Without command: the secrets that any command is to have
    #[serde(default)]
    pub(crate) env: Option<BTreeMap<String, String>>,
    /// With command: the folder it will run in (default: that of this server)
    #[serde(default)]
    pub(crate) working_dir: Option<String>,
    /// Ask for exactly this login, [user@]host, as ssh_with_secret will be given it
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// With host: the TCP port
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// How long to keep the approval, such as "30m" or "1h"; the human may choose otherwise
    #[serde(default)]
    pub(crate) duration: Option<String>,
    /// How many seconds to wait for the human before answering "pending"; call again to wait on
    #[serde(default)]
    pub(crate) wait_sec: Option<i64>,
}

/// Arguments of `exec_with_secret`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exec {
    /// Name of the secret, as request_secret was given it
    pub(crate) secret_name: String,
    /// Vault to look in (default: all)
    #[serde(default)]
    pub(crate) vault: Option<String>,
    /// The field that env_var carries
    #[serde(default)]
    pub(crate) field: Option<String>,
    /// The environment variable that carries field, such as "PGPASSWORD"
    #[serde(default)]
    pub(crate) env_var: Option<String>,
    /// A line for sh, which uses the secret as "$VARIABLE"; with args (even empty ones): a program or script, run without
    /// a shell
    pub(crate) command: String,
    /// The arguments of the program that command names
    #[serde(default)]
    pub(crate) args: Option<Vec<String>>,
    /// More variables: which environment variable carries which field, or which secret reference (op://vault/item/field)
    #[serde(default)]
    pub(crate) env: Option<BTreeMap<String, String>>,
    /// The folder to run in (default: that of this server)
    #[serde(default)]
    pub(crate) working_dir: Option<String>,
    /// After how many seconds to kill the command (default 30)
    #[serde(default)]
    pub(crate) timeout_sec: Option<i64>,
}

/// Arguments of `ssh_with_secret`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ssh {
    /// Name of the secret with the private key, as request_secret was given it
    pub(crate) secret_name: String,
    /// Where to log in: [user@]host
    pub(crate) host: String,
    /// The command to run there (default: none, which tries the login and ends)
    #[serde(default)]
    pub(crate) command: Option<String>,
    /// Vault to look in (default: all)
    #[serde(default)]
    pub(crate) vault: Option<String>,
    /// TCP port (default 22)
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// After how many seconds to give up (default 120)
    #[serde(default)]
    pub(crate) timeout: Option<i64>,
}

/// Arguments of `daemon_status`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct NoArguments {}
