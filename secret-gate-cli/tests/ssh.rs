//! `ssh`: a real login at a real sshd, with a key that lies in no file.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
#[expect(
    dead_code,
    clippy::panic,
    clippy::print_stderr,
    reason = "made for the tests of the library, which use more of it"
)]
#[path = "../../secret-gate-core/tests/ssh/support.rs"]
mod sshd;
mod support;

use gated::{Gated, approving};
use secret_gate_core::{Decision, Scope, ScriptedApprover, Use};
use sshd::Place;
use support::Machine;

/// A server with a key, a place that lets it in, and a machine whose `ssh` takes the place's home for the user's.
async fn world(human: ScriptedApprover) -> Option<(Gated, Place, Machine, String)> {
    let place = Place::new().await?;
    let key = sshd::ed25519();
    place.let_in(&[sshd::parse(&key).public().to_string()]);
    let gated = Gated::with(human, &key).await;
    let machine = gated.machine();
    let program = place.program();
    let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin exec '{}' \"$@\"\n", program.display());
    std::fs::create_dir(machine.path("bin")).unwrap();
    std::fs::write(machine.path("bin/ssh"), script).unwrap();
    std::fs::set_permissions(machine.path("bin/ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let path = format!("{}:/usr/bin:/bin", machine.path("bin").display());
    Some((gated, place, machine.with("PATH", &path), key))
}

#[tokio::test]
async fn a_key_logs_in_and_lies_in_no_file() {
    let Some((gated, place, machine, key)) = world(approving(1).then(Decision::deny("Ann"))).await else { return };
    let (target, port) = (format!("{}@127.0.0.1", place.user), place.port.to_string());
    let args =
        ["ssh", "--secret", "deploy-key", "--reason", "deploy", "--port", &port, &target, "--", "echo", "in; exit 3"];
    let run = machine.run(&args).await;
    assert_eq!((run.code, run.out.as_str()), (3, "in\n"), "{run:?}");

    let question = gated.human.asked(0).await.question;
    let Some(Use { ssh: Some(Scope::Exact(host)), exec: None, reveal: false, .. }) = &question.intended_use else {
        panic!("{question:?}")
    };
    assert_eq!(
        (host.user.as_deref(), host.host.as_str(), host.port),
        (Some(&*place.user), "127.0.0.1", Some(place.port))
    );
    assert_eq!(host.command.as_deref(), Some("echo in; exit 3"));
    assert_eq!(question.items[0].fields[0].name, "private key");

    // the same login asks nobody, another one does
    assert_eq!(machine.run(&args).await.code, 3);
    assert_eq!(gated.asked(), 1);
    let other = [&args[..9], &["id"]].concat();
    assert_eq!(machine.run(&other).await.code, 3, "denied");
    assert_eq!(gated.asked(), 2);

    let body: String = key.lines().nth(2).unwrap().to_owned();
    for folder in [machine.path(""), place.path("home"), place.path("run")] {
        let found = std::process::Command::new("grep").arg("-rlF").arg(&body).arg(&folder).output().unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap(), "", "{}", folder.display());
    }
}

#[tokio::test]
async fn what_is_no_host_is_refused_before_anybody_is_asked() {
    let Some((gated, place, machine, _)) = world(ScriptedApprover::new()).await else { return };
    let touched = machine.path("touched");
    let proxy = format!("-oProxyCommand=touch {}", touched.display());
    for target in [proxy.as_str(), "host;cmd", "user@host -v", "a@b@c", "host\nx", "hóst", ""] {
        let run = machine.run(&["ssh", "--secret", "deploy-key", "--reason", "r", "--", target]).await;
        assert_eq!(run.code, 2, "{target}: {run:?}");
        let run = machine.run(&["ssh", "--secret", "deploy-key", "--reason", "r", target, "--", "true"]).await;
        assert_eq!(run.code, 2, "{target}: {run:?}");
    }
    let no_key = machine.run(&["ssh", "--secret", "db", "--reason", "r", &format!("{}@127.0.0.1", place.user)]).await;
    assert_eq!(no_key.code, 5, "{no_key:?}");
    assert!(!touched.exists() && gated.asked() == 0);
}
