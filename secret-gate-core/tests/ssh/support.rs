//! A real `sshd` and what it takes to log in there.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use secret_gate_core::SecretValue;
use secret_gate_core::ssh::{Login, PrivateAgent, SshKey};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Whether a program is there. One that isn't makes the test fail where CI is set, and is said to be missing elsewhere.
pub(crate) fn there_is(program: &str) -> bool {
    let found = find(program).is_some();
    if !found {
        let hint = "Debian: openssh-server openssh-client openssl libnss-wrapper";
        assert!(std::env::var_os("CI").is_none(), "{program} is needed ({hint})");
        eprintln!("NOT TRIED: {program} is missing, install it ({hint})");
    }
    found
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/usr/lib"].map(PathBuf::from));
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    folders.chain(libraries).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// A folder that only this user may enter, as a runtime folder is.
pub(crate) fn private_folder(path: &Path) -> PathBuf {
    fs::DirBuilder::new().mode(0o700).create(path).unwrap();
    path.to_owned()
}

/// Runs a program to its end and gives what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn user() -> String {
    run("id", &["-un"]).trim().to_owned()
}

/// A new key, as `ssh-keygen` writes it. Its files are gone when this returns.
pub(crate) fn keygen(arguments: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    run("ssh-keygen", &[&["-q", "-C", "a comment", "-f", file.to_str().unwrap()], arguments].concat());
    fs::read_to_string(file).unwrap()
}

pub(crate) fn ed25519() -> String {
    keygen(&["-t", "ed25519", "-N", ""])
}

