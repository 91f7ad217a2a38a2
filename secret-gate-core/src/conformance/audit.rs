//! What every [`AuditLog`] must do.
//!
//! Each rule takes the log and a function that reads it back: all that was kept so far, as text, one JSON object a line.
//! A line may have more members than the entry has. The log may hold lines from before; the suite adds some.

#![expect(clippy::panic, clippy::missing_panics_doc, reason = "a suite fails the test that calls it")]

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::Value;

use crate::audit::{AuditAnchor, AuditEntry, AuditEvent, AuditItem, AuditLog};
use crate::{RequestId, Requester, Use};

/// Reads the log back: a JSON object a line, in the log's order.
pub type Read<'a> = &'a (dyn Fn() -> String + Sync);

/// Entries that are appended at the same time.
const AT_ONCE: usize = 100;

/// All rules, one after another, on the same log.
pub async fn all(log: &dyn AuditLog, read: Read<'_>) {
    entries_are_kept_in_order(log, read).await;
    an_entry_is_kept_whole(log, read).await;
    odd_text_stays_one_line(log, read).await;
    many_append_at_once(log, read).await;
    an_abandoned_append_tears_nothing(log, read).await;
    anchors_name_one_line_each(log, read).await;
}

/// Entries are there as soon as [`append`](AuditLog::append) has returned, in the order in which they were appended.
pub async fn entries_are_kept_in_order(log: &dyn AuditLog, read: Read<'_>) {
    let mut appended = Vec::new();
    for event in [AuditEvent::Asked, AuditEvent::Approved, AuditEvent::Released, AuditEvent::Revoked] {
        let entry = entry(event);
        append(log, &entry).await;
        appended.push(entry.request_id.to_string());
        assert_eq!(ids(read, &appended), appended, "an entry is kept in its order, once, before `append` returns");
    }
}

/// All that an entry says is in its line.
pub async fn an_entry_is_kept_whole(log: &dyn AuditLog, read: Read<'_>) {
    let entry = AuditEntry {
        requester: Requester::with_key("build-vm-3", true).at("10.0.0.7"),
        intended_use: Some(Use::any_command()),
        by: Some("Ann".to_owned()),
        ..entry(AuditEvent::Approved)
    };
    append(log, &entry).await;
    is_kept(read, &entry, "an entry is kept whole");
}

/// Line breaks, quotes, control characters and other scripts in an entry neither break its line nor get lost.
pub async fn odd_text_stays_one_line(log: &dyn AuditLog, read: Read<'_>) {
    let odd = [
        "two\nlines\r\nand \u{2028} more",
        "\"quotes\" and \\ and {\"n\":1}",
        "\0 \u{1b}[31m \u{7f} \u{202e}",
        "ключ 🔑",
        "",
    ];
    let long = "long ".repeat(10_000);
    for text in odd.into_iter().chain([long.as_str()]) {
        let mut entry = entry(AuditEvent::Denied);
        entry.by = Some(text.to_owned());
        entry.requester = Requester::with_key(text, false).at(text);
        for item in &mut entry.items {
            item.title = text.to_owned();
            item.fields = vec![text.to_owned(), text.to_owned()];
        }
        let before = lines(read).len();
        append(log, &entry).await;
        assert_eq!(lines(read).len(), before + 1, "an entry is one line, whatever text is in it");
        is_kept(read, &entry, "odd text is kept as it is");
    }
}

/// A hundred appends at the same time lose no entry and tear no line.
pub async fn many_append_at_once(log: &dyn AuditLog, read: Read<'_>) {
    let entries: Vec<_> = (0..AT_ONCE).map(|_| entry(AuditEvent::Asked)).collect();
    join_all(entries.iter().map(|entry| append(log, entry))).await;
    let mut appended: Vec<_> = entries.iter().map(|entry| entry.request_id.to_string()).collect();
    let mut kept = ids(read, &appended);
    appended.sort_unstable();
    kept.sort_unstable();
    assert!(kept == appended, "entries that are appended at once are all kept, each once");
    for entry in &entries {
        is_kept(read, entry, "entries that are appended at once are kept whole");
    }
}

