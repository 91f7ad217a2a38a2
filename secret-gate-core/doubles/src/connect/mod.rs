//! The double of a 1Password Connect server.
//!
//! [`ConnectDouble`] is the handle that a test holds; `world` is what the server knows, `api` how it answers, `filter`
//! the SCIM filters, [`ConnectFaults`] the ways to break it, `seed` items for use by hand.
//!
//! Played: `/heartbeat`, `/health`, vaults, and items with list, get, create, replace and delete.
//! Not played: `PATCH`, files, activity, metrics, generated passwords.

mod api;
mod faults;
mod filter;
mod seed;
mod world;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::http::Method;
use serde_json::Value;

use crate::{error::DoubleError, watched::Watched, wire::Server};

pub use faults::ConnectFaults;

use world::World;

/// A 1Password Connect server for tests, on a loopback port of its own. It serves until it is dropped.
#[derive(Debug)]
pub struct ConnectDouble {
    world: Arc<Watched<World>>,
    server: Server,
}

/// A request that arrived, recorded before it was answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Call {
    /// The HTTP method.
    pub method: Method,
    /// The path as sent, without the query.
    pub path: String,
    /// The query as sent, still percent-encoded; empty when there was none.
    pub query: String,
    /// Whether the request carried the valid bearer token.
    pub authorized: bool,
    /// When it arrived.
    pub at: Instant,
}

impl ConnectDouble {
    /// Starts on a free loopback port. Needs a running tokio runtime.
    ///
    /// # Errors
    ///
    /// [`DoubleError::Listen`] when the port cannot be bound.
    pub async fn start() -> Result<Self, DoubleError> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on the given address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// [`DoubleError::Listen`] when the address cannot be bound.
    pub async fn start_on(address: SocketAddr) -> Result<Self, DoubleError> {
        let world = Arc::new(Watched::new(World::new()));
        let server = Server::start(address, api::router(Arc::clone(&world))).await?;
        Ok(Self { world, server })
    }

    /// The same double, accepting this bearer token instead of `connect-double-token`.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.set_token(token);
        self
    }

    /// Accepts only this bearer token from now on, as after a rotation.
    pub fn set_token(&self, token: &str) {
        self.world.change(|world| world.token = token.to_owned());
    }

    /// The base URL without `/v1` and without a trailing slash, as in `OP_CONNECT_HOST`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The bearer token that is accepted.
    #[must_use]
    pub fn token(&self) -> String {
        self.world.read(|world| world.token.clone())
    }

    /// Adds an empty vault and returns its id. An empty `id` or `"auto"` picks a random one of the right form.
    #[expect(clippy::must_use_candidate, reason = "called for its effect as often as for the id")]
    pub fn add_vault(&self, id: &str, name: &str) -> String {
        self.world.change(|world| world.add_vault(id, name))
    }

    /// Adds an item and returns its id.
    ///
    /// `item` is the vendor's `FullItem`, stored as it is; `id`, `vault`, `version`, `createdAt` and `updatedAt` are
    /// filled in when absent. Nothing else is checked, so that odd items can be served too.
    ///
    /// # Panics
    ///
    /// When there is no such vault: the test that calls is wrong.
    #[expect(clippy::must_use_candidate, reason = "called for its effect as often as for the id")]
    #[track_caller]
    pub fn add_item(&self, vault_id: &str, item: Value) -> String {
        let id = self.world.change(|world| world.add_item(vault_id, item));
        must_exist(id, "vault", vault_id)
    }

    /// Changes an item as an edit in 1Password would: `version` goes up by one and `updatedAt` becomes now.
    ///
    /// # Panics
    ///
    /// When there is no such item: the test that calls is wrong.
    #[track_caller]
    pub fn update_item(&self, item_id: &str, edit: impl FnOnce(&mut Value)) {
        let found = self.world.change(|world| world.edit(item_id, true, edit));
        must_exist(found, "item", item_id);
    }

    /// Changes an item without raising `version` or `updatedAt`, as a restored backup or a faulty sync might.
    ///
    /// # Panics
    ///
    /// When there is no such item: the test that calls is wrong.
    #[track_caller]
    pub fn update_item_silently(&self, item_id: &str, edit: impl FnOnce(&mut Value)) {
        let found = self.world.change(|world| world.edit(item_id, false, edit));
        must_exist(found, "item", item_id);
    }

    /// Removes an item; its id is unknown from now on.
    ///
    /// # Panics
    ///
    /// When there is no such item: the test that calls is wrong.
    #[track_caller]
    pub fn remove_item(&self, item_id: &str) {
        let gone = self.world.change(|world| world.remove_item(item_id));
        must_exist(gone, "item", item_id);
    }

    /// Moves an item to another vault and returns its new id there.
    ///
    /// Moving in 1Password creates a copy with a new id and removes the original; so does this.
    ///
    /// # Panics
    ///
    /// When there is no such item or vault: the test that calls is wrong.
    #[expect(clippy::must_use_candidate, reason = "called for its effect as often as for the id")]
    #[track_caller]
    pub fn move_item(&self, item_id: &str, other_vault: &str) -> String {
        let id = self.world.change(|world| world.move_item(item_id, other_vault));
        must_exist(id, "item or vault", &format!("{item_id} or {other_vault}"))
    }

    /// The requests so far, in order of arrival. Requests to the control API are not among them.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world.read(|world| world.calls.clone())
    }

    /// Forgets the requests so far.
    pub fn clear_calls(&self) {
        self.world.change(|world| world.calls.clear());
    }

    /// Waits until a request that fits has arrived, including those before the call.
    ///
    /// # Errors
    ///
    /// [`DoubleError::TimedOut`] after ten seconds.
    pub async fn wait_call(&self, fits: impl Fn(&Call) -> bool + Send) -> Result<Call, DoubleError> {
        let look = move |world: &mut World| world.calls.iter().find(|call| fits(call)).cloned();
        self.world.expect("the awaited call to Connect", look).await
    }

    /// The ways to break this server; they can be set at any time.
    #[must_use]
    pub fn faults(&self) -> ConnectFaults {
        ConnectFaults::new(Arc::clone(&self.world))
    }

    /// Adds a few vaults and items with invented secrets, to try things by hand.
    pub fn seed_demo(&self) {
        self.world.change(seed::demo);
    }

    /// Adds the vaults and items of a document `{"vaults": [{"name": "…", "id": "…", "items": [FullItem, …]}, …]}`,
    /// where `id` and `items` may be absent.
    ///
    /// # Errors
    ///
    /// [`DoubleError::Seed`] when the document has another shape.
    pub fn seed(&self, document: &Value) -> Result<(), DoubleError> {
        self.world.change(|world| seed::load(world, document))
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "a wrong id is a mistake in the test that gave it, and must not go unnoticed")]
fn must_exist<T>(found: Option<T>, kind: &str, id: &str) -> T {
    match found {
        Some(found) => found,
        None => panic!("the double of Connect has no {kind} {id}"),
    }
}
