//! `exec`, `get` and `read`: exactly what was approved, and nothing to see of it.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;

use gated::{Gated, approving};
use rustix::process::Signal;
use secret_gate_core::{Decision, Keep, Scope, ScriptedApprover, Use};
use support::{Machine, finish, said, send};
use tokio::net::unix::pipe;

/// Runs `exec` with the password in T.
fn exec<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["exec", "--secret", "db", "--env", "T=password", "--reason", "backup"][..], rest].concat()
}

fn with_path(gated: &Gated) -> Machine {
    gated.machine().with("PATH", "/usr/bin:/bin")
}

#[tokio::test]
async fn a_command_gets_the_value_and_nobody_sees_it() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let line = "test ${#T} = 12 && echo \"it is $T\"; printf %s \"$T\" | base64 >&2; exit 7";
    let run = machine.run(&exec(&["--shell", line])).await;
    assert_eq!((run.code, run.out.as_str()), (7, "it is [redacted:db/password]\n"), "{run:?}");
    assert!(run.err.contains("[redacted:db/password]") && !run.err.contains("czNjcmV0LXZhbHVl"), "{run:?}");

    let question = gated.human.asked(0).await.question;
    let Some(Use { exec: Some(Scope::Exact(command)), ssh: None, reveal: false, .. }) = &question.intended_use else {
        panic!("{question:?}")
    };
    assert_eq!(command.argv, ["/bin/sh", "-c", line]);
    assert_eq!(command.env.get("T").map(String::as_str), Some("password"));
    assert_eq!(question.items[0].fields.len(), 1, "no more than is used");

    // the same command again asks nobody, and no other way leads to the value
    assert_eq!(machine.run(&exec(&["--shell", line])).await.code, 7);
    assert_eq!(gated.asked(), 1);
    let held = machine.run(&["grants", "--format", "json"]).await;
    assert!(!held.out.contains("s3cret-value"), "{held:?}");
}

#[tokio::test]
async fn another_command_field_or_use_is_another_question() {
    let human = (0..4).fold(approving(1), |human, _| human.then(Decision::deny("Ann")));
    let gated = Gated::start(human).await;
    let machine = with_path(&gated);
    assert_eq!(machine.run(&exec(&["--", "true"])).await.code, 0);
    let others = [
        exec(&["--", "true", "--really"]),
        exec(&["--any", "--", "true"]),
        vec!["exec", "--secret", "db", "--env", "T=user", "--reason", "r", "--", "true"],
        vec!["get", "--secret", "db", "--field", "password", "--reason", "r"],
    ];
    for (number, args) in others.iter().enumerate() {
        let run = machine.run(args).await;
        assert_eq!((run.code, run.out.as_str()), (3, ""), "{args:?}: {run:?}");
        assert_eq!(gated.asked(), number + 2, "{args:?}");
    }
}

#[tokio::test]
async fn any_command_covers_each_and_what_is_no_secret_is_named() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let args = ["exec", "--secret", "db", "--env", "T=password", "--env", "U=user", "--reason", "r", "--any"];
    let run = machine.run(&[&args[..], &["--", "sh", "-c", "echo $U $T"]].concat()).await;
    assert_eq!((run.code, run.out.as_str()), (0, "ann [redacted:db/password]\n"), "{run:?}");
    assert!(run.err.ends_with("not redacted, since no secret: db/user\n"), "{run:?}");
    let again = machine.run(&[&args[..], &["--", "sh", "-c", "echo again"]].concat()).await;
    assert_eq!((again.out.as_str(), gated.asked()), ("again\n", 1));
}

#[tokio::test]
async fn a_command_reads_what_the_client_was_given() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let client = machine.spawn_at(reader, &exec(&["--shell", "read line; echo \"$line $T\"; cat"]));
    std::io::Write::write_all(&mut writer, b"first s3cret-value\nand the rest").unwrap();
    drop(writer);
    let run = finish(client).await;
    let expected = "first [redacted:db/password] [redacted:db/password]\nand the rest";
    assert_eq!((run.code, run.out.as_str()), (0, expected), "{run:?}");
}

