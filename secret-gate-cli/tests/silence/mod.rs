//! A machine whose user is not root, and a search that knows a value in all its forms.
//!
//! Only root can make another user, trace what can't be traced by its own user, and look into its memory. For anybody else
//! these tests are left out, and say so.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "in tests, a failure is a panic"
)]

pub mod look;
pub mod trace;

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use rand_core::{OsRng, RngCore as _};
use secret_gate_core::daemon::{Call, Verb};
use secret_gate_core::exec::Redactor;
use secret_gate_core::{Field, FieldKind, Item, MemoryBackend, SecretValue};
use ssh_key::private::{KeypairData, RsaPrivateKey};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::gated::Gated;
use crate::support::{Machine, Run, finish};

/// The programs that these tests need, with the Debian package of each.
const NEEDED: [(&str, &str); 6] = [
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("gdb", "gdb"),
    ("gcore", "gdb"),
    ("inotifywait", "inotify-tools"),
    ("python3", "python3"),
];

/// Whether these tests can be made here. Where CI is set, they must.
pub fn can_be_tried() -> bool {
    let missing = NEEDED.iter().find(|(program, _)| !Path::new("/usr/bin").join(program).exists());
    let problem = match missing {
        _ if !rustix::process::geteuid().is_root() => "needs to run as root, to be another user".to_owned(),
        Some((program, package)) => format!("{program} is missing, install it (Debian: {package})"),
        None => return true,
    };
    assert!(std::env::var_os("CI").is_none(), "{problem}");
    eprintln!("NOT TRIED: {problem}");
    false
}

/// A value that stands nowhere else, with characters that JSON and shells write in another way.
pub fn random_value() -> String {
    let mut bytes = [0; 12];
    OsRng.fill_bytes(&mut bytes);
    let text = HEXLOWER.encode(&bytes);
    let (first, second) = text.split_at(12);
    format!("v-{first}\"\\{second}/z")
}

/// An item `db` with this password, and `deploy-key` with this key.
pub fn vault(value: &str, key: &str) -> MemoryBackend {
    let item = |id: &str, title: &str, field: Field| Item::new(id, "v1", title).with_field(field);
    let password = Field::new("password", "password", FieldKind::concealed(), value);
    let key = Field::new("key", "private key", FieldKind::ssh_key(), key);
    let vault = MemoryBackend::new().with_vault("v1", "infra");
    vault.with_item(item("i1", "db", password)).with_item(item("i2", "deploy-key", key))
}

/// What a client sends to the daemon for this verb.
pub fn sent(verb: Verb) -> Vec<u8> {
    framed(0, &serde_json::to_vec(&Call::new(verb)).unwrap())
}

/// An opening with no descriptor, and a frame.
pub fn framed(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(content.len()).unwrap().to_be_bytes()[..], &[kind], content].concat()
}

/// Knows a value in all the forms that are redacted, and some others.
#[derive(Debug)]
pub struct Search {
    redactor: Redactor,
    exact: Vec<Vec<u8>>,
}

/// What stands for the value in a text of which the search makes one without it.
const FOUND: &[u8] = b"[redacted:the value that is looked for]";

impl Search {
    pub fn of(value: &str) -> Self {
        let escaped = serde_json::to_string(value).unwrap();
        let mut exact = vec![escaped.trim_matches('"').as_bytes().to_vec()];
        exact.extend(encodings(value.as_bytes()));
        Self::with(value, exact)
    }

    /// Of a key in OpenSSH's format, and of the numbers that are secret in it.
    pub fn of_key(pem: &str) -> Self {
        let key = ssh_key::PrivateKey::from_openssh(pem).unwrap();
        let secret = match key.key_data() {
            KeypairData::Ed25519(pair) => vec![pair.private.to_bytes().to_vec()],
            KeypairData::Rsa(pair) => {
                let RsaPrivateKey { d, p, q, .. } = &pair.private;
                [d, p, q].map(|number| number.as_positive_bytes().unwrap().to_vec()).to_vec()
            }
            KeypairData::Ecdsa(pair) => vec![pair.private_key_bytes().to_vec()],
            other => panic!("{other:?}"),
        };
        // the first line is the same of all keys
        let lines = pem.lines().filter(|line| !line.starts_with("---")).skip(1);
        let mut exact: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
        // a part of it would be as bad
        for number in secret {
            let parts = [&number[..], &number[..16], &number[number.len() - 16..]];
            exact.extend(parts.into_iter().flat_map(encodings));
        }
        Self::with(pem, exact)
    }

    fn with(value: &str, mut exact: Vec<Vec<u8>>) -> Self {
        exact.sort();
        exact.dedup();
        let redactor = Redactor::new([("the value that is looked for", &SecretValue::copy_of(value))]).unwrap();
        Self { redactor, exact }
    }

