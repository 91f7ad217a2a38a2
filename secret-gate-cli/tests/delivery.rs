//! `exec` and `run`: how a value gets into a command, and what is refused before anybody is asked.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::process::Stdio;

use gated::{Gated, approving};
use rustix::process::Signal;
use secret_gate_core::daemon::{Answer, Event, Exec, FailureKind, Inject, OsText, SocketPath, Verb, Way, Wish, call};
use secret_gate_core::wire::WantedSecret;
use secret_gate_core::{ExactCommand, Scope, ScriptedApprover, Use};
use support::{Machine, finish, said, send};

fn exec<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["exec", "--secret", "db", "--reason", "backup"][..], rest].concat()
}

fn with_path(gated: &Gated) -> Machine {
    gated.machine().with("PATH", "/usr/bin:/bin")
}

async fn approved(gated: &Gated) -> ExactCommand {
    match gated.human.asked(0).await.question.intended_use.clone() {
        Some(Use { exec: Some(Scope::Exact(command)), ssh: None, reveal: false, .. }) => command,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_value_comes_on_standard_input() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let line = "value=$(cat); test ${#value} = 12 && echo \"it is $value\"; env | grep -c s3cret-value";
    let args = exec(&["--stdin", "password", "--shell", line]);
    // what the client itself was given is not read
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"something else").unwrap();
    let run = finish(machine.spawn_at(reader, &args)).await;
    assert_eq!((run.code, run.out.as_str()), (1, "it is [redacted:db/password]\n0\n"), "{run:?}");

    let command = approved(&gated).await;
    assert_eq!((command.stdin.as_deref(), command.env.len(), command.files.len()), (Some("password"), 0, 0));
    assert_eq!(machine.run(&args).await.code, 1);
    assert_eq!(gated.asked(), 1, "the same again asks nobody");
}

#[tokio::test]
async fn a_value_comes_in_a_pipe_that_a_variable_names() {
    let gated = Gated::start(approving(2)).await;
    let machine = with_path(&gated);
    let line = "echo \"${F%/*} $U\"; cat \"$F\"; echo; cat; env | grep -c s3cret-value";
    let args = exec(&["--file", "F=password", "--env", "U=user", "--shell", line]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut writer, b"given\n").unwrap();
    drop(writer);
    let run = finish(machine.spawn_at(reader, &args)).await;
    assert_eq!(run.out, "/dev/fd ann\n[redacted:db/password]\ngiven\n0\n", "{run:?}");
    let command = approved(&gated).await;
    assert_eq!(command.files.get("F").map(String::as_str), Some("password"));
    assert_eq!((command.env.len(), command.env.get("U").map(String::as_str)), (1, Some("user")));

    // for any command, all ways at once; an item's field can be had twice
    let any = exec(&["--any", "--file", "F=password", "--stdin", "password", "--env", "T=password", "--"]);
    let script = ["sh", "-c", "test \"$(cat $F)\" = \"$T\" && test \"$(cat)\" = \"$T\" && echo all the same"];
    let run = machine.run(&[&any[..], &script].concat()).await;
    assert_eq!(run.out, "all the same\n", "{run:?}");
}

