//! The log: to stderr, as text on a terminal and as JSON otherwise, without secrets at any level.
//!
//! A line of JSON is one flat object with `timestamp` (RFC 3339, UTC), `level`, `target` and `message`; `call_id` where
//! it was written during an HTTP call, which is answered with the same id as `X-Request-Id`; `request_id` where the
//! call concerns a request of the gate, whose id stands in the message on the phone too; and what the line itself has
//! to tell, in members of its own.

mod answered;
mod json;
mod lines;

use std::io::IsTerminal as _;

use secret_gate_core::RequestId;
use tracing::Span;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use self::lines::Lines;

pub(crate) use answered::log_call;

/// The target of the span around an HTTP call.
const CALL: &str = "secret_gate::call";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
}

impl LogFormat {
    /// What `LOG_FORMAT` says: `text` or `json`; text on a terminal and JSON otherwise where it is not set.
    ///
    /// # Errors
    /// A line that says what to write.
    pub fn from_env() -> Result<Self, String> {
        let format = std::env::var_os("LOG_FORMAT").unwrap_or_default();
        match format.to_string_lossy().trim() {
            "" if std::io::stderr().is_terminal() => Ok(Self::Text),
            "" | "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("LOG_FORMAT is malformed ({other:?}); write LOG_FORMAT=text or LOG_FORMAT=json")),
        }
    }
}

/// The log that was started; dropping this writes what still waits to be, so keep it until the end.
pub struct Log(Lines<std::io::Stderr>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log(..)")
    }
}

/// Starts the log. `RUST_LOG` says how much, level info where it is not set.
///
/// Lines about answered calls come up to 10 ms late, so that many of them cost one write; the order stays, and all other
/// lines are out at once.
///
/// # Errors
/// When `RUST_LOG` is malformed, or a log was started before.
pub fn start(format: LogFormat) -> Result<Log, Box<dyn std::error::Error>> {
    let level = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env().map_err(|_| {
        "RUST_LOG is malformed; write RUST_LOG=info, or another of off, error, warn, debug and trace, or such as \
         RUST_LOG=warn,secret_gate_core=debug"
    })?;
    let written = Lines::new(std::io::stderr());
    let lines = fmt::layer().with_writer(written.clone());
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.fmt_fields(json::CallFields).event_format(json::FlatJson).boxed(),
    };
    // what stands in for an audit file can't be turned off by a log level; nor can the ids, which are no lines
    let level = level.add_directive("audit=info".parse()?).add_directive(format!("{CALL}=info").parse()?);
    tracing_subscriber::registry().with(lines.with_filter(level).with_filter(without_urls())).try_init()?;
    Ok(Log(written))
}

/// The span around an HTTP call: whatever is logged inside carries this id, and that of the request which it concerns.
fn call(call_id: &str, request: Option<&RequestId>) -> Span {
    tracing::info_span!(target: CALL, "call", call_id, request_id = request.map(RequestId::as_str))
}

/// Says which request of the gate the call under way concerns: the lines from now on carry its id.
pub(crate) fn concerns(request: &RequestId) {
    Span::current().record("request_id", request.as_str());
}

/// An error and its causes in one line; each says only its own part.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Keeps out what HTTP clients log of their own: URLs and headers, and a bot's token stands in its URLs.
#[must_use]
pub fn without_urls() -> FilterFn {
    const CHATTY: [&str; 8] = ["h2", "hyper", "hyper_util", "reqwest", "rustls", "teloxide", "teloxide_core", "tower"];
    filter_fn(|metadata| {
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        !CHATTY.contains(&crate_name) && metadata.target() != "log"
    })
}
