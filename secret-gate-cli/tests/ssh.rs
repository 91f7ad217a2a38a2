//! `ssh`: a real login at a real sshd, with a key that lies in no file.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests, a failure is a panic")]

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

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gated::{Gated, approving};
use secret_gate_core::daemon::{Answer, Event, FailureKind, OsText, SocketPath, Ssh, Verb, Wish, call};
use secret_gate_core::wire::WantedSecret;
use secret_gate_core::{Decision, ExactHost, Field, FieldKind, Item, MemoryBackend, Scope, ScriptedApprover, Use};
use sshd::Place;
use support::{Machine, Run, finish, said};
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;

/// A server with a key, a place that lets it in, and a machine whose `ssh` takes the place's home for the user's.
async fn world(human: ScriptedApprover) -> Option<(Gated, Place, Machine, String)> {
    let place = Place::new().await?;
    let key = sshd::ed25519();
    place.let_in(&[sshd::parse(&key).public().to_string()]);
    let gated = Gated::with(human, &key).await;
    let machine = machine(&gated, &place);
    Some((gated, place, machine, key))
}

/// A server with these keys, each in an item of its own that is called as it is.
async fn gated_with(human: ScriptedApprover, keys: &[(&str, String)]) -> Gated {
    let vault =
        keys.iter().enumerate().fold(MemoryBackend::new().with_vault("v1", "infra"), |vault, (n, (name, key))| {
            let key = Field::new("private_key", "private key", FieldKind::ssh_key(), key.as_str());
            vault.with_item(Item::new(format!("i{n}"), "v1", *name).with_field(key))
        });
    Gated::over(human, vault).await
}

