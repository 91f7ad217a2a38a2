//! Our members in somebody's JSON file, put in and taken out again; comments, order, indentation, line ends and
//! trailing commas of the rest stay.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstRootNode};
use serde_json::Value;

/// Something of ours in a JSON file.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// A member at this path. Of an object the members that are not ours stay.
    Member { path: Vec<&'static str>, value: CstInputValue },
    /// A text in the list at this path.
    Element { path: Vec<&'static str>, text: &'static str },
}

/// What is wrong with a file, in the user's words.
pub(super) type Problem = String;

/// The text with the pieces in it.
pub(super) fn put(text: &str, pieces: &[Piece]) -> Result<String, Problem> {
    let root = parse(text)?;
    let top = root.object_value_or_create().ok_or("it holds no object")?;
    for piece in pieces {
        match piece {
            Piece::Member { path, value } => merge(&top, path, value)?,
            Piece::Element { path, text } => add(&top, path, text)?,
        }
    }
    let changed = root.to_string();
    // what we write has to be read again, or the file stays as it is
    parse(&changed)?;
    Ok(changed)
}

/// The text without the pieces.
pub(super) fn take(text: &str, pieces: &[Piece]) -> Result<String, Problem> {
    let root = parse(text)?;
    let Some(top) = root.object_value() else { return Ok(text.to_owned()) };
    for piece in pieces {
        match piece {
            Piece::Member { path, .. } => {
                let Some((name, parents)) = path.split_last() else { continue };
                if let Some(member) = descend(&top, parents).and_then(|object| object.get(name)) {
                    member.remove();
                }
            }
            Piece::Element { path, text } => {
                let Some((name, parents)) = path.split_last() else { continue };
                let list = descend(&top, parents).and_then(|object| object.array_value(name));
                for element in list.into_iter().flat_map(|list| list.elements()) {
                    if is_text(&element, text) {
                        element.remove();
                    }
                }
            }
        }
    }
    Ok(root.to_string())
}

/// Whether the text holds nothing but empty objects and lists.
pub(super) fn is_bare(text: &str) -> bool {
    fn is_empty(value: &Value) -> bool {
        match value {
            Value::Object(members) => members.values().all(is_empty),
            Value::Array(elements) => elements.is_empty(),
            _ => false,
        }
    }
    !has_comments(text)
        && parse(text).is_ok_and(|root| root.to_serde_value().is_none_or(|value| value.is_object() && is_empty(&value)))
}

/// The text at the top of this JSON file under this name.
pub(super) fn text_at(text: &str, name: &str) -> Option<String> {
    let root = parse(text).ok()?;
    let Value::String(text) = root.object_value()?.get(name)?.value()?.to_serde_value()? else { return None };
    Some(text)
}

fn has_comments(text: &str) -> bool {
    // a file of empty objects has no strings in which these could stand but names, and then it is kept
    text.contains("//") || text.contains("/*")
}

fn parse(text: &str) -> Result<CstRootNode, Problem> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        ..ParseOptions::default()
    };
    CstRootNode::parse(text, &options).map_err(|error| {
        let problem = error.kind().to_string();
        format!("line {}: {}", error.line_display(), lower_case(&problem))
    })
}

