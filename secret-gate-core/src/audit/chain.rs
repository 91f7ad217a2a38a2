//! How audit lines hang together: each carries its number and the hash of the line before it.
//!
//! A line is a JSON object that begins with `n`, counted from 1 and on through rotation, and `prev`, the SHA-256 of the
//! line before it, without its line break, in hexadecimal; 64 zeros in line 1.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// No line is longer, in bytes.
pub(super) const MAX_LINE: usize = 16 * 1024 * 1024;

/// How every line begins.
const BEGINNING: &[u8] = b"{\"n\":";

/// SHA-256 of a line.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LineHash([u8; 32]);

impl LineHash {
    /// The hash of a line, without its line break.
    pub(super) fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }
}

impl From<Sha256> for LineHash {
    fn from(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for LineHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LineHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// Hexadecimal digits of a hash that an anchor keeps: 64 bits, more than anybody can aim at.
const ANCHOR_DIGITS: usize = 16;

/// A place in an audit log that somebody else remembers: a line's number and the beginning of its hash.
///
/// Each message that asks a human carries one, so that the chat bears witness to the log: cutting off or rewriting the
/// log up to that line does not go unnoticed; see [`verify`](super::verify). It is written `4711:3f2a91c04b7d6e55`, with
/// 16 digits of the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditAnchor {
    /// The line's number, counted from 1.
    pub position: u64,
    /// The first 16 hexadecimal digits, or more, of the line's SHA-256.
    pub hash: String,
}

impl AuditAnchor {
    pub(super) fn new(position: u64, hash: LineHash) -> Self {
        let mut hash = hash.to_string();
        hash.truncate(ANCHOR_DIGITS);
        Self { position, hash }
    }

    pub(super) fn names(&self, hash: LineHash) -> bool {
        hash.to_string().starts_with(&self.hash)
    }
}

impl fmt::Display for AuditAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.position, self.hash.get(..ANCHOR_DIGITS).unwrap_or(&self.hash))
    }
}

/// Text is no [`AuditAnchor`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not of the form NUMBER:HASH with 16 to 64 hexadecimal digits, as messages show it")]
#[non_exhaustive]
pub struct AnchorError;

impl FromStr for AuditAnchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Self, AnchorError> {
        let (position, hash) = text.trim().split_once(':').ok_or(AnchorError)?;
        let position = position.parse().ok().filter(|position| *position > 0).ok_or(AnchorError)?;
        let fits = (ANCHOR_DIGITS..=64).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Self { position, hash: hash.to_ascii_lowercase() }).ok_or(AnchorError)
    }
}

/// The end of a chain: the latest line's number and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) position: u64,
    pub(super) hash: LineHash,
}

impl Head {
    /// The line that carries this next, without a line break, and the head that it makes.
    pub(super) fn next(self, body: &impl Serialize) -> serde_json::Result<(String, Self)> {
        #[derive(Serialize)]
        struct Line<'a, T> {
            n: u64,
            prev: LineHash,
            #[serde(flatten)]
            body: &'a T,
        }
        let position = self.position.saturating_add(1);
        let line = serde_json::to_string(&Line { n: position, prev: self.hash, body })?;
        let hash = LineHash::of(line.as_bytes());
        Ok((line, Self { position, hash }))
    }

    pub(super) fn anchor(self) -> AuditAnchor {
        AuditAnchor::new(self.position, self.hash)
    }
}

/// What the log says of itself, in lines of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Note {
    /// The bytes before this line are what was left of lines whose writing was cut off. They never counted.
    Recovered { torn_bytes: u64, torn_sha256: LineHash },
    /// That line was written, but not surely kept, so it did not count.
    Void { line: u64 },
    /// The lines before this one are in another file, of this name where it is known.
    Continued {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
}

/// What ties a line to the chain, out of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) head: Head,
    pub(super) prev: LineHash,
    pub(super) note: Option<Note>,
}

impl Link {
    /// `None` for what is no line of an audit log.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Header {
            n: u64,
            prev: LineHash,
        }
        let text = std::str::from_utf8(line).ok().filter(|_| line.starts_with(BEGINNING))?;
        let Header { n, prev } = serde_json::from_str(text).ok().filter(|header: &Header| header.n > 0)?;
        let head = Head { position: n, hash: LineHash::of(line) };
        Some(Self { head, prev, note: serde_json::from_str(text).ok() })
    }

    pub(super) fn follows(&self, head: Head) -> bool {
        self.prev == head.hash && Some(self.head.position) == head.position.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_is_written() {
        let (line, head) = Head::default().next(&Note::Void { line: 7 }).unwrap();
        let zeros = "0".repeat(64);
        assert_eq!(line, format!(r#"{{"n":1,"prev":"{zeros}","event":"void","line":7}}"#));
        let anchor = head.anchor();
        assert_eq!(anchor.to_string().parse(), Ok(anchor.clone()));
        assert!(anchor.names(head.hash) && !anchor.names(LineHash::default()));
        let whole = format!(" 1:{} ", head.hash.to_string().to_uppercase());
        assert!(whole.parse::<AuditAnchor>().unwrap().names(head.hash), "the whole hash does as well");
        for wrong in
            ["", "1", ":", "0:3f2a91c04b7d6e55", "1:3f2a91c04b7d6e5", "1:3f2a91c04b7d6e5g", "-1:3f2a91c04b7d6e55"]
        {
            assert_eq!(wrong.parse::<AuditAnchor>(), Err(AnchorError), "{wrong}");
        }
        assert!(format!("1:{}", "a".repeat(65)).parse::<AuditAnchor>().is_err());
    }

    #[test]
    fn a_link_is_read_from_a_line_and_from_nothing_else() {
        let (line, head) = Head::default().next(&Note::Continued { after: Some("audit.1-7".into()) }).unwrap();
        let link = Link::of(line.as_bytes()).unwrap();
        assert!(link.follows(Head::default()) && !link.follows(head));
        assert_eq!((link.head, link.note), (head, Some(Note::Continued { after: Some("audit.1-7".into()) })));
        let cut = &line.as_bytes()[..line.len() - 1];
        for wrong in [cut, b"", b"{}", br#"{"n":0,"prev":""}"#, br#"{"n":1,"prev":"00"}"#, b"\xff"] {
            assert_eq!(Link::of(wrong), None);
        }
    }
}
