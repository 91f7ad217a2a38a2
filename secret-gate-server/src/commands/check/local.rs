//! What can be seen on this machine: files, and the clock.

use std::path::Path;
use std::time::Duration;

use secret_gate_server::config::Config;
use secret_gate_server::identity::KeysFile;

use super::super::key::keys_hint;
use super::http::Time;
use super::{Finding, count};

const API_KEYS: &str = "api_keys";
const AUDIT_LOG: &str = "audit_log";
const CLOCK: &str = "clock";

/// A clock that is wrong by more than this is told.
const LARGEST_DIFFERENCE: Duration = Duration::from_secs(30);

pub(super) fn api_keys(config: &Config) -> Finding {
    let Some(path) = &config.api_keys_file else {
        if config.bind_address.is_loopback() {
            return Finding::ok(API_KEYS, "none, and only this machine reaches the server");
        }
        return Finding::warn(
            API_KEYS,
            format!("none, so anybody who reaches {} may ask", config.bind_address),
            "secret-gate-server key new NAME --file /etc/secret-gate/keys, and set API_KEYS_FILE to that file",
        );
    };
    match KeysFile::open(path) {
        Ok(keys) => match keys.names().len() {
            0 => Finding::warn(
                API_KEYS,
                format!("no key in {}, so nobody may ask", path.display()),
                "secret-gate-server key new NAME",
            ),
            keys => Finding::ok(API_KEYS, format!("{} in {}", count(keys, "key", "keys"), path.display())),
        },
        Err(error) => Finding::fail(API_KEYS, format!("{} can't be used: {error}", path.display()), keys_hint(&error)),
    }
}

pub(super) fn audit_log(config: &Config) -> Finding {
    let Some(path) = &config.audit_log else { return Finding::ok(AUDIT_LOG, "in the program's log") };
    match is_writable(path) {
        Ok(()) => Finding::ok(AUDIT_LOG, format!("{} can be written", path.display())),
        Err(problem) => Finding::fail(
            AUDIT_LOG,
            format!("{} can't be written: {problem}", path.display()),
            "make its folder and let the server's user write there, or correct AUDIT_LOG",
        ),
    }
}

/// Tries without leaving a trace.
fn is_writable(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder)?;
    match std::fs::metadata(path) {
        Ok(there) if there.is_file() => std::fs::OpenOptions::new().append(true).open(path).map(drop),
        Ok(_) => Err(std::io::Error::other("it is not a file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

pub(super) fn clock(times: &[(&str, Option<Time>)]) -> Finding {
    let differences = times.iter().filter_map(|(who, time)| {
        let Time { theirs, ours } = (*time)?;
        let (apart, word) = match ours.duration_since(theirs) {
            Ok(ahead) => (ahead, "ahead of"),
            Err(behind) => (behind.duration(), "behind"),
        };
        Some((apart, word, *who))
    });
    match differences.max_by_key(|(apart, ..)| *apart) {
        None => Finding::warn(CLOCK, "nobody told the time to compare with", "mend what FAILs, and check again"),
        Some((apart, word, who)) if apart > LARGEST_DIFFERENCE => {
            let apart = humantime::format_duration(Duration::from_secs(apart.as_secs()));
            let detail = format!("this machine is {apart} {word} {who}");
            Finding::warn(CLOCK, detail, "let the machine set its clock by NTP; what is shown to people depends on it")
        }
        Some(_) => Finding::ok(CLOCK, format!("within {} s of others", LARGEST_DIFFERENCE.as_secs())),
    }
}
