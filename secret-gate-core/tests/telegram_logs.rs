//! No log line of any crate holds the bot's token, a request's token or a value. Alone in its program, since what is
//! logged is decided once for all threads.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secret_gate_core::approver::telegram::TelegramApprover;
use secret_gate_core::{Approver, Error, Field, FieldKind, Gate, Item, MemoryBackend, Outcome, Request, SecretValue};
use secret_gate_doubles::TelegramDouble;
use tokio::sync::Notify;
use tracing::field::Visit;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

const VALUE: &str = "value-that-nobody-logs";

/// Everything that was logged, by target.
#[derive(Clone, Default)]
struct Everything {
    by_target: Arc<Mutex<BTreeMap<String, String>>>,
    more: Arc<Notify>,
}

impl Everything {
    fn add(&self, target: String, words: &str) {
        self.by_target.lock().unwrap().entry(target).or_default().push_str(words);
        self.more.notify_one();
    }

    /// Waits until something was logged under this target.
    async fn heard(&self, target: &str) {
        while !self.by_target.lock().unwrap().contains_key(target) {
            self.more.notified().await;
        }
    }
}

struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").ok();
    }
}

impl<S: tracing::Subscriber> Layer<S> for Everything {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut words = String::new();
        event.record(&mut Words(&mut words));
        // events of the `log` crate carry their true target as a field
        let target = words.split_once("log.target=\"").and_then(|(_, rest)| rest.split_once('"'));
        let target = target.map_or_else(|| event.metadata().target().to_owned(), |(target, _)| target.to_owned());
        self.add(target, &words);
    }

    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        let mut words = String::new();
        attributes.record(&mut Words(&mut words));
        self.add(attributes.metadata().target().to_owned(), &words);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_logs_a_token_or_a_value() {
    let seen = Everything::default();
    tracing_log::LogTracer::init().unwrap();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(seen.clone())).unwrap();

    let telegram = TelegramDouble::start().await.unwrap();
    let bot_token = telegram.token();
    let builder = TelegramApprover::builder(SecretValue::new(telegram.token()), 42).api_url(telegram.url());
    let human = Arc::new(builder.call_timeout(Duration::from_secs(2)).start().unwrap());
    assert!(!format!("{human:?}").contains(&bot_token));
    human.check().await.unwrap();
    let item = Item::new("i", "v", "database").with_field(Field::new("f", "password", FieldKind::concealed(), VALUE));
    let vaults = MemoryBackend::new().with_vault("v", "infra").with_item(item);
    let gate = Gate::builder(Arc::new(vaults), Arc::clone(&human) as Arc<dyn Approver>).build();

    let submitted = gate.submit(Request::new("database")).await.unwrap();
    let message = telegram.wait_message(|message| message.plain.contains("database")).await.unwrap();
    telegram.press(message.message_id, "Approve", 42).await.unwrap();
    let standing = gate.wait(&submitted.token, Duration::from_secs(10)).await.unwrap();
    assert!(matches!(standing.outcome, Some(Outcome::Approved(_))));
    assert_eq!(gate.redeem(&submitted.token).await.unwrap().value("password").unwrap().expose(), VALUE);
    telegram.wait_edit(message.message_id, |message| message.plain.contains("eleased")).await.unwrap();
    telegram.faults().down();
    assert!(matches!(gate.submit(Request::new("database")).await, Err(Error::NotificationFailed { .. })));

    // the test hears what it means to hear: us, `tracing` of others, and `log` of others
    let targets =
        ["secret_gate_core::approver::telegram::poll", "hyper_util::client::legacy::pool", "reqwest::connect"];
    for target in targets {
        tokio::time::timeout(Duration::from_secs(10), seen.heard(target)).await.unwrap();
    }
    let (_, bot_secret) = bot_token.split_once(':').unwrap();
    let seen = seen.by_target.lock().unwrap();
    let holding = |text: &str| seen.iter().filter(|(_, words)| words.contains(text)).count();
    assert_ne!(
        holding(submitted.request_id.as_str()),
        0,
        "the search finds what is there: the audit lines' request id"
    );
    for secret in [bot_secret, submitted.token.expose(), VALUE] {
        assert_eq!(holding(secret), 0);
    }
}
