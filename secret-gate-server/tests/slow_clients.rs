//! Clients that are slow, many, or speak no HTTP: nobody else waits for them, and they are let go in time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail the test that calls them, and say how long things took"
)]

mod support;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use secret_gate_server::raise_file_limit;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use support::{Environment, PASSWORD, PATIENCE, World, wire};

const HALF_A_HEAD: &[u8] = b"POST /request HTTP/1.1\r\nHost: gate.example\r\nX-Trickle: drop by drop";
const HALF_A_BODY: &[u8] = b"POST /request HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n{\"secret_name\": \"db";

/// More than all buffers between server and client hold.
const LARGE: u64 = 64 << 20;

/// A folder of clients to download, with a large one for linux on amd64.
fn large_client() -> (TempDir, impl FnOnce(&mut Environment) + Send) {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("client-linux-amd64")).unwrap().set_len(LARGE).unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, |env| drop(env.insert("CLIENT_DIR".into(), path)))
}

async fn connect(url: &str) -> TcpStream {
    let wire = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
    wire.set_nodelay(true).unwrap();
    wire
}

/// All that still comes until the server ends the connection.
async fn rest(wire: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(2 * PATIENCE, wire.read_to_end(&mut bytes)).await;
    // a reset is an end, waiting in vain is none
    end.unwrap().ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What comes of a call, which must not take longer than a second.
async fn soon<T>(what: &str, call: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let answer = call.await;
    let took = began.elapsed();
    println!("{what} took {took:?}");
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
    answer
}

async fn a_whole_life(world: &World) {
    let asked = soon("POST /request", world.ask_for_db()).await;
    assert_eq!(soon("GET /status", world.status(&asked)).await["status"], "pending");
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    assert_eq!(soon("GET /status", world.decision(&asked)).await["status"], "approved");
    let secret = soon("GET /secret", world.secret(&asked)).await;
    assert_eq!(secret.body["secret"], json!({"password": PASSWORD}));
    assert_eq!(soon("DELETE /request", world.withdraw(&asked)).await.status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_clients_delay_nobody_and_are_let_go() {
    const EACH: usize = 500;
    raise_file_limit();
    let (_folder, change) = large_client();
    let world = World::with(change).await;
    let (heads_in, bodies_in) = (Arc::new(Barrier::new(EACH + 1)), Arc::new(Barrier::new(EACH + 1)));
    let (mut heads, mut bodies) = (JoinSet::new(), JoinSet::new());
    for _ in 0..EACH {
        let (mut head, all_in) = (connect(&world.server.url).await, Arc::clone(&heads_in));
        heads.spawn(async move {
            let began = Instant::now();
            for byte in HALF_A_HEAD {
                head.write_all(&[*byte]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            all_in.wait().await;
            (rest(&mut head).await, began.elapsed())
        });
        let (mut body, all_in) = (connect(&world.server.url).await, Arc::clone(&bodies_in));
        bodies.spawn(async move {
            let began = Instant::now();
            body.write_all(HALF_A_BODY).await.unwrap();
            all_in.wait().await;
            (rest(&mut body).await, began.elapsed())
        });
    }
    let mut deaf = Vec::new();
    for _ in 0..5 {
        deaf.push(wire(&world.server.url, "/client/linux/amd64").await);
    }
    bodies_in.wait().await;
    a_whole_life(&world).await;
    heads_in.wait().await;
    a_whole_life(&world).await;

    for (slow, answer, patience) in [(heads, "", 10), (bodies, "HTTP/1.1 400 ", 30)] {
        for (text, took) in slow.join_all().await {
            assert!(text.starts_with(answer) && text.is_empty() == answer.is_empty(), "{text}");
            // a second for the clients that were connected before this one could begin, and a busy machine's few
            let took = took.as_secs();
            assert!((patience - 1..patience + 10).contains(&took), "{patience} s became {took} s");
        }
    }
    for wire in &mut deaf {
        let peer = format!("\"{}\"", wire.local_addr().unwrap());
        world.server.line(|line| line.contains(&peer) && line.contains("the answer was not taken")).await;
        let read = rest(wire).await.len() as u64;
        assert!(read < LARGE, "all {read} bytes of an answer that was given up");
    }
    a_whole_life(&world).await;
}

#[tokio::test]
async fn a_server_out_of_files_waits_until_it_has_some() {
    let world = World::start().await;
    let pid = world.server.pid();
    // the lowest number that is free would be the next file's
    let open = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).unwrap();
    let open: Vec<u64> = open.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let next = (0..).find(|number| !open.contains(number)).unwrap();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(next), maximum }).unwrap();
    let mut client = wire(&world.server.url, "/health").await;
    let warning = |line: &str| line.contains("no connection can be taken for now");
    world.server.line(warning).await;
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    let mut text = [0; 12];
    tokio::time::timeout(PATIENCE, client.read_exact(&mut text)).await.unwrap().unwrap();
    assert_eq!(&text, b"HTTP/1.1 200");
    assert_eq!(world.server.log().lines().filter(|line| warning(line)).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_among_slow_clients_the_server_finishes_a_release_and_ends() {
    let (_folder, change) = large_client();
    let world = World::with(change).await;
    let (approved, waiting) = (world.ask_for_db().await, world.ask_for_db().await);
    assert_eq!(world.tap(&approved, "Approve").await, "Approved");
    let mut slow = Vec::new();
    for half in [HALF_A_HEAD, HALF_A_BODY, b"GET /client/linux/amd64 HTTP/1.1\r\nHost: x\r\n\r\n", b""] {
        let mut wire = connect(&world.server.url).await;
        wire.write_all(half).await.unwrap();
        slow.push(wire);
    }
    // the first bytes of the large answer, and no more of it
    slow[2].read_u8().await.unwrap();
    world.connect.clear_calls();
    world.connect.faults().hang(Duration::from_secs(2));
    let stop = async {
        world.connect.wait_call(|call| support::is_item(&call.path)).await.unwrap();
        // once this is answered the others have been taken in as well
        world.http.get("/health").await;
        world.server.terminate();
        Instant::now()
    };
    let (secret, waited, told) = tokio::join!(world.secret(&approved), world.decision(&waiting), stop);
    assert_eq!(secret.body["secret"], json!({"password": PASSWORD}), "{secret:?}");
    assert_eq!(waited["status"], "pending");
    let World { telegram, server, .. } = world;
    let ended = server.ended().await;
    let took = told.elapsed();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(took < Duration::from_secs(6), "2 s for the release and 1 s for the last bytes became {took:?}");
    for mut wire in slow {
        rest(&mut wire).await;
    }
    drop(telegram);
}

/// A ClientHello, as far as anybody looks at it who expects text, that asks for this host.
fn tls_hello(host: &str) -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 0x80, 1, 0, 0, 0x7c, 3, 3];
    hello.extend([0x5a; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0, 0, 0x20, 0, 0]);
    hello.extend(host.as_bytes());
    hello
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_logged_without_its_words() {
    const PLANTED: &str = "planted-7c1d";
    let world = World::start().await;
    let text = |text: &str| text.replace("PLANTED", PLANTED).into_bytes();
    let huge = |head: &str| [text(head), PLANTED.repeat(8192).into_bytes(), b" HTTP/1.1\r\n\r\n".to_vec()].concat();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("bytes at random", [&[0, 255, 128, 7, 10, 13][..], &text("PLANTED\r\n\r\n")].concat(), "400"),
        ("words", text("PLANTED is what I want\r\n\r\n"), "400"),
        ("no version", text("GET /PLANTED\r\n\r\n"), "400"),
        ("a header without a name", text("GET / HTTP/1.1\r\n: PLANTED\r\n\r\n"), "400"),
        (
            "two lengths",
            text("POST /request HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 12\r\nA: PLANTED\r\n\r\n"),
            "400",
        ),
        ("a huge header", huge("GET / HTTP/1.1\r\nAuthorization: "), "431"),
        ("a huge path", huge("GET /"), "431"),
        ("HTTP/2", text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nPLANTED"), ""),
        ("TLS", tls_hello(PLANTED), "400"),
    ];
    for (what, bytes, status) in cases {
        let mut wire = connect(&world.server.url).await;
        let peer: SocketAddr = wire.local_addr().unwrap();
        // who is refused while still talking may be cut off before the answer
        let sent = wire.write_all(&bytes).await;
        let answer = rest(&mut wire).await;
        let as_expected = answer.strip_prefix("HTTP/1.1 ").unwrap_or_default().starts_with(status);
        assert!(as_expected || (answer.is_empty() && bytes.len() > 1024), "{what}: {answer} {sent:?}");
        assert!(!answer.contains(PLANTED), "{what}: {answer}");
        let peer = format!("\"{peer}\"");
        world.server.line(|line| line.contains(&peer) && line.contains("refused what is not a request")).await;
    }
    // cut off half-way, and two at once
    let mut wire = connect(&world.server.url).await;
    wire.write_all(&text("GET /PLANTED HTTP/1.1\r\nHost")).await.unwrap();
    drop(wire);
    let mut wire = connect(&world.server.url).await;
    let two = "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    wire.write_all(two.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut wire).await.matches("\r\n\r\nOK").count(), 2);
    assert!(!world.server.log().contains(PLANTED), "{}", world.server.log());
}
