//! How long a yes takes to reach who waits for it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncReadExt as _;

use support::{World, wire};

const TAPS: usize = 200;
const LIMIT: Duration = Duration::from_millis(50);

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Round {
    min: Duration,
    median: Duration,
    p99: Duration,
    max: Duration,
}

/// From Telegram's handing out the press to the bytes of the answer to `/status?wait=30s`.
async fn one(world: &World) -> Duration {
    let asked = world.ask_for_db().await;
    let mut status = wire(&world.server.url, &format!("/status/{}?wait=30s", asked.token)).await;
    // by the time this is answered, the other call has been taken in as well
    assert_eq!(world.http.get("/health").await.text, "OK");
    let press = world.telegram.press(asked.message.message_id, "Approve", support::ANN).await.unwrap();
    let mut bytes = vec![0; 4096];
    let length = status.read(&mut bytes).await.unwrap();
    let arrived = Instant::now();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("\"approved\""), "{text}");
    let delivered = world.telegram.wait_delivered(&press).await.unwrap();
    assert_eq!(world.secret(&asked).await.status, 200);
    arrived.saturating_duration_since(delivered)
}

async fn round(world: &World) -> Round {
    let mut took = Vec::with_capacity(TAPS);
    for _ in 0..TAPS {
        took.push(one(world).await);
    }
    took.sort_unstable();
    Round { min: took[0], median: took[TAPS / 2], p99: took[TAPS * 99 / 100 - 1], max: took[TAPS - 1] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_wakes_who_waits_within_50_ms() {
    let world = World::start().await;
    // a machine that does other things at the same time gets a second and a third chance
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let round = round(&world).await;
        println!("from tap to status, {TAPS} taps: {round:?}");
        let good = round.p99 < LIMIT;
        rounds.push(round);
        if good {
            return;
        }
    }
    panic!("p99 not below {LIMIT:?} in any round: {rounds:?}");
}

#[tokio::test]
async fn a_request_is_accepted_only_once_the_question_can_be_seen() {
    let world = World::start().await;
    for delay in [Duration::from_millis(700), Duration::ZERO] {
        world.telegram.faults().delay("sendMessage", delay, 1);
        let before = world.telegram.messages().len();
        let started = Instant::now();
        let body = json!({"secret_name": "db"});
        let mut call = Box::pin(world.http.post("/request", &body));
        let answer = tokio::select! {
            biased;
            answer = &mut call => answer,
            message = world.telegram.wait_message(|message| message.sent_at >= started) => {
                assert!(message.unwrap().sent_at - started >= delay);
                call.await
            }
        };
        assert_eq!(answer.status, 202);
        assert_eq!(world.telegram.messages().len(), before + 1);
        // panics unless the message is there
        let asked = world.asked(&answer);
        assert!(asked.message.sent_at.elapsed() <= started.elapsed());
    }
}
