//! The protocol itself, and what is none.

use serde_json::{Value, json};

use crate::support::{World, refusal};

const TOOLS: [&str; 6] =
    ["search_secrets", "inspect_fields", "request_secret", "exec_with_secret", "ssh_with_secret", "daemon_status"];

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_revision_is_spoken() {
    let world = World::start().await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = world.client(&[]);
        let answer = client.initialize(version).await;
        assert_eq!(answer["protocolVersion"], version);
        assert_eq!(answer["serverInfo"]["name"], "secret-gate");
        assert!(answer["instructions"].as_str().unwrap().contains("request_secret"));
        assert_eq!(names(&client.ask("tools/list", json!({})).await), TOOLS);
        assert_eq!(client.ask("ping", json!({})).await["result"], json!({}));
        assert_eq!(client.done("search_secrets", json!({"query": "web"})).await["count"], 1);
        assert_eq!(client.end().await, (Some(0), String::new()));
    }
    let mut client = world.client(&[]);
    assert_eq!(client.initialize("2031-01-01").await["protocolVersion"], "2025-11-25", "the newest with a handshake");
    client.end().await;

    let mut client = world.client(&[]);
    client.modern();
    let discovered = client.ask("server/discover", json!({})).await;
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2024-11-05")), "{discovered}");
    assert_eq!(names(&client.ask("tools/list", json!({})).await), TOOLS);
    assert_eq!(client.done("search_secrets", json!({"query": "web"})).await["count"], 1);
    assert_eq!(client.end().await, (Some(0), String::new()));

    // a client that looks first and shakes hands after all
    let mut client = world.client(&[]);
    client.modern();
    client.ask("server/discover", json!({})).await;
    client.initialize("2025-11-25").await;
    assert_eq!(names(&client.ask("tools/list", json!({})).await), TOOLS);
}

#[tokio::test]
async fn the_subcommand_is_the_same_server_and_its_own_daemon() {
    let world = World::start().await;
    let mut client = world.client_of_subcommand(&["--wait", "1s"]);
    assert_eq!(client.initialize("2025-11-25").await["serverInfo"]["name"], "secret-gate");
    assert_eq!(names(&client.ask("tools/list", json!({})).await), TOOLS);
    let wants = json!({"secret_name": "db", "reason": "migrate"});
    assert_eq!(client.done("request_secret", wants.clone()).await["status"], "pending");
    world.decide("migrate", "Approve").await;
    let mut waits = wants;
    waits["wait_sec"] = 50.into();
    assert_eq!(client.done("request_secret", waits).await["status"], "approved");
    let exec = json!({"secret_name": "db", "field": "password", "env_var": "P", "command": "echo $P"});
    assert_eq!(client.done("exec_with_secret", exec).await["stdout"], "[redacted:db/password]\n");
    assert_eq!(client.end().await, (Some(0), String::new()));
}

#[tokio::test]
async fn what_is_no_call_is_answered_and_serving_goes_on() {
    let world = World::start().await;
    let mut client = world.client(&[]);
    client.say(json!({"jsonrpc": "2.0", "id": 90, "method": "tools/list", "params": {}})).await;
    assert_eq!(client.answer(90).await["error"]["code"], -32602, "before initialize");
    client.say(json!({"jsonrpc": "2.0", "id": 91, "method": "tools/call", "params": {"name": "daemon_status"}})).await;
    assert_eq!(client.answer(91).await["error"]["code"], -32602, "before initialize");
    client.initialize("2025-06-18").await;

    client.write(b"{\"jsonrpc\": \n").await;
    client.hear(|message| message["error"]["code"] == -32700).await;
    client.write(b"\xff\xfe\x00 binary\n[]\n\"text\"\n\n{}\n").await;
    let cases = [
        (json!({"id": 80, "method": "tools/call", "params": "text"}), -32600),
        (json!({"id": 81, "method": "tools/call", "params": {"name": 5}}), -32602),
        (json!({"id": 82, "method": "tools/call", "params": {"name": "no_such_tool", "arguments": {}}}), -32602),
        (json!({"id": 83, "method": "no/such/method"}), -32601),
        (json!({"id": 84, "method": "resources/read", "params": {"uri": "file:///etc/passwd"}}), -32601),
        (json!({"id": 85, "method": 5}), -32600),
        (json!({"id": 86, "method": "tools/call", "params": {"name": "daemon_status", "arguments": [1]}}), -32602),
    ];
    for (mut message, code) in cases {
        message["jsonrpc"] = "2.0".into();
        client.say(message.clone()).await;
        let id = message["id"].as_u64().unwrap();
        assert_eq!(client.answer(id).await["error"]["code"], code, "{message}");
    }
    client.say(json!({"jsonrpc": "2.0", "method": "notifications/unheard-of", "params": {"a": 1}})).await;
    client.say(json!({"jsonrpc": "2.0", "id": 1234, "result": {}})).await;
    client.cancel(999_999).await;
    // of a batch, each is answered
    client
        .say(json!([{"jsonrpc": "2.0", "id": 70, "method": "ping"}, 5, {"jsonrpc": "2.0", "id": 71, "method": "no/such"}]))
        .await;
    assert_eq!(client.answer(70).await["result"], json!({}));
    assert_eq!(client.answer(71).await["error"]["code"], -32601);

    // in arguments, nothing breaks the protocol
    let cases = [
        ("search_secrets", json!({"query": 5})),
        ("search_secrets", json!({})),
        ("search_secrets", json!({"query": ""})),
        ("search_secrets", json!({"query": "db", "limit": "ten"})),
        ("inspect_fields", json!({"secret_name": null})),
        ("inspect_fields", json!({"secret_name": ""})),
        ("request_secret", json!({"secret_name": "db"})),
        ("request_secret", json!({"secret_name": "db", "reason": " "})),
        ("request_secret", json!({"secret_name": "db", "reason": "r", "duration": "soon"})),
        ("request_secret", json!({"secret_name": "db", "reason": "r", "wait_sec": 1.5})),
        ("request_secret", json!({"secret_name": "db", "reason": "r", "fields": "password"})),
        ("exec_with_secret", json!({"secret_name": "db", "command": ["ls"], "field": "password", "env_var": "P"})),
        ("exec_with_secret", json!({"secret_name": "db", "command": "", "field": "password", "env_var": "P"})),
        ("ssh_with_secret", json!({"secret_name": "deploy-key", "host": "h", "port": 70_000})),
        ("ssh_with_secret", json!({"secret_name": "deploy-key", "host": "h", "port": -1})),
        ("ssh_with_secret", json!({"secret_name": "deploy-key", "host": "-oProxyCommand=touch x"})),
    ];
    for (tool, arguments) in cases {
        let words = client.refused(tool, arguments.clone()).await;
        assert!(!words.is_empty() && words.len() < 1000, "{arguments}: {words}");
    }
    // what some clients send for what they leave out
    let found = client.done("search_secrets", json!({"query": "web", "limit": null, "unknown": {"a": 1}})).await;
    assert_eq!(found["count"], 1);
    assert_eq!(world.asked(), 0);
    assert_eq!(client.end().await, (Some(0), String::new()));
}

