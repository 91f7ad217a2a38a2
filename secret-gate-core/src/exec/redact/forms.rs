//! The shapes in which a value can come out of a command.

use data_encoding::{BASE32_NOPAD, BASE32HEX_NOPAD, BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER};
use zeroize::Zeroizing;

use super::escapes::{unescaped, without_dropped};
use super::lanes::{Lane, squeezed};

/// No shorter form is looked for: it would be found everywhere.
pub(super) const MIN_FORM: usize = 6;

/// No shorter form is looked for between whatever stands there.
const MIN_DIGITS: usize = 12;

/// No shorter one is looked for where a value begins within a number of several bytes. Short forms slow everything down.
const MIN_DISPLACED: usize = 32;

/// No shorter line of a value with several is looked for by itself.
const MIN_LINE: usize = 8;

/// Values of these lengths, in bytes, are also found in pieces.
const PIECED: std::ops::RangeInclusive<usize> = 20..=128;

/// The shortest piece of a value that is looked for, in bytes of the value.
const PIECE: usize = 12;

/// One shape of a value, as a lane reads it.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) lane: Lane,
    pub(super) text: Zeroizing<Vec<u8>>,
    /// The length of the shortest piece that is looked for, in bytes of this form, where pieces are.
    pub(super) piece: Option<usize>,
}

/// Every form of a value.
pub(super) fn forms(value: &str) -> Vec<Form> {
    let mut forms = Forms { all: Vec::new(), pieced: PIECED.contains(&value.len()) };
    let lines: Vec<&str> = value.lines().map(str::trim).collect();
    let (armour, body): (Vec<&str>, Vec<&str>) = lines.iter().partition(|line| is_armour(line));
    if armour.is_empty() {
        forms.add_all(value);
    } else {
        // what stands around a key is no secret
        forms.add_text(&body.concat());
        forms.add_bytes(value);
    }
    if lines.len() > 1 {
        forms.pieced = false;
        for line in body.iter().filter(|line| squeezed(line).len() >= MIN_LINE) {
            forms.add_text(line);
            forms.add_bytes(line);
        }
    }
    forms.all
}

fn is_armour(line: &str) -> bool {
    line.starts_with("-----BEGIN ") || line.starts_with("-----END ")
}

struct Forms {
    all: Vec<Form>,
    pieced: bool,
}

impl Forms {
    fn add_all(&mut self, value: &str) {
        self.add_text(value);
        self.add_bytes(value);
        self.add_transformed(value);
    }

    /// The text itself, however it is spaced, quoted or escaped.
    fn add_text(&mut self, text: &str) {
        self.add(Lane::Text, squeezed(text), PIECE);
        self.add(Lane::Text, without_dropped(text), PIECE);
        self.add(Lane::Text, unescaped(text).to_vec(), PIECE);
        if text.contains(' ') {
            self.add(Lane::Text, without_dropped(&text.replace(' ', "+")), PIECE);
        }
    }

