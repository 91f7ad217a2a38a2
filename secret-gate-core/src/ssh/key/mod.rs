//! A private key out of a vault, in any of the forms it may have there.

mod armor;
mod formats;
mod sign;

use std::fmt;

use base64ct::{Base64, Base64Unpadded, Encoding as _};
use sha2::{Digest as _, Sha256};
use ssh_encoding::{Decode as _, Encode as _};
use ssh_key::private::KeypairData;
use ssh_key::public::KeyData;
use zeroize::{Zeroizing, zeroize_stack};

use super::fields::Fields;
use crate::SecretValue;

/// The longest text that is taken for a key, in bytes. An RSA key of 8192 bits needs 6.5 KiB.
pub const MAX_KEY_TEXT: usize = 16 * 1024;

/// How much of the stack is wiped after work with a key, in bytes: the libraries that do it move the numbers of a key from
/// place to place there, and threads that wait for more work keep their stacks.
const STACK: usize = 64 * 1024;

/// A private key for SSH: Ed25519, RSA (2048 to 8192 bits) or ECDSA (P-256, P-384, P-521).
///
/// It lies in locked memory, wiped when dropped, and is taken out for each signature only. What can be said of it is its
/// [public half](Self::public).
pub struct SshKey {
    /// As the agent protocol and OpenSSH's key files have it: the algorithm, then its numbers.
    encoded: SecretValue,
    public: SshPublicKey,
}

impl SshKey {
    /// Reads a key in OpenSSH's format, PKCS#8, PKCS#1 or SEC1, all as PEM and without a passphrase.
    ///
    /// Lines may end in any way and be indented, and text may stand around the key.
    ///
    /// # Errors
    /// [`KeyError`] says what it is instead, and what to do. It holds nothing of the text.
    pub fn parse(value: &SecretValue) -> Result<Self, KeyError> {
        let text = value.expose();
        if text.len() > MAX_KEY_TEXT {
            return Err(KeyError::TooLong);
        }
        let key = Self::read(text);
        zeroize_stack::<STACK>();
        key
    }

    #[inline(never)]
    fn read(text: &str) -> Result<Self, KeyError> {
        let (format, bytes) = armor::unwrap(text)?;
        let key = formats::read(format, &bytes)?;
        let malformed = |_| KeyError::Malformed { format: format.name() };
        let mut encoded = Zeroizing::new(Vec::with_capacity(key.encoded_len().map_err(malformed)?));
        key.encode(&mut *encoded).map_err(malformed)?;
        let mut blob = Vec::new();
        KeyData::try_from(&key)
            .map_err(|_| KeyError::Unsupported { what: "this kind of key" })?
            .encode(&mut blob)
            .map_err(malformed)?;
        Ok(Self { encoded: SecretValue::copy_of_bytes(&encoded), public: SshPublicKey { blob } })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &SshPublicKey {
        &self.public
    }

    /// Signs as the agent protocol asks for it; the answer is the signature with its algorithm's name.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Result<Vec<u8>, KeyError> {
        let signature = self.signature(data, flags);
        zeroize_stack::<STACK>();
        signature
    }

    #[inline(never)]
    fn signature(&self, data: &[u8], flags: u32) -> Result<Vec<u8>, KeyError> {
        let key = KeypairData::decode(&mut self.encoded()).map_err(|_| KeyError::Unable)?;
        sign::sign(&key, data, flags)
    }

    /// The private key as the agent protocol has it.
    pub(super) fn encoded(&self) -> &[u8] {
        self.encoded.expose_bytes()
    }
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoded: _, public } = self;
        f.debug_struct("SshKey").field("public", public).finish_non_exhaustive()
    }
}

/// A public key for SSH. Shown as the line that `authorized_keys` takes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SshPublicKey {
    blob: Vec<u8>,
}

impl SshPublicKey {
    /// From the bytes that the protocols have for it; `None` where no algorithm's name leads them.
    pub(super) fn from_blob(blob: &[u8]) -> Option<Self> {
        let name = Fields::new(blob).string()?;
        let plain = !name.is_empty() && name.len() <= 64 && name.iter().all(u8::is_ascii_graphic);
        plain.then(|| Self { blob: blob.to_vec() })
    }

    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Name of the algorithm, such as `ssh-ed25519`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        Fields::new(&self.blob).string().and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// `SHA256:` and 43 characters, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", Base64Unpadded::encode_string(&Sha256::digest(&self.blob)))
    }
}

impl fmt::Display for SshPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), Base64::encode_string(&self.blob))
    }
}

impl fmt::Debug for SshPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshPublicKey({} {})", self.algorithm(), self.fingerprint())
    }
}

/// Why a text can't be used as a key for SSH. No message holds any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Longer than [`MAX_KEY_TEXT`].
    #[error("longer than any key for ssh: at most {MAX_KEY_TEXT} bytes are read")]
    TooLong,
    /// There is no private key in the text.
    #[error("not a private key: a line like -----BEGIN OPENSSH PRIVATE KEY----- is needed")]
    NotAKey,
    /// It is a public key.
    #[error(
        "this is a public key: the private key is needed, which begins with a line like -----BEGIN OPENSSH PRIVATE KEY-----"
    )]
    Public,
    /// It needs a passphrase.
    #[error(
        "the key is encrypted with a passphrase: store it without one (ssh-keygen -p -f COPY, with an empty new \
         passphrase), since the vault protects it"
    )]
    Encrypted,
    /// A kind of key or of file that is not read.
    #[error(
        "{what} can't be used: keys may be Ed25519, RSA or ECDSA (P-256, P-384, P-521), as OpenSSH, PKCS#8, PKCS#1 or SEC1 PEM"
    )]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// An RSA key that is too small to be safe or too large to be handled.
    #[error("RSA keys must have 2048 to 8192 bits, this one has {bits}")]
    RsaSize {
        /// Length of the modulus.
        bits: usize,
    },
    /// Cut off, damaged or made wrongly.
    #[error("the {format} private key is damaged: it may be cut off, store it again")]
    Malformed {
        /// The format it is in.
        format: &'static str,
    },
    /// A signature with SHA-1 was asked for.
    #[error("a signature with SHA-1 is refused: the server is too old")]
    Sha1,
    /// The key can't sign.
    #[error("signing failed")]
    Unable,
}
