//! What the documents claim: commands run, named tests exist, links lead somewhere.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests, a failure is a panic")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use reqwest::Method;
use tokio::process::Command;

use support::{Environment, PATIENCE, SERVER, World};

const THREAT_MODEL: &str = ".github/docs/threat-model.md";
const OPERATIONS: &str = ".github/docs/operations.md";
const DOCUMENTS: [&str; 8] = [
    "README.md",
    "secret-gate-server/README.md",
    ".github/CHANGELOG.md",
    ".github/SECURITY.md",
    ".github/docs/migration.md",
    OPERATIONS,
    THREAT_MODEL,
    ".env.example",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between single backticks, in order.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

#[test]
fn links_and_paths_lead_to_files() {
    for document in DOCUMENTS {
        let text = read(document);
        let folder = root().join(document).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains(':')) {
            assert!(folder.join(link).exists(), "{document} links to {link}");
        }
        let of_ours =
            |path: &&str| ["secret-gate-", ".github/", ".ci/", ".cargo/"].iter().any(|ours| path.starts_with(ours));
        let is_path = |path: &&str| path.contains('/') && !path.contains([' ', '*', '{']);
        for path in text.lines().flat_map(quoted).filter(of_ours).filter(is_path) {
            assert!(root().join(path).exists(), "{document} names {path}");
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let is_name =
        |text: &str| text.contains('_') && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let (mut checked, mut promises) = (0, 0);
    for line in read(THREAT_MODEL).lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [promise, tests] = cells[..] else { panic!("not two cells: {line}") };
        let (mut file, mut named) = (None, 0);
        for part in quoted(tests) {
            if Path::new(part).extension().is_some_and(|extension| extension == "rs") {
                file = Some(read(part));
            } else if is_name(part) {
                let file = file.as_ref().unwrap_or_else(|| panic!("no file before {part}"));
                let (_, after) =
                    file.split_once(&format!("fn {part}(")).unwrap_or_else(|| panic!("there is no {part}"));
                assert!(after.contains('}'), "{part}");
                named += 1;
            }
        }
        if tests.trim() != "test" {
            assert!(named > 0, "no test for: {promise}");
            promises += 1;
        }
        checked += named;
    }
    assert!(promises > 25 && checked > 35, "{promises} promises, {checked} tests");
}

/// The blocks of a document that begin with "```sh run".
fn blocks(document: &str) -> Vec<String> {
    let text = read(document);
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "```sh run" {
            blocks
                .push(lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{line}\n")).collect());
        }
    }
    blocks
}

/// Stands for Docker: the server's container is this machine.
const DOCKER: &str = r#"#!/bin/sh
set -eu
case "$*" in
"compose exec -T secret-gate "*) shift 4 && exec "$@" ;;
*) echo "unexpected: docker $*" >&2 && exit 1 ;;
esac
"#;

/// A folder with an empty file of keys, one for backups, and programs.
fn place() -> (tempfile::TempDir, Environment) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["backup", "bin"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::write(at("keys"), "").unwrap();
    std::fs::write(at("bin/docker"), DOCKER).unwrap();
    std::fs::set_permissions(at("bin/docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let programs = Path::new(SERVER).parent().unwrap().display();
    let path = format!("{}:{programs}:/usr/local/bin:/usr/bin:/bin", at("bin").display());
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let env = [("PATH", path), ("API_KEYS_FILE", text(at("keys"))), ("AUDIT_LOG", text(at("audit.jsonl")))];
    (folder, env.map(|(name, value)| (name.to_owned(), value)).into())
}

async fn run(block: &str, folder: &Path, env: &Environment) -> String {
    let mut command = Command::new("sh");
    command.args(["-euc", block]).current_dir(folder).env_clear().envs(env).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success(), "{block}\nended with {}:\n{out}{err}", ended.status);
    out
}

#[tokio::test]
async fn commands_for_operators_do_what_is_said() {
    let (folder, mut env) = place();
    let world = World::with(|server| server.extend(env.clone().into_iter().filter(|(name, _)| name != "PATH"))).await;
    let port = world.server.url.rsplit(':').next().unwrap();
    for (name, value) in [("SECRET_GATE_URL", world.server.url.as_str()), ("BIND_ADDRESS", "127.0.0.1"), ("PORT", port)]
    {
        env.insert(name.to_owned(), value.to_owned());
    }
    let blocks = blocks(OPERATIONS);
    assert!(blocks.len() >= 6, "{blocks:?}");
    let mut out = String::new();
    for (number, block) in blocks.iter().enumerate() {
        out += &run(block, folder.path(), &env).await;
        if number == 0 {
            // whoever got the first key asks, so that the rest is about something
            let key = std::fs::read_to_string(folder.path().join("ci.key")).unwrap();
            let call =
                world.http.call(Method::POST, "/request").header("authorization", format!("Bearer {}", key.trim()));
            let asked = world.asked(&world.http.send(call.body(r#"{"secret_name":"db"}"#)).await);
            world.tap(&asked, "Approve").await;
            assert_eq!(world.secret(&asked).await.status, 200);
        }
    }
    for said in ["ci\n", "build-vm-3\n", "OK\n", "\"ready\":true", "secret_gate_pending_requests 0"] {
        assert!(out.contains(said), "{said:?} is not in:\n{out}");
    }
    let keys = run("secret-gate-server key list", folder.path(), &env).await;
    assert_eq!(keys, "ci\nbuild-vm-3.b\n");
    let kept: Vec<_> = std::fs::read_dir(folder.path().join("backup")).unwrap().collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
}
