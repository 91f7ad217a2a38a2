//! Lines of the message, cut to the width of a terminal so that each piece shows what it belongs to.

/// Columns that a line takes at most, with its prefix.
const WIDTH: usize = 76;

/// Stands before everything that the requester said.
pub(super) const QUOTE: &str = "│ ";

/// Goes on after a space, which is left out. Nothing else begins like this: every line begins with words of ours.
pub(super) const AFTER_A_SPACE: &str = "  ";

/// Goes on within a word.
pub(super) const WITHIN_A_WORD: &str = "↪ ";

const ISOLATE: char = '\u{2068}';
const END_OF_ISOLATE: char = '\u{2069}';

/// Adds a line, in as many pieces as it takes.
pub(super) fn push(out: &mut String, line: &str, quoted: bool) {
    let quote = if quoted { QUOTE } else { "" };
    let mut rest = line;
    let mut start = "";
    let mut is_isolated = false;
    loop {
        out.push_str(quote);
        out.push_str(start);
        let room = WIDTH - columns(quote) - columns(start);
        let (piece, after) = rest.split_at(fitting(rest, room));
        // right-to-left text is isolated within each piece
        if is_isolated {
            out.push(ISOLATE);
        }
        let words = if after.is_empty() { piece } else { piece.trim_end_matches(' ') };
        out.push_str(words);
        is_isolated = piece.chars().fold(is_isolated, |was, c| (was || c == ISOLATE) && c != END_OF_ISOLATE);
        if is_isolated {
            out.push(END_OF_ISOLATE);
        }
        if after.is_empty() {
            return;
        }
        out.push('\n');
        start = if words.len() < piece.len() { AFTER_A_SPACE } else { WITHIN_A_WORD };
        rest = after;
    }
}

/// The length of the piece that fits: all of it, or up to a space in its second half, or as much as there is room for.
fn fitting(text: &str, room: usize) -> usize {
    let mut used = 0;
    let mut space = None;
    for (at, c) in text.char_indices() {
        used += width(c);
        if used > room {
            return space.unwrap_or(at);
        }
        if c == ' ' && used > room / 2 {
            space = Some(at + 1);
        }
    }
    text.len()
}

fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Columns that a character takes at most: wherever terminals may disagree, the larger number.
const fn width(c: char) -> usize {
    match c {
        ISOLATE | END_OF_ISOLATE => 0,
        c if c.is_ascii() => 1,
        '│' | '↪' => 1,
        _ => 2,
    }
}
