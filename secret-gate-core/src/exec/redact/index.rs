//! Where in a reading forms of values stand.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use zeroize::Zeroizing;

use super::forms::Form;
use super::lanes::{Lane, Reading};
use crate::SecretValue;

/// How much of a form is compared before anything else, in bytes: so much makes a match, and what fits before and behind
/// it belongs to it. Longer forms have such keys at every [`STRIDE`].
const KEY: usize = 32;
const STRIDE: usize = 16;

/// Bytes of a reading that hold a key of any long form that runs through them.
pub(super) const HISTORY: usize = KEY + STRIDE;

/// How far around a key is looked at once, in bytes; the next key of the form goes on from there.
const REACH: usize = 2 * STRIDE;

/// What a key is first looked up by.
const GRAM: usize = 4;

/// A form within the text of all forms.
#[derive(Debug)]
struct Span {
    range: Range<usize>,
    label: usize,
}

/// A part of a form that makes a match.
#[derive(Debug, Clone, Copy)]
struct Key {
    form: usize,
    offset: usize,
    len: usize,
}

/// The keys of one lane.
#[derive(Debug, Default)]
struct Keys {
    by_gram: HashMap<u32, Vec<Key>>,
    /// A bit for each gram that may be there, by its hash.
    may_have: Vec<u64>,
    /// Beginnings of keys that are too short to look up.
    beginnings: HashSet<(usize, [u8; GRAM - 1])>,
}

/// All forms of all values, ready to be found.
#[derive(Debug)]
pub(super) struct Index {
    // one text in locked pages, instead of hundreds on the heap
    text: SecretValue,
    forms: Vec<Span>,
    lanes: HashMap<Lane, Keys>,
}

/// A match, in bytes of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) label: usize,
}

/// A match that the bytes at hand may still belong to.
struct Running {
    form: usize,
    shift: usize,
    end: usize,
}

impl Index {
    /// Of these forms, each with the number of its label.
    pub(super) fn new(forms: Vec<(usize, Form)>) -> Self {
        let length = forms.iter().map(|(_, form)| form.text.len()).sum();
        let mut text = Zeroizing::new(Vec::with_capacity(length));
        let mut index = Self { text: SecretValue::copy_of(""), forms: Vec::new(), lanes: HashMap::new() };
        let mut keys: Vec<(Lane, Vec<Key>)> = Vec::new();
        for (label, form) in &forms {
            let number = index.forms.len();
            index.forms.push(Span { range: text.len()..text.len() + form.text.len(), label: *label });
            text.extend_from_slice(&form.text);
            keys.push((form.lane, keys_of(number, form)));
        }
        index.text = SecretValue::copy_of_bytes(&text);
        for (lane, keys) in keys {
            for key in keys {
                index.add(lane, key);
            }
        }
        for keys in index.lanes.values_mut() {
            keys.fill();
        }
        index
    }

    fn add(&mut self, lane: Lane, key: Key) {
        let text = self.key(key).to_vec();
        let keys = self.lanes.entry(lane).or_default();
        for len in 1..GRAM {
            let mut beginning = [0; GRAM - 1];
            if let (Some(to), Some(from)) = (beginning.get_mut(..len), text.get(..len)) {
                to.copy_from_slice(from);
                keys.beginnings.insert((len, beginning));
            }
        }
        if let Some(gram) = gram_at(&text, 0) {
            keys.by_gram.entry(gram).or_default().push(key);
        }
    }

    fn form(&self, form: usize) -> &[u8] {
        let range = self.forms.get(form).map(|span| span.range.clone()).unwrap_or_default();
        self.text.expose_bytes().get(range).unwrap_or_default()
    }

    fn key(&self, key: Key) -> &[u8] {
        self.form(key.form).get(key.offset..key.offset + key.len).unwrap_or_default()
    }

