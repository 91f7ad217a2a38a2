//! A reading of the output in which escapes are resolved and quotes are left out: percent, backslash, `\u`, shell quoting,
//! HTML, colours of a terminal.

use zeroize::Zeroizing;

use super::lanes::is_space;
use super::zones::Tail;

/// What is read, and where in the output it stands.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Where each byte begins and ends in the output.
    at: Vec<(u32, u32)>,
    /// Where an escape begins that is not complete yet.
    pub(super) cut_off: Option<usize>,
}

impl Reading {
    /// Reads this output. An escape that its end may have cut in two is left for later, unless nothing comes any more.
    pub(super) fn read(&mut self, output: &[u8], is_end: bool) {
        if self.bytes.capacity() < output.len() {
            // growing would leave a copy behind
            self.bytes = Zeroizing::new(Vec::with_capacity(output.len().next_power_of_two()));
        }
        self.bytes.clear();
        self.at.clear();
        self.cut_off = None;
        let mut at = 0;
        while let Some((first, rest)) = output.get(at..).and_then(<[u8]>::split_first) {
            if !is_special(*first) {
                self.push(*first, at, 1);
                at += 1;
                continue;
            }
            let (resolved, length) = match escape(*first, rest) {
                Escape::Is(resolved, length) => (resolved, length),
                Escape::CutOff if !is_end => {
                    self.cut_off = Some(at);
                    return;
                }
                Escape::CutOff | Escape::No => (Resolved::Byte(*first), 1),
            };
            for byte in resolved.bytes(&mut [0; 4]) {
                self.push(*byte, at, length);
            }
            at += length;
        }
    }

    #[inline]
    fn push(&mut self, byte: u8, start: usize, length: usize) {
        if !is_dropped(byte) {
            self.bytes.push(byte);
            self.at.push((to_u32(start), to_u32(start + length)));
        }
    }

    /// Where the byte at `index` begins in the output.
    pub(super) fn start(&self, index: usize) -> Option<usize> {
        self.at.get(index).map(|(start, _)| *start as usize)
    }

    /// Where the byte at `index` ends in the output.
    pub(super) fn end(&self, index: usize) -> Option<usize> {
        self.at.get(index).map(|(_, end)| *end as usize)
    }

    /// The last bytes, at most so many, and where they begin.
    pub(super) fn tail(&self, most: usize) -> Tail {
        let places = self.at.iter().map(|(start, _)| *start as usize);
        Tail::from_behind(places.zip(self.bytes.iter().copied()).rev(), most)
    }

    /// The last place at or before this one where no escape is cut in two.
    pub(super) fn boundary_before(&self, place: usize) -> usize {
        let behind = self.at.partition_point(|(start, _)| *start as usize <= place);
        behind.checked_sub(1).and_then(|at| self.start(at)).unwrap_or(0)
    }
}

/// Whether this byte may be read as something else than itself.
#[inline]
pub(super) const fn is_special(byte: u8) -> bool {
    matches!(byte, b'%' | b'\\' | b'&' | b'"' | b'\'' | 0x1b)
}

const fn is_dropped(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b'"' | b'\'' | b'\\')
}

/// The text as the reading has it when it is written without escapes.
pub(super) fn without_dropped(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii() || !is_dropped(*c as u8)).collect()
}

