//! The page with the table.

use crate::cell::{Cell, Outcome};
use crate::{Fault, Step, Subject};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.github/docs/faults.md");

const HEAD: &str = "# What fails, what you see, and what is lost

`secret-gate exec` asks for a value and runs a command with it. In each line a part fails while the request is at a step, and \
stays so until you have seen the end, or until the client waits for nothing else. What is lost is what it costs to get the \
command run after all. The steps: *asked*, on its way to the human; *seen*, a human can see it; *approved*, and about to be \
fetched; *being read*, by the server from 1Password Connect; *released*, and on its way to the daemon; *in use*, by the command.

In none of them is a value released twice, or without an approval. A fault before the release costs a new approval only where \
the program ends that holds the request, or the network is away for more than a minute. A reply that is lost after the \
release, and a restart of the server, cost a new approval.

The tests run every line with the real server, client and daemon, and check this page. \
`SECRET_GATE_WRITE_FAULTS=1 cargo test -p secret-gate-server --test fault_matrix` writes it anew.

| what fails | how | at which step | what you see | what is lost |
|---|---|---|---|---|
";

/// The line of the table for this cell.
pub fn line(cell: Cell, outcome: &Outcome) -> String {
    let Cell { subject, fault, step } = cell;
    let (what, how, step) = (named(subject), happens(fault), at(step));
    format!("| {what} | {how} | {step} | {} | {} |\n", seen(cell, outcome), lost(cell, outcome))
}

/// Compares the lines with those of the page, or writes it.
pub fn check(lines: &[String], is_whole: bool) {
    if std::env::var_os("SECRET_GATE_WRITE_FAULTS").is_some() {
        assert!(is_whole, "the page needs every line");
        std::fs::write(FILE, format!("{HEAD}{}", lines.concat())).unwrap();
        return;
    }
    let known = std::fs::read_to_string(FILE).unwrap_or_default();
    let known_lines: Vec<&str> = known.split_inclusive('\n').collect();
    let wrong: Vec<&str> = lines.iter().map(String::as_str).filter(|line| !known_lines.contains(line)).collect();
    assert!(wrong.is_empty(), "other results than in {FILE}:\n{}", wrong.concat());
    if is_whole {
        assert_eq!(known, format!("{HEAD}{}", lines.concat()), "another head or order than in {FILE}");
    }
}

fn seen(cell: Cell, outcome: &Outcome) -> String {
    let Outcome { first, waited, .. } = outcome;
    if first.is_done && first.code == Some(0) {
        let seen = match (waited, cell.subject, cell.step) {
            (false, ..) => "all is well",
            (true, Subject::Disk, Step::Seen) => "waits: the human is told that it did not count, and to press again",
            (true, ..) => "waits until it is back; then all is well",
        };
        return seen.to_owned();
    }
    let Some(code) = first.code else { return "nothing more".to_owned() };
    let error = first.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    format!("exit {code}, `{}`", steady(error))
}

/// The message without what differs from run to run: the server's port, and how exactly a connection broke.
fn steady(error: &str) -> String {
    let Some((before, rest)) = error.split_once("http://") else { return error.to_owned() };
    let (url, after) = rest.split_once(' ').unwrap_or((rest, ""));
    match url.strip_suffix(':') {
        Some(_) => format!("{before}URL"),
        None => format!("{before}URL {}", after.split(": ").next().unwrap_or_default()),
    }
}

fn lost(cell: Cell, outcome: &Outcome) -> &'static str {
    let Outcome { first, questions: [asked, again], approved, .. } = outcome;
    let is_approved = *approved > 0 && cell.step > Step::Asked;
    if first.is_done && first.code == Some(0) {
        let held = usize::from(!cell.ends_what_is_held());
        assert_eq!(*again, 1 - held, "{cell:?}: asked although it is held, or not although it is not: {outcome:?}");
        return match asked {
            1 if cell.ends_what_is_held() => "the approval, once the server is back: the next command asks again",
            1 => "nothing",
            2 => "the question: another one is asked by itself",
            _ => panic!("{cell:?}: {outcome:?}"),
        };
    }
    assert!(*asked <= 1 && *again <= 1, "{cell:?}: {outcome:?}");
    let needs_approval = *again == 1 && is_approved;
    assert!(!needs_approval || may_cost_an_approval(cell), "{cell:?} costs an approval: {outcome:?}");
    match (cell.step, again) {
        (Step::Used, 0) => "the command; the approval is still good",
        (_, 0) => "a retry, which asks nobody",
        (Step::Used, _) => "the command, and the approval: a retry asks again",
        _ if *asked == 0 => "a retry: nobody was asked yet",
        _ if needs_approval => "the approval: a retry asks again",
        _ => "the question: a retry asks again",
    }
}

/// What rule 8 allows.
fn may_cost_an_approval(Cell { subject, fault, step }: Cell) -> bool {
    let holder_ends = matches!(fault, Fault::Killed | Fault::Restarted | Fault::Ended | Fault::HungUp);
    let is_away_for_long = subject == Subject::Network && fault == Fault::Hangs;
    let is_on_its_way = subject == Subject::Network && step == Step::Released;
    holder_ends || is_away_for_long || is_on_its_way
}

const fn named(subject: Subject) -> &'static str {
    match subject {
        Subject::Connect => "1Password Connect",
        Subject::Telegram => "Telegram",
        Subject::Server => "the server",
        Subject::Network => "the network between client and server",
        Subject::Daemon => "the daemon",
        Subject::Client => "the client",
        Subject::Disk => "the disk of the audit log",
    }
}

const fn happens(fault: Fault) -> &'static str {
    match fault {
        Fault::Refuses => "refuses connections",
        Fault::Resets => "resets every connection",
        Fault::Hangs => "is silent",
        Fault::Killed => "is killed",
        Fault::Restarted => "is killed and started again",
        Fault::Stopped => "is stopped, and goes on",
        Fault::CutOnce => "is cut once",
        Fault::Ended => "is told to end (SIGTERM)",
        Fault::HungUp => "loses its terminal (SIGHUP)",
        Fault::Full => "is full",
        Fault::Locked => "does not write",
        Fault::Gone => "is gone",
    }
}

const fn at(step: Step) -> &'static str {
    match step {
        Step::Asked => "asked",
        Step::Seen => "seen",
        Step::Approved => "approved",
        Step::Read => "being read",
        Step::Released => "released",
        Step::Used => "in use",
    }
}
