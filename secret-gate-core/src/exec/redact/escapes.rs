//! Readings of the output in which a disguise falls off.
//!
//! Each lane is the output with something left out or resolved, together with where each of its bytes stood. A value is
//! looked for in every lane, in the shape that it has there.

use zeroize::Zeroizing;

/// A reading of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// Without white space and zero bytes: wrapped lines, one character a line, spaced dumps, UTF-16.
    Squeezed,
    /// The same with escapes resolved and quotes left out: percent, backslash, `\u`, shell quoting, HTML.
    Unescaped,
    /// Letters and digits alone: dumps with whatever stands between the bytes.
    Alphanumeric,
}

impl Lane {
    pub(super) const ALL: [Self; 3] = [Self::Squeezed, Self::Unescaped, Self::Alphanumeric];
}

/// What a lane reads, and where in the output it stands.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Where each byte begins and ends in the output.
    at: Vec<(usize, usize)>,
    /// Where an escape begins that is not complete yet.
    pub(super) cut_off: Option<usize>,
}

impl Reading {
    /// Reads the output in this lane. An escape that its end may have cut in two is left for later, unless nothing comes
    /// any more.
    pub(super) fn of(lane: Lane, output: &[u8], is_end: bool) -> Self {
        let mut reading = Self { bytes: Zeroizing::new(Vec::with_capacity(output.len())), ..Self::default() };
        match lane {
            Lane::Squeezed => reading.keep(output, |byte| !is_space(byte)),
            Lane::Alphanumeric => reading.keep(output, |byte| byte.is_ascii_alphanumeric()),
            Lane::Unescaped => reading.unescape(output, is_end),
        }
        reading
    }

    /// Where the byte at `index` begins in the output.
    pub(super) fn start(&self, index: usize) -> Option<usize> {
        self.at.get(index).map(|(start, _)| *start)
    }

    /// Where the byte at `index` ends in the output.
    pub(super) fn end(&self, index: usize) -> Option<usize> {
        self.at.get(index).map(|(_, end)| *end)
    }

    fn keep(&mut self, output: &[u8], keeps: impl Fn(u8) -> bool) {
        for (at, byte) in output.iter().enumerate().filter(|(_, byte)| keeps(**byte)) {
            self.push(*byte, at, at + 1);
        }
    }

    fn push(&mut self, byte: u8, start: usize, end: usize) {
        self.bytes.push(byte);
        self.at.push((start, end));
    }

    fn unescape(&mut self, output: &[u8], is_end: bool) {
        let mut at = 0;
        while let Some(rest) = output.get(at..).filter(|rest| !rest.is_empty()) {
            let (resolved, length) = match escape(rest) {
                Escape::Is(resolved, length) => (resolved, length),
                Escape::CutOff if !is_end => {
                    self.cut_off = Some(at);
                    return;
                }
                Escape::CutOff | Escape::No => (Resolved::Byte(*rest.first().unwrap_or(&0)), 1),
            };
            let mut buffer = [0; 4];
            for byte in resolved.bytes(&mut buffer) {
                if !is_dropped(*byte) {
                    self.push(*byte, at, at + length);
                }
            }
            at += length;
        }
    }
}

/// The text as the unescaped lane has it when it is written without escapes.
pub(super) fn without_dropped(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii() || !is_dropped(*c as u8)).collect()
}

/// The text as the unescaped lane reads it; need not be text any more.
pub(super) fn unescaped(text: &str) -> Zeroizing<Vec<u8>> {
    Reading::of(Lane::Unescaped, text.as_bytes(), true).bytes
}

/// The text as the squeezed lane reads it.
pub(super) fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii() || !is_space(*c as u8)).collect()
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0)
}

const fn is_dropped(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'"' | b'\'' | b'\\')
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolved {
    Byte(u8),
    Char(char),
    Nothing,
}

