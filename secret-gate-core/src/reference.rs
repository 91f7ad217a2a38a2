//! Secret references: `op://vault/item/[section/]field`.

use std::fmt;
use std::str::FromStr;

/// A parsed secret reference, in the form that [1Password's tools](https://developer.1password.com/docs/cli/secret-reference-syntax/) use.
///
/// ```
/// use secret_gate_core::SecretReference;
///
/// let reference: SecretReference = "op://infra/database/admin/password".parse()?;
/// assert_eq!(reference.vault, "infra");
/// assert_eq!(reference.item, "database");
/// assert_eq!(reference.field, "admin/password");
/// # Ok::<(), secret_gate_core::ReferenceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretReference {
    /// Name or id of the vault.
    pub vault: String,
    /// Title or id of the item.
    pub item: String,
    /// `field` or `section/field`, with `?attribute=otp` where the current one-time code is meant.
    pub field: String,
}

/// Why a text is not a secret reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The text does not start with `op://`.
    #[error("a secret reference starts with op://")]
    Scheme,
    /// There are fewer than three or more than four parts, or one of them is empty.
    #[error("a secret reference has the form op://vault/item/[section/]field")]
    Parts,
}

impl SecretReference {
    /// How every reference starts.
    pub const SCHEME: &'static str = "op://";
}

impl FromStr for SecretReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let path = text.strip_prefix(Self::SCHEME).ok_or(ReferenceError::Scheme)?;
        let parts: Vec<&str> = path.split('/').collect();
        if parts.iter().any(|part| part.trim().is_empty()) {
            return Err(ReferenceError::Parts);
        }
        match parts.as_slice() {
            [vault, item, field] => Ok(Self::new(vault, item, (*field).to_owned())),
            [vault, item, section, field] => Ok(Self::new(vault, item, format!("{section}/{field}"))),
            _ => Err(ReferenceError::Parts),
        }
    }
}

impl SecretReference {
    fn new(vault: &str, item: &str, field: String) -> Self {
        Self { vault: vault.to_owned(), item: item.to_owned(), field }
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}/{}", Self::SCHEME, self.vault, self.item, self.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["op://v/i/f", "op://Work Vault/db prod/section/password", "op://v/i/code?attribute=otp"] {
            assert_eq!(text.parse::<SecretReference>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_forms() {
        assert_eq!("v/i/f".parse::<SecretReference>(), Err(ReferenceError::Scheme));
        for text in ["op://", "op://v", "op://v/i", "op://v//f", "op://v/i/s/f/x", "op:///i/f", "op://v/ /f"] {
            assert_eq!(text.parse::<SecretReference>(), Err(ReferenceError::Parts), "{text}");
        }
    }
}
