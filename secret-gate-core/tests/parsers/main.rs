//! Every parser that the library offers, on any bytes: see `bodies` for what must hold. The fuzzers in `fuzz/` run the
//! same bodies for longer; what they should begin with is stored there, and tried here.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on has failed")]

mod bodies;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What is stored for this fuzzer.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn what_is_stored_for_the_fuzzers() {
    for (name, body) in bodies::ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            // whole, and cut off anywhere
            (0..=seed.len()).for_each(|end| body(&seed[..end]));
        }
    }
}

#[test]
fn nothing_huge_and_nothing_empty_is_too_much() {
    let million = |piece: &str| piece.repeat(1_000_000 / piece.len()).into_bytes();
    for text in [Vec::new(), vec![0; 1000], million("["), million("op://"), million("{\"a\":"), million("é\n")] {
        bodies::ALL.iter().for_each(|(_, body)| body(&text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bodies::ALL.iter().for_each(|(_, body)| body(&bytes));
    }

    #[test]
    fn any_text(text in any::<String>()) {
        bodies::ALL.iter().for_each(|(_, body)| body(text.as_bytes()));
    }

    #[test]
    fn what_is_nearly_right(
        (name, body) in select(bodies::ALL),
        which in any::<Index>(),
        changes in prop::collection::vec((any::<Index>(), any::<Index>(), "\\PC{0,3}|[\"{}:,/@\\[\\]\n-]"), 1..5),
    ) {
        let mut bytes = which.get(&seeds(name)).clone();
        for (from, length, text) in changes {
            let from = from.index(bytes.len() + 1);
            let to = from + length.index((bytes.len() - from).min(8) + 1);
            bytes.splice(from..to, text.bytes());
        }
        body(&bytes);
    }
}
