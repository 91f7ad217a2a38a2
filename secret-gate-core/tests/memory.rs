//! What the process's memory holds of a value: locked pages while it lives, nothing after it is dropped.
//!
//! Alone in its program, since it looks through all of its own memory.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on fails")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use secret_gate_core::SecretValue;

/// Turns a text into one that does not hold it, so that the search does not find what it searches for.
fn masked(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| byte ^ 0x5a).collect()
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

fn random_text() -> String {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes).unwrap();
    let text = hex::encode(bytes);
    bytes.fill(0);
    text
}

fn locked_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Bytes that this process may lock, as far as there is a limit.
fn may_lock() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory")).unwrap();
    line.split_whitespace().next().unwrap().parse().ok()
}

#[test]
fn a_value_is_locked_while_it_lives_and_gone_when_it_is_dropped() {
    let mut search = Search::new();

    // the search finds what is freed and not wiped
    let control = random_text();
    let needle = masked(&control);
    let mut left_behind = vec![b'#'; 8192].into_boxed_slice();
    left_behind[4096..4096 + control.len()].copy_from_slice(control.as_bytes());
    drop(zeroize::Zeroizing::new(control));
    drop(left_behind);
    assert_eq!(search.occurrences(&needle), 1, "the search would not find a value that is left behind");

    let before = locked_kib();
    let text = random_text();
    let needle = masked(&text);
    let value = SecretValue::new(text);
    assert_eq!(search.occurrences(&needle), 1, "the value stands in its own pages and nowhere else");
    if may_lock().is_none_or(|limit| limit >= 64 * 1024) {
        assert!(value.is_locked());
        assert!(locked_kib() > before);
    } else {
        println!("NOT TRIED: this process may lock no memory");
    }
    drop(value);
    assert_eq!(search.occurrences(&needle), 0, "the value is left behind");
    assert_eq!(locked_kib(), before);
}
