//! Takes secret values out of what a command prints.
//!
//! A [`Redactor`] knows the values and the shapes in which they can come out; a [`RedactedStream`] passes output on, with
//! every such shape replaced by `[redacted:…]`, wherever the output is cut into pieces. See `forms` for the shapes,
//! `lanes` for what may stand between their bytes, and `escapes` for what may stand for them. It is a net with known
//! holes, not a wall: a command that means to disclose a value can do so, by compressing it for example.

mod escapes;
mod forms;
mod grams;
mod index;
mod lanes;
mod stream;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::HashSet;
use std::sync::Arc;

use crate::SecretValue;

use forms::{Form, forms};
use index::Index;
use lanes::Lane;

pub use stream::RedactedStream;

/// The shortest value that can be told from other text, in bytes that are not white space.
pub const MIN_REDACTED: usize = forms::MIN_FORM;

/// Knows the values that must not be seen.
///
/// ```
/// use secret_gate_core::SecretValue;
/// use secret_gate_core::exec::Redactor;
///
/// let token: SecretValue = "correct-horse".to_owned().into();
/// let redactor = Redactor::new([("api/token", &token)])?;
/// let shown = redactor.redact(b"curl -H 'Authorization: Bearer correct-horse'");
/// assert_eq!(shown, b"curl -H 'Authorization: Bearer [redacted:api/token]'");
/// // base64 of user:correct-horse
/// assert_eq!(redactor.redact(b"dXNlcjpjb3JyZWN0LWhvcnNl"), b"dXNlcjp[redacted:api/token]");
/// # Ok::<(), secret_gate_core::exec::TooShort>(())
/// ```
#[derive(Debug, Clone)]
pub struct Redactor {
    known: Arc<Known>,
}

#[derive(Debug)]
struct Known {
    text: Index,
    digits: Index,
    markers: Vec<String>,
}

/// A value is too short to be told from other text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{label} is too short to be redacted: it needs at least {MIN_REDACTED} bytes that are not white space")]
#[non_exhaustive]
pub struct TooShort {
    /// Which.
    pub label: String,
}

impl Redactor {
    /// Knows these values, each under the label that is shown in its place, such as `item/field`.
    ///
    /// # Errors
    /// [`TooShort`] for values with fewer than [`MIN_REDACTED`] bytes that are not white space.
    pub fn new<'a, L: Into<String>>(values: impl IntoIterator<Item = (L, &'a SecretValue)>) -> Result<Self, TooShort> {
        let mut markers = Vec::new();
        let mut all: Vec<(usize, Form)> = Vec::new();
        for (label, value) in values {
            let label = label.into();
            if lanes::squeezed(value.expose()).len() < MIN_REDACTED {
                return Err(TooShort { label });
            }
            let number = markers.len();
            all.extend(forms(value.expose()).into_iter().map(|form| (number, form)));
            markers.push(format!("[redacted:{label}]"));
        }
        // two fields with one value: what stands for the first stands for both
        let mut seen = HashSet::new();
        let all: Vec<&(usize, Form)> =
            all.iter().filter(|(_, form)| seen.insert((form.lane, form.text.as_slice()))).collect();
        let [text, digits] = [Lane::Text, Lane::Digits].map(|lane| Index::new(lane, &all));
        Ok(Self { known: Arc::new(Known { text, digits, markers }) })
    }

    /// A filter for one stream of output.
    #[must_use]
    pub fn stream(&self) -> RedactedStream {
        RedactedStream::new(Arc::clone(&self.known))
    }

    /// A whole text at once.
    #[must_use]
    pub fn redact(&self, text: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        let mut shown = stream.push(text);
        shown.extend(stream.finish());
        shown
    }
}
