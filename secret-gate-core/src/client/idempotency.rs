//! One question, however often it is sent: by a key that the server remembers
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).

use std::time::Duration;

use reqwest::header::HeaderValue;
use serde_json::Value;

use super::ClientError;

/// The header that carries the key.
pub(super) const HEADER: &str = "idempotency-key";

/// Pauses before the second and the third attempt.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// What a server of ours reports with a status that proxies use as well; it has decided then, and nothing was lost.
const DECIDED: [&str; 2] = ["backend_unavailable", "notification_failed"];

/// A new key. Whoever guesses it could get the answer, so it is not to be logged.
pub(super) fn key() -> Result<HeaderValue, ClientError> {
    let mut bytes = [0; 16];
    let random = getrandom::fill(&mut bytes).ok().and_then(|()| HeaderValue::from_str(&hex::encode(bytes)).ok());
    let mut key = random.ok_or_else(|| ClientError::Protocol { problem: "there is no random data".to_owned() })?;
    key.set_sensitive(true);
    Ok(key)
}

/// Whether the server may have put the question although there is no answer.
pub(super) fn is_lost(error: &ClientError) -> bool {
    match error {
        ClientError::Interrupted { .. } => true,
        ClientError::Server { status: 502..=504, code, .. } => !DECIDED.contains(&code.as_str()),
        _ => false,
    }
}

/// Whether a description in [OpenAPI](https://spec.openapis.org/oas/v3.0.3) says that questions can be sent under a key.
pub(super) fn is_known_by(described: &Value) -> bool {
    let parameters = described.pointer("/paths/~1request/post/parameters").and_then(Value::as_array);
    parameters.into_iter().flatten().any(|parameter| {
        let says = |member: &str, what: &str| {
            parameter.get(member).and_then(Value::as_str).is_some_and(|text| text.eq_ignore_ascii_case(what))
        };
        says("name", HEADER) && says("in", "header")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_differ() {
        let (one, other) = (key().unwrap(), key().unwrap());
        assert!(one.len() == 32 && one != other && one.is_sensitive());
    }

    #[test]
    fn is_known_by_those_who_say_so() {
        let described =
            |parameters: Value| serde_json::json!({"paths": {"/request": {"post": {"parameters": parameters}}}});
        assert!(is_known_by(&described(serde_json::json!([{"name": "Idempotency-Key", "in": "header"}]))));
        for parameters in [
            serde_json::json!([]),
            serde_json::json!("Idempotency-Key"),
            serde_json::json!([{"name": "Idempotency-Key", "in": "query"}, {"name": 5}, null]),
        ] {
            assert!(!is_known_by(&described(parameters)));
        }
        assert!(!is_known_by(&Value::Null) && !is_known_by(&serde_json::json!({"paths": []})));
    }
}
