//! What is seen of what a command writes.

use std::future::pending;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secret_gate_core::exec::{Collected, Command, Ended, ExecError, Output, StreamName, run};
use tokio::sync::Semaphore;

use crate::{TOKEN, all_gone, collect, live, pids, printed, shell, token};

/// The pieces arrive one by one: the second is written when the first was taken.
#[tokio::test]
async fn a_value_cut_anywhere() {
    let script = r#"
import array, fcntl, os, termios
def write(piece):
    os.write(1, piece)
    left = array.array("i", [1])
    while left[0]:
        fcntl.ioctl(1, termios.FIONREAD, left)
token = os.environb[b"T"]
for cut in range(len(token) + 1):
    write(b"<" + token[:cut])
    write(token[cut:] + b">\n")
for byte in token:
    write(bytes([byte]))
"#;
    let command = Command::new(["/usr/bin/python3", "-c", script], "/");
    let (exit, out, err) = collect(command, &[token()]).await.unwrap();
    assert_eq!((exit.code(), err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), TOKEN.len() + 2);
    let (last, cut) = lines.split_last().unwrap();
    assert_eq!(*last, "[redacted:api/token]", "byte by byte");
    for (at, line) in cut.iter().enumerate() {
        assert_eq!(*line, "<[redacted:api/token]>", "cut at {at}");
    }
}

#[tokio::test]
async fn two_streams() {
    let line = r#"echo out "$T"; echo err "$T" >&2; echo more"#;
    let (_, out, err) = collect(shell(line), &[token()]).await.unwrap();
    assert_eq!(out, "out [redacted:api/token]\nmore\n");
    assert_eq!(err, "err [redacted:api/token]\n");
}

#[tokio::test]
async fn a_prompt_is_seen_while_the_command_waits() {
    let (mut output, mut seen) = live();
    let (reader, mut writer) = io::pipe().unwrap();
    // ends as the token begins, so that it is held back at first
    let command = shell(r#"printf 'Your name, s3c'; read name; echo "got $name $T""#).stdin(reader);
    let injections = [token()];
    let running = run(command, &injections, &mut output, pending());
    let talking = async {
        let started = Instant::now();
        assert_eq!(seen.until("s3c").await, "Your name, s3c");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        writer.write_all(b"Ann\n").unwrap();
        assert_eq!(seen.until("\n").await, "got Ann [redacted:api/token]\n");
    };
    let (exit, ()) = tokio::join!(running, talking);
    assert_eq!(exit.unwrap().code(), 0);
}

/// Counts, and remembers how much memory this process had at the first piece, and the most it had later.
#[derive(Default)]
struct Counted {
    bytes: u64,
    memory: Option<(u64, u64)>,
    notices: Vec<(StreamName, u64)>,
}

fn resident() -> u64 {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * region::page::size() as u64
}

#[async_trait]
impl Output for Counted {
    async fn write(&mut self, _: StreamName, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        let now = resident();
        self.memory = self.memory.map_or(Some((now, now)), |(first, most)| Some((first, most.max(now))));
        Ok(())
    }

    async fn truncated(&mut self, stream: StreamName, limit: u64) -> io::Result<()> {
        self.notices.push((stream, limit));
        Ok(())
    }
}

/// Set in the process in which nothing but this test needs memory.
const ALONE: &str = "SECRET_GATE_TEST_ALONE";

#[tokio::test]
async fn much_output_in_steady_memory() {
    if std::env::var_os(ALONE).is_none() {
        let test = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stream::much_output_in_steady_memory"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut output = Counted::default();
    let command = shell("yes 'a line of a log, 0123456789' | head -c 100000000");
    let exit = run(command, &[token()], &mut output, pending()).await.unwrap();
    assert_eq!((exit.code(), output.bytes), (0, 100_000_000));
    let (first, most) = output.memory.unwrap();
    assert!(most - first < 4_000_000, "{first} {most}");
}

#[tokio::test]
async fn binary_output_passes_unharmed() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1_u64;
    let mut content: Vec<u8> = (0..=255).collect();
    content.extend((0..300_000).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    }));
    std::fs::write(folder.path().join("binary"), &content).unwrap();
    let mut output = Collected::new();
    run(Command::new(["/bin/cat", "binary"], folder.path()), &[token()], &mut output, pending()).await.unwrap();
    assert!(output.stdout == content);
    // nothing at all is output too
    assert_eq!(printed("true", &[token()]).await, "");
}

/// Takes the next piece when the test lets it.
#[derive(Clone)]
struct Slow {
    turn: Arc<Semaphore>,
    waits: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    given: Arc<AtomicU64>,
}

impl Slow {
    fn new() -> Self {
        Self { turn: Arc::new(Semaphore::new(0)), waits: Arc::default(), bytes: Arc::default(), given: Arc::default() }
    }
}