fn machine(gated: &Gated, place: &Place) -> Machine {
    let machine = gated.machine();
    let program = place.program();
    let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin exec '{}' \"$@\"\n", program.display());
    std::fs::create_dir(machine.path("bin")).unwrap();
    std::fs::write(machine.path("bin/ssh"), script).unwrap();
    std::fs::set_permissions(machine.path("bin/ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let path = format!("{}:/usr/bin:/bin", machine.path("bin").display());
    machine.with("PATH", &path)
}

/// Logs in at the place with the key of this item.
async fn log_in(machine: &Machine, place: &Place, item: &str, command: &str) -> Run {
    finish(session(machine, place, item, command, Stdio::null())).await
}

fn session(machine: &Machine, place: &Place, item: &str, command: &str, input: Stdio) -> Child {
    let (target, port) = (format!("{}@127.0.0.1", place.user), place.port.to_string());
    let args = ["ssh", "--secret", item, "--reason", "deploy", "--port", &port, &target, "--", command];
    machine.spawn_at(input, &args)
}

/// Waits until it has written this to its standard output.
async fn wrote(child: &mut Child, expected: &str) {
    let mut text = vec![0; expected.len()];
    let read = child.stdout.as_mut().unwrap().read_exact(&mut text);
    tokio::time::timeout(Duration::from_secs(60), read).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[tokio::test]
async fn a_key_logs_in_and_lies_in_no_file() {
    let Some((gated, place, machine, _)) = world(approving(1).then(Decision::deny("Ann"))).await else { return };
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
}

#[tokio::test]
async fn every_key_logs_in_and_lies_in_no_file_meanwhile_or_later() {
    let Some(place) = Place::new().await else { return };
    let began = place.path("began");
    std::fs::write(&began, "").unwrap();
    let keys = sshd::all_keys();
    let lines: Vec<_> = keys.iter().map(|(_, key)| sshd::parse(key).public().to_string()).collect();
    place.let_in(&lines);
    let gated = gated_with(approving(keys.len()), &keys).await;
    let machine = machine(&gated, &place);
    let near = [machine.path(""), place.path(""), "/dev/shm".into()];
    for (name, key) in &keys {
        println!("{name}");
        let mut ssh = session(&machine, &place, name, "id -un; cat; exit 3", Stdio::piped());
        wrote(&mut ssh, &format!("{}\n", place.user)).await;
        assert_eq!(files_with(&needles(key), &near, &began), Vec::<PathBuf>::new(), "{name}");
        drop(ssh.stdin.take());
        let run = finish(ssh).await;
        assert_eq!((run.code, run.out.as_str()), (3, ""), "{run:?}");
    }
    let needles: Vec<_> = keys.iter().flat_map(|(_, key)| needles(key)).collect();
    let home = std::env::home_dir().unwrap();
    let folders = [std::env::temp_dir(), home, "/run".into(), "/dev/shm".into(), "/var/tmp".into()];
    assert_eq!(files_with(&needles, &folders, &began), Vec::<PathBuf>::new());
    // the search finds what is there
    for (name, key) in &keys {
        std::fs::write(place.path("keys/planted"), format!("text before\n{key}")).unwrap();
        let found = files_with(&self::needles(key), &near, &began);
        assert_eq!(found, [place.path("keys/planted")], "{name}");
    }
    assert_eq!(gated.asked(), keys.len());
}

/// Lines of a key that no other text has.
fn needles(key: &str) -> Vec<String> {
    let body: Vec<_> = key.lines().filter(|line| line.len() >= 32 && !line.starts_with("---")).collect();
    // the first one may tell no more than what it is
    body[usize::from(body.len() > 1)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Files in these folders, written since, that hold one of these lines.
fn files_with(needles: &[String], folders: &[PathBuf], since: &Path) -> Vec<PathBuf> {
    let mut find = std::process::Command::new("find");
    find.args(folders).args(["(", "-name", "target", "-o", "-name", ".cargo", "-o", "-name", ".rustup", ")", "-prune"]);
    find.args(["-o", "-type", "f", "-size", "-65536k", "-newer"]).arg(since);
    // the public halves, which are no secret
    find.args(["!", "-name", "authorized_keys", "-exec", "grep", "-slFa"]);
    find.args(needles.iter().flat_map(|needle| ["-e", needle]));
    // files of others come and go meanwhile
    let found = find.args(["{}", "+"]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(PathBuf::from).collect()
}

#[tokio::test]
async fn a_key_that_can_not_be_used_is_said_to_be_why() {
    let Some(place) = Place::new().await else { return };
    let mut keys = sshd::encrypted_keys();
    let encrypted = keys.len();
    keys.push(("no key", "hunter2".into()));
    keys.push(("cut off", sshd::ed25519()[..200].to_owned()));
    keys.push(("public", sshd::parse(&sshd::ed25519()).public().to_string()));
    keys.push(("huge", "x".repeat(60_000)));
    let gated = gated_with(approving(keys.len()), &keys).await;
    let machine = machine(&gated, &place);
    for (n, (name, key)) in keys.iter().enumerate() {
        let run = log_in(&machine, &place, name, "true").await;
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{name}: {run:?}");
        let error = run.err.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains(&format!("{name}/private key can't be used as an SSH key: ")), "{error}");
        let what_to_do = match *name {
            _ if n < encrypted => "encrypted with a passphrase: store it without one (ssh-keygen -p",
            "no key" => "not a private key: a line like -----BEGIN",
            "cut off" => "damaged: it may be cut off, store it again",
            "public" => "this is a public key: the private key is needed",
            _ => "longer than any key for ssh",
        };
        assert!(error.contains(what_to_do), "{name}: {error}");
        for line in key.lines().filter(|line| !line.is_empty() && !line.starts_with("---")) {
            assert!(!run.err.contains(line), "{name} is shown");
        }
    }
}

#[tokio::test]
async fn a_stranger_sees_no_key_while_ssh_runs() {
    let Some((_gated, place, machine, key)) = world(approving(1)).await else { return };
    let mut ssh = session(&machine, &place, "deploy-key", "echo in; cat", Stdio::piped());
    wrote(&mut ssh, "in\n").await;
    let sockets = std::process::Command::new("find").arg(machine.path("")).args(["-type", "s"]).output().unwrap();
    let sockets = String::from_utf8(sockets.stdout).unwrap();
    let sockets: Vec<_> = sockets.lines().filter(|path| !path.ends_with("secret-gate.sock")).collect();
    assert_eq!(sockets.len(), 1, "the private agent's: {sockets:?}");
    let public = machine.path("key.pub");
    std::fs::write(&public, format!("{}\n", sshd::parse(&key).public())).unwrap();
    for stranger in [&["-l"][..], &["-L"], &["-T", public.to_str().unwrap()], &["-D"], &["-x"]] {
        let mut ssh_add = std::process::Command::new("ssh-add");
        ssh_add.args(stranger).env("SSH_AUTH_SOCK", sockets[0]).stdin(Stdio::null());
        let output = ssh_add.env("SSH_ASKPASS", "/bin/echo").env("SSH_ASKPASS_REQUIRE", "force").output().unwrap();
        let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && !shown.contains("SHA256:"), "{stranger:?}: {shown}");
        let body = key.lines().nth(2).unwrap();
        assert!(!shown.contains("AAAAC3NzaC1lZDI1NTE5") && !shown.contains(body), "{stranger:?}: {shown}");
    }
    // nor does another ssh get in with it
    let mut other = std::process::Command::new(place.program());
    let port = place.port.to_string();
    other.args(["-oBatchMode=yes", "-oStrictHostKeyChecking=no", "-p", &port, "-l", &place.user, "127.0.0.1", "id"]);
    let other = other.env("SSH_AUTH_SOCK", sockets[0]).output().unwrap();
    let complaint = String::from_utf8_lossy(&other.stderr);
    assert!(other.status.code() == Some(255) && complaint.contains("Permission denied"), "{complaint}");
    drop(ssh.stdin.take());
    assert_eq!(finish(ssh).await.code, 0);
    assert!(!Path::new(sockets[0]).exists(), "the socket is left behind");
}

#[tokio::test]
async fn a_configuration_that_changes_before_the_approval_redirects_nothing() {
    let Some((gated, place, machine, _)) = world(ScriptedApprover::new()).await else { return };
    let common = format!("HostName 127.0.0.1\n Port {}\n User {}\n", place.port, place.user);
    place.write_config(&format!("Host prod\n {common}"));
    let mut ssh = machine.spawn(&["ssh", "--secret", "deploy-key", "--reason", "r", "prod", "--", "echo in"]);
    said(&mut ssh, "waiting for the approval").await;
    let asked = gated.human.asked(0).await;
    let Some(Use { ssh: Some(Scope::Exact(host)), .. }) = asked.question.intended_use.clone() else {
        unreachable!("{asked:?}")
    };
    assert_eq!(
        (host.host.as_str(), host.port, host.user.as_deref()),
        ("127.0.0.1", Some(place.port), Some(&*place.user))
    );

    let touched = machine.path("touched");
    let touch = format!("touch {}", touched.display());
    let redirect = format!(
        "Match exec \"{touch}\"\nHost *\n HostName nowhere.invalid\n Port 1\n User nobody\n ProxyCommand {touch}\n \
         KnownHostsCommand {touch}\n PermitLocalCommand yes\n LocalCommand {touch}\n"
    );
    std::fs::write(place.path("home/.ssh/included"), &redirect).unwrap();
    place.write_config(&format!("Include included\n{redirect}"));
    asked.ballot.cast(Decision::approve("Ann")).await.unwrap();
    let run = finish(ssh).await;
    assert_eq!((run.code, run.out.as_str()), (0, "in\n"), "{run:?}");
    assert!(!touched.exists(), "a command of the configuration was run");

    // whoever logs in by that name from now on asks for something else, and is shown as that
    let mut again = machine.spawn(&["ssh", "--secret", "deploy-key", "--reason", "r", "prod", "--", "echo in"]);
    said(&mut again, "waiting for the approval").await;
    assert!(touched.exists(), "Match exec is run by ssh -G itself");
    let question = gated.human.asked(1).await.question;
    let Some(Use { ssh: Some(Scope::Exact(host)), .. }) = question.intended_use.clone() else {
        unreachable!("{question:?}")
    };
    assert_eq!((host.host.as_str(), host.port), ("nowhere.invalid", Some(1)));
}

#[tokio::test]
async fn output_comes_as_it_is_written_and_input_goes_there() {
    let Some((_gated, place, machine, _)) = world(approving(2)).await else { return };
    let command = "printf 'one\\rtwo\\r'; printf 'to stderr' >&2; cat; exit 7";
    let mut ssh = session(&machine, &place, "deploy-key", command, Stdio::piped());
    // before the command has ended, and without a line's end
    wrote(&mut ssh, "one\rtwo\r").await;
    let mut input = ssh.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, &[0, 0xff, b'\r', b'\n', b'x']).await.unwrap();
    let mut echoed = [0; 5];
    let read = ssh.stdout.as_mut().unwrap().read_exact(&mut echoed);
    tokio::time::timeout(Duration::from_secs(60), read).await.unwrap().unwrap();
    assert_eq!(echoed, [0, 0xff, b'\r', b'\n', b'x']);
    drop(input);
    let run = finish(ssh).await;
    assert_eq!((run.code, run.out.as_str()), (7, ""), "{run:?}");
    assert!(run.err.contains("to stderr"), "{run:?}");

    let run = log_in(&machine, &place, "deploy-key", "head -c 5000000 /dev/zero | tr '\\0' x; kill -9 $$").await;
    assert_eq!(run.out.len(), 5_000_000);
    assert_eq!(run.code, 255, "as ssh tells of a command that a signal ended");
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_said_by_ssh_itself() {
    let Some((_gated, place, machine, _)) = world(approving(6)).await else { return };
    let known_hosts = place.path("home/.ssh/known_hosts");
    let fails = async |target: &str, port: u16, words: &[&str]| {
        let port = port.to_string();
        let args = ["ssh", "--secret", "deploy-key", "--reason", "r", "--port", &port, target, "--", "echo in"];
        let run = machine.run(&args).await;
        assert_eq!((run.code, run.out.as_str()), (255, ""), "{run:?}");
        for word in words {
            assert!(run.err.contains(word), "{word}: {run:?}");
        }
    };
    let here = format!("{}@127.0.0.1", place.user);
    // nobody listens on a port that was just given back
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fails(&here, closed, &["Connection refused", &format!("port {closed}")]).await;
    fails("nobody@host.invalid", place.port, &["Could not resolve hostname host.invalid"]).await;
    assert_eq!(log_in(&machine, &place, "deploy-key", "echo in").await.out, "in\n");

    // the host has another key than the one that is known
    let other = sshd::parse(&sshd::ed25519()).public().to_string();
    std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {other}\n", place.port)).unwrap();
    let changed = ["REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "known_hosts"];
    fails(&here, place.port, &changed).await;
    assert!(std::fs::read_to_string(&known_hosts).unwrap().contains(&other), "what is known stays");
    // as ssh tells to do
    std::fs::remove_file(&known_hosts).unwrap();
    assert_eq!(log_in(&machine, &place, "deploy-key", "echo in").await.out, "in\n");

    // the server does not know the key, and nobody is asked for a password
    place.let_in(&[other]);
    fails(&here, place.port, &["Permission denied (publickey"]).await;
}

#[tokio::test]
async fn what_is_no_host_is_refused_before_anybody_is_asked() {
    let Some((gated, place, machine, _)) = world(ScriptedApprover::new()).await else { return };
    let touched = machine.path("touched");
    let proxy = format!("-oProxyCommand=touch {}", touched.display());
    let huge = "x".repeat(100_000);
    let bad = [
        proxy.as_str(),
        &format!("user@{proxy}"),
        &format!("host;touch {}", touched.display()),
        &format!("$(touch {})", touched.display()),
        "host;cmd",
        "user@host -v",
        "-v",
        "a@b@c",
        "host\nx",
        "host\r",
        "hóst",
        "hоst",
        "ho\u{200b}st",
        "host\u{202e}",
        "🔑",
        "::1%eth0",
        "10.7",
        "",
        &huge,
    ];
    for target in bad {
        let run = machine.run(&["ssh", "--secret", "deploy-key", "--reason", "r", "--", target]).await;
        assert_eq!(run.code, 2, "{target}: {run:?}");
        let run = machine.run(&["ssh", "--secret", "deploy-key", "--reason", "r", target, "--", "true"]).await;
        assert_eq!(run.code, 2, "{target}: {run:?}");
    }
    let no_key = machine.run(&["ssh", "--secret", "db", "--reason", "r", &format!("{}@127.0.0.1", place.user)]).await;
    assert_eq!(no_key.code, 5, "{no_key:?}");
    assert!(!touched.exists() && gated.asked() == 0);

    // nor does the daemon take it from another program that has an approval for any host
    let asks = ["--secret", "deploy-key", "--reason", "r"];
    drop(gated.human.clone().then(Decision::approve("Ann")));
    assert_eq!(machine.run(&asks).await.code, 0);
    for target in bad {
        for exactly in [false, true] {
            let said = daemon_says(&gated, &machine, target, exactly).await;
            let Event::Failed(failure) = said else { unreachable!("{target}: {said:?}") };
            let refused = [FailureKind::Invalid, FailureKind::Failed, FailureKind::NotGranted];
            assert!(refused.contains(&failure.kind) && !failure.message.contains("touch"), "{target}: {failure:?}");
        }
    }
    assert!(!touched.exists() && gated.asked() == 1);
}

/// How the daemon answers to a login, by an approval of any host or of exactly this one.
async fn daemon_says(gated: &Gated, machine: &Machine, target: &str, exactly: bool) -> Event {
    let text = |text: &str| OsText::Text(text.to_owned());
    let wish = Wish {
        server: gated.url.parse::<secret_gate_core::client::ServerUrl>().unwrap().to_string(),
        secrets: vec![WantedSecret { secret_name: "deploy-key".into(), vault: None, fields: None }],
        intended_use: if exactly { Use::host(ExactHost::new(target)) } else { Use::any_host() },
        only_held: true,
        ..Wish::default()
    };
    let login = Ssh {
        wish,
        field: None,
        target: target.to_owned(),
        port: None,
        command: Some("true".into()),
        working_dir: text("/"),
        env: vec![(text("PATH"), text("/usr/bin:/bin"))],
        timeout_ms: Some(60_000),
        output_limit: None,
    };
    let place = SocketPath::at(machine.path("secret-gate.sock")).unwrap();
    let mut answers = call(place.connect().await.unwrap(), Verb::Ssh(login)).await.unwrap();
    match tokio::time::timeout(Duration::from_secs(60), answers.next()).await.unwrap().unwrap().unwrap() {
        Answer::Event(event) => *event,
        other => unreachable!("{other:?}"),
    }
}