/// The text as it is read; need not be text any more.
pub(super) fn unescaped(text: &str) -> Zeroizing<Vec<u8>> {
    let mut reading = Reading::default();
    reading.read(text.as_bytes(), true);
    reading.bytes
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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

fn escape(first: u8, rest: &[u8]) -> Escape {
    match (first, rest) {
        (b'%', _) => hex_byte(rest, 1),
        (b'\\', []) => Escape::CutOff,
        (b'\\', [b'u', rest @ ..]) => utf16(rest),
        (b'\\', [b'x', rest @ ..]) => hex_byte(rest, 2),
        (b'\\', [b'0'..=b'7', ..]) => octal_byte(rest),
        (b'\\', [b'n' | b't' | b'r' | b'f' | b'b' | b'a' | b'v' | b'e' | b'\\', ..]) => {
            Escape::Is(Resolved::Nothing, 2)
        }
        (b'&', _) => entity(rest),
        (0x1b, _) => control_sequence(rest),
        _ => Escape::No,
    }
}

/// What a terminal takes for colours and the like: `[`, parameters, and a letter or so that ends it (ECMA-48, 5.4).
fn control_sequence(rest: &[u8]) -> Escape {
    /// A longer one is none.
    const MAX: usize = 32;
    let Some((bracket, parameters)) = rest.split_first() else { return Escape::CutOff };
    if *bracket != b'[' {
        return Escape::No;
    }
    match parameters.iter().take(MAX).position(|byte| !matches!(byte, 0x20..=0x3f)) {
        Some(at) if parameters.get(at).is_some_and(|end| matches!(end, 0x40..=0x7e)) => {
            Escape::Is(Resolved::Nothing, at + 3)
        }
        None if parameters.len() < MAX => Escape::CutOff,
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

/// Three octal digits, after a backslash.
fn octal_byte(digits: &[u8]) -> Escape {
    let mut number = 0_u32;
    for at in 0..3 {
        match digits.get(at) {
            Some(digit @ b'0'..=b'7') => number = number * 8 + u32::from(digit - b'0'),
            Some(_) => return Escape::Is(Resolved::Nothing, 1),
            None => return Escape::CutOff,
        }
    }
    u8::try_from(number).map_or(Escape::Is(Resolved::Nothing, 1), |byte| Escape::Is(Resolved::Byte(byte), 4))
}

/// What stands between `&` and `;`.
fn entity(rest: &[u8]) -> Escape {
    const ENTITIES: [(&[u8], u8); 9] = [
        (b"amp;", b'&'),
        (b"lt;", b'<'),
        (b"gt;", b'>'),
        (b"quot;", b'"'),
        (b"apos;", b'\''),
        (b"#34;", b'"'),
        (b"#39;", b'\''),
        (b"#x27;", b'\''),
        (b"#x22;", b'"'),
    ];
    if let Some((entity, byte)) = ENTITIES.iter().find(|(entity, _)| rest.starts_with(entity)) {
        return Escape::Is(Resolved::Byte(*byte), entity.len() + 1);
    }
    if ENTITIES.iter().any(|(entity, _)| entity.starts_with(rest)) { Escape::CutOff } else { Escape::No }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &[u8], is_end: bool) -> Reading {
        let mut reading = Reading::default();
        reading.read(b"what was read before %", false);
        reading.read(output, is_end);
        reading
    }

    #[test]
    fn escapes_are_resolved() {
        let cases = [
            ("p%40ss%2Fw%C3%B6rd", "p@ss/wörd"),
            (r#""p\"a\\b\/c\u00e9\n""#, r"pab/cé"),
            (r"\ud83d\ude00 \ud83dx", "😀x"),
            (r"'p'\''q' \$x \x41\101\08", "pq$xAA08"),
            ("a&amp;b&lt;c&#39;&unknown;", "a&b<c&unknown;"),
            ("100% %zz %4", "100%%zz%4"),
            (r"\", ""),
            ("a\u{1b}[01;31m\u{1b}[Kb\u{1b}[m\u{1b}[Kc\u{1b}]d", "abc]d"),
        ];
        for (text, expected) in cases {
            assert_eq!(std::str::from_utf8(&read(text.as_bytes(), true).bytes).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_escape_that_is_cut_off_waits_for_its_rest() {
        for escape in ["%41", "\\x41", "\\u0041", "\\ud83d\\ude00", "\\101", "\\n", "&amp;", "\u{1b}[01;31m"] {
            for cut in 1..escape.len() {
                let text = format!("ab{}", &escape[..cut]);
                let reading = read(text.as_bytes(), false);
                assert_eq!((reading.bytes.as_slice(), reading.cut_off), (b"ab".as_slice(), Some(2)), "{text}");
            }
            assert_eq!(read(escape.as_bytes(), false).cut_off, None, "{escape}");
        }
    }

    #[test]
    fn bytes_know_where_they_stood() {
        let reading = read(b"a %41\\u00e9", true);
        let places: Vec<_> = (0..5).map(|at| (reading.start(at), reading.end(at))).collect();
        let expected = [(0, 1), (2, 5), (5, 11), (5, 11)].map(|(start, end)| (Some(start), Some(end)));
        assert_eq!(places[..4], expected);
        assert_eq!(places[4], (None, None));
        let before: Vec<_> = [0, 1, 2, 4, 5, 10, 100].map(|place| reading.boundary_before(place)).into();
        assert_eq!(before, [0, 0, 2, 2, 5, 5, 5]);
        // what stands for nothing is no place to begin at either
        assert_eq!(read(br"a\\n", true).boundary_before(2), 0);
    }
}
