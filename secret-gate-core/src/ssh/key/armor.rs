//! Takes a private key out of its PEM wrapping (RFC 7468), more kindly than the rules ask for: what people paste into a
//! vault has other line ends, is indented, has lost its last line break or was folded anew.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use super::KeyError;

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    OpenSsh,
    Pkcs8,
    Pkcs1,
    Sec1,
}

impl Format {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::OpenSsh => "OpenSSH",
            Self::Pkcs8 => "PKCS#8",
            Self::Pkcs1 => "PKCS#1",
            Self::Sec1 => "SEC1",
        }
    }
}

/// The bytes of the first private key in the text.
pub(super) fn unwrap(text: &str) -> Result<(Format, Zeroizing<Vec<u8>>), KeyError> {
    let (label, rest) = first_block(text)?;
    let format = match label {
        "OPENSSH PRIVATE KEY" => Format::OpenSsh,
        "PRIVATE KEY" => Format::Pkcs8,
        "RSA PRIVATE KEY" => Format::Pkcs1,
        "EC PRIVATE KEY" => Format::Sec1,
        "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
        "DSA PRIVATE KEY" => return Err(KeyError::Unsupported { what: "a DSA key" }),
        _ => return Err(KeyError::Unsupported { what: "a key in this format" }),
    };
    let malformed = KeyError::Malformed { format: format.name() };
    let Some((body, end)) = rest.split_once("-----END ") else { return Err(malformed) };
    if !end.starts_with(label) {
        return Err(malformed);
    }
    // "Proc-Type: 4,ENCRYPTED", in files of older programs
    if body.contains("ENCRYPTED") && body.contains(':') {
        return Err(KeyError::Encrypted);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len()));
    bytes.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
    let length = Base64::decode_in_place(&mut bytes).map_err(|_| malformed)?.len();
    bytes.truncate(length);
    Ok((format, bytes))
}

/// The label of the first block that holds a private key, and what follows its first line.
fn first_block(text: &str) -> Result<(&str, &str), KeyError> {
    let mut rest = text;
    let mut public = false;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = after.split_once("-----") else { break };
        if label.ends_with("PRIVATE KEY") {
            return Ok((label, body));
        }
        public |= label.ends_with("PUBLIC KEY");
        rest = body;
    }
    let text = text.trim_start();
    if text.starts_with("PuTTY-User-Key-File-") {
        return Err(KeyError::Unsupported { what: "a PuTTY key file (puttygen -O private-openssh converts it)" });
    }
    public |= ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| text.starts_with(prefix));
    Err(if public { KeyError::Public } else { KeyError::NotAKey })
}
