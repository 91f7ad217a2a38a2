//! Redaction of output as it comes.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Known;
use super::index::{HISTORY, Match};
use super::lanes::{Lane, Reading};

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

impl RedactedStream {
    pub(super) fn new(known: Arc<Known>) -> Self {
        // never grows, so no copy is left behind
        let buffer = Zeroizing::new(Vec::with_capacity(CHUNK + 2 * MAX_HELD));
        Self { known, buffer, done: 0, within: None }
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
        let mut limit = self.buffer.len();
        let mut history = self.buffer.len();
        for lane in Lane::ALL {
            let reading = Reading::of(lane, &self.buffer, coming == Coming::Nothing);
            self.known.index.find(lane, &reading, &mut found);
            limit = limit.min(self.held_from(lane, &reading, coming));
            let begins = reading.bytes.len().saturating_sub(HISTORY);
            history = history.min(reading.start(begins).unwrap_or(history));
        }
        let limit = limit.max(self.buffer.len().saturating_sub(MAX_HELD)).max(self.done);
        found.sort_unstable_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        self.write(&found, limit, shown);
        let keep = history.max(self.buffer.len().saturating_sub(MAX_HELD)).min(self.done);
        self.buffer.drain(..keep);
        self.done -= keep;
    }

    /// Where the output begins that this lane holds back.
    fn held_from(&self, lane: Lane, reading: &Reading, coming: Coming) -> usize {
        let at_least = match coming {
            Coming::More => 1,
            Coming::NothingForNow => SHOWN_IN_A_PAUSE,
            Coming::Nothing => return usize::MAX,
        };
        let partial = self.known.index.may_begin(lane, reading, at_least).unwrap_or(usize::MAX);
        let escape = reading.cut_off.filter(|_| coming == Coming::More).unwrap_or(usize::MAX);
        partial.min(escape)
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