#[tokio::test]
async fn what_it_reads_may_come_from_a_socket() {
    let gated = Gated::start(approving(2)).await;
    let machine = with_path(&gated);
    for waits in [true, false] {
        let (far, near) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(!waits).unwrap();
        let line = "echo ready >&2; read line; echo \"$line $T\"; cat";
        let mut client = machine.spawn_at(OwnedFd::from(near), &exec(&["--shell", line]));
        said(&mut client, "ready").await;
        // more than a pipe holds
        let rest = "some line\n".repeat(8_000);
        let text = format!("first\n{rest}");
        let writing = tokio::task::spawn_blocking(move || (&far).write_all(text.as_bytes()).unwrap());
        let run = finish(client).await;
        writing.await.unwrap();
        assert_eq!(run.code, 0, "{waits}: {}", run.err);
        assert!(run.out == format!("first [redacted:db/password]\n{rest}"), "{waits}: {}", run.out.len());
    }

    // a command that does not read it is not held up, nor is one that ends in the middle
    let (_far, near) = std::os::unix::net::UnixStream::pair().unwrap();
    let run = finish(machine.spawn_at(OwnedFd::from(near), &exec(&["--shell", "echo done"]))).await;
    assert_eq!((run.code, run.out.as_str()), (0, "done\n"), "{run:?}");
}

#[tokio::test]
async fn a_pipe_with_a_name_and_no_writer_holds_up_nobody() {
    let gated = Gated::start(approving(2)).await;
    let machine = with_path(&gated);
    let path = machine.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = || pipe::OpenOptions::new().open_receiver(&path).unwrap().into_blocking_fd().unwrap();
    let run = finish(machine.spawn_at(reader(), &exec(&["--shell", "cat; echo end"]))).await;
    assert_eq!((run.code, run.out.as_str()), (0, "end\n"), "{run:?}");

    // the command waits for what comes, which the daemon does not
    let (input, writer) = (reader(), pipe::OpenOptions::new().open_sender(&path).unwrap().into_blocking_fd().unwrap());
    let mut client = machine.spawn_at(input, &exec(&["--shell", "echo ready >&2; cat"]));
    said(&mut client, "ready").await;
    assert_eq!(machine.run(&["daemon", "status"]).await.code, 0);
    File::from(writer).write_all(b"input").unwrap();
    let run = finish(client).await;
    assert_eq!((run.code, run.out.as_str()), (0, "input"), "{run:?}");
}

#[tokio::test]
async fn who_leaves_takes_the_command_along() {
    let gated = Gated::start(approving(2)).await;
    let machine = with_path(&gated);
    let line = "trap '' TERM; echo pid $$ runs >&2; while :; do sleep 0.1; done";
    let mut client = machine.spawn(&exec(&["--shell", line]));
    let pid = pid_in(&said(&mut client, " runs").await);
    send(Signal::INT, &client);
    assert_eq!(finish(client).await.code, 130);
    gone(pid).await;

    // so does whoever takes the approval back
    let mut client = machine.spawn(&exec(&["--shell", line]));
    let pid = pid_in(&said(&mut client, " runs").await);
    assert_eq!(machine.run(&["revoke", "--all"]).await.code, 0);
    let run = finish(client).await;
    assert_eq!(run.code, 3, "{run:?}");
    gone(pid).await;
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn an_approval_for_one_use_can_be_taken_back_while_it_is_used() {
    let gated = Gated::start(ScriptedApprover::new().then(Decision::approve_for("Ann", Keep::Once))).await;
    let machine = with_path(&gated);
    let mut client = machine.spawn(&exec(&["--shell", "echo pid $$ runs >&2; while :; do sleep 0.1; done"]));
    let pid = pid_in(&said(&mut client, " runs").await);
    assert_eq!(machine.run(&["revoke", "--all"]).await.err, "1 approval revoked\n");
    assert_eq!(finish(client).await.code, 3);
    gone(pid).await;
}

#[tokio::test]
async fn what_a_command_reads_from_it_cannot_write_to() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    std::fs::write(machine.path("input"), "skipped\nread\n").unwrap();
    let mut input = File::options().read(true).write(true).open(machine.path("input")).unwrap();
    std::io::Seek::seek(&mut input, std::io::SeekFrom::Start(8)).unwrap();
    let client = machine.spawn_at(input, &exec(&["--shell", "cat; echo $T >&0 || echo refused"]));
    let run = finish(client).await;
    assert_eq!(run.out, "read\nrefused\n", "{run:?}");
    assert_eq!(std::fs::read_to_string(machine.path("input")).unwrap(), "skipped\nread\n");
}