#[tokio::test]
async fn what_was_approved_for_one_way_gets_in_by_no_other() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let line = "cat \"$F\" | wc -c";
    let run = machine.run(&exec(&["--file", "F=password", "--shell", line])).await;
    assert_eq!(run.out, "12\n", "{run:?}");

    let intended = Use::command(approved(&gated).await);
    let place = SocketPath::at(machine.path("secret-gate.sock")).unwrap();
    let text = |text: &str| OsText::Text(text.to_owned());
    let folder = std::env::current_dir().unwrap().to_str().unwrap().to_owned();
    let outcome = async |into: Way, intended: Use| {
        let secret = WantedSecret { secret_name: "db".into(), vault: None, fields: Some(vec!["password".to_owned()]) };
        let wish = Wish {
            server: gated.url.clone(),
            secrets: vec![secret],
            intended_use: intended,
            only_held: true,
            ..Wish::default()
        };
        let verb = Verb::Exec(Exec {
            wish,
            argv: vec![text("/bin/sh"), text("-c"), text(line)],
            working_dir: text(&folder),
            env: vec![(text("PATH"), text("/usr/bin:/bin"))],
            inject: vec![Inject { secret: 0, field: "password".to_owned(), into }],
            timeout_ms: None,
            output_limit: None,
        });
        let mut answers = call(place.connect().await.unwrap(), verb).await.unwrap();
        loop {
            match answers.next().await.unwrap().unwrap() {
                Answer::Event(event) if matches!(*event, Event::Started) => {}
                Answer::Event(event) => return *event,
                _ => {}
            }
        }
    };
    let file = || Way::File("F".to_owned());
    assert!(matches!(outcome(file(), intended.clone()).await, Event::Exited { code: 0, .. }));
    for way in [Way::Variable("F".to_owned()), Way::File("G".to_owned()), Way::Stdin] {
        let refused = outcome(way.clone(), intended.clone()).await;
        assert!(
            matches!(&refused, Event::Failed(failure) if failure.kind == FailureKind::NotGranted),
            "{way:?}: {refused:?}"
        );
    }
    // nor by a wish for another way, which nobody approved
    let Some(Scope::Exact(command)) = intended.exec else { panic!("no command") };
    let mut otherwise = command;
    otherwise.files.clear();
    for (way, intended) in [
        (Way::Stdin, Use::command(otherwise.clone().with_stdin("password"))),
        (Way::Variable("F".to_owned()), Use::command(otherwise.with_env("F", "password"))),
    ] {
        let refused = outcome(way.clone(), intended).await;
        assert!(
            matches!(&refused, Event::Failed(failure) if failure.kind == FailureKind::NotGranted),
            "{way:?}: {refused:?}"
        );
    }
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn what_cannot_run_is_refused_before_anybody_is_asked() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let machine = with_path(&gated);
    let cases: &[(&[&str], &str)] = &[
        (&["--env", "LD_PRELOAD=password", "--any", "--", "true"], "LD_PRELOAD must not carry a value"),
        (&["--env", "LD_PRELOAD=password", "--", "true"], "LD_PRELOAD must not carry a value"),
        (&["--file", "BASH_ENV=password", "--any", "--", "true"], "BASH_ENV must not carry a value"),
        (&["--env", "A-B=password", "--any", "--", "true"], "can't be the name of a variable"),
        (&["--env", "A\nB=password", "--any", "--", "true"], "can't be the name of a variable"),
        (&["--env", "=password", "--any", "--", "true"], "can't be the name of a variable"),
        (&["--env", "T=", "--any", "--", "true"], "without a label"),
        (&["--env", "T=password", "--file", "T=user", "--", "true"], "would carry two fields"),
        (&["--stdin", "password", "--stdin", "user", "--env", "T=", "--", "true"], "without a label"),
        (&["--env", "T=password", "--any", "--", "no-such-program"], "no such program"),
        (&["--env", "T=password", "--any", "--", "/no/such/program"], "no such program"),
        (&["--env", "T=password", "--any", "--", "./"], "no such program"),
        (&["--env", "T=password", "--any", "--", ""], "must start with the program's name"),
        (&["--env", "T=password", "--", ""], "must start with the program's name"),
        (&["--env", "T=password", "--any", "--"], "COMMAND"),
        (&["--env", "T=password", "--shell", " \n"], "the line for the shell is empty"),
        (&["--", "true"], "--env"),
    ];
    for (args, words) in cases {
        let run = machine.run(&exec(args)).await;
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{args:?}: {run:?}");
        assert!(run.err.contains(words), "{args:?}: {run:?}");
    }

    // a folder that is gone by the time that the client starts
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    for any in [&["--any"][..], &[]] {
        let args = exec(&[&["--env", "T=password"], any, &["--", "true"]].concat());
        let mut shell = machine.command("/bin/sh");
        shell.args(["-c", script, "sh", env!("CARGO_BIN_EXE_secret-gate")]).args(&args).current_dir(machine.path(""));
        let run = finish(shell.spawn().unwrap()).await;
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
        assert!(run.err.contains("the current folder can't be told"), "{run:?}");
    }
    assert_eq!(gated.asked(), 0);
    assert!(!machine.path("secret-gate.sock").exists(), "no daemon was started for it");
}

