//! Redaction of output as it comes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Known;
use super::escapes::Reading;
use super::index::{HISTORY, Index, KEY, Match};
use super::lanes::Lane;
use super::zones::{self, Tail};

/// How much is looked at in one go, in bytes.
const CHUNK: usize = 64 * 1024;

/// How much is held back, or looked at again, at most, in bytes. A value that is spread over more is not found.
const MAX_HELD: usize = 4096;

/// While more may come, what could become a value is held back. In a pause, so much of one may go, in bytes.
const SHOWN_IN_A_PAUSE: usize = 6;

/// Passes output on without the values.
///
/// What may be the beginning of a value is held back until it is clear that it is none. Whoever reads the output for a
/// person calls [`pause`](Self::pause) when the command has been silent for a moment, so that a prompt is seen.
pub struct RedactedStream {
    known: Arc<Known>,
    /// Output that was shown and may belong to what comes, and output that was not shown yet.
    buffer: Zeroizing<Vec<u8>>,
    /// How much of the buffer was shown, or replaced.
    done: usize,
    /// The label of the value that was replaced last, where nothing was shown since.
    within: Option<usize>,
    /// Used again and again, since wiping takes its time.
    reading: Reading,
    /// What of the buffer was read last, if it was the end of it.
    zone: Range<usize>,
}

impl fmt::Debug for RedactedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedactedStream").field("held", &(self.buffer.len() - self.done)).finish_non_exhaustive()
    }
}

/// What is known of the output to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coming {
    More,
    NothingForNow,
    Nothing,
}

/// What the end of the output means for what comes.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Where what is held back begins.
    held: usize,
    /// Where what must be looked at again begins.
    history: usize,
}

impl End {
    fn of(index: &Index, tail: &Tail, coming: Coming) -> Self {
        let history = tail.place(0).unwrap_or(usize::MAX);
        let at_least = match coming {
            Coming::More => 1,
            Coming::NothingForNow => SHOWN_IN_A_PAUSE,
            Coming::Nothing => return Self { held: usize::MAX, history },
        };
        let bytes = tail.bytes.as_slice();
        let mut beginnings = bytes.len().saturating_sub(KEY - 1)..=bytes.len().saturating_sub(at_least);
        let held = beginnings.find(|at| bytes.get(*at..).is_some_and(|rest| !rest.is_empty() && index.begins(rest)));
        Self { held: held.and_then(|at| tail.place(at)).unwrap_or(usize::MAX), history }
    }

    /// The same, of a part of the output that begins there.
    const fn behind(self, start: usize) -> Self {
        Self { held: self.held.saturating_add(start), history: self.history.saturating_add(start) }
    }
}

impl RedactedStream {
    pub(super) fn new(known: Arc<Known>) -> Self {
        // never grows, so no copy is left behind
        let buffer = Zeroizing::new(Vec::with_capacity(CHUNK + 2 * MAX_HELD));
        Self { known, buffer, done: 0, within: None, reading: Reading::default(), zone: 0..0 }
    }

    /// Takes output of the command; returns what can be shown by now.
    pub fn push(&mut self, output: &[u8]) -> Vec<u8> {
        let mut shown = Vec::with_capacity(output.len());
        for chunk in output.chunks(CHUNK) {
            self.buffer.extend_from_slice(chunk);
            self.show(Coming::More, &mut shown);
        }
        shown
    }

    /// Returns what can be shown when nothing more comes for a while: all but six bytes or more of what may be a value.
    pub fn pause(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        self.show(Coming::NothingForNow, &mut shown);
        shown
    }