#[tokio::test]
async fn get_and_read_ask_for_what_they_name() {
    let gated = Gated::start(approving(2)).await;
    let machine = gated.machine();
    let got = machine.run(&["get", "--secret", "db", "--field", "password", "--reason", "by hand"]).await;
    assert_eq!((got.code, got.out.as_str()), (0, "s3cret-value\n"), "{got:?}");
    // what was named by hand is found by its reference, which names the vault as well
    let read = machine.run(&["read", "--reason", "by hand", "op://infra/db/password"]).await;
    assert_eq!((read.code, read.out.as_str()), (0, "s3cret-value\n"), "{read:?}");
    assert_eq!(gated.asked(), 1);
    assert_eq!(gated.human.asked(0).await.question.intended_use, Some(Use::reveal()));
    assert_eq!(machine.run(&["read", "--reason", "r", "infra/db"]).await.code, 2);
}

#[tokio::test]
async fn mistakes_are_told_before_anybody_is_asked() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let machine = with_path(&gated);
    let cases = [
        (exec(&["--", "no-such-program"]), 2, "no such program"),
        (vec!["exec", "--secret", "db", "--env", "T", "--reason", "r", "--", "true"], 2, "no field is named"),
        (vec!["exec", "--secret", "db", "--env", "T=password", "--reason", "r"], 2, "required"),
        (vec!["exec", "--secret", "db", "--env", "T=password", "--", "true"], 2, "--reason"),
        (vec!["exec", "--secret", "dbx", "--env", "T=password", "--reason", "r", "--", "true"], 5, "did you mean db"),
        (vec!["exec", "--secret", "db", "--env", "T=passwort", "--reason", "r", "--", "true"], 5, "password, user"),
        (
            vec!["exec", "--secret", "db", "--env", "LD_PRELOAD=password", "--reason", "r", "--", "true"],
            2,
            "must not carry a value",
        ),
    ];
    for (args, code, words) in cases {
        let run = machine.run(&args).await;
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{args:?}: {run:?}");
        assert!(run.err.contains(words), "{args:?}: {run:?}");
    }
    assert_eq!(gated.asked(), 0);
}

#[tokio::test]
async fn a_file_of_variables_comes_under_one_approval() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let file = "# what the tests need\nexport HOST='db.example.com' # here\nPASS=op://infra/db/password\nUSER_NAME=op://infra/db/user\nTOKEN=\"op://infra/web/password\"\n";
    std::fs::write(machine.path(".env"), file).unwrap();
    let path = machine.path(".env").to_str().unwrap().to_owned();
    let run = |more: &[&'static str]| {
        [&["run", "--env-file", &path, "--reason", "test", "--"], more]
            .concat()
            .iter()
            .map(|arg| (*arg).to_owned())
            .collect::<Vec<_>>()
    };
    let args = run(&["sh", "-c", "echo $HOST $USER_NAME ${#PASS} ${#TOKEN} $TOKEN"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let first = machine.run(&args).await;
    assert_eq!((first.code, first.out.as_str()), (0, "db.example.com ann 12 12 [redacted:db/password]\n"), "{first:?}");
    assert_eq!(machine.run(&args).await.code, 0);
    assert_eq!(gated.asked(), 1, "one message, and none for the same again");
    let question = gated.human.asked(0).await.question;
    assert_eq!(question.items.len(), 2);
    let Some(Use { exec: Some(Scope::Exact(command)), .. }) = &question.intended_use else { panic!("{question:?}") };
    let carried: Vec<_> = command.env.iter().map(|(name, field)| format!("{name}={field}")).collect();
    assert_eq!(carried, ["PASS=db/password", "TOKEN=web/password", "USER_NAME=db/user"]);

    for (text, code, words) in [
        ("A=op://infra/db", 2, "is no secret reference"),
        ("A=plain", 2, "refer to no secret"),
        ("A B C", 2, "not of the form"),
        ("A=op://infra/none/x", 5, "none"),
    ] {
        std::fs::write(machine.path(".env"), text).unwrap();
        let failed = machine.run(&args).await;
        assert!(failed.code == code && failed.err.contains(words), "{text}: {failed:?}");
    }
    assert_eq!(gated.asked(), 1);
}

fn pid_in(text: &str) -> u32 {
    text.rsplit("pid ").next().unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Waits until this process has ended.
async fn gone(pid: u32) {
    let ended = async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.unwrap();
}
