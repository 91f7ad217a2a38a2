//! How commands end, and that nothing of them is left.

use std::future::pending;
use std::io::{self, BufRead as _};
use std::pin::pin;
use std::time::{Duration, Instant};

use secret_gate_core::exec::{Command, Ended, ExecError, run};
use tokio::sync::oneshot;

use crate::{all_gone, collect, live, pids, runs, shell, token};

#[tokio::test]
async fn codes_are_those_of_a_shell() {
    let ended = |line: &'static str| async move { collect(shell(line), &[token()]).await.unwrap().0 };
    for (line, ends, code) in [
        ("true", Ended::Code(0), 0),
        ("exit 3", Ended::Code(3), 3),
        ("exit 255", Ended::Code(255), 255),
        ("kill -TERM $$", Ended::Signal(15), 143),
        ("kill -KILL $$", Ended::Signal(9), 137),
        ("kill -ABRT $$", Ended::Signal(6), 134),
        ("no-such-program", Ended::Code(127), 127),
    ] {
        let exit = ended(line).await;
        assert_eq!((exit.ended, exit.code()), (ends, code), "{line}");
    }
}

#[tokio::test]
async fn what_does_not_start() {
    let failed = |command: Command| async { collect(command, &[token()]).await.unwrap_err() };
    let none: [&str; 0] = [];
    assert!(matches!(failed(Command::new(none, "/")).await, ExecError::NoProgram));
    assert!(matches!(failed(Command::new([""], "/")).await, ExecError::NoProgram));
    let error = failed(Command::new(["no-such-program"], "/")).await;
    assert!(matches!(&error, ExecError::NotFound { name } if name == "no-such-program"), "{error}");
    assert!(matches!(failed(Command::new(["true"], "/no/such/folder")).await, ExecError::NoFolder { .. }));
    assert!(matches!(failed(Command::new(["true"], "/etc/passwd")).await, ExecError::NoFolder { .. }));
    assert!(matches!(failed(Command::new(["/etc/passwd"], "/")).await, ExecError::Start(_)));
    assert!(matches!(failed(Command::new(["/bin/echo", "a\0b"], "/")).await, ExecError::Start(_)));
    assert!(matches!(failed(Command::new(["/bin/echo", &"x".repeat(3_000_000)], "/")).await, ExecError::Start(_)));
    assert!(matches!(failed(Command::new(["/bin/true"], "/").env([("A", "b\0c")])).await, ExecError::Start(_)));
}

/// Prints the numbers of its processes, that of its group first, then `ready`, and runs for long.
const STUBBORN: &[(&str, &str)] = &[
    ("a program", "echo $$ ready; exec sleep 300"),
    ("a child", "sleep 300 & echo $$ $! ready; wait"),
    ("deaf to SIGTERM", "trap '' TERM; sleep 300 & echo $$ $! ready; wait"),
    ("stopped", "sleep 300 & kill -STOP $!; echo $$ $! ready; kill -STOP $$"),
    ("in a session of its own", "setsid sleep 300 & echo $$ $! ready; wait"),
    ("in a session, deaf", "trap '' TERM; echo $$; setsid sh -c 'sleep 300 & echo $$ $! ready; wait' & wait"),
    (
        "sessions in sessions, deaf",
        "trap '' TERM; echo $$
         setsid sh -c 'echo $$; setsid sh -c \"setsid sleep 300 & echo \\$\\$ \\$! ready; wait\" & wait' & wait",
    ),
    ("outlived by its child", "echo $$; sh -c 'sleep 300 & echo $!'; trap '' TERM; sleep 300 & echo $! ready; wait"),
    ("child after child", "trap '' TERM; echo $$ ready; for n in $(seq 1000); do sleep 300 & sleep 0.01; done"),
];

