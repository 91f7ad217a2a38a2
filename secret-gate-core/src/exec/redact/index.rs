//! Where in a text forms of values stand.

use std::ops::Range;

use zeroize::Zeroizing;

use super::forms::Form;
use super::grams::{Filter, Place, Places};
use super::lanes::Lane;
use crate::SecretValue;

/// How much of a form makes a match, in bytes: what fits before and behind it belongs to it. Longer forms have such keys at
/// every [`STEP`].
pub(super) const KEY: usize = 32;
const STEP: usize = 16;

/// Bytes of a lane that hold a key of any long form that runs through them.
pub(super) const HISTORY: usize = KEY + STEP;

/// How far around a place is compared, in bytes of the lane. Farther on, the next place is met.
pub(super) const REACH: usize = 64;

/// A form within the text of all forms.
#[derive(Debug)]
struct Span {
    range: Range<usize>,
    /// The length of its keys.
    key: usize,
    /// How far its keys stand apart.
    step: usize,
    label: usize,
}

/// The forms of one lane, ready to be found.
///
/// A key is found without looking at every byte: of the runs that begin in its first bytes, all of which are known, one
/// stands wherever the text is looked at in steps that are so long.
#[derive(Debug)]
pub(super) struct Index {
    lane: Lane,
    // one text in locked pages, instead of hundreds on the heap
    text: SecretValue,
    spans: Vec<Span>,
    /// The length of the shortest key.
    least: usize,
    stride: usize,
    filter: Filter,
    places: Places,
    /// Beginnings of keys that are shorter than a run.
    beginnings: Filter,
}

/// A match, in bytes of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) label: usize,
}

impl Index {
    /// Of those of these forms that are for this lane, each with the number of its label.
    pub(super) fn new(lane: Lane, forms: &[&(usize, Form)]) -> Self {
        let forms = || forms.iter().filter(|(_, form)| form.lane == lane);
        let mut text = Zeroizing::new(Vec::with_capacity(forms().map(|(_, form)| form.text.len()).sum()));
        let mut spans = Vec::new();
        for (label, form) in forms() {
            let start = text.len();
            text.extend_from_slice(&form.text);
            spans.push(Span::new(start..text.len(), form.piece, *label));
        }
        let gram = lane.gram();
        let least = spans.iter().map(|span| span.key).min().unwrap_or(KEY);
        let stride = (least + 1).saturating_sub(gram).max(1);
        let (mut runs, mut heads) = (Vec::new(), Vec::new());
        for (number, span) in spans.iter().enumerate() {
            let form = text.get(span.range.clone()).unwrap_or_default();
            let mut next = 0;
            for offset in span.keys_of(form) {
                heads.push(form.get(offset..).unwrap_or_default());
                // keys overlap, and what they share is there already
                for offset in next.max(offset)..offset + stride {
                    let place = Place { form: to_u32(number), offset: to_u32(offset) };
                    runs.extend(run_at(form, offset, gram).map(|run| (run, place)));
                    next = offset + 1;
                }
            }
        }
        let runs = Zeroizing::new(runs);
        let mut filter = Filter::for_about(runs.len());
        runs.iter().for_each(|(run, _)| filter.add(*run));
        let mut beginnings = Filter::for_about(heads.len() * (gram - 1));
        for head in heads {
            (1..gram).filter_map(|len| head.get(..len)).for_each(|head| beginnings.add(short_run(head)));
        }
        let places = Places::of(&runs);
        Self { lane, text: SecretValue::copy_of_bytes(&text), spans, least, stride, filter, places, beginnings }
    }

    /// The length of the shortest part that makes a match, in bytes of the lane.
    pub(super) const fn least(&self) -> usize {
        self.least
    }

    /// Adds every match in this text to `found`; bytes that the lane does not keep may stand anywhere in it.
    pub(super) fn find(&self, text: &[u8], found: &mut Vec<Match>) {
        if self.spans.is_empty() {
            return;
        }
        match self.lane {
            Lane::Text => self.find_by(text, super::lanes::text_run, found),
            Lane::Digits => self.find_by(text, super::lanes::digits_run, found),
        }
    }

    #[inline]
    fn find_by(&self, text: &[u8], run_from: impl Fn(&[u8], usize) -> Option<(u64, usize)>, found: &mut Vec<Match>) {
        let mut at = 0;
        while let Some((run, from)) = run_from(text, at) {
            at = from + self.stride;
            if self.filter.may_have(run) {
                self.find_around(text, run, from, found);
            }
        }
    }