/// An append that is given up half-way may keep its entry or not; it tears no line.
pub async fn an_abandoned_append_tears_nothing(log: &dyn AuditLog, read: Read<'_>) {
    for _ in 0..10 {
        let abandoned = entry(AuditEvent::Asked);
        // polled once, and dropped
        drop(log.append(&abandoned).now_or_never());
        let next = entry(AuditEvent::Asked);
        append(log, &next).await;
        is_kept(read, &next, "an entry after an append that was given up is kept whole");
    }
}

/// Where the log gives anchors, no two lines have the same, and a later line has a higher position.
pub async fn anchors_name_one_line_each(log: &dyn AuditLog, read: Read<'_>) {
    let mut anchors = Vec::new();
    for _ in 0..3 {
        anchors.extend(append(log, &entry(AuditEvent::Asked)).await);
    }
    let rising = anchors.windows(2).all(|pair| matches!(pair, [one, next] if one.position < next.position));
    assert!(rising, "a later line has an anchor of a higher position: {anchors:?}");
    let entries: Vec<_> = (0..AT_ONCE).map(|_| entry(AuditEvent::Asked)).collect();
    let at_once = join_all(entries.iter().map(|entry| append(log, entry))).await;
    anchors.extend(at_once.into_iter().flatten());
    let positions: HashSet<_> = anchors.iter().map(|anchor| anchor.position).collect();
    assert_eq!(positions.len(), anchors.len(), "each anchor names a line of its own");
    assert!(!lines(read).is_empty(), "a log with anchors has lines");
}

async fn append(log: &dyn AuditLog, entry: &AuditEntry) -> Option<AuditAnchor> {
    match log.append(entry).await {
        Ok(anchor) => anchor,
        Err(error) => panic!("an entry can be appended: {error}, {error:?}"),
    }
}

/// The whole log; every line must be a JSON object.
fn lines(read: Read<'_>) -> Vec<Value> {
    let text = read();
    let lines = text.lines().map(|line| match serde_json::from_str(line) {
        Ok(object @ Value::Object(_)) => object,
        _ => panic!("each line is a JSON object: {line:?} is none"),
    });
    lines.collect()
}

/// The ids of the lines about these requests, in the log's order.
fn ids(read: Read<'_>, of: &[String]) -> Vec<String> {
    let of: HashSet<_> = of.iter().map(String::as_str).collect();
    let lines = lines(read);
    let ids = lines.iter().filter_map(|line| line.get("request_id")?.as_str());
    ids.filter(|id| of.contains(id)).map(str::to_owned).collect()
}

/// The entry has exactly one line, with all its members.
fn is_kept(read: Read<'_>, entry: &AuditEntry, rule: &str) {
    let Ok(Value::Object(expected)) = serde_json::to_value(entry) else { panic!("an entry is a JSON object") };
    let lines = lines(read);
    let mut about = lines.iter().filter(|line| line.get("request_id") == expected.get("request_id"));
    let Some(line) = about.next() else { panic!("{rule}: there is no line about it") };
    assert!(about.next().is_none(), "{rule}: there are several lines about it");
    for (member, value) in &expected {
        assert!(line.get(member) == Some(value), "{rule}: {member} is {:?} instead of {value}", line.get(member));
    }
}

/// An entry about a request that nothing else is about.
fn entry(event: AuditEvent) -> AuditEntry {
    let Ok(request_id) = RequestId::random() else { panic!("the suite needs random numbers") };
    AuditEntry {
        at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123),
        event,
        request_id,
        requester: Requester::unauthenticated(),
        items: vec![AuditItem {
            vault_id: "v1".to_owned(),
            vault: "infra".to_owned(),
            item_id: "i1".to_owned(),
            title: "database".to_owned(),
            fields: vec!["username".to_owned(), "password".to_owned()],
        }],
        intended_use: None,
        by: None,
    }
}
