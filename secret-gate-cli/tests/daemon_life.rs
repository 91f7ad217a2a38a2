//! The daemon's life as its clients see it: started, met at its end, hung, replaced, left.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gated::{Gated, approving};
use rustix::process::Signal;
use secret_gate_core::ScriptedApprover;
use serde_json::{Value, json};
use support::{Machine, Server, accepted, finish, said, send, status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const VERSION: &str = env!("CARGO_PKG_VERSION");

const ASK: [&str; 4] = ["--secret", "db", "--field", "password"];

/// What has the daemon's place, and answers by a script.
struct Impostor {
    path: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    has_left: Arc<AtomicBool>,
}

impl Drop for Impostor {
    fn drop(&mut self) {
        // what has its place now may be a daemon
        if !self.has_left.load(Ordering::SeqCst) {
            std::fs::remove_file(&self.path).unwrap();
        }
    }
}

/// What it does upon a verb.
#[derive(Clone)]
enum Does {
    Say(Value),
    /// Says it, and leaves its place.
    SayAndEnd(Value),
    /// Closes the connection and leaves its place.
    End,
    Nothing,
}

impl Impostor {
    fn at(machine: &Machine, script: impl Fn(&str) -> Does + Send + 'static) -> Self {
        let path = machine.path("secret-gate.sock");
        let mut listener = Some(UnixListener::bind(&path).unwrap());
        let impostor = Self { path, heard: Arc::default(), has_left: Arc::default() };
        let Self { path, heard, has_left } = &impostor;
        let (path, heard, has_left) = (path.clone(), Arc::clone(heard), Arc::clone(has_left));
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Some(listening) = &listener {
                let (mut stream, _) = listening.accept().await.unwrap();
                let Some(verb) = verb(&mut stream).await else { continue };
                heard.lock().unwrap().push(verb.clone());
                let does = script(&verb);
                if matches!(does, Does::SayAndEnd(_) | Does::End) {
                    // before the client can look for another one
                    has_left.store(true, Ordering::SeqCst);
                    std::fs::remove_file(&path).unwrap();
                    listener = None;
                }
                match does {
                    Does::Say(event) | Does::SayAndEnd(event) => {
                        let text = event.to_string();
                        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
                        let frame = [&length[..], &[0], text.as_bytes()].concat();
                        stream.write_all(&frame).await.ok();
                    }
                    Does::End => {}
                    Does::Nothing => open.push(stream),
                }
            }
        });
        impostor
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn verb(stream: &mut UnixStream) -> Option<String> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes(head[1..5].try_into().unwrap());
    let mut call = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut call).await.ok()?;
    let call: Value = serde_json::from_slice(&call).unwrap();
    Some(call.get("verb")?.as_str()?.to_owned())
}

fn how(version: &str, held: usize, calls: usize) -> Value {
    json!({"event": "status", "pid": 1, "version": version, "uptime_seconds": 1, "entry_count": held,
        "socket_path": "/", "memory_locked": true, "calls": calls})
}

fn done() -> Value {
    json!({"event": "done", "count": 0})
}

#[tokio::test]
async fn a_call_that_meets_one_just_ending_is_made_again() {
    let stopping = json!({"event": "failed", "kind": "stopping", "message": "the daemon is stopping"});
    for ends in [Does::End, Does::SayAndEnd(stopping)] {
        let gated = Gated::start(approving(1)).await;
        let machine = gated.machine().with("PATH", "/usr/bin:/bin");
        let impostor = Impostor::at(&machine, move |_| ends.clone());
        let args = ["exec", "--secret", "db", "--env", "P=password", "--reason", "r", "--", "/bin/sh", "-c"];
        let run = machine.run(&[&args[..], &["echo ${#P}"]].concat()).await;
        assert_eq!((run.code, run.out.as_str()), (0, "12\n"), "{run:?}");
        assert_eq!((impostor.heard(), gated.asked()), (vec!["exec".to_owned()], 1), "one call, made at once");
    }
}

