//! Who asks, and how a request is named.

use std::fmt;
use std::net::Ipv6Addr;

/// Who asks, as far as it was checked; never what the requester says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Requester {
    /// The name of the key that the requester showed.
    pub key_name: Option<String>,
    /// Whether the key says that its operator keeps the value from the agent. Only then is an intended use other than
    /// getting the value more than the requester's word.
    pub broker: bool,
    /// The network address the request came from.
    pub address: Option<String>,
}

impl Requester {
    /// A requester about whom nothing was checked.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::default()
    }

    /// The holder of the key of this name.
    pub fn with_key(name: impl Into<String>, broker: bool) -> Self {
        Self { key_name: Some(name.into()), broker, address: None }
    }

    /// The same requester at this address.
    #[must_use]
    pub fn at(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// What limits are counted by: the key's name, else the address; of an IPv6 address the first 64 bits, since whoever
    /// has one has them all.
    #[must_use]
    pub fn identity(&self) -> String {
        match (&self.key_name, &self.address) {
            (Some(name), _) => format!("key {name}"),
            (None, Some(address)) => match address.parse::<Ipv6Addr>() {
                Ok(v6) => {
                    let [a, b, c, d, ..] = v6.segments();
                    format!("address {a:x}:{b:x}:{c:x}:{d:x}::/64")
                }
                Err(_) => format!("address {address}"),
            },
            (None, None) => "unauthenticated".to_owned(),
        }
    }
}

/// The name of a request: 16 hexadecimal digits, random, not secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(String);

impl RequestId {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RequestId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_by_key_else_by_address() {
        let at = |address: &str| Requester::unauthenticated().at(address).identity();
        assert_eq!(Requester::with_key("ci", false).at("10.0.0.7").identity(), "key ci");
        assert_eq!(at("10.0.0.7"), "address 10.0.0.7");
        assert_eq!(at("2001:db8::1"), at("2001:db8::2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    }
}
