//! Text with entities, and what all ways of writing them have in common.

use serde_json::Value;

use super::{html, markdown, types::Entity};

/// A text after entity parsing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Formatted {
    pub(super) plain: String,
    pub(super) entities: Vec<Entity>,
    /// The length of `plain` in UTF-16 code units, which is what entities count in.
    length: usize,
}

impl Formatted {
    /// Reads `text` in a parse mode (case-insensitive; empty means none). The error is what the Bot API says after
    /// `Bad Request: `.
    pub(super) fn parse(text: &str, parse_mode: &str, entities: Option<&Value>) -> Result<Self, String> {
        let parsed = match parse_mode.to_ascii_lowercase().as_str() {
            "" => Ok(Self::plain(text, entities)),
            "html" => html::parse(text),
            "markdown" => markdown::parse(text),
            "markdownv2" => {
                return Err("unsupported parse_mode in this double: MarkdownV2".to_owned());
            }
            _ => return Err("unsupported parse_mode".to_owned()),
        };
        let mut formatted = parsed.map_err(|why| format!("can't parse entities: {why}"))?;
        formatted.trim();
        let key = |entity: &Entity| (entity.offset, usize::MAX - entity.length);
        formatted.entities.sort_by_key(key);
        Ok(formatted)
    }

    fn plain(text: &str, entities: Option<&Value>) -> Self {
        let mut formatted = Self::default();
        text.chars().for_each(|character| formatted.push(character));
        let given = entities.and_then(Value::as_array).into_iter().flatten();
        formatted.entities = given.filter_map(read_entity).collect();
        formatted
    }

    pub(super) fn push(&mut self, character: char) {
        self.plain.push(character);
        self.length += character.len_utf16();
    }

    /// The length in UTF-16 code units.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// Adds an entity from `offset` up to the present end, unless it is empty.
    pub(super) fn close(&mut self, kind: &str, offset: usize, url: Option<String>, language: Option<String>) {
        let length = self.length - offset;
        if length > 0 {
            self.entities.push(Entity { kind: kind.to_owned(), offset, length, url, language });
        }
    }

    /// Removes white space at both ends, as Telegram does; at the start only up to the first entity.
    fn trim(&mut self) {
        self.plain.truncate(self.plain.trim_end().len());
        let first = self.entities.iter().map(|entity| entity.offset).min();
        let leading = self.plain.len() - self.plain.trim_start().len();
        // White space that can be trimmed is one UTF-16 unit each.
        let units = self.plain.chars().take_while(|character| character.is_whitespace()).count();
        if leading > 0 && first.is_none_or(|first| first >= units) {
            self.plain.drain(..leading);
            self.entities.iter_mut().for_each(|entity| entity.offset -= units);
        }
        self.length = self.plain.encode_utf16().count();
        for entity in &mut self.entities {
            entity.length = entity.length.min(self.length.saturating_sub(entity.offset));
        }
        self.entities.retain(|entity| entity.length > 0);
    }
}

fn read_entity(json: &Value) -> Option<Entity> {
    let number = |member| json.get(member)?.as_u64().and_then(|number| usize::try_from(number).ok());
    let text = |member| json.get(member)?.as_str().map(str::to_owned);
    Some(Entity {
        kind: text("type")?,
        offset: number("offset")?,
        length: number("length")?,
        url: text("url"),
        language: text("language"),
    })
}