    /// Adds the matches that this run, which begins there, is a part of.
    #[cold]
    fn find_around(&self, text: &[u8], run: u64, from: usize, found: &mut Vec<Match>) {
        let lane = self.lane;
        let before = || text.iter().enumerate().take(from).rev().filter(|(_, byte)| lane.keeps(**byte));
        let behind = || text.iter().enumerate().skip(from).filter(|(_, byte)| lane.keeps(**byte));
        for Place { form, offset } in self.places.of_run(run) {
            let Some(span) = self.spans.get(form as usize) else { continue };
            let (head, tail) = self.form(span).split_at_checked(offset as usize).unwrap_or_default();
            let same = |(text, form): &((usize, &u8), &u8)| text.1 == *form;
            let (mut forward, mut end) = (0, from);
            for ((at, _), _) in behind().zip(tail.iter().take(REACH)).take_while(same) {
                (forward, end) = (forward + 1, at + 1);
            }
            // another run with the same hash
            if forward < lane.gram() {
                continue;
            }
            let (mut backward, mut start) = (0, from);
            for ((at, _), _) in before().zip(head.iter().rev().take(REACH)).take_while(same) {
                (backward, start) = (backward + 1, at);
            }
            // where the text goes on as the form does, nothing that the lane leaves out belongs to it
            let start = if backward == 0 { behind().next().map_or(from, |(at, _)| at) } else { start };
            if span.has_key_in(head.len() - backward..head.len() + forward) {
                add(found, Match { start, end, label: span.label });
            }
        }
    }

    /// Whether a key begins like this, and goes on.
    pub(super) fn begins(&self, beginning: &[u8]) -> bool {
        let Some(run) = run_at(beginning, 0, self.lane.gram()) else {
            return self.beginnings.may_have(short_run(beginning));
        };
        self.filter.may_have(run)
            && self.places.of_run(run).any(|Place { form, offset }| {
                let Some(span) = self.spans.get(form as usize) else { return false };
                let rest = self.form(span).get(offset as usize..).unwrap_or_default();
                span.key > beginning.len() && span.begins_key(offset as usize) && rest.starts_with(beginning)
            })
    }

    fn form(&self, span: &Span) -> &[u8] {
        self.text.expose_bytes().get(span.range.clone()).unwrap_or_default()
    }
}

impl Span {
    /// The parts of a form that make a match: of short forms the whole, of long ones a part at every step, and where
    /// pieces are looked for, a piece at every byte.
    fn new(range: Range<usize>, piece: Option<usize>, label: usize) -> Self {
        let (key, step) = match piece {
            Some(piece) if piece < range.len() => (piece.min(KEY), 1),
            _ => (KEY, STEP),
        };
        Self { key: key.min(range.len()), step, range, label }
    }

    /// Where the keys of this form begin. Of those that read the same, two will do.
    fn keys_of(&self, form: &[u8]) -> Vec<usize> {
        let last = self.range.len() - self.key;
        let offsets = (0..last).step_by(self.step).chain([last]);
        let hash = |offset: usize| {
            let key = form.get(offset..offset + self.key).unwrap_or_default();
            let (words, rest) = key.as_chunks::<8>();
            let words = words.iter().map(|word| u64::from_le_bytes(*word)).chain([short_run(rest)]);
            words.fold(0_u64, |hash, word| (hash.rotate_left(23) ^ word).wrapping_mul(0xFF51_AFD7_ED55_8CCD))
        };
        let mut keys: Vec<(u64, usize)> = offsets.map(|offset| (hash(offset), offset)).collect();
        keys.sort_unstable();
        let same_as_two_before =
            |at: usize| at >= 2 && keys.get(at - 2).map(|key| key.0) == keys.get(at).map(|key| key.0);
        let mut kept: Vec<usize> = keys
            .iter()
            .enumerate()
            .filter(|(at, _)| !same_as_two_before(*at))
            .map(|(_, (_, offset))| *offset)
            .collect();
        kept.sort_unstable();
        kept
    }

    fn begins_key(&self, offset: usize) -> bool {
        let last = self.range.len() - self.key;
        offset == last || offset < last && offset.is_multiple_of(self.step)
    }

    /// Whether this part of the form holds a key.
    fn has_key_in(&self, part: Range<usize>) -> bool {
        let first = part.start.next_multiple_of(self.step).min(self.range.len() - self.key);
        first >= part.start && first + self.key <= part.end
    }
}

/// Adds a match, or makes the last one longer that it overlaps.
fn add(found: &mut Vec<Match>, new: Match) {
    match found.last_mut() {
        Some(last) if last.label == new.label && last.start <= new.start && new.start < last.end => {
            last.end = last.end.max(new.end);
        }
        _ => found.push(new),
    }
}

/// The run of so many bytes, at most eight, that stands there.
fn run_at(text: &[u8], at: usize, len: usize) -> Option<u64> {
    text.get(at..at + len).map(bytes_of_run)
}

/// Up to seven bytes, told from what is longer.
fn short_run(bytes: &[u8]) -> u64 {
    bytes_of_run(bytes) | (bytes.len() as u64) << 56
}

fn bytes_of_run(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |run, byte| run << 8 | u64::from(*byte))
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
