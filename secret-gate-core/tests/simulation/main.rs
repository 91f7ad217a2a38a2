//! A seeded simulation of the gate: requesters, humans, faults and a clock do at random what they can do, at the same time,
//! and after each move the promises are checked.
//!
//! `SIMULATION_SEEDS` says how many worlds there are [default: 50], `SIMULATION_FIRST_SEED` where they begin [default: 1]. A
//! seed fixes the moves; the scheduler still chooses some orders of its own, so a failure may need a few runs to come again.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a promise that is broken ends the test")]

mod check;
mod moves;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::world::World;

/// How many moves a world makes.
const MOVES: usize = 400;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn the_promises_hold_whatever_happens() {
    let (first, seeds) = (setting("SIMULATION_FIRST_SEED", 1), setting("SIMULATION_SEEDS", 50));
    let mut seen = check::Tally::default();
    for seed in first..first + seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(tally) => seen += tally,
            Err(panic) => {
                eprintln!("the world of SIMULATION_FIRST_SEED={seed} SIMULATION_SEEDS=1 broke a promise");
                resume_unwind(panic)
            }
        }
    }
    seen.check_that_enough_happened(seeds);
}

fn run(seed: u64) -> check::Tally {
    // time stands still, and jumps ahead when everybody waits for it
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        for _ in 0..MOVES {
            world.make_a_move().await;
            world.check();
        }
        world.heal();
        world.settle().await;
        world.check();
        world.check_that_what_was_approved_can_be_had().await;
        world.check_that_all_is_forgotten().await;
        world.tally()
    })
}
