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

/// The schema behind a reference, or the schema itself.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema };
    document.pointer(reference.trim_start_matches('#')).unwrap()
}

fn body_schema<'a>(document: &'a Value, template: &str) -> &'a Value {
    resolved(document, &document["paths"][template]["post"]["requestBody"]["content"]["application/json"]["schema"])
}

/// A body for each path that takes one, which is answered with 200 or 202.
fn sound_bodies() -> [(&'static str, Value); 4] {
    [
        ("/search", json!({"query": "db"})),
        ("/fields", json!({"secret_name": "db"})),
        ("/request", json!({"secret_name": "db"})),
        ("/watch", json!({"tokens": ["00ff"]})),
    ]
}

#[tokio::test]
async fn null_is_taken_where_the_document_says_so_and_only_there() {
    let world = World::start().await;
    let document = Server::openapi();
    for (template, sound) in sound_bodies() {
        let schema = body_schema(&document, template);
        for (member, described) in schema["properties"].as_object().unwrap() {
            let mut body = sound.clone();
            body[member] = Value::Null;
            // one of two members is needed, which no schema of OpenAPI 3.0 can say
            if template == "/request" && member == "secret_name" {
                body["secrets"] = json!([{"secret_name": "db"}]);
            }
            let answer = world.http.post(template, &body).await;
            let required = schema["required"].as_array().is_some_and(|all| all.contains(&json!(member)));
            assert_eq!(described["nullable"] == true, !required, "{template} {member}");
            assert_eq!(answer.status < 300, !required, "{template} {member}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_bounds_of_the_document_are_the_servers() {
    let world = World::start().await;
    let document = Server::openapi();
    let most = |template, member: &str| {
        let bound = &body_schema(&document, template)["properties"][member]["maxItems"];
        usize::try_from(bound.as_u64().unwrap()).unwrap()
    };
    // the member beside each list keeps the rest of the question as it should be
    for (template, member, entry, beside, within) in [
        ("/watch", "tokens", json!("00ff"), json!({}), 200),
        ("/request", "secrets", json!({"secret_name": "db"}), json!({}), 202),
        ("/request", "fields", json!("password"), json!({"secret_name": "db"}), 202),
    ] {
        let most = most(template, member);
        for (length, status) in [(most, within), (most + 1, 400)] {
            let mut body = beside.clone();
            body[member] = vec![entry.clone(); length].into();
            let answer = world.http.post(template, &body).await;
            assert_eq!(answer.status, status, "{template} with {length} {member}: {answer:?}");
        }
    }
    let port = &document["components"]["schemas"]["ExactHost"]["properties"]["port"];
    let (least, most) = (port["minimum"].as_u64().unwrap(), port["maximum"].as_u64().unwrap());
    for (port, status) in [(least, 202), (most, 202), (least - 1, 400), (most + 1, 400)] {
        let body = json!({"secret_name": "db", "use": {"ssh": {"host": "prod", "port": port}}});
        assert_eq!(world.http.post("/request", &body).await.status, status, "port {port}");
    }
}

#[tokio::test]
async fn examples_and_words_of_the_document_are_taken() {
    let world = World::start().await;
    let document = Server::openapi();
    for (template, sound) in sound_bodies() {
        for (member, described) in body_schema(&document, template)["properties"].as_object().unwrap() {
            let Some(example) = described.get("example") else { continue };
            let mut body = sound.clone();
            body[member] = example.clone();
            let answer = world.http.post(template, &body).await;
            let accepted = answer.status < 300 || ["not_found", "unknown_field"].contains(&answer.code());
            assert!(accepted, "{template} {member}: {answer:?}");
        }
    }
    for parameter in document["paths"]["/client/{os}/{arch}"]["get"]["parameters"].as_array().unwrap() {
        for word in parameter["schema"]["enum"].as_array().unwrap() {
            let word = word.as_str().unwrap();
            let path = if parameter["name"] == "os" { format!("{word}/amd64") } else { format!("linux/{word}") };
            let answer = world.http.get(&format!("/client/{path}")).await;
            assert_error(&answer, 404, "not_found", &path);
        }
    }
}

#[tokio::test]
async fn links_lead_from_a_request_to_its_end() {
    let world = World::start().await;
    let document = Server::openapi();
    let asked = world.http.post("/request", &json!({"secret_name": "db"})).await;
    let links = document["paths"]["/request"]["post"]["responses"]["202"]["links"].as_object().unwrap();
    let mut followed = Vec::new();
    for link in links.values() {
        let pointer = link["parameters"]["token"].as_str().unwrap().trim_start_matches("$response.body#");
        let token = asked.body.pointer(pointer).and_then(Value::as_str).unwrap();
        let target = |method: &Method, template: &str| {
            let operation = &document["paths"][template][method.as_str().to_lowercase()];
            operation["operationId"] == link["operationId"]
        };
        let (method, template, _) = operations(&document)
            .into_iter()
            .find(|(method, template, _)| target(method, template))
            .unwrap_or_else(|| panic!("{link} names no operation"));
        let answer = world.http.send(world.http.call(method.clone(), &template.replace("{token}", token))).await;
        followed.push(format!("{method} {template}: {}", answer.status));
    }
    followed.sort_unstable();
    // nobody approved it
    assert_eq!(followed, ["DELETE /request/{token}: 204", "GET /secret/{token}: 403", "GET /status/{token}: 200"]);
}
