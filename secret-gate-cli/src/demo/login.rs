//! A throwaway `sshd` on loopback, where this machine has one.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somewhere to log in; gone when this is dropped.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) port: u16,
    _sshd: Child,
}

impl Login {
    /// Lets in who has this key, as the user who runs the demo. Says why where that can't be.
    pub(super) async fn start(folder: &Path, key: &str) -> Result<Self, String> {
        let sshd = find("sshd").ok_or("there is no sshd on this machine")?;
        let ssh = find("ssh").ok_or("there is no ssh on this machine")?;
        let user = user().await.ok_or("the user's name can't be told")?;
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|port| port.local_addr());
        let port = free.map_err(|error| error.to_string())?.port();
        write(folder, &ssh, key, port).map_err(|error| error.to_string())?;

        let mut sshd = Command::new(sshd);
        sshd.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        sshd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut sshd = sshd.spawn().map_err(|error| error.to_string())?;
        let mut lines = BufReader::new(sshd.stderr.take().ok_or("sshd says nothing")?).lines();
        let listens = async {
            let mut last = String::new();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("Server listening") {
                    return Ok(());
                }
                last = line;
            }
            Err(last)
        };
        match tokio::time::timeout(PATIENCE, listens).await {
            Ok(Ok(())) => {}
            Ok(Err(last)) => return Err(format!("sshd does not start: {}", last.trim())),
            Err(_) => return Err("sshd does not start in time".to_owned()),
        }
        // read on, so that it never waits for its log to be read
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { user, port, _sshd: sshd })
    }
}

/// Keys and settings of the `sshd`, and an `ssh` that remembers it in this folder instead of the user's own file.
fn write(folder: &Path, ssh: &Path, key: &str, port: u16) -> std::io::Result<()> {
    let host_key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).and_then(|key| key.to_openssh(LineEnding::LF));
    let put = |name: &str, text: &str, mode: u32| {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
    };
    put("host_key", &host_key.map_err(std::io::Error::other)?, 0o600)?;
    put("authorized_keys", &format!("{key}\n"), 0o600)?;
    let at = folder.display();
    let settings = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/authorized_keys\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n\
         PrintMotd no\n"
    );
    put("sshd_config", &settings, 0o600)?;
    std::fs::create_dir_all(folder.join("bin"))?;
    let remembers = format!("-o UserKnownHostsFile='{at}/known_hosts' -o GlobalKnownHostsFile=/dev/null");
    put("bin/ssh", &format!("#!/bin/sh\nexec '{}' {remembers} \"$@\"\n", ssh.display()), 0o700)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    let usual = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    folders.chain(usual).map(|folder| folder.join(program)).find(|path| path.is_file())
}

async fn user() -> Option<String> {
    let output = Command::new("id").arg("-un").stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !name.is_empty()).then_some(name)
}
