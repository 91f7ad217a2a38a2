//! What must hold of each parser for any bytes at all. Tests and fuzzers run the same.

#![allow(dead_code, reason = "each fuzzer uses one of them")]

use std::path::Path;

use secret_gate_core::approver::message;
use secret_gate_core::client::ServerUrl;
use secret_gate_core::daemon::{Call, Config, Event};
use secret_gate_core::exec::Redactor;
use secret_gate_core::ssh::{Login, SshKey};
use secret_gate_core::{SecretReference, SecretValue, Use, parse_duration, wire};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is done with the bytes.
pub(crate) type Body = fn(&[u8]);

/// All of them, by the names of their fuzzers.
pub(crate) const ALL: &[(&str, Body)] = &[
    ("reference", reference),
    ("duration", duration),
    ("login", login),
    ("server_url", server_url),
    ("intended_use", intended_use),
    ("daemon_call", daemon_call),
    ("config", config),
    ("wire_types", wire_types),
    ("ssh_key", ssh_key),
    ("redaction", redaction),
    ("shown_text", shown_text),
];

pub(crate) fn reference(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(reference) = text.parse::<SecretReference>() {
        assert_eq!(reference.to_string(), text);
        let parts = [&reference.vault, &reference.item, &reference.field];
        assert!(parts.iter().all(|part| !part.trim().is_empty()), "{reference:?}");
        assert!(!reference.vault.contains('/') && !reference.item.contains('/'), "{reference:?}");
    }
}

pub(crate) fn duration(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    assert_eq!(parse_duration(text), parse_duration(&format!(" {text}\n")), "white space around means nothing");
}

/// Neither host, user nor command becomes an option of `ssh`.
pub(crate) fn login(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let (target, command) = text.split_once('\n').map_or((text, None), |(target, command)| (target, Some(command)));
    let Ok(mut login) = Login::parse(target) else { return };
    let plain = |text: &str| !text.starts_with('-') && text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(plain(login.host()) && login.user().is_none_or(plain), "{login:?}");
    if let Some(command) = command {
        let Ok(with_command) = login.with_command(command) else { return };
        login = with_command;
    }
    let arguments = login.arguments(Path::new("/run/agent.sock"));
    let mut last = arguments.iter().rev();
    if let Some(command) = login.command() {
        assert!(last.next().is_some_and(|argument| argument == command) && !command.starts_with('-'), "{login:?}");
    }
    assert!(last.next().is_some_and(|argument| argument == login.host()), "{arguments:?}");
    assert!(last.next().is_some_and(|argument| argument == "--"), "{arguments:?}");
}

pub(crate) fn server_url(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(url) = text.parse::<ServerUrl>() {
        assert_eq!(url.to_string().parse(), Ok(url));
    }
}

pub(crate) fn intended_use(bytes: &[u8]) {
    if let Some(read) = stays_the_same::<Use>(bytes)
        && read.check().is_ok()
    {
        assert!(read.covers(&read));
        assert_eq!(read.covers(&Use::reveal()), read.reveal, "nothing but reveal reveals");
    }
}

pub(crate) fn daemon_call(bytes: &[u8]) {
    stays_the_same::<Call>(bytes);
    stays_the_same::<Event>(bytes);
}

pub(crate) fn config(bytes: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<Config>(bytes) {
        // whatever it says, these have a value
        let _: (_, _, _) = (config.cache_ttl(), config.daemon_idle_timeout(), config.ssh_agent_integration());
    }
}

pub(crate) fn wire_types(bytes: &[u8]) {
    stays_the_same::<wire::AccessRequest>(bytes);
    stays_the_same::<wire::AccessResponse>(bytes);
    stays_the_same::<wire::ErrorResponse>(bytes);
    stays_the_same::<wire::FieldsRequest>(bytes);
    stays_the_same::<wire::SearchRequest>(bytes);
    stays_the_same::<wire::SearchResponse>(bytes);
    stays_the_same::<wire::SecretResponse>(bytes);
    stays_the_same::<wire::StatusResponse>(bytes);
    stays_the_same::<wire::WatchRequest>(bytes);
    stays_the_same::<wire::WatchResponse>(bytes);
}

/// What is wrong with a key is said without a line of it.
pub(crate) fn ssh_key(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let said = match SshKey::parse(&SecretValue::copy_of(text)) {
        Ok(key) => format!("{key:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    let lines = text.lines().map(str::trim).filter(|line| line.len() >= 16 && !line.starts_with("-----"));
    assert!(!lines.clone().any(|line| said.contains(line)), "{said}");
}

/// A value is seen in none of its plainest forms, wherever the output is cut: the first bytes are the value, the next where
/// to cut.
pub(crate) fn redaction(bytes: &[u8]) {
    let Some((value, rest)) = bytes.split_at_checked(16) else { return };
    let Some((&[first, second], around)) = rest.split_first_chunk() else { return };
    let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    let secret = SecretValue::copy_of(&value);
    let Ok(redactor) = Redactor::new([("item/field", &secret)]) else { return };
    for form in [value.clone(), value.chars().rev().collect(), value.to_uppercase()] {
        let (before, after) = around.split_at(around.len() / 2);
        let output = [before, form.as_bytes(), after].concat();
        let mut stream = redactor.stream();
        let mut shown = Vec::new();
        let (one, rest) = output.split_at(usize::from(first).min(output.len()));
        let (two, three) = rest.split_at(usize::from(second).min(rest.len()));
        for piece in [one, two, three] {
            shown.extend(stream.push(piece));
        }
        shown.extend(stream.finish());
        assert!(!shown.windows(form.len()).any(|seen| seen == form.as_bytes()), "{form} of {output:?}");
    }
}

/// Text from outside takes one line, and nothing of it hides or turns around what stands beside it.
pub(crate) fn shown_text(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let shown = message::shown(text);
    // the isolation of right-to-left text is ours, around all of it
    let inner = shown.strip_prefix('\u{2068}').and_then(|rest| rest.strip_suffix('\u{2069}')).unwrap_or(&shown);
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    assert!(!inner.contains(hides), "{inner:?}");
    assert!(text.is_empty() == inner.is_empty() && !inner.starts_with(' ') && !inner.ends_with(' '), "{inner:?}");
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// What is understood is written so that it is understood the same.
fn stays_the_same<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_value(&read).expect("what was read can be written");
    let again: T = serde_json::from_value(written.clone()).expect("what was written can be read");
    let again = serde_json::to_value(&again).expect("and written");
    assert_eq!(again, written);
    Some(read)
}
