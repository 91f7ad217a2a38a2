//! Ending approvals: by the user here, or by the server's word.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::call::{Failure, FailureKind};
use super::holdings::{Holding, Holdings};
use crate::SecretValue;
use crate::client::RemoteGate;

/// How long a server is asked to hold its answer while nothing is revoked.
const HOLD: Duration = Duration::from_secs(30);

/// How many approvals a server watches in one call.
const MAX_WATCHED: usize = 256;

/// How long to wait before a server is watched again that could not be reached, or that does not know how.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells the servers that these have ended.
pub(super) async fn at_servers(holdings: Vec<Arc<Holding>>) -> Result<(), Failure> {
    let mut failed = None;
    for holding in holdings {
        let taken_back = match holding.gate.as_ref() {
            Some(gate) => gate.withdraw(holding.token.expose()).await,
            None => Ok(true),
        };
        if let Err(error) = taken_back {
            let message = format!("{} is forgotten here, but the server was not told: {error}", holding.grant.id);
            failed = Some(Failure::new(FailureKind::Unreachable, message));
        }
    }
    failed.map_or(Ok(()), Err)
}

/// What is watched of an approval: its values are not kept alive by that.
#[derive(Debug)]
struct Watched {
    holding: Weak<Holding>,
    gate: Arc<RemoteGate>,
    token: SecretValue,
}

/// Drops what a server says is revoked, for ever.
pub(super) async fn watch(holdings: Holdings) {
    let mut count = holdings.count();
    loop {
        count.borrow_and_update();
        let mut servers: BTreeMap<String, Vec<Watched>> = BTreeMap::new();
        for holding in holdings.in_use() {
            let Some(gate) = holding.gate.clone() else { continue };
            let token = SecretValue::copy_of(holding.token.expose());
            let all = servers.entry(holding.server.clone()).or_default();
            all.push(Watched { holding: Arc::downgrade(&holding), gate, token });
        }
        let parts = servers.values().flat_map(|watched| watched.chunks(MAX_WATCHED));
        let watches = parts.map(|watched| watch_server(&holdings, watched));
        tokio::select! {
            // one that ends is begun anew with what is held then
            () = first(watches) => {}
            changed = count.changed() => if changed.is_err() { return },
        }
    }
}

async fn first(watches: impl Iterator<Item = impl Future<Output = ()>>) {
    use futures_util::StreamExt as _;
    let mut watches: futures_util::stream::FuturesUnordered<_> = watches.collect();
    if watches.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Watches until something was revoked or the server has to be asked again.
async fn watch_server(holdings: &Holdings, watched: &[Watched]) {
    let Some(gate) = watched.first().map(|watched| &watched.gate) else { return };
    let tokens: Vec<&str> = watched.iter().map(|watched| watched.token.expose()).collect();
    match gate.watch(&tokens, HOLD).await {
        Ok(revoked) => {
            for Watched { holding, token, .. } in watched {
                let is_revoked = revoked.iter().any(|revoked| revoked == token.expose());
                if let Some(holding) = holding.upgrade().filter(|_| is_revoked) {
                    tracing::info!(grant = %holding.grant.id, "the approval was taken back");
                    holdings.forget(&holding.grant.id);
                    holding.revoked.cancel();
                }
            }
        }
        // an older server does not know how; a proxy in front of another one may say so for a while
        Err(error) => {
            tracing::debug!(%error, "the server can't be watched; what is held goes on");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
