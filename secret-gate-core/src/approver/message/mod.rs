//! The approval message: everything a human is told before they decide, and how the question ended.
//!
//! A message is made of lines, one fact each, and every line of spans. Text from outside has passed
//! `visible` before it becomes part of a span, so it holds no line break and nothing that can't be seen, and it is
//! set as code, so it never becomes a link, a mention or a bot command. [`html`] and [`plain`] are two renderings of
//! the same lines and read the same without their formatting. Plain text is wrapped here, so that a terminal of at least
//! 76 columns does not do it: a reason padded to its width would put its next words where a line of ours begins.

mod content;
mod outcome;
mod visible;
mod wrap;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::time::Duration;

use super::{ApproverError, Outcome, Question};

#[cfg(feature = "telegram")]
pub(crate) use visible::clamped;
pub use visible::shown;

/// Characters of one Telegram message, counted as UTF-16 code units without the formatting.
const MESSAGE_LIMIT: usize = 4096;

/// Kept free for the line that says how the question ended, so that what was once shown can still be shown then.
const OUTCOME_ROOM: usize = 200;

/// What the question itself may take.
const QUESTION_LIMIT: usize = MESSAGE_LIMIT - OUTCOME_ROOM;

/// The reason is shown up to this length, and up to the room that the other parts leave.
const REASON_LIMIT: usize = 1024;

/// The room for a reason that must be left, enough to say how much of it is not shown.
const REASON_ROOM: usize = 40;

/// The message in Telegram's HTML, with how the question ended where it did.
///
/// # Errors
/// [`ApproverError::TooLongToShow`] when the parts that are never shortened don't fit into one message.
pub fn html(question: &Question, outcome: Option<&Outcome>) -> Result<String, ApproverError> {
    Ok(as_html(&lines(question, outcome)?))
}

/// The message as plain text in lines of up to 76 columns, with how the question ended where it did.
///
/// What goes on in the next line is indented there, after `↪` where it was cut within a word. Each line of what the
/// requester said begins with `│`.
///
/// # Errors
/// As for [`html`]: the limit is the same everywhere, so that a question does not depend on who is asked.
pub fn plain(question: &Question, outcome: Option<&Outcome>) -> Result<String, ApproverError> {
    let mut text = String::new();
    for (index, line) in lines(question, outcome)?.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        wrap::push(&mut text, &line.text(), line.quoted);
    }
    Ok(text)
}

/// How the question ended, in one line of plain text.
#[must_use]
pub fn ending(outcome: &Outcome) -> String {
    outcome::line(outcome).text()
}

/// A length of time in words as short as a button: `1 h`, `1 h 30 min`, `90 s`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        let space = if text.is_empty() { "" } else { " " };
        write!(text, "{space}{count} {unit}").ok();
    }
    if text.is_empty() { "0 s".to_owned() } else { text }
}

/// How a span is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Our own words.
    Plain,
    /// Our own words that matter most.
    Bold,
    /// Text from outside.
    Code,
}

impl Style {
    const fn tag(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("b"),
            Self::Code => Some("code"),
        }
    }
}

/// One line of the message.
#[derive(Debug, Default)]
struct Line {
    spans: Vec<(Style, String)>,
    /// Whether it stands in the block of unchecked words.
    quoted: bool,
}

impl Line {
    fn of(label: &str) -> Self {
        Self::default().plain(label)
    }

    fn with(mut self, style: Style, text: impl Into<String>) -> Self {
        self.spans.push((style, text.into()));
        self
    }

    fn plain(self, text: impl Into<String>) -> Self {
        self.with(Style::Plain, text)
    }

    fn bold(self, text: impl Into<String>) -> Self {
        self.with(Style::Bold, text)
    }

    fn code(self, text: impl Into<String>) -> Self {
        self.with(Style::Code, text)
    }

    fn text(&self) -> String {
        self.spans.iter().map(|(_, span)| span.as_str()).collect()
    }
}

fn lines(question: &Question, outcome: Option<&Outcome>) -> Result<Vec<Line>, ApproverError> {
    let (shortest, reason) = content::lines(question, REASON_ROOM);
    let length = length(&shortest);
    if length > QUESTION_LIMIT {
        return Err(ApproverError::TooLongToShow { length, limit: QUESTION_LIMIT });
    }
    let room = (reason + QUESTION_LIMIT - length).min(REASON_LIMIT);
    let (mut lines, _) = content::lines(question, room.max(REASON_ROOM));
    if let Some(outcome) = outcome {
        lines.push(Line::default());
        lines.push(outcome::line(outcome));
    }
    Ok(lines)
}

/// UTF-16 code units that the lines take without their formatting.
fn length(lines: &[Line]) -> usize {
    let spans = lines.iter().flat_map(|line| &line.spans);
    spans.map(|(_, text)| text.encode_utf16().count()).sum::<usize>() + lines.len().saturating_sub(1)
}

/// Spans of one style that follow each other share one tag, across lines as well: Telegram drops the formatting of
/// everything after the hundredth tagged part, without a word.
fn as_html(lines: &[Line]) -> String {
    let mut html = String::new();
    let mut open = Style::Plain;
    let mut quoted = false;
    for (index, line) in lines.iter().enumerate() {
        let first = line.spans.first().map_or(Style::Plain, |(style, _)| *style);
        if line.quoted != quoted {
            change(&mut html, &mut open, Style::Plain);
        } else {
            let kept = if first == open { open } else { Style::Plain };
            change(&mut html, &mut open, kept);
        }
        if quoted && !line.quoted {
            html.push_str("</blockquote>");
        }
        if index > 0 {
            html.push('\n');
        }
        if line.quoted && !quoted {
            html.push_str("<blockquote>");
        }
        quoted = line.quoted;
        for (style, text) in &line.spans {
            change(&mut html, &mut open, *style);
            push_escaped(&mut html, text);
        }
    }
    change(&mut html, &mut open, Style::Plain);
    if quoted {
        html.push_str("</blockquote>");
    }
    html
}

fn change(html: &mut String, open: &mut Style, wanted: Style) {
    if *open == wanted {
        return;
    }
    if let Some(tag) = open.tag() {
        write!(html, "</{tag}>").ok();
    }
    if let Some(tag) = wanted.tag() {
        write!(html, "<{tag}>").ok();
    }
    *open = wanted;
}

fn push_escaped(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            c => html.push(c),
        }
    }
}