#[tokio::test]
async fn a_file_of_variables_says_what_is_easily_overlooked() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let file = machine.path(".env");
    let args = ["run", "--env-file", file.to_str().unwrap(), "--reason", "test", "--", "sh", "-c", "echo $A $URL $B"];
    std::fs::write(&file, "A=1\nA=2\nB=op://infra/db/password\nURL='x:op://infra/db/user'\nLD_DEBUG=help\n").unwrap();
    let run = machine.run(&args).await;
    assert_eq!((run.code, run.out.as_str()), (0, "2 x:op://infra/db/user [redacted:db/password]\n"), "{run:?}");
    for words in [
        ".env, line 2: A is there twice; the one in line 1 does not count\n",
        ".env, line 4: URL goes as it stands; only a value that is a reference as a whole is replaced\n",
        ".env, line 5: LD_DEBUG changes what programs load",
    ] {
        assert!(run.err.contains(words), "{words:?}: {run:?}");
    }
    std::fs::write(&file, "A=1\n\n# comment\nB=op://infra/db\n").unwrap();
    let run = machine.run(&args).await;
    assert!(run.code == 2 && run.err.contains(".env, line 4: B: op://infra/db is no secret reference"), "{run:?}");
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn who_stops_reading_ends_it_quietly() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let args = exec(&["--env", "T=password", "--shell", "echo pid $$; yes \"line $T\""]);
    let mut client = machine.command(env!("CARGO_BIN_EXE_secret-gate"));
    let mut client = client.args(&args).stdin(Stdio::null()).spawn().unwrap();
    said(&mut client, "waiting for the approval").await;
    let stdout: Stdio = client.stdout.take().unwrap().try_into().unwrap();
    let head = machine.command("head").args(["-n", "2"]).stdin(stdout).spawn().unwrap();
    let head = finish(head).await;
    let lines: Vec<_> = head.out.lines().collect();
    assert_eq!(lines[1], "line [redacted:db/password]");
    let run = finish(client).await;
    assert!(run.code == 141 && !run.err.contains("error"), "{run:?}");
    let pid = lines[0].strip_prefix("pid ").unwrap();
    gone(pid).await;
}

#[tokio::test]
async fn who_does_not_read_can_still_stop_it() {
    let gated = Gated::start(approving(1)).await;
    let machine = with_path(&gated);
    let file = machine.path("pid");
    let line = format!("echo $$ >'{}'; exec yes", file.display());
    let mut client = machine.spawn(&exec(&["--env", "T=password", "--shell", &line]));
    // once the pipe to nobody is full, all that write into it stand still
    let full = async {
        let mut before = String::new();
        loop {
            let pid = std::fs::read_to_string(&file).unwrap_or_default();
            let now = std::fs::read_to_string(format!("/proc/{}/io", pid.trim())).unwrap_or_default();
            if !now.is_empty() && now == before {
                return pid.trim().to_owned();
            }
            before = now;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let pid = &*tokio::time::timeout(std::time::Duration::from_secs(30), full).await.unwrap();
    send(Signal::INT, &client);
    let code = tokio::time::timeout(std::time::Duration::from_secs(30), client.wait()).await.unwrap().unwrap().code();
    assert_eq!(code, Some(130));
    gone(pid).await;
}

/// Waits until this process has ended.
async fn gone(pid: &str) {
    let ended = async {
        while std::path::Path::new(&format!("/proc/{pid}")).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.unwrap();
}
