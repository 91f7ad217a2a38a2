//! What ends a wait from outside: Ctrl-C, termination, the time-out.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;

/// Listens for signals from its making on; until it is dropped they no longer end the process by themselves.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(Exit::Failed, format!("can't listen for signals: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for a signal.
    pub(crate) async fn signal(&mut self) -> Failure {
        tokio::select! {
            _ = self.interrupt.recv() => Failure::new(Exit::Interrupted, "interrupted"),
            _ = self.terminate.recv() => Failure::new(Exit::Terminated, "terminated"),
        }
    }

    /// Waits for a signal or until this much time has passed.
    pub(crate) async fn signal_or(&mut self, timeout: Duration) -> Failure {
        tokio::select! {
            stopped = self.signal() => stopped,
            () = tokio::time::sleep(timeout) => {
                Failure::new(Exit::Expired, format!("nobody approved within {}", humantime::format_duration(timeout)))
                    .with_hint("ask again, or wait longer with --timeout")
            }
        }
    }
}
