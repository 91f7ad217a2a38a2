//! Who gets a connection when they are all taken, and how many one address may hold.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::progress::Progress;

/// The connections there are. Dropping this closes them.
#[derive(Debug)]
pub(crate) struct Seats {
    max: usize,
    tasks: JoinSet<()>,
    taken: HashMap<Id, Seat>,
    /// How many are taken from each network, of those that have a share only.
    held: HashMap<Network, usize>,
}

#[derive(Debug)]
struct Seat {
    network: Option<Network>,
    progress: Progress,
    task: AbortHandle,
}

/// Whether there is a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// There will be one.
    AllTaken,
    /// There is none for this network, which has its share and makes calls on all of it.
    ShareTaken,
}

/// What counts as one address: of IPv6 the first 64 bits, since whoever has one address has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Network(IpAddr);

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl Seats {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), tasks: JoinSet::new(), taken: HashMap::new(), held: HashMap::new() }
    }

    /// How many there are, those included that were let go and have not ended yet.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Finds a seat for a connection from this network, or from a trusted proxy, which has no share. Where all seats
    /// that it may have are taken, the one of them that has waited longest for a request is let go for it.
    pub(super) fn make_room(&mut self, network: Option<Network>) -> Room {
        // until those that were let go have ended, their files are open
        if self.tasks.len() > self.max {
            return Room::AllTaken;
        }
        if network.is_some_and(|network| self.held_by(network) >= self.share()) {
            let made = self.let_go_longest_waiting(|seat| seat.network == network);
            return if made { Room::Free } else { Room::ShareTaken };
        }
        let made = self.taken.len() < self.max || self.let_go_longest_waiting(|_| true);
        if made { Room::Free } else { Room::AllTaken }
    }

    /// Half of all: one address alone never keeps the others out.
    pub(super) fn share(&self) -> usize {
        (self.max / 2).max(1)
    }

    pub(super) fn take(
        &mut self,
        network: Option<Network>,
        progress: Progress,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(connection);
        if let Some(network) = network {
            *self.held.entry(network).or_default() += 1;
        }
        self.taken.insert(task.id(), Seat { network, progress, task });
    }

    /// Ready once one of them has ended, false where there is none.
    pub(super) async fn one_ended(&mut self) -> bool {
        let Some(ended) = self.tasks.join_next_with_id().await else { return false };
        self.free(ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id));
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "a connection ended in a fault of the server");
        }
        true
    }

    /// Ready once the last of them has ended.
    pub(crate) async fn all_ended(&mut self) {
        while self.one_ended().await {}
    }

    fn held_by(&self, network: Network) -> usize {
        self.held.get(&network).copied().unwrap_or_default()
    }

    fn let_go_longest_waiting(&mut self, may_go: impl Fn(&Seat) -> bool) -> bool {
        let candidates = self.taken.iter().filter(|(_, seat)| may_go(seat));
        let waiting = candidates.filter_map(|(id, seat)| Some((seat.progress.waiting_since()?, *id, seat)));
        let Some((_, id, seat)) = waiting.min_by_key(|(since, ..)| *since) else { return false };
        // it may have begun a call since it was looked at: then that is answered
        let goes = seat.progress.let_go();
        if goes {
            tracing::debug!("closed a connection without a call to make room");
            seat.task.abort();
            self.free(id);
        }
        goes
    }

    fn free(&mut self, id: Id) {
        let Some(Seat { network: Some(network), .. }) = self.taken.remove(&id) else { return };
        if let Some(held) = self.held.get_mut(&network) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ipv6_the_first_64_bits_are_one_address() {
        let network = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
    }
}
