//! `demo`: by itself, with somebody at the terminal, and as a server to try things on.

#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, a failure is a panic")]

mod support;

use std::io::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use support::{Machine, send, terminal};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

const STEPS: [&str; 13] = [
    "search", "fields", "request", "approve", "release", "code", "again", "deny", "exec", "repeat", "ssh", "grants",
    "revoke",
];

/// A machine that would notice a daemon of the demo in the user's place, and the folder of its temporary files.
fn machine() -> (Machine, tempfile::TempDir) {
    if rustix::process::getuid().is_root() {
        // where Debian's start script makes it
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let temporary = tempfile::tempdir().unwrap();
    let machine = Machine::new().with_daemon().with("TMPDIR", temporary.path().to_str().unwrap());
    (machine, temporary)
}

fn is_empty(folder: &tempfile::TempDir) -> bool {
    std::fs::read_dir(folder.path()).unwrap().next().is_none()
}

#[tokio::test]
async fn goes_by_itself_and_leaves_nothing_behind() {
    let (machine, temporary) = machine();
    let run = machine.run(&["demo", "--yes"]).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let names: Vec<_> = run.out.lines().filter_map(|line| line.split_once(' ').map(|(name, _)| name)).collect();
    let steps: Vec<_> = names.into_iter().filter(|name| STEPS.contains(name)).collect();
    assert_eq!(steps, STEPS, "{}", run.out);
    for answer in ["password = made-up-password-", "code?attribute=otp = ", "410  already_used", "403  not_approved"] {
        assert!(run.out.contains(answer), "no {answer:?} in {}", run.out);
    }
    assert!(!run.out.to_lowercase().contains("error") && !run.out.contains('\x1b'), "{}", run.out);
    let redacted = "\n         it logs in with [redacted:database/password]\n         [redacted:database/password]\n";
    assert_eq!(run.out.matches(redacted).count(), 2, "{}", run.out);
    // password, code, deny, exec, and ssh where there is one: the rest asks nobody
    let answers = run.out.matches("the demo answers: ").count();
    assert_eq!(answers, 4 + run.out.matches("$ secret-gate ssh").count(), "{}", run.out);
    assert!(run.out.contains("  exec exactly  database\n") && run.out.contains(" revoked\n"), "{}", run.out);
    // a value is shown where it is released, and nowhere else
    assert_eq!(run.out.matches("made-up-password-").count(), 1, "{}", run.out);
    if !run.out.contains("\n         logged in\n") {
        let why = run.out.lines().find(|line| line.contains("left out: ") || line.contains("does not let")).unwrap();
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("LEFT OUT, the login of the demo: {}", why.trim());
    }
    assert!(machine.is_untouched() && is_empty(&temporary));
}

#[tokio::test]
async fn says_what_to_do_without_a_terminal() {
    for args in [&["demo"][..], &["demo", "--serve"]] {
        let run = Machine::new().run(args).await;
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{run:?}");
        assert!(run.err.contains("hint: secret-gate demo --yes"), "{}", run.err);
    }
}

#[tokio::test]
async fn explains_itself() {
    let run = Machine::new().run(&["demo", "--help"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("--yes") && run.out.contains("--serve") && !run.out.contains("--secret"), "{}", run.out);
}

#[tokio::test]
async fn serves_real_clients_until_it_is_stopped() {
    let (machine, temporary) = machine();
    let (mut demo, mut screen) = started(machine.spawn(&["demo", "--yes", "--serve"]));
    let seen = screen.until("until Ctrl-C").await;
    let (_, rest) = seen.rsplit_once("The server stays at ").unwrap();
    let url = rest.split(' ').next().unwrap().to_owned();
    let address = url.strip_prefix("http://").unwrap();

    let mut health = TcpStream::connect(address).await.unwrap();
    health.write_all(b"GET /health HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    health.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("OK"), "{answer}");

    let asked = ["--server", &url, "--secret", "database", "--reason", "try it out", "--field", "password"];
    let run = Machine::new().run(&asked).await;
    assert!(run.code == 0 && run.out.starts_with("made-up-password-"), "{run:?}");

    // what it prints works as it stands there
    let seen = screen.until("--search data").await;
    let command = seen.lines().next_back().unwrap();
    let runtime = seen.lines().find(|line| line.starts_with("  export XDG_RUNTIME_DIR=")).unwrap();
    let exec = screen.until("secret-gate exec ").await;
    let both = format!("{runtime}\n{}", exec.lines().next_back().unwrap());
    let tried = machine.command("/bin/sh").args(["-c", &both]).current_dir("/").output().await.unwrap();
    assert_eq!(String::from_utf8(tried.stdout).unwrap(), "[redacted:api-token/token]\n", "{both}");
    let tried = tokio::process::Command::new("sh").args(["-c", command]).current_dir("/").env_clear().output().await;
    assert!(tried.unwrap().stdout.starts_with(b"database  "), "{command}");

    // a client that stays connected does not hold up the end
    let _idle = TcpStream::connect(address).await.unwrap();
    send(Signal::INT, &demo);
    assert_eq!(ended(&mut demo).await, 130);
    TcpStream::connect(address).await.unwrap_err();
    assert!(machine.is_untouched() && is_empty(&temporary));
}

#[tokio::test]
async fn a_person_answers_and_a_no_is_part_of_the_walk() {
    let (machine, temporary) = machine();
    let (mut keys, terminal) = terminal();
    let (mut demo, mut screen) = started(machine.spawn_at(terminal, &["demo"]));
    for (answer, outcome) in [
        ("a", "password = made-up-"),
        ("d", "without a yes there is no value"),
        ("d", "not_approved"),
        ("d", "without a yes nothing runs"),
    ] {
        let seen = screen.until(QUESTION).await;
        let (_, code) = seen.rsplit_once("[a ").unwrap();
        keys.write_all(format!("{answer} {}\n", &code[..4]).as_bytes()).unwrap();
        screen.until(outcome).await;
    }
    let seen = screen.until_one_of(&[QUESTION, "left out: "]).await;
    if let Some((_, code)) = seen.rsplit_once("[a ") {
        keys.write_all(format!("d {}\n", &code[..4]).as_bytes()).unwrap();
        screen.until("without a yes nobody logs in").await;
    }
    screen.until("nothing is held").await;
    screen.until("0 approvals revoked").await;
    assert_eq!(ended(&mut demo).await, 0);
    assert!(machine.is_untouched() && is_empty(&temporary));
}

#[tokio::test]
async fn ctrl_c_ends_it_while_a_question_is_open() {
    // a question of the first half, and one that the daemon has put
    for refused in [0, 3] {
        let (machine, temporary) = machine();
        let (mut keys, terminal) = terminal();
        let (mut demo, mut screen) = started(machine.spawn_at(terminal, &["demo"]));
        for _ in 0..refused {
            let seen = screen.until(QUESTION).await;
            let (_, code) = seen.rsplit_once("[a ").unwrap();
            keys.write_all(format!("d {}\n", &code[..4]).as_bytes()).unwrap();
            screen.until("not_approved").await;
        }
        screen.until(QUESTION).await;
        send(Signal::INT, &demo);
        assert_eq!(ended(&mut demo).await, 130);
        screen.until("the port is closed").await;
        assert!(machine.is_untouched() && is_empty(&temporary), "after {refused}");
    }
}

/// How the question on the terminal ends.
const QUESTION: &str = "[d] deny; then Enter";

/// What the demo prints.
struct Screen(BufReader<ChildStdout>);

impl Screen {
    /// Reads until a line holds these words; returns all that was read.
    async fn until(&mut self, words: &str) -> String {
        self.until_one_of(&[words]).await
    }

    async fn until_one_of(&mut self, words: &[&str]) -> String {
        let mut seen = String::new();
        while !seen.lines().next_back().is_some_and(|line| words.iter().any(|words| line.contains(words))) {
            let line = tokio::time::timeout(Duration::from_secs(30), self.0.read_line(&mut seen)).await;
            assert!(line.unwrap_or_else(|_| panic!("no {words:?} in {seen}")).unwrap() > 0, "no {words:?} in {seen}");
        }
        seen
    }
}

fn started(mut demo: Child) -> (Child, Screen) {
    let screen = Screen(BufReader::new(demo.stdout.take().unwrap()));
    (demo, screen)
}

async fn ended(demo: &mut Child) -> i32 {
    tokio::time::timeout(Duration::from_secs(20), demo.wait()).await.unwrap().unwrap().code().unwrap()
}
