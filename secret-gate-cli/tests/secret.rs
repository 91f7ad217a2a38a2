//! `--secret`: asking, waiting, printing, and giving up.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use support::{Machine, Reply, Server, TOKEN, accepted, error, finish, said, send, shown, status, terminal};

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
    let started = Instant::now();
    let run = Machine::of(&patient).run(&["--secret", "db", "--poll-interval", "300ms"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(started.elapsed().as_millis() >= 600);
    assert_eq!(patient.count(&format!("GET /status/{TOKEN}?wait=30s")), 3);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn a_passing_failure_costs_no_approval() {
    let server = Server::start().await.on("POST /request", accepted());
    server.on("GET /status", Reply::Raw(503, "text/html", b"<html>".to_vec())).on("GET /status", status("approved"));
    server.on("GET /secret", error(502, "backend_unavailable", "the vault is away"));
    server.on("GET /secret", Reply::Json(200, json!({"secret": {"password": "x"}})));
    let run = Machine::of(&server).run(&["--secret", "db"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "x\n"), "{run:?}");
    assert!(run.err.contains("the vault is away; trying again"), "{}", run.err);
    assert_eq!((server.count("GET /status"), server.count("GET /secret"), server.count("DELETE")), (2, 2, 0));
}

#[tokio::test]
async fn a_failure_that_does_not_pass_ends_with_the_patience_or_the_approval() {
    let away = || error(502, "backend_unavailable", "the vault is away");
    let broken = Server::start().await.on("POST /request", accepted()).on("GET /status", status("approved"));
    broken.on("GET /secret", away()).on("DELETE", Reply::Raw(204, "", Vec::new()));
    let run = Machine::of(&broken).run(&["--secret", "db", "--timeout", "1s"]).await;
    assert_eq!((run.code, run.out.as_str(), broken.count("DELETE")), (4, "", 1), "{run:?}");

    for (word, code) in [("expired", 4), ("denied", 3)] {
        let lapsed = Server::start().await.on("POST /request", accepted());
        lapsed.on("GET /status", status("approved")).on("GET /status", status(word));
        lapsed.on("GET /secret", error(403, "not_approved", "it is not approved"));
        let run = Machine::of(&lapsed).run(&["--secret", "db"]).await;
        assert_eq!((run.code, run.out.as_str(), lapsed.count("DELETE")), (code, "", 0), "{word}: {run:?}");
    }
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
async fn says_when_an_older_server_cannot_withdraw() {
    for code in [404, 405] {
        let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("pending"));
        server.on("DELETE", Reply::Raw(code, "text/plain", b"no".to_vec()));
        let run = Machine::of(&server).run(&["--secret", "db", "--timeout", "200ms"]).await;
        assert_eq!(run.code, 4);
        let words = "warning: the question 4f2a91c0 could not be withdrawn; deny it on the phone, or let it expire\n";
        assert!(run.err.contains(words), "{}", run.err);
    }
}

#[tokio::test]
async fn what_has_ended_is_not_withdrawn() {
    let server =
        Server::start().await.on("POST /request", accepted()).on("GET /status", error(404, "not_found", "gone"));
    let run = Machine::of(&server).run(&["--secret", "db"]).await;
    assert_eq!(run.code, 4);
    assert!(!run.err.contains("warning") && server.count("DELETE") == 0, "{}", run.err);
}

#[tokio::test]
async fn a_question_whose_token_comes_late_is_withdrawn() {
    let server = Server::start().await.on("POST /request", Reply::Slow(Duration::from_secs(1)));
    server.on("DELETE /request", Reply::Raw(204, "text/plain", Vec::new()));
    let run = Machine::of(&server).run(&["--secret", "db", "--timeout", "200ms"]).await;
    assert_eq!(run.code, 4);
    assert!(!run.err.contains("may be open"), "{}", run.err);
    assert_eq!(server.count(&format!("DELETE /request/{TOKEN}")), 1);
}

#[tokio::test]
async fn says_that_a_question_may_be_open_when_its_token_does_not_come() {
    let warning = "warning: a question may be open on the phone until it expires; deny it there\n";
    let server = Server::start().await.on("POST /request", Reply::Silence);
    let run = Machine::of(&server).run(&["--secret", "db", "--timeout", "200ms"]).await;
    assert!(run.code == 4 && run.err.contains(warning), "{run:?}");

    let broken = Server::start().await.on("POST /request", Reply::Json(202, json!({"request_id": "4f2a91c0"})));
    let run = Machine::of(&broken).run(&["--secret", "db"]).await;
    assert!(run.code == 1 && run.err.contains(warning), "{run:?}");

    let refused = Server::start().await.on("POST /request", error(400, "missing_fields", "name one"));
    assert!(!Machine::of(&refused).run(&["--secret", "db"]).await.err.contains("warning"));

    // a second Ctrl-C ends at once
    let mut child = Machine::of(&server).spawn(&["--secret", "db"]);
    let at = Instant::now();
    server.called_times("POST /request", 2).await;
    send(Signal::INT, &child);
    said(&mut child, "waiting 5s more").await;
    send(Signal::INT, &child);
    let run = finish(child).await;
    assert!(run.code == 130 && run.err.contains(warning), "{run:?}");
    assert!(at.elapsed() < Duration::from_secs(4), "took {:?}", at.elapsed());
}

#[tokio::test]
async fn an_answer_of_another_version_is_good_enough() {
    let server = Server::start().await.on("POST /request", Reply::Json(202, json!({"token": TOKEN, "request_id": 5})));
    server.on("GET /status", Reply::Json(200, json!({"status": "pending", "message": "m", "ended": "snoozed"})));
    server.on("GET /status", status("approved"));
    let grant = json!({"use": {"exec": "any", "db": "any"}, "expires_at": null});
    server.on("GET /secret", Reply::Json(200, json!({"secret": {"password": "x"}, "grant": grant})));
    let run = Machine::of(&server).run(&["--secret", "db", "--poll-interval", "100ms"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "x\n"), "{run:?}");
}

#[tokio::test]
async fn a_field_that_is_not_there_costs_nobody_a_look_at_the_phone() {
    let known = |fields| json!({"secret_name": "db", "vault_name": "Infra", "fields": fields});
    let server = Server::approving(json!({"password": "x"})).await;
    let password = json!([{"label": "password", "type": "CONCEALED"}]);
    server.on("POST /fields", Reply::Json(200, known(password)));
    let machine = Machine::of(&server);
    let run = machine.run(&["--secret", "db", "--vault", "Infra", "--field", "passwort"]).await;
    assert_eq!((run.code, run.out.as_str()), (5, ""), "{run:?}");
    assert_eq!(run.err, "error: the secret has no field passwort\nhint: it has: password\n");
    assert_eq!(server.calls()[0].body, json!({"secret_name": "db", "vault": "Infra"}));
    assert_eq!(server.count("POST /request"), 0);
    assert_eq!(machine.run(&["--secret", "db", "--field", "password"]).await.out, "x\n");
    assert_eq!(machine.run(&["--secret", "db", "--field", "passwort", "--format", "json"]).await.code, 0);
    assert_eq!(machine.run(&["--secret", "db"]).await.code, 0);
    assert_eq!(server.count("POST /fields"), 2);

    for reply in [error(500, "fields_failed", "away"), Reply::Json(200, known(json!(null)))] {
        let server = Server::approving(json!({"password": "x"})).await.on("POST /fields", reply);
        assert_eq!(Machine::of(&server).run(&["--secret", "db", "--field", "password"]).await.out, "x\n");
    }
}

#[tokio::test]
async fn the_line_that_counts_the_time_fits_a_terminal() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", Reply::Silence);
    server.on("DELETE /request", Reply::Raw(204, "text/plain", Vec::new()));
    let name = "a rather long name of an item ".repeat(4);
    let (mut near, far) = terminal();
    let machine = Machine::of(&server).with("TERM", "xterm");
    let child = machine
        .command(env!("CARGO_BIN_EXE_secret-gate"))
        .arg("--no-cache")
        .args(["--secret", &name, "--timeout", "2500ms"])
        .stderr(far)
        .spawn()
        .unwrap();
    assert_eq!(child.wait_with_output().await.unwrap().status.code(), Some(4));
    let screen = shown(&mut near);
    assert_eq!(screen.matches("Ctrl-C withdraws the question").count(), 1, "{screen:?}");
    assert!(screen.contains("waiting … 2s"), "{screen:?}");
    for rewritten in screen.split("\r\x1b[2K").skip(1) {
        assert!(rewritten.lines().next().unwrap_or_default().chars().count() < 80, "{screen:?}");
    }
}

#[tokio::test]
async fn signals_withdraw_the_question() {
    let mut signals = vec![(Signal::INT, 130), (Signal::TERM, 143)];
    // a program that is started with it ignored, as this one under nohup, leaves it so
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    if u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 0 {
        signals.push((Signal::HUP, 129));
    }
    for (signal, code) in signals {
        let server = Server::start().await.on("POST /request", accepted()).on("GET /status", Reply::Silence);
        server.on("DELETE /request", Reply::Raw(204, "text/plain", Vec::new()));
        let child = Machine::of(&server).spawn(&["--secret", "db"]);
        server.called("GET /status").await;
        send(signal, &child);
        let run = finish(child).await;
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{run:?}");
        assert_eq!(server.count(&format!("DELETE /request/{TOKEN}")), 1);
    }
}

#[tokio::test]
async fn under_nohup_a_closed_terminal_changes_nothing() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("pending"));
    server.on("DELETE /request", Reply::Raw(204, "text/plain", Vec::new()));
    let client = env!("CARGO_BIN_EXE_secret-gate");
    let script = format!("trap '' HUP; exec '{client}' --secret db --no-cache --timeout 1s");
    let child = Machine::of(&server).command("/bin/sh").args(["-c", &script]).spawn().unwrap();
    server.called("GET /status").await;
    send(Signal::HUP, &child);
    let run = finish(child).await;
    assert_eq!(run.code, if cfg!(target_os = "linux") { 4 } else { 129 }, "{run:?}");
}

#[tokio::test]
async fn nothing_is_logged_that_could_be_used() {
    let server = Server::approving(json!({"password": "s3cret"})).await;
    let machine = Machine::of(&server).with("RUST_LOG", "trace").with("SECRET_GATE_API_KEY", "k3y");
    let run = machine.run(&["--secret", "db"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "s3cret\n"));
    assert!(!run.err.contains("s3cret") && !run.err.contains("k3y"), "{}", run.err);
}

#[tokio::test]
async fn a_reference_and_a_field_beside_it_are_one_too_many() {
    let server = Server::approving(json!({"password": "x"})).await;
    let machine = Machine::of(&server);
    let run = machine.run(&["--secret", "op://Infra/db/password", "--field", "username"]).await;
    assert_eq!((run.code, run.out.as_str()), (2, ""), "{run:?}");
    assert!(server.calls().is_empty());
    let run = machine.run(&["--secret", "op://Infra/db/password"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "x\n"), "{run:?}");
}
