//! The fault matrix: each part, killed, stopped or cut off at each step of a request; what the user sees, what is lost.
//!
//! Every cell runs the real server, client and daemon, once with the fault and once more after it, and the audit log must
//! say that nothing was released twice or without an approval. The page `.github/docs/faults.md` holds what came of it;
//! `SECRET_GATE_WRITE_FAULTS=1` writes that file anew, and `SECRET_GATE_FAULT=disk` runs the cells whose name has this.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "in tests, a failure is a panic"
)]

mod cell;
mod human;
mod page;
mod relay;
mod run;
mod scene;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use cell::Cell;

/// How many cells run at once. They mostly wait; but a start that takes long on a busy machine must not look like a fault.
const AT_ONCE: usize = 16;

/// What a fault happens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Connect,
    Telegram,
    Server,
    /// The way from the requester's machine to the server.
    Network,
    Daemon,
    Client,
    /// Where the audit log is.
    Disk,
}

/// What happens to it. Unless it says otherwise, it lasts until the user has seen the end, or waits for the part to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody listens.
    Refuses,
    /// Every connection is reset.
    Resets,
    /// No answer comes.
    Hangs,
    /// SIGKILL.
    Killed,
    /// SIGKILL, and started again at once.
    Restarted,
    /// SIGSTOP, and SIGCONT a little later.
    Stopped,
    /// Connections are cut once.
    CutOnce,
    /// SIGTERM.
    Ended,
    /// SIGHUP.
    HungUp,
    /// Nothing more can be written.
    Full,
    /// Writing takes for ever.
    Locked,
    /// The folder is not there.
    Gone,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// On its way to the human.
    Asked,
    /// A human can see it.
    Seen,
    /// Approved, and about to be fetched.
    Approved,
    /// The server is reading the value.
    Read,
    /// The server has released it, and the answer is on its way.
    Released,
    /// A command has it.
    Used,
}

const STEPS: [Step; 6] = [Step::Asked, Step::Seen, Step::Approved, Step::Read, Step::Released, Step::Used];

const FAULTS: [(Subject, &[Fault]); 7] = [
    (Subject::Connect, &[Fault::Refuses, Fault::Resets, Fault::Hangs]),
    (Subject::Telegram, &[Fault::Refuses, Fault::Resets, Fault::Hangs]),
    (Subject::Server, &[Fault::Killed, Fault::Restarted, Fault::Stopped]),
    (Subject::Network, &[Fault::CutOnce, Fault::Resets, Fault::Hangs]),
    (Subject::Daemon, &[Fault::Killed, Fault::Ended, Fault::Stopped]),
    (Subject::Client, &[Fault::Killed, Fault::HungUp, Fault::Stopped]),
    (Subject::Disk, &[Fault::Full, Fault::Locked, Fault::Gone]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_part_fails_at_every_step_and_costs_what_the_page_says() {
    let only = std::env::var("SECRET_GATE_FAULT").unwrap_or_default().to_lowercase();
    let (room, mut running) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    let mut cells = cells();
    cells.retain(|cell| format!("{cell:?}").to_lowercase().contains(&only));
    // those that wait for time-outs first
    let mut order: Vec<usize> = (0..cells.len()).collect();
    order.sort_by_key(|number| !cells[*number].is_long());
    for number in order {
        let (room, cell) = (Arc::clone(&room), cells[number]);
        running.spawn(async move {
            let _seat = room.acquire_owned().await.unwrap();
            // in a task of its own, so that its panic says which it was
            (number, tokio::spawn(async move { page::line(cell, &cell.outcome().await) }).await)
        });
    }
    let mut lines = vec![String::new(); cells.len()];
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (number, line) = ended.unwrap();
        match line {
            Ok(line) => lines[number] = line,
            Err(_) => failed.push(cells[number]),
        }
    }
    if !only.is_empty() {
        print!("{}", lines.concat());
    }
    assert!(failed.is_empty(), "these failed, see above: {failed:?}");
    page::check(&lines, only.is_empty());
}

fn cells() -> Vec<Cell> {
    let faults = FAULTS.iter().flat_map(|(subject, faults)| faults.iter().map(|fault| (*subject, *fault)));
    faults.flat_map(|(subject, fault)| STEPS.map(|step| Cell { subject, fault, step })).collect()
}
