//! A reader who knows what the command does to a value.

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD, Encoding};

/// What a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The characters themselves, in their order or in the opposite one, with anything between them, escaped or not.
    Text,
    /// The characters, in the other case or thirteen letters further on.
    Letters,
    Base64,
    Base32,
    /// Numbers of so many digits in this base, each for so many bytes, the last one first.
    Numbers {
        base: u32,
        digits: usize,
        bytes: usize,
    },
    /// Something that only its own program undoes: whole or not at all.
    Packed,
    /// The value can't be told from it.
    Nothing,
}

/// How many bytes of the value, in a row, can be read in the output.
pub(super) fn most_readable(output: &[u8], shape: Shape, value: &str) -> usize {
    let value = value.as_bytes().to_ascii_lowercase();
    let pieces = pieces(output);
    match shape {
        Shape::Packed if pieces.len() == 1 => return value.len(),
        Shape::Packed => return 0,
        _ => {}
    }
    let readings = pieces.iter().flat_map(|piece| readings(piece, shape));
    readings.map(|reading| in_common(&reading.to_ascii_lowercase(), &value)).max().unwrap_or_default()
}

/// The output between the places where something was taken out.
fn pieces(output: &[u8]) -> Vec<Vec<u8>> {
    let (mut pieces, mut piece, mut rest) = (Vec::new(), Vec::new(), output);
    while let Some((first, others)) = rest.split_first() {
        if rest.starts_with(b"[redacted:") {
            pieces.push(std::mem::take(&mut piece));
            let end = rest.iter().position(|byte| *byte == b']').unwrap_or(rest.len() - 1);
            rest = rest.get(end + 1..).unwrap_or_default();
        } else {
            piece.push(*first);
            rest = others;
        }
    }
    pieces.push(piece);
    pieces
}

fn readings(piece: &[u8], shape: Shape) -> Vec<Vec<u8>> {
    let squeezed: Vec<u8> = piece.iter().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != 0).collect();
    match shape {
        Shape::Text | Shape::Nothing => {
            let plain = unescaped(piece);
            let mut readings = vec![every_other(&squeezed), every_other(&plain), behind_numbers(piece)];
            readings.extend([without_colours(piece), squeezed, plain]);
            readings.extend(readings.clone().into_iter().map(|reading| reading.into_iter().rev().collect()));
            readings
        }
        Shape::Letters => vec![squeezed.iter().map(|byte| rot13(*byte)).collect(), squeezed],
        Shape::Base64 => decoded(&BASE64_NOPAD, 4, &squeezed),
        Shape::Base32 => decoded(&BASE32_NOPAD, 8, &squeezed),
        Shape::Numbers { base, digits, bytes } => numbers(piece, base, digits, bytes),
        Shape::Packed => Vec::new(),
    }
}

fn decoded(encoding: &Encoding, block: usize, text: &[u8]) -> Vec<Vec<u8>> {
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    };
    let text: Vec<u8> = text.iter().map(standard).collect();
    let is_digit = |byte: &u8| encoding.specification().symbols.as_bytes().contains(byte);
    let runs = text.split(|byte| !is_digit(byte));
    let from_each = runs.flat_map(|run| (0..block).filter_map(|skipped| run.get(skipped..)));
    from_each.filter_map(|run| encoding.decode(run.get(..run.len() - run.len() % block)?).ok()).collect()
}

/// With and without a first column that counts.
fn numbers(piece: &[u8], base: u32, digits: usize, bytes: usize) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(piece);
    let mut readings = Vec::new();
    for is_counted in [false, true] {
        for skipped in 0..digits {
            let (mut reading, mut letters) = (Vec::new(), Vec::new());
            for line in text.lines() {
                let line = if is_counted { line.split_once([' ', ':']).map_or("", |(_, rest)| rest) } else { line };
                // what stands behind the numbers are the characters
                let line = line.trim_start_matches([' ', ':']);
                let (line, behind) = line.split_once("  ").filter(|_| base != 10).unwrap_or((line, ""));
                letters.extend_from_slice(behind.trim_matches([' ', '|']).as_bytes());
                let words = line
                    .split(|c: char| !c.is_digit(base.max(10)) && c != 'x')
                    .map(|word| word.strip_prefix("0x").or_else(|| word.strip_prefix('x')).unwrap_or(word).as_bytes());
                let parts = words.flat_map(|word| match base {
                    // of numbers as people write them, each is one
                    10 => vec![word],
                    _ => word.get(skipped.min(word.len())..).unwrap_or_default().chunks(digits).collect(),
                });
                for part in parts.filter(|part| !part.is_empty()) {
                    let number = u64::from_str_radix(&String::from_utf8_lossy(part), base).unwrap_or_default();
                    reading.extend(number.to_le_bytes().into_iter().take(bytes));
                }
            }
            readings.extend([reading, letters]);
        }
    }
    readings
}

/// Without whatever stands behind each character.
fn every_other(text: &[u8]) -> Vec<u8> {
    text.iter().copied().step_by(2).collect()
}

/// The last character of each line.
fn behind_numbers(text: &[u8]) -> Vec<u8> {
    text.split(|byte| *byte == b'\n').filter_map(|line| line.last().copied()).collect()
}

/// Without what a terminal takes for colours.
fn without_colours(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let parts = text.split('\u{1b}').map(|part| part.split_once(['m', 'K']).map_or(part, |(_, rest)| rest));
    parts.collect::<String>().into_bytes()
}

/// Escapes resolved, quotes and white space left out.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let number = |skipped: usize, digits: usize, base: u32| {
            let digits = rest.get(skipped..skipped + digits)?;
            u8::try_from(u32::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()?).ok()
        };
        let entity = [("&amp;", b'&'), ("&lt;", b'<'), ("&#x27;", b'\''), ("&#38;", b'&')];
        let entity = entity.iter().find(|(name, _)| rest.starts_with(name.as_bytes()));
        let (byte, length) = match (first, others.first()) {
            (b'%' | b'=', Some(_)) if number(1, 2, 16).is_some() => (number(1, 2, 16), 3),
            (b'\\', Some(b'x')) => (number(2, 2, 16), 4),
            (b'\\', Some(b'u')) => (number(2, 4, 16), 6),
            (b'\\', Some(b'0'..=b'3')) => (number(1, 3, 8), 4),
            (b'&', _) if entity.is_some() => (entity.map(|(_, byte)| *byte), entity.map_or(1, |(name, _)| name.len())),
            (b'\\' | b'"' | b'\'', _) => (None, 1),
            (byte, _) if byte.is_ascii_whitespace() || *byte == 0 => (None, 1),
            (byte, _) => (Some(*byte), 1),
        };
        plain.extend(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    plain
}

fn rot13(byte: u8) -> u8 {
    match byte {
        b'a'..=b'm' | b'A'..=b'M' => byte + 13,
        b'n'..=b'z' | b'N'..=b'Z' => byte - 13,
        byte => byte,
    }
}

/// The length of the longest part of one that is in the other.
fn in_common(one: &[u8], other: &[u8]) -> usize {
    let mut most = 0;
    for start in 0..other.len() {
        let is_longer = |most: usize| {
            other.get(start..=start + most).is_some_and(|part| one.windows(most + 1).any(|window| window == part))
        };
        while is_longer(most) {
            most += 1;
        }
    }
    most
}
