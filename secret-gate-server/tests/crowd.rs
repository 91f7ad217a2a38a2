//! More connections than there is room for: who waits for a request makes room, and no address keeps the others out.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use secret_gate_core::{DenyAll, Gate, MemoryBackend};
use secret_gate_doubles::{ConnectDouble, TelegramDouble};
use secret_gate_server::Server;
use secret_gate_server::identity::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use support::{Http, PATIENCE, login, server_by};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF_A_HEAD: &str = "GET /health HTTP/1.1\r\nHost: x\r\nX-Half";
/// A call that goes on until somebody ends it or 30 s are over.
const HALF_A_BODY: &str = "POST /request HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n";
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// How many bytes are more than all buffers between server and client hold.
const LARGE: usize = 64 << 20;

/// A server within this process.
struct Served {
    address: String,
    serving: JoinHandle<std::io::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Served {
    async fn start(change: impl FnOnce(Server) -> Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let gate = Gate::builder(Arc::new(MemoryBackend::new()), Arc::new(DenyAll)).build();
        let (stop, stopped) = oneshot::channel();
        let server = change(Server::new(gate, format!("http://{address}")));
        let serving = tokio::spawn(server.serve(listener, async { drop(stopped.await) }));
        Self { address, serving, stop }
    }

    /// One that has no share for anybody here.
    async fn trusting(max: usize) -> Self {
        let everybody = || Identity::new(None, vec!["127.0.0.0/8".parse().unwrap()]);
        Self::start(|server| server.max_connections(max).identity(everybody())).await
    }

    async fn connect(&self, text: &str) -> Wire {
        Wire::from(HERE, &self.address, text).await
    }

    async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.serving).await.unwrap().unwrap().unwrap();
    }
}

struct Wire(TcpStream);

impl Wire {
    /// Connects from this address and sends this.
    async fn from(source: Ipv4Addr, address: &str, text: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut wire = Self(socket.connect(address.parse().unwrap()).await.unwrap());
        wire.0.set_nodelay(true).unwrap();
        wire.send(text).await;
        wire
    }

    async fn send(&mut self, text: &str) {
        // who was closed at once can't be sent anything
        self.0.write_all(text.as_bytes()).await.ok();
    }

