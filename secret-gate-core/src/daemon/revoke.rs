//! Ending approvals: by the user here, or by the server's word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::call::{Failure, FailureKind};
use super::holdings::{Holding, Holdings};
use crate::client::ClientError;

/// How long a server is asked to hold its answer while nothing is revoked.
const HOLD: Duration = Duration::from_secs(30);

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

/// Drops what a server says is revoked, for ever.
pub(super) async fn watch(holdings: Holdings) {
    let mut count = holdings.count();
    loop {
        count.borrow_and_update();
        let mut servers: BTreeMap<String, Vec<Arc<Holding>>> = BTreeMap::new();
        for holding in holdings.all() {
            servers.entry(holding.server.clone()).or_default().push(holding);
        }
        let watches = servers.into_values().map(|held| watch_server(&holdings, held));
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
async fn watch_server(holdings: &Holdings, held: Vec<Arc<Holding>>) {
    let Some(gate) = held.iter().find_map(|holding| holding.gate.clone()) else {
        return std::future::pending().await;
    };
    let tokens: Vec<&str> = held.iter().map(|holding| holding.token.expose()).collect();
    match gate.watch(&tokens, HOLD).await {
        Ok(revoked) => {
            for holding in held.iter().filter(|holding| revoked.iter().any(|token| token == holding.token.expose())) {
                tracing::info!(grant = %holding.grant.id, "the approval was taken back");
                holdings.remove(&holding.grant.id);
                holding.revoked.cancel();
            }
        }
        // an older server takes nothing back
        Err(ClientError::Server { status: 404 | 405, .. } | ClientError::UnknownRequest) => {
            std::future::pending::<()>().await;
        }
        Err(error) => {
            tracing::debug!(%error, "the server can't be watched; what is held goes on");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
