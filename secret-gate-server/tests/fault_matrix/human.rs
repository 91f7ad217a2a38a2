//! Ann, who approves what she sees as soon as she is told to look.

use std::collections::BTreeMap;
use std::sync::Arc;

use secret_gate_doubles::TelegramDouble;
use secret_gate_doubles::telegram::PressId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{ANN, PATIENCE};

/// What she does, and what came of it.
#[derive(Debug, Clone, Copy, Default)]
struct Mood {
    approves: bool,
    presses_again: bool,
    presses: usize,
    refused: usize,
}

/// Ann at her phone, which shows her the chat even while the server can't reach it.
#[derive(Debug)]
pub struct Human {
    mood: watch::Sender<Mood>,
    looking: JoinHandle<()>,
}

impl Human {
    pub fn of(telegram: &Arc<TelegramDouble>) -> Self {
        let mood = watch::Sender::new(Mood::default());
        let looking = tokio::spawn(look(Arc::clone(telegram), mood.clone()));
        Self { mood, looking }
    }

    /// From now on she approves what she sees.
    pub fn approves(&self) {
        self.mood.send_modify(|mood| mood.approves = true);
    }

    /// From now on she presses again where she is told to.
    pub fn presses_again(&self) {
        self.mood.send_modify(|mood| mood.presses_again = true);
    }

    /// Waits until she has pressed.
    pub async fn has_pressed(&self) {
        self.until(|mood| mood.presses > 0).await;
    }

    /// Waits until she was told that a press does not count.
    pub async fn was_refused(&self) {
        self.until(|mood| mood.refused > 0).await;
    }

    async fn until(&self, is_so: impl Fn(&Mood) -> bool + Send + Sync) {
        let mut mood = self.mood.subscribe();
        tokio::time::timeout(PATIENCE, mood.wait_for(|mood| is_so(mood))).await.expect("a press").unwrap();
    }
}

impl Drop for Human {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look(telegram: Arc<TelegramDouble>, mood: watch::Sender<Mood>) {
    let (mut bell, mut change) = (telegram.changes(), mood.subscribe());
    // by message; those that did not count too, until she presses again
    let mut pressed: BTreeMap<i64, PressId> = BTreeMap::new();
    let mut told = 0;
    loop {
        bell.mark_unchanged();
        change.mark_unchanged();
        let now = *mood.borrow();
        let answers = telegram.answers();
        let refused = answers.iter().filter(|answer| answer.text.contains("press again"));
        let refused: Vec<_> = refused.map(|answer| answer.callback_query_id.clone()).collect();
        if refused.len() > told {
            told = refused.len();
            mood.send_modify(|mood| mood.refused = told);
        }
        if now.presses_again {
            pressed.retain(|_, press| !refused.iter().any(|id| id == press.as_str()));
        }
        let messages = telegram.messages().into_iter().filter(|_| now.approves);
        for message in messages {
            let has_button = message.keyboard.iter().flatten().any(|button| button.text.contains("Approve"));
            if !has_button || pressed.contains_key(&message.message_id) {
                continue;
            }
            // the keyboard may go in this moment
            if let Ok(press) = telegram.press(message.message_id, "Approve", ANN).await {
                pressed.insert(message.message_id, press);
                mood.send_modify(|mood| mood.presses += 1);
            }
        }
        tokio::select! {
            _ = bell.changed() => {}
            _ = change.changed() => {}
        }
    }
}
