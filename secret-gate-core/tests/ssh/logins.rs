//! Every kind of key in every format logs in with the real programs, and nowhere but where it was meant to.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use base64ct::Encoding as _;
use secret_gate_core::ssh::Login;

use crate::support::{Place, all_keys, ed25519, keygen, parse, said, was_refused};

#[tokio::test]
async fn every_key_logs_in() {
    let Some(place) = Place::new().await else { return };
    for (name, text) in all_keys() {
        let key = parse(&text);
        place.let_in(&[key.public().to_string()]);
        let agent = place.agent(&key);
        let login = place.login().with_command("id -un; exit 3").unwrap();
        println!("{name}");
        let output = place.ssh(&login, &agent, &[]).await;
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), place.user);
        let socket = agent.socket().to_owned();
        drop(agent);
        assert!(!socket.exists() && !socket.parent().unwrap().exists(), "the socket is left behind");
    }
    let known = fs::read_to_string(place.path("home/.ssh/known_hosts")).unwrap();
    assert_eq!(known.lines().count(), 1, "the host's key is kept where the user's are: {known}");
}

#[tokio::test]
async fn rsa_signs_with_the_hash_that_is_asked_for_and_never_with_sha_1() {
    let Some(place) = Place::new().await else { return };
    let key = parse(&keygen(&["-t", "rsa", "-b", "2048", "-N", ""]));
    place.let_in(&[key.public().to_string()]);
    let login = place.login().with_command("echo in").unwrap();
    for algorithm in ["rsa-sha2-256", "rsa-sha2-512"] {
        let agent = place.agent(&key);
        let output = place.ssh(&login, &agent, &["-v", "-o", &format!("PubkeyAcceptedAlgorithms={algorithm}")]).await;
        said(&output, "in");
    }
    let agent = place.agent(&key);
    let output = place.ssh(&login, &agent, &["-v", "-o", "PubkeyAcceptedAlgorithms=ssh-rsa"]).await;
    assert_eq!(output.status.code(), Some(255), "SHA-1 was signed with");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_key_lets_nobody_in() {
    let Some(place) = Place::new().await else { return };
    // the user's own keys: in the home, and named by the configuration
    let theirs = [("id_ed25519", ed25519()), ("id_work", ed25519())];
    let lines: Vec<_> = theirs.iter().map(|(_, text)| parse(text).public().to_string()).collect();
    for (name, text) in &theirs {
        let file = place.path("home/.ssh").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    place.write_config(&format!(
        "Host work\n HostName 127.0.0.1\n Port {}\n IdentityFile ~/.ssh/id_work\n IdentitiesOnly yes\n",
        place.port
    ));
    place.let_in(&lines);
    let key = parse(&ed25519());
    let agent = place.agent(&key);
    let login = place.login().with_command("echo in").unwrap();
    was_refused(&place.ssh(&login, &agent, &[]).await);
    let work = Login::parse("work").unwrap().with_command("echo in").unwrap();
    was_refused(&place.ssh(&work.clone().follow(&place.program()).await.unwrap(), &agent, &[]).await);
    let exact = work.resolve(&place.program()).await.unwrap();
    was_refused(&place.ssh(&Login::exactly(&exact).unwrap(), &agent, &[]).await);
    // and they do get in with a key that is known
    place.let_in(&[key.public().to_string()]);
    said(&place.ssh(&work.follow(&place.program()).await.unwrap(), &agent, &[]).await, "in");
}

#[tokio::test]
async fn a_configuration_does_not_redirect_an_exact_host() {
    let Some(place) = Place::new().await else { return };
    let key = parse(&ed25519());
    place.let_in(&[key.public().to_string()]);
    place.write_config(&format!("Host prod\n HostName 127.0.0.1\n Port {}\n User {}\n", place.port, place.user));
    let login = Login::parse("prod").unwrap().with_command("echo in").unwrap();
    let approved = login.resolve(&place.program()).await.unwrap();
    assert_eq!((approved.user.as_deref(), approved.port), (Some(place.user.as_str()), Some(place.port)));
    assert_eq!((approved.host.as_str(), approved.command.as_deref()), ("127.0.0.1", Some("echo in")));

    // changed after the approval
    let touched = place.path("touched");
    let included = format!("Match exec \"touch {0}\"\n ProxyCommand touch {0}\n Port 2\n", touched.display());
    fs::write(place.path("home/.ssh/included"), included).unwrap();
    place.write_config(&format!(
        "Include included\nHost *\n HostName nowhere.invalid\n Port 1\n User nobody\n ProxyCommand touch {0}\n LocalCommand touch {0}\n \
         PermitLocalCommand yes\n KnownHostsCommand /usr/bin/touch {0}\n RemoteCommand touch {0}\nMatch exec \"touch {0}\"\n",
        touched.display()
    ));
    let agent = place.agent(&key);
    said(&place.ssh(&Login::exactly(&approved).unwrap(), &agent, &[]).await, "in");
    assert!(!touched.exists(), "a command of the configuration was run");

    // it does redirect a login that follows it, so the change is one that counts
    let login = place.login().follow(&place.program()).await.unwrap();
    assert!(touched.exists(), "Match exec is run by ssh -G itself");
    fs::remove_file(&touched).unwrap();
    let output = place.ssh(&login, &agent, &[]).await;
    assert!(!output.status.success() && touched.exists());
}

#[tokio::test]
async fn a_login_that_is_not_exact_follows_the_configuration_there() {
    let Some(place) = Place::new().await else { return };
    let (key, jump) = (parse(&ed25519()), ed25519());
    let file = place.path("home/.ssh/id_jump");
    fs::write(&file, &jump).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let common = format!(" HostName 127.0.0.1\n Port {}\n User {}\n HostKeyAlias one\n", place.port, place.user);
    place.write_config(&format!(
        "Host prod\n{common} ProxyJump bastion\nHost far\n{common} ProxyJump bastion,bastion\n\
         Host piped\n{common} ProxyCommand ssh -W '[%h]:%p' \"bastion\" 2>/dev/null | cat\n\
         Host bastion\n{common} IdentityFile ~/.ssh/id_jump\n StrictHostKeyChecking accept-new\n"
    ));
    place.let_in(&[key.public().to_string(), parse(&jump).public().to_string()]);
    let agent = place.agent(&key);
    for host in ["prod", "far", "piped"] {
        let login = Login::parse(host).unwrap().with_command("echo in").unwrap();
        let output = place.ssh(&login.follow(&place.program()).await.unwrap(), &agent, &["-v"]).await;
        said(&output, "in");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("(via proxy)") && stderr.contains("bastion"), "{stderr}");
    }
    let known = fs::read_to_string(place.path("home/.ssh/known_hosts")).unwrap();
    assert_eq!(known.lines().count(), 1, "under its alias: {known}");
}

#[tokio::test]
async fn the_command_and_its_exit_code_pass_through_as_they_are() {
    let Some(place) = Place::new().await else { return };
    let key = parse(&ed25519());
    place.let_in(&[key.public().to_string()]);
    let agent = place.agent(&key);
    let login = |command: &str| place.login().with_command(command).unwrap();
    said(&place.ssh(&login("printf '%s|' 'a  b' \"$((1+1))\" 'ü🔑'"), &agent, &[]).await, "a  b|2|ü🔑|");
    assert_eq!(place.ssh(&login("exit 7"), &agent, &[]).await.status.code(), Some(7));
    // what begins with - after the host is a command for the other side, not an option for ssh
    let touched = place.path("touched");
    let option = format!(" -oProxyCommand='touch {}'", touched.display());
    let output = place.ssh(&login(&option), &agent, &[]).await;
    assert_eq!(output.status.code(), Some(127), "not a command there: {output:?}");
    assert!(!touched.exists());
    let exact = login("echo one; echo two").resolve(&place.program()).await.unwrap();
    said(&place.ssh(&Login::exactly(&exact).unwrap(), &agent, &[]).await, "one\ntwo");
}

#[tokio::test]
async fn the_key_is_in_no_file() {
    let Some(place) = Place::new().await else { return };
    let began = SystemTime::now();
    let text = ed25519();
    let key = parse(&text);
    place.let_in(&[key.public().to_string()]);
    let agent = place.agent(&key);
    let mut ssh = place.start(&place.login().with_command("echo in; cat").unwrap(), &agent, &[]);
    let mut line = [0; 3];
    tokio::io::AsyncReadExt::read_exact(ssh.stdout.as_mut().unwrap(), &mut line).await.unwrap();

    // while the session stands, and after it
    let needles = needles(&text);
    let folders = [place.path(""), std::env::home_dir().unwrap(), "/run".into(), "/dev/shm".into()];
    let search = || folders.iter().flat_map(|folder| found(folder, &needles, began)).collect::<Vec<_>>();
    assert_eq!(search(), Vec::<String>::new());
    fs::write(place.path("keys/planted"), &text).unwrap();
    assert_eq!(search().len(), 1, "the search finds a key that is there");
    fs::remove_file(place.path("keys/planted")).unwrap();
    drop(ssh.stdin.take());
    assert!(ssh.wait().await.unwrap().success());
    drop(agent);
    assert_eq!(search(), Vec::<String>::new());
    assert_eq!(fs::read_dir(place.path("run")).unwrap().count(), 0);
}

/// The body's lines, and the seed itself.
fn needles(text: &str) -> Vec<Vec<u8>> {
    let body: Vec<_> = text.lines().filter(|line| !line.starts_with("---")).collect();
    let bytes = base64ct::Base64::decode_vec(&body.concat()).unwrap();
    let public = &bytes[62..94];
    let last = bytes.windows(32).rposition(|part| part == public).unwrap();
    let mut needles: Vec<_> = body[1..].iter().map(|line| line.as_bytes().to_vec()).collect();
    needles.push(bytes[last - 32..last].to_vec());
    needles
}

/// Files written since that hold one of these.
fn found(folder: &Path, needles: &[Vec<u8>], since: SystemTime) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(about) = entry.metadata() else { continue };
        let name = entry.file_name();
        if about.is_dir() && ![".cargo", ".rustup", "target", "node_modules"].iter().any(|other| name == *other) {
            files.extend(found(&entry.path(), needles, since));
        } else if about.is_file() && about.len() < 64 << 20 && about.modified().is_ok_and(|at| at >= since) {
            let Ok(content) = fs::read(entry.path()) else { continue };
            if needles.iter().any(|needle| content.windows(needle.len()).any(|part| part == needle)) {
                files.push(entry.path().display().to_string());
            }
        }
    }
    files
}
