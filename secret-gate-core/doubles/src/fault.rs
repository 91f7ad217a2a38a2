//! Ways to break on purpose, and the rules that say when.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// One way in which a service, or the network in front of it, misbehaves.
///
/// As JSON (for `POST /control/fault`): `"reset"`, `{"html": 502}`, `{"delay": 1500}` (milliseconds).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The service answers with this HTTP status, in its own error format.
    Status(u16),
    /// Something in between answers with this HTTP status and an HTML page.
    Html(u16),
    /// The answer announces more bytes than come before the connection ends.
    Truncated,
    /// The connection ends without an answer, before the request has any effect.
    Close,
    /// The connection is reset (RST) without an answer, before the request has any effect.
    Reset,
    /// The request takes effect, but the connection is reset instead of an answer.
    DropAnswer,
    /// The answer comes this much later (milliseconds in JSON); the request is handled after the delay.
    #[serde(deserialize_with = "milliseconds")]
    Delay(Duration),
    /// The request takes effect at once, but its answer comes this much later (milliseconds in JSON).
    #[serde(deserialize_with = "milliseconds")]
    SlowAnswer(Duration),
    /// Telegram only: 429 with `parameters.retry_after` in seconds.
    RetryAfter(u64),
    /// Telegram only: 409 as if another program polled with the same token.
    Conflict,
}

/// How often a [`Fault`] strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Times {
    /// The next so many calls that it fits.
    Next(usize),
    /// Every call until the faults are cleared.
    Always,
}

fn milliseconds<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_millis)
}

/// What the rules decided for one call.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

/// The faults that are set, oldest first. `S` says which calls a rule fits.
#[derive(Debug)]
pub(crate) struct Rules<S> {
    rules: Vec<(S, Fault, Times)>,
}

impl<S> Rules<S> {
    pub(crate) const fn new() -> Self {
        Self { rules: Vec::new() }
    }

    pub(crate) fn set(&mut self, scope: S, fault: Fault, times: Times) {
        if times != Times::Next(0) {
            self.rules.push((scope, fault, times));
        }
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(crate) fn remove(&mut self, gone: impl Fn(&S, &Fault) -> bool) {
        self.rules.retain(|(scope, fault, _)| !gone(scope, fault));
    }

    /// The fate of a call: all delays that fit add up, and the oldest other fault that fits strikes.
    pub(crate) fn strike(&mut self, fits: impl Fn(&S) -> bool) -> Fate {
        let mut fate = Fate::default();
        for (scope, fault, times) in &mut self.rules {
            if !fits(scope) {
                continue;
            }
            match fault {
                Fault::Delay(delay) => fate.delay += *delay,
                _ if fate.fault.is_some() => continue,
                _ => fate.fault = Some(fault.clone()),
            }
            if let Times::Next(left) = times {
                *left = left.saturating_sub(1);
            }
        }
        self.rules.retain(|(_, _, times)| *times != Times::Next(0));
        fate
    }
}

/// What a proxy or a captive portal says.
pub(crate) const HTML_PAGE: &str =
    "<html>\r\n<head><title>Bad Gateway</title></head>\r\n<body>bad gateway</body>\r\n</html>\r\n";