    /// Encodings of the bytes.
    fn add_bytes(&mut self, value: &str) {
        let bytes = value.as_bytes();
        for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
            for skipped in 0..3 {
                self.add_both_ways(Lane::Text, aligned(&encoding, 6, skipped, bytes), PIECE.div_ceil(3) * 4);
            }
        }
        for encoding in [BASE32_NOPAD, BASE32HEX_NOPAD] {
            for skipped in 0..5 {
                self.add(Lane::Text, aligned(&encoding, 5, skipped, bytes), PIECE * 8 / 5);
            }
        }
        let hex = HEXLOWER.encode(bytes);
        for hex in [hex.to_uppercase(), hex] {
            self.add(Lane::Text, hex.clone(), PIECE * 2);
            self.add_both_ways(Lane::Digits, hex, PIECE * 2);
        }
        self.add_words(bytes, 2, |word| format!("{word:04x}"));
        self.add_words(bytes, 2, |word| format!("{word:06o}"));
        self.add_words(bytes, 4, |word| format!("{word:08x}"));
        self.add_words(bytes, 8, |word| format!("{word:016x}"));
        self.add_words(bytes, 1, |byte| format!("x{byte:02x}"));
        self.add_words(bytes, 1, |byte| format!("0x{byte:02x}"));
        self.add_words(bytes, 1, |byte| format!("0x{byte:x}"));
        self.add_words(bytes, 1, |byte| format!("{byte:03o}"));
        self.add_words(bytes, 1, |byte| byte.to_string());
        self.add_words(bytes, 1, |byte| format!("{byte:08b}"));
    }

    /// Numbers that stand for so many bytes each, the lowest one first, as most machines have them; for each way in which
    /// the value can lie in them.
    fn add_words(&mut self, bytes: &[u8], size: usize, write: impl Fn(u64) -> String) {
        let number = |word: &[u8]| word.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        for from in 0..size {
            let words: Vec<String> =
                bytes.get(from..).unwrap_or_default().chunks_exact(size).map(|word| write(number(word))).collect();
            let shortest = words.iter().map(String::len).min().unwrap_or_default();
            let digits = Zeroizing::new(words.concat());
            if from == 0 || digits.len() >= MIN_DISPLACED {
                self.add(Lane::Digits, digits.as_str(), PIECE.div_ceil(size) * shortest);
            }
        }
    }

    /// What small tools make of the text.
    fn add_transformed(&mut self, text: &str) {
        self.add(Lane::Text, squeezed(&text.chars().rev().collect::<String>()), PIECE);
        self.add(Lane::Text, squeezed(&text.to_uppercase()), PIECE);
        self.add(Lane::Text, squeezed(&text.to_lowercase()), PIECE);
        self.add(Lane::Text, squeezed(&text.chars().map(rot13).collect::<String>()), PIECE);
    }

    /// And from behind, as `rev` writes it.
    fn add_both_ways(&mut self, lane: Lane, text: String, piece: usize) {
        self.add(lane, text.chars().rev().collect::<String>(), piece);
        self.add(lane, text, piece);
    }

    fn add(&mut self, lane: Lane, text: impl Into<Vec<u8>>, piece: usize) {
        let text = Zeroizing::new(text.into());
        let least = if lane == Lane::Digits { MIN_DIGITS } else { MIN_FORM };
        if text.len() >= least {
            self.all.push(Form { lane, text, piece: self.pieced.then_some(piece) });
        }
    }
}

/// The characters that an encoding of so many bits a character makes of these bytes and of nothing else, when so many
/// other bytes come before them.
fn aligned(encoding: &Encoding, bits: usize, skipped: usize, bytes: &[u8]) -> String {
    let padded = Zeroizing::new([vec![0; skipped], bytes.to_vec()].concat());
    let encoded = Zeroizing::new(encoding.encode(&padded));
    let (first, last) = ((skipped * 8).div_ceil(bits), padded.len() * 8 / bits);
    encoded.get(first..last).unwrap_or_default().to_owned()
}

const fn rot13(c: char) -> char {
    match c {
        'a'..='m' | 'A'..='M' => (c as u8 + 13) as char,
        'n'..='z' | 'N'..='Z' => (c as u8 - 13) as char,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &str, lane: Lane, text: &str) -> bool {
        forms(value).iter().any(|form| form.lane == lane && form.text.as_slice() == text.as_bytes())
    }

    #[test]
    fn base64_at_every_alignment() {
        // user:s3cret, xuser:s3cret and so on share these characters and no others
        for prefix in ["", "u", "us", "usr"] {
            let whole = BASE64_NOPAD.encode(format!("{prefix}s3cret-token+more").as_bytes());
            let found = forms("s3cret-token");
            let stands = |form: &Form| whole.contains(std::str::from_utf8(&form.text).unwrap());
            assert!(found.iter().any(stands), "{whole}");
        }
        assert_eq!(aligned(&BASE64_NOPAD, 6, 0, b"abc"), "YWJj");
        assert_eq!(aligned(&BASE64_NOPAD, 6, 0, b"abcd"), "YWJjZ");
    }

    #[test]
    fn of_a_key_the_armour_is_no_form() {
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\nqqqqqqqqqqqq\n-----END PRIVATE KEY-----\n";
        assert!(has(key, Lane::Text, "MC4CAQAwBQYDK2VwBCIEIAqqqqqqqqqqqq"));
        assert!(has(key, Lane::Text, "qqqqqqqqqqqq"));
        let armour = |form: &Form| form.text.windows(5).any(|window| window == b"BEGIN");
        assert!(!forms(key).iter().any(armour));
    }

    #[test]
    fn short_values_have_no_short_forms() {
        for form in forms("abcdef") {
            assert!(form.text.len() >= MIN_FORM && form.piece.is_none(), "{form:?}");
        }
        assert!(forms("ab c").is_empty() || forms("ab c").iter().all(|form| form.text.len() >= MIN_FORM));
    }
}
