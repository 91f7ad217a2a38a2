//! The clients of servers: one for all who ask a server in the same way, since each has roots of trust of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ask::{failure, scope};
use super::call::{Failure, FailureKind, Wish};
use crate::SecretValue;
use crate::client::RemoteGate;
use crate::sync::lock;

/// The clients that are in use.
#[derive(Debug, Default)]
pub(super) struct Gates {
    known: Mutex<HashMap<String, Weak<RemoteGate>>>,
}

impl Gates {
    /// The client for the server of this wish: one that is in use, or a new one.
    pub(super) fn of(&self, wish: &Wish) -> Result<Arc<RemoteGate>, Failure> {
        let authority = authority(wish)?;
        let digest = authority.as_ref().map(|pem| hex::encode(Sha256::digest(pem)));
        // the scope names the server and the key
        let way = format!("{} {digest:?} {:?}", scope(wish), wish.poll_interval_ms);
        let mut known = lock(&self.known);
        if let Some(gate) = known.get(&way).and_then(Weak::upgrade) {
            return Ok(gate);
        }
        let gate = Arc::new(build(wish, authority)?);
        known.retain(|_, gate| gate.strong_count() > 0);
        known.insert(way, Arc::downgrade(&gate));
        Ok(gate)
    }
}

/// The CA certificates that the wish names, as they are now.
fn authority(wish: &Wish) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = &wish.private_ca else { return Ok(None) };
    if !path.is_file() {
        // a pipe would hold up everybody
        return Err(Failure::new(FailureKind::Invalid, format!("{} is no file with certificates", path.display())));
    }
    std::fs::read(path).map(Some).map_err(|error| invalid(&error))
}

fn build(wish: &Wish, authority: Option<Vec<u8>>) -> Result<RemoteGate, Failure> {
    let server = wish.server.parse().map_err(|error| invalid(&error))?;
    let mut builder = RemoteGate::builder(server);
    if let Some(key) = &wish.api_key {
        builder = builder.with_api_key(SecretValue::copy_of(key.0.0.expose()));
    }
    if let Some(interval) = wish.poll_interval_ms {
        builder = builder.with_poll_interval(Duration::from_millis(interval));
    }
    if let Some(pem) = authority {
        builder = builder.with_private_ca(pem);
    }
    builder.build().map_err(failure)
}

fn invalid(error: &dyn std::error::Error) -> Failure {
    Failure::new(FailureKind::Invalid, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::daemon::Key;
    use crate::wire::Revealed;

    fn wish(server: &str, key: Option<&str>, private_ca: Option<PathBuf>) -> Wish {
        let api_key = key.map(|key| Key(Revealed(SecretValue::copy_of(key))));
        Wish { server: server.into(), api_key, private_ca, ..Wish::default() }
    }

    #[test]
    fn who_asks_in_the_same_way_shares_a_client_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let certificate = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem();
        std::fs::write(&ca, certificate("one")).unwrap();
        let ways = [
            wish("https://gate.example", None, None),
            wish("https://other.example", None, None),
            wish("https://gate.example", Some("key"), None),
            wish("https://gate.example", Some("another"), None),
            wish("https://gate.example", Some("key"), Some(ca.clone())),
            Wish { poll_interval_ms: Some(1), ..wish("https://gate.example", None, None) },
        ];
        let gates = Gates::default();
        let first: Vec<_> = ways.iter().map(|wish| gates.of(wish).unwrap()).collect();
        for (at, wish) in ways.iter().enumerate() {
            let again = gates.of(wish).unwrap();
            let same: Vec<_> = first.iter().map(|gate| Arc::ptr_eq(gate, &again)).collect();
            assert_eq!(same.iter().position(|same| *same), Some(at));
            assert_eq!(same.iter().filter(|same| **same).count(), 1);
        }
        // the certificates count as they are now, under whatever name
        std::fs::write(&ca, certificate("two")).unwrap();
        let renewed = gates.of(&ways[4]).unwrap();
        assert!(first.iter().all(|gate| !Arc::ptr_eq(gate, &renewed)));
        std::fs::remove_file(&ca).unwrap();
        assert!(gates.of(&ways[4]).is_err());

        // what nobody uses is not kept
        drop((first, renewed));
        assert!(gates.of(&ways[0]).is_ok());
        assert_eq!(lock(&gates.known).len(), 1);
    }
}
