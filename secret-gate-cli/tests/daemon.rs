//! Asking through the daemon: once, for as long as it was approved, by one daemon however many start it.

mod gated;
mod support;

use std::time::Duration;

use gated::{Gated, approving};
use rustix::process::{Pid, Signal, kill_process};
use secret_gate_core::{Decision, Keep, Outcome, ScriptedApprover, Use};
use serde_json::json;
use support::{Machine, Reply, Server, accepted, finish, said, send, status};

const ASK: [&str; 6] = ["--secret", "db", "--field", "password", "--reason", "backup"];

#[tokio::test]
async fn a_second_question_is_answered_by_the_first_approval() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine();
    let first = machine.run(&ASK).await;
    assert_eq!((first.code, first.out.as_str()), (0, "s3cret-value\n"), "{first:?}");
    assert!(first.err.contains("waiting for the approval of db (request "), "{first:?}");
    for args in [&ASK[..], &["-secret", "db", "-format=json"], &["--secret=db", "--vault="]] {
        let again = machine.run(args).await;
        assert_eq!((again.code, again.err.as_str()), (0, ""), "{again:?}");
        assert!(again.out.contains("s3cret-value"), "{again:?}");
    }
    assert_eq!(gated.asked(), 1);
    let question = gated.human.asked(0).await.question;
    assert_eq!(question.said.reason.as_deref(), Some("backup"));
    assert_eq!(question.keep, Some(Duration::from_secs(3600)), "the default of cache_ttl");
    let intended = question.intended_use.clone().unwrap();
    assert!(
        intended.covers(&Use::reveal()) && intended.covers(&Use::any_command()) && intended.covers(&Use::any_host())
    );
}

#[tokio::test]
async fn no_cache_asks_each_time_and_starts_nothing() {
    let gated = Gated::start(approving(2)).await;
    let machine = gated.machine();
    for asked in 1..=2 {
        let run = machine.run(&["--secret", "db", "--field", "password", "--no-cache"]).await;
        assert_eq!((run.code, run.out.as_str()), (0, "s3cret-value\n"), "{run:?}");
        assert_eq!(gated.asked(), asked);
    }
    assert!(!machine.path("secret-gate.sock").exists());
}

#[tokio::test]
async fn without_a_place_for_a_daemon_the_client_warns_and_goes_on() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine();
    std::fs::write(machine.path("secret-gate.sock"), "not a socket").unwrap();
    let run = machine.run(&ASK).await;
    assert_eq!((run.code, run.out.as_str()), (0, "s3cret-value\n"), "{run:?}");
    assert!(run.err.starts_with("warning: nothing is kept, since there is no daemon: "), "{run:?}");
    assert!(run.err.contains("it is not a socket; remove it"), "{run:?}");
    std::fs::remove_file(machine.path("secret-gate.sock")).unwrap();
}

#[tokio::test]
async fn an_older_server_that_knows_no_uses_is_kept_for_as_long_as_was_asked() {
    let server = Server::start().await.on("POST /request", accepted()).on("GET /status", status("approved"));
    server.on("GET /secret", Reply::Json(200, json!({"secret": {"password": "old-value"}})));
    let machine = Machine::of(&server).with_daemon();
    for _ in 0..2 {
        let run = machine.run(&["--secret", "db", "--vault", "Infra"]).await;
        assert_eq!((run.code, run.out.as_str()), (0, "old-value\n"), "{run:?}");
    }
    assert_eq!((server.count("POST /request"), server.count("GET /secret")), (1, 1));
    let body = server.calls().into_iter().find(|call| call.path == "/request").unwrap().body;
    assert_eq!(
        (&body["secret_name"], &body["vault"], &body["duration"]),
        (&json!("db"), &json!("Infra"), &json!("1h"))
    );
}

#[tokio::test]
async fn once_is_once() {
    let human = ScriptedApprover::new().then(Decision::approve_for("Ann", Keep::Once)).then(Decision::deny("Ann"));
    let gated = Gated::start(human).await;
    let machine = gated.machine();
    assert_eq!(machine.run(&ASK).await.out, "s3cret-value\n");
    let again = machine.run(&ASK).await;
    assert_eq!((again.code, again.out.as_str()), (3, ""), "{again:?}");
    assert!(again.err.ends_with("error: the request was denied\n"), "{again:?}");
    assert_eq!(gated.asked(), 2);
}

