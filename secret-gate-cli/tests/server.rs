//! Which server is talked to, with which key, and what it can answer.

mod support;

use serde_json::json;
use support::{Machine, Reply, Server, error};

#[tokio::test]
async fn a_key_never_reaches_another_server() {
    let (own, other) = (Server::start().await, Server::start().await);
    for server in [&own, &other] {
        server.on("POST /search", Reply::Json(200, json!({"query": "x", "results": []})));
    }
    let config = format!("{{\"server_url\": \"{}\", \"api_key_file\": \"key\"}}", own.url);
    let by_file = || Machine::new().with_file("config.json", &config).with_file("key", "file-key\n");

    assert_eq!(by_file().run(&["--search", "x"]).await.code, 0);
    assert_eq!(own.calls()[0].key.as_deref(), Some("Bearer file-key"));
    assert_eq!(by_file().with("SECRET_GATE_API_KEY", "env-key").run(&["--search", "x"]).await.code, 0);
    assert_eq!(own.calls()[1].key.as_deref(), Some("Bearer env-key"));

    let elsewhere = ["--search", "x", "--server", &other.url];
    assert_eq!(by_file().run(&elsewhere).await.code, 0);
    assert_eq!(by_file().with("SECRET_GATE_API_KEY", "env-key").run(&elsewhere).await.code, 0);
    assert_eq!(by_file().with("OP_APPROVAL_PROXY_URL", &other.url).run(&["--search", "x"]).await.code, 0);
    assert_eq!(other.calls().iter().filter_map(|call| call.key.clone()).count(), 0);
    assert_eq!(other.calls().len(), 3);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (own, other) = (Server::start().await, Server::start().await);
    own.on("POST", Reply::Redirect(format!("{}/search", other.url)));
    let run = Machine::of(&own).with("SECRET_GATE_API_KEY", "k3y").run(&["--search", "x"]).await;
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("redirect (302), which is not followed"), "{}", run.err);
    assert!(other.calls().is_empty());
}

#[tokio::test]
async fn a_key_is_not_sent_in_the_clear() {
    let machine = Machine::new().with("SECRET_GATE_URL", "http://gate.invalid").with("SECRET_GATE_API_KEY", "k3y");
    let run = machine.run(&["--search", "x"]).await;
    assert_eq!(run.code, 1);
    assert!(
        run.err.starts_with("error: the API key would travel unencrypted to http://gate.invalid\nhint: "),
        "{}",
        run.err
    );
    let run = Machine::new().with("SECRET_GATE_URL", "http://gate.invalid").run(&["--search", "x"]).await;
    assert_eq!(run.code, 6);
    assert!(run.err.starts_with("warning: secrets from http://gate.invalid travel unencrypted"), "{}", run.err);
}

#[tokio::test]
async fn strange_answers_are_refused_and_not_repeated_to_the_user() {
    let strange: [(&str, Vec<u8>); 5] = [
        ("text/html", b"<html><script>hunter2</script></html>".to_vec()),
        ("application/json", b"{\"results\": \"hunter2\"}".to_vec()),
        ("application/octet-stream", vec![0, 255, 27, b'[', b'2', b'J']),
        ("application/json", vec![b' '; 2 * 1024 * 1024]),
        ("application/json", Vec::new()),
    ];
    for (kind, body) in strange {
        let server = Server::start().await.on("POST", Reply::Raw(200, kind, body));
        let run = Machine::of(&server).run(&["--search", "x"]).await;
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
        assert!(run.err.contains("can't be understood") && !run.err.contains("hunter2"), "{}", run.err);
    }
    let server = Server::start().await.on("POST", Reply::Raw(400, "text/plain", b"a\x1b[2Jb".to_vec()));
    assert!(Machine::of(&server).run(&["--search", "x"]).await.err.contains("status 400"));
    let server = Server::start().await.on("POST", error(400, "x", "a\u{1b}[2Jb"));
    assert!(Machine::of(&server).run(&["--search", "x"]).await.err.starts_with("error: a\\u{1b}[2Jb\n"));
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    for args in [["--search", "x"], ["--secret", "x"]] {
        let run = Machine::new().with("SECRET_GATE_URL", &url).run(&args).await;
        assert_eq!((run.code, run.out.as_str()), (6, ""), "{run:?}");
        assert!(run.err.starts_with(&format!("error: can't reach the server at {url}: ")), "{}", run.err);
        assert!(run.err.contains("Connection refused") && run.err.contains("\nhint: "), "{}", run.err);
    }
}

#[tokio::test]
async fn mistakes_name_what_to_write() {
    let machine = Machine::new();
    for args in
        [&[][..], &["--secret", "a", "--search", "b"], &["--nonsense"], &["--secret", "a", "--timeout", "x"], &["junk"]]
    {
        let run = machine.run(args).await;
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{run:?}");
        assert!(run.err.starts_with("error: "), "{}", run.err);
    }
    let run = machine.run(&["--search", "x"]).await;
    assert_eq!(run.code, 1);
    assert!(run.err.contains("no server is configured\nhint: run secret-gate setup --server URL"), "{}", run.err);
    let broken = Machine::new().with_file("config.json", "{\n  \"cache_ttl\": \"an hour\"\n}\n");
    let run = broken.run(&["--search", "x"]).await;
    assert_eq!(run.code, 1);
    assert!(run.err.contains("config.json, line 2: \"an hour\" is not a duration; write it like 90s"), "{}", run.err);
}

#[tokio::test]
async fn help_and_version_are_data() {
    for flag in ["--help", "-help", "-h", "--version", "-version"] {
        let run = Machine::new().run(&[flag]).await;
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{flag}");
        assert!(run.out.contains("secret-gate"), "{flag}");
    }
    assert!(Machine::new().run(&["--help"]).await.out.contains("Exit codes:"));
}