fn lower_case(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn descend(top: &CstObject, path: &[&str]) -> Option<CstObject> {
    path.iter().try_fold(top.clone(), |object, name| object.object_value(name))
}

/// Puts a value at this path, and the objects above it where they are missing.
fn merge(object: &CstObject, path: &[&str], value: &CstInputValue) -> Result<(), Problem> {
    match path {
        [] => match value {
            CstInputValue::Object(members) => {
                members.iter().try_for_each(|(name, value)| merge(object, &[name.as_str()], value))
            }
            _ => Err("it holds no object".to_owned()),
        },
        [name, below @ ..] => {
            refuse_twice(object, name)?;
            let Some(member) = object.get(name) else {
                object.append(name, nested(below, value.clone()));
                return Ok(());
            };
            match value {
                _ if !below.is_empty() => {
                    let inner = member.object_value().ok_or_else(|| format!("{name} is not an object"))?;
                    merge(&inner, below, value)
                }
                CstInputValue::Object(_) => {
                    let inner = member.object_value().ok_or_else(|| format!("{name} is not an object"))?;
                    merge(&inner, &[], value)
                }
                _ => {
                    if member.value().and_then(|there| there.to_serde_value()) != Some(plain(value)) {
                        member.set_value(value.clone());
                    }
                    Ok(())
                }
            }
        }
    }
}

/// Appends a text to the list at this path, unless it is there.
fn add(object: &CstObject, path: &[&str], text: &str) -> Result<(), Problem> {
    let [name, below @ ..] = path else { return Err("it holds no object".to_owned()) };
    refuse_twice(object, name)?;
    let list = || CstInputValue::Array(vec![text.into()]);
    let Some(member) = object.get(name) else {
        object.append(name, nested(below, list()));
        return Ok(());
    };
    if !below.is_empty() {
        return add(&member.object_value().ok_or_else(|| format!("{name} is not an object"))?, below, text);
    }
    let there = member.array_value().ok_or_else(|| format!("{name} is not a list"))?;
    if !there.elements().iter().any(|element| is_text(element, text)) {
        there.append(text.into());
    }
    Ok(())
}

/// Of a name that stands there twice, programs disagree which one counts.
fn refuse_twice(object: &CstObject, name: &str) -> Result<(), Problem> {
    let times = object.properties().iter().filter(|one| one.decoded_name().as_deref() == Some(name)).count();
    if times > 1 { Err(format!("{name} stands there {times} times")) } else { Ok(()) }
}

fn nested(path: &[&str], value: CstInputValue) -> CstInputValue {
    path.iter().rev().fold(value, |inner, name| CstInputValue::Object(vec![((*name).to_owned(), inner)]))
}

fn is_text(node: &CstNode, text: &str) -> bool {
    node.to_serde_value().is_some_and(|value| value == text)
}

fn plain(value: &CstInputValue) -> Value {
    match value {
        CstInputValue::Null => Value::Null,
        CstInputValue::Bool(value) => Value::Bool(*value),
        CstInputValue::Number(text) => text.parse().map_or(Value::Null, Value::Number),
        CstInputValue::String(text) => Value::String(text.clone()),
        CstInputValue::Array(elements) => Value::Array(elements.iter().map(plain).collect()),
        CstInputValue::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Vec<Piece> {
        let entry = CstInputValue::Object(vec![
            ("command".to_owned(), "/bin/secret-gate".into()),
            ("args".to_owned(), vec!["mcp"].into()),
            ("timeout".to_owned(), 900_000_u32.into()),
        ]);
        vec![
            Piece::Member { path: vec!["mcpServers", "secret-gate"], value: entry },
            Piece::Element { path: vec!["permissions", "allow"], text: "mcp__secret-gate__*" },
        ]
    }

    /// Texts as people and programs leave them.
    const TEXTS: [&str; 12] = [
        "",
        "\n",
        "{}",
        "{ }\n",
        "{\"a\":1}",
        "{\n\t\"a\": 1\n}\n",
        "{\r\n  \"a\": 1, // x\r\n}\r\n",
        "// c\n{\n    \"a\": {\n        \"b\": [1, 2,],\n    }, /* y */\n}\n// end\n",
        "{\n  \"mcpServers\": {\n    // nothing\n  }\n}\n",
        "{\"mcpServers\":{\"x\":{\"command\":\"q\"}},\"z\":2}",
        "{\n  \"permissions\": { \"allow\": [\"Bash(ls)\", // why\n    \"Read\"] },\n  \"ü\": \"\\u00e9\"\n}",
        "{\"mcpServers\": {}, \"permissions\": {\"allow\": []}}",
    ];

    #[test]
    fn what_was_there_stays_and_ours_comes_once() {
        for text in TEXTS {
            let changed = put(text, &pieces()).unwrap();
            let value = parse(&changed).unwrap().to_serde_value().unwrap();
            assert_eq!(value["mcpServers"]["secret-gate"]["timeout"], 900_000, "{changed}");
            let allowed = value["permissions"]["allow"].as_array().unwrap();
            assert_eq!(allowed.last().unwrap(), "mcp__secret-gate__*", "{changed}");
            assert_eq!(put(&changed, &pieces()).unwrap(), changed, "a second time changes something");
            // every word of the old text is still there, in its order
            let words = |text: &str| -> Vec<String> {
                let split = text.split(|c: char| c.is_whitespace() || "{}[],:".contains(c));
                split.filter(|word| !word.is_empty()).map(str::to_owned).collect()
            };
            let new = words(&changed);
            let mut rest = new.iter();
            assert!(words(text).iter().all(|word| rest.any(|other| other == word)), "{text}\n{changed}");
            assert_eq!(text.contains('\r'), changed.contains('\r'));
        }
    }

    #[test]
    fn takes_out_what_it_put_in() {
        for text in TEXTS {
            let before = parse(text).unwrap().to_serde_value().unwrap_or_default();
            let taken = take(&put(text, &pieces()).unwrap(), &pieces()).unwrap();
            let after = parse(&taken).unwrap().to_serde_value().unwrap();
            for (name, value) in before.as_object().into_iter().flatten() {
                assert_eq!(&after[name], value, "{taken}");
            }
            assert!(!taken.contains("secret-gate"), "{taken}");
            assert_eq!(take(&taken, &pieces()).unwrap(), taken);
        }
    }

    #[test]
    fn an_entry_of_ours_is_brought_up_to_date_and_keeps_what_the_user_added() {
        let text = r#"{"mcpServers": {"secret-gate": {"command": "/old", "env": {"A": "b"}, "args": ["mcp"]}}}"#;
        let changed = put(text, &pieces()).unwrap();
        let entry = parse(&changed).unwrap().to_serde_value().unwrap()["mcpServers"]["secret-gate"].clone();
        assert_eq!((&entry["command"], &entry["env"]["A"]), (&"/bin/secret-gate".into(), &"b".into()), "{changed}");
    }

    #[test]
    fn leaves_alone_what_it_does_not_understand() {
        let deep = "[".repeat(100_000);
        for (text, problem) in [
            ("{\n\n\"a\" 1}", "line 3: expected colon"),
            ("[1]", "it holds no object"),
            ("{\"a\":1 \"b\":2}", "line 1: "),
            ("{\"mcpServers\": []}", "mcpServers is not an object"),
            ("{\"mcpServers\": {\"secret-gate\": null}}", "secret-gate is not an object"),
            ("{\"permissions\": {\"allow\": {}}}", "allow is not a list"),
            ("{\"mcpServers\": {}, \"mcpServers\": {}}", "mcpServers stands there 2 times"),
            ("\u{0}\u{1}", "line 1: "),
            (deep.as_str(), "line 1: maximum nesting depth"),
        ] {
            let said = put(text, &pieces()).unwrap_err();
            assert!(said.contains(problem), "{said}");
        }
    }

    #[test]
    fn knows_what_is_left_when_nothing_is_left() {
        for text in ["", "{}", "{\n  \"mcpServers\": {}\n}\n", "{\"permissions\": {\"allow\": []}}"] {
            assert!(is_bare(text), "{text}");
        }
        for text in ["{\"a\": 1}", "[]", "// mine\n{}", "{\"a\": {\"b\": \"\"}}", "{"] {
            assert!(!is_bare(text), "{text}");
        }
    }
}