#[tokio::test]
async fn an_idle_one_of_another_version_is_replaced() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    let impostor = Impostor::at(&machine, |verb| match verb {
        "status" => Does::Say(how("0.0.1", 0, 0)),
        "stop" => Does::SayAndEnd(done()),
        _ => Does::Say(json!({"event": "failed", "kind": "protocol", "message": "the daemon is of version 0.0.1"})),
    });
    let args = ["exec", "--secret", "db", "--env", "P=password", "--reason", "r", "--shell", "echo ${#P}"];
    let run = machine.run(&args).await;
    assert_eq!((run.code, run.out.as_str()), (0, "12\n"), "{run:?}");
    assert_eq!(impostor.heard(), ["exec", "status", "stop"]);
    let status = machine.run(&["daemon", "status"]).await.out;
    assert!(status.contains(&format!("\nVersion: {VERSION}\n")), "{status}");
}

#[tokio::test]
async fn one_of_another_version_that_is_in_use_is_left_alone() {
    for (held, calls) in [(2, 0), (0, 1)] {
        let gated = Gated::start(ScriptedApprover::new()).await;
        let machine = gated.machine();
        let impostor = Impostor::at(&machine, move |_| Does::Say(how("9.0.0", held, calls)));
        let run = machine.run(&["daemon", "start"]).await;
        assert_eq!(run.code, 6, "{run:?}");
        let holds = format!("it holds {held} approvals and has {calls} calls under way");
        for part in ["of version 9.0.0", &holds, "secret-gate daemon stop"] {
            assert!(run.err.contains(part), "{part}: {run:?}");
        }
        assert_eq!(impostor.heard(), ["status"]);
    }
}

#[tokio::test]
async fn what_does_not_speak_as_a_daemon_is_reported() {
    for odd in [json!({"event": "later"}), json!([]), json!({"event": "started"})] {
        let machine = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9").with_daemon();
        let _impostor = Impostor::at(&machine, move |_| Does::Say(odd.clone()));
        let what_to_do = format!("end it with: kill {}", std::process::id());
        for verb in ["start", "stop"] {
            let run = machine.run(&["daemon", verb]).await;
            assert!(run.code == 6 && run.err.contains(&what_to_do), "{verb}: {run:?}");
        }
    }
}

#[tokio::test]
async fn one_that_hangs_is_not_waited_for() {
    let machine = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9").with_daemon();
    let _impostor = Impostor::at(&machine, |verb| match verb {
        "status" => Does::Say(how(VERSION, 0, 0)),
        _ => Does::Nothing,
    });
    let run = machine.run(&["grants"]).await;
    let what_to_do = format!("end it with: kill -KILL {}", std::process::id());
    assert!(run.code == 6 && run.err.contains(&what_to_do), "{run:?}");
    // where a human may be waited for, the user says how long
    let get = ["get", "--secret", "db", "--reason", "r", "--timeout"];
    let run = machine.run(&[&get[..], &["1s"]].concat()).await;
    assert_eq!(run.code, 4, "{run:?}");
    let mut client = machine.spawn(&[&get[..], &["1h"]].concat());
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(Signal::INT, &client);
    // it tells, and a second Ctrl-C ends even that
    tokio::time::sleep(Duration::from_millis(200)).await;
    send(Signal::INT, &client);
    let err = said(&mut client, "may be open").await;
    assert_eq!(finish(client).await.code, 130, "{err}");
}

#[tokio::test]
async fn one_that_says_not_even_how_it_is_is_not_waited_for() {
    let machine = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9").with_daemon();
    let _impostor = Impostor::at(&machine, |_| Does::Nothing);
    let run = machine.run(&["get", "--secret", "db", "--reason", "r", "--timeout", "1h"]).await;
    let what_to_do = format!("end it with: kill -KILL {}", std::process::id());
    assert!(run.code == 6 && run.err.contains(&what_to_do), "{run:?}");
}

