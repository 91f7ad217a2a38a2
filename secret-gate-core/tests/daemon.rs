//! The daemon's life, over its real socket: started, called, abused, left alone, stopped.

#![cfg(unix)]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use secret_gate_core::daemon::{
    Answer, ConnectError, Daemon, DaemonError, DaemonOptions, Event, Failure, FailureKind, SocketPath, Status, Verb,
    Wish, call,
};
use secret_gate_core::wire::WantedSecret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;

/// How long anything awaited may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    folder: tempfile::TempDir,
    serving: JoinHandle<()>,
}

impl Running {
    fn start() -> Self {
        Self::with(DaemonOptions::default())
    }

    fn with(options: DaemonOptions) -> Self {
        let folder = private_folder();
        let daemon = Daemon::bind(place(folder.path()), options).unwrap();
        Self { serving: tokio::spawn(daemon.serve(std::future::pending())), folder }
    }

    fn place(&self) -> SocketPath {
        place(self.folder.path())
    }

    async fn ask(&self, verb: Verb) -> Event {
        ask(&self.place(), verb).await
    }

    async fn ended(self) -> Vec<PathBuf> {
        tokio::time::timeout(PATIENCE, self.serving).await.expect("the daemon's end").unwrap();
        std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path()).collect()
    }
}

fn private_folder() -> tempfile::TempDir {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().unwrap()
}

fn place(folder: &Path) -> SocketPath {
    SocketPath::at(folder.join("secret-gate.sock")).unwrap()
}

async fn ask(place: &SocketPath, verb: Verb) -> Event {
    let mut answers = call(place.connect().await.unwrap(), verb).await.unwrap();
    match tokio::time::timeout(PATIENCE, answers.next()).await.expect("an answer").unwrap() {
        Some(Answer::Event(event)) => *event,
        other => panic!("{other:?}"),
    }
}

