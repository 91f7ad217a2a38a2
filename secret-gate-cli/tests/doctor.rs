//! `doctor`: what it finds, what it says to do, and that it asks nobody.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use gated::{Gated, approving};
use secret_gate_core::ScriptedApprover;
use serde_json::{Value, json};
use support::{Machine, Reply, Run, Server, error, shown, terminal};

const JSON: [&str; 3] = ["doctor", "--format", "json"];

/// What the report says of this check: state, message and hint.
fn found(run: &Run, name: &str) -> (String, String, String) {
    let report: Value = serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{run:?}"));
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"));
    let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
    (text("state"), text("message"), text("hint"))
}

fn state(run: &Run, name: &str) -> String {
    found(run, name).0
}

#[tokio::test]
async fn all_is_well_and_nobody_was_asked() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    let run = machine.run(&JSON).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
    let report: Value = serde_json::from_str(&run.out).unwrap();
    let names: Vec<_> = report["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    let all = [
        "configuration",
        "server",
        "clock",
        "readiness",
        "api key",
        "daemon",
        "ssh",
        "ssh-agent",
        "memory",
        "core dumps",
    ];
    assert_eq!(names, all, "scripts rely on them");
    assert_eq!((&report["ok"], &report["version"]), (&json!(true), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!(found(&run, "clock").0, "ok", "{run:?}");
    assert!(found(&run, "daemon").1.starts_with("starts when it is needed"), "{run:?}");
    assert!(!machine.path("secret-gate.sock").exists(), "looking starts nothing");

    // a line for each, and without a terminal no colours
    let plain = machine.run(&["doctor"]).await;
    assert_eq!(plain.code, 0, "{plain:?}");
    for name in all {
        assert!(
            plain.out.lines().any(|line| line.get(6..).is_some_and(|line| line.starts_with(name))),
            "{name}: {plain:?}"
        );
    }
    assert!(!plain.out.contains('\x1b') && plain.out.contains("ok    server        http://"), "{plain:?}");

    let asked = machine.run(&["--secret", "db", "--field", "password"]).await;
    assert_eq!(asked.code, 0, "{asked:?}");
    let (state, message, _) = found(&machine.run(&JSON).await, "daemon");
    assert!(state == "ok" && message.contains(" holds 1, at "), "{message}");
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn a_server_that_is_away_or_none_is_a_failure() {
    let away = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9").run(&JSON).await;
    assert_eq!((away.code, state(&away, "server")), (1, "fail".to_owned()), "{away:?}");
    assert!(found(&away, "server").2.contains("check that the server runs"), "{away:?}");

    let none = Machine::new().run(&JSON).await;
    assert_eq!((none.code, state(&none, "configuration")), (1, "fail".to_owned()), "{none:?}");
    assert!(found(&none, "configuration").2.contains("SECRET_GATE_URL"), "{none:?}");

    let other = Server::start().await;
    let run = Machine::of(&other).run(&JSON).await;
    assert!(run.code == 1 && found(&run, "server").2.contains("check the server's URL"), "{run:?}");
    let plain = Machine::of(&other).run(&["doctor"]).await;
    assert!(plain.code == 1 && plain.out.contains("\nFAIL  server  "), "{plain:?}");

    let hangs = Server::start().await.on("GET /health", Reply::Silence);
    let run = Machine::of(&hangs).run(&JSON).await;
    assert_eq!((run.code, found(&run, "server").1), (1, "there was no answer within 5 s".to_owned()), "{run:?}");
}

#[tokio::test]
async fn colours_are_for_terminals() {
    for (variable, value, coloured) in [("TERM", "xterm", true), ("NO_COLOR", "1", false)] {
        let (mut near, far) = terminal();
        let machine = Machine::new().with("TERM", "xterm").with(variable, value);
        let mut doctor = machine.command(env!("CARGO_BIN_EXE_secret-gate"));
        let ended = doctor.arg("doctor").stdout(far).spawn().unwrap().wait_with_output().await.unwrap();
        drop(doctor);
        assert_eq!(ended.status.code(), Some(1));
        let screen = shown(&mut near);
        assert_eq!(screen.contains("\x1b[1;31mFAIL\x1b[0m  configuration"), coloured, "{screen:?}");
        assert_eq!(screen.contains("\nFAIL  configuration") || screen.starts_with("FAIL"), !coloured, "{screen:?}");
    }
}

/// A server that serves.
async fn server() -> Server {
    Server::start().await.on("GET /health", Reply::Raw(200, "text/plain", b"OK".to_vec()))
}

#[tokio::test]
async fn tells_of_keys_and_parts_that_are_not_there() {
    let refused = || error(400, "missing_query", "name one");
    let old = server().await.on("POST /search", refused());
    let run = Machine::of(&old).run(&JSON).await;
    assert_eq!((run.code, state(&run, "readiness"), state(&run, "api key")), (0, "ok".into(), "ok".into()), "{run:?}");
    assert!(found(&run, "readiness").1.contains("too old") && found(&run, "api key").1.contains("none is needed"));
    assert_eq!(old.count("POST /request") + old.count("POST /fields"), 0);

    let unready = json!({"ready": false, "backend": "ok", "approver": "unavailable"});
    let unready = server().await.on("GET /ready", Reply::Json(503, unready)).on("POST /search", refused());
    let run = Machine::of(&unready).run(&JSON).await;
    assert_eq!((run.code, state(&run, "readiness")), (1, "fail".to_owned()), "{run:?}");
    assert!(found(&run, "readiness").1.contains("approver unavailable"), "{run:?}");

    let locked = server().await.on("POST /search", error(401, "unauthorized", "give a key"));
    let without = Machine::of(&locked).run(&JSON).await;
    assert_eq!((without.code, found(&without, "api key").1.as_str()), (1, "the server wants one"), "{without:?}");
    let wrong = Machine::of(&locked).with("SECRET_GATE_API_KEY", "k3y").run(&JSON).await;
    assert_eq!((wrong.code, state(&wrong, "api key")), (1, "fail".to_owned()), "{wrong:?}");
    assert!(!wrong.out.contains("k3y") && found(&wrong, "api key").2.contains("api_key_file"), "{wrong:?}");
}

#[tokio::test]
async fn tells_of_a_wrong_clock() {
    // whatever answers, with a clock of its own
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let date = [(axum::http::header::DATE, "Tue, 15 Nov 1994 08:12:31 GMT")];
    let app = axum::Router::new().route("/health", axum::routing::get(move || async move { (date, "OK") }));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let run = Machine::new().with("SECRET_GATE_URL", &url).run(&JSON).await;
    let (state, message, hint) = found(&run, "clock");
    assert!(state == "warn" && message.ends_with("ahead of the server's") && hint.contains("clock"), "{run:?}");
}

#[tokio::test]
async fn tells_of_what_is_wrong_on_this_machine() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let broken = Machine::new().with_file("config.json", "{\n\"cache_ttl\": 5\n}").run(&JSON).await;
    assert!(broken.code == 1 && found(&broken, "configuration").1.contains("config.json, line 2"), "{broken:?}");

    let machine = gated.machine().with("PATH", "/nonexistent").with("SSH_AUTH_SOCK", "/nonexistent/agent");
    std::fs::write(machine.path("secret-gate.sock"), "not a socket").unwrap();
    let run = machine.run(&JSON).await;
    assert_eq!(run.code, 1, "{run:?}");
    let (state, message, hint) = found(&run, "daemon");
    assert!(state == "fail" && message.contains("not a socket; remove it") && hint.contains("--secret"), "{run:?}");
    assert_eq!((found(&run, "ssh").0.as_str(), found(&run, "ssh-agent").0.as_str()), ("warn", "warn"), "{run:?}");
    std::fs::remove_file(machine.path("secret-gate.sock")).unwrap();

    // what is not needed is no failure
    assert_eq!(machine.run(&JSON).await.code, 0);
    let off = gated.machine().with_file("config.json", "{\"ssh_agent_integration\": false}");
    let run = off.with("SSH_AUTH_SOCK", "/nonexistent/agent").run(&JSON).await;
    assert_eq!(found(&run, "ssh-agent").0, "ok", "{run:?}");
}