#[tokio::test]
async fn why_it_does_not_start_is_told() {
    let long = "x".repeat(120);
    let machine = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9");
    let folder = machine.path(&long);
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    let machine = machine.with("XDG_RUNTIME_DIR", folder.to_str().unwrap());
    let run = machine.run(&["daemon", "start"]).await;
    assert!(run.code == 6 && run.err.contains("the daemon does not start: the daemon can't listen at"), "{run:?}");
    assert!(!run.err.contains("ended with"), "{run:?}");
}

#[tokio::test]
async fn whoever_holds_its_lock_and_does_not_listen_is_named() {
    let machine = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9").with_daemon();
    let lock = std::fs::File::create(machine.path("secret-gate.lock")).unwrap();
    lock.lock().unwrap();
    std::fs::write(machine.path("secret-gate.lock"), "4711\n").unwrap();
    let run = machine.run(&["daemon", "start"]).await;
    assert!(run.code == 6 && run.err.contains("does not listen beside it; end it with: kill 4711"), "{run:?}");
}

#[tokio::test]
async fn one_whose_socket_was_removed_makes_place_for_another() {
    let gated = Gated::start(approving(2)).await;
    let machine = gated.machine();
    assert_eq!(machine.run(&ASK).await.code, 0);
    std::fs::remove_file(machine.path("secret-gate.sock")).unwrap();
    let run = machine.run(&ASK).await;
    assert_eq!((run.code, run.out.as_str()), (0, "s3cret-value\n"), "{run:?}");
    assert!(!run.err.contains("warning"), "there is a daemon: {run:?}");
    assert_eq!(gated.asked(), 2, "the first one forgot what it held");
}

#[tokio::test]
async fn a_question_that_cannot_be_withdrawn_is_named() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("pending"));
    let machine = Machine::of(&server).with_daemon();
    let mut client = machine.spawn(&ASK);
    said(&mut client, "waiting for the approval").await;
    send(Signal::INT, &client);
    let run = finish(client).await;
    assert_eq!(run.code, 130);
    let says = "the question 4f2a91c0 could not be withdrawn; deny it on the phone, or let it expire";
    assert!(run.err.contains(says), "{run:?}");

    // nor is silence taken for it
    let server = Server::start().await.on("POST /request", support::Reply::Silence);
    let machine = Machine::of(&server).with_daemon();
    let client = machine.spawn(&["get", "--secret", "db", "--reason", "r"]);
    server.called("POST /request").await;
    send(Signal::INT, &client);
    let run = finish(client).await;
    assert!(run.code == 130 && run.err.contains("a question may be open on the phone"), "{run:?}");
}

#[tokio::test]
async fn a_question_that_was_withdrawn_is_not_spoken_of() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let machine = gated.machine();
    let mut client = machine.spawn(&ASK);
    said(&mut client, "waiting for the approval").await;
    send(Signal::INT, &client);
    let run = finish(client).await;
    assert_eq!((run.code, run.err.contains("warning")), (130, false), "{run:?}");
    // by the time the client has ended, it is withdrawn
    let outcomes = gated.human.asked(0).await.outcomes;
    assert!(outcomes.borrow().contains(&secret_gate_core::Outcome::Withdrawn));
}

/// A line of `/proc/PID/status`.
fn about(text: &str, name: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
}

