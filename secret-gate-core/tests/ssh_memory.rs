//! What the process's memory holds of a key: its locked pages while it lives, nothing after it is dropped.
//!
//! Alone in its program, since it looks through all of its own memory.
#![cfg(all(feature = "ssh", target_os = "linux"))]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on fails")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use base64ct::{Base64, Encoding as _};
use secret_gate_core::SecretValue;
use secret_gate_core::ssh::SshKey;
use zeroize::Zeroizing;

/// Turns bytes into others, so that the search does not find what it searches for.
fn masked(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

/// Looks through the writable memory of this process. Takes no memory while it does, since that could be the very
/// memory that was just freed.
struct Search {
    maps: Vec<u8>,
    piece: Vec<u8>,
    window: Vec<u8>,
}

impl Search {
    fn new() -> Self {
        Self { maps: vec![0; 1 << 20], piece: vec![0; 4096], window: Vec::with_capacity(3 * 4096) }
    }

    /// How often the text stands there.
    fn occurrences(&mut self, masked: &[u8]) -> usize {
        let memory = File::open("/proc/self/mem").unwrap();
        let mut maps = File::open("/proc/self/maps").unwrap();
        let mut length = 0;
        loop {
            match maps.read(&mut self.maps[length..]).unwrap() {
                0 => break,
                read => length += read,
            }
        }
        let mut count = 0;
        for line in std::str::from_utf8(&self.maps[..length]).unwrap().lines().filter(|line| line.contains(" rw-p ")) {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            self.window.clear();
            for at in (start..end).step_by(self.piece.len()) {
                let Ok(read) = memory.read_at(&mut self.piece, at) else { break };
                // masked at once, and never compared in the clear
                self.window.extend(self.piece[..read].iter().map(|byte| byte ^ 0x5a));
                self.piece.fill(0);
                count += self.window.windows(masked.len()).filter(|part| *part == masked).count();
                self.window.drain(..self.window.len().saturating_sub(masked.len() - 1));
            }
        }
        count
    }
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