#[async_trait]
impl Output for Slow {
    async fn write(&mut self, _: StreamName, bytes: &[u8]) -> io::Result<()> {
        self.waits.store(true, Ordering::SeqCst);
        self.given.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.turn.acquire().await.unwrap().forget();
        self.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn truncated(&mut self, _: StreamName, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_command() {
    let folder = tempfile::tempdir().unwrap();
    // /proc/PID/io counts what it has written
    let command = Command::shell("echo $$ > pid; exec head -c 3000000 /dev/zero", folder.path());
    let mut output = Slow::new();
    let Slow { turn, waits, bytes, .. } = output.clone();
    let running = run(command, &[], &mut output, pending());
    let watching = async {
        while !waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let written = || -> u64 {
            let io = std::fs::read_to_string(format!("/proc/{}/io", pid.trim())).unwrap();
            io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
        };
        // until it is at rest
        let mut last = 0;
        while last != written() || last == 0 {
            last = written();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(last <= 200_000, "{last}");
        assert_eq!(bytes.load(Ordering::SeqCst), 0);
        turn.add_permits(1_000_000);
    };
    let (exit, ()) = tokio::join!(running, watching);
    assert_eq!(exit.unwrap().code(), 0);
    assert_eq!(bytes.load(Ordering::SeqCst), 3_000_000);
}

#[tokio::test]
async fn a_slow_reader_is_told_all_when_the_time_is_up() {
    for line in ["echo $$ > pid; exec yes", "trap '' TERM; echo $$ > pid; while :; do echo more; done"] {
        let folder = tempfile::tempdir().unwrap();
        let command = Command::shell(line, folder.path()).timeout(Duration::from_millis(500));
        let mut output = Slow::new();
        let Slow { turn, waits, bytes, given } = output.clone();
        let running = run(command.env([("PATH", std::env::var_os("PATH").unwrap())]), &[], &mut output, pending());
        let watching = async {
            while !waits.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            // the reader holds up nothing but itself
            all_gone(&pids(&std::fs::read_to_string(folder.path().join("pid")).unwrap())).await;
            assert_eq!(bytes.load(Ordering::SeqCst), 0);
            turn.add_permits(1_000_000);
        };
        let (exit, ()) = tokio::join!(running, watching);
        assert_eq!(exit.unwrap().ended, Ended::TimedOut, "{line}");
        // nothing was cut off in the middle, and what the pipe held came as well
        let (bytes, given) = (bytes.load(Ordering::SeqCst), given.load(Ordering::SeqCst));
        assert!(bytes == given && bytes > 64 * 1024, "{line}: {bytes} of {given}");
    }
}

/// A reader that never reads again holds up the run, and nothing else.
#[tokio::test]
async fn a_reader_that_stopped_keeps_no_command_alive() {
    let mut output = Slow::new();
    let folder = tempfile::tempdir().unwrap();
    let command = Command::shell(
        "trap '' TERM; echo $$ > pid; sleep 300 & echo $! >> pid; while :; do echo more; done",
        folder.path(),
    )
    .env([("PATH", std::env::var_os("PATH").unwrap())])
    .timeout(Duration::from_millis(500));
    let waits = Arc::clone(&output.waits);
    let mut running = std::pin::pin!(run(command, &[], &mut output, pending()));
    let watching = async {
        while !waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let pids = pids(&std::fs::read_to_string(folder.path().join("pid")).unwrap());
        assert_eq!(pids.len(), 2);
        all_gone(&pids).await;
    };
    tokio::select! {
        exit = &mut running => panic!("{exit:?} although nothing was read"),
        () = watching => {}
    }
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped_with_one_notice() {
    let mut output = Counted::default();
    let folder = tempfile::tempdir().unwrap();
    let command = Command::shell("yes | head -c 1000000; echo short >&2; echo ran on > done; exit 4", folder.path());
    let exit = run(command.output_limit(1000), &[], &mut output, pending()).await.unwrap();
    assert_eq!(output.bytes, 1006);
    assert_eq!(output.notices, [(StreamName::Stdout, 1000)]);
    assert_eq!((exit.code(), exit.truncated), (4, vec![StreamName::Stdout]));
    assert!(folder.path().join("done").exists());
    // to the byte
    for (limit, shown, truncated) in [(0, "", true), (4, "1234", true), (5, "12345", false), (6, "12345", false)] {
        let (exit, out, _) = collect(shell("printf 12345").output_limit(limit), &[]).await.unwrap();
        assert_eq!((out.as_str(), exit.truncated.is_empty()), (shown, !truncated), "{limit}");
    }
}

/// Goes away after the first piece.
struct Gone(Vec<u8>);

#[async_trait]
impl Output for Gone {
    async fn write(&mut self, _: StreamName, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Err(io::ErrorKind::BrokenPipe.into())
    }

    async fn truncated(&mut self, _: StreamName, _: u64) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn when_the_reader_is_gone_so_is_the_command() {
    let mut output = Gone(Vec::new());
    let command = shell("trap '' TERM; sleep 300 & echo $$ $!; wait");
    let error = run(command, &[], &mut output, pending()).await.unwrap_err();
    assert!(matches!(error, ExecError::Output(_)), "{error}");
    let pids = pids(std::str::from_utf8(&output.0).unwrap());
    assert_eq!(pids.len(), 2);
    all_gone(&pids).await;
}

#[tokio::test]
async fn many_at_once_keep_apart() {
    let runs = (0..20).map(|n| async move {
        let value = format!("value-number-{n}-of-many");
        let line = format!(r#"echo {n} "$T"; echo {n} >&2; exit {n}"#);
        let label = format!("many/{n}");
        let injections = [crate::injection(&label, &value, crate::variable("T"))];
        let (exit, out, err) = collect(shell(&line), &injections).await.unwrap();
        assert_eq!(exit.ended, Ended::Code(n));
        assert_eq!((out, err), (format!("{n} [redacted:{label}]\n"), format!("{n}\n")));
    });
    futures_util::future::join_all(runs).await;
}
