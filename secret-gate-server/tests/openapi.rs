//! The description of the API is the API: every route answers wrong calls with a documented code, in the one shape.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use reqwest::Method;
use secret_gate_server::Server;
use serde_json::{Value, json};

use support::{Answer, World};

/// Every operation: method, template, and whether it takes a body.
fn operations(document: &Value) -> Vec<(Method, String, bool)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else { continue };
            operations.push((method, path.clone(), operation.get("requestBody").is_some()));
        }
    }
    operations
}

fn documented(document: &Value, method: &Method, template: &str, status: u16) -> bool {
    let responses = &document["paths"][template][method.as_str().to_lowercase()]["responses"];
    responses.get(status.to_string()).is_some()
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str, what: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{what}: {answer:?}");
    assert_eq!(answer.header("content-type"), "application/json", "{what}");
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.ends_with('.') && message.len() > 10, "{what}: {answer:?}");
}

fn filled(template: &str) -> String {
    template.replace("{token}", "00ff").replace("{os}", "linux").replace("{arch}", "amd64")
}

#[tokio::test]
async fn what_is_served_is_what_the_types_say() {
    let world = World::start().await;
    let answer = world.http.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.body, Server::openapi());
    assert_eq!(answer.body["openapi"], "3.0.3");
    let text = answer.text.as_str();
    for word_of_3_1 in ["\"null\"", "\"const\"", "\"examples\"", "jsonSchemaDialect", "propertyNames"] {
        assert!(!text.contains(word_of_3_1), "{word_of_3_1} is not OpenAPI 3.0");
    }
    let mut found: Vec<_> =
        operations(&answer.body).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "DELETE /request/{token}",
            "GET /",
            "GET /_/health",
            "GET /client/{arch}",
            "GET /client/{os}/{arch}",
            "GET /health",
            "GET /metrics",
            "GET /openapi.json",
            "GET /ready",
            "GET /secret/{token}",
            "GET /status/{token}",
            "POST /fields",
            "POST /request",
            "POST /search",
            "POST /watch",
        ]
    );
}

#[tokio::test]
async fn every_error_has_the_one_shape_and_a_documented_code() {
    let world = World::start().await;
    let document = Server::openapi();
    for (method, template, takes_body) in operations(&document) {
        let (path, what) = (filled(&template), format!("{method} {template}"));
        // as it should be, but for a token that nobody has and an empty body
        let call = world.http.call(method.clone(), &path);
        let plain = world.http.send(if takes_body { call.body("{}") } else { call }).await;
        assert!(documented(&document, &method, &template, plain.status), "{what}: {plain:?}");
        if plain.status >= 400 && plain.status != 503 {
            assert_error(&plain, plain.status, plain.code(), &what);
        }
        assert_eq!(plain.header("cache-control"), "no-store", "{what}");

        for wrong in [Method::PATCH, Method::PUT, Method::OPTIONS, Method::TRACE] {
            let answer = world.http.send(world.http.call(wrong.clone(), &path)).await;
            assert_error(&answer, 405, "method_not_allowed", &format!("{wrong} {template}"));
        }
        for beyond in [format!("{}/nothing/there/at/all", path.trim_end_matches('/')), format!("/x{path}")] {
            let answer = world.http.send(world.http.call(method.clone(), &beyond)).await;
            let is_client = beyond.starts_with("/client/");
            let (status, code) = if is_client { (400, "invalid_path") } else { (404, "not_found") };
            assert_error(&answer, status, code, &format!("{method} {beyond}"));
        }
        if !takes_body {
            continue;
        }
        for (body, status, code) in [
            (vec![b'x'; 70 * 1024], 413, "too_large"),
            (json!({"secret_name": "x".repeat(70 * 1024)}).to_string().into_bytes(), 413, "too_large"),
            (Vec::new(), 400, "invalid_json"),
            (b"{".to_vec(), 400, "invalid_json"),
            (b"[]x".to_vec(), 400, "invalid_json"),
            (b"null".to_vec(), 400, "invalid_json"),
            (b"\"text\"".to_vec(), 400, "invalid_json"),
            (b"{\"secret_name\":\"\xff\",\"query\":\"\xff\",\"tokens\":[\"\xff\"]}".to_vec(), 400, "invalid_json"),
            (b"{\"secret_name\":7,\"query\":7,\"tokens\":7}".to_vec(), 400, "invalid_json"),
            ("[".repeat(60_000).into_bytes(), 400, "invalid_json"),
        ] {
            let start = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            for content_type in ["application/json", "text/plain", "multipart/form-data"] {
                let call = world.http.call(method.clone(), &path).header("content-type", content_type);
                let answer = world.http.send(call.body(body.clone())).await;
                assert_error(&answer, status, code, &format!("{what}, {content_type}: {start}"));
            }
            assert!(documented(&document, &method, &template, status), "{what}: {status}");
        }
    }
    assert!(world.telegram.messages().is_empty());
}

