//! The humans in front of each approver.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use secret_gate_core::conformance::approver::{Answer, Hand};
use secret_gate_core::{Decision, Question, RequestId, ScriptedApprover};
use secret_gate_doubles::TelegramDouble;
use secret_gate_doubles::telegram::{Message, RawPress, User};
use tokio::sync::watch;

pub(crate) const ANN: i64 = 42;

fn decision(answer: Answer) -> Decision {
    match answer {
        Answer::Approve => Decision::approve("Ann"),
        _ => Decision::deny("Ann"),
    }
}

/// Answers nothing.
pub(crate) struct Nobody;

#[async_trait]
impl Hand for Nobody {
    async fn answer(&self, _question: &Question, _answer: Answer) {}
}

/// Casts the ballot that a scripted approver kept.
pub(crate) struct Script(pub(crate) ScriptedApprover);

#[async_trait]
impl Hand for Script {
    async fn answer(&self, question: &Question, answer: Answer) {
        for index in 0.. {
            let asked = self.0.asked(index).await;
            if asked.question.id == question.id {
                asked.ballot.cast(decision(answer)).await.ok();
                return;
            }
        }
    }
}

/// Says its answer to whoever listens for that question.
#[derive(Clone, Default)]
pub(crate) struct Mouth {
    said: Arc<watch::Sender<HashMap<RequestId, Decision>>>,
    agreed: Arc<Mutex<Option<Decision>>>,
}

impl Mouth {
    pub(crate) async fn hear(&self, id: &RequestId) -> Decision {
        let mut said = self.said.subscribe();
        let said = said.wait_for(|said| said.contains_key(id)).await.unwrap();
        said[id].clone()
    }

    pub(crate) fn agreed(&self) -> Decision {
        self.agreed.lock().unwrap().clone().unwrap()
    }
}

#[async_trait]
impl Hand for Mouth {
    async fn prepare(&self, answer: Answer) {
        *self.agreed.lock().unwrap() = Some(decision(answer));
    }

    async fn answer(&self, question: &Question, answer: Answer) {
        self.said.send_modify(|said| drop(said.insert(question.id.clone(), decision(answer))));
    }
}

/// Types on a terminal, once it shows the question.
pub(crate) struct Keyboard {
    typed: Mutex<Sender<String>>,
    screen: Screen,
}

/// What the terminal reads from.
pub(crate) struct Keys {
    typed: Receiver<String>,
    rest: Vec<u8>,
}

#[derive(Clone, Default)]
pub(crate) struct Screen(Arc<watch::Sender<String>>);

impl Keyboard {
    pub(crate) fn new() -> (Self, Keys) {
        let (sender, typed) = channel();
        (Self { typed: Mutex::new(sender), screen: Screen::default() }, Keys { typed, rest: Vec::new() })
    }

    pub(crate) fn screen(&self) -> Screen {
        self.screen.clone()
    }

    /// All that the screen shows, once it shows this question.
    async fn read(&self, question: &Question) -> String {
        let name = name(question);
        let mut screen = self.screen.0.subscribe();
        let text = screen.wait_for(|text| text.split(&name).nth(1).is_some_and(|after| after.contains("Enter:")));
        text.await.unwrap().clone()
    }
}

fn name(question: &Question) -> String {
    format!("request {}", question.id)
}

#[async_trait]
impl Hand for Keyboard {
    async fn shown(&self, question: &Question) -> Option<String> {
        Some(self.read(question).await)
    }

    async fn answer(&self, question: &Question, answer: Answer) {
        let text = self.read(question).await;
        // the code stands below the question
        let after = text.split(&name(question)).nth(1).unwrap();
        let code = after.split("[a ").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
        let line = match answer {
            Answer::Approve => format!("a {code}\n"),
            _ => format!("d {code}\n"),
        };
        self.typed.lock().unwrap().send(line).unwrap();
    }
}

impl Read for Keys {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.typed.recv().map(String::into_bytes).unwrap_or_default();
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Presses buttons in a Telegram chat, as Ann.
pub(crate) struct Chat(pub(crate) TelegramDouble);

impl Chat {
    fn message(&self, question: &Question) -> Option<Message> {
        self.0.messages().into_iter().find(|message| message.plain.contains(&name(question)))
    }
}

#[async_trait]
impl Hand for Chat {
    fn sees(&self, question: &Question) -> bool {
        self.message(question).is_some_and(|message| !message.keyboard.is_empty())
    }

    async fn shown(&self, question: &Question) -> Option<String> {
        self.message(question).map(|message| message.plain)
    }

    async fn answer(&self, question: &Question, answer: Answer) {
        let message = self.message(question).unwrap();
        let word = match answer {
            Answer::Approve => "Approve",
            _ => "Deny",
        };
        // once it was answered there are no buttons
        let Some(button) = message.keyboard.iter().flatten().find(|button| button.text.contains(word)) else { return };
        let ann = User::new(ANN, "Ann").with_username("ann");
        let press = self.0.press_raw(RawPress::new(message.chat_id, message.message_id, &button.data, ann));
        self.0.wait_delivered(&press).await.unwrap();
    }
}
