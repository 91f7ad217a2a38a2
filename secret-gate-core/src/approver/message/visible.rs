//! Text from outside, made safe to read: what can't be seen is named, and nothing can pass for something else.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_general_category::{GeneralCategory, get_general_category};

/// Marks over one letter beyond this many are named: stacks of them cover the lines around.
const MARKS_PER_LETTER: usize = 3;

/// The longest suffix that [`clamped`] adds, and the two marks of [`isolated`].
const CUT_ROOM: usize = "… (+1000000 characters)".len() + 2;

/// All of the text in one line, with every character visible: control characters and those that hide or turn text around
/// are spelled out.
#[must_use]
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    each(text, |piece| out.push_str(piece));
    isolated(out)
}

/// The text, cut so that it takes at most `room` UTF-16 code units; says how many characters are missing.
///
/// A room of less than about 30 units may be exceeded by what is said of the cut.
pub(crate) fn clamped(text: &str, room: usize) -> String {
    let room = room.saturating_sub(2);
    let mut out = String::new();
    let (mut used, mut count) = (0, 0);
    let (mut cut, mut kept) = (0, 0);
    each(text, |piece| {
        count += 1;
        used += piece.encode_utf16().count();
        if used <= room {
            out.push_str(piece);
        }
        if used + CUT_ROOM <= room {
            (cut, kept) = (out.len(), count);
        }
    });
    if used > room {
        out.truncate(cut);
        write!(out, "… (+{} characters)", count - kept).ok();
    }
    isolated(out)
}

/// A name in a list of names: quoted wherever it could pass for two, or for a mark of ours.
pub(crate) fn name(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    each(text, |piece| visible.push_str(piece));
    let ours = |c: char| !c.is_ascii() || matches!(c, ',' | '"' | '\\');
    if !visible.is_empty() && !visible.contains(ours) {
        return visible;
    }
    let mut quoted = String::with_capacity(visible.len() + 2);
    quoted.push('"');
    for c in visible.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    isolated(quoted)
}

/// An argument vector as a shell would need it typed, so that it shows where each argument ends.
pub(crate) fn command(argv: &[String]) -> String {
    let quoter = shlex::Quoter::new().allow_nul(true);
    let words = argv.iter().map(|word| {
        let quoted = quoter.quote(word).unwrap_or(Cow::Borrowed(word));
        shown(&quoted)
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Calls `push` with what each character looks like.
fn each(text: &str, mut push: impl FnMut(&str)) {
    let mut buffer = [0_u8; 4];
    let mut code = String::new();
    let mut chars = text.chars().peekable();
    let mut previous = None;
    let mut marks = MARKS_PER_LETTER;
    while let Some(c) = chars.next() {
        let category = get_general_category(c);
        let is_mark = matches!(category, GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark);
        marks = if is_mark { marks + 1 } else { 0 };
        let edge = |neighbour: Option<char>| neighbour.is_none_or(|c| c == ' ' || c.is_control());
        match c {
            ' ' if edge(previous) || edge(chars.peek().copied()) => push("␣"),
            '\n' => push("⏎"),
            '\t' => push("⇥"),
            c if is_hidden(c, category) || marks > MARKS_PER_LETTER || is_ours(c) => {
                code.clear();
                write!(code, "⟨U+{:04X}⟩", u32::from(c)).ok();
                push(&code);
            }
            c => push(c.encode_utf8(&mut buffer)),
        }
        previous = Some(c);
    }
}

/// The signs that stand for characters that can't be seen; where the text itself holds one, it is named.
const fn is_ours(c: char) -> bool {
    matches!(c, '␣' | '⏎' | '⇥' | '⟨' | '⟩')
}

fn is_hidden(c: char, category: GeneralCategory) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate, Unassigned,
    };
    match category {
        Control | Format | Surrogate | PrivateUse | Unassigned | LineSeparator | ParagraphSeparator => true,
        SpaceSeparator => c != ' ',
        // letters, marks and symbols by category that draw nothing
        _ => matches!(c,
            '\u{034F}' // combining grapheme joiner
            | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' // Hangul fillers
            | '\u{17B4}' | '\u{17B5}' // Khmer inherent vowels
            | '\u{180B}'..='\u{180F}' // Mongolian variation selectors
            | '\u{2800}' // Braille blank
            | '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' // variation selectors
            | '\u{FFFC}' // object replacement
            | '\u{13441}' | '\u{13442}' // Egyptian blanks
            | '\u{16FE4}' // Khitan filler
            | '\u{1D159}' // musical null notehead
        ),
    }
}

/// Text with right-to-left letters, kept from reordering what stands beside it.
fn isolated(text: String) -> String {
    let right_to_left = |c: char| {
        matches!(c, '\u{0590}'..='\u{08FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFF}'
            | '\u{10800}'..='\u{10FFF}' | '\u{1E800}'..='\u{1EFFF}')
    };
    if text.contains(right_to_left) { format!("\u{2068}{text}\u{2069}") } else { text }
}
