//! The ways to break the Connect server while it runs.

use std::{sync::Arc, time::Duration};

use super::world::World;
use crate::{
    fault::{Fault, Times},
    watched::Watched,
};

/// Which calls a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every call, `/heartbeat` and `/health` among them.
    Everything,
    /// Calls below `/v1`.
    Api,
    /// Calls about one vault and what is in it.
    Vault(String),
}

impl Scope {
    pub(super) fn fits(&self, path: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Api => path.starts_with("/v1/"),
            Self::Vault(id) => path.strip_prefix("/v1/vaults/").is_some_and(|rest| rest.split('/').next() == Some(id)),
        }
    }
}

/// Switches that break a [`ConnectDouble`](super::ConnectDouble); get it from
/// [`ConnectDouble::faults`](super::ConnectDouble::faults). Each takes effect with the next call that arrives.
#[derive(Clone, Debug)]
pub struct ConnectFaults {
    world: Arc<Watched<World>>,
}

impl ConnectFaults {
    pub(super) const fn new(world: Arc<Watched<World>>) -> Self {
        Self { world }
    }

    /// Any fault, for every path.
    pub fn set(&self, fault: Fault, times: Times) {
        self.rule(Scope::Everything, fault, times);
    }

    /// Answers the next `calls` authenticated requests with 401 although the token is right, as a server does that has
    /// just started.
    pub fn deny_next_with_401(&self, calls: usize) {
        self.rule(Scope::Api, Fault::Status(401), Times::Next(calls));
    }

    /// Hides a vault from the token: it is missing from the list, and asking for it or its items yields 403.
    pub fn forbid_vault(&self, id: &str) {
        self.world.change(|world| world.forbidden.insert(id.to_owned()));
    }

    /// Shows the vault to the token again.
    pub fn allow_vault(&self, id: &str) {
        self.world.change(|world| world.forbidden.remove(id));
    }

    /// Answers every request about this vault and its items with `status`; the vault stays in the list.
    pub fn fail_vault(&self, id: &str, status: u16) {
        self.rule(Scope::Vault(id.to_owned()), Fault::Status(status), Times::Always);
    }

    /// Ends [`Self::fail_vault`] for this vault.
    pub fn heal_vault(&self, id: &str) {
        let healed = Scope::Vault(id.to_owned());
        self.world.change(|world| world.rules.remove(|scope, _| *scope == healed));
    }

    /// Answers the next `calls` requests with `status`.
    pub fn fail_next(&self, calls: usize, status: u16) {
        self.set(Fault::Status(status), Times::Next(calls));
    }

    /// Answers every request with `status` until [`Self::clear`].
    pub fn fail_all(&self, status: u16) {
        self.set(Fault::Status(status), Times::Always);
    }

    /// Answers with `status` and an HTML page, as a proxy (502) or a captive portal (200) does.
    pub fn garbage(&self, status: u16, times: Times) {
        self.set(Fault::Html(status), times);
    }

    /// Ends the connection in the middle of the answer's body.
    pub fn truncate(&self, times: Times) {
        self.set(Fault::Truncated, times);
    }

    /// Makes the next request wait this long for its answer.
    pub fn hang(&self, duration: Duration) {
        self.set(Fault::Delay(duration), Times::Next(1));
    }

    /// Resets the connection instead of answering.
    pub fn reset(&self, times: Times) {
        self.set(Fault::Reset, times);
    }

    /// Delays every answer by this much; zero ends it. [`Self::clear`] leaves it alone.
    pub fn latency(&self, duration: Duration) {
        self.world.change(|world| world.latency = duration);
    }

    /// Sets what `/health` says about the sync dependency: `ACTIVE`, or `TOKEN_NEEDED` as after a start.
    pub fn sync_active(&self, active: bool) {
        self.world.change(|world| world.synced = active);
    }

    /// Ends all faults, forbidden vaults among them.
    pub fn clear(&self) {
        self.world.change(|world| {
            world.rules.clear();
            world.forbidden.clear();
            world.synced = true;
        });
    }

    fn rule(&self, scope: Scope, fault: Fault, times: Times) {
        self.world.change(|world| world.rules.set(scope, fault, times));
    }
}
