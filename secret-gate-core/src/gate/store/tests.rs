//! The tally against a look at each request.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::Grant;
use crate::approver::{Approval, Question, Said};
use crate::gate::token::Token;

const ROOM: Room = Room { in_all: 6, per_requester: 3 };
const NAMES: [&str; 3] = ["ann", "ben", "cid"];

#[derive(Debug, Clone)]
enum Turn {
    Ask { by: usize, lasts: u64 },
    Step { at: usize, to: usize, grant: Option<u64> },
    Remove { at: usize },
    Wait { seconds: u64 },
    Forget,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (0..NAMES.len(), 0..200_u64).prop_map(|(by, lasts)| Turn::Ask { by, lasts }),
        4 => (0..8_usize, 0..8_usize, proptest::option::of(0..300_u64))
            .prop_map(|(at, to, grant)| Turn::Step { at, to, grant }),
        1 => (0..8_usize).prop_map(|at| Turn::Remove { at }),
        3 => (0..90_u64).prop_map(|seconds| Turn::Wait { seconds }),
        2 => Just(Turn::Forget),
    ]
}

fn record(by: usize, now: SystemTime, lasts: u64) -> Record {
    let question = Question {
        id: RequestId::random().unwrap(),
        items: Vec::new(),
        requester: Requester::with_key(NAMES[by], false),
        intended_use: None,
        keep: None,
        said: Said::default(),
        asked_at: now,
        expires_at: now + Duration::from_secs(lasts),
        audit: None,
    };
    Record { question: Arc::new(question), pins: Arc::new([]), state: State::Pending, since: now }
}

fn state(to: usize, now: SystemTime, grant: Option<u64>) -> State {
    let grant = grant.map(|lasts| Grant::new("g", crate::Use::any_command(), now + Duration::from_secs(lasts), false));
    let approval = Arc::new(Approval { by: "Ann".into(), grant, at: now, audit: None });
    match to {
        0 => State::Pending,
        1 => State::Approved(approval),
        2 => State::Releasing(approval),
        3 => State::Released(approval),
        4 => State::Denied { by: "Ann".into() },
        5 => State::Expired { unused: Some(approval) },
        6 => State::Withdrawn,
        _ => State::Revoked(approval),
    }
}

/// What the rules say of the room, by a look at each request.
fn room_by_hand(known: &[Record], requester: &Requester, now: SystemTime) -> Result<(), NoRoom> {
    let waits = |record: &&Record| record.state.phase() == Phase::Pending && now < record.question.expires_at;
    let ends = |all: &[&Record]| all.iter().map(|record| record.question.expires_at).min().unwrap();
    let all: Vec<&Record> = known.iter().filter(waits).collect();
    if all.len() >= ROOM.in_all {
        return Err(NoRoom::InAll(ends(&all).duration_since(now).unwrap()));
    }
    let same: Vec<&Record> = all.into_iter().filter(|record| record.question.requester == *requester).collect();
    if same.len() >= ROOM.per_requester {
        return Err(NoRoom::ForRequester(ends(&same).duration_since(now).unwrap()));
    }
    Ok(())
}

fn can_be_forgotten(record: &Record, now: SystemTime) -> bool {
    let ended = match &record.state {
        State::Pending | State::Approved(_) | State::Releasing(_) => false,
        State::Released(approval) => approval.grant.as_ref().is_none_or(|grant| now >= grant.expires_at),
        State::Denied { .. } | State::Expired { .. } | State::Withdrawn | State::Revoked(_) => true,
    };
    ended && now.duration_since(record.since).is_ok_and(|passed| passed >= Duration::from_secs(60))
}

proptest! {
    #[test]
    fn counts_as_a_look_at_each_would(turns in proptest::collection::vec(turn(), 0..120)) {
        let store = RequestStore::default();
        let mut known: Vec<Record> = Vec::new();
        let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for turn in turns {
            match turn {
                Turn::Ask { by, lasts } => {
                    let record = record(by, now, lasts);
                    let expected = room_by_hand(&known, &record.question.requester, now);
                    let kept = store.insert(record.clone(), Token::random().unwrap().digest(), ROOM);
                    prop_assert_eq!(&kept, &expected);
                    if kept.is_ok() {
                        known.push(record);
                    }
                }
                Turn::Step { at, to, grant } => {
                    if let Some(record) = known.get_mut(at) {
                        let (from, next) = (record.state.phase(), state(to, now, grant));
                        let elsewhere = if from == Phase::Denied { Phase::Pending } else { Phase::Denied };
                        prop_assert!(!store.compare_and_set(&record.question.id, elsewhere, next.clone(), now));
                        prop_assert!(store.compare_and_set(&record.question.id, from, next.clone(), now));
                        (record.state, record.since) = (next, now);
                    }
                }
                Turn::Remove { at } => {
                    if at < known.len() {
                        store.remove(&known.swap_remove(at).question.id);
                    }
                }
                Turn::Wait { seconds } => now += Duration::from_secs(seconds),
                Turn::Forget => {
                    let mut forgotten = store.forget(now);
                    let gone = known.extract_if(.., |record| can_be_forgotten(record, now));
                    let mut expected: Vec<RequestId> = gone.map(|record| record.question.id.clone()).collect();
                    forgotten.sort();
                    expected.sort();
                    prop_assert_eq!(forgotten, expected);
                }
            }
            for name in NAMES {
                let requester = Requester::with_key(name, false);
                prop_assert_eq!(store.check_room(&requester, ROOM, now), room_by_hand(&known, &requester, now));
            }
            let count = |phases: &[Phase]| known.iter().filter(|record| phases.contains(&record.state.phase())).count();
            prop_assert_eq!(store.pending(), count(&[Phase::Pending]));
            prop_assert_eq!(store.open(), count(&[Phase::Pending, Phase::Approved, Phase::Releasing]));
            prop_assert_eq!(lock(&store.inner).tokens.len(), known.len());
        }
    }
}

#[test]
fn whoever_has_nothing_left_takes_no_memory() {
    let (store, now) = (RequestStore::default(), SystemTime::UNIX_EPOCH);
    for number in 0..100 {
        let asked = record(number % 3, now, number as u64);
        let id = asked.question.id.clone();
        store.insert(asked, Token::random().unwrap().digest(), ROOM).unwrap();
        assert!(store.compare_and_set(&id, Phase::Pending, State::Withdrawn, now));
    }
    assert_eq!(store.forget(now + Duration::from_secs(60)).len(), 100);
    let expected = format!("{:?}", RequestStore::default());
    assert_eq!(format!("{store:?}"), expected);
}
