//! The log: to stderr, as text on a terminal and as JSON otherwise, without secrets at any level.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

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

/// Starts the log. `RUST_LOG` says how much, level info where it is not set.
///
/// # Errors
/// When `RUST_LOG` is malformed, or a log was started before.
pub fn start(format: LogFormat) -> Result<(), Box<dyn std::error::Error>> {
    let level = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env().map_err(|_| {
        "RUST_LOG is malformed; write RUST_LOG=info, or another of off, error, warn, debug and trace, or such as \
         RUST_LOG=warn,secret_gate_core=debug"
    })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    // what stands in for an audit file can't be turned off by a log level
    let level = level.add_directive("audit=info".parse()?);
    tracing_subscriber::registry().with(lines.with_filter(level).with_filter(without_urls())).try_init()?;
    Ok(())
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
