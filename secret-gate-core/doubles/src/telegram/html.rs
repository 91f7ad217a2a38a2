//! The HTML parse mode: the tags, entities and complaints of the Bot API ("HTML style").

use super::formatting::Formatted;

/// Reads HTML. The error is what the Bot API says after `can't parse entities: `.
pub(super) fn parse(source: &str) -> Result<Formatted, String> {
    let mut reader = Reader { source, at: 0 };
    let mut text = Formatted::default();
    let mut open: Vec<Open> = Vec::new();
    while let Some(character) = reader.next() {
        match character {
            // An unknown entity stays as it is written.
            '&' => text.push(reader.entity().unwrap_or('&')),
            '<' if reader.peek() == Some('/') => reader.end_tag(&mut open, &mut text)?,
            '<' => {
                let tag = reader.start_tag(&text)?;
                open.push(tag);
            }
            other => text.push(other),
        }
    }
    match open.last() {
        None => Ok(text),
        Some(tag) => Err(format!("Can't find end tag corresponding to start tag \"{}\"", tag.name)),
    }
}

/// A tag that was opened and not yet closed.
struct Open {
    name: String,
    /// `href`, the language of `class="language-…"`, or `expandable`.
    argument: Option<String>,
    /// Where its text begins, in UTF-16 code units and in bytes.
    offset: usize,
    byte: usize,
}

impl Open {
    fn close(self, text: &mut Formatted) {
        let kind = match self.name.as_str() {
            "b" | "strong" => "bold",
            "i" | "em" => "italic",
            "u" | "ins" => "underline",
            "s" | "strike" | "del" => "strikethrough",
            "tg-spoiler" | "span" => "spoiler",
            "blockquote" if self.argument.is_some() => "expandable_blockquote",
            "blockquote" => "blockquote",
            "code" => return text.close("code", self.offset, None, self.argument),
            "pre" => {
                let language = inner_language(text, self.offset);
                return text.close("pre", self.offset, None, language);
            }
            "a" => {
                // Without href the text itself is the link; what is no link at all stays plain text.
                let inner = text.plain.get(self.byte..).unwrap_or_default().to_owned();
                let url = self.argument.unwrap_or(inner);
                if url.contains('.') || url.contains("://") {
                    text.close("text_link", self.offset, Some(url), None);
                }
                return;
            }
            // Only bots with a bought user name may use custom emoji; for others the text remains.
            _ => return,
        };
        text.close(kind, self.offset, None, None);
    }
}

