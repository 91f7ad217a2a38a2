//! The parts of the output in which a value could stand otherwise than as it is.

use std::ops::Range;

use zeroize::Zeroizing;

use super::escapes::is_special;
use super::index::REACH;
use super::lanes::{Lane, is_space};

/// How much is looked at in one go, in bytes.
const BLOCK: usize = 64;

/// Where escapes and quotes stand, with as much around them as a match with one of them in it may have of anything else.
pub(super) fn with_escapes(output: &[u8]) -> Vec<Range<usize>> {
    let mut zones: Vec<Range<usize>> = Vec::new();
    for (number, block) in output.chunks(BLOCK).enumerate() {
        // in this form it takes no time to speak of
        if !block.iter().fold(false, |any, byte| any | is_special(*byte)) {
            continue;
        }
        let at = |place: Option<usize>| number * BLOCK + place.unwrap_or(0);
        let first = at(block.iter().position(|byte| is_special(*byte)));
        let last = at(block.iter().rposition(|byte| is_special(*byte)));
        let end = after(output, last + 1);
        match zones.last_mut() {
            Some(zone) if first <= zone.end => zone.end = end,
            _ => {
                let start = before(output, first);
                match zones.last_mut() {
                    Some(zone) if start <= zone.end => zone.end = end,
                    _ => zones.push(start..end),
                }
            }
        }
    }
    zones
}

/// The place so many bytes before this one as matter, white space not counted.
fn before(output: &[u8], place: usize) -> usize {
    let mut kept = output.iter().enumerate().take(place).rev().filter(|(_, byte)| !is_space(**byte));
    kept.nth(REACH - 1).map_or(0, |(at, _)| at)
}

fn after(output: &[u8], place: usize) -> usize {
    let mut kept = output.iter().enumerate().skip(place).filter(|(_, byte)| !is_space(**byte));
    kept.nth(REACH - 1).map_or(output.len(), |(at, _)| at + 1)
}

/// Where nothing but digits stands, of any base up to sixteen, and what is no letter either: so many bytes or more.
pub(super) fn of_digits(output: &[u8], least: usize) -> Vec<Range<usize>> {
    let mut zones = Vec::new();
    // so many bytes hold three places in a row at which is looked
    let step = (least / 3).max(1);
    let (mut at, mut in_a_row) = (0, 0);
    while let Some(byte) = output.get(at) {
        // which of both it is can't be foreseen: a branch would cost more than all the rest
        in_a_row = (in_a_row + 1) * u8::from(!ends_digits(*byte));
        if in_a_row == 3 {
            let start = output.iter().take(at).rposition(|byte| ends_digits(*byte)).map_or(0, |end| end + 1);
            let length = output.get(at..).unwrap_or_default().iter().position(|byte| ends_digits(*byte));
            let end = length.map_or(output.len(), |length| at + length);
            if end - start >= least {
                zones.push(start..end);
            }
            (at, in_a_row) = (end.next_multiple_of(step), 0);
        } else {
            at += step;
        }
    }
    zones
}

/// Whether no dump of numbers goes on over this letter. An `x` stands before numbers.
#[inline]
#[expect(clippy::indexing_slicing, reason = "every byte has its place in the table")]
pub(super) const fn ends_digits(byte: u8) -> bool {
    const LETTERS: [bool; 256] = {
        let (mut letters, mut byte) = ([false; 256], b'g');
        while byte <= b'z' {
            letters[byte as usize] = byte != b'x';
            letters[byte.to_ascii_uppercase() as usize] = true;
            byte += 1;
        }
        letters
    };
    LETTERS[byte as usize]
}

/// The last bytes that a lane keeps, and where they stand.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    places: Vec<usize>,
}

impl Tail {
    /// At most so many, of at most so much output.
    pub(super) fn of(lane: Lane, output: &[u8], most: usize, reach: usize) -> Self {
        let ends = |byte: u8| lane == Lane::Digits && ends_digits(byte);
        let bytes = output.iter().copied().enumerate().rev().take(reach).take_while(|(_, byte)| !ends(*byte));
        Self::from_behind(bytes.filter(|(_, byte)| lane.keeps(*byte)), most)
    }

    /// Of these bytes with their places, the last one first.
    pub(super) fn from_behind(reversed: impl Iterator<Item = (usize, u8)>, most: usize) -> Self {
        let mut tail = Self { bytes: Zeroizing::new(Vec::with_capacity(most)), places: Vec::with_capacity(most) };
        for (place, byte) in reversed.take(most) {
            tail.bytes.push(byte);
            tail.places.push(place);
        }
        tail.bytes.reverse();
        tail.places.reverse();
        tail
    }

    /// Where the byte at `index` begins in the output.
    pub(super) fn place(&self, index: usize) -> Option<usize> {
        self.places.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn around_escapes() {
        assert!(with_escapes(b"").is_empty() && with_escapes(&[b'a'; 1000]).is_empty());
        let mut output = vec![b'a'; 1000];
        output[500] = b'%';
        assert_eq!(with_escapes(&output), std::slice::from_ref(&(436..565)));
        output[505] = b' ';
        output[900] = b'"';
        assert_eq!(with_escapes(&output), [436..566, 836..965]);
        output[600] = 0x1b;
        output[990] = b'&';
        assert_eq!(with_escapes(&output), [436..665, 836..1000]);
    }

    proptest! {
        #[test]
        fn every_stretch_of_digits_is_found(output in "[0-9a-z ,]{0,200}|[0-9a-f .y]{0,200}", least in 12_usize..40) {
            let output = output.as_bytes();
            let mut expected = Vec::new();
            let mut start = 0;
            for stretch in output.split(|byte| ends_digits(*byte)) {
                if stretch.len() >= least {
                    expected.push(start..start + stretch.len());
                }
                start += stretch.len() + 1;
            }
            prop_assert_eq!(of_digits(output, least), expected);
        }
    }
}