#[derive(Debug, Clone, Copy)]
enum By {
    Timeout,
    Cancel,
    Drop,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_the_time_is_up() {
    futures_util::future::join_all(STUBBORN.iter().map(|(name, line)| ends_all(name, line, By::Timeout))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_cancelled() {
    futures_util::future::join_all(STUBBORN.iter().map(|(name, line)| ends_all(name, line, By::Cancel))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_when_dropped() {
    futures_util::future::join_all(STUBBORN.iter().map(|(name, line)| ends_all(name, line, By::Drop))).await;
}

async fn ends_all(name: &str, line: &str, by: By) {
    let (mut output, mut seen) = live();
    let (cancel, cancelled) = oneshot::channel::<()>();
    let cancelled = async {
        cancelled.await.ok();
    };
    let mut command = shell(line);
    if matches!(by, By::Timeout) {
        command = command.timeout(Duration::from_secs(4));
    }
    let injections = [token()];
    let (exit, pids) = {
        let mut running = pin!(run(command, &injections, &mut output, cancelled));
        let text = tokio::select! {
            text = seen.until("ready\n") => text,
            exit = &mut running => panic!("{name}: {exit:?}"),
        };
        let pids = pids(&text);
        assert!(pids.iter().all(|pid| runs(*pid)), "{name}: {pids:?}");
        match by {
            By::Timeout => (Some(running.await.unwrap()), pids),
            By::Cancel => {
                cancel.send(()).unwrap();
                (Some(running.await.unwrap()), pids)
            }
            By::Drop => (None, pids),
        }
    };
    match by {
        By::Timeout => assert_eq!(exit.map(|exit| (exit.ended, exit.code())), Some((Ended::TimedOut, 124)), "{name}"),
        By::Cancel => assert_eq!(exit.map(|exit| (exit.ended, exit.code())), Some((Ended::Cancelled, 130)), "{name}"),
        By::Drop => {}
    }
    all_gone(&pids).await;
    all_gone(&members(*pids.first().unwrap())).await;
}

/// The processes of this group.
fn members(group: u32) -> Vec<u32> {
    let stats = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
    });
    let in_group = |stat: &str| stat.rsplit(')').next()?.split_whitespace().nth(2)?.parse::<u32>().ok();
    stats.filter(|(_, stat)| in_group(stat) == Some(group)).map(|(pid, _)| pid).collect()
}

#[tokio::test]
async fn last_words_are_heard() {
    let line = "trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let (exit, out, _) = collect(shell(line).timeout(Duration::from_millis(500)), &[]).await.unwrap();
    assert_eq!((exit.ended, out.as_str()), (Ended::TimedOut, "ready\nbye\n"));
}

#[tokio::test]
async fn cancelled_before_it_began() {
    let mut output = secret_gate_core::exec::Collected::new();
    let command = shell("sleep 300").on_start(|_| panic!("it starts"));
    let exit = run(command, &[], &mut output, std::future::ready(())).await.unwrap();
    assert_eq!(exit.ended, Ended::Cancelled);
}

#[tokio::test]
async fn a_background_process_that_holds_the_output_is_ended() {
    let started = Instant::now();
    let (exit, out, _) = collect(shell("sleep 300 & echo $$ $!; exit 7"), &[]).await.unwrap();
    assert_eq!(exit.code(), 7);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    all_gone(&pids(&out)).await;
}

#[tokio::test]
async fn a_background_process_may_finish_what_it_says() {
    let (exit, out, _) = collect(shell("{ sleep 0.1; echo late; } & exit 7"), &[]).await.unwrap();
    assert_eq!((exit.code(), out.as_str()), (7, "late\n"));
}

#[tokio::test]
async fn a_background_process_that_never_stops_talking_is_ended() {
    let line = "trap '' TERM; { while :; do echo more; sleep 0.05; done; } & echo $!; exit 0";
    let (exit, out, _) = collect(shell(line), &[]).await.unwrap();
    assert_eq!(exit.code(), 0);
    assert!(out.lines().count() > 20, "{out}");
    all_gone(&pids(&out)).await;
}

#[tokio::test]
async fn a_background_process_that_let_go_of_the_output_is_left_alone() {
    let started = Instant::now();
    let (exit, out, _) = collect(shell("sleep 300 >/dev/null 2>&1 & echo $!; exit 7"), &[]).await.unwrap();
    assert_eq!(exit.code(), 7);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    end(pids(&out)[0]);
}

/// It is found by the output that it holds.
#[tokio::test]
async fn a_daemon_that_holds_the_output_is_ended() {
    for line in [
        "setsid sleep 300 & echo $!; sleep 0.2; exit 7",
        "setsid sleep 300 >/dev/null & echo $!; sleep 0.2; exit 7",
        "setsid sh -c 'trap \"\" PIPE TERM; cat /dev/zero; sleep 300' & echo $!; sleep 0.2; exit 7",
    ] {
        let started = Instant::now();
        let mut output = secret_gate_core::exec::Collected::new();
        let exit = run(shell(line), &[], &mut output, pending()).await.unwrap();
        assert_eq!(exit.code(), 7, "{line}");
        assert!(started.elapsed() < Duration::from_secs(30), "{line}: {:?}", started.elapsed());
        all_gone(&[first_number(&output.stdout)]).await;
    }
}

#[tokio::test]
async fn a_daemon_is_ended_when_the_time_is_up() {
    let line = "sh -c 'trap \"\" TERM; setsid sh -c \"trap : TERM; echo \\$\\$ ready; sleep 300; sleep 300\" & exit'; sleep 300";
    let mut output = secret_gate_core::exec::Collected::new();
    let exit = run(shell(line).timeout(Duration::from_secs(1)), &[], &mut output, pending()).await.unwrap();
    assert_eq!(exit.ended, Ended::TimedOut);
    all_gone(&[first_number(&output.stdout)]).await;
}

/// What ran before was handed the output, as ssh does with a connection that several share, and is no part of the command.
#[tokio::test]
async fn a_stranger_that_was_handed_the_output_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let script = "import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind('socket')
listener.listen()
print('ready', flush=True)
connection = listener.accept()[0]
held = socket.recv_fds(connection, 1, 1)
print('held', flush=True)
import time; time.sleep(300)";
    let mut stranger = std::process::Command::new("/usr/bin/python3")
        .args(["-c", script])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = io::BufReader::new(stranger.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "ready");
    // the start of a process is known to a hundredth of a second
    tokio::time::sleep(Duration::from_millis(50)).await;
    let script = "import socket
connection = socket.socket(socket.AF_UNIX)
connection.connect('socket')
socket.send_fds(connection, [b'x'], [1])
connection.recv(1)";
    let command = Command::new(["/usr/bin/python3", "-c", script], folder.path()).timeout(Duration::from_secs(2));
    let mut output = secret_gate_core::exec::Collected::new();
    let exit = run(command, &[], &mut output, pending()).await.unwrap();
    assert_eq!(exit.ended, Ended::TimedOut);
    assert_eq!(said.next().unwrap().unwrap(), "held");
    end(stranger.id());
    stranger.wait().unwrap();
}

fn first_number(output: &[u8]) -> u32 {
    let line = output.split(|byte| *byte == b'\n').next().unwrap();
    let digits: String = line.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    digits.parse().unwrap()
}

/// Ends a process that a test left running, and is to run until now.
fn end(pid: u32) {
    assert!(runs(pid), "{pid}");
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}
