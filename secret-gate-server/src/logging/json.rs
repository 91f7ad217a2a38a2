//! One flat JSON object a line.

use std::fmt;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::CALL;

/// Writes such lines; needs [`CallFields`] beside it, which keep the ids of a call.
#[derive(Debug)]
pub(super) struct FlatJson;

impl<S, N> FormatEvent<S, N> for FlatJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut said = Said::default();
        event.record(&mut said);
        // of other spans nothing is told: what libraries put into theirs is not known here
        let call = ctx.event_scope().into_iter().flatten().find(|span| span.metadata().target() == CALL);
        if let Some(call) = call
            && let Some(ids) = call.extensions().get::<FormattedFields<N>>()
        {
            said.call_id = said.call_id.or_else(|| kept(ids, "call_id"));
            // a request that the line itself names counts
            said.request_id = said.request_id.or_else(|| kept(ids, "request_id"));
        }
        let metadata = event.metadata();
        write!(writer, "{{\"timestamp\":{}", json(&timestamp))?;
        write!(writer, ",\"level\":\"{}\",\"target\":{}", metadata.level(), json(metadata.target()))?;
        write!(writer, ",\"message\":{}", said.message.as_deref().unwrap_or("\"\""))?;
        for (name, id) in [("call_id", said.call_id), ("request_id", said.request_id)] {
            if let Some(id) = id {
                write!(writer, ",\"{name}\":{id}")?;
            }
        }
        writeln!(writer, "{}}}", said.own)
    }
}

/// Keeps what a span says, one `name=JSON` a line. What is said later comes after it.
#[derive(Debug)]
pub(super) struct CallFields;

impl<'writer> FormatFields<'writer> for CallFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut kept = Kept(String::new());
        fields.record(&mut kept);
        writer.write_str(&kept.0)
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

/// The latest of this name, as JSON.
fn kept<N>(fields: &FormattedFields<N>, name: &str) -> Option<String> {
    // in JSON a line break is escaped
    let mut lines = fields.fields.lines().rev();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// Text and numbers always have a JSON.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// What a line tells, each as JSON.
#[derive(Default)]
struct Said {
    message: Option<String>,
    call_id: Option<String>,
    request_id: Option<String>,
    /// The other members, each after a comma.
    own: String,
}

struct Kept(String);

/// Numbers and booleans as such, all else as text.
trait Members {
    fn insert<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T);
}

impl Members for Said {
    fn insert<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        let value = json(value);
        match name {
            "message" => self.message = Some(value),
            "call_id" => self.call_id = Some(value),
            "request_id" => self.request_id = Some(value),
            "timestamp" | "level" | "target" => {}
            name => self.own.extend([",", &json(name), ":", &value]),
        }
    }
}

impl Members for Kept {
    fn insert<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.0.extend([name, "=", &json(value), "\n"]);
    }
}

/// Hands each kind of value on.
macro_rules! visit {
    ($members:ty) => {
        impl Visit for $members {
            fn record_f64(&mut self, field: &Field, value: f64) {
                self.insert(field.name(), &value);
            }

            fn record_i64(&mut self, field: &Field, value: i64) {
                self.insert(field.name(), &value);
            }

            fn record_u64(&mut self, field: &Field, value: u64) {
                self.insert(field.name(), &value);
            }

            fn record_bool(&mut self, field: &Field, value: bool) {
                self.insert(field.name(), &value);
            }

            fn record_str(&mut self, field: &Field, value: &str) {
                self.insert(field.name(), value);
            }

            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.insert(field.name(), &format!("{value:?}"));
            }
        }
    };
}

visit!(Said);
visit!(Kept);

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{CallFields, FlatJson};
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
        let layer = layer.fmt_fields(CallFields).event_format(FlatJson);
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
            call("c1", None).in_scope(|| {
                tracing::info!("before");
                concerns(&id("r1"));
                tracing::info_span!("other", token = "t").in_scope(|| tracing::info!("within"));
                tracing::info!(request_id = "r2", "another");
                concerns(&id("two\nlines=\"3\""));
                tracing::info!("the latest");
            });
            tracing::info!("outside");
        });
        let expected = [
            json!({"level": "INFO", "target": target, "message": "before", "call_id": "c1"}),
            json!({"level": "INFO", "target": target, "message": "within", "call_id": "c1", "request_id": "r1"}),
            json!({"level": "INFO", "target": target, "message": "another", "call_id": "c1", "request_id": "r2"}),
            json!({"level": "INFO", "target": target, "message": "the latest", "call_id": "c1",
                "request_id": "two\nlines=\"3\""}),
            json!({"level": "INFO", "target": target, "message": "outside"}),
        ];
        assert_eq!(written, expected);
    }
}
