//! What may stand between the bytes of a value without hiding it.

/// What is left out of the output before a value is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// White space, zero bytes and other control bytes: wrapped lines, one character a line, spaced dumps, UTF-16.
    Text,
    /// Whatever is no letter and no digit: dumps with anything between the bytes.
    Digits,
}

impl Lane {
    #[inline]
    pub(super) const fn keeps(self, byte: u8) -> bool {
        match self {
            Self::Text => !is_space(byte),
            Self::Digits => byte.is_ascii_alphanumeric(),
        }
    }

    /// The length of the runs by which forms are looked up, in bytes. Short runs of digits would stand everywhere.
    pub(super) const fn gram(self) -> usize {
        match self {
            Self::Text => 4,
            Self::Digits => 8,
        }
    }
}

pub(super) const fn is_space(byte: u8) -> bool {
    byte <= b' '
}

/// The text as this lane reads it.
pub(super) fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii() || !is_space(*c as u8)).collect()
}

/// The first run of [`Lane::Text`] from there, and where it begins: there, or behind bytes that are left out.
#[inline]
pub(super) fn text_run(text: &[u8], at: usize) -> Option<(u64, usize)> {
    let eight = text.get(at..).and_then(|rest| rest.first_chunk::<8>());
    if let Some(eight) = eight {
        // nearly all text has at most two such bytes among six
        let squeezed = without_first_space(without_first_space(u64::from_le_bytes(*eight)));
        let run = squeezed & 0xffff_ffff;
        if spaces(run | 0xffff_ffff_0000_0000) == 0 {
            return Some((run, at));
        }
    }
    next_run(Lane::Text, text, at)
}

/// The first run of [`Lane::Digits`] from there, and where it begins.
#[inline]
pub(super) fn digits_run(text: &[u8], at: usize) -> Option<(u64, usize)> {
    next_run(Lane::Digits, text, at)
}

fn next_run(lane: Lane, text: &[u8], at: usize) -> Option<(u64, usize)> {
    let (mut run, mut length, mut first) = (0, 0, at);
    for (at, byte) in text.iter().enumerate().skip(at).filter(|(_, byte)| lane.keeps(**byte)) {
        if length == 0 {
            first = at;
        }
        run |= u64::from(*byte) << (8 * length);
        length += 1;
        if length == lane.gram() {
            return Some((run, first));
        }
    }
    None
}

/// The highest bit of the first byte of these eight that is left out, and maybe of others behind it.
#[inline]
const fn spaces(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    eight.wrapping_sub(ONES * (b' ' as u64 + 1)) & !eight & (ONES << 7)
}

/// These eight bytes less the first that is left out; zero takes the place of the last.
#[inline]
const fn without_first_space(eight: u64) -> u64 {
    let spaces = spaces(eight);
    let first = spaces & spaces.wrapping_neg();
    // all bits where there is none
    let before = (first >> 7).wrapping_sub(1);
    eight & before | eight >> 8 & !before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_lane_leaves_out_its_own() {
        assert_eq!(squeezed(" a\tb\r\nc\0'd'\\n\u{1}"), "abc'd'\\n");
        let digits: Vec<u8> = "0x73, \\x65:ü-9".bytes().filter(|byte| Lane::Digits.keeps(*byte)).collect();
        assert_eq!(digits, b"0x73x659");
    }

    proptest! {
        #[test]
        fn a_run_is_read_over_what_is_left_out(text in proptest::collection::vec(0x1d_u8..0x26, 0..40), at in 0_usize..40) {
            let fast = text_run(&text, at);
            let slow = next_run(Lane::Text, &text, at);
            prop_assert_eq!(fast.map(|(run, _)| run), slow.map(|(run, _)| run));
            if let (Some((_, fast)), Some((_, slow))) = (fast, slow) {
                prop_assert!(at <= fast && fast <= slow && text[fast..slow].iter().all(|byte| is_space(*byte)));
            }
        }

        #[test]
        fn bytes_that_are_no_text_are_kept(eight in any::<[u8; 8]>()) {
            let squeezed = without_first_space(u64::from_le_bytes(eight)).to_le_bytes();
            let mut expected = eight.to_vec();
            if let Some(at) = eight.iter().position(|byte| is_space(*byte)) {
                expected.remove(at);
                expected.push(0);
            }
            prop_assert_eq!(squeezed.as_slice(), expected);
        }
    }
}
