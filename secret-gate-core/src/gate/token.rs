//! The token that redeems a request.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// 256 random bits that the requester holds, as 64 hexadecimal digits. Redeems an approved request exactly once.
///
/// Wiped when dropped, but not in locked pages: anybody can present any number of tokens, and those pages are for values.
pub struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut())?;
        Ok(Self(Zeroizing::new(hex::encode(bytes.as_ref()))))
    }

    /// A token as somebody presents it; whether it is one is only known to the gate.
    #[must_use]
    pub fn presented(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The token's text, for the requester alone.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the gate keeps of a token: enough to know it again, too little to redeem anything, and nothing whose
    /// comparison could tell by its time how much of a guess is right.
    pub(crate) fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.expose().as_bytes()).into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenDigest([u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (a, b) = (Token::random().unwrap(), Token::random().unwrap());
        assert_eq!(a.expose().len(), 64);
        assert!(a.digest() != b.digest());
        assert!(Token::presented(a.expose()).digest() == a.digest());
        assert!(!format!("{a:?} {:?}", a.digest()).contains(a.expose()));
    }
}