#[tokio::test]
async fn what_is_huge_is_answered_shortly() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let huge = "ä\u{0}\u{202e}x".repeat(200_000);
    for (tool, arguments) in [
        ("search_secrets", json!({"query": huge})),
        ("inspect_fields", json!({"secret_name": huge})),
        ("request_secret", json!({"secret_name": huge, "reason": "r"})),
        (
            "request_secret",
            json!({"secret_name": "db", "reason": "r", "command": huge, "field": "password", "env_var": "P"}),
        ),
        ("request_secret", json!({"secret_name": "db", "reason": "r", "wait_sec": huge})),
        ("exec_with_secret", json!({"secret_name": "db", "field": "password", "env_var": "P", "command": huge})),
        ("exec_with_secret", json!({"secret_name": "db", "field": "password", "env_var": huge, "command": "true"})),
        ("exec_with_secret", json!({"secret_name": "db", "field": huge, "env_var": "P", "command": "true"})),
        ("ssh_with_secret", json!({"secret_name": "deploy-key", "host": huge})),
        ("ssh_with_secret", json!({"secret_name": "deploy-key", "host": "h", "command": huge})),
    ] {
        let id = client.begin(tool, arguments).await;
        let answer = client.answer(id).await;
        let words = refusal(&answer["result"]);
        assert!(words.len() < 20_000, "{tool}: {} bytes", words.len());
    }
    // a line that is longer than any message
    client.write(&vec![b'x'; 9 * 1024 * 1024]).await;
    client.write(b"\n").await;
    client.hear(|message| message["error"]["code"] == -32600).await;
    assert_eq!(client.done("search_secrets", json!({"query": "web"})).await["count"], 1);
    assert_eq!(world.asked(), 0);
    assert_eq!(client.end().await.0, Some(0));
}

#[tokio::test]
async fn the_end_of_input_ends_it_at_any_moment() {
    let world = World::start().await;
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
        {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params":
        {"name": "search_secrets", "arguments": {"query": "db"}}});
    let conversation = format!("{hello}\n{ready}\n{call}\n");
    let cuts = [0, 1, hello.to_string().len() - 1, hello.to_string().len(), hello.to_string().len() + 1];
    let cuts = cuts.into_iter().chain((1..8).map(|part| conversation.len() * part / 8)).chain([conversation.len()]);
    for cut in cuts {
        let mut client = world.client(&[]);
        client.write(&conversation.as_bytes()[..cut]).await;
        let (code, log) = client.end().await;
        assert_eq!((code, log.as_str()), (Some(0), ""), "cut at {cut}");
    }
    // what was asked before the end is answered
    let mut client = world.client(&[]);
    client.write(conversation.as_bytes()).await;
    let heard = client.answer(2);
    assert_eq!(heard.await["result"]["structuredContent"]["query"], "db");

    // what needs no answer and comes before the first request is nothing
    let mut client = world.client(&[]);
    client.say(ready).await;
    let (code, log) = client.end().await;
    assert_eq!((code, log.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn many_calls_at_once_are_each_answered() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let mut ids = Vec::new();
    for number in 0..60 {
        let (tool, arguments) = match number % 3 {
            0 => ("search_secrets", json!({"query": "db", "limit": number + 1})),
            1 => ("inspect_fields", json!({"secret_name": "db"})),
            _ => ("daemon_status", json!({})),
        };
        ids.push(client.begin(tool, arguments).await);
    }
    for id in ids {
        assert_eq!(client.result(id).await["isError"], false);
    }
}

#[tokio::test]
async fn what_comes_before_the_first_request_ends_nothing() {
    let world = World::start().await;
    for early in [
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
        json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}),
        json!({"jsonrpc": "2.0", "id": 9, "result": {}}),
    ] {
        let mut client = world.client(&[]);
        client.say(early.clone()).await;
        assert!(client.ask("ping", json!({})).await["result"].is_object(), "{early}");
        client.say(early.clone()).await;
        let began = client.initialize("2025-11-25").await;
        assert_eq!(began["serverInfo"]["name"], "secret-gate", "{early}");
        assert_eq!(names(&client.ask("tools/list", json!({})).await).len(), 6);
    }
}