#[tokio::test]
async fn grants_are_listed_flushed_and_revoked() {
    let gated = Gated::start(approving(4)).await;
    let machine = gated.machine();
    assert_eq!(machine.run(&["grants", "--format", "json"]).await.out, "[]\n");
    machine.run(&ASK).await;
    machine.run(&["--secret", "web"]).await;
    let listed = machine.run(&["grants"]).await;
    assert_eq!((listed.code, listed.out.lines().count()), (0, 2), "{listed:?}");
    assert!(listed.out.lines().next().unwrap().ends_with("  exec any + ssh any + reveal  db"), "{listed:?}");
    let all: serde_json::Value = serde_json::from_str(&machine.run(&["grants", "--format=json"]).await.out).unwrap();
    assert!(!all.to_string().contains("s3cret-value"));
    let id = all[0]["grant"]["id"].as_str().unwrap();

    let mut outcomes = gated.human.asked(0).await.outcomes;
    let revoked = machine.run(&["revoke", id]).await;
    assert_eq!((revoked.code, revoked.err.as_str()), (0, "1 approval revoked\n"));
    outcomes.wait_for(|all| matches!(all.last(), Some(Outcome::Revoked(_)))).await.unwrap();
    let unknown = machine.run(&["revoke", id]).await;
    assert_eq!((unknown.code, unknown.out.as_str()), (5, ""), "{unknown:?}");

    // what is flushed is asked for anew, and not taken back at the server
    assert_eq!(machine.run(&["daemon", "flush"]).await.err, "1 approval forgotten\n");
    machine.run(&["--secret", "web"]).await;
    assert_eq!(gated.asked(), 3);
    assert_eq!(machine.run(&["revoke", "--all"]).await.err, "1 approval revoked\n");
    let status = machine.run(&["daemon", "status"]).await.out;
    assert!(status.starts_with("Daemon: running\n") && status.contains("\nCached secrets: 0\n"), "{status}");
    assert_eq!(machine.run(&["daemon", "stop"]).await.code, 0);
    assert_eq!(machine.run(&["daemon", "status"]).await.out, "Daemon: not running\n");
}

#[tokio::test]
async fn the_servers_word_ends_a_grant_within_two_seconds() {
    let gated = Gated::start(approving(1).then(Decision::deny("Ann"))).await;
    let machine = gated.machine();
    machine.run(&ASK).await;
    let held = || async {
        let grants = machine.run(&["grants", "--format=json"]).await.out;
        serde_json::from_str::<Vec<serde_json::Value>>(&grants).unwrap().len()
    };
    assert_eq!(held().await, 1);
    // as an operator does it: the same token, from somewhere else
    let id = gated.human.asked(0).await.question.id.clone();
    gated.gate.revoke(&id).await.unwrap();
    let ended = async {
        while held().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), ended).await.unwrap();
    assert_eq!(machine.run(&ASK).await.code, 3);
}

#[tokio::test]
async fn fifty_clients_start_one_daemon_and_ask_once() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let machine = gated.machine();
    let clients: Vec<_> = (0..50).map(|_| machine.spawn(&ASK)).collect();
    let asked = gated.human.asked(0).await;
    asked.ballot.cast(Decision::approve("Ann")).await.unwrap();
    for client in clients {
        let run = finish(client).await;
        assert_eq!((run.code, run.out.as_str()), (0, "s3cret-value\n"), "{run:?}");
    }
    assert_eq!(gated.asked(), 1);
    // a second one would have another socket, and another count
    let status = machine.run(&["daemon", "status"]).await.out;
    assert!(status.contains("\nCached secrets: 1\n"), "{status}");
    let left: Vec<_> = std::fs::read_dir(machine.path("")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "a socket and its lock: {left:?}");
}

#[tokio::test]
async fn ctrl_c_withdraws_the_question_unless_somebody_else_waits_for_it() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let machine = gated.machine();
    let mut one = machine.spawn(&ASK);
    said(&mut one, "waiting for the approval").await;
    let mut other = machine.spawn(&ASK);
    said(&mut other, "waiting for the approval").await;
    assert_eq!(gated.asked(), 1, "both wait for one question");
    let mut outcomes = gated.human.asked(0).await.outcomes;
    send(Signal::INT, &one);
    assert_eq!(finish(one).await.code, 130);
    assert!(outcomes.borrow().is_empty(), "somebody still waits");
    send(Signal::INT, &other);
    assert_eq!(finish(other).await.code, 130);
    outcomes.wait_for(|all| all.contains(&Outcome::Withdrawn)).await.unwrap();
}

#[tokio::test]
async fn a_killed_daemon_forgets_and_the_next_call_starts_another() {
    let gated = Gated::start(approving(2)).await;
    let machine = gated.machine();
    machine.run(&ASK).await;
    let status = machine.run(&["daemon", "status"]).await.out;
    let pid = status.lines().find_map(|line| line.strip_prefix("PID: ")).unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let run = machine.run(&ASK).await;
    assert_eq!((run.code, run.out.as_str()), (0, "s3cret-value\n"), "{run:?}");
    assert_eq!(gated.asked(), 2);
}

#[tokio::test]
async fn the_humans_no_and_a_name_that_is_none_have_codes_of_their_own() {
    let gated = Gated::start(ScriptedApprover::new().then(Decision::deny("Ann"))).await;
    let machine = gated.machine();
    assert_eq!(machine.run(&ASK).await.code, 3);
    let unknown = machine.run(&["--secret", "dbx"]).await;
    assert_eq!((unknown.code, unknown.out.as_str()), (5, ""), "{unknown:?}");
    assert!(unknown.err.contains("hint: did you mean db (vault infra)?"), "{unknown:?}");
    let field = machine.run(&["--secret", "db", "--field", "passwort"]).await;
    assert_eq!(field.code, 5, "{field:?}");
    assert_eq!(gated.asked(), 1, "nobody was asked in vain");
    let away = Machine::new().with("SECRET_GATE_URL", "http://127.0.0.1:9").with_daemon();
    assert_eq!(away.run(&["--secret", "db"]).await.code, 6);
}
