//! Callers from a sandbox get nothing done by the daemon, whose commands would run outside of it.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use gated::{Gated, approving};
use support::{Machine, Run, finish};

/// A command that says who it is, and gets the value.
const EXEC: [&str; 12] =
    ["exec", "--secret", "db", "--field", "password", "--env", "V", "--reason", "try it", "--", "/bin/echo", "here"];

/// Runs the client, through `unshare` with these options where there are any.
async fn exec(machine: &Machine, unshare: &[&str]) -> Run {
    let client = env!("CARGO_BIN_EXE_secret-gate");
    let mut command = machine.command(if unshare.is_empty() { client } else { "/usr/bin/unshare" });
    if !unshare.is_empty() {
        command.args(unshare).arg(client);
    }
    finish(command.args(EXEC).spawn().unwrap()).await
}

/// Whether this user may make namespaces; where CI is set, it must.
async fn may_unshare() -> bool {
    let mut command = tokio::process::Command::new("/usr/bin/unshare");
    let may = command.args(["--net", "--pid", "--fork", "true"]).status().await.is_ok_and(|status| status.success());
    assert!(may || std::env::var_os("CI").is_none(), "namespaces can't be made here; run this as root");
    if !may {
        eprintln!("LEFT OUT: namespaces can't be made here; run this as root");
    }
    may
}

#[tokio::test]
async fn a_caller_from_another_namespace_is_refused_whatever_was_approved() {
    if !may_unshare().await {
        return;
    }
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine();
    let approved = exec(&machine, &[]).await;
    assert_eq!((approved.code, approved.out.as_str()), (0, "here\n"), "{approved:?}");

    for options in [&["--mount"][..], &["--pid", "--fork"], &["--user", "--map-root-user"], &["--net"]] {
        let refused = exec(&machine, options).await;
        assert_ne!(refused.code, 0, "{options:?}: {refused:?}");
        assert_eq!(refused.out, "", "{options:?}: {refused:?}");
        assert!(!refused.err.contains("here"), "{options:?}: {refused:?}");
        // it says what is the matter, and ends nobody's daemon
        assert!(
            refused.err.contains(" namespace; commands would run outside of its sandbox"),
            "{options:?}: {refused:?}"
        );
        assert!(!refused.err.contains("kill"), "{options:?}: {refused:?}");
    }

    // what is no sandbox for commands is let in, so the others were refused for what they are
    let let_in = exec(&machine, &["--uts"]).await;
    assert_eq!((let_in.code, let_in.out.as_str()), (0, "here\n"), "{let_in:?}");
    assert_eq!(gated.asked(), 1);
}
