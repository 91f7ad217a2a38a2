//! What the process's memory holds of a key: its locked pages while it lives, nothing after it is dropped.
//!
//! Alone in its program, since it looks through all of its own memory.
#![cfg(all(feature = "ssh", target_os = "linux"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on fails")]

mod search;

use std::fs::File;
use std::io::Read as _;

use base64ct::{Base64, Encoding as _};
use search::Search;
use secret_gate_core::SecretValue;
use secret_gate_core::ssh::SshKey;
use zeroize::Zeroizing;

/// Turns bytes into others, so that the search does not find what it searches for.
fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

/// A new key and a part of it that nobody may find, masked.
fn new_key(kind: &str) -> (SecretValue, Vec<u8>) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-m", "PEM", "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    // neither grows, so that it leaves nothing behind here
    let mut text = Zeroizing::new(String::with_capacity(16 * 1024));
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    text.lines().filter(|line| !line.starts_with("---")).for_each(|line| body.extend_from_slice(line.as_bytes()));
    let bytes = Base64::decode_in_place(&mut body).unwrap();
    let part = if kind == "rsa" {
        masked(rsa::pkcs1::RsaPrivateKey::try_from(bytes).unwrap().prime1.as_bytes())
    } else {
        let public = &bytes[62..94];
        let end = bytes.windows(32).rposition(|part| part == public).unwrap();
        masked(&bytes[end - 32..end])
    };
    (SecretValue::copy_of(&text), part)
}

/// Writes over what calls have left on the stack.
#[inline(never)]
fn over_the_stack() {
    std::hint::black_box([0_u8; 512 * 1024]);
}

#[test]
fn a_key_is_in_its_own_pages_while_it_lives_and_gone_when_it_is_dropped() {
    if std::process::Command::new("ssh-keygen").arg("-?").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "ssh-keygen is needed (Debian: openssh-client)");
        return;
    }
    let mut search = Search::new();
    for kind in ["ed25519", "rsa"] {
        let (value, part) = new_key(kind);
        // as libraries for large numbers have it
        let backwards: Vec<_> = part.iter().rev().copied().collect();
        over_the_stack();
        assert_eq!(search.occurrences(&part) + search.occurrences(&backwards), 0, "{kind}, before");
        let key = SshKey::parse(&value).unwrap();
        over_the_stack();
        assert_eq!(search.occurrences(&part), 1, "{kind}, while it lives");
        assert_eq!(search.occurrences(&backwards), 0, "{kind}, while it lives");
        drop(key);
        over_the_stack();
        assert_eq!(search.occurrences(&part) + search.occurrences(&backwards), 0, "{kind}, when it is dropped");
    }
}
