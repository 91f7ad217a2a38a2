mod faults;
mod others;
mod presses;
mod probe;

use std::time::Duration;

use secret_gate_doubles::TelegramDouble;
use secret_gate_doubles::telegram::{Message, PressId, User};

use super::super::testing::{FirstCounts, question};
use super::*;

const ANN: i64 = 42;

/// A chat with one approver in it, and a ballot box that a test controls.
struct Scene {
    telegram: TelegramDouble,
    approver: TelegramApprover,
    ballots: Arc<FirstCounts>,
}

fn builder(telegram: &TelegramDouble) -> TelegramBuilder {
    let mut builder = TelegramApprover::builder(SecretValue::new(telegram.token()), ANN)
        .api_url(telegram.url())
        .call_timeout(Duration::from_secs(2))
        .poll_timeout(Duration::from_secs(2));
    builder.pace.first_pause = Duration::from_millis(50);
    builder.pace.longest_pause = Duration::from_millis(400);
    builder.pace.conflict_pause = Duration::from_millis(200);
    builder
}

/// Looks again and again, for what no event tells of; fails after a while.
async fn until(holds: impl Fn() -> bool + Send + Sync) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.unwrap();
}

impl Scene {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(TelegramBuilder) -> TelegramBuilder) -> Self {
        let telegram = TelegramDouble::start().await.unwrap();
        telegram.add_user(User::new(ANN, "Ann").with_username("ann"));
        let approver = change(builder(&telegram)).start().unwrap();
        Self { telegram, approver, ballots: FirstCounts::new() }
    }

    async fn try_ask(&self, id: &str) -> Result<Box<dyn Posted>, ApproverError> {
        self.approver.ask(Arc::new(question(id)), self.ballots.ballot(id)).await
    }

    async fn ask(&self, id: &str) -> (Box<dyn Posted>, Message) {
        let posted = self.try_ask(id).await.unwrap();
        (posted, self.message(id).await)
    }

    async fn message(&self, id: &str) -> Message {
        self.telegram.wait_message(|message| message.plain.contains(&format!("request {id}"))).await.unwrap()
    }

    async fn told(&self, press: &PressId) -> String {
        self.telegram.wait_answer(press).await.unwrap().text
    }

    fn calls(&self, method: &str) -> usize {
        self.telegram.calls().iter().filter(|call| call.method == method).count()
    }
}
