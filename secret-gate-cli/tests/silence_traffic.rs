//! Which way a value goes, as `strace` sees it, and that it gets into no file and no log on the way.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
mod silence;
#[expect(
    dead_code,
    clippy::panic,
    clippy::print_stderr,
    reason = "made for the tests of the library, which use more of it"
)]
#[path = "../../secret-gate-core/tests/ssh/support.rs"]
mod sshd;
mod support;
#[path = "silence/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use secret_gate_core::daemon::{Exec, Inject, OsText, Verb, Way};
use silence::Asker;
use silence::trace::{OPTIONS, Sighting, Trace};
use support::{Run, finish};
use tokio::io::AsyncReadExt as _;
use world::World;

/// What is allowed to happen to the value: who, by which call, through what.
fn allowed(sightings: &[(&str, &str, &str)]) -> BTreeSet<Sighting> {
    sightings.iter().map(|(who, call, kind)| ((*who).to_owned(), (*call).to_owned(), (*kind).to_owned())).collect()
}

/// A command that gets the password in this way, under an approval that is held.
fn fed(world: &World, line: &str, into: Way) -> Verb {
    let text = |text: &str| OsText::Text(text.to_owned());
    Verb::Exec(Exec {
        wish: world.wish(),
        argv: ["/bin/sh", "-c", line].map(text).to_vec(),
        working_dir: text("/"),
        env: vec![(text("PATH"), text("/usr/bin:/bin"))],
        inject: vec![Inject { secret: 0, field: "password".into(), into }],
        timeout_ms: None,
        output_limit: None,
    })
}

/// Traces a daemon from its start to its end, and a client that it serves meanwhile.
async fn traced(asker: &Asker, use_it: impl AsyncFnOnce(&[&str])) -> [Trace; 2] {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [daemons, clients] = folders.each_ref().map(|folder| folder.path().join("trace").to_str().unwrap().to_owned());
    let strace = |file| [&["/usr/bin/strace"], &OPTIONS[..], &["-o", file]].concat();
    let mut daemon = asker.command_under(&strace(&daemons), asker.program("secret-gate"));
    let mut daemon = daemon.args(["daemon", "serve"]).env("RUST_LOG", "trace").spawn().unwrap();
    let mut ready = [0; 6];
    daemon.stdout.as_mut().unwrap().read_exact(&mut ready).await.unwrap();
    use_it(&strace(&clients)).await;
    // root is another user to it, which it tells in its log
    let mut refused = Vec::new();
    let mut stranger = tokio::net::UnixStream::connect(asker.path("run/secret-gate.sock")).await.unwrap();
    stranger.read_to_end(&mut refused).await.unwrap();
    assert_eq!(asker.run(&["daemon", "stop"]).await.code, 0);
    tokio::time::timeout(Duration::from_secs(60), daemon.wait()).await.unwrap().unwrap();
    let traces = folders.each_ref().map(|folder| Trace::read(folder.path()));
    assert!(traces[0].tells("a call was refused"), "what it logs is traced, wherever it goes");
    traces
}

/// Runs a client that is traced.
async fn client(asker: &Asker, strace: &[&str], args: &[&str]) -> Run {
    finish(asker.command_under(strace, asker.program("secret-gate")).args(args).spawn().unwrap()).await
}

#[tokio::test]
async fn a_value_goes_from_the_server_through_the_daemon_to_the_command_and_nowhere_else() {
    let Some(world) = World::new().await else { return };
    let World { asker, searches: [search, _], .. } = &world;
    let line = "printf %s \"$T\"; printf %s \"$T\" | base64 >&2";
    let [daemon, clients] = traced(asker, async |strace| {
        let run = client(asker, strace, &world.exec(line)).await;
        assert_eq!(run.out, "[redacted:db/password]", "{run:?}");
        for (line, into) in [("wc -c", Way::Stdin), ("wc -c <\"$F\"", Way::File("F".into()))] {
            let said = asker.call(fed(&world, line, into)).await;
            assert!(said.contains("30\n") && said.contains(r#""event":"exited","code":0"#), "{said}");
        }
    })
    .await;
    let expected = allowed(&[
        // by the other ways a command gets it through a pipe
        ("daemon", "write", "pipe"),
        // the server's answer to the one call that redeems
        ("daemon", "recvfrom", "tcp"),
        // what the command gets, and the commands that it starts
        ("child", "execve", "environment"),
        // what the command does with it, up to the daemon, which redacts it
        ("child", "write", "pipe"),
        ("child", "read", "pipe"),
        ("daemon", "read", "pipe"),
    ]);
    assert_eq!(daemon.sightings(search, "daemon"), expected);
    assert_eq!(clients.sightings(search, "client"), BTreeSet::new());
    assert_eq!([daemon.gaps(), clients.gaps()], [vec![] as Vec<String>, vec![]]);
    assert_eq!(world.gated.asked(), 1);
}

#[tokio::test]
async fn the_same_trace_shows_a_value_that_goes_elsewhere() {
    let Some(world) = World::new().await else { return };
    let World { asker, searches: [search, of_key], .. } = &world;
    let line = "printf %s \"$T\" >\"$TMPDIR/planted\"; /bin/echo \"$T\" >/dev/null";
    let [daemon, clients] = traced(asker, async |strace| {
        assert_eq!(asker.run(&world.exec(line)).await.code, 0);
        let key = ["exec", "--secret", "deploy-key", "--env", "K=private key", "--reason", "r", "--any", "--", "true"];
        assert_eq!(asker.run(&key).await.code, 0);
        let get = ["get", "--secret", "db", "--field", "password", "--reason", "r"];
        assert_eq!(client(asker, strace, &get).await.code, 0);
    })
    .await;
    let planted = [("child", "write", "file"), ("child", "execve", "arguments"), ("daemon", "sendto", "unix")];
    let seen = daemon.sightings(search, "daemon");
    assert!(seen.is_superset(&allowed(&planted)), "{seen:?}");
    assert!(daemon.sightings(of_key, "daemon").is_superset(&allowed(&[("child", "execve", "environment")])));
    let shown = allowed(&[("client", "recvfrom", "unix"), ("client", "write", "pipe")]);
    assert_eq!(clients.sightings(search, "client"), shown);
}

#[tokio::test]
async fn a_key_goes_from_the_server_to_the_daemon_and_no_further() {
    let Some(world) = World::new().await else { return };
    let World { asker, searches: [_, search], .. } = &world;
    let [daemon, clients] =
        traced(asker, async |strace| world.ssh(async |args| client(asker, strace, args).await).await).await;
    assert_eq!(daemon.sightings(search, "daemon"), allowed(&[("daemon", "recvfrom", "tcp")]));
    assert_eq!(clients.sightings(search, "client"), BTreeSet::new());
    assert_eq!([daemon.gaps(), clients.gaps()], [vec![] as Vec<String>, vec![]]);
}
