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

const STEPS: [&str; 8] = ["search", "fields", "request", "approve", "release", "code", "again", "deny"];

#[tokio::test]
async fn goes_by_itself_and_leaves_nothing_behind() {
    let machine = Machine::new();
    let run = machine.run(&["demo", "--yes"]).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let names: Vec<_> = run.out.lines().filter_map(|line| line.split_once(' ').map(|(name, _)| name)).collect();
    let steps: Vec<_> = names.into_iter().filter(|name| STEPS.contains(name)).collect();
    assert_eq!(steps, STEPS, "{}", run.out);
    for answer in ["password = made-up-password-", "code?attribute=otp = ", "410  already_used", "403  not_approved"] {
        assert!(run.out.contains(answer), "no {answer:?} in {}", run.out);
    }
    assert!(!run.out.to_lowercase().contains("error") && !run.out.contains('\x1b'), "{}", run.out);
    assert!(machine.is_untouched());
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
    let (mut demo, mut screen) = started(Machine::new().spawn(&["demo", "--yes", "--serve"]));
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
    let tried = tokio::process::Command::new("sh").args(["-c", command]).current_dir("/").env_clear().output().await;
    assert!(tried.unwrap().stdout.starts_with(b"database  "), "{command}");

    // a client that stays connected does not hold up the end
    let _idle = TcpStream::connect(address).await.unwrap();
    send(Signal::INT, &demo);
    assert_eq!(ended(&mut demo).await, 130);
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_person_answers_and_a_no_is_part_of_the_walk() {
    let (mut keys, terminal) = terminal();
    let (mut demo, mut screen) = started(Machine::new().spawn_at(terminal, &["demo"]));
    for (answer, outcome) in
        [("a", "password = made-up-"), ("d", "without a yes there is no value"), ("d", "not_approved")]
    {
        let seen = screen.until("] approve, [d] deny").await;
        let (_, code) = seen.rsplit_once("[a ").unwrap();
        keys.write_all(format!("{answer} {}\n", &code[..4]).as_bytes()).unwrap();
        screen.until(outcome).await;
    }
    assert_eq!(ended(&mut demo).await, 0);
}

#[tokio::test]
async fn ctrl_c_ends_it_while_a_question_is_open() {
    let (_keys, terminal) = terminal();
    let (mut demo, mut screen) = started(Machine::new().spawn_at(terminal, &["demo"]));
    screen.until("] approve, [d] deny").await;
    send(Signal::INT, &demo);
    let at = std::time::Instant::now();
    assert_eq!(ended(&mut demo).await, 130);
    assert!(at.elapsed() < Duration::from_secs(1), "took {:?}", at.elapsed());
    screen.until("the port is closed").await;
}

/// What the demo prints.
struct Screen(BufReader<ChildStdout>);

impl Screen {
    /// Reads until a line holds these words; returns all that was read.
    async fn until(&mut self, words: &str) -> String {
        let mut seen = String::new();
        while !seen.lines().next_back().is_some_and(|line| line.contains(words)) {
            let line = tokio::time::timeout(Duration::from_secs(20), self.0.read_line(&mut seen)).await;
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
