//! `install.sh` in temporary homes, against our own server and others on loopback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests, a failure is a panic")]
#![expect(clippy::print_stderr, reason = "what is left out is said")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use secret_gate_core::{Gate, MemoryBackend, ScriptedApprover};
use secret_gate_server::Server;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Command;

/// The client as it is handed out: a copy that stays as it is while the tests run, small where it can be made so.
static CLIENT: LazyLock<PathBuf> = LazyLock::new(|| {
    let built = env!("CARGO_BIN_EXE_secret-gate");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("handed-out");
    let strip = std::process::Command::new("strip").arg("-o").arg(&copy).arg(built).status();
    if !strip.is_ok_and(|status| status.success()) {
        fs::copy(built, &copy).unwrap();
    }
    copy
});
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../install.sh");

/// What the script uses beside a downloader, and what a shell has built in.
const TOOLS: [&str; 15] = [
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "mkdir",
    "mktemp",
    "mv",
    "od",
    "rm",
    "sed",
    "sha256sum",
    "tr",
    "uname",
    "wc",
];

/// A home with two agents, the script, and only those programs that a test gives it.
struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
    shell: Vec<PathBuf>,
}

#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Home {
    /// A home with a name that scripts stumble over, on a machine with this downloader.
    fn with(downloader: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Self { folder, variables: Vec::new(), shell: vec![found("sh").unwrap()] };
        for folder in [".claude", ".codex", "tmp", "tools", "down load's"] {
            fs::create_dir_all(home.path(folder)).unwrap();
        }
        fs::copy(SCRIPT, home.path("down load's/install.sh")).unwrap();
        for tool in TOOLS {
            home.give(tool, &found(tool).unwrap());
        }
        match downloader {
            "curl" | "wget" => home.give(downloader, &found(downloader).unwrap()),
            "busybox" => home.give("wget", &found("busybox").unwrap()),
            _ => {}
        }
        home
    }

    fn give(&self, name: &str, program: &Path) {
        symlink(program, self.path("tools").join(name)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("hö me").join(name)
    }

    fn client(&self) -> PathBuf {
        self.path(".local/bin/secret-gate")
    }

    async fn run(&self, args: &[&str]) -> Run {
        self.run_at(&self.path("down load's/install.sh"), args).await
    }

    async fn run_at(&self, script: &Path, args: &[&str]) -> Run {
        let mut command = self.command();
        command.arg(script).args(args);
        ended(command.stdin(Stdio::null()).spawn().unwrap()).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.shell[0]);
        command
            .args(&self.shell[1..])
            .env_clear()
            .env("HOME", self.path(""))
            .env("PATH", self.path("tools"))
            .env("TMPDIR", self.path("tmp"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path("down load's"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Whether nothing was installed, set up or left behind.
    fn is_untouched(&self) -> bool {
        let is_empty = |name: &str| fs::read_dir(self.path(name)).map_or(true, |mut folder| folder.next().is_none());
        [".local/bin", ".claude", ".codex", "tmp"].into_iter().all(is_empty)
            && !self.path(".config").exists()
            && !self.path(".claude.json").exists()
    }

    /// Checks that everything is in place.
    fn check(&self, server: Option<&str>) {
        assert_eq!(fs::read(self.client()).unwrap(), fs::read(&*CLIENT).unwrap());
        assert_eq!(fs::metadata(self.client()).unwrap().permissions().mode() & 0o777, 0o755);
        let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap() };
        let entry = &json(".claude.json")["mcpServers"]["secret-gate"];
        assert_eq!(entry["command"], self.client().to_str().unwrap());
        assert_eq!(json(".claude/settings.json")["permissions"]["allow"][0], "mcp__secret-gate__*");
        let codex = fs::read_to_string(self.path(".codex/config.toml")).unwrap();
        assert!(codex.contains("[mcp_servers.secret-gate]"), "{codex}");
        for skills in [".claude/skills", ".agents/skills"] {
            assert!(self.path(skills).join("secret-gate/SKILL.md").exists());
        }
        let config = self.path(".config/secret-gate/config.json");
        match server {
            Some(url) => assert_eq!(json(".config/secret-gate/config.json")["server_url"], url),
            None => assert!(!config.exists()),
        }
        assert!(fs::read_dir(self.path("tmp")).unwrap().next().is_none(), "something was left behind");
        assert_eq!(fs::read_dir(self.path(".local/bin")).unwrap().count(), 1);
    }
}

async fn ended(child: tokio::process::Child) -> Run {
    let output = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await.unwrap().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Run { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Where a program is on this machine.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// The downloaders that are here. Where tests have to be complete, all have to be.
fn downloaders() -> Vec<&'static str> {
    let (here, missing): (Vec<_>, Vec<_>) =
        ["curl", "wget", "busybox"].into_iter().partition(|name| found(name).is_some());
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "{missing:?} needed");
    if !missing.is_empty() {
        eprintln!("LEFT OUT: install {missing:?} to try them");
    }
    here
}

fn sum(path: impl AsRef<Path>) -> String {
    let output = std::process::Command::new("sha256sum").arg(path.as_ref()).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// The name under which a server has the client for this machine.
fn name() -> String {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    format!("client-{os}-{arch}")
}

/// Our own server, which hands out what is in this folder.
async fn serving(clients: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gate = Gate::builder(Arc::new(MemoryBackend::new()), Arc::new(ScriptedApprover::new())).build();
    tokio::spawn(Server::new(gate, &url).client_dir(clients).serve(listener, std::future::pending()));
    url
}

/// Our own server, which hands out these bytes as the client.
async fn handing_out(folder: &tempfile::TempDir, client: &[u8]) -> String {
    fs::write(folder.path().join(name()), client).unwrap();
    serving(folder.path()).await
}

/// Our own server with the real client.
async fn with_client(folder: &tempfile::TempDir) -> String {
    symlink(&*CLIENT, folder.path().join(name())).unwrap();
    serving(folder.path()).await
}

/// A server that answers each call with this, whatever it asks for, and hangs up.
async fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut call = Vec::new();
            while !call.ends_with(b"\r\n\r\n") && connection.read_buf(&mut call).await.unwrap_or(0) > 0 {}
            connection.write_all(&answer).await.ok();
            connection.shutdown().await.ok();
        }
    });
    url
}

