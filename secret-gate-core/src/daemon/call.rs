//! What a client can ask of the daemon, and what it hears.
//!
//! There is no verb that hands over a value which nobody approved for it: [`Verb::Reveal`] does, for an approval that says
//! so, and nothing else.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use serde::{Deserialize, Serialize};

use crate::wire::{Candidate, FieldInfo, GrantInfo, Revealed, WantedSecret};
use crate::{SecretValue, Use};

/// The version of the protocol; both ends must speak the same one.
pub const PROTOCOL: u32 = 1;

// `status` and `stop` are understood, and answered, in every version: see `client`

/// One call.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Call {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The version of the caller. One daemon serves callers of its own version, whatever they want of secrets; empty where
    /// that does not matter to the caller.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What is asked.
    #[serde(flatten)]
    pub verb: Verb,
}

impl Call {
    /// A call of this verb.
    #[must_use]
    pub fn new(verb: Verb) -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned(), verb }
    }
}

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "mirrors the protocol")]
pub enum Verb {
    /// Get an approval, and keep what it allows.
    Request(Wish),
    /// Hand the values over, under an approval that allows it.
    Reveal(Wish),
    /// Run a command with the values.
    ///
    /// It goes on when its approval merely ends, by its time or since it was for one use: what was begun in time is done.
    /// When the approval is taken back ([`Verb::Revoke`], or the server's word), when all is forgotten ([`Verb::Flush`],
    /// [`Verb::Stop`]) and when the caller leaves, it is killed. The same holds for [`Verb::Ssh`].
    Exec(Exec),
    /// Log in somewhere with a key.
    Ssh(Ssh),
    /// What is held, without values.
    Grants,
    /// End a grant, here and at the server.
    Revoke {
        /// Which; all where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
    /// Forget every value; the approvals end here alone.
    Flush,
    /// How the daemon is.
    Status,
    /// Forget everything and end.
    Stop,
}

/// An approval that is wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Wish {
    /// Base URL of the server.
    pub server: String,
    /// Key for that server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Key>,
    /// PEM file of a private CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_ca: Option<std::path::PathBuf>,
    /// What is wanted; several are approved together.
    pub secrets: Vec<WantedSecret>,
    /// What for.
    #[serde(rename = "use")]
    pub intended_use: Use,
    /// How long it is to be kept, such as `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The program that asks, with its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The folder it works in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Why it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often to ask a server that does not hold its answers, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll_interval_ms: Option<u64>,
    /// Only what is held already will do; nobody is asked.
    pub only_held: bool,
    /// The caller's ssh-agent (`SSH_AUTH_SOCK`): gets the SSH keys whose approval says reveal or any host, while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_auth_sock: Option<OsText>,
}

/// A command to run with values.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Exec {
    /// The approval that covers it; where its use is an exact command, that is what runs.
    pub wish: Wish,
    /// The argument vector.
    pub argv: Vec<OsText>,
    /// The folder that it runs in.
    pub working_dir: OsText,
    /// The caller's environment.
    pub env: Vec<(OsText, OsText)>,
    /// The values that it gets.
    pub inject: Vec<Inject>,
    /// How long it may run, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How much output of each stream is passed on, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<u64>,
}

/// A login with a key.
#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Ssh {
    /// The approval that covers it, of one secret; where its use is an exact host, that is where it goes.
    pub wish: Wish,
    /// The label of the field with the key; the only one of the secret, or the one that is a key, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where to, where any host is approved: `[user@]host`.
    pub target: String,
    /// The TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The command to run there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The caller's folder.
    pub working_dir: OsText,
    /// The caller's environment.
    pub env: Vec<(OsText, OsText)>,
    /// How long it may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How much output of each stream is passed on, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_limit: Option<u64>,
}

/// A value for a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Inject {
    /// Which secret of the wish, counted from 0.
    pub secret: usize,
    /// The label of the field.
    pub field: String,
    /// How it gets there.
    pub into: Way,
}

/// How a value gets to a command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "mirrors the protocol")]
pub enum Way {
    /// In this environment variable.
    Variable(String),
    /// In a pipe whose path stands in this environment variable.
    File(String),
    /// On standard input.
    Stdin,
}

/// Text of the operating system, which need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::exhaustive_enums, reason = "mirrors the protocol")]
pub enum OsText {
    /// It is UTF-8.
    Text(String),
    /// It is not.
    Bytes(Vec<u8>),
}

impl From<OsString> for OsText {
    fn from(text: OsString) -> Self {
        text.into_string().map_or_else(|text| Self::Bytes(text.into_vec()), Self::Text)
    }
}