/// The signals of the standard that are ignored, as bits.
fn ignored(status: &str) -> u64 {
    u64::from_str_radix(&about(status, "SigIgn:"), 16).unwrap() & 0x7fff_ffff
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_keeps_nothing_of_whoever_starts_it_and_its_commands_are_the_callers() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin").with("SSH_AUTH_SOCK", "/nowhere");
    let machine = machine.with("PLANTED", "planted-value").with("LC_TIME", "C");
    let mut shell = machine.command("/bin/sh");
    let line = "umask 022; trap '' HUP INT QUIT TERM USR1; exec \"$0\" daemon start";
    let started = shell.args(["-c", line, env!("CARGO_BIN_EXE_secret-gate")]).output().await.unwrap();
    assert!(started.status.success(), "{started:?}");
    let told = machine.run(&["daemon", "status"]).await.out;
    let proc = Path::new("/proc").join(about(&told, "PID:"));

    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    assert_eq!(about(&status, "Umask:"), "0077");
    // of signals 1 to 31, SIGPIPE alone, which Rust programs ignore
    assert_eq!(ignored(&status), 1 << 12);
    // only root reads the rest
    if rustix::process::geteuid().is_root() {
        let environment = std::fs::read(proc.join("environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        assert!(environment.contains("LC_TIME=C\0") && environment.contains("XDG_RUNTIME_DIR="), "{environment}");
        for kept in ["SSH_AUTH_SOCK", "planted-value", "SECRET_GATE"] {
            assert!(!environment.contains(kept), "{environment}");
        }
        for stream in 0..3 {
            let leads = std::fs::read_link(proc.join(format!("fd/{stream}"))).unwrap();
            assert_eq!(leads, Path::new("/dev/null"), "{stream}");
        }
    }

    let line = "echo $PLANTED; umask; grep SigIgn /proc/self/status; : > made; ls -l made | cut -c 1-10";
    let folder = machine.path("");
    let mut client = machine.command("/bin/sh");
    let script = format!("cd {}; umask 027; exec \"$0\" \"$@\"", folder.display());
    let args = ["exec", "--secret", "db", "--env", "P=password", "--reason", "r", "--", "/bin/sh", "-c", line];
    client.args(["-c", &script, env!("CARGO_BIN_EXE_secret-gate")]).args(args);
    let run = finish(client.spawn().unwrap()).await;
    let (seen, made) = run.out.split_once("SigIgn:").unwrap();
    assert_eq!((seen, made.lines().last()), ("planted-value\n0027\n", Some("-rw-r-----")), "{run:?}");
    assert_eq!(ignored(&run.out), 0, "{run:?}");
}

#[tokio::test]
async fn a_command_goes_on_when_its_approval_ends_by_time() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    let go = machine.path("go");
    let line = format!("echo begins >&2; until test -e {}; do sleep 0.05; done; echo ${{#P}}", go.display());
    let args = ["exec", "--secret", "db", "--env", "P=password", "--reason", "r", "--keep", "1s", "--shell", &line];
    let mut client = machine.spawn(&args);
    said(&mut client, "begins").await;
    let ended = async {
        while machine.run(&["grants", "--format", "json"]).await.out != "[]\n" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    // nor is it told from outside that it ended
    std::fs::write(&go, "").unwrap();
    let run = finish(client).await;
    assert_eq!((run.code, run.out.as_str()), (0, "12\n"), "{run:?}");
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn a_command_is_killed_when_all_is_forgotten() {
    for end in [&["daemon", "flush"][..], &["daemon", "stop"], &["revoke", "--all"]] {
        let gated = Gated::start(approving(1)).await;
        let machine = gated.machine().with("PATH", "/usr/bin:/bin");
        let line = "echo begins >&2; while :; do sleep 0.05; done";
        let args = ["exec", "--secret", "db", "--env", "P=password", "--reason", "r", "--shell", line];
        let mut client = machine.spawn(&args);
        said(&mut client, "begins").await;
        assert_eq!(machine.run(end).await.code, 0, "{end:?}");
        let run = finish(client).await;
        assert!(matches!(run.code, 3 | 6), "{end:?}: {run:?}");
    }
}

#[tokio::test]
async fn a_command_can_end_in_its_own_way_when_its_caller_leaves() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let gated = Gated::start(approving(1)).await;
        let machine = gated.machine().with("PATH", "/usr/bin:/bin");
        let ended = machine.path("ended");
        let line = format!(
            "trap 'echo last words; sleep 0.3; echo >{}; exit' TERM; echo begins >&2; while :; do sleep 0.05; done",
            ended.display()
        );
        let args = ["exec", "--secret", "db", "--env", "P=password", "--reason", "r", "--shell", &line];
        let mut client = machine.spawn(&args);
        said(&mut client, "begins").await;
        send(signal, &client);
        finish(client).await;
        // one that is killed can't wait for it
        if signal == Signal::KILL {
            let ends = async {
                while !ended.exists() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), ends).await.unwrap();
        }
        assert!(ended.exists(), "{signal:?}");
    }
}
