//! Parameters of a Bot API call, from the query, JSON, a form or multipart: clients send any of the four.

use axum::{
    Form, Json, RequestExt,
    extract::{Multipart, Query, Request},
    http::header,
};
use serde_json::{Map, Value};

type Pairs = Vec<(String, String)>;

/// The parameters by name. Forms carry strings only, so numbers may be strings and structures may be strings of JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(Map<String, Value>);

impl Parameters {
    /// Reads them all; a later place wins over an earlier one. `None` when the body cannot be read as what it says it is.
    pub(super) async fn read(mut request: Request) -> Option<Self> {
        let Query(query) = request.extract_parts::<Query<Pairs>>().await.ok()?;
        let mut all = Self(strings(query));
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.starts_with("application/json") {
            let Json(body) = request.extract::<Json<Map<String, Value>>, _>().await.ok()?;
            all.0.extend(body);
        } else if content_type.starts_with("application/x-www-form-urlencoded") {
            let Form(body) = request.extract::<Form<Pairs>, _>().await.ok()?;
            all.0.extend(strings(body));
        } else if content_type.starts_with("multipart/form-data") {
            let mut parts = request.extract::<Multipart, _>().await.ok()?;
            while let Some(part) = parts.next_field().await.ok()? {
                let name = part.name().unwrap_or_default().to_owned();
                all.0.insert(name, Value::String(part.text().await.ok()?));
            }
        }
        Some(all)
    }

    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// A text; empty when absent.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    /// A boolean; false when absent.
    pub(super) fn boolean(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(set)) => *set,
            Some(Value::String(text)) => {
                matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes")
            }
            _ => false,
        }
    }

    /// A structure; `Err` when it is a string that is no JSON.
    pub(super) fn structure(&self, name: &str) -> Result<Option<Value>, serde_json::Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text).map(Some),
            Some(value) => Ok(Some(value.clone())),
        }
    }
}

fn strings(pairs: Pairs) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
}