    /// Adds every match in this reading to `found`.
    pub(super) fn find(&self, lane: Lane, reading: &Reading, found: &mut Vec<Match>) {
        let Some(keys) = self.lanes.get(&lane) else { return };
        let bytes = reading.bytes.as_slice();
        let mut running: Vec<Running> = Vec::new();
        for (at, window) in bytes.windows(GRAM).enumerate() {
            let Some(gram) = gram_at(window, 0).filter(|gram| keys.may_have(*gram)) else { continue };
            for key in keys.by_gram.get(&gram).map(Vec::as_slice).unwrap_or_default() {
                // the same form at the same place: this key is a part of what is found already
                let shift = at.wrapping_sub(key.offset);
                let is_part = |run: &Running| run.form == key.form && run.shift == shift && at + key.len <= run.end;
                if running.iter().any(is_part) || !bytes.get(at..).is_some_and(|rest| rest.starts_with(self.key(*key)))
                {
                    continue;
                }
                let form = self.form(key.form);
                let (before, behind) = (form.get(..key.offset), form.get(key.offset + key.len..));
                let end = at + key.len;
                let end = end + same_from_start(bytes.get(end..), behind);
                let start = at - same_from_end(bytes.get(..at), before);
                running.retain(|run| at < run.end);
                running.push(Running { form: key.form, shift, end });
                let label = self.forms.get(key.form).map_or(0, |span| span.label);
                if let (Some(start), Some(end)) = (reading.start(start), reading.end(end - 1)) {
                    found.push(Match { start, end, label });
                }
            }
        }
    }

    /// Where in the output the last bytes of this reading begin that may become a match, of at least so many bytes.
    pub(super) fn may_begin(&self, lane: Lane, reading: &Reading, at_least: usize) -> Option<usize> {
        let keys = self.lanes.get(&lane)?;
        let bytes = reading.bytes.as_slice();
        let from = bytes.len().saturating_sub(KEY - 1);
        let begins =
            |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.len() >= at_least && self.begins(keys, rest));
        (from..bytes.len()).find(begins).and_then(|at| reading.start(at))
    }

    /// Whether a key begins like this, and goes on.
    fn begins(&self, keys: &Keys, beginning: &[u8]) -> bool {
        match gram_at(beginning, 0) {
            Some(gram) => {
                let candidates = keys.by_gram.get(&gram).map(Vec::as_slice).unwrap_or_default();
                candidates.iter().any(|key| key.len > beginning.len() && self.key(*key).starts_with(beginning))
            }
            None => {
                let mut padded = [0; GRAM - 1];
                padded.iter_mut().zip(beginning).for_each(|(to, from)| *to = *from);
                keys.beginnings.contains(&(beginning.len(), padded))
            }
        }
    }
}

/// The parts of a form that make a match: of short forms the whole, of long ones a part at every stride, and where pieces
/// are looked for, a piece at every byte. Of parts that read the same, two will do.
fn keys_of(number: usize, form: &Form) -> Vec<Key> {
    let len = form.text.len();
    let (part, stride) = match form.piece {
        Some(piece) if piece < len => (piece.min(KEY), 1),
        _ => (KEY, STRIDE),
    };
    if len <= part {
        return vec![Key { form: number, offset: 0, len }];
    }
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    let offsets = (0..len - part).step_by(stride).chain([len - part]);
    let mut keys = Vec::new();
    for offset in offsets {
        let text = form.text.get(offset..offset + part).unwrap_or_default();
        let times = seen.entry(text).or_default();
        *times += 1;
        if *times <= 2 {
            keys.push(Key { form: number, offset, len: part });
        }
    }
    keys
}

impl Keys {
    /// Fills the bits, about one in sixteen of them.
    fn fill(&mut self) {
        let bits = (self.by_gram.len() * 16).next_power_of_two().max(1 << 12);
        self.may_have = vec![0; bits / 64];
        let grams: Vec<u32> = self.by_gram.keys().copied().collect();
        for gram in grams {
            let (word, bit) = self.place(gram);
            if let Some(word) = self.may_have.get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn place(&self, gram: u32) -> (usize, u64) {
        let hash = (u64::from(gram).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize;
        let at = hash & (self.may_have.len() * 64 - 1);
        (at / 64, 1 << (at % 64))
    }

    fn may_have(&self, gram: u32) -> bool {
        let (word, bit) = self.place(gram);
        self.may_have.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn gram_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + GRAM).and_then(|gram| gram.try_into().ok()).map(u32::from_le_bytes)
}

fn same_from_start(one: Option<&[u8]>, other: Option<&[u8]>) -> usize {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    one.iter().zip(other).take(REACH).take_while(|(one, other)| one == other).count()
}

fn same_from_end(one: Option<&[u8]>, other: Option<&[u8]>) -> usize {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    one.iter().rev().zip(other.iter().rev()).take(REACH).take_while(|(one, other)| one == other).count()
}
