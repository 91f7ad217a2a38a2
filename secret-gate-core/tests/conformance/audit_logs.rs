use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use secret_gate_core::audit::{self, FileAudit, MemoryAudit, TracingAudit};
use secret_gate_core::conformance;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = FileAudit::open(&path).unwrap();
    conformance::audit::all(&log, &|| std::fs::read_to_string(&path).unwrap()).await;
    let verified = audit::verify(&[&path], &[]).unwrap();
    assert!(verified.notes.is_empty(), "{verified:?}");
}

#[tokio::test]
async fn memory() {
    let log = MemoryAudit::new();
    conformance::audit::all(&log, &|| log.lines().join("\n")).await;
}

/// The program's log as JSON, each message being a line of the audit log.
#[tokio::test]
async fn tracing() {
    let text = Text::default();
    let subscriber = tracing_subscriber::fmt().json().with_writer(text.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    conformance::audit::all(&TracingAudit::new(), &|| text.messages().join("\n")).await;
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn messages(&self) -> Vec<String> {
        let text = self.0.lock().unwrap().clone();
        let entries = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
        entries.map(|entry| entry.unwrap()["fields"]["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Text {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