    /// Reads until this came; false where the connection ends before.
    async fn gets(&mut self, end: &str) -> bool {
        let mut text = Vec::new();
        let read = async {
            while !text.ends_with(end.as_bytes()) {
                if !self.0.read_buf(&mut text).await.is_ok_and(|count| count > 0) {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    async fn is_answered(&mut self) -> bool {
        self.gets("\r\n\r\nOK").await
    }

    /// Whether nothing came, neither bytes nor the end.
    fn waits(&self) -> bool {
        self.0.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    async fn asks_again(&mut self) -> bool {
        self.send(HEALTH).await;
        self.is_answered().await
    }
}

#[tokio::test]
async fn at_the_limit_who_has_waited_longest_for_a_request_makes_room() {
    let server = Served::trusting(3).await;
    let mut first = server.connect(HEALTH).await;
    assert!(first.is_answered().await);
    let mut second = server.connect(HALF_A_HEAD).await;
    let mut third = server.connect(HEALTH).await;
    assert!(third.is_answered().await);
    assert!(first.asks_again().await);

    let mut fourth = server.connect(HEALTH).await;
    assert!(fourth.is_answered().await);
    assert!(!second.gets("anything").await, "half a head is no call");
    assert!(third.asks_again().await && first.asks_again().await, "who asked later stays");
    let mut fifth = server.connect(HEALTH).await;
    assert!(fifth.is_answered().await);
    assert!(!fourth.gets("anything").await, "the others asked later");
    assert!(third.asks_again().await && first.asks_again().await && fifth.asks_again().await);
    server.stop().await;
    assert!(!first.gets("anything").await && !third.gets("anything").await);
}

#[tokio::test]
async fn at_the_limit_calls_under_way_are_left_alone_and_the_next_waits_until_one_ends() {
    let server = Served::trusting(2).await;
    let mut calls = [server.connect(HALF_A_BODY).await, server.connect(HALF_A_BODY).await];
    for call in &mut calls {
        assert!(call.gets(GO_ON).await);
    }
    let mut next = server.connect(HEALTH).await;
    // many times as long as it would take to be served
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(next.waits() && calls.iter().all(Wire::waits));
    let [mut first, mut second] = calls;
    // an end of the call is enough: the connection itself stays open
    first.send(&"x".repeat(40)).await;
    assert!(first.gets("}").await);
    assert!(next.is_answered().await);
    assert!(!first.gets("anything").await);
    second.send(&"x".repeat(40)).await;
    assert!(second.gets("}").await, "its call went on all the time");
    server.stop().await;
}

#[tokio::test]
async fn an_answer_on_its_way_is_not_cut_for_another_connection() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("client-linux-amd64")).unwrap().set_len(LARGE as u64).unwrap();
    let everybody = Identity::new(None, vec!["127.0.0.0/8".parse().unwrap()]);
    let server = Served::start(|server| server.max_connections(1).identity(everybody).client_dir(folder.path())).await;
    let mut large = server.connect("GET /client/linux/amd64 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    large.0.read_u8().await.unwrap();
    let mut next = server.connect(HEALTH).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(next.waits());
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, large.0.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.len() > LARGE, "all of it and its head: {}", rest.len());
    assert!(next.is_answered().await);
    server.stop().await;
}

#[tokio::test]
async fn one_address_holds_half_and_its_own_idle_ones_make_room_for_its_next() {
    let server = Served::start(|server| server.max_connections(4)).await;
    let mut calls = [server.connect(HALF_A_BODY).await, server.connect(HALF_A_BODY).await];
    for call in &mut calls {
        assert!(call.gets(GO_ON).await);
    }
    for _ in 0..10 {
        assert!(!server.connect(HEALTH).await.is_answered().await, "more than its share");
    }
    let mut other = Wire::from(THERE, &server.address, HEALTH).await;
    assert!(other.is_answered().await);
    let [mut first, second] = calls;
    first.send(&"x".repeat(40)).await;
    assert!(first.gets("}").await);
    for _ in 0..10 {
        assert!(server.connect(HEALTH).await.is_answered().await);
    }
    assert!(!first.gets("anything").await);
    assert!(second.waits() && other.asks_again().await);
    server.stop().await;
}

/// With 128 open files there is room for 32 connections.
#[tokio::test]
async fn whatever_one_address_holds_another_is_served_at_once() {
    const FEW_FILES: [&str; 3] = ["sh", "-c", "ulimit -n 128; exec \"$SERVER\""];
    let (connect, telegram) = (ConnectDouble::start().await.unwrap(), TelegramDouble::start().await.unwrap());
    connect.add_item(&connect.add_vault("", "infra"), login("db", "value"));
    let path = std::env::var("PATH").unwrap();
    let server = server_by(&FEW_FILES, &connect, &telegram, |env| drop(env.insert("PATH".into(), path))).await;
    server.line(|line| line.contains("the limit on open files keeps connections below")).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let asked = Http::new(&server.url).post("/request", &serde_json::json!({"secret_name": "db"})).await;
    let poll = format!("GET /status/{}?wait=60s HTTP/1.1\r\nHost: x\r\n\r\n", asked.body["token"].as_str().unwrap());

    let mut held = Vec::new();
    for text in ["", HEALTH, HALF_A_HEAD, HALF_A_BODY, &poll] {
        let mut some = Vec::new();
        for _ in 0..100 {
            some.push(Wire::from(HERE, &address, text).await);
        }
        for _ in 0..3 {
            let served = async {
                let mut other = Wire::from(THERE, &address, HEALTH).await;
                assert!(other.is_answered().await, "{text}");
            };
            tokio::time::timeout(Duration::from_secs(1), served).await.expect(text);
        }
        held.push(some);
    }
    let has_its_share = |line: &str| line.contains("its address has its share");
    server.line(has_its_share).await;
    assert_eq!(server.log().lines().filter(|line| has_its_share(line)).count(), 1);
    drop(held);
}
