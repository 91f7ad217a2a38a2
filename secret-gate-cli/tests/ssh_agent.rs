//! The user's own ssh-agent, a real one: it has a key for as long as its approval lasts, and no longer.
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
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gated::{Gated, approving};
use rustix::process::{Pid, Signal, kill_process};
use secret_gate_core::daemon::{Answer, Event, OsText, SocketPath, Verb, Wish, call};
use secret_gate_core::wire::WantedSecret;
use secret_gate_core::{Decision, Field, FieldKind, Item, Keep, MemoryBackend, ScriptedApprover, Use};
use support::{Machine, finish};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};

/// Messages of the agent protocol.
const FAILURE: u8 = 5;
const REMOVE: u8 = 18;
const ADD_CONSTRAINED: u8 = 25;

const PATIENCE: Duration = Duration::from_secs(60);
const ASK: [&str; 4] = ["--secret", "deploy-key", "--reason", "deploy"];
const GET: [&str; 7] = ["get", "--secret", "deploy-key", "--field", "private key", "--reason", "copy"];

/// A real ssh-agent, and something in between that notes the lifetimes that keys are added with.
struct Agent {
    folder: tempfile::TempDir,
    lifetimes: Arc<Mutex<Vec<u32>>>,
    /// Makes it refuse to remove a key.
    keeps: Arc<AtomicBool>,
    _agent: Child,
}

impl Agent {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(folder.path().join("real"));
        let mut agent = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        // said once it listens
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut String::new()).await.unwrap();
        let listener = UnixListener::bind(folder.path().join("agent")).unwrap();
        let (lifetimes, keeps) = (Arc::default(), Arc::default());
        tokio::spawn(pass_on(listener, folder.path().join("real"), Arc::clone(&lifetimes), Arc::clone(&keeps)));
        Self { folder, lifetimes, keeps, _agent: agent }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    async fn ssh_add(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ssh-add");
        command.args(arguments).env("SSH_AUTH_SOCK", self.socket()).stdin(Stdio::null()).output().await.unwrap()
    }

    /// What `ssh-add -l` prints: a line for each key.
    async fn keys(&self) -> String {
        let listed = self.ssh_add(&["-l"]).await;
        assert!(matches!(listed.status.code(), Some(0 | 1)), "{listed:?}");
        let text = String::from_utf8(listed.stdout).unwrap();
        if listed.status.success() { text } else { String::new() }
    }

    /// Waits until it has no key.
    async fn is_empty(&self) {
        let empty = async {
            // an agent tells nobody when it forgets a key
            while !self.keys().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, empty).await.unwrap();
    }

    /// In seconds, for each time that a key was added.
    fn lifetimes(&self) -> Vec<u32> {
        self.lifetimes.lock().unwrap().clone()
    }
}

async fn pass_on(listener: UnixListener, to: PathBuf, lifetimes: Arc<Mutex<Vec<u32>>>, keeps: Arc<AtomicBool>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (to, lifetimes, keeps) = (to.clone(), Arc::clone(&lifetimes), Arc::clone(&keeps));
        tokio::spawn(async move {
            let mut far = UnixStream::connect(to).await.unwrap();
            while let Ok(message) = read(&mut near).await {
                if message[0] == ADD_CONSTRAINED {
                    // the lifetime is the last constraint
                    let (kind, seconds) = message[message.len() - 5..].split_at(1);
                    assert_eq!(kind, [1], "a lifetime");
                    lifetimes.lock().unwrap().push(u32::from_be_bytes(seconds.try_into().unwrap()));
                }
                if message[0] == REMOVE && keeps.load(Ordering::Relaxed) {
                    write(&mut near, &[FAILURE]).await;
                    continue;
                }
                write(&mut far, &message).await;
                let answer = read(&mut far).await.unwrap();
                write(&mut near, &answer).await;
            }
        });
    }
}