    /// Whether the value stands there in some form.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        holds(bytes, &self.exact) || holds(&self.redactor.redact(bytes), &[FOUND.to_vec()])
    }

    /// The forms that stand in memory as they are.
    pub fn exact(&self) -> &[Vec<u8>] {
        &self.exact
    }

    /// The files in this folder, however deep, that hold the value.
    pub fn in_files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                found.extend(self.in_files(&entry.path()));
            } else if kind.is_file() && self.finds(&fs::read(entry.path()).unwrap()) {
                found.push(entry.path());
            }
        }
        found
    }
}

fn holds(bytes: &[u8], texts: &[Vec<u8>]) -> bool {
    texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text))
}

fn encodings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
    let mut all = vec![bytes.to_vec(), reversed];
    all.extend([HEXLOWER.encode(bytes), HEXUPPER.encode(bytes)].map(String::into_bytes));
    for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
        for skipped in 0..3 {
            let encoded = encoding.encode(&[vec![0; skipped], bytes.to_vec()].concat());
            // less the characters that hold bits of what stands before and after
            all.push(encoded.as_bytes()[(skipped * 8).div_ceil(6)..(skipped + bytes.len()) * 8 / 6].to_vec());
        }
    }
    all
}

/// A user of their own on this machine, who asks through a daemon that ends with them.
pub struct Asker {
    machine: Machine,
    programs: TempDir,
    uid: u32,
}

impl Asker {
    pub fn of(gated: &Gated) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // of programs that run at once, each has others
        let uid = 20_000 + (std::process::id() * 16 + COUNT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let programs = TempDir::new().unwrap();
        fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).unwrap();
        // the folder that it was built in may be closed to others
        fs::copy(env!("CARGO_BIN_EXE_secret-gate"), programs.path().join("secret-gate")).unwrap();
        fs::write(programs.path().join("look.py"), include_str!("look.py")).unwrap();
        let machine = Machine::new();
        chown(machine.path(""), Some(uid), Some(uid)).unwrap();
        let folder = |name: &str| machine.path(name).to_str().unwrap().to_owned();
        let (run, temporary) = (folder("run"), folder("tmp"));
        let path = format!("{}:/usr/bin:/bin", folder("bin"));
        let machine = machine.with("XDG_RUNTIME_DIR", &run).with("TMPDIR", &temporary).with("PATH", &path);
        let asker = Self { machine: machine.with("SECRET_GATE_URL", &gated.url), programs, uid };
        ["run", "tmp", "bin", "secret-gate"].into_iter().for_each(|name| asker.make_folder(name));
        asker
    }

    /// The same with this in their environment.
    pub fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.machine = std::mem::replace(&mut self.machine, Machine::new()).with(variable, value);
        self
    }

    /// A place in their home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.machine.path(name)
    }

    /// A place that they may read and not write.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.path().join(name)
    }

    pub const fn uid(&self) -> u32 {
        self.uid
    }

    pub fn make_folder(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o700)).unwrap();
        chown(self.path(name), Some(self.uid), Some(self.uid)).unwrap();
    }

    /// Puts a file of theirs into their home folder.
    pub fn write(&self, name: &str, text: &str, mode: u32) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        chown(self.path(name), Some(self.uid), Some(self.uid)).unwrap();
    }

    /// A program that they run, by its path.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.command_under(&[], program)
    }

    /// The same, started by root through another program.
    pub fn command_under(&self, outer: &[&str], program: impl AsRef<OsStr>) -> Command {
        let user = [format!("--reuid={}", self.uid), format!("--regid={}", self.uid), "--clear-groups".to_owned()];
        let mut words = outer.iter().copied().chain(["/usr/bin/setpriv"]);
        let mut command = self.machine.command(words.next().unwrap());
        command.args(words).args(user).arg("--").arg(program).current_dir(self.path(""));
        command
    }

    /// Runs the client as them.
    pub async fn run(&self, args: &[&str]) -> Run {
        let mut command = self.command(self.program("secret-gate"));
        finish(command.args(args).spawn().unwrap()).await
    }

    /// Calls the daemon as another program of theirs would, and returns what it says.
    pub async fn call(&self, verb: Verb) -> String {
        let line = "import os, socket, sys\n\
                    daemon = socket.socket(socket.AF_UNIX)\n\
                    daemon.connect(os.environ['XDG_RUNTIME_DIR'] + '/secret-gate.sock')\n\
                    daemon.sendall(sys.stdin.buffer.read())\n\
                    while said := daemon.recv(65536): sys.stdout.write(said.decode(errors='replace'))";
        let mut command = self.command("/usr/bin/python3");
        let mut child = command.args(["-I", "-c", line]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&sent(verb)).await.unwrap();
        finish(child).await.out
    }

    /// The number of their daemon's process.
    pub async fn daemon(&self) -> u32 {
        let run = self.run(&["daemon", "status"]).await;
        let line = run.out.lines().find_map(|line| line.strip_prefix("PID: "));
        line.unwrap_or_else(|| panic!("{run:?}")).parse().unwrap()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        let mut stop = self.command(self.program("secret-gate"));
        stop.args(["daemon", "stop"]).stderr(Stdio::null()).as_std_mut().status().ok();
    }
}
