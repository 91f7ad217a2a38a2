//! The legacy Markdown parse mode, with its traps: no nesting, and backslashes mean nothing inside an entity.

use super::formatting::Formatted;

/// Reads legacy Markdown. The error is what the Bot API says after `can't parse entities: `.
pub(super) fn parse(source: &str) -> Result<Formatted, String> {
    let mut text = Formatted::default();
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        let begin = source.len() - rest.len();
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        let escaped = after.chars().next().filter(|next| "_*`[".contains(*next));
        match (character, escaped) {
            ('\\', Some(next)) => {
                text.push(next);
                rest = after.get(1..).unwrap_or_default();
            }
            ('_' | '*' | '`' | '[', _) => {
                let unended = || format!("Can't find end of the entity starting at byte offset {begin}");
                rest = entity(character, after, &mut text).ok_or_else(unended)?;
            }
            _ => {
                text.push(character);
                rest = after;
            }
        }
    }
    Ok(text)
}

/// Reads an entity after its first character and returns what follows it; `None` when it does not end.
fn entity<'a>(start: char, after: &'a str, text: &mut Formatted) -> Option<&'a str> {
    let offset = text.length();
    let mut inside = |body: &str| body.chars().for_each(|character| text.push(character));
    match start {
        '`' => {
            if let Some(block) = after.strip_prefix("``") {
                let (language, block) = split_language(block);
                let (body, rest) = block.split_once("```")?;
                inside(body);
                text.close("pre", offset, None, language);
                return Some(rest);
            }
            let (body, rest) = after.split_once('`')?;
            inside(body);
            text.close("code", offset, None, None);
            Some(rest)
        }
        '[' => {
            let (body, rest) = after.split_once(']')?;
            inside(body);
            // Without an address the brackets merely disappear.
            let Some((url, rest)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) else {
                return Some(rest);
            };
            text.close("text_link", offset, Some(url.to_owned()), None);
            Some(rest)
        }
        _ => {
            let (body, rest) = after.split_once(start)?;
            inside(body);
            let kind = if start == '*' { "bold" } else { "italic" };
            text.close(kind, offset, None, None);
            Some(rest)
        }
    }
}

/// Splits the word right after the opening backticks, and one line break, from a block.
fn split_language(block: &str) -> (Option<String>, &str) {
    let end = block.find(|character: char| character.is_whitespace() || character == '`');
    let (language, rest) = block.split_at(end.unwrap_or(0));
    let (language, rest) =
        if language.is_empty() || rest.starts_with('`') { (None, block) } else { (Some(language.to_owned()), rest) };
    (language, rest.strip_prefix('\n').unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn entities_do_not_nest_and_code_knows_no_escapes() {
        let text = parse("*a_b* `x\\_y` \\_z [t](https://e.example)").unwrap();
        assert_eq!(text.plain, "a_b x\\_y _z t");
        let kinds: Vec<_> = text.entities.iter().map(|entity| entity.kind.as_str()).collect();
        assert_eq!(kinds, ["bold", "code", "text_link"]);
    }

    #[test]
    fn a_lone_mark_is_refused() {
        for source in ["snake_case", "5 * 3", "`a\\`b`", "[x"] {
            let complaint = parse(source).unwrap_err();
            assert!(complaint.starts_with("Can't find end of the entity"), "{source}: {complaint}");
        }
    }
}