impl From<OsText> for OsString {
    fn from(text: OsText) -> Self {
        match text {
            OsText::Text(text) => text.into(),
            OsText::Bytes(bytes) => Self::from_vec(bytes),
        }
    }
}

/// An API key on its way to the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Key(pub Revealed);

impl Clone for Key {
    fn clone(&self) -> Self {
        Self(Revealed(SecretValue::copy_of(self.0.0.expose())))
    }
}

/// What a client hears, last one of [`Event::Done`] and those that say more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "mirrors the protocol")]
pub enum Event {
    /// A human can see the question; now it is up to them.
    Asked {
        /// The request's id, as the message shows it.
        request_id: String,
        /// Until when it can be answered (RFC 3339).
        expires_at: String,
    },
    /// The approval is there.
    Granted(Granted),
    /// The values.
    Revealed {
        /// What the approval was for.
        granted: Granted,
        /// For each item, in the order of the call: labels and values.
        values: Vec<std::collections::BTreeMap<String, Revealed>>,
    },
    /// The command begins; its output follows, and then [`Event::Exited`].
    Started,
    /// The command has ended.
    Exited {
        /// Its exit code, as a shell gives it: 128 and the number for a signal, 124 when its time was up.
        code: i32,
        /// Whether its time was up.
        timed_out: bool,
        /// The streams of which output was dropped, `stdout` and `stderr`.
        truncated: Vec<String>,
        /// The labels, `item/field`, of values that it got and that were not redacted.
        unredacted: Vec<String>,
    },
    /// What is held.
    Grants {
        /// The grants, oldest first.
        grants: Vec<Held>,
    },
    /// How the daemon is.
    Status(Status),
    /// It is done.
    Done {
        /// How many grants it was done to.
        count: usize,
    },
    /// It can't be done.
    Failed(Failure),
}

/// An approval that covers what was wanted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Granted {
    /// Whether it was held already, so that nobody was asked.
    pub cached: bool,
    /// The items, in the order of the call.
    pub items: Vec<HeldItem>,
    /// The approval; the one that ends first where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantInfo>,
    /// What did not go well although the approval is there, in sentences for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A grant, without values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Held {
    /// The server it came from.
    pub server: String,
    /// The approval.
    pub grant: GrantInfo,
    /// What it is for.
    pub items: Vec<HeldItem>,
}

/// An item of a grant, without values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct HeldItem {
    /// Its title.
    pub secret_name: String,
    /// Its vault's name; empty where the server did not say.
    pub vault_name: String,
    /// The labels and types of the fields; the type is empty where the server did not say.
    pub fields: Vec<FieldInfo>,
}

/// How the daemon is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs, in seconds.
    pub uptime_seconds: u64,
    /// How many grants it holds.
    pub entry_count: usize,
    /// Where it listens.
    pub socket_path: String,
    /// Whether the values are kept out of swap.
    pub memory_locked: bool,
    /// How many other calls are under way, such as commands that run and questions that are open.
    #[serde(default)]
    pub calls: usize,
}

/// Why something can't be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the protocol")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What happened, in a sentence for people.
    pub message: String,
    /// What could be meant instead: titles that come close, or all that fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// The labels there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// What kind of failure it is, by what can be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The human said no, or took the approval back.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// No item of that name.
    NotFound,
    /// Several items could be meant.
    Ambiguous,
    /// The item has no such field.
    UnknownField,
    /// No grant covers it, and nobody was to be asked.
    NotGranted,
    /// The server can't be reached.
    Unreachable,
    /// The server wants an API key, or another one.
    Unauthorized,
    /// The value was released to somebody else.
    AlreadyUsed,
    /// The daemon is of another version, or speaks another one of the protocol; nothing was begun.
    Protocol,
    /// The call makes no sense.
    Invalid,
    /// The caller is not one that the daemon works for: it lives in a sandbox.
    Refused,
    /// No grant of that id.
    UnknownGrant,
    /// The daemon ends, and has not begun with it; another one can be started.
    Stopping,
    /// The caller left, and the question, if one was open, is taken back or goes on for others.
    Withdrawn,
    /// The caller left, and a question may still be open that nobody waits for.
    NotWithdrawn,
    /// Anything else.
    Failed,
}

impl Verb {
    /// Whether it is about secrets, so that both ends must mean the same by it.
    pub(super) const fn is_about_secrets(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Reveal(_) | Self::Exec(_) | Self::Ssh(_))
    }

    /// Whether something is run, which ends when it does.
    pub(super) const fn runs(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Ssh(_))
    }
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), candidates: Vec::new(), fields: Vec::new() }
    }
}
