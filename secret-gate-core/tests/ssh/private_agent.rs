//! The private agent: one process has the key, everybody else hears no.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rsa::signature::Verifier as _;
use secret_gate_core::ssh::{AgentError, PrivateAgent, SshKey};
use ssh_key::{PublicKey, Signature};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::support::{Place, ed25519, keygen, parse, private_folder, said, there_is};

const FAILURE: u8 = 5;
const IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

fn agent_with(key: &Arc<SshKey>) -> (TempDir, PrivateAgent) {
    let folder = TempDir::new().unwrap();
    let agent = PrivateAgent::start_in(&private_folder(&folder.path().join("run")), Arc::clone(key)).unwrap();
    (folder, agent)
}

/// An agent that this process may use.
fn ours(key: &Arc<SshKey>) -> (TempDir, PrivateAgent) {
    let (folder, agent) = agent_with(key);
    agent.allow(std::process::id());
    (folder, agent)
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn blob(key: &SshKey) -> Vec<u8> {
    PublicKey::from_openssh(&key.public().to_string()).unwrap().to_bytes().unwrap()
}

/// What a client signs to log in.
fn login_data(key: &SshKey, method: &str, more: &[u8]) -> Vec<u8> {
    let algorithm = key.public().algorithm().as_bytes();
    [&string(&[7; 32])[..], &[50], &string(b"deploy"), &string(b"ssh-connection"), &string(method.as_bytes()), &[1]]
        .concat()
        .into_iter()
        .chain([string(algorithm), string(&blob(key)), more.to_vec()].concat())
        .collect()
}

fn sign_request(key: &SshKey, data: &[u8], flags: u32) -> Vec<u8> {
    [&[SIGN][..], &string(&blob(key)), &string(data), &flags.to_be_bytes()].concat()
}

/// Sends a message and reads one; `None` where the agent hangs up instead.
async fn exchange(stream: &mut UnixStream, message: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(&string(message)).await.ok()?;
    let length = stream.read_u32().await.ok()?;
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.ok()?;
    Some(answer)
}

async fn ask(agent: &PrivateAgent, message: &[u8]) -> Option<Vec<u8>> {
    exchange(&mut UnixStream::connect(agent.socket()).await.unwrap(), message).await
}

async fn hangs_up(stream: &mut UnixStream) -> bool {
    matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

fn ssh_add(agent: &Path) -> Command {
    let mut command = Command::new("ssh-add");
    command.arg("-l").env("SSH_AUTH_SOCK", agent).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn saw_no_key(output: &std::process::Output, key: &SshKey) {
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && !shown.contains("SHA256:"), "{shown}");
    assert!(!shown.contains(&key.public().fingerprint()), "{shown}");
}

#[tokio::test]
async fn a_stranger_sees_no_key_before_ssh_while_it_runs_or_after_it() {
    let Some(place) = Place::new().await else { return };
    let key = parse(&ed25519());
    place.let_in(&[key.public().to_string()]);
    let agent = place.agent(&key);
    let early = ssh_add(agent.socket()).spawn().unwrap();
    let own = UnixStream::connect(agent.socket()).await.unwrap();
    let mut ssh = place.start(&place.login().with_command("echo in; cat").unwrap(), &agent, &[]);
    let mut line = [0; 3];
    ssh.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
    saw_no_key(&early.wait_with_output().await.unwrap(), &key);
    saw_no_key(&ssh_add(agent.socket()).output().await.unwrap(), &key);
    let mut own = own;
    assert_eq!(
        exchange(&mut own, &[IDENTITIES]).await,
        Some(vec![FAILURE]),
        "the process that made it is a stranger too"
    );
    assert_eq!(ask(&agent, &sign_request(&key, &login_data(&key, "publickey", b""), 0)).await, Some(vec![FAILURE]));
    drop(ssh.stdin.take());
    assert!(ssh.wait().await.unwrap().success());
    saw_no_key(&ssh_add(agent.socket()).output().await.unwrap(), &key);
}

#[tokio::test]
async fn a_crowd_of_strangers_does_not_keep_ssh_out() {
    let Some(place) = Place::new().await else { return };
    let key = parse(&ed25519());
    place.let_in(&[key.public().to_string()]);
    let agent = place.agent(&key);
    let login = place.login().with_command("echo in").unwrap();
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(UnixStream::connect(agent.socket()).await.unwrap());
    }
    said(&place.ssh(&login, &agent, &[]).await, "in");
    drop(crowd);
    said(&place.ssh(&login, &agent, &[]).await, "in");
}

#[tokio::test]
async fn two_logins_at_once_each_have_their_own_key() {
    let Some(place) = Place::new().await else { return };
    let keys = [parse(&ed25519()), parse(&ed25519())];
    let lines: Vec<_> =
        keys.iter().zip(["one", "two"]).map(|(key, n)| format!("command=\"echo {n}\" {}", key.public())).collect();
    place.let_in(&lines);
    let agents = keys.each_ref().map(|key| place.agent(key));
    let login = place.login();
    let (one, two) = tokio::join!(place.ssh(&login, &agents[0], &[]), place.ssh(&login, &agents[1], &[]));
    said(&one, "one");
    said(&two, "two");
}

#[tokio::test]
async fn lists_and_signs_logins_and_does_nothing_else() {
    if !there_is("ssh-keygen") {
        return;
    }
    for (arguments, flags) in [
        (&["-t", "ed25519", "-N", ""][..], 0),
        (&["-t", "ecdsa", "-b", "256", "-N", ""], 0),
        (&["-t", "ecdsa", "-b", "384", "-N", ""], 0),
        (&["-t", "ecdsa", "-b", "521", "-N", ""], 0),
        (&["-t", "rsa", "-b", "2048", "-N", ""], RSA_SHA2_256),
        (&["-t", "rsa", "-b", "2048", "-N", ""], RSA_SHA2_512),
    ] {
        let key = parse(&keygen(arguments));
        let (_folder, agent) = ours(&key);
        let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
        let expected = [&[IDENTITIES_ANSWER, 0, 0, 0, 1][..], &string(&blob(&key)), &string(b"secret-gate")].concat();
        assert_eq!(exchange(&mut stream, &[IDENTITIES]).await, Some(expected));

        let public = PublicKey::from_openssh(&key.public().to_string()).unwrap();
        for data in [
            login_data(&key, "publickey", b""),
            login_data(&key, "publickey-hostbound-v00@openssh.com", &string(b"host key")),
        ] {
            let answer = exchange(&mut stream, &sign_request(&key, &data, flags)).await.unwrap();
            assert_eq!(answer[0], SIGN_RESPONSE);
            let signature = Signature::try_from(&answer[5..]).unwrap();
            public.key_data().verify(&data, &signature).unwrap();
            let expected = match flags {
                RSA_SHA2_256 => "rsa-sha2-256",
                RSA_SHA2_512 => "rsa-sha2-512",
                _ => key.public().algorithm(),
            };
            assert_eq!(signature.algorithm().as_str(), expected);
        }

        let other = parse(&ed25519());
        let login = login_data(&key, "publickey", b"");
        let unsigned =
            [&string(&[7; 32])[..], &[50], &string(b"deploy"), &string(b"ssh-connection"), &string(b"publickey")]
                .concat();
        let refused = [
            sign_request(&key, b"", flags),
            sign_request(&key, b"SSHSIG\0\0\0\x04file", flags),
            sign_request(&key, &login[..login.len() - 1], flags),
            sign_request(&key, &[&login[..], b"x"].concat(), flags),
            sign_request(&key, &login_data(&key, "hostbased", b""), flags),
            sign_request(&key, &login_data(&other, "publickey", b""), flags),
            sign_request(&key, &unsigned, flags),
            sign_request(&other, &login_data(&other, "publickey", b""), 0),
            [sign_request(&key, &login, flags), vec![0]].concat(),
            vec![SIGN],
            vec![IDENTITIES, 0],
            [&[17][..], &string(b"ssh-ed25519")].concat(), // add
            [&[18][..], &string(&blob(&key))].concat(),    // remove
            vec![19],                                      // remove all
            [&[20][..], &string(b"/lib/x.so")].concat(),   // add a smart card
            [&[22][..], &string(b"x")].concat(),           // lock
            vec![25],
            [&[27][..], &string(b"session-bind@openssh.com")].concat(),
            vec![0],
            vec![255; 100],
        ];
        for message in refused {
            assert_eq!(exchange(&mut stream, &message).await, Some(vec![FAILURE]), "{message:?}");
        }
        if flags != 0 {
            assert_eq!(exchange(&mut stream, &sign_request(&key, &login, 0)).await, Some(vec![FAILURE]), "SHA-1");
        }
        assert_eq!(exchange(&mut stream, &sign_request(&key, &login, flags)).await.unwrap()[0], SIGN_RESPONSE);
    }
}

#[tokio::test]
async fn garbage_and_huge_messages_end_their_connection_and_nothing_else() {
    if !there_is("ssh-keygen") {
        return;
    }
    let key = parse(&ed25519());
    let (_folder, agent) = ours(&key);
    for bytes in [
        &[0, 0, 0, 0][..],
        &[0xff; 4],
        &[0, 4, 0, 1],
        b"GET / HTTP/1.1\r\n\r\n",
        "\u{1f511}\u{1f511}".as_bytes(),
        &[0xff; 1 << 20],
    ] {
        let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
        // it may hang up before all of it is written
        stream.write_all(bytes).await.ok();
        assert!(hangs_up(&mut stream).await);
    }
    // the largest message that is read, and one that breaks off
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    assert_eq!(exchange(&mut stream, &vec![SIGN; 256 * 1024]).await, Some(vec![FAILURE]));
    stream.write_all(&[0, 0, 0, 9, SIGN]).await.unwrap();
    drop(stream);
    assert_eq!(ask(&agent, &[IDENTITIES]).await.unwrap()[0], IDENTITIES_ANSWER);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    if !there_is("ssh-keygen") {
        return;
    }
    let key = parse(&ed25519());
    let (_folder, agent) = agent_with(&key);
    let began = Instant::now();
    let mut early = UnixStream::connect(agent.socket()).await.unwrap();
    assert!(hangs_up(&mut early).await, "nobody was named, and it says nothing");
    agent.allow(std::process::id());
    let mut silent = UnixStream::connect(agent.socket()).await.unwrap();
    assert!(hangs_up(&mut silent).await);
    let mut half = UnixStream::connect(agent.socket()).await.unwrap();
    half.write_all(&[0, 0, 0, 9, SIGN]).await.unwrap();
    assert!(hangs_up(&mut half).await);
    // asks and takes no answers
    let mut deaf = UnixStream::connect(agent.socket()).await.unwrap();
    while deaf.write_all(&string(&[IDENTITIES])).await.is_ok() {}
    assert!(began.elapsed() < Duration::from_secs(240), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_process_that_has_ended_is_nobody() {
    if !there_is("ssh-keygen") {
        return;
    }
    let key = parse(&ed25519());
    let (_folder, agent) = agent_with(&key);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    agent.allow(child.id());
    assert_eq!(ask(&agent, &[IDENTITIES]).await, Some(vec![FAILURE]));
    for pid in [0, u32::MAX, i32::MAX as u32] {
        agent.allow(pid);
        assert_eq!(ask(&agent, &[IDENTITIES]).await, Some(vec![FAILURE]), "{pid}");
    }
    agent.allow(std::process::id());
    assert_eq!(ask(&agent, &[IDENTITIES]).await.unwrap()[0], IDENTITIES_ANSWER);
}

#[tokio::test]
async fn dropping_it_ends_connections_and_removes_the_socket() {
    if !there_is("ssh-keygen") {
        return;
    }
    let key = parse(&ed25519());
    let (folder, agent) = ours(&key);
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    assert_eq!(exchange(&mut stream, &[IDENTITIES]).await.unwrap()[0], IDENTITIES_ANSWER);
    assert_eq!(fs::metadata(agent.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(agent.socket().parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    drop(agent);
    assert!(timeout(Duration::from_secs(20), hangs_up(&mut stream)).await.unwrap());
    assert_eq!(fs::read_dir(folder.path().join("run")).unwrap().count(), 0);
    // and the key is let go
    let began = Instant::now();
    while Arc::strong_count(&key) > 1 {
        assert!(began.elapsed() < Duration::from_secs(20), "the key is kept");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_folder_that_others_can_enter_is_refused() {
    if !there_is("ssh-keygen") {
        return;
    }
    let key = parse(&ed25519());
    let folder = TempDir::new().unwrap();
    let run = private_folder(&folder.path().join("run"));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&run, &link).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused =
        |path: &Path| matches!(PrivateAgent::start_in(path, Arc::clone(&key)), Err(AgentError::Folder { .. }));
    assert!(refused(&link) && refused(&file) && refused(Path::new("/")) && refused(Path::new("run")));
    assert!(refused(&folder.path().join("absent")) && refused(Path::new("")));
    for mode in [0o755, 0o710, 0o701, 0o770] {
        fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&run), "{mode:o}");
    }
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    drop(PrivateAgent::start_in(&run, Arc::clone(&key)).unwrap());
    let deep = private_folder(&run.join("x".repeat(120)));
    assert!(matches!(PrivateAgent::start_in(&deep, Arc::clone(&key)), Err(AgentError::Socket { .. })));
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 0, "nothing is left behind");
}

/// Runs itself again, since a test can't change its own environment.
#[tokio::test]
async fn starts_under_xdg_runtime_dir() {
    const INSIDE: &str = "SECRET_GATE_TEST_INSIDE";
    if !there_is("ssh-keygen") {
        return;
    }
    if std::env::var_os(INSIDE).is_some() {
        let agent = PrivateAgent::start(parse(&ed25519())).unwrap();
        let folder = std::env::var("XDG_RUNTIME_DIR").unwrap();
        assert!(agent.socket().starts_with(folder));
        return;
    }
    let folder = TempDir::new().unwrap();
    let run = private_folder(&folder.path().join("run"));
    let again = async |xdg: &Path| {
        let name = "private_agent::starts_under_xdg_runtime_dir";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name]).env(INSIDE, "1").env("XDG_RUNTIME_DIR", xdg);
        command.output().await.unwrap().status.success()
    };
    assert!(again(&run).await);
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    assert!(!again(Path::new("")).await && !again(Path::new("/")).await);
}