    /// Returns what is left when the output has ended.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        self.show(Coming::Nothing, &mut shown);
        shown
    }

    fn show(&mut self, coming: Coming, shown: &mut Vec<u8>) {
        if self.done == self.buffer.len() {
            return;
        }
        let mut found = Vec::new();
        let [as_it_is, unescaped, digits] = [
            self.look_at_text(coming, &mut found),
            self.look_behind_escapes(coming, &mut found),
            self.look_at_digits(coming, &mut found),
        ];
        let most_held = self.buffer.len().saturating_sub(MAX_HELD);
        let held = as_it_is.held.min(unescaped.held).min(digits.held).min(self.buffer.len());
        found.sort_unstable_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        self.write(&found, held.max(most_held).max(self.done), shown);
        let history = self.uncut(as_it_is.history.min(unescaped.history).min(digits.history));
        let keep = history.max(most_held).min(self.done);
        self.buffer.drain(..keep);
        self.done -= keep;
    }

    fn look_at_text(&self, coming: Coming, found: &mut Vec<Match>) -> End {
        self.known.text.find(&self.buffer, found);
        End::of(&self.known.text, &Tail::of(Lane::Text, &self.buffer, HISTORY, MAX_HELD), coming)
    }

    fn look_at_digits(&self, coming: Coming, found: &mut Vec<Match>) -> End {
        let mut in_zone = Vec::new();
        for zone in zones::of_digits(&self.buffer, self.known.digits.least()) {
            self.known.digits.find(self.buffer.get(zone.clone()).unwrap_or_default(), &mut in_zone);
            let places = |found: Match| (found.start + zone.start, found.end + zone.start, found.label);
            found.extend(in_zone.drain(..).map(places).map(|(start, end, label)| Match { start, end, label }));
        }
        End::of(&self.known.digits, &Tail::of(Lane::Digits, &self.buffer, HISTORY, MAX_HELD), coming)
    }

    fn look_behind_escapes(&mut self, coming: Coming, found: &mut Vec<Match>) -> End {
        let (mut end, mut in_zone) = (End { held: usize::MAX, history: usize::MAX }, Vec::new());
        self.zone = 0..0;
        for zone in zones::with_escapes(&self.buffer) {
            let is_last = zone.end == self.buffer.len();
            let output = self.buffer.get(zone.clone()).unwrap_or_default();
            self.reading.read(output, !is_last || coming == Coming::Nothing);
            self.known.text.find(&self.reading.bytes, &mut in_zone);
            found.extend(in_zone.drain(..).filter_map(|found| {
                let (start, end) = (self.reading.start(found.start)?, self.reading.end(found.end.checked_sub(1)?)?);
                Some(Match { start: start + zone.start, end: end + zone.start, label: found.label })
            }));
            if is_last {
                end = End::of(&self.known.text, &self.reading.tail(HISTORY), coming).behind(zone.start);
                let cut_off = self.reading.cut_off.filter(|_| coming == Coming::More);
                end.held = end.held.min(cut_off.map_or(usize::MAX, |place| place + zone.start));
                self.zone = zone;
            }
        }
        end
    }

    /// The last place at or before this one where no escape is cut in two, of those that count.
    fn uncut(&self, place: usize) -> usize {
        match place.checked_sub(self.zone.start) {
            Some(within) if place < self.zone.end => self.zone.start + self.reading.boundary_before(within),
            _ => place,
        }
    }

    /// Shows the output up to `limit`, with one marker for each stretch of matches.
    fn write(&mut self, found: &[Match], limit: usize, shown: &mut Vec<u8>) {
        for Match { start, end, label } in found.iter().copied() {
            if end <= self.done || start >= limit {
                continue;
            }
            if start > self.done {
                shown.extend_from_slice(self.buffer.get(self.done..start).unwrap_or_default());
                self.done = start;
                self.within = None;
            }
            // what goes on from before, or overlaps, needs no marker of its own
            if self.within.is_none() || (start == self.done && self.within != Some(label)) {
                shown.extend_from_slice(
                    self.known.markers.get(label).map_or(b"[redacted]".as_slice(), |text| text.as_bytes()),
                );
                self.within = Some(label);
            }
            self.done = end.min(limit);
        }
        if self.done < limit {
            shown.extend_from_slice(self.buffer.get(self.done..limit).unwrap_or_default());
            self.done = limit;
            self.within = None;
        }
    }
}