async fn read(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(stream: &mut UnixStream, message: &[u8]) {
    stream.write_u32(u32::try_from(message.len()).unwrap()).await.unwrap();
    stream.write_all(message).await.unwrap();
}

struct World {
    gated: Gated,
    agent: Agent,
    machine: Machine,
    key: String,
    fingerprint: String,
}

async fn world(human: ScriptedApprover) -> Option<World> {
    world_with(human, |key| key).await
}

/// A server with a key, in the form that `text` makes of it, and a machine that has an agent.
async fn world_with(human: ScriptedApprover, text: impl Fn(String) -> String) -> Option<World> {
    if !["ssh-agent", "ssh-add", "ssh-keygen", "openssl"].into_iter().all(sshd::there_is) {
        return None;
    }
    let key = sshd::ed25519();
    let fingerprint = sshd::parse(&key).public().fingerprint();
    let gated = Gated::with(human, &text(key.clone())).await;
    let agent = Agent::start().await;
    let machine = gated.machine().with("SSH_AUTH_SOCK", agent.socket().to_str().unwrap());
    let machine = machine.with("PATH", "/usr/bin:/bin");
    Some(World { gated, agent, machine, key, fingerprint })
}

impl World {
    async fn asks(&self, args: &[&str]) {
        let run = self.machine.run(args).await;
        assert!(run.code == 0 && run.out.contains("PRIVATE KEY") && !run.err.contains("warning"), "{args:?} {run:?}");
    }

    /// The key is in the agent.
    async fn has_key(&self) {
        let keys = self.agent.keys().await;
        let line = format!("{} secret-gate: deploy-key/private key (ED25519)", self.fingerprint);
        assert!(keys.lines().count() == 1 && keys.contains(&line), "{line} in {keys}");
    }

    /// The ids of what is held, oldest first.
    async fn grants(&self) -> Vec<String> {
        let all = self.machine.run(&["grants", "--format=json"]).await.out;
        let all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
        all.iter().map(|held| held["grant"]["id"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_key_is_added_once_for_what_is_left_of_its_approval() {
    let Some(world) = world(approving(1)).await else { return };
    world.asks(&ASK).await;
    world.has_key().await;
    let agent_signs = world.agent.folder.path().join("key.pub");
    std::fs::write(&agent_signs, format!("{}\n", sshd::parse(&world.key).public())).unwrap();
    let tried = world.agent.ssh_add(&["-T", agent_signs.to_str().unwrap()]).await;
    assert!(tried.status.success(), "it can't be used: {tried:?}");

    // what is held already prolongs nothing, also not for two at once
    world.asks(&ASK).await;
    let both = [world.machine.spawn(&GET), world.machine.spawn(&ASK)];
    for client in both {
        assert_eq!(finish(client).await.code, 0);
    }
    assert_eq!(world.gated.asked(), 1);
    let lifetimes = world.agent.lifetimes();
    assert!(matches!(lifetimes[..], [3480..=3600]), "{lifetimes:?}");

    // whoever removes it does not get it back under the same approval
    assert!(world.agent.ssh_add(&["-D"]).await.status.success());
    world.asks(&ASK).await;
    assert_eq!(world.agent.keys().await, "");
}

#[tokio::test]
async fn many_at_once_add_it_once() {
    let Some(world) = world(ScriptedApprover::new()).await else { return };
    let clients: Vec<_> = (0..10).map(|_| world.machine.spawn(&ASK)).collect();
    world.gated.human.asked(0).await.ballot.cast(Decision::approve("Ann")).await.unwrap();
    for client in clients {
        assert_eq!(finish(client).await.code, 0);
    }
    world.has_key().await;
    assert_eq!((world.gated.asked(), world.agent.lifetimes().len()), (1, 1));
}

#[tokio::test]
async fn it_leaves_when_its_approval_ends_whatever_uses_there_were() {
    let short = Decision::approve_for("Ann", Keep::For(Duration::from_secs(15)));
    let Some(world) = world(ScriptedApprover::new().then(short).then(Decision::deny("Ann"))).await else { return };
    world.asks(&ASK).await;
    // used until it has ended, which is when somebody is asked again
    let mut uses = 0;
    while world.machine.run(&ASK).await.code == 0 {
        uses += 1;
    }
    assert!(uses > 0 && world.gated.asked() == 2, "{uses}");
    world.agent.is_empty().await;
    assert!(matches!(world.agent.lifetimes()[..], [1..=15]), "{:?}", world.agent.lifetimes());
}

#[tokio::test]
async fn it_leaves_by_itself_when_the_daemon_was_killed() {
    let human = ScriptedApprover::new().then(Decision::approve_for("Ann", Keep::For(Duration::from_secs(15))));
    let Some(world) = world(human.then(Decision::approve("Ann"))).await else { return };
    world.asks(&ASK).await;
    kill_daemon(&world.machine).await;
    world.has_key().await;
    world.agent.is_empty().await;
}

#[tokio::test]
async fn what_a_killed_daemon_left_behind_gets_the_next_approvals_lifetime() {
    let Some(world) = world(approving(2)).await else { return };
    world.asks(&ASK).await;
    kill_daemon(&world.machine).await;
    world.asks(&ASK).await;
    assert_eq!(world.agent.lifetimes().len(), 2);
    assert_eq!(world.machine.run(&["revoke", "--all"]).await.code, 0);
    assert_eq!(world.agent.keys().await, "");
}

async fn kill_daemon(machine: &Machine) {
    let status = machine.run(&["daemon", "status"]).await.out;
    let pid = status.lines().find_map(|line| line.strip_prefix("PID: ")).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn revoke_flush_and_stop_take_it_out_before_they_say_so() {
    let Some(world) = world(approving(5)).await else { return };
    for end in [&["revoke", "--all"][..], &["daemon", "flush"], &["daemon", "stop"]] {
        world.asks(&ASK).await;
        world.has_key().await;
        let run = world.machine.run(end).await;
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(world.agent.keys().await, "", "{end:?}");
    }
    world.asks(&ASK).await;
    let id = world.grants().await.remove(0);
    assert_eq!(world.machine.run(&["revoke", &id]).await.code, 0);
    assert_eq!(world.agent.keys().await, "", "one of them");

    // a daemon that is told to end by a signal
    world.asks(&ASK).await;
    let status = world.machine.run(&["daemon", "status"]).await.out;
    let pid = status.lines().find_map(|line| line.strip_prefix("PID: ")).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    world.agent.is_empty().await;
}

#[tokio::test]
async fn the_servers_word_takes_it_out() {
    let Some(world) = world(approving(1)).await else { return };
    world.asks(&ASK).await;
    world.has_key().await;
    let id = world.gated.human.asked(0).await.question.id.clone();
    world.gated.gate.revoke(&id).await.unwrap();
    world.agent.is_empty().await;
}

#[tokio::test]
async fn under_two_approvals_it_stays_until_the_last_one_ends() {
    let longer = Decision::approve_for("Ann", Keep::For(Duration::from_secs(2 * 3600)));
    let Some(world) = world(approving(1).then(longer)).await else { return };
    world.asks(&GET).await;
    // wider, so it is asked for; it lasts longer
    world.asks(&ASK).await;
    assert_eq!((world.gated.asked(), world.agent.lifetimes().len()), (2, 2));
    let ids = world.grants().await;
    assert_eq!(world.machine.run(&["revoke", &ids[0]]).await.code, 0);
    world.has_key().await;
    world.asks(&["--secret", "deploy-key", "--vault", "infra"]).await;
    assert_eq!(world.gated.asked(), 2, "held");
    assert_eq!(world.machine.run(&["revoke", &ids[1]]).await.code, 0);
    assert_eq!(world.agent.keys().await, "");
}

#[tokio::test]
async fn one_agent_under_two_paths_is_one() {
    let Some(world) = world(approving(2)).await else { return };
    world.asks(&GET).await;
    let link = world.agent.folder.path().join("link");
    std::os::unix::fs::symlink(world.agent.socket(), &link).unwrap();
    let mut command = world.machine.command(env!("CARGO_BIN_EXE_secret-gate"));
    let run = command.args(ASK).env("SSH_AUTH_SOCK", link).output().await.unwrap();
    assert!(run.status.success() && world.gated.asked() == 2, "{run:?}");
    let ids = world.grants().await;
    assert_eq!(world.machine.run(&["revoke", &ids[0]]).await.code, 0);
    world.has_key().await;
    assert_eq!(world.machine.run(&["revoke", &ids[1]]).await.code, 0);
    assert_eq!(world.agent.keys().await, "");
}

#[tokio::test]
async fn the_shorter_of_two_approvals_does_not_get_the_longer_ones_lifetime() {
    let long = Decision::approve_for("Ann", Keep::For(Duration::from_secs(8 * 3600)));
    let Some(world) = world(approving(1).then(long)).await else { return };
    world.asks(&GET).await;
    world.asks(&ASK).await;
    let ids = world.grants().await;
    assert_eq!(world.machine.run(&["revoke", &ids[1]]).await.code, 0);
    assert_eq!(world.agent.keys().await, "");
    world.asks(&GET).await;
    world.has_key().await;
    assert_eq!(world.gated.asked(), 2);
    let lifetimes = world.agent.lifetimes();
    assert!(matches!(lifetimes[..], [3480..=3600, 28_680..=28_800, 3400..=3600]), "{lifetimes:?}");
}

#[tokio::test]
async fn a_key_that_the_user_added_is_left_alone() {
    let Some(world) = world(approving(1)).await else { return };
    let file = world.agent.folder.path().join("own");
    std::fs::write(&file, &world.key).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(world.agent.ssh_add(&[file.to_str().unwrap()]).await.status.success());
    let before = world.agent.keys().await;
    assert!(before.contains("a comment"), "{before}");
    world.asks(&ASK).await;
    assert_eq!(world.machine.run(&["revoke", "--all"]).await.code, 0);
    assert_eq!(world.agent.keys().await, before);
    assert_eq!(world.agent.lifetimes(), Vec::<u32>::new());
}

#[tokio::test]
async fn only_what_any_login_may_use_gets_there() {
    let human = ScriptedApprover::new().then(Decision::approve_for("Ann", Keep::Once));
    let Some(world) = world((0..4).fold(human, |human, _| human.then(Decision::approve("Ann")))).await else { return };
    world.asks(&ASK).await;
    assert_eq!(world.agent.keys().await, "", "one use can't be told to an agent");

    // an exact host, where nobody listens
    let target = "nobody@127.0.0.1";
    let run =
        world.machine.run(&["ssh", "--secret", "deploy-key", "--reason", "r", "--port", "9", target, "--", "id"]).await;
    assert_eq!(run.code, 255, "{run:?}");
    let key = ["--secret", "deploy-key", "--env", "K=private key", "--reason", "r"];
    let run = world.machine.run(&[&["exec"], &key[..], &["--any", "--", "true"]].concat()).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!((world.grants().await.len(), world.agent.keys().await), (2, String::new()));

    // any host, without reveal, as another program asks for it
    let wish = Wish {
        server: world.gated.url.parse::<secret_gate_core::client::ServerUrl>().unwrap().to_string(),
        secrets: vec![WantedSecret { secret_name: "deploy-key".into(), vault: None, fields: None }],
        intended_use: Use::any_host(),
        ssh_auth_sock: Some(OsText::from(world.agent.socket().into_os_string())),
        ..Wish::default()
    };
    let place = SocketPath::at(world.machine.path("secret-gate.sock")).unwrap();
    let mut answers = call(place.connect().await.unwrap(), Verb::Request(wish)).await.unwrap();
    let granted = loop {
        match answers.next().await.unwrap().unwrap() {
            Answer::Event(event) if matches!(*event, Event::Asked { .. }) => {}
            Answer::Event(event) => break event,
            other => assert!(matches!(other, Answer::Event(_))),
        }
    };
    assert!(matches!(*granted, Event::Granted(granted) if granted.notes.is_empty()));
    world.has_key().await;
}

#[tokio::test]
async fn nothing_is_added_where_the_configuration_says_so_or_for_a_secret_that_is_no_key() {
    let Some(world) = world(approving(2)).await else { return };
    assert_eq!(world.machine.run(&["--secret", "db", "--reason", "r"]).await.code, 0);
    std::fs::create_dir(world.machine.path("secret-gate")).unwrap();
    std::fs::write(world.machine.path("secret-gate/config.json"), r#"{"ssh_agent_integration": false}"#).unwrap();
    world.asks(&ASK).await;
    assert_eq!((world.agent.keys().await.as_str(), world.agent.lifetimes().len()), ("", 0));
    std::fs::remove_file(world.machine.path("secret-gate/config.json")).unwrap();
    world.asks(&ASK).await;
    world.has_key().await;
}

#[tokio::test]
async fn what_is_a_key_for_ssh_is_told_by_its_type_its_label_or_its_first_line() {
    if !["ssh-agent", "ssh-add", "ssh-keygen", "openssl"].into_iter().all(sshd::there_is) {
        return;
    }
    let pkcs8 = || sshd::run("openssl", &["genpkey", "-algorithm", "ed25519"]);
    let field = |label: &str, kind: FieldKind, value: &str| Field::new(label, label, kind, value);
    let item = Item::new("i1", "v1", "mixed")
        .with_field(field("typed", FieldKind::ssh_key(), &pkcs8()))
        .with_field(field("private_key", FieldKind::concealed(), &pkcs8()))
        .with_field(field("notes", FieldKind::text(), &format!("\n{}", sshd::ed25519())))
        // may be for TLS
        .with_field(field("certificate key", FieldKind::concealed(), &pkcs8()))
        .with_field(field("private key", FieldKind::text(), "hunter2"))
        .with_field(field("password", FieldKind::concealed(), "hunter2"));
    let vault = MemoryBackend::new().with_vault("v1", "infra").with_item(item);
    let gated = Gated::over(approving(1), vault).await;
    let agent = Agent::start().await;
    let machine = gated.machine().with("SSH_AUTH_SOCK", agent.socket().to_str().unwrap());
    let run = machine.run(&["--secret", "mixed", "--reason", "r"]).await;
    assert!(run.code == 0 && !run.err.contains("warning"), "{run:?}");
    let keys = agent.keys().await;
    for label in ["typed", "private_key", "notes"] {
        assert!(keys.contains(&format!(" secret-gate: mixed/{label} (ED25519)")), "{label} in {keys}");
    }
    assert_eq!(keys.lines().count(), 3, "{keys}");
    assert_eq!(machine.run(&["revoke", "--all"]).await.code, 0);
    assert_eq!(agent.keys().await, "");
}

#[tokio::test]
async fn a_key_in_another_format_is_converted_and_one_with_a_passphrase_is_said_to_have_one() {
    let file = |text: &str, change: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        sshd::run("ssh-keygen", &[&["-q", "-p", "-f", path.to_str().unwrap()], change].concat());
        std::fs::read_to_string(path).unwrap()
    };
    // as 1Password makes them; no `ssh-add` reads this
    let pkcs8 = |_: String| sshd::run("openssl", &["genpkey", "-algorithm", "ed25519"]);
    let Some(world) = world_with(approving(1), pkcs8).await else { return };
    world.asks(&ASK).await;
    let keys = world.agent.keys().await;
    assert!(keys.contains("deploy-key/private key (ED25519)"), "{keys}");

    let encrypted = |text: String| file(&text, &["-N", "correct horse"]);
    let Some(world) = world_with(approving(1), encrypted).await else { return };
    for _ in 0..2 {
        let run = world.machine.run(&ASK).await;
        assert!(run.code == 0 && run.out.contains("OPENSSH PRIVATE KEY"), "{run:?}");
        let warning = "warning: deploy-key/private key was not added to your ssh-agent: the key is encrypted with a \
                       passphrase: store it without one";
        assert!(run.err.contains(warning), "{run:?}");
    }
    assert_eq!(world.agent.keys().await, "");
}

#[tokio::test]
async fn an_agent_that_takes_no_key_costs_a_warning() {
    let Some(world) = world(approving(1)).await else { return };
    let folder = world.agent.folder.path();
    std::fs::write(folder.join("file"), "").unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("dead")).unwrap());
    let foreign = folder.join("foreign");
    let _listens = std::os::unix::net::UnixListener::bind(&foreign).unwrap();
    let is_root = std::os::unix::fs::chown(&foreign, Some(65534), None).is_ok();
    let deaf = folder.join("deaf");
    let hangs_up = std::os::unix::net::UnixListener::bind(&deaf).unwrap();
    std::thread::spawn(move || hangs_up.incoming().for_each(drop));

    let long = folder.join("x".repeat(300));
    let absent = folder.join("absent");
    let mut cases: Vec<(&Path, &str)> = vec![
        (&absent, "which can't be used: No such file"),
        (Path::new("/dev/null"), "which is no socket"),
        (folder, "which is no socket"),
        (&long, "which can't be used: File name too long"),
        (&deaf, "does not answer"),
    ];
    let (file, dead) = (folder.join("file"), folder.join("dead"));
    cases.extend([(&*file, "which is no socket"), (&*dead, "does not answer")]);
    if is_root {
        cases.push((&foreign, "which belongs to another user"));
    }
    for (socket, expected) in cases {
        let mut command = world.machine.command(env!("CARGO_BIN_EXE_secret-gate"));
        let run = finish(command.args(ASK).env("SSH_AUTH_SOCK", socket).spawn().unwrap()).await;
        assert!(run.code == 0 && run.out.contains("PRIVATE KEY"), "{socket:?} {run:?}");
        assert!(run.err.lines().last().unwrap().starts_with("warning: "), "{socket:?} {run:?}");
        assert!(run.err.contains("was not added to your ssh-agent: ") && run.err.contains(expected), "{run:?}");
    }
    // a relative path is the caller's, and the next try under the same approval adds it
    let mut command = world.machine.command(env!("CARGO_BIN_EXE_secret-gate"));
    command.args(ASK).env("SSH_AUTH_SOCK", "agent").current_dir(folder);
    let run = finish(command.spawn().unwrap()).await;
    assert!(run.code == 0 && !run.err.contains("warning"), "{run:?}");
    world.has_key().await;
    assert_eq!(world.gated.asked(), 1);
}

#[tokio::test]
async fn an_agent_that_never_answers_costs_a_warning() {
    let Some(world) = world(approving(1)).await else { return };
    let socket = world.agent.folder.path().join("silent");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut command = world.machine.command(env!("CARGO_BIN_EXE_secret-gate"));
    let run = finish(command.args(ASK).env("SSH_AUTH_SOCK", &socket).spawn().unwrap()).await;
    assert!(run.code == 0 && run.out.contains("PRIVATE KEY"), "{run:?}");
    assert!(run.err.contains("warning: deploy-key/private key is not in your ssh-agent yet"), "{run:?}");
    // it may have it by now
    let run = world.machine.run(&["revoke", "--all"]).await;
    assert_eq!((run.code, world.grants().await.len()), (1, 0), "{run:?}");
    assert!(run.err.contains("may stay in your ssh-agent"), "{run:?}");
}

#[tokio::test]
async fn a_locked_agent_costs_a_warning_that_says_how_to_unlock_it() {
    let Some(world) = world(approving(1)).await else { return };
    let askpass = world.agent.folder.path().join("askpass");
    std::fs::write(&askpass, "#!/bin/sh\necho password\n").unwrap();
    std::fs::set_permissions(&askpass, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut lock = Command::new("ssh-add");
    lock.arg("-x").env("SSH_AUTH_SOCK", world.agent.socket()).stdin(Stdio::null());
    lock.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
    assert!(lock.output().await.unwrap().status.success());
    let run = world.machine.run(&ASK).await;
    assert!(run.code == 0 && run.out.contains("PRIVATE KEY"), "{run:?}");
    assert!(run.err.contains("warning: ") && run.err.contains("ssh-add -X"), "{run:?}");
}

#[tokio::test]
async fn an_agent_that_keeps_a_key_is_told_of_when_the_approval_ends() {
    let Some(world) = world(approving(1)).await else { return };
    world.asks(&ASK).await;
    world.agent.keeps.store(true, Ordering::Relaxed);
    let run = world.machine.run(&["daemon", "flush"]).await;
    assert_eq!((run.code, world.grants().await.len()), (1, 0), "{run:?}");
    assert!(run.err.contains("may stay in your ssh-agent") && run.err.contains("ssh-add -D"), "{run:?}");
    world.has_key().await;
}