#[tokio::test]
async fn paths_that_are_no_text_or_lack_something_say_so() {
    let world = World::start().await;
    for (method, path, status, code) in [
        (Method::GET, "/status/%FF%FE", 404, "not_found"),
        (Method::GET, "/secret/%FF%FE", 404, "not_found"),
        (Method::DELETE, "/request/%FF", 404, "not_found"),
        (Method::GET, "/client/%FF", 404, "not_found"),
        (Method::GET, "/client/linux/%FF", 404, "not_found"),
        (Method::GET, "/status/", 400, "missing_token"),
        (Method::GET, "/status", 400, "missing_token"),
        (Method::GET, "/secret/", 400, "missing_token"),
        (Method::DELETE, "/request/", 400, "missing_token"),
        (Method::GET, "/status/00?wait=soon", 400, "invalid_duration"),
        (Method::GET, "/status/00?wait=1s&wait=2s", 400, "invalid_query"),
        (Method::GET, "/client/windows/amd64", 400, "invalid_os"),
        (Method::GET, "/client/linux/mips", 400, "invalid_arch"),
        (Method::GET, "/client/linux/amd64/x", 400, "invalid_path"),
        (Method::GET, "/client/..%2f..%2fetc/amd64", 400, "invalid_os"),
        (Method::GET, "/client/linux/amd64", 404, "not_found"),
        (Method::GET, "/nothing", 404, "not_found"),
        (Method::POST, "/", 405, "method_not_allowed"),
        (Method::GET, "/request", 405, "method_not_allowed"),
        (Method::GET, "/request/00", 405, "method_not_allowed"),
    ] {
        let answer = world.http.send(world.http.call(method.clone(), path)).await;
        assert_error(&answer, status, code, &format!("{method} {path}"));
    }
}

#[tokio::test]
async fn the_client_is_handed_out_as_the_file_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..=127).cycle().take(300_000).collect();
    std::fs::write(folder.path().join("client-linux-arm64"), &bytes).unwrap();
    std::fs::create_dir(folder.path().join("client-darwin-arm64")).unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let world = World::with(|env| drop(env.insert("CLIENT_DIR".into(), path))).await;
    for path in ["/client/linux/arm64", "/client/arm64"] {
        let answer = world.http.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/octet-stream"));
        assert_eq!(answer.header("content-disposition"), "attachment; filename=secret-gate");
        assert!(answer.text.as_bytes() == bytes, "another file");
    }
    assert_error(&world.http.get("/client/darwin/arm64").await, 404, "not_found", "a folder");
}

#[tokio::test]
async fn readiness_says_which_part_is_missing() {
    let world = World::start().await;
    let answer = world.http.get("/ready").await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"ready": true, "backend": "ok", "approver": "ok"})));
    let world = World::start().await;
    world.connect.faults().sync_active(false);
    let answer = world.http.get("/ready").await;
    // to whoever asks no more than which part, to the log what is wrong with it
    assert_eq!(
        (answer.status, &answer.body),
        (503, &json!({"ready": false, "backend": "unavailable", "approver": "ok"}))
    );
    world.server.line(|line| line.contains("not ready") && line.contains("connect-sync")).await;
}
