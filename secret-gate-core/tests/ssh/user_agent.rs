//! The caller's own agent, a real one.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use secret_gate_core::ssh::{AgentError, UserAgent};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};

use crate::support::{ed25519, keygen, parse, run, there_is};

const HOUR: Duration = Duration::from_secs(3600);

struct Running {
    folder: TempDir,
    _agent: Child,
}

impl Running {
    async fn new() -> Option<Self> {
        if !["ssh-agent", "ssh-add", "ssh-keygen"].into_iter().all(there_is) {
            return None;
        }
        let folder = TempDir::new().unwrap();
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(folder.path().join("agent"));
        let mut agent = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        // said once it listens
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut String::new()).await.unwrap();
        Some(Self { folder, _agent: agent })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    fn agent(&self) -> UserAgent {
        UserAgent::at(self.socket())
    }

    async fn ssh_add(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("ssh-add");
        command.args(arguments).env("SSH_AUTH_SOCK", self.socket()).stdin(Stdio::null());
        // answers when a password is asked for
        let answers = self.folder.path().join("answers");
        if !answers.exists() {
            std::fs::write(&answers, "#!/bin/sh\necho password\n").unwrap();
            std::fs::set_permissions(&answers, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        command.env("SSH_ASKPASS", answers).env("SSH_ASKPASS_REQUIRE", "force");
        let output = command.output().await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[tokio::test]
async fn a_real_agent_takes_every_kind_of_key_and_can_sign_with_it() {
    let Some(running) = Running::new().await else { return };
    let mut keys = vec![
        ed25519(),
        keygen(&["-t", "rsa", "-b", "2048", "-N", ""]),
        keygen(&["-t", "rsa", "-b", "3072", "-N", "", "-m", "PEM"]),
        keygen(&["-t", "ecdsa", "-b", "256", "-N", ""]),
        keygen(&["-t", "ecdsa", "-b", "384", "-N", "", "-m", "PKCS8"]),
    ];
    keys.extend((0..6).map(|_| keygen(&["-t", "ecdsa", "-b", "521", "-N", ""])));
    let agent = running.agent();
    for (n, text) in keys.iter().enumerate() {
        let key = parse(text);
        let comment = format!("infra/deploy-key {n}");
        agent.add(&key, &comment, HOUR).await.unwrap();
        let line = format!("{} {comment} ", key.public().fingerprint());
        let (_, listed) = running.ssh_add(&["-l"]).await;
        assert!(listed.contains(&line), "{line} in {listed}");
        let file = running.folder.path().join("key.pub");
        std::fs::write(&file, format!("{}\n", key.public())).unwrap();
        assert!(running.ssh_add(&["-T", file.to_str().unwrap()]).await.0, "it can't sign with {}", key.public());
        let known = agent.list().await.unwrap();
        assert_eq!(known.len(), n + 1);
        assert!(known.iter().any(|known| known.public == *key.public() && known.comment == comment));
    }
}

#[tokio::test]
async fn a_key_leaves_when_its_lifetime_ends_and_a_second_add_does_not_prolong_it() {
    let Some(running) = Running::new().await else { return };
    let (short, kept, renewed) = (parse(&ed25519()), parse(&ed25519()), parse(&ed25519()));
    let agent = running.agent();
    let began = Instant::now();
    agent.add(&short, "short", Duration::from_millis(1900)).await.unwrap();
    assert!(agent.add_if_absent(&kept, "kept", Duration::from_secs(2)).await.unwrap());
    assert!(!agent.add_if_absent(&kept, "kept", HOUR).await.unwrap(), "it is there");
    agent.add(&renewed, "renewed", Duration::from_secs(1)).await.unwrap();
    agent.add(&renewed, "renewed", HOUR).await.unwrap();
    assert_eq!(agent.list().await.unwrap().len(), 3);
    let comments = async || -> Vec<_> { agent.list().await.unwrap().into_iter().map(|key| key.comment).collect() };
    // an agent tells nobody when it forgets a key
    while comments().await.iter().any(|comment| comment == "kept") {
        assert!(began.elapsed() < Duration::from_secs(20), "the second add prolonged it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(comments().await, ["renewed"], "cut to whole seconds, and gone by now");
    assert!(!agent.remove(short.public()).await.unwrap());
    assert!(agent.add_if_absent(&kept, "kept", HOUR).await.unwrap(), "it had left");
}

#[tokio::test]
async fn a_key_is_removed_on_request_and_the_others_stay() {
    let Some(running) = Running::new().await else { return };
    let (one, two) = (parse(&ed25519()), parse(&ed25519()));
    let agent = running.agent();
    agent.add(&one, "one", HOUR).await.unwrap();
    agent.add(&two, "two", HOUR).await.unwrap();
    assert!(agent.remove(one.public()).await.unwrap());
    assert!(!agent.remove(one.public()).await.unwrap(), "it is gone");
    let left: Vec<_> = agent.list().await.unwrap().into_iter().map(|key| key.public).collect();
    assert_eq!(left, [two.public().clone()]);
    // twice at once: one of them does it
    let (first, second) = tokio::join!(agent.remove(two.public()), agent.remove(two.public()));
    assert_eq!(u8::from(first.unwrap()) + u8::from(second.unwrap()), 1);
}

#[tokio::test]
async fn comments_and_lifetimes_are_made_to_fit() {
    let Some(running) = Running::new().await else { return };
    let key = parse(&ed25519());
    let agent = running.agent();
    agent.add(&key, &format!("a\nb\u{1b}[31m ü🔑 {}", "x".repeat(100_000)), HOUR).await.unwrap();
    let comment = agent.list().await.unwrap().remove(0).comment;
    assert!(comment.starts_with("a b [31m ü🔑 xxx") && comment.chars().count() == 200, "{comment}");
    agent.add(&key, "", HOUR).await.unwrap();
    assert_eq!(agent.list().await.unwrap()[0].comment, "");
    for lifetime in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        assert!(matches!(agent.add(&key, "x", lifetime).await, Err(AgentError::Lifetime)));
    }
}

#[tokio::test]
async fn a_locked_agent_refuses_with_what_to_do() {
    let Some(running) = Running::new().await else { return };
    let key = parse(&ed25519());
    assert!(running.ssh_add(&["-x"]).await.0);
    let error = running.agent().add(&key, "x", HOUR).await.unwrap_err();
    assert!(matches!(error, AgentError::Refused { .. }) && error.to_string().contains("ssh-add -X"), "{error}");
    assert!(running.agent().list().await.unwrap().is_empty());
    assert!(running.ssh_add(&["-X"]).await.0);
    running.agent().add(&key, "x", HOUR).await.unwrap();
}

#[tokio::test]
async fn what_is_no_agent_is_said_to_be_none() {
    if !there_is("ssh-keygen") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let key = parse(&ed25519());
    let absent = UserAgent::at(folder.path().join("absent"));
    let error = absent.add(&key, "x", HOUR).await.unwrap_err();
    assert!(matches!(error, AgentError::Unreachable { .. }) && error.to_string().contains("ssh-agent"), "{error}");
    let socket = folder.path().join("other");
    let listener = UnixListener::bind(&socket).unwrap();
    for answer in [
        &b"HTTP/1.1 400 Bad Request"[..],
        &[0, 0, 0, 0],
        &[0, 0, 0, 3, 12, 0, 0],
        &[0, 0, 0, 9, 12, 0, 0, 0, 9, 0, 0, 0, 9],
    ] {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            stream.write_all(answer).await.unwrap();
        };
        let agent = UserAgent::at(&socket);
        let (_, listed) = tokio::join!(serve, agent.list());
        assert!(matches!(listed, Err(AgentError::Malformed { .. })), "{listed:?}");
    }
    // hangs up half-way
    let serve = async { drop(listener.accept().await.unwrap()) };
    let agent = UserAgent::at(&socket);
    let (_, listed) = tokio::join!(serve, agent.list());
    assert!(matches!(listed, Err(AgentError::Unreachable { .. })));
}

#[tokio::test]
async fn another_users_agent_gets_no_key() {
    if !["ssh-agent", "ssh-keygen", "setpriv"].into_iter().all(there_is) {
        return;
    }
    if run("id", &["-u"]).trim() != "0" {
        eprintln!("NOT TRIED: only root can start an agent as another user");
        return;
    }
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let socket = folder.path().join("agent");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "ssh-agent", "-D", "-a"]).arg(&socket);
    let mut agent = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut String::new()).await.unwrap();
    let error = UserAgent::at(&socket).add(&parse(&ed25519()), "x", HOUR).await.unwrap_err();
    assert!(matches!(error, AgentError::Stranger { .. }), "{error}");
}
