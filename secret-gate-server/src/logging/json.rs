//! One flat JSON object a line.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::CALL;

/// Writes such lines; needs `JsonFields` beside it, which keep the ids of a call.
#[derive(Debug)]
pub(super) struct FlatJson;

#[derive(Debug, Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    target: &'a str,
    message: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Value>,
    #[serde(flatten)]
    own: Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        // of other spans nothing is told: what libraries put into theirs is not known here
        let call = ctx.event_scope().into_iter().flatten().find(|span| span.metadata().target() == CALL);
        let ids = call.and_then(|span| {
            let extensions = span.extensions();
            serde_json::from_str(&extensions.get::<FormattedFields<N>>()?.fields).ok()
        });
        let mut members = Members(ids.unwrap_or_default());
        // a request that the line itself names counts
        event.record(&mut members);
        let Members(mut own) = members;
        let (message, call_id, request_id) = (own.remove("message"), own.remove("call_id"), own.remove("request_id"));
        own.retain(|name, _| !matches!(name.as_str(), "timestamp" | "level" | "target"));
        let metadata = event.metadata();
        let line = Line {
            timestamp,
            level: metadata.level().as_str(),
            target: metadata.target(),
            message: message.unwrap_or_else(|| "".into()),
            call_id,
            request_id,
            own,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// Numbers and booleans as such, all else as text.
struct Members(Map<String, Value>);

impl Members {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::logging::{call, concerns};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that this writes, without the time.
    fn lines(write: impl FnOnce()) -> Vec<Value> {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let layer = layer.fmt_fields(JsonFields::new()).event_format(FlatJson);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), write);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let parse = |line: &str| {
            let Value::Object(mut line) = serde_json::from_str(line).unwrap() else { panic!("no object: {line}") };
            let time = line.remove("timestamp").unwrap();
            humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
            Value::Object(line)
        };
        text.lines().map(parse).collect()
    }

    #[test]
    fn what_a_line_tells_keeps_its_kind_and_its_line() {
        let target = module_path!();
        let written = lines(|| {
            tracing::info!(count = 3, negative = -1, share = 0.5, yes = true, text = "a\n\"b\"", debug = ?Some("c"), "two\nlines");
            tracing::warn!(only = %"this");
            tracing::info!(level = "mine", target = "mine", timestamp = "mine", "kept");
        });
        let expected = [
            json!({"level": "INFO", "target": target, "message": "two\nlines", "count": 3, "negative": -1, "share": 0.5,
                "yes": true, "text": "a\n\"b\"", "debug": "Some(\"c\")"}),
            json!({"level": "WARN", "target": target, "message": "", "only": "this"}),
            json!({"level": "INFO", "target": target, "message": "kept"}),
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn only_the_ids_of_a_call_are_taken_from_around_a_line() {
        let target = module_path!();
        let id = |text: &str| secret_gate_core::RequestId::from(text.to_owned());
        let written = lines(|| {
            call("c1").in_scope(|| {
                tracing::info!("before");
                concerns(&id("r1"));
                tracing::info_span!("other", token = "t").in_scope(|| tracing::info!("within"));
                tracing::info!(request_id = "r2", "another");
            });
            tracing::info!("outside");
        });
        let expected = [
            json!({"level": "INFO", "target": target, "message": "before", "call_id": "c1"}),
            json!({"level": "INFO", "target": target, "message": "within", "call_id": "c1", "request_id": "r1"}),
            json!({"level": "INFO", "target": target, "message": "another", "call_id": "c1", "request_id": "r2"}),
            json!({"level": "INFO", "target": target, "message": "outside"}),
        ];
        assert_eq!(written, expected);
    }
}
