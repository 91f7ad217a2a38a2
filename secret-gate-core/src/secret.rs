//! The one type that holds a secret.

use std::fmt;
use std::sync::Once;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use zeroize::Zeroize;

/// A secret value: text in memory pages of its own, locked against swapping and wiped when dropped.
///
/// It has one loud reader, [`expose`](Self::expose), and no `Display`, `Serialize`, `PartialEq` or `Clone`,
/// so that a value can't end in a log line or a comparison by accident. Where the operating system refuses to
/// lock the pages (`RLIMIT_MEMLOCK`), the value is kept all the same and one warning is logged.
///
/// ```
/// use secret_gate_core::SecretValue;
///
/// let password = SecretValue::new("correct horse".to_owned());
/// assert_eq!(format!("{password:?}"), "SecretValue(..)");
/// assert_eq!(password.expose(), "correct horse");
/// ```
pub struct SecretValue {
    // dropped in this order: wiped (in `Drop`), then unlocked, then freed
    lock: Option<region::LockGuard>,
    buffer: Box<[u8]>,
    start: usize,
    len: usize,
}

impl SecretValue {
    /// Takes `text` into locked pages and wipes the `String` it came from.
    #[must_use]
    pub fn new(mut text: String) -> Self {
        let value = Self::copy_of(&text);
        text.zeroize();
        value
    }

    /// Copies `text` into locked pages; wiping the original is up to the caller.
    #[must_use]
    pub fn copy_of(text: &str) -> Self {
        Self::copy_of_bytes(text.as_bytes())
    }

    /// For use within the crate, where the bytes are not taken for text.
    pub(crate) fn copy_of_bytes(bytes: &[u8]) -> Self {
        let page = region::page::size();
        // Whole pages that nothing else shares: locks do not nest, so a shared page would be unlocked by its neighbour.
        let span = bytes.len().max(1).next_multiple_of(page);
        let mut buffer = vec![0_u8; span + page - 1].into_boxed_slice();
        let start = buffer.as_ptr().align_offset(page).min(page - 1);
        let lock = lock_pages(buffer.get(start..start + span).unwrap_or_default());
        if let Some(target) = buffer.get_mut(start..start + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        Self { lock, buffer, start, len: bytes.len() }
    }

    /// The value itself. Every call is a place to look at when asking where a secret can leak.
    #[must_use]
    pub fn expose(&self) -> &str {
        // always UTF-8: the bytes were copied from a `str`
        std::str::from_utf8(self.expose_bytes()).unwrap_or_default()
    }

    /// The bytes of the value, without a look at each of them on the way.
    pub(crate) fn expose_bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Length in bytes; says nothing else about the value.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the value is the empty string.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the operating system agreed to keep the value's pages out of swap.
    #[must_use]
    pub const fn is_locked(&self) -> bool {
        self.lock.is_some()
    }
}

fn lock_pages(pages: &[u8]) -> Option<region::LockGuard> {
    static WARN: Once = Once::new();
    match region::lock(pages.as_ptr(), pages.len()) {
        Ok(guard) => Some(guard),
        Err(error) => {
            WARN.call_once(|| {
                tracing::warn!(%error, "memory can't be locked, secrets may be swapped out; raise RLIMIT_MEMLOCK");
            });
            None
        }
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}

impl From<String> for SecretValue {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for SecretValue {
    fn from(text: &str) -> Self {
        Self::copy_of(text)
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SecretValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretValue, E> {
                Ok(SecretValue::copy_of(text))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<SecretValue, E> {
                Ok(SecretValue::new(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_was_given() {
        for text in ["", "x", "pässwörd 🔑", &"long".repeat(10_000)] {
            let value = SecretValue::new(text.to_owned());
            assert_eq!(value.expose(), text);
            assert_eq!(value.len(), text.len());
            assert_eq!(value.is_empty(), text.is_empty());
        }
    }

    #[test]
    fn lives_in_pages_of_its_own() {
        let page = region::page::size();
        let values: Vec<_> = (0..16).map(|n| SecretValue::new(format!("value {n}"))).collect();
        let mut pages: Vec<_> = values.iter().map(|v| v.expose().as_ptr() as usize).collect();
        assert!(pages.iter().all(|at| at % page == 0));
        pages.dedup();
        assert_eq!(pages.len(), values.len());
    }

    #[test]
    fn debug_hides_the_value() {
        let shown = format!("{:?} {:#?}", SecretValue::from("hunter2"), SecretValue::from("hunter2"));
        assert!(!shown.contains("hunter2"));
    }

    #[test]
    fn errors_of_reading_a_text_do_not_quote_it() {
        let error = serde_json::from_str::<SecretValue>("\"abc").unwrap_err();
        assert!(!error.to_string().contains("abc"), "{error}");
    }
}
