//! Short runs of bytes, looked up by a hash.
//!
//! What is kept here tells something of the values, so it is wiped as they are.

use zeroize::{DefaultIsZeroes, Zeroizing};

/// Spreads what differs anywhere over the highest bits: the golden ratio in 64 bits.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Whether a run may be one of those that were put in: no is certain, yes is wrong once in sixteen times at most, about.
#[derive(Debug)]
pub(super) struct Filter {
    words: Zeroizing<Vec<u64>>,
    shift: u32,
}

impl Filter {
    /// Takes about so many runs.
    pub(super) fn for_about(count: usize) -> Self {
        let bits = (count * 16).next_power_of_two().max(1 << 15);
        Self { words: Zeroizing::new(vec![0; bits / 64]), shift: 64 - bits.trailing_zeros() }
    }

    pub(super) fn add(&mut self, run: u64) {
        let (word, bit) = self.place(run);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline]
    pub(super) fn may_have(&self, run: u64) -> bool {
        let (word, bit) = self.place(run);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    #[inline]
    const fn place(&self, run: u64) -> (usize, u64) {
        let at = run.wrapping_mul(SPREAD) >> self.shift;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

/// Where in the forms a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) form: u32,
    pub(super) offset: u32,
}

impl DefaultIsZeroes for Place {}

/// The places of every run, and now and then of another one with the same hash.
#[derive(Debug)]
pub(super) struct Places {
    /// Where in `places` those of each hash begin; one more than there are hashes.
    starts: Zeroizing<Vec<u32>>,
    places: Zeroizing<Vec<Place>>,
    shift: u32,
}

impl Places {
    pub(super) fn of(runs: &[(u64, Place)]) -> Self {
        let hashes = runs.len().next_power_of_two().max(64);
        let shift = 64 - hashes.trailing_zeros();
        let mut counted = Self {
            starts: Zeroizing::new(vec![0; hashes + 1]),
            places: Zeroizing::new(vec![Place::default(); runs.len()]),
            shift,
        };
        for (run, _) in runs {
            let hash = counted.hash(*run);
            if let Some(count) = counted.starts.get_mut(hash) {
                *count += 1;
            }
        }
        // from how many there are to where they end
        let mut end = 0;
        for count in counted.starts.iter_mut() {
            end += *count;
            *count = end;
        }
        // from where they end to where they begin, filling in from behind
        for (run, place) in runs.iter().rev() {
            let hash = counted.hash(*run);
            if let Some(start) = counted.starts.get_mut(hash) {
                *start -= 1;
                if let Some(free) = counted.places.get_mut(*start as usize) {
                    *free = *place;
                }
            }
        }
        counted
    }

    pub(super) fn of_run(&self, run: u64) -> impl Iterator<Item = Place> {
        let hash = self.hash(run);
        let bound = |at: usize| self.starts.get(at).map_or(0, |start| *start as usize);
        self.places.get(bound(hash)..bound(hash + 1)).unwrap_or_default().iter().copied()
    }

    const fn hash(&self, run: u64) -> usize {
        (run.wrapping_mul(SPREAD) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_again() {
        let place = |n: u64| Place { form: (n % 7) as u32, offset: n as u32 };
        // runs that differ in their lowest, their highest and in all bytes, some of them twice
        let runs: Vec<(u64, Place)> = (0..3000)
            .map(|n: u64| (n % 3, n / 2))
            .map(|(kind, n)| ([n, n << 40, n * 0x0101_0101][kind as usize], place(n)))
            .collect();
        let (places, mut filter) = (Places::of(&runs), Filter::for_about(runs.len()));
        runs.iter().for_each(|(run, _)| filter.add(*run));
        for (run, place) in &runs {
            assert!(filter.may_have(*run) && places.of_run(*run).any(|found| found == *place), "{run:x}");
        }
        let others = (0..10_000_u64).map(|n| n.wrapping_mul(0x1234_5678_9abc_def1) | 1 << 63);
        assert!(others.filter(|run| filter.may_have(*run)).count() < 2000);
        assert_eq!(Places::of(&[]).of_run(7).count(), 0);
    }
}