/// A new key of each kind in each format that vaults have them in.
pub(crate) fn all_keys() -> Vec<(&'static str, String)> {
    let ssh_keygen = |kind: &str, bits: &str| keygen(&["-t", kind, "-b", bits, "-N", ""]);
    let genpkey = |arguments: &[&str]| run("openssl", &[&["genpkey", "-algorithm"], arguments].concat());
    let genrsa = |bits: &str| run("openssl", &["genrsa", "-traditional", bits]);
    let rsa = |bits: &str| genpkey(&["RSA", "-pkeyopt", &format!("rsa_keygen_bits:{bits}")]);
    let ec = |curve: &str| genpkey(&["EC", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")]);
    let ecparam = |curve: &str| run("openssl", &["ecparam", "-name", curve, "-genkey", "-noout"]);
    vec![
        ("Ed25519, OpenSSH", ed25519()),
        ("Ed25519, PKCS#8", genpkey(&["ed25519"])),
        ("RSA 2048, OpenSSH", ssh_keygen("rsa", "2048")),
        ("RSA 2048, PKCS#8", rsa("2048")),
        ("RSA 2048, PKCS#1", genrsa("2048")),
        ("RSA 3072, OpenSSH", ssh_keygen("rsa", "3072")),
        ("RSA 3072, PKCS#8", rsa("3072")),
        ("RSA 3072, PKCS#1", genrsa("3072")),
        ("P-256, OpenSSH", ssh_keygen("ecdsa", "256")),
        ("P-256, PKCS#8", ec("P-256")),
        // with the curve's parameters before it, as openssl writes them unless told otherwise
        ("P-256, SEC1", run("openssl", &["ecparam", "-name", "prime256v1", "-genkey"])),
        ("P-384, OpenSSH", ssh_keygen("ecdsa", "384")),
        ("P-384, PKCS#8", ec("P-384")),
        ("P-384, SEC1", ecparam("secp384r1")),
        ("P-521, OpenSSH", ssh_keygen("ecdsa", "521")),
        ("P-521, PKCS#8", ec("P-521")),
        ("P-521, SEC1", ecparam("secp521r1")),
    ]
}

/// A new key of each format that knows passphrases, with one.
pub(crate) fn encrypted_keys() -> Vec<(&'static str, String)> {
    let phrase = ["-N", "correct horse"];
    let aes = |arguments: &[&str]| run("openssl", &[arguments, &["-aes256", "-pass", "pass:correct horse"]].concat());
    let genrsa = ["genrsa", "-traditional", "-aes256", "-passout", "pass:correct horse", "2048"];
    vec![
        ("Ed25519, OpenSSH", keygen(&[&["-t", "ed25519"], &phrase[..]].concat())),
        ("RSA, OpenSSH", keygen(&[&["-t", "rsa"], &phrase[..]].concat())),
        ("RSA, Proc-Type", keygen(&[&["-t", "rsa", "-m", "PEM"], &phrase[..]].concat())),
        ("ECDSA, Proc-Type", keygen(&[&["-t", "ecdsa", "-m", "PEM"], &phrase[..]].concat())),
        ("RSA, PKCS#8", keygen(&[&["-t", "rsa", "-m", "PKCS8"], &phrase[..]].concat())),
        ("Ed25519, PKCS#8", aes(&["genpkey", "-algorithm", "ed25519"])),
        ("P-256, PKCS#8", aes(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])),
        ("RSA, Proc-Type, by openssl", run("openssl", &genrsa)),
    ]
}

pub(crate) fn parse(text: &str) -> Arc<SshKey> {
    Arc::new(SshKey::parse(&SecretValue::from(text)).unwrap())
}

/// An `sshd` on loopback, and a home that the programs take for the user's own.
pub(crate) struct Place {
    folder: TempDir,
    sshd: Child,
    pub(crate) port: u16,
    pub(crate) user: String,
}

impl Place {
    pub(crate) async fn new() -> Option<Self> {
        let needed = ["ssh", "sshd", "ssh-keygen", "ssh-add", "ssh-agent", "openssl", "libnss_wrapper.so"];
        if !needed.into_iter().all(there_is) {
            return None;
        }
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        for name in ["home", "home/.ssh", "run", "keys"] {
            private_folder(&folder.path().join(name));
        }
        let user = user();
        let [uid, gid] = ["-u", "-g"].map(|of| run("id", &[of]).trim().to_owned());
        let home = folder.path().join("home");
        let line = format!("{user}:x:{uid}:{gid}::{}:/bin/sh\n", home.display());
        fs::write(folder.path().join("passwd"), line).unwrap();
        fs::write(folder.path().join("group"), format!("{user}:x:{gid}:\n")).unwrap();
        // `ssh` looks its home up and does not read HOME, so the look-up has to give another one
        let program = folder.path().join("ssh");
        let wrapper = format!(
            "#!/bin/sh\nexport LD_PRELOAD='{}' NSS_WRAPPER_PASSWD='{at}/passwd' NSS_WRAPPER_GROUP='{at}/group'\nexec ssh \"$@\"\n",
            find("libnss_wrapper.so").unwrap().display(),
            at = folder.path().display(),
        );
        fs::write(&program, wrapper).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.path().join("host_key"), ed25519()).unwrap();
        fs::set_permissions(folder.path().join("host_key"), fs::Permissions::from_mode(0o600)).unwrap();
        let (sshd, port) = start_sshd(folder.path()).await;
        Some(Self { folder, sshd, port, user })
    }

    /// The `ssh` to use: the real one, with the home of this place.
    pub(crate) fn program(&self) -> PathBuf {
        self.path("ssh")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write_config(&self, text: &str) {
        fs::write(self.path("home/.ssh/config"), text).unwrap();
    }

    /// Lets in who has one of these keys, and nobody else.
    pub(crate) fn let_in(&self, lines: &[String]) {
        fs::write(self.path("authorized_keys"), lines.join("\n") + "\n").unwrap();
    }

    pub(crate) fn agent(&self, key: &Arc<SshKey>) -> PrivateAgent {
        PrivateAgent::start_in(&self.path("run"), Arc::clone(key)).unwrap()
    }

    pub(crate) fn login(&self) -> Login {
        Login::parse(&format!("{}@127.0.0.1", self.user)).unwrap().with_port(self.port).unwrap()
    }

    /// Starts `ssh`, and names it to the agent.
    pub(crate) fn start(&self, login: &Login, agent: &PrivateAgent, more: &[&str]) -> Child {
        let mut command = Command::new(self.program());
        command.args(more).args(login.arguments(agent.socket())).env_remove("SSH_AUTH_SOCK");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().unwrap();
        // the wrapper becomes `ssh`, with the same number
        agent.allow(child.id().unwrap());
        child
    }

    pub(crate) async fn ssh(&self, login: &Login, agent: &PrivateAgent, more: &[&str]) -> Output {
        let mut child = self.start(login, agent, more);
        drop(child.stdin.take());
        child.wait_with_output().await.unwrap()
    }
}

/// Logged in and did what it was asked to.
pub(crate) fn said(output: &Output, expected: &str) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.trim() == expected, "{stdout}\n{stderr}");
}

/// Was turned away for want of a key.
pub(crate) fn was_refused(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(255) && stderr.contains("Permission denied"), "{stderr}");
}

async fn start_sshd(folder: &Path) -> (Child, u16) {
    if run("id", &["-u"]).trim() == "0" {
        // where Debian's start script makes it
        fs::create_dir_all("/run/sshd").unwrap();
    }
    for _ in 0..10 {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = folder.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n\
             MaxStartups 100\nLogLevel VERBOSE\n"
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        let mut sshd = Command::new(find("sshd").unwrap())
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(sshd.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("Server listening") {
                // read on, so that it never waits for its log to be read
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return (sshd, port);
            }
            log.push(line);
        }
        assert!(log.iter().any(|line| line.contains("in use")), "sshd does not start: {log:#?}");
    }
    panic!("no free port for sshd");
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sshd.start_kill().ok();
    }
}
