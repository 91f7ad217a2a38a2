//! What ends a wait from outside: Ctrl-C, termination, a closed terminal, the time-out.

use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::exit::Exit;
use crate::failure::Failure;

/// How long the whole of a command may take, counted from its making on.
#[derive(Debug)]
pub(crate) struct Limit {
    length: Duration,
    /// None where it lies beyond all clocks.
    end: Option<Instant>,
}

impl Limit {
    pub(crate) fn of(length: Duration) -> Self {
        Self { length, end: Instant::now().checked_add(length) }
    }

    /// Does `work`, which puts no question, until the time is up.
    pub(crate) async fn bound<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.bound_for("the server", work).await
    }

    /// The same for what somebody else than the server does.
    pub(crate) async fn bound_for<T>(
        &self,
        who: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            outcome = work => outcome,
            () = self.over() => Err(Failure::new(Exit::Expired, format!("{who} gave no answer within {self}"))
                .with_hint("try again, or wait longer with --timeout")),
        }
    }

    async fn over(&self) {
        match self.end {
            Some(end) => sleep_until(end).await,
            None => pending().await,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        humantime::format_duration(self.length).fmt(f)
    }
}

/// Listens for signals from its making on; until it is dropped they no longer end the process by themselves.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored, as under `nohup`, and must stay so.
    hangup: Option<Signal>,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("can't listen for signals: {error}")))
        };
        let hangup = if hangup_is_ignored() { None } else { Some(listen(SignalKind::hangup())?) };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())?, hangup })
    }

    /// Waits for a signal.
    pub(crate) async fn signal(&mut self) -> Failure {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Failure::new(Exit::Interrupted, "interrupted"),
            _ = self.terminate.recv() => Failure::new(Exit::Terminated, "terminated"),
            _ = hangup => Failure::new(Exit::HungUp, "the terminal is gone"),
        }
    }

    /// Waits for a signal or until the time is up.
    pub(crate) async fn signal_or(&mut self, limit: &Limit) -> Failure {
        tokio::select! {
            stopped = self.signal() => stopped,
            () = limit.over() => Failure::new(Exit::Expired, format!("nobody approved within {limit}"))
                .with_hint("ask again, or wait longer with --timeout"),
        }
    }
}

/// Whether whoever started the program had it ignore SIGHUP. Only Linux tells without unsafe code; elsewhere the signal
/// is taken to count.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // the lowest bit is signal 1 (proc(5)), which is SIGHUP
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
