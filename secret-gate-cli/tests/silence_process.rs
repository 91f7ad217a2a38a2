//! Where the value of an approval that does not say reveal can be found on the requester's machine: by other processes of
//! the same user, in core dumps, in files, in logs, and in the daemon's memory when the approval has ended.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, a failure is a panic")]

mod gated;
mod silence;
mod support;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use gated::{Gated, approving};
use rustix::process::Signal;
use silence::{Asker, Search, can_be_tried, look, random_value, vault};
use support::{finish, send};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Child;

/// Asks for any command with the password in T, and runs one.
fn exec<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["exec", "--secret", "db", "--env", "T=password", "--reason", "r", "--any"][..], rest].concat()
}

async fn world(value: &str) -> (Gated, Asker) {
    let gated = Gated::over(approving(8), vault(value, "no key")).await;
    let asker = Asker::of(&gated);
    (gated, asker)
}

/// An unprotected process of the user that has the value in its environment and its memory.
async fn unprotected(asker: &Asker, value: &str) -> Child {
    // where only a parent may trace, it lets everybody (PR_SET_PTRACER_ANY)
    let line = "import ctypes, os, sys; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0); \
                kept = os.environ['T']; print('ready', flush=True); sys.stdin.read()";
    let mut command = asker.command("/bin/sh");
    command.args(["-c", "ulimit -c unlimited; exec /usr/bin/python3 -I -c \"$0\"", line]).env("T", value);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut said = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut said).await.unwrap();
    child
}

#[tokio::test]
async fn the_same_user_can_not_look_into_the_daemon() {
    if !can_be_tried() {
        return;
    }
    let value = random_value();
    let search = Search::of(&value);
    let (_gated, asker) = world(&value).await;
    assert_eq!(asker.run(&exec(&["--", "true"])).await.code, 0);
    let daemon = asker.daemon().await;
    let held = look::through_memory(&asker, daemon, &search).await;
    assert!(!held.found().is_empty(), "it has the value");

    let looked = look::as_the_user(&asker, daemon, &search).await;
    assert_eq!(looked.found(), Vec::<&str>::new());
    for what in ["mem", "environ", "maps", "fd", "auxv", "io"] {
        assert_eq!(looked.shut(what), Some("EACCES"), "{what}: {looked:?}");
    }
    for what in ["process_vm_readv", "pidfd_getfd", "ptrace"] {
        assert_eq!(looked.shut(what), Some("EPERM"), "{what}: {looked:?}");
    }
    assert!(looked.is_open("cmdline") && looked.is_open("status"), "{looked:?}");

    // the same from where nothing protects it
    let child = unprotected(&asker, &value).await;
    let looked = look::as_the_user(&asker, child.id().unwrap(), &search).await;
    for what in ["mem", "environ", "maps", "process_vm_readv", "pidfd_getfd", "ptrace"] {
        assert!(looked.is_open(what), "{what}: {looked:?}");
    }
    assert!(looked.found().iter().any(|found| found.starts_with("environ ")), "{looked:?}");
    assert!(looked.found().iter().any(|found| found.starts_with("mem:")), "{looked:?}");
}

#[tokio::test]
async fn while_a_command_runs_it_has_the_value_and_the_client_that_waits_for_it_does_not() {
    if !can_be_tried() {
        return;
    }
    let value = random_value();
    let search = Search::of(&value);
    let (_gated, asker) = world(&value).await;
    let mut client = asker.command(asker.program("secret-gate"));
    let mut client = client.args(exec(&["--", "/bin/sh", "-c", "echo $$; exec sleep 600"])).spawn().unwrap();
    let mut command = String::new();
    let mut said = BufReader::new(client.stdout.as_mut().unwrap());
    tokio::time::timeout(Duration::from_secs(60), said.read_line(&mut command)).await.unwrap().unwrap();

    let looked = look::as_the_user(&asker, client.id().unwrap(), &search).await;
    assert!(looked.is_open("mem") && looked.is_open("environ") && looked.size() > 1024 * 1024, "{looked:?}");
    assert_eq!(looked.found(), Vec::<&str>::new());
    // as the documents say: no tool keeps the same user out of that
    let looked = look::as_the_user(&asker, command.trim().parse().unwrap(), &search).await;
    assert!(looked.found().iter().any(|found| found.starts_with("environ ")), "{looked:?}");
    assert!(!looked.found().iter().any(|found| found.starts_with("cmdline ")), "{looked:?}");
}