impl Resolved {
    fn bytes(self, buffer: &mut [u8; 4]) -> &[u8] {
        match self {
            Self::Byte(byte) => {
                buffer[0] = byte;
                buffer.get(..1).unwrap_or_default()
            }
            Self::Char(c) => c.encode_utf8(buffer).as_bytes(),
            Self::Nothing => &[],
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Escape {
    /// What it stands for, and how many bytes it takes.
    Is(Resolved, usize),
    CutOff,
    No,
}

fn escape(text: &[u8]) -> Escape {
    match text {
        [b'%', rest @ ..] => hex_byte(rest, 1),
        [b'\\'] => Escape::CutOff,
        [b'\\', b'u', rest @ ..] => utf16(rest),
        [b'\\', b'x', rest @ ..] => hex_byte(rest, 2),
        [b'\\', b'0'..=b'7', ..] => octal_byte(text),
        [b'\\', b'n' | b't' | b'r' | b'f' | b'b' | b'a' | b'v' | b'e' | b'\\', ..] => Escape::Is(Resolved::Nothing, 2),
        [b'&', ..] => entity(text),
        _ => Escape::No,
    }
}

/// Two hexadecimal digits, after an introduction of so many bytes.
fn hex_byte(digits: &[u8], introduction: usize) -> Escape {
    match hex_number(digits, 2) {
        Some(Ok(number)) => {
            Escape::Is(u8::try_from(number).map_or(Resolved::Nothing, Resolved::Byte), introduction + 2)
        }
        Some(Err(())) => Escape::No,
        None => Escape::CutOff,
    }
}

/// `None` when there are too few digits to tell.
fn hex_number(digits: &[u8], count: usize) -> Option<Result<u32, ()>> {
    let mut number = 0;
    for at in 0..count {
        match digits.get(at).map(|digit| char::from(*digit).to_digit(16)) {
            Some(Some(digit)) => number = number * 16 + digit,
            Some(None) => return Some(Err(())),
            None => return None,
        }
    }
    Some(Ok(number))
}

/// `\u` with four digits, and a second one for what is beyond the basic plane.
fn utf16(digits: &[u8]) -> Escape {
    let unit = match hex_number(digits, 4) {
        Some(Ok(unit)) => unit,
        Some(Err(())) => return Escape::No,
        None => return Escape::CutOff,
    };
    if let Some(c) = char::from_u32(unit) {
        return Escape::Is(Resolved::Char(c), 6);
    }
    // a surrogate, of which the second half must follow
    let rest = digits.get(4..).unwrap_or_default();
    let begins = b"\\u".get(..rest.len().min(2)) == rest.get(..rest.len().min(2));
    match (begins, hex_number(rest.get(2..).unwrap_or_default(), 4)) {
        (true, Some(Ok(second))) => {
            let units = [unit, second].map(|unit| u16::try_from(unit).unwrap_or_default());
            match char::decode_utf16(units).next() {
                Some(Ok(c)) => Escape::Is(Resolved::Char(c), 12),
                _ => Escape::Is(Resolved::Nothing, 6),
            }
        }
        (true, None) => Escape::CutOff,
        _ => Escape::Is(Resolved::Nothing, 6),
    }
}

/// A backslash and three octal digits.
fn octal_byte(text: &[u8]) -> Escape {
    let mut number = 0_u32;
    for at in 1..=3 {
        match text.get(at) {
            Some(digit @ b'0'..=b'7') => number = number * 8 + u32::from(digit - b'0'),
            Some(_) => return Escape::Is(Resolved::Nothing, 1),
            None => return Escape::CutOff,
        }
    }
    u8::try_from(number).map_or(Escape::Is(Resolved::Nothing, 1), |byte| Escape::Is(Resolved::Byte(byte), 4))
}

fn entity(text: &[u8]) -> Escape {
    const ENTITIES: [(&[u8], u8); 9] = [
        (b"&amp;", b'&'),
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
        (b"&#34;", b'"'),
        (b"&#39;", b'\''),
        (b"&#x27;", b'\''),
        (b"&#x22;", b'"'),
    ];
    if let Some((entity, byte)) = ENTITIES.iter().find(|(entity, _)| text.starts_with(entity)) {
        return Escape::Is(Resolved::Byte(*byte), entity.len());
    }
    if ENTITIES.iter().any(|(entity, _)| entity.starts_with(text)) { Escape::CutOff } else { Escape::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lane: Lane, text: &str) -> String {
        String::from_utf8(Reading::of(lane, text.as_bytes(), true).bytes.to_vec()).unwrap()
    }

    #[test]
    fn each_lane_leaves_out_its_own() {
        assert_eq!(read(Lane::Squeezed, " a\tb\r\nc\0'd'\\n"), "abc'd'\\n");
        assert_eq!(read(Lane::Alphanumeric, "0x73, \\x65:ü-9"), "0x73x659");
        let cases = [
            ("p%40ss%2Fw%C3%B6rd", "p@ss/wörd"),
            (r#""p\"a\\b\/c\u00e9\n""#, r"pab/cé"),
            (r"\ud83d\ude00 \ud83dx", "😀x"),
            (r"'p'\''q' \$x \x41\101\08", "pq$xAA08"),
            ("a&amp;b&lt;c&#39;&unknown;", "a&b<c&unknown;"),
            ("100% %zz %4", "100%%zz%4"),
            (r"\", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(read(Lane::Unescaped, text), expected, "{text}");
        }
    }

    #[test]
    fn an_escape_that_is_cut_off_waits_for_its_rest() {
        for escape in ["%41", "\\x41", "\\u0041", "\\ud83d\\ude00", "\\101", "\\n", "&amp;"] {
            for cut in 1..escape.len() {
                let text = format!("ab{}", &escape[..cut]);
                let reading = Reading::of(Lane::Unescaped, text.as_bytes(), false);
                assert_eq!((reading.bytes.as_slice(), reading.cut_off), (b"ab".as_slice(), Some(2)), "{text}");
            }
            assert_eq!(Reading::of(Lane::Unescaped, escape.as_bytes(), false).cut_off, None, "{escape}");
        }
    }

    #[test]
    fn bytes_know_where_they_stood() {
        let reading = Reading::of(Lane::Unescaped, b"a %41\\u00e9", true);
        let places: Vec<_> = (0..5).map(|at| (reading.start(at), reading.end(at))).collect();
        let expected = [(0, 1), (2, 5), (5, 11), (5, 11)].map(|(start, end)| (Some(start), Some(end)));
        assert_eq!(places[..4], expected);
        assert_eq!(places[4], (None, None));
    }
}
