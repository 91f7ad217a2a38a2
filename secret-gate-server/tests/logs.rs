//! Log lines that programs read: flat JSON, with ids that lead from an answer or a message on the phone to its lines.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use reqwest::Method;
use serde_json::{Map, Value, json};

use support::exposition::Exposition;
use support::{Answer, World, wire};

type Line = Map<String, Value>;

/// Every line of a log, each with the members that all have.
fn lines(log: &str) -> Vec<Line> {
    let parse = |line: &str| -> Line {
        let line: Line = serde_json::from_str(line).unwrap();
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member} in {line:?}");
        }
        for id in ["call_id", "request_id"] {
            assert!(line.get(id).is_none_or(|id| is_id(id.as_str().unwrap())), "{id} in {line:?}");
        }
        assert!(!line.values().any(|value| value.is_object() || value.is_array()), "not flat: {line:?}");
        line
    };
    log.lines().map(parse).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn call_id(answer: &Answer) -> String {
    let id = answer.header("x-request-id").to_owned();
    assert!(is_id(&id), "{answer:?}");
    id
}

#[tokio::test]
async fn each_answer_leads_to_its_line_and_each_request_to_all_of_its_own() {
    let world = World::with(|env| drop(env.insert("RUST_LOG".into(), "debug".into()))).await;
    let body = json!({"secret_name": "db", "reason": "a\n\"b\"\u{2028}"});
    let created = world.http.post("/request", &body).await;
    let asked = world.asked(&created);
    let pending = world.http.get(&format!("/status/{}", asked.token)).await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    let (secret, spent) = (world.secret(&asked).await, world.secret(&asked).await);
    let withdrawn = world.withdraw(&asked).await;
    let unknown = world.http.get("/status/no-such-token").await;
    let nowhere = world.http.get("/nowhere").await;
    let refused = world.http.send(world.http.call(Method::PUT, "/request").body("{")).await;
    let health = world.http.get("/health").await;

    let own = Some(asked.request_id.clone());
    let calls = [
        (&created, 202, "/request", &own),
        (&pending, 200, "/status/{token}", &own),
        (&secret, 200, "/secret/{token}", &own),
        (&spent, 410, "/secret/{token}", &own),
        (&withdrawn, 204, "/request/{token}", &own),
        (&unknown, 404, "/status/{token}", &None),
        (&nowhere, 404, "none", &None),
        (&refused, 405, "/request", &None),
        (&health, 200, "/health", &None),
    ];
    world.server.terminate();
    let ended = world.server.ended().await;
    let lines = lines(&ended.stderr);
    let mut ids = Vec::new();
    for (answer, status, route, request) in calls {
        let id = call_id(answer);
        let mut own = lines.iter().filter(|line| line.get("call_id").is_some_and(|found| *found == *id));
        let answered = own.find(|line| line["message"] == "answered").unwrap();
        let (found_status, found_route) = (answered["status"].as_u64(), answered["route"].as_str());
        assert_eq!((found_status, found_route), (Some(status), Some(route)), "{answered:?}");
        assert_eq!(u64::from(answer.status), status, "{answer:?}");
        assert!(answered["took_ms"].is_u64() && answered["method"].is_string(), "{answered:?}");
        let found = answered.get("request_id").map(|id| id.as_str().unwrap().to_owned());
        assert_eq!(found, *request, "{answered:?}");
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), calls.len(), "two calls share an id");
    // what the gate does for a call, it does under the call's id
    for (event, answer) in [("asked", &created), ("released", &secret), ("revoked", &withdrawn)] {
        let says = format!("\"event\":\"{event}\"");
        let line = lines.iter().find(|line| line["message"].as_str().unwrap().contains(&says)).unwrap();
        assert_eq!(line["call_id"], *call_id(answer), "{line:?}");
    }
    let other = lines.iter().find(|line| line["message"] == "listening").unwrap();
    assert!(!other.contains_key("call_id") && !other.contains_key("request_id"), "{other:?}");
    assert!(!ended.stderr.contains(&asked.token), "the token is in the log");
    assert!(!ended.stderr.contains("no-such-token"), "what was presented as a token is in the log");
}

#[tokio::test]
async fn a_warning_leads_to_its_call_whatever_the_level_and_whatever_id_the_client_sends() {
    const SENT: &str = "1234567890abcdef";
    // with the least that lets the line itself be seen
    let world = World::with(|env| drop(env.insert("RUST_LOG".into(), "off,secret_gate_server=info".into()))).await;
    world.connect.faults().fail_all(500);
    let call = world.http.call(Method::POST, "/search").header("X-Request-Id", SENT);
    let failed = world.http.send(call.body(r#"{"query": "db"}"#)).await;
    assert_eq!(failed.status, 502);
    let id = call_id(&failed);
    assert_ne!(id, SENT);
    let line = world.server.line(|line| line.contains("the secret backend gave no answer")).await;
    assert_eq!(lines(&line)[0]["call_id"], *id);
    assert!(!world.server.log().contains(SENT));
}

#[tokio::test]
async fn a_call_that_its_client_left_has_a_line_and_is_counted() {
    let world = World::start().await;
    let asked = world.ask_for_db().await;
    let waiting = wire(&world.server.url, &format!("/status/{}?wait=60s", asked.token)).await;
    // by the time this is answered the other has been taken in
    world.http.get("/health").await;
    world.http.get("/health").await;
    drop(waiting);
    let line = world.server.line(|line| line.contains("the client left before the answer")).await;
    let line = &lines(&line)[0];
    let expected = [("method", json!("GET")), ("route", json!("/status/{token}")), ("status", json!(499))];
    for (member, value) in expected.into_iter().chain([("request_id", json!(asked.request_id))]) {
        assert_eq!(line[member], value, "{line:?}");
    }
    assert!(line["took_ms"].is_u64() && line["call_id"].is_string(), "{line:?}");
    let metrics = Exposition::parse(&world.http.get("/metrics").await.text);
    let left = metrics.get("secret_gate_http_answers_total", "route=/status/{token},status=499");
    assert!((left - 1.0).abs() < f64::EPSILON, "{left}");
}

#[tokio::test]
async fn a_method_that_a_client_made_up_is_not_repeated() {
    let world = World::start().await;
    for made_up in ["GETT", "get", "PLANTED-\u{60}7c1d", &"X".repeat(30_000)] {
        let method = Method::from_bytes(made_up.as_bytes()).unwrap();
        let answer = world.http.send(world.http.call(method, "/health")).await;
        assert_eq!(answer.status, 405, "{}", answer.text.len());
        let id = call_id(&answer);
        let line = world.server.line(|line| line.contains(&id)).await;
        assert_eq!(lines(&line)[0]["method"], "other", "{line}");
        assert!(line.len() < 400 && !line.contains("PLANTED"), "{line}");
    }
}
