//! Which server to talk to, with its warnings printed.

use std::time::Duration;

use secret_gate_core::client::RemoteGate;
use secret_gate_core::daemon::{Settings, Wish};

use crate::failure::Failure;
use crate::ui::Ui;

/// What the flag, the environment and the configuration file say.
pub(crate) fn read(server: Option<&str>) -> Result<Settings, Failure> {
    Ok(Settings::read(server)?)
}

/// A wish for the daemon under these settings, without what it is for.
pub(crate) fn wish(settings: &Settings, poll_interval: Duration, keep: Option<Duration>, ui: &Ui) -> Wish {
    warn(settings, ui);
    settings.wish(poll_interval, keep)
}

/// The client for these settings.
pub(crate) fn gate(settings: &Settings, poll_interval: Duration, ui: &Ui) -> Result<RemoteGate, Failure> {
    let gate = settings.gate(poll_interval)?;
    warn(settings, ui);
    Ok(gate)
}

fn warn(settings: &Settings, ui: &Ui) {
    if let Some(warning) = settings.warning() {
        ui.warning(&warning);
    }
}
