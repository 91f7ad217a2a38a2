//! Who asks: API keys, and the address behind trusted proxies.

mod access;
mod edit;
mod keys;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use ipnet::IpNet;
use secret_gate_core::{Gate, Requester};

use crate::error::ApiError;

pub use edit::{EditError, add_key, key_line, remove_key};
pub use keys::{KeysError, KeysFile};

/// How often the keys are looked at, whether or not anybody asks.
const REVOCATION_PACE: Duration = Duration::from_millis(500);

/// Tells who sends a request.
#[derive(Debug, Default)]
pub struct Identity {
    keys: Option<KeysFile>,
    trusted_proxies: Vec<IpNet>,
}

impl Identity {
    /// Everybody may ask unless there is a keys file; nobody's `X-Forwarded-For` counts but these proxies'.
    #[must_use]
    pub const fn new(keys: Option<KeysFile>, trusted_proxies: Vec<IpNet>) -> Self {
        Self { keys, trusted_proxies }
    }

    /// Whether requesters need a key.
    #[must_use]
    pub const fn needs_key(&self) -> bool {
        self.keys.is_some()
    }

    /// Takes back what was asked with keys that are revoked, for as long as it is polled.
    pub(crate) async fn take_back_revoked(&self, gate: &Gate) {
        let Some(keys) = &self.keys else { return };
        loop {
            tokio::time::sleep(REVOCATION_PACE).await;
            let revoked = keys.revoked();
            if !revoked.is_empty() {
                let gate = gate.clone();
                // by itself: a release under way settles first, and holds up no other revocation
                tokio::spawn(async move {
                    let asked =
                        |requester: &Requester| requester.key_name.as_ref().is_some_and(|name| revoked.contains(name));
                    let requests = gate.take_back_where(asked).await;
                    tracing::info!(keys = ?revoked, requests, "took back what was asked with revoked keys");
                });
            }
        }
    }

    pub(crate) fn requester(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Requester, ApiError> {
        let requester = match &self.keys {
            Some(keys) => {
                let key = bearer(headers).and_then(|key| keys.find(key)).ok_or_else(ApiError::unauthorized)?;
                Requester::with_key(key.name, key.broker)
            }
            None => Requester::unauthenticated(),
        };
        Ok(requester.at(self.address(headers, peer).to_string()))
    }

    /// Whether this is the address of a trusted proxy.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&address))
    }

    /// The peer's address; behind trusted proxies the last address in `X-Forwarded-For` that is not one of theirs.
    fn address(&self, headers: &HeaderMap, peer: SocketAddr) -> IpAddr {
        let mut address = peer.ip().to_canonical();
        let forwarded: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        for hop in forwarded.iter().rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')) {
            if !self.trusts(address) {
                break;
            }
            // whatever stands before something unreadable could be made up
            let Some(before) = std::str::from_utf8(hop).ok().and_then(|hop| parse_hop(hop.trim())) else { break };
            address = before;
        }
        address
    }
}

fn parse_hop(text: &str) -> Option<IpAddr> {
    // some proxies write an IPv6 address in brackets, with or without a port
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(|address| address.to_canonical());
    }
    let address = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn address(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
        let nets = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let mut all = HeaderMap::new();
        for line in forwarded {
            all.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        Identity::new(None, nets).address(&all, SocketAddr::new(peer.parse().unwrap(), 1)).to_string()
    }

    #[test]
    fn forwarded_for_counts_only_from_trusted_proxies() {
        assert_eq!(address(&[], "203.0.113.9", &["10.0.0.1"]), "203.0.113.9");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        // what the requester wrote itself stands to the left of what the proxy added
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["127.0.0.1, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["1.1.1.1, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["203.0.113.9, nonsense"]), "10.0.0.1");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["6.6.6.6", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(address(&["10.0.0.0/8"], "::ffff:10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &["[2001:db8::1]"]), "2001:db8::1");
        for odd in ["[10.1.1.1]", "[2001:db8::1", "2001:db8::1]", "[[::1]]", "[]", "["] {
            assert_eq!(address(&["10.0.0.0/8"], "10.0.0.1", &[odd]), "10.0.0.1", "{odd}");
        }
    }

    #[test]
    fn an_unreadable_line_of_forwarded_for_is_a_stop() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        headers.append("x-forwarded-for", HeaderValue::from_bytes(b"\xff").unwrap());
        let identity = Identity::new(None, vec!["10.0.0.0/8".parse().unwrap()]);
        let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 1);
        assert_eq!(identity.address(&headers, peer).to_string(), "10.0.0.1");
    }

    #[test]
    fn keys_are_found_and_follow_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let line = |name: &str, key: &str, rest: &str| format!("{name} {}{rest}\n", hex::encode(Sha256::digest(key)));
        std::fs::write(&path, format!("# keys\n\n{}{}", line("ci", "k1", ""), line("vm", "k2", " broker"))).unwrap();
        let identity = Identity::new(Some(KeysFile::open(&path).unwrap()), vec![]);
        let peer = "127.0.0.1:1".parse().unwrap();
        let ask = |value: &str| identity.requester(&headers(&[("authorization", value)]), peer);
        assert_eq!(ask("Bearer k2").unwrap(), Requester::with_key("vm", true).at("127.0.0.1"));
        assert_eq!(ask("bearer k1").unwrap(), Requester::with_key("ci", false).at("127.0.0.1"));
        for wrong in ["Bearer k3", "Bearer ", "Basic k1", "k1"] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
        assert!(identity.requester(&HeaderMap::new(), peer).is_err());

        std::fs::write(&path, line("vm", "k2", "")).unwrap();
        assert!(ask("Bearer k1").is_err());
        assert!(!ask("Bearer k2").unwrap().broker);
        std::fs::write(&path, "vm not-a-hash\n").unwrap();
        assert!(ask("Bearer k2").is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(ask("Bearer k2").is_err());
        std::fs::write(&path, line("vm", "k2", "")).unwrap();
        assert!(ask("Bearer k2").is_ok());
    }
}