/// What the daemon answers to these bytes, if it does.
async fn say(place: &SocketPath, bytes: &[u8]) -> String {
    let mut stream = place.connect().await.unwrap();
    if !bytes.is_empty() {
        // no descriptor comes with it
        stream.write_all(b"\0").await.unwrap();
    }
    stream.write_all(bytes).await.unwrap();
    if bytes.is_empty() {
        // a client that says no more has gone, so the others stay
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the connection's end").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn frame(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&length[..], &[0], text.as_bytes()].concat()
}

#[tokio::test]
async fn it_says_how_it_is_and_stops_when_told_to() {
    let running = Running::start();
    let Event::Status(Status { pid, entry_count: 0, socket_path, .. }) = running.ask(Verb::Status).await else {
        panic!("no status")
    };
    assert_eq!((pid, socket_path), (std::process::id(), running.place().as_path().display().to_string()));
    assert!(matches!(running.ask(Verb::Grants).await, Event::Grants { grants } if grants.is_empty()));
    assert!(matches!(running.ask(Verb::Flush).await, Event::Done { count: 0 }));
    let revoke = |id: Option<&str>| running.ask(Verb::Revoke { id: id.map(str::to_owned) });
    assert!(matches!(revoke(Some("none")).await, Event::Failed(Failure { kind: FailureKind::UnknownGrant, .. })));
    assert!(matches!(revoke(None).await, Event::Done { count: 0 }));
    let wish = Wish { only_held: true, secrets: vec![Default::default()], ..Wish::default() };
    let refused = running.ask(Verb::Reveal(wish)).await;
    assert!(matches!(refused, Event::Failed(Failure { kind: FailureKind::NotGranted, .. })), "{refused:?}");

    let place = running.place();
    assert!(matches!(running.ask(Verb::Stop).await, Event::Done { count: 0 }));
    let left = running.ended().await;
    assert!(left.iter().all(|path| path.ends_with("secret-gate.lock")), "{left:?}");
    assert!(matches!(place.connect().await, Err(ConnectError::Place(_) | ConnectError::NotRunning)));
}

#[tokio::test]
async fn too_many_calls_are_refused_in_words_and_its_owner_is_still_heard() {
    // takes what is asked and never answers
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let running = Running::start();
    let place = running.place();
    let wish = |name: String| {
        let wanted = WantedSecret { secret_name: name, ..Default::default() };
        Verb::Request(Wish { server: url.clone(), secrets: vec![wanted], ..Wish::default() })
    };
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(call(place.connect().await.unwrap(), wish("db".into())).await.unwrap());
    }
    let all_heard = async {
        while !matches!(running.ask(Verb::Status).await, Event::Status(Status { calls: 256, .. })) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(3 * PATIENCE, all_heard).await.expect("256 calls");
    for _ in 0..40 {
        let refused = running.ask(wish("web".into())).await;
        let Event::Failed(Failure { kind: FailureKind::Failed, message, .. }) = refused else { panic!("{refused:?}") };
        assert!(message.contains("too many calls at once"), "{message}");
    }
    assert!(matches!(running.ask(Verb::Grants).await, Event::Grants { .. }));
    assert!(matches!(running.ask(Verb::Revoke { id: None }).await, Event::Done { count: 0 }));
    assert!(matches!(running.ask(Verb::Flush).await, Event::Done { count: 0 }));
    assert!(matches!(running.ask(Verb::Stop).await, Event::Done { count: 0 }));
    running.ended().await;
}

#[tokio::test]
async fn many_who_say_nothing_keep_it_from_nobody_for_long() {
    let running = Running::start();
    let mut silent = Vec::new();
    for _ in 0..300 {
        match tokio::time::timeout(PATIENCE, running.place().connect()).await.expect("a connection") {
            Ok(stream) => silent.push(stream),
            // as many as the system lets wait
            Err(ConnectError::Silent { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(silent.len() > 256, "{}", silent.len());
    assert!(matches!(running.ask(Verb::Status).await, Event::Status(_)));
}

#[tokio::test]
async fn one_daemon_a_place() {
    let running = Running::start();
    let second = Daemon::bind(running.place(), DaemonOptions::default());
    assert!(matches!(second, Err(DaemonError::IsRunning)));
    assert!(matches!(running.ask(Verb::Status).await, Event::Status(_)), "the first one still has its socket");
}

#[tokio::test]
async fn what_a_killed_daemon_left_behind_is_replaced() {
    let folder = private_folder();
    drop(std::os::unix::net::UnixListener::bind(place(folder.path()).as_path()).unwrap());
    assert!(matches!(place(folder.path()).connect().await, Err(ConnectError::NotRunning)));
    let daemon = Daemon::bind(place(folder.path()), DaemonOptions::default()).unwrap();
    let serving = tokio::spawn(daemon.serve(std::future::pending()));
    assert!(matches!(ask(&place(folder.path()), Verb::Stop).await, Event::Done { .. }));
    serving.await.unwrap();
}

#[tokio::test]
async fn a_link_or_a_file_in_its_place_is_refused() {
    let folder = private_folder();
    let path = place(folder.path());
    for make in [
        |path: &Path| std::fs::write(path, "precious").unwrap(),
        |path: &Path| std::os::unix::fs::symlink("/dev/null", path).unwrap(),
        |path: &Path| std::fs::create_dir(path).unwrap(),
    ] {
        make(path.as_path());
        assert!(matches!(path.connect().await, Err(ConnectError::Place(_))));
        let error = Daemon::bind(path.clone(), DaemonOptions::default()).unwrap_err();
        assert!(error.to_string().contains("is not a socket"), "{error}");
        std::fs::remove_file(path.as_path()).or_else(|_| std::fs::remove_dir(path.as_path())).unwrap();
    }
    // nor does a link in place of the lock lead anywhere
    std::fs::remove_file(folder.path().join("secret-gate.lock")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("secret-gate.lock")).unwrap();
    assert!(matches!(Daemon::bind(path, DaemonOptions::default()), Err(DaemonError::Socket { .. })));
    assert!(!folder.path().join("elsewhere").exists());
}

#[tokio::test]
async fn what_belongs_to_another_user_is_refused() {
    let folder = private_folder();
    let path = place(folder.path());
    let listener = std::os::unix::net::UnixListener::bind(path.as_path()).unwrap();
    if std::os::unix::fs::chown(path.as_path(), Some(65534), None).is_err() {
        assert!(std::env::var_os("CI").is_none(), "only root can try this");
        eprintln!("NOT TRIED: only root can make a socket of another user");
        return;
    }
    let refused = path.connect().await.unwrap_err();
    assert!(refused.to_string().contains("it belongs to another user; remove it"), "{refused}");
    let refused = Daemon::bind(path.clone(), DaemonOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("it belongs to another user; remove it"), "{refused}");
    assert!(path.as_path().exists(), "it is not ours to remove");
    // nothing was said to it
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
    assert!(SocketPath::at(path.as_path()).unwrap_err().to_string().contains("it belongs to another user"));
}

#[tokio::test]
async fn what_is_no_call_gets_an_answer_or_an_end() {
    let running = Running::start();
    let place = running.place();
    assert_eq!(say(&place, b"").await, "");
    let cases: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff\0{}",
        b"\0\0\0\x05\x07hello",
        &frame("{"),
        &frame("{\"protocol\":1,\"verb\":\"get\",\"secret\":\"db\"}"),
        &frame("{\"protocol\":1,\"verb\":\"request\"}"),
    ];
    for bytes in cases {
        let answer = say(&place, bytes).await;
        assert!(answer.contains("\"failed\""), "{:?} got {answer}", String::from_utf8_lossy(bytes));
    }
    for opening in [b"\x01\0\0\0\0\0", b"\xff\0\0\0\0\0"] {
        let mut stream = place.connect().await.unwrap();
        stream.write_all(opening).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end").ok();
        assert!(String::from_utf8_lossy(&answer).contains("does not begin as a call does"), "{opening:?}");
    }
    let other = say(&place, &frame("{\"protocol\":99,\"verb\":\"grants\"}")).await;
    assert!(other.contains("the daemon speaks protocol 1, this program 99"), "{other}");
    let other = say(&place, &frame("{\"protocol\":1,\"version\":\"0.0.1\",\"verb\":\"request\"}")).await;
    assert!(other.contains("\"protocol\"") && other.contains("this program of 0.0.1"), "{other}");
    let other = say(&place, &frame("{\"protocol\":1,\"version\":\"0.0.1\",\"verb\":\"grants\"}")).await;
    assert!(other.contains("\"grants\""), "{other}");
    // half a frame, and nothing for ever: the daemon does not wait for ever, and serves others meanwhile
    let mut stalled = place.connect().await.unwrap();
    stalled.write_all(b"\0\0\0").await.unwrap();
    assert!(matches!(running.ask(Verb::Status).await, Event::Status(_)));
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stalled.read_to_end(&mut rest)).await.expect("the end of a stalled call").unwrap();
    assert!(matches!(running.ask(Verb::Status).await, Event::Status(_)));
}

#[tokio::test]
async fn left_alone_it_ends_and_removes_its_socket() {
    let running = Running::with(DaemonOptions::default().idle_timeout(Duration::from_secs(1)));
    assert!(matches!(running.ask(Verb::Status).await, Event::Status(_)));
    // a call that is under way keeps it
    let held = running.place().connect().await.unwrap();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(1500)) => {}
        () = async { while running.place().as_path().exists() { tokio::task::yield_now().await } } => panic!("it left"),
    }
    drop(held);
    let left = running.ended().await;
    assert!(left.iter().all(|path| path.ends_with("secret-gate.lock")), "{left:?}");
}

#[tokio::test]
async fn another_version_can_see_and_replace_it() {
    let running = Running::start();
    let status = say(&running.place(), &frame("{\"protocol\":99,\"verb\":\"status\",\"more\":[1]}")).await;
    assert!(status.contains("\"event\":\"status\"") && status.contains("\"calls\":0"), "{status}");
    let stop = say(&running.place(), &frame("{\"protocol\":0,\"verb\":\"stop\"}")).await;
    assert!(stop.contains("\"event\":\"done\""), "{stop}");
    running.ended().await;
}

#[tokio::test]
async fn without_its_socket_it_ends_and_leaves_what_has_its_place() {
    let removed = Running::start();
    std::fs::remove_file(removed.place().as_path()).unwrap();
    removed.ended().await;

    let replaced = Running::start();
    let path = replaced.place();
    std::fs::remove_file(path.as_path()).unwrap();
    let other = std::os::unix::net::UnixListener::bind(path.as_path()).unwrap();
    let left = replaced.ended().await;
    assert!(left.iter().any(|left| left == path.as_path()), "{left:?}");
    drop(other);
}

#[tokio::test]
async fn one_that_says_nothing_is_not_waited_for() {
    let folder = private_folder();
    let place = place(folder.path());
    let silent = std::os::unix::net::UnixListener::bind(place.as_path()).unwrap();
    let stream = place.connect().await.unwrap();
    let error = secret_gate_core::daemon::ask(stream, Verb::Status, Duration::from_millis(100)).await.unwrap_err();
    let says = format!("(process {}) does not answer", std::process::id());
    assert!(matches!(error, ConnectError::Silent { .. }) && error.to_string().contains(&says), "{error}");
    // nor one that is full
    let mut waiting = Vec::new();
    let full = loop {
        match place.connect().await {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 100_000);
    };
    assert!(matches!(full, ConnectError::Silent { .. }), "{full}");
    drop(silent);
}
