//! `key`: made, listed, revoked, and what a running server makes of it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use reqwest::Method;
use serde_json::json;
use tokio::process::{Child, Command};

use super::support::{Environment, SERVER, World};
use super::{assert_failed, run, spawn};

/// A file of keys in a folder of its own.
pub(crate) struct Keys {
    _folder: tempfile::TempDir,
    pub(crate) path: PathBuf,
    pub(crate) env: Environment,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let env = [("API_KEYS_FILE".to_owned(), path.to_str().unwrap().to_owned())].into();
        Self { _folder: folder, path, env }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    pub(crate) async fn make(&self, args: &[&str]) -> String {
        let made = run(&[&["key", "new"], args].concat(), &self.env).await;
        assert_eq!(made.code, Some(0), "{made:?}");
        let key = made.stdout.strip_suffix('\n').unwrap().to_owned();
        let hex = key.strip_prefix("sgk_").unwrap();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{key}");
        assert!(!made.stderr.contains(&key) && !self.text().contains(hex), "{made:?}");
        key
    }
}

#[tokio::test]
async fn a_new_key_works_at_a_running_server_and_stops_when_it_is_revoked() {
    let keys = Keys::new();
    let first = keys.make(&["first"]).await;
    assert_eq!(std::fs::metadata(&keys.path).unwrap().permissions().mode() & 0o777, 0o600);
    let world = World::with(|env| env.extend(keys.env.clone())).await;
    let search = async |key: &str| {
        let call = world.http.call(Method::POST, "/search").header("authorization", format!("Bearer {key}"));
        world.http.send(call.body(json!({"query": "db"}).to_string())).await.status
    };
    assert_eq!(search(&first).await, 200);
    let second = keys.make(&["vm.2", "--broker"]).await;
    assert_eq!((search(&second).await, search(&first).await), (200, 200));
    let listed = run(&["key", "list"], &keys.env).await;
    assert_eq!(listed.stdout, "first\nvm.2 broker\n", "{listed:?}");

    let revoked = run(&["key", "revoke", "first"], &keys.env).await;
    assert_eq!((revoked.code, revoked.stdout.as_str()), (Some(0), ""), "{revoked:?}");
    assert_eq!((search(&first).await, search(&second).await), (401, 200));
    assert_failed(&run(&["key", "revoke", "first"], &keys.env).await, 1, "no key of the name");
    run(&["key", "revoke", "vm.2"], &keys.env).await;
    assert_eq!(search(&second).await, 401);
    assert!(!world.server.log().contains(&second));
}

#[tokio::test]
async fn twenty_keys_at_once_lose_none_and_no_comment() {
    let keys = Keys::new();
    std::fs::write(&keys.path, "# ours\n").unwrap();
    std::fs::set_permissions(&keys.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let children: Vec<Child> = (0..20).map(|at| spawn(&["key", "new", &format!("n{at}")], &keys.env)).collect();
    let mut made = BTreeSet::new();
    for child in children {
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        made.insert(output.stdout);
    }
    assert_eq!(made.len(), 20);
    let text = keys.text();
    assert!(text.starts_with("# ours\n"), "{text}");
    let names: BTreeSet<&str> = text.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!((names.len(), text.lines().count()), (20, 21), "{text}");
    assert_eq!(std::fs::metadata(&keys.path).unwrap().permissions().mode() & 0o777, 0o640);

    // one name twenty times: one wins
    let children: Vec<Child> = (0..20).map(|_| spawn(&["key", "new", "same"], &keys.env)).collect();
    let mut won = 0;
    for child in children {
        won += usize::from(child.wait_with_output().await.unwrap().status.success());
    }
    assert_eq!((won, keys.text().lines().count()), (1, 22));
}

#[tokio::test]
async fn a_key_without_a_file_comes_with_the_line_to_add() {
    let nowhere = Environment::new();
    let made = run(&["key", "new", "ci", "--broker"], &nowhere).await;
    let key = made.stdout.trim_end();
    let line = made.stderr.lines().last().unwrap();
    let keys = Keys::new();
    std::fs::write(&keys.path, format!("{line}\n")).unwrap();
    assert_eq!(run(&["key", "list"], &keys.env).await.stdout, "ci broker\n");
    let world = World::with(|env| env.extend(keys.env.clone())).await;
    let call = world.http.call(Method::POST, "/search").header("authorization", format!("Bearer {key}"));
    assert_eq!(world.http.send(call.body(r#"{"query":"db"}"#)).await.status, 200);
    for command in ["list", "revoke"] {
        let args = if command == "list" { vec!["key", command] } else { vec!["key", command, "ci"] };
        assert_failed(&run(&args, &nowhere).await, 2, "no file of keys");
    }
}

#[tokio::test]
async fn keys_that_can_not_be_made_say_why_and_change_nothing() {
    let keys = Keys::new();
    for name in ["", "two words", "a/b", "naïve", "#", "a\x1b[2Jb", &"x".repeat(65)] {
        assert_failed(&run(&["key", "new", name], &keys.env).await, 2, "name of a key");
        assert!(!keys.path.exists());
    }
    keys.make(&["ci"]).await;
    let before = keys.text();
    assert_failed(&run(&["key", "new", "ci"], &keys.env).await, 1, "already");
    std::fs::set_permissions(&keys.path, std::fs::Permissions::from_mode(0o660)).unwrap();
    for args in [&["key", "new", "vm"][..], &["key", "revoke", "ci"], &["key", "list"]] {
        assert_failed(&run(args, &keys.env).await, 1, "others may write it");
    }
    assert_eq!(keys.text(), before);
    std::fs::set_permissions(&keys.path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (name, rest) = before.trim_end().split_once(' ').unwrap();
    for second in [format!("{name} {}", "0".repeat(64)), format!("other {rest}"), "half a li".to_owned()] {
        std::fs::write(&keys.path, format!("{before}{second}")).unwrap();
        assert_failed(&run(&["key", "new", "vm"], &keys.env).await, 1, "line 2");
    }
    let lost = keys.path.join("no/such").to_str().unwrap().to_owned();
    assert_failed(&run(&["key", "new", "vm", "--file", &lost], &keys.env).await, 1, "can't be written");
}

#[tokio::test]
async fn a_key_that_nobody_could_see_is_to_be_revoked() {
    let keys = Keys::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(SERVER);
    command.args(["key", "new", "ci"]).env_clear().envs(&keys.env).stdin(Stdio::null()).stdout(full);
    let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("standard output") && stderr.contains("key revoke ci"), "{stderr}");
    assert_eq!(run(&["key", "revoke", "ci"], &keys.env).await.code, Some(0));
    assert_eq!(keys.text(), "");
}
