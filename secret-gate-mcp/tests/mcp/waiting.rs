//! Waiting for the human.

use serde_json::{Value, json};

use crate::support::{World, refusal, structured};

fn wants() -> Value {
    json!({"secret_name": "db", "reason": "migrate the orders table"})
}

#[tokio::test]
async fn a_wait_that_is_over_leaves_the_question_and_the_next_call_joins_it() {
    let world = World::start().await;
    let mut client = world.ready(&["--wait", "1s"]).await;
    let first = client.done("request_secret", wants()).await;
    assert_eq!((&first["status"], &first["cached"]), (&json!("pending"), &json!(false)), "{first}");
    assert!(first["message"].as_str().unwrap().contains("same arguments"), "{first}");

    let message = world.question("db").await;
    for line in ["Agent: test-agent 7.1", "Reason: migrate the orders table", "Use: receives the value"] {
        assert!(message.plain.lines().any(|known| known.starts_with(line)), "no {line:?} in\n{}", message.plain);
    }
    let folder = world.path("").canonicalize().unwrap();
    assert!(message.plain.contains(folder.to_str().unwrap().trim_end_matches('/')), "{}", message.plain);

    // two at once, for the same
    let mut arguments = wants();
    arguments["wait_sec"] = 50.into();
    let (one, two) =
        (client.begin("request_secret", arguments.clone()).await, client.begin("request_secret", arguments).await);
    world.decide("db", "Approve").await;
    for id in [one, two] {
        let decision = structured(&client.result(id).await);
        assert_eq!((&decision["status"], &decision["secret_name"]), (&json!("approved"), &json!("db")), "{decision}");
        assert_eq!(decision["fields_available"], json!(["password", "username"]), "{decision}");
    }
    let again = client.done("request_secret", wants()).await;
    assert_eq!((&again["status"], &again["cached"]), (&json!("approved"), &json!(true)), "{again}");
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn an_approval_between_two_calls_is_redeemed() {
    let world = World::start().await;
    let mut client = world.ready(&["--wait", "1s"]).await;
    assert_eq!(client.done("request_secret", wants()).await["status"], "pending");
    let message = world.decide("db", "Approve").await;
    world.told(&message, "Released").await;
    assert_eq!(client.done("request_secret", wants()).await["status"], "approved");
    assert_eq!(client.done("request_secret", wants()).await["cached"], true);
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn a_no_between_two_calls_is_told_and_not_asked_again() {
    let world = World::start().await;
    let mut client = world.ready(&["--wait", "1s"]).await;
    assert_eq!(client.done("request_secret", wants()).await["status"], "pending");
    let message = world.decide("db", "Deny").await;
    world.told(&message, "Denied").await;
    let decision = client.done("request_secret", wants()).await;
    assert_eq!(decision["status"], "denied", "{decision}");
    assert!(decision["message"].as_str().unwrap().contains("Do not ask again"), "{decision}");
    assert_eq!(world.asked(), 1);
    assert_eq!(client.done("request_secret", wants()).await["status"], "pending", "told once");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn nobody_answers_in_time() {
    let world = World::with(&[("REQUEST_TTL", "2s")], "no key").await;
    let mut client = world.ready(&[]).await;
    let decision = client.done("request_secret", wants()).await;
    assert_eq!((&decision["status"], &decision["fields_available"]), (&json!("expired"), &json!([])), "{decision}");
}

#[tokio::test]
async fn whoever_waits_hears_that_it_goes_on() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let id = client.begin("request_secret", wants()).await;
    let progress =
        |message: &Value| message["method"] == "notifications/progress" && message["params"]["progressToken"] == id;
    let first = client.hear(|message| progress(message)).await;
    let at = first["params"]["progress"].as_f64().unwrap();
    let more = |message: &Value| progress(message) && message["params"]["progress"].as_f64().unwrap() > at;
    let second = client.hear(more).await;
    assert_eq!(second["params"]["total"], 45.0, "{second}");
    world.decide("db", "Approve").await;
    assert_eq!(structured(&client.result(id).await)["status"], "approved");
}

#[tokio::test]
async fn a_cancelled_wait_is_withdrawn_when_nobody_comes_back() {
    let world = World::start().await;
    let mut client = world.ready(&["--grace", "5s"]).await;
    let id = client.begin("request_secret", wants()).await;
    let message = world.question("db").await;
    client.cancel(id).await;
    world.told(&message, "Withdrawn").await;
    assert!(client.all().iter().all(|message| message["id"] != id), "a cancelled call is not answered");

    // whoever comes back in time finds it open
    let id = client.begin("request_secret", wants()).await;
    let second = world.telegram.wait_message(|other| other.message_id > message.message_id).await.unwrap();
    client.cancel(id).await;
    let mut arguments = wants();
    // for longer than the question would have stayed
    arguments["wait_sec"] = 8.into();
    assert_eq!(client.done("request_secret", arguments).await["status"], "pending");
    assert_eq!(world.asked(), 2);
    // and a cancel for what was answered means nothing
    client.cancel(id + 1).await;
    world.decide(&second.plain[..], "Approve").await;
    assert_eq!(client.done("request_secret", wants()).await["status"], "approved");
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn in_the_newest_revision_a_cancelled_call_gets_no_more_messages() {
    let world = World::start().await;
    let mut client = world.client(&["--grace", "1s"]);
    client.modern();
    client.ask("server/discover", json!({})).await;
    let id = client.begin("request_secret", wants()).await;
    let message = world.question("Agent: test-agent 7.1").await;
    client.cancel(id).await;
    world.told(&message, "Withdrawn").await;
    let about = |message: &Value| message["id"] == id || message["params"]["progressToken"] == id;
    let before = client.all().iter().filter(|message| about(message)).count();
    assert_eq!(client.done("search_secrets", json!({"query": "db"})).await["query"], "db");
    let after = client.all().iter().filter(|message| about(message)).count();
    assert_eq!(before, after);
    assert!(client.all().iter().all(|message| message["id"] != id));
}

#[tokio::test]
async fn the_end_of_input_withdraws_what_is_open() {
    let world = World::start().await;
    let mut client = world.ready(&["--wait", "1s"]).await;
    assert_eq!(client.done("request_secret", wants()).await["status"], "pending");
    let mut other = json!({"secret_name": "web", "reason": "deploy", "wait_sec": 600});
    let waiting = client.begin("request_secret", other.clone()).await;
    let (one, two) = (world.question("db").await, world.question("web").await);
    let (code, log) = client.end().await;
    assert_eq!((code, log.as_str()), (Some(0), ""), "call {waiting} ends as well");
    world.told(&one, "Withdrawn").await;
    world.told(&two, "Withdrawn").await;

    // so does a client that dies
    let mut client = world.ready(&[]).await;
    other["reason"] = "deploy again".into();
    client.begin("request_secret", other).await;
    let message = world.question("deploy again").await;
    drop(client);
    world.told(&message, "Withdrawn").await;
}

#[tokio::test]
async fn names_that_do_not_fit_are_told_with_what_could_be_meant() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let ask = |name: &str| json!({"secret_name": name, "reason": "r"});
    let cases = [
        (ask("dbx"), "Did you mean db"),
        (ask("no such thing at all"), "search_secrets"),
        (ask("twin"), "twin (vault infra), twin (vault other)"),
        (json!({"secret_name": "db", "reason": "r", "field": "passwort"}), "It has the fields"),
        (json!({"secret_name": "db", "vault": "nowhere", "reason": "r"}), "vault"),
    ];
    for (arguments, words) in cases {
        let refused = client.refused("request_secret", arguments.clone()).await;
        assert!(refused.contains(words), "{arguments}: {refused}");
    }
    let refused = client.refused("inspect_fields", json!({"secret_name": "twin"})).await;
    assert!(refused.contains("twin (vault infra), twin (vault other)"), "{refused}");
    assert_eq!(world.asked(), 0);

    let away = World::start().await.and("SECRET_GATE_URL", "http://127.0.0.1:1");
    let mut client = away.ready(&[]).await;
    for tool in ["request_secret", "inspect_fields"] {
        let refused = client.refused(tool, ask("db")).await;
        assert!(refused.contains("can't reach the server") && refused.contains("tell the user"), "{refused}");
    }
    let unconfigured = World::start().await.and("SECRET_GATE_URL", "");
    let mut client = unconfigured.ready(&[]).await;
    let id = client.begin("request_secret", ask("db")).await;
    assert!(refusal(&client.result(id).await).contains("set SECRET_GATE_URL"));
}

#[tokio::test]
async fn what_was_meant_to_narrow_a_question_never_widens_it() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    for (arguments, words) in [
        (json!({"cmd": "./migrate"}), "unknown field `cmd`"),
        (json!({"hostname": "ann@host"}), "unknown field `hostname`"),
        (json!({"args": ["up"]}), "args goes with command"),
        (json!({"env_var": "P"}), "env_var goes with command"),
        (json!({"working_dir": "/tmp"}), "working_dir goes with command"),
        (json!({"port": 22}), "port goes with host"),
        (json!({"port": 22, "command": "true", "env_var": "P", "field": "password"}), "port goes with host"),
        (json!({"command": "./migrate up", "args": [], "env_var": "P", "field": "password"}), "Leave args out"),
        (json!({"command": " ", "env_var": "P", "field": "password"}), "command is empty"),
    ] {
        let mut wanted = json!({"secret_name": "db", "reason": "r", "wait_sec": 1});
        wanted.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let refused = client.refused("request_secret", wanted).await;
        assert!(refused.contains(words), "{arguments}: {refused}");
    }
    let unknown = json!({"secret_name": "db", "command": "true", "variable": "P"});
    assert!(client.refused("exec_with_secret", unknown).await.contains("`env_var`"));
    let unknown = json!({"secret_name": "db", "host": "ann@host", "cmd": "true"});
    assert!(client.refused("ssh_with_secret", unknown).await.contains("`command`"));
    assert_eq!(world.asked(), 0);
    // what is empty counts as left out
    let empty = json!({"env": {}, "env_var": "", "working_dir": "", "args": [], "command": "", "host": ""});
    let mut wanted = json!({"secret_name": "db", "reason": "r", "wait_sec": 1});
    wanted.as_object_mut().unwrap().extend(empty.as_object().unwrap().clone());
    assert_eq!(client.done("request_secret", wanted).await["status"], "pending");
    assert!(world.question("db").await.plain.contains("run any command"));
}