/// Takes back a `<code class="language-…">` that fills a `<pre>` and returns its language.
fn inner_language(text: &mut Formatted, offset: usize) -> Option<String> {
    let fills = |entity: &mut super::types::Entity| {
        entity.kind == "code" && entity.offset == offset && entity.language.is_some()
    };
    let code = text.entities.pop_if(fills)?;
    code.language
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !fits(character)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Reads what follows `&`: one of four names or a number, with or without a semicolon. Consumes nothing otherwise.
    fn entity(&mut self) -> Option<char> {
        let start = self.at;
        let character = self.entity_name();
        match character {
            None => self.at = start,
            Some(_) if self.peek() == Some(';') => self.at += 1,
            Some(_) => {}
        }
        character
    }

    fn entity_name(&mut self) -> Option<char> {
        if self.peek() != Some('#') {
            return match self.take_while(|character| character.is_ascii_alphabetic()) {
                "lt" => Some('<'),
                "gt" => Some('>'),
                "amp" => Some('&'),
                "quot" => Some('"'),
                _ => None,
            };
        }
        self.at += 1;
        let code = if self.peek() == Some('x') {
            self.at += 1;
            u32::from_str_radix(self.take_while(|digit| digit.is_ascii_hexdigit()), 16)
        } else {
            self.take_while(|digit| digit.is_ascii_digit()).parse()
        };
        char::from_u32(code.ok()?).filter(|character| *character != '\0')
    }

    /// Reads a start tag after its `<`.
    fn start_tag(&mut self, text: &Formatted) -> Result<Open, String> {
        let begin = self.at - 1;
        let unclosed = || format!("Unclosed start tag at byte offset {begin}");
        let name = self.take_while(|character| !character.is_whitespace() && character != '>');
        if self.rest().is_empty() {
            return Err(unclosed());
        }
        let name = name.to_ascii_lowercase();
        let known = [
            "a",
            "b",
            "strong",
            "i",
            "em",
            "s",
            "strike",
            "del",
            "u",
            "ins",
            "tg-spoiler",
            "tg-emoji",
            "span",
            "pre",
            "code",
            "blockquote",
        ];
        if !known.contains(&name.as_str()) {
            return Err(format!("Unsupported start tag \"{name}\" at byte offset {begin}"));
        }
        let mut argument = None;
        loop {
            self.skip_space();
            match self.peek() {
                None => return Err(unclosed()),
                Some('>') => break,
                Some(_) => {
                    if let Some(found) = self.attribute(&name, begin)? {
                        argument = Some(found);
                    }
                }
            }
        }
        self.at += 1;
        if name == "span" && argument.is_none() {
            return Err(format!("Tag \"span\" must have class \"tg-spoiler\" at byte offset {begin}"));
        }
        Ok(Open { name, argument, offset: text.length(), byte: text.plain.len() })
    }

    /// Reads one attribute and returns its value when the tag has a use for it.
    fn attribute(&mut self, tag: &str, begin: usize) -> Result<Option<String>, String> {
        let unclosed = || format!("Unclosed start tag at byte offset {begin}");
        let ends = |character: char| character.is_whitespace() || "=>/\"'".contains(character);
        let name = self.take_while(|character| !ends(character)).to_ascii_lowercase();
        if name.is_empty() {
            return Err(format!("Empty attribute name in the tag \"{tag}\" at byte offset {begin}"));
        }
        self.skip_space();
        let value = match self.peek() {
            None => return Err(unclosed()),
            Some('=') => {
                self.at += 1;
                self.skip_space();
                self.attribute_value().ok_or_else(unclosed)?
            }
            Some(_) if tag == "blockquote" && name == "expandable" => String::new(),
            Some(_) => {
                let what = "Expected equal sign in declaration of an attribute of the tag";
                return Err(format!("{what} \"{tag}\" at byte offset {begin}"));
            }
        };
        Ok(match (tag, name.as_str()) {
            ("a", "href") | ("blockquote", "expandable") => Some(value),
            ("code", "class") => value.strip_prefix("language-").map(str::to_owned),
            ("span", "class") if value == "tg-spoiler" => Some(value),
            _ => None,
        })
    }

    /// `None` when the source ends first.
    fn attribute_value(&mut self) -> Option<String> {
        let Some(quote) = self.peek().filter(|quote| "\"'".contains(*quote)) else {
            let bare = |character: char| character.is_ascii_alphanumeric() || ".-".contains(character);
            let value = self.take_while(bare).to_ascii_lowercase();
            return self.peek().map(|_| value);
        };
        self.at += 1;
        let mut value = String::new();
        loop {
            match self.next()? {
                end if end == quote => return Some(value),
                '&' => value.push(self.entity().unwrap_or('&')),
                other => value.push(other),
            }
        }
    }

    /// Reads an end tag after its `<`.
    fn end_tag(&mut self, open: &mut Vec<Open>, text: &mut Formatted) -> Result<(), String> {
        let begin = self.at - 1;
        self.at += 1;
        let Some(start) = open.pop() else {
            return Err(format!("Unexpected end tag at byte offset {begin}"));
        };
        let name = self.take_while(|character| !character.is_whitespace() && character != '>');
        self.skip_space();
        if self.next() != Some('>') {
            return Err(format!("Unclosed end tag at byte offset {begin}"));
        }
        let name = name.to_ascii_lowercase();
        // `</>` closes whatever is open.
        if !name.is_empty() && name != start.name {
            let expected = &start.name;
            return Err(format!(
                "Unmatched end tag at byte offset {begin}, expected \"</{expected}>\", found \"</{name}>\""
            ));
        }
        start.close(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn known_tags_become_entities_in_utf16_units() {
        let text = parse("😀 <b>Secret</b> &lt;<code>a&amp;b</code>&gt; &#x41;&nbsp;").unwrap();
        assert_eq!(text.plain, "😀 Secret <a&b> A&nbsp;");
        let found: Vec<_> = text.entities.iter().map(|e| (e.kind.as_str(), e.offset, e.length)).collect();
        assert_eq!(found, [("bold", 3, 6), ("code", 11, 3)]);
    }

    #[test]
    fn attributes_are_read() {
        let text = parse(concat!(
            "<a href=\"https://example.com/?a=1&amp;b=2\">x</a><span class='tg-spoiler'>y</span>",
            "<blockquote expandable>z</blockquote><pre><code class=\"language-rust\">fn</code></pre>",
        ))
        .unwrap();
        let kinds: Vec<_> = text.entities.iter().map(|entity| entity.kind.as_str()).collect();
        assert_eq!(kinds, ["text_link", "spoiler", "expandable_blockquote", "pre"]);
        assert_eq!(text.entities[0].url.as_deref(), Some("https://example.com/?a=1&b=2"));
        assert_eq!(text.entities[3].language.as_deref(), Some("rust"));
    }

    #[test]
    fn complaints_are_those_of_the_service() {
        for (source, complaint) in [
            ("a < b", "Unsupported start tag \"\" at byte offset 2"),
            ("a <br> b", "Unsupported start tag \"br\" at byte offset 2"),
            ("<b>x", "Can't find end tag corresponding to start tag \"b\""),
            ("x</b>", "Unexpected end tag at byte offset 1"),
            ("<b", "Unclosed start tag at byte offset 0"),
            ("<b>x</b", "Unclosed end tag at byte offset 4"),
            ("<b><i>x</b></i>", "Unmatched end tag at byte offset 7, expected \"</i>\", found \"</b>\""),
            ("<span>x</span>", "Tag \"span\" must have class \"tg-spoiler\" at byte offset 0"),
        ] {
            match parse(source) {
                Err(actual) => assert_eq!(actual, complaint, "{source}"),
                Ok(text) => panic!("{source} was accepted as {text:?}"),
            }
        }
    }
}