#[tokio::test]
async fn no_debugger_of_the_same_user_gets_hold_of_the_daemon() {
    if !can_be_tried() {
        return;
    }
    let value = random_value();
    let search = Search::of(&value);
    let (_gated, asker) = world(&value).await;
    assert_eq!(asker.run(&exec(&["--", "true"])).await.code, 0);
    let daemon = asker.daemon().await;
    let child = unprotected(&asker, &value).await;
    for (pid, is_kept_out) in [(daemon, true), (child.id().unwrap(), false)] {
        let pid = pid.to_string();
        let dump = asker.path("tmp/by-gdb");
        let mut gdb = asker.command("/usr/bin/gdb");
        gdb.args(["-nx", "--batch", "-p", &pid, "-ex"]).arg(format!("generate-core-file {}", dump.display()));
        let said = finish(gdb.spawn().unwrap()).await;
        assert_eq!(said.err.contains("Operation not permitted"), is_kept_out, "{said:?}");
        let mut gcore = asker.command("/usr/bin/gcore");
        gcore.arg("-o").arg(asker.path("tmp/by-gcore")).arg(&pid);
        let said = finish(gcore.spawn().unwrap()).await;
        assert_eq!(said.code != 0, is_kept_out, "{said:?}");
        let found = search.in_files(&asker.path(""));
        assert_eq!(found.len(), if is_kept_out { 0 } else { 2 }, "{found:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_crashes_leaves_no_core() {
    if !can_be_tried() {
        return;
    }
    let value = random_value();
    let search = Search::of(&value);
    let (_gated, asker) = world(&value).await;
    for signal in [Signal::ABORT, Signal::SEGV, Signal::KILL] {
        let mut command = asker.command("/bin/sh");
        command.args(["-c", "ulimit -c unlimited; exec \"$0\" daemon serve"]).arg(asker.program("secret-gate"));
        let mut daemon = command.spawn().unwrap();
        let mut said = [0; 6];
        daemon.stdout.as_mut().unwrap().read_exact(&mut said).await.unwrap();
        let pid = daemon.id().unwrap();
        assert_eq!(asker.run(&exec(&["--", "true"])).await.code, 0);
        assert_eq!(asker.daemon().await, pid);
        let status = end(&mut daemon, signal).await;
        assert!(!status.core_dumped(), "{signal:?}: {status}");
        assert_eq!(search.in_files(&asker.path("")), Vec::<std::path::PathBuf>::new(), "{signal:?}");
    }
    let mut child = unprotected(&asker, &value).await;
    let status = end(&mut child, Signal::ABORT).await;
    assert!(status.core_dumped(), "{status}");
    // where dumps go to a program, there is no file to look into
    if std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap().starts_with("core") {
        assert_eq!(search.in_files(&asker.path("")).len(), 1);
    }
}

/// Sends the signal until the process has ended: Rust's own handler takes the first SIGSEGV for an overflow of the stack,
/// sees that it is none, and waits for the next.
async fn end(child: &mut Child, signal: Signal) -> std::process::ExitStatus {
    for _ in 0..60 {
        send(signal, child);
        if let Ok(status) = tokio::time::timeout(Duration::from_secs(1), child.wait()).await {
            return status.unwrap();
        }
    }
    panic!("it lives on after {signal:?}");
}
