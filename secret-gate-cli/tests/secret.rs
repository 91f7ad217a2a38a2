//! `--secret`: asking, waiting, printing, and giving up.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use support::{Machine, Reply, Server, TOKEN, accepted, error, finish, status};

#[tokio::test]
async fn one_value_is_printed_bare_and_asked_for_as_older_clients_did() {
    let server = Server::approving(json!({"password": "s3cret"})).await;
    let run = Machine::of(&server).run(&["--secret", "db", "--vault", "Infra", "--reason", "backup"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "s3cret\n"), "{run:?}");
    assert!(run.err.contains("waiting for the approval of db (request 4f2a91c0)"), "{}", run.err);

    let body = &server.calls()[0].body;
    assert_eq!(
        (&body["secret_name"], &body["vault"], &body["reason"]),
        (&json!("db"), &json!("Infra"), &json!("backup"))
    );
    assert!(body["machine"].is_string() && body["working_dir"].is_string());
    assert!(body.get("use").is_none() && body.get("fields").is_none(), "{body}");
    assert_eq!(server.count("GET /secret"), 1);
}

#[tokio::test]
async fn several_values_in_every_format() {
    let server = Server::approving(json!({"username": "ann", "key": "one\ntwo\n", "password": "s3cret"})).await;
    let machine = Machine::of(&server);
    let plain = machine.run(&["--secret", "db"]).await;
    assert_eq!(plain.out, "key: one\ntwo\n\npassword: s3cret\nusername: ann\n");
    let json = machine.run(&["-secret", "db", "-format=json", "-no-cache=true", "-fields=false"]).await;
    assert_eq!(json.out, "{\"key\":\"one\\ntwo\\n\",\"password\":\"s3cret\",\"username\":\"ann\"}\n");
    let field = machine.run(&["-secret=db", "-field", "password"]).await;
    assert_eq!((field.code, field.out.as_str()), (0, "s3cret\n"));
    let missing = machine.run(&["--secret", "db", "--field", "passwort"]).await;
    assert_eq!((missing.code, missing.out.as_str()), (5, ""));
    assert!(missing.err.ends_with("error: the secret has no field passwort\nhint: it has: key, password, username\n"));
}

#[tokio::test]
async fn both_kinds_of_answer_are_read() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("approved"));
    server.on("GET /secret", Reply::Json(200, json!({"secrets": {"db": {"password": "x"}}})));
    assert_eq!(Machine::of(&server).run(&["--secret", "db"]).await.out, "x\n");
}

#[tokio::test]
async fn asks_an_older_server_again_at_the_poll_interval() {
    let server = Server::approving(json!({"p": "x"})).await;
    let patient = Server::start().await.on("POST /request", accepted());
    for reply in ["pending", "pending", "approved"] {
        patient.on("GET /status", status(reply));
    }
    patient.on("GET /secret", Reply::Json(200, json!({"secret": {"p": "x"}})));
    let started = std::time::Instant::now();
    let run = Machine::of(&patient).run(&["--secret", "db", "--poll-interval", "300ms"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(started.elapsed().as_millis() >= 600);
    assert_eq!(patient.count(&format!("GET /status/{TOKEN}?wait=30s")), 3);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn a_passing_failure_while_waiting_is_borne_and_the_secret_is_fetched_once() {
    let server = Server::start().await.on("POST /request", accepted());
    server.on("GET /status", Reply::Raw(503, "text/html", b"<html>".to_vec())).on("GET /status", status("approved"));
    server.on("GET /secret", error(502, "backend_unavailable", "the vault is away"));
    let run = Machine::of(&server).run(&["--secret", "db"]).await;
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert!(run.err.contains("error: the vault is away"), "{}", run.err);
    assert_eq!((server.count("GET /status"), server.count("GET /secret"), server.count("DELETE")), (2, 1, 1));
}

#[tokio::test]
async fn the_humans_no_and_silence_have_codes_of_their_own() {
    for (word, code) in [("denied", 3), ("expired", 4)] {
        let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status(word));
        let run = Machine::of(&server).run(&["--secret", "db"]).await;
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{run:?}");
        assert_eq!(server.count("GET /secret"), 0);
    }
}

#[tokio::test]
async fn a_used_token_is_an_alarm() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("approved"));
    server.on("GET /secret", error(410, "already_used", "used"));
    let run = Machine::of(&server).run(&["--secret", "db"]).await;
    assert_eq!(run.code, 1);
    assert!(run.err.contains("someone else has"), "{}", run.err);
}

#[tokio::test]
async fn a_time_out_withdraws_the_question() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", Reply::Silence);
    server.on("DELETE /request", Reply::Raw(204, "text/plain", Vec::new()));
    let run = Machine::of(&server).run(&["--secret", "db", "--timeout", "200ms"]).await;
    assert_eq!((run.code, run.out.as_str()), (4, ""), "{run:?}");
    assert!(run.err.contains("error: nobody approved within 200ms\nhint: "), "{}", run.err);
    assert_eq!(server.count(&format!("DELETE /request/{TOKEN}")), 1);
}

#[tokio::test]
async fn an_older_server_that_cannot_withdraw_is_no_failure() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("pending"));
    server.on("DELETE", Reply::Raw(405, "text/plain", b"Method Not Allowed".to_vec()));
    let run = Machine::of(&server).run(&["--secret", "db", "--timeout", "200ms"]).await;
    assert_eq!(run.code, 4);
    assert!(!run.err.contains("warning"), "{}", run.err);
}

#[tokio::test]
async fn signals_withdraw_the_question() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let server = Server::start().await.on("POST /request", accepted()).on("GET /status", Reply::Silence);
        server.on("DELETE /request", Reply::Raw(204, "text/plain", Vec::new()));
        let child = Machine::of(&server).spawn(&["--secret", "db"]);
        server.called("GET /status").await;
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
        let run = finish(child).await;
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{run:?}");
        assert_eq!(server.count(&format!("DELETE /request/{TOKEN}")), 1);
    }
}

#[tokio::test]
async fn nothing_is_logged_that_could_be_used() {
    let server = Server::approving(json!({"password": "s3cret"})).await;
    let machine = Machine::of(&server).with("RUST_LOG", "trace").with("SECRET_GATE_API_KEY", "k3y");
    let run = machine.run(&["--secret", "db"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "s3cret\n"));
    assert!(!run.err.contains("s3cret") && !run.err.contains("k3y"), "{}", run.err);
}
