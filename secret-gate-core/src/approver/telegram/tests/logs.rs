//! No log line of any crate holds the token.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use super::*;
use crate::approver::Outcome;

/// Everything that was logged, by target.
#[derive(Clone, Default)]
struct Everything(Arc<Mutex<BTreeMap<String, String>>>);

struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
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
        lock(&self.0).entry(target).or_default().push_str(&words);
    }

    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        let mut words = String::new();
        attributes.record(&mut Words(&mut words));
        lock(&self.0).entry(attributes.metadata().target().to_owned()).or_default().push_str(&words);
    }
}

#[test]
fn nothing_logs_the_token() {
    let seen = Everything::default();
    tracing_log::LogTracer::init().unwrap();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(seen.clone())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let token = runtime.block_on(async {
        let scene = Scene::new().await;
        assert!(!format!("{:?}", scene.approver).contains(&scene.telegram.token()));
        scene.approver.check().await.unwrap();
        let (posted, message) = scene.ask("asked").await;
        assert!(!format!("{posted:?}").contains(&scene.telegram.token()));
        let press = scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
        scene.told(&press).await;
        posted.show(&Outcome::Withdrawn);
        scene.telegram.wait_edit(message.message_id, |_| true).await.unwrap();
        scene.telegram.faults().down();
        scene.try_ask("down").await.unwrap_err();
        let mut health = scene.approver.health.clone();
        health.wait_for(|health| matches!(health, Health::Bad(_))).await.unwrap();
        scene.telegram.token()
    });
    let seen = lock(&seen.0);
    // the test hears what it means to hear: us, `tracing` of others, and `log` of others
    for target in ["secret_gate_core::approver::telegram::poll", "hyper_util::client::legacy::pool", "reqwest::connect"]
    {
        assert!(seen.contains_key(target), "{target} in {:?}", seen.keys());
    }
    let secret = token.split_once(':').unwrap().1;
    let leaks: Vec<_> = seen.iter().filter(|(_, words)| words.contains(secret)).map(|(target, _)| target).collect();
    assert!(leaks.is_empty(), "{leaks:?}");
}
