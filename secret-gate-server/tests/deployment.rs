//! The files that the server is deployed with name the variables that it reads, all of them and no others.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use secret_gate_server::config::Config;

/// Read by the log, which is there before the rest.
const OF_THE_LOG: [&str; 2] = ["LOG_FORMAT", "RUST_LOG"];

/// Read by Compose, and what the compose file makes of it.
const OF_COMPOSE: [&str; 4] = ["COMPOSE_PROFILES", "PUBLISH_ADDRESS", "SECRET_GATE_IMAGE", "SECRET_GATE_PULL_POLICY"];

fn file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every variable that the server asks for.
fn asked_for() -> BTreeSet<String> {
    let names = RefCell::new(BTreeSet::from(OF_THE_LOG.map(str::to_owned)));
    Config::read(|name| {
        names.borrow_mut().insert(name.to_owned());
        Ok(None)
    })
    .unwrap_err();
    names.into_inner()
}

/// The lines `NAME=value` and `#NAME=value` of the example, and whether they are commented out.
fn example() -> BTreeMap<String, (String, bool)> {
    let mut lines = BTreeMap::new();
    for line in file("../.env.example").lines() {
        let (text, is_comment) = line.strip_prefix('#').map_or((line, false), |text| (text, true));
        let Some((name, value)) = text.split_once('=') else { continue };
        if name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            let twice = lines.insert(name.to_owned(), (value.to_owned(), is_comment));
            assert!(twice.is_none(), "{name} stands there twice");
        }
    }
    lines
}

#[test]
fn the_example_explains_every_variable_and_no_other() {
    let mut known = asked_for();
    known.extend(OF_COMPOSE.map(str::to_owned));
    assert_eq!(example().into_keys().collect::<BTreeSet<_>>(), known);

    // each after a comment that is not a variable itself, perhaps with one above that shares it
    let text = file("../.env.example");
    let mut explained = false;
    for line in text.lines() {
        if line.starts_with("# ") {
            explained = true;
        } else if line.is_empty() {
            explained = false;
        } else {
            assert!(explained, "nothing explains {line}");
        }
    }
}

#[test]
fn what_the_example_leaves_open_stops_the_start_and_nothing_can_be_taken_for_a_token() {
    let example = example();
    let set = |name: &str| example.get(name).filter(|(_, is_comment)| !is_comment).map(|(value, _)| value.clone());
    let error = Config::read(|name| Ok(set(name))).unwrap_err().to_string();
    let open: Vec<&str> = error.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(open, ["OP_CONNECT_TOKEN", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "WEBHOOK_BASE_URL"]);
}

#[test]
fn the_defaults_that_the_example_shows_are_the_servers() {
    let filled = |name: &str| {
        let value = match name {
            "OP_CONNECT_HOST" | "WEBHOOK_BASE_URL" => "http://localhost",
            "OP_CONNECT_TOKEN" | "TELEGRAM_BOT_TOKEN" => "1:a",
            "TELEGRAM_CHAT_ID" => "42",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let by_default = Config::read(|name| Ok(filled(name))).unwrap();
    // where the example shows a place in the container or an address of one's own, the server has no default
    let not_defaults = ["API_KEYS_FILE", "AUDIT_LOG", "TRUSTED_PROXIES"];
    let example = example();
    let as_shown = Config::read(|name| {
        let shown = example.get(name).filter(|(_, is_comment)| *is_comment && !name.ends_with("_FILE"));
        let shown = shown.filter(|_| !not_defaults.contains(&name));
        Ok(filled(name).or_else(|| shown.map(|(value, _)| value.clone())))
    })
    .unwrap();
    assert_eq!(format!("{as_shown:?}"), format!("{by_default:?}"));
}

#[test]
fn unit_and_compose_file_set_what_the_server_reads() {
    let known = asked_for();
    let unit = file("systemd/secret-gate.service");
    let set: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split('=').next()).collect();
    assert_eq!(set, ["OP_CONNECT_TOKEN_FILE", "TELEGRAM_BOT_TOKEN_FILE", "API_KEYS_FILE", "AUDIT_LOG"]);
    assert!(set.iter().all(|name| known.contains(*name)), "{set:?}");
    for credential in ["connect-token", "bot-token"] {
        let (loaded, read) = (format!("LoadCredential={credential}:/etc/"), format!("_FILE=%d/{credential}"));
        assert!(unit.contains(&loaded) && unit.contains(&read), "{credential}");
    }

    let compose = file("../docker-compose.yml");
    let (_, environment) = compose.split_once("    environment:\n").unwrap();
    let set: Vec<&str> = environment
        .lines()
        .take_while(|line| line.starts_with("      "))
        .filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name))
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert_eq!(set, ["BIND_ADDRESS", "PORT", "API_KEYS_FILE", "AUDIT_LOG"]);
    assert!(set.iter().all(|name| known.contains(*name)), "{set:?}");
}
