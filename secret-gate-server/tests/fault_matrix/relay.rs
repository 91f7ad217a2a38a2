//! A way between two parts that can be blocked, cut and closed, and that can hold back what is on it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::support::PATIENCE;

/// What happens on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Nobody listens.
    Refused,
    /// Every connection is reset.
    Reset,
    /// Connections come about, and nothing is heard on them.
    Silent,
}

/// Where something is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    Server,
    Client,
}

/// The way as it is. Connections of an earlier epoch are cut.
#[derive(Debug, Clone, Copy)]
struct Now {
    way: Way,
    epoch: u64,
    to: SocketAddr,
}

/// The first thing that holds this text stays where it is.
#[derive(Debug)]
struct Hold {
    toward: Toward,
    text: String,
    state: watch::Sender<Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    NotYet,
    Here,
    Released,
}

/// A way to a server, at an address of its own.
#[derive(Debug)]
pub struct Relay {
    pub url: String,
    now: watch::Sender<Now>,
    holds: Arc<Mutex<Vec<Arc<Hold>>>>,
    in_vain: watch::Sender<usize>,
}

impl Relay {
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (now, _) = watch::channel(Now { way: Way::Open, epoch: 0, to: address_in(url) });
        let relay =
            Self { url: format!("http://{address}"), now, holds: Arc::default(), in_vain: watch::Sender::new(0) };
        let lines =
            Lines { now: relay.now.subscribe(), holds: Arc::clone(&relay.holds), in_vain: relay.in_vain.clone() };
        tokio::spawn(lines.serve(listener, address));
        relay
    }

    /// From now on it leads to this server.
    pub fn lead_to(&self, url: &str) {
        self.now.send_modify(|now| now.to = address_in(url));
    }

    /// Changes what happens; connections that are open are cut, unless they are to fall silent.
    pub fn set(&self, way: Way) {
        self.now.send_modify(|now| {
            now.way = way;
            now.epoch += u64::from(way != Way::Silent);
        });
    }

    /// Holds back the next thing that holds this text, in capitals or not.
    pub fn hold(&self, toward: Toward, text: &str) {
        let hold = Hold { toward, text: text.to_owned(), state: watch::Sender::new(Held::NotYet) };
        self.holds.lock().unwrap().push(Arc::new(hold));
    }

    /// Waits until everything that is to be held is.
    pub async fn held(&self) {
        let holds = self.holds.lock().unwrap().clone();
        for hold in holds {
            let mut state = hold.state.subscribe();
            let here = tokio::time::timeout(PATIENCE, state.wait_for(|state| *state == Held::Here)).await;
            here.unwrap_or_else(|_| panic!("no {:?} on the way", hold.text)).unwrap();
        }
    }

    /// Lets go what is held, and holds nothing more.
    pub fn release(&self) {
        for hold in self.holds.lock().unwrap().drain(..) {
            hold.state.send_replace(Held::Released);
        }
    }

    /// Waits until so many connections were made in vain.
    pub async fn in_vain(&self, count: usize) {
        let mut in_vain = self.in_vain.subscribe();
        let tried = tokio::time::timeout(PATIENCE, in_vain.wait_for(|in_vain| *in_vain >= count)).await;
        tried.expect("another connection").unwrap();
    }
}

fn address_in(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// The side of the relay that serves; it ends with the relay.
#[derive(Clone)]
struct Lines {
    now: watch::Receiver<Now>,
    holds: Arc<Mutex<Vec<Arc<Hold>>>>,
    in_vain: watch::Sender<usize>,
}

impl Lines {
    async fn serve(mut self, mut listener: TcpListener, address: SocketAddr) {
        loop {
            let accepted = tokio::select! {
                changed = self.now.wait_for(|now| now.way == Way::Refused) => {
                    if changed.is_err() {
                        return;
                    }
                    None
                }
                accepted = listener.accept() => accepted.ok(),
            };
            match accepted {
                Some((client, _)) => drop(tokio::spawn(self.clone().pass(client))),
                None => {
                    drop(listener);
                    if self.now.wait_for(|now| now.way != Way::Refused).await.is_err() {
                        return;
                    }
                    // nobody else takes the port meanwhile but by chance
                    listener = TcpListener::bind(address).await.unwrap();
                }
            }
        }
    }

    async fn pass(mut self, client: TcpStream) {
        let now = *self.now.borrow_and_update();
        if now.way != Way::Open {
            self.in_vain.send_modify(|in_vain| *in_vain += 1);
        }
        if matches!(now.way, Way::Reset | Way::Refused) {
            client.set_zero_linger().unwrap();
            return;
        }
        let Ok(server) = TcpStream::connect(now.to).await else {
            client.set_zero_linger().unwrap();
            return;
        };
        let (mut client, mut server) = (client, server);
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let is_cut = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let mut cut = self.now.clone();
            tokio::select! {
                // what is on the way when it is cut does not arrive
                biased;
                _ = cut.wait_for(|later| later.epoch != now.epoch) => true,
                () = self.clone().copy(Toward::Server, from_client, to_server) => false,
                () = self.clone().copy(Toward::Client, from_server, to_client) => false,
            }
        };
        if is_cut {
            client.set_zero_linger().unwrap();
            server.set_zero_linger().unwrap();
        }
    }

    async fn copy(mut self, toward: Toward, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
            let piece = buffer.get(..length).unwrap_or_default();
            if let Some(hold) = self.hold(toward, piece) {
                hold.state.send_replace(Held::Here);
                hold.state.subscribe().wait_for(|state| *state == Held::Released).await.ok();
            }
            let is_heard = self.now.wait_for(|now| now.way != Way::Silent).await.is_ok();
            if !is_heard || to.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    fn hold(&self, toward: Toward, piece: &[u8]) -> Option<Arc<Hold>> {
        let holds = self.holds.lock().unwrap();
        let fits = |hold: &&Arc<Hold>| {
            let is_there = piece.windows(hold.text.len()).any(|part| part.eq_ignore_ascii_case(hold.text.as_bytes()));
            hold.toward == toward && is_there && *hold.state.borrow() == Held::NotYet
        };
        holds.iter().find(fits).cloned()
    }
}
