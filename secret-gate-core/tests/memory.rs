//! What the process's memory holds of a value: locked pages while it lives, nothing after it is dropped.
//!
//! Alone in its program, since it looks through all of its own memory.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on fails")]

mod search;

use search::Search;
use secret_gate_core::SecretValue;

/// Turns a text into one that does not hold it, so that the search does not find what it searches for.
fn masked(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| byte ^ 0x5a).collect()
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
