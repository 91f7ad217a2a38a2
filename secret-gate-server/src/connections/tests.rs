//! Time is made up: it jumps to the next thing that waits for it.

use axum::body::Body;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;
use tokio::time::Instant as Moment;

use super::pace::{HEAD_PATIENCE, WRITE_PATIENCE};
use super::*;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct Wire {
    client: DuplexStream,
    stopping: CancellationToken,
    server: JoinHandle<()>,
}

/// A connection that holds this many bytes on their way.
fn connect(on_the_way: usize) -> Wire {
    let router = Router::new()
        .route("/", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
        .route("/large", get(|| async { Body::from(vec![b'x'; 1 << 20]) }))
        .route(
            "/wait",
            get(|| async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                "waited"
            }),
        );
    let (client, server) = tokio::io::duplex(on_the_way);
    let stopping = CancellationToken::new();
    let peer = SocketAddr::from(([127, 0, 0, 1], 7));
    let server = tokio::spawn(serve(server, peer, router, Progress::new(Arc::default()), stopping.clone()));
    Wire { client, stopping, server }
}

impl Wire {
    async fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
    }

    /// Reads until this came.
    async fn expect(&mut self, end: &str) {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let read = self.client.read_buf(&mut text).await.unwrap();
            assert_ne!(read, 0, "ended after {}", String::from_utf8_lossy(&text));
        }
    }

    async fn ended(self) {
        let _client = self.client;
        ended(self.server).await;
    }
}

/// Waits for longer than anything here may take.
async fn ended(server: JoinHandle<()>) {
    tokio::time::timeout(Duration::from_secs(3600), server).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_has_ten_seconds_however_it_trickles() {
    for silent in [true, false] {
        let mut wire = connect(1 << 16);
        let began = Moment::now();
        for byte in ASK.iter().take(if silent { 0 } else { ASK.len() - 1 }) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if wire.client.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        let mut rest = Vec::new();
        wire.client.read_to_end(&mut rest).await.unwrap();
        wire.ended().await;
        assert!(rest.is_empty());
        let took = began.elapsed();
        assert!(took >= HEAD_PATIENCE && took < HEAD_PATIENCE + Duration::from_secs(2), "silent {silent}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_nine_seconds_is_answered_and_so_is_the_next_one() {
    let mut wire = connect(1 << 16);
    for _ in 0..3 {
        wire.send(&ASK[..5]).await;
        tokio::time::sleep(Duration::from_secs(9)).await;
        wire.send(&ASK[5..]).await;
        wire.expect("127.0.0.1:7").await;
        // rests between calls do not count as the head's time
        tokio::time::sleep(Duration::from_secs(65)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_head_after_an_answer_has_ten_seconds_too() {
    let mut wire = connect(1 << 16);
    wire.send(ASK).await;
    wire.expect("127.0.0.1:7").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    wire.send(&ASK[..5]).await;
    let began = Moment::now();
    wire.ended().await;
    assert_eq!(began.elapsed().as_secs(), HEAD_PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_75_seconds() {
    let mut wire = connect(1 << 16);
    wire.send(ASK).await;
    wire.expect("127.0.0.1:7").await;
    let began = Moment::now();
    wire.ended().await;
    assert_eq!(began.elapsed().as_secs(), IDLE_PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_answer_held_for_a_minute_is_not_cut() {
    let mut wire = connect(1 << 16);
    for _ in 0..2 {
        wire.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let began = Moment::now();
        wire.expect("waited").await;
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_ends_after_30_seconds() {
    let mut wire = connect(1024);
    wire.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // some is taken, slowly: that is no reason
    let mut some = [0; 1024];
    for _ in 0..5 {
        wire.client.read_exact(&mut some).await.unwrap();
        tokio::time::sleep(Duration::from_secs(29)).await;
    }
    let began = Moment::now();
    wire.client.read_exact(&mut some).await.unwrap();
    wire.ended().await;
    assert_eq!(began.elapsed().as_secs(), WRITE_PATIENCE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_stop_closes_who_is_idle_and_lets_a_call_end() {
    let mut idle = connect(1 << 16);
    idle.send(ASK).await;
    idle.expect("127.0.0.1:7").await;
    let fresh = connect(1 << 16);
    let mut waiting = connect(1 << 16);
    waiting.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Moment::now();
    for wire in [&idle, &fresh, &waiting] {
        wire.stopping.cancel();
    }
    idle.ended().await;
    fresh.ended().await;
    assert_eq!(began.elapsed().as_secs(), 0);
    waiting.expect("waited").await;
    waiting.ended().await;
    assert_eq!(began.elapsed().as_secs(), 59);
}

#[test]
fn what_could_be_said_all_the_time_is_said_once_a_minute() {
    let mut said = OnceAMinute::default();
    let began = Instant::now();
    let says = [0, 1, 59, 60, 61, 119, 121].map(|after| said.at(began + Duration::from_secs(after)));
    assert_eq!(says, [true, false, false, true, false, false, true]);
}
