//! How many files may be open, since each connection is one.

/// As many as are asked for; more would only let a flood grow.
const MOST_FILES: u64 = 16_384;

/// What the server keeps open whoever is connected: the log, the audit log, the keys, its own calls to Telegram.
const OWN_FILES: u64 = 64;

/// A connection costs its own and one more: a call to 1Password Connect, or the client that is downloaded.
const FILES_PER_CONNECTION: u64 = 2;

/// Raises the limit on open files as far as the system lets this process, at most to 16,384; for the start of `main`.
/// Many systems begin at 1,024, which leaves room for 480 connections.
pub fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
        if current.is_some_and(|current| current < wanted)
            && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
        {
            tracing::warn!(%error, "the limit on open files can't be raised");
        }
    }
}

/// How many connections the limit on open files leaves room for, one at least.
pub(crate) fn room_for_connections() -> usize {
    #[cfg(unix)]
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let files = None;
    connections_within(files)
}

fn connections_within(files: Option<u64>) -> usize {
    let room = |files: u64| (files.saturating_sub(OWN_FILES) / FILES_PER_CONNECTION).max(1);
    files.map_or(usize::MAX, |files| usize::try_from(room(files)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_never_take_the_last_file() {
        let rooms = [0, 64, 66, 1024, MOST_FILES].map(|files| connections_within(Some(files)));
        assert_eq!(rooms, [1, 1, 1, 480, 8160]);
        assert_eq!(connections_within(None), usize::MAX);
    }
}
