//! The operator's commands, with the real program between the doubles.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests, a failure is a panic")]

mod chats;
mod check;
mod health;
mod keys;
#[path = "../support/mod.rs"]
mod support;

use std::process::Stdio;

use tokio::process::{Child, Command};

use support::{Ended, Environment, PATIENCE, SERVER};

const GROUP: i64 = -1_000_042;

fn spawn(args: &[&str], env: &Environment) -> Child {
    let mut command = Command::new(SERVER);
    command.args(args).env_clear().envs(env).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

async fn run(args: &[&str], env: &Environment) -> Ended {
    let output = tokio::time::timeout(PATIENCE, spawn(args, env).wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Fails with two lines: what happened, and what to do.
fn assert_failed(ended: &Ended, code: i32, what: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("error: ") && lines[1].starts_with("hint: "), "{ended:?}");
    assert!(ended.stderr.contains(what), "{ended:?}");
    assert!(!ended.stderr.contains('\x1b'), "{ended:?}");
}

#[tokio::test]
async fn a_wrong_command_line_is_told_and_help_teaches() {
    let none = Environment::new();
    for args in [&["serve"][..], &["key"], &["key", "new"], &["check", "--format", "xml"], &["chats", "now"]] {
        let ended = run(args, &none).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.contains("--help") || ended.stderr.contains("Usage"), "{ended:?}");
    }
    for args in [&[][..], &["key", "new"], &["key", "list"], &["key", "revoke"], &["check"], &["chats"], &["health"]] {
        let ended = run(&[args, &["--help"]].concat(), &none).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("Example") && ended.stdout.contains("secret-gate-server "), "{ended:?}");
    }
}