#[tokio::test]
async fn everything_is_in_place_with_each_downloader_and_a_second_time() {
    let clients = tempfile::tempdir().unwrap();
    let url = with_client(&clients).await;
    for downloader in downloaders() {
        let home = Home::with(downloader);
        for _ in 0..2 {
            let run = home.run(&["--server", &url, "--sha256", &sum(&*CLIENT).to_uppercase(), "--yes"]).await;
            assert_eq!(run.code, 0, "{downloader}: {run:?}");
            assert!(run.out.contains("its sum is right") && !run.err.contains("warning"), "{run:?}");
            assert!(run.err.contains(".local/bin is not on your PATH"), "{run:?}");
            home.check(Some(&url));
        }
    }
}

#[tokio::test]
async fn a_server_s_client_without_a_sum_comes_with_a_warning() {
    let clients = tempfile::tempdir().unwrap();
    let url = with_client(&clients).await;
    let home = Home::with("curl");
    let run = home.run(&["--server", &format!("{url}/"), "--yes"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.err.contains("warning: no sum was given, so this is whatever "), "{run:?}");
    home.check(Some(&url));

    let home = Home::with("curl");
    let run = home.run(&["--server", &url, "--tool", "codex", "--yes"]).await;
    assert!(run.code == 0 && !home.path(".claude.json").exists(), "{run:?}");
    assert!(home.path(".codex/config.toml").exists());
}

#[tokio::test]
async fn an_altered_client_is_refused() {
    let clients = tempfile::tempdir().unwrap();
    let mut client = fs::read(&*CLIENT).unwrap();
    client.push(b'x');
    let url = handing_out(&clients, &client).await;
    let home = Home::with("curl");
    let run = home.run(&["--server", &url, "--sha256", &sum(&*CLIENT), "--yes"]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("is not the one that was meant: its sum is "), "{run:?}");
    assert!(home.is_untouched());

    // a check that can't be made is none
    fs::remove_file(home.path("tools/sha256sum")).unwrap();
    let run = home.run(&["--server", &url, "--sha256", &sum(&*CLIENT), "--yes"]).await;
    assert!(run.code == 1 && run.err.contains("no program to check the sum with"), "{run:?}");
    assert!(home.is_untouched());
}

#[tokio::test]
async fn a_server_without_the_client_shows_the_way_on() {
    let clients = tempfile::tempdir().unwrap();
    let url = serving(clients.path()).await;
    for downloader in downloaders() {
        let home = Home::with(downloader);
        let run = home.run(&["--server", &url, "--sha256", &"0".repeat(64), "--yes"]).await;
        assert_eq!(run.code, 1, "{run:?}");
        for words in [
            &format!("{url} did not hand out the client"),
            &format!("as {} in its folder CLIENT_DIR", name()),
            &format!("sh install.sh --from release --server {url}"),
            "git clone",
        ] {
            assert!(run.err.contains(words), "{words:?} not in {}", run.err);
        }
        assert!(home.is_untouched());
    }
}

#[tokio::test]
async fn a_download_that_is_cut_off_installs_nothing() {
    let client = fs::read(&*CLIENT).unwrap();
    let with_length = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", client.len());
    // of the second kind, only the client itself tells that it is not whole
    for head in [with_length.as_str(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"] {
        for length in [client.len() / 2, client.len() - 1, 40] {
            let url = answering([head.as_bytes(), &client[..length]].concat()).await;
            for downloader in downloaders() {
                let home = Home::with(downloader);
                let run = home.run(&["--server", &url, "--yes"]).await;
                assert_eq!(run.code, 1, "{downloader}: {run:?}");
                assert!(home.is_untouched(), "{downloader}: {run:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_program_for_this_machine_is_not_run() {
    let mut other = fs::read(&*CLIENT).unwrap();
    other[18] = 0x28;
    let other_end = fs::read(&*CLIENT).unwrap()[..61].to_vec();
    let script = b"#!/bin/sh\necho secret-gate 1.0\n: >\"$HOME/.claude/ran\"\n";
    for (client, problem) in [
        (other.as_slice(), "is not a program for a"),
        (script.as_slice(), "is not a program for linux"),
        (b"<html>please log in</html>".as_slice(), "is not a program for linux"),
        (b"".as_slice(), ""),
        (b"\x7fELF".as_slice(), "is not a program for a"),
        (other_end.as_slice(), "is cut off"),
    ] {
        let clients = tempfile::tempdir().unwrap();
        let url = handing_out(&clients, client).await;
        let home = Home::with("curl");
        let run = home.run(&["--server", &url, "--yes"]).await;
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.err.contains(problem), "{problem:?} not in {}", run.err);
        assert!(home.is_untouched());
    }
}

#[tokio::test]
async fn says_what_is_missing_on_this_machine() {
    let home = Home::with("nothing");
    let run = home.run(&["--server", "http://127.0.0.1:9", "--yes"]).await;
    assert!(run.code == 1 && run.err.contains("neither curl nor wget"), "{run:?}");

    let home = Home::with("curl");
    fs::remove_file(home.path("tools/uname")).unwrap();
    fs::write(home.path("tools/uname"), "#!/bin/sh\n[ \"$1\" = -s ] && echo Linux || echo riscv64\n").unwrap();
    fs::set_permissions(home.path("tools/uname"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = home.run(&["--server", "http://127.0.0.1:9", "--yes"]).await;
    assert!(run.code == 1 && run.err.contains("error: there is no client for riscv64"), "{run:?}");
    assert!(run.err.contains("hint: build it"), "{run:?}");
    assert!(home.is_untouched());
}

#[tokio::test]
async fn a_folder_that_can_t_be_written_to_is_named() {
    let clients = tempfile::tempdir().unwrap();
    let url = with_client(&clients).await;
    let home = Home::with("curl");
    fs::write(home.path(".local"), "a file in the way").unwrap();
    let run = home.run(&["--server", &url, "--yes"]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains(".local/bin\nhint: name another folder with --dir"), "{run:?}");
    assert!(!home.path(".claude.json").exists());

    let run = home.run(&["--server", &url, "--yes", "--dir", "../my programs"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(home.path("my programs/secret-gate").exists());

    fs::create_dir(home.path("folder")).unwrap();
    fs::create_dir(home.path("folder/secret-gate")).unwrap();
    let run = home.run(&["--server", &url, "--yes", "--dir", "../folder"]).await;
    assert!(run.code == 1 && run.err.contains("secret-gate is a folder"), "{run:?}");
    assert_eq!(fs::read_dir(home.path("folder/secret-gate")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_release_is_checked_against_its_sums() {
    let release = tempfile::tempdir().unwrap();
    symlink(&*CLIENT, release.path().join(name())).unwrap();
    let sums = release.path().join("SHA256SUMS");
    let right = format!("{}  other\n{}  {}\n", "0".repeat(64), sum(&*CLIENT), name());
    let wrong = format!("{}  {}\n", "0".repeat(64), name());
    let url = release_page(release.path()).await;
    for (text, problem) in
        [(right, ""), (wrong, "is not the one that was meant"), ("x".to_owned(), "SHA256SUMS has no sum of client-")]
    {
        fs::write(&sums, text).unwrap();
        let mut home = Home::with("curl");
        home.variables.push(("SECRET_GATE_RELEASES", url.clone()));
        let run = home.run(&["--yes"]).await;
        assert!(run.err.contains(problem), "{problem:?} not in {run:?}");
        if problem.is_empty() {
            assert_eq!(run.code, 0, "{run:?}");
            home.check(None);
        } else {
            assert_eq!(run.code, 1, "{run:?}");
            assert!(home.is_untouched());
        }
    }
    fs::remove_file(&sums).unwrap();
    let mut home = Home::with("curl");
    home.variables.push(("SECRET_GATE_RELEASES", url));
    let run = home.run(&["--yes"]).await;
    assert!(run.code == 1 && run.err.contains("SHA256SUMS could not be downloaded"), "{run:?}");
    assert!(home.is_untouched());
}

/// A page with the files of this folder.
async fn release_page(folder: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let folder = folder.to_owned();
    let page = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let content = fs::read(folder.join(uri.path().trim_start_matches('/')));
        async move { content.map_err(|_| axum::http::StatusCode::NOT_FOUND) }
    });
    tokio::spawn(async move { axum::serve(listener, page).await.unwrap() });
    url
}

#[tokio::test]
async fn in_a_checkout_it_takes_what_was_built_there_or_builds_it() {
    let home = Home::with("nothing");
    let checkout = home.path("check out");
    let script = checkout.join("install.sh");
    fs::create_dir_all(checkout.join("secret-gate-cli")).unwrap();
    fs::write(checkout.join("secret-gate-cli/Cargo.toml"), "").unwrap();
    fs::copy(SCRIPT, &script).unwrap();
    let run = home.run_at(&script, &["--yes"]).await;
    assert!(run.code == 1 && run.err.contains("no cargo to build it with"), "{run:?}");
    assert!(home.is_untouched());

    let cargo = format!(
        "#!/bin/sh\nmkdir -p target/release && cp '{}' target/release/secret-gate && echo \"$@\" >called\n",
        CLIENT.display()
    );
    fs::write(home.path("tools/cargo"), cargo).unwrap();
    fs::set_permissions(home.path("tools/cargo"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = home.run_at(&script, &["--yes", "--server", "https://gate.example.com"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let called = fs::read_to_string(checkout.join("called")).unwrap();
    assert_eq!(called, "build --release --locked --package secret-gate-cli --bin secret-gate\n");
    home.check(Some("https://gate.example.com"));

    fs::remove_file(home.path("tools/cargo")).unwrap();
    let run = home.run_at(&script, &["--yes", "--sha256", &"0".repeat(64)]).await;
    assert!(run.code == 1 && run.err.contains("is not the one that was meant"), "{run:?}");
    let run = home.run_at(&script, &["--yes"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    home.check(Some("https://gate.example.com"));
}

#[tokio::test]
async fn refuses_what_makes_no_sense_and_what_is_not_safe() {
    let home = Home::with("curl");
    for (args, problem) in [
        (&["--frm"][..], "there is no option --frm"),
        (&["--server"], "--server needs a value"),
        (&["--server", "gate.example.com"], "does not start with http:// or https://"),
        (&["--server", "https://user@gate.example.com"], "characters that do not belong there"),
        (&["--server", "https://gate.example.com/$(id)"], "characters that do not belong there"),
        (&["--server", "https://gate.example.com/\n"], "characters that do not belong there"),
        (&["--server", "http://gate.example.com"], "would travel unencrypted"),
        (&["--server", "http://127.0.0.1.example.com"], "would travel unencrypted"),
        (&["--server", "http://localhost.example.com"], "would travel unencrypted"),
        (&["--sha256", "abc"], "is not a SHA-256 sum"),
        (&["--sha256", ""], "--sha256 needs a value"),
        (&["--tool", "codex; id"], "is no name of an agent"),
        (&["--from", "elsewhere"], "is none of checkout, server, release"),
        (&["--from", "checkout"], "does not lie in a checkout"),
        (&["--from", "server"], "needs --server URL"),
        (&["--api-key-file", "key"], "needs --server"),
        (&["--server", "https://g", "--api-key-file", "missing"], "is missing or empty"),
    ] {
        let run = home.run(args).await;
        assert_eq!(run.code, 1, "{args:?}: {run:?}");
        assert!(run.err.contains(problem), "{problem:?} not in {}", run.err);
        assert!(home.is_untouched(), "{args:?}");
    }
}

#[tokio::test]
async fn where_nobody_can_be_asked_it_says_what_to_run() {
    let clients = tempfile::tempdir().unwrap();
    let url = with_client(&clients).await;
    let home = Home::with("curl");
    fs::write(home.path("the key's file"), "the-key").unwrap();
    let run = home.run(&["--server", &url, "--api-key-file", "../the key's file", "--tool", "codex"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(home.client().exists() && !home.path(".codex/config.toml").exists());
    let command = run.err.lines().next_back().unwrap().trim();

    // the command works as it stands there
    let mut again = home.command();
    again.args(["-c", &format!("{command} --yes")]);
    let run = ended(again.spawn().unwrap()).await;
    assert_eq!(run.code, 0, "{command}: {run:?}");
    assert!(home.path(".codex/config.toml").exists());
    let config = fs::read_to_string(home.path(".config/secret-gate/config.json")).unwrap();
    assert!(config.contains("the key's file"), "{config}");
}

#[tokio::test]
async fn can_be_piped_into_every_shell_and_half_of_it_does_nothing() {
    let clients = tempfile::tempdir().unwrap();
    let url = with_client(&clients).await;
    let script = fs::read(SCRIPT).unwrap();
    let shells = [&["sh"][..], &["dash"], &["bash", "--posix"], &["busybox", "sh"], &["zsh", "--emulate", "sh"]];
    for shell in shells {
        let Some(program) = found(shell[0]) else {
            eprintln!("LEFT OUT: {} is not here", shell[0]);
            continue;
        };
        for length in [script.len() / 3, script.len() - 12, script.len()] {
            let mut home = Home::with("curl");
            home.shell = vec![program.clone()];
            home.shell.extend(shell[1..].iter().map(PathBuf::from));
            let mut command = home.command();
            command.args(["-s", "--", "--server", &url, "--yes"]);
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let mut input = child.stdin.take().unwrap();
            input.write_all(&script[..length]).await.unwrap();
            drop(input);
            let run = ended(child).await;
            if length == script.len() {
                assert_eq!(run.code, 0, "{shell:?}: {run:?}");
                home.check(Some(&url));
            } else {
                assert!(home.is_untouched(), "{shell:?}: {run:?}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_fetched_from_where_a_server_sends_to() {
    let clients = tempfile::tempdir().unwrap();
    let elsewhere = with_client(&clients).await;
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let place = format!("{elsewhere}/client/linux/{arch}");
    let moved = format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let url = answering(moved.into_bytes()).await;
    for downloader in ["curl", "wget"].into_iter().filter(|name| found(name).is_some()) {
        let home = Home::with(downloader);
        let run = home.run(&["--server", &url, "--yes"]).await;
        assert!(run.code == 1 && run.err.contains("did not hand out the client"), "{downloader}: {run:?}");
        assert!(home.is_untouched(), "{downloader}");
    }
}

#[tokio::test]
async fn a_downloader_that_checks_nothing_needs_a_sum() {
    let home = Home::with("busybox");
    let run = home.run(&["--server", "https://gate.example.org", "--yes"]).await;
    assert!(run.code == 1 && run.err.contains("give the sum of the client with --sha256"), "{run:?}");
    assert!(home.is_untouched());
}

#[tokio::test]
async fn what_stays_on_this_machine_goes_through_no_proxy() {
    let clients = tempfile::tempdir().unwrap();
    let url = with_client(&clients).await;
    let proxy = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nevil".to_vec()).await;
    for downloader in ["curl", "wget"].into_iter().filter(|name| found(name).is_some()) {
        let mut home = Home::with(downloader);
        home.variables = vec![("http_proxy", proxy.clone()), ("ALL_PROXY", proxy.clone())];
        let run = home.run(&["--server", &url, "--yes"]).await;
        assert_eq!(run.code, 0, "{downloader}: {run:?}");
        home.check(Some(&url));
    }
}

#[tokio::test]
async fn piped_into_a_shell_it_trusts_no_folder() {
    let home = Home::with("curl");
    let folder = home.path("down load's");
    fs::create_dir_all(folder.join("secret-gate-cli")).unwrap();
    fs::create_dir_all(folder.join("target/release")).unwrap();
    for file in ["sh", "secret-gate-cli/Cargo.toml", "target/release/secret-gate"] {
        fs::copy(&*CLIENT, folder.join(file)).unwrap();
    }
    let mut command = home.command();
    // `-s` with options behind it, as in `curl … | sh -s -- --server …`
    command.args(["-s", "--"]).args(["--server", "http://127.0.0.1:9", "--yes"]).stdin(fs::File::open(SCRIPT).unwrap());
    let run = ended(command.spawn().unwrap()).await;
    assert!(run.code == 1 && run.out.contains("downloading http://127.0.0.1:9"), "{run:?}");
    assert!(home.is_untouched());
}
