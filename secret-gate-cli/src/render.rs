//! Answers as text for standard output.

use std::collections::BTreeMap;
use std::fmt::Write;

use secret_gate_core::wire::{FieldsResponse, Revealed, SearchResponse};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::ui::visible;

/// The values of one item, by label.
pub(crate) type Values = BTreeMap<String, Revealed>;

/// One match a line: name, vault, how good it is and why.
pub(crate) fn search(answer: &SearchResponse) -> String {
    let mut text = String::new();
    for found in &answer.results {
        let (name, vault) = (visible(&found.secret_name), visible(&found.vault_name));
        writeln!(text, "{name}  ({vault})  {:.2} {}", found.score, visible(&found.match_type)).ok();
    }
    text
}

/// The matches and the query, as one line of JSON.
pub(crate) fn search_json(answer: &SearchResponse) -> serde_json::Result<String> {
    let SearchResponse { query, results, incomplete: _ } = answer;
    json_line(&serde_json::json!({ "results": results, "query": query }))
}

/// One field a line: label and type, in columns.
pub(crate) fn fields(answer: &FieldsResponse) -> String {
    let labels: Vec<_> = answer.fields.iter().map(|field| visible(&field.label)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (label, field) in labels.iter().zip(&answer.fields) {
        writeln!(text, "{label:width$}  {}", visible(&field.kind)).ok();
    }
    text
}

/// The answer as one line of JSON.
pub(crate) fn fields_json(answer: &FieldsResponse) -> serde_json::Result<String> {
    json_line(answer)
}

fn json_line(answer: &impl Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string(answer)? + "\n")
}

/// A field's bare value.
pub(crate) fn value(value: &Revealed) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(value.0.len() + 1));
    text.extend_from_slice(value.0.expose().as_bytes());
    text.push(b'\n');
    text
}

/// The bare value where there is one field, else a line `label: value` for each, sorted by label.
pub(crate) fn values(values: &Values) -> Zeroizing<Vec<u8>> {
    if let (1, Some(only)) = (values.len(), values.values().next()) {
        return value(only);
    }
    let lines: Vec<_> = values.iter().map(|(label, value)| (visible(label) + ": ", value.0.expose())).collect();
    let length = lines.iter().map(|(label, value)| label.len() + value.len() + 1).sum();
    // as large as it gets from the start: a vector that grows leaves copies behind, and they would not be wiped
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    for (label, value) in lines {
        text.extend_from_slice(label.as_bytes());
        text.extend_from_slice(value.as_bytes());
        text.push(b'\n');
    }
    text
}

/// The flat object `{label: value}`, as one line of JSON.
pub(crate) fn values_json(values: &Values) -> serde_json::Result<Zeroizing<Vec<u8>>> {
    // a character takes at most six bytes in JSON
    let length: usize = values.iter().map(|(label, value)| 6 * (label.len() + value.0.len()) + 6).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(length + 3));
    serde_json::to_writer(&mut *text, values)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(label, value)| ((*label).to_owned(), Revealed((*value).into()))).collect()
    }

    #[test]
    fn one_value_is_bare_and_several_are_named() {
        assert_eq!(values(&of(&[("password", "x: y")])).as_slice(), b"x: y\n");
        let several = of(&[("user\n", "ann"), ("key", "one\ntwo")]);
        assert_eq!(values(&several).as_slice(), b"key: one\ntwo\nuser\\n: ann\n");
        assert_eq!(values(&of(&[])).as_slice(), b"");
    }

    #[test]
    fn buffers_with_values_do_not_grow() {
        let worst = of(&[("\u{1}\u{2}", "\u{1}\u{1f}\"\\\n"), ("é", "🔑")]);
        let text = values_json(&worst).unwrap();
        assert!(text.len() <= text.capacity());
        let length: usize = worst.iter().map(|(label, value)| 6 * (label.len() + value.0.len()) + 6).sum();
        assert!(text.capacity() == length + 3, "grown to {}", text.capacity());
        let back: BTreeMap<String, String> = serde_json::from_slice(&text).unwrap();
        assert_eq!(back["é"], "🔑");
    }
}
