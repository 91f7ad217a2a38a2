//! The whole story, with every byte of both directions searched for the values.

use secret_gate_core::SecretValue;
use secret_gate_core::exec::Redactor;
use serde_json::json;

use crate::sshd;
use crate::support::{PASSWORD, TOKEN, World, structured};

#[tokio::test]
async fn a_model_uses_secrets_and_never_sees_them() {
    let Some(place) = sshd::Place::new().await else { return };
    let key = sshd::ed25519();
    place.let_in(&[sshd::parse(&key).public().to_string()]);
    let world = World::with(&[], &key).await;
    // an ssh that takes the home of this place for the user's
    let bin = world.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin exec '{}' \"$@\"\n", place.program().display());
    std::fs::write(bin.join("ssh"), script).unwrap();
    std::fs::set_permissions(bin.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let world = world.and("PATH", &format!("{}:/usr/bin:/bin", bin.display())).and("RUST_LOG", "trace");
    let mut client = world.ready(&[]).await;
    client.ask("tools/list", json!({})).await;

    let status = client.done("daemon_status", json!({})).await;
    assert_eq!((&status["running"], &status["pid"]), (&json!(false), &json!(0)), "{status}");

    let found = client.done("search_secrets", json!({"query": "db"})).await;
    assert_eq!((&found["results"][0]["secret_name"], &found["count"]), (&json!("db"), &json!(2)), "{found}");
    let fields = client.done("inspect_fields", json!({"secret_name": "db"})).await;
    assert_eq!(fields["fields"][1], json!({"label": "password", "type": "CONCEALED"}), "{fields}");

    let id = client.begin("request_secret", json!({"secret_name": "db", "reason": "migrate"})).await;
    world.decide("migrate", "Approve").await;
    assert_eq!(structured(&client.result(id).await)["status"], "approved");
    for line in [
        "echo $P; echo $P >&2; printf %s $P | base64; printf %s $P | xxd -p; printf %s $P | rev",
        "env; set; cat /proc/self/environ; printf 'user:%s' $P | base64; echo $P | sed 's/./& /g'",
        "printf %s $P | tr a-z A-Z; printf %s $P | od -An -tx1; for i in 1 2 3; do printf %s $P; done; exit 5",
    ] {
        let ran = client
            .done(
                "exec_with_secret",
                json!({"secret_name": "db", "field": "password", "env_var": "P", "command": line}),
            )
            .await;
        assert!(ran["stdout"].as_str().unwrap().contains("[redacted:db/password]"), "{ran}");
    }

    let target = format!("{}@127.0.0.1", place.user);
    let login = json!({"secret_name": "deploy-key", "host": target, "port": place.port, "command": "echo in; exit 3"});
    let refused = client.refused("ssh_with_secret", login.clone()).await;
    assert!(refused.contains(&target) && refused.contains("request_secret"), "{refused}");
    let mut ask = login.clone();
    ask["reason"] = "deploy".into();
    let id = client.begin("request_secret", ask).await;
    let message = world.decide("deploy-key", "Approve").await;
    assert!(message.plain.contains(&format!("{target}:{}", place.port)), "{}", message.plain);
    assert!(message.plain.contains("echo in; exit 3") && !message.plain.contains("username"), "{}", message.plain);
    assert_eq!(structured(&client.result(id).await)["fields_available"], json!(["private key"]));
    let ran = client.done("ssh_with_secret", login.clone()).await;
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(3), &json!("in\n")), "{ran}");
    assert_eq!(ran["secret_used"], "deploy-key/private key");
    // another command there, or another host, is another question
    for (member, other) in [("command", json!("id")), ("host", json!("nobody@127.0.0.1")), ("port", json!(1))] {
        let mut other_login = login.clone();
        other_login[member] = other;
        assert!(client.refused("ssh_with_secret", other_login).await.contains("No approval covers this login"));
    }

    let status = client.done("daemon_status", json!({})).await;
    assert_eq!((&status["running"], &status["entry_count"]), (&json!(true), &json!(2)), "{status}");
    assert_eq!(status["socket_path"], world.path("secret-gate.sock").to_str().unwrap());
    assert_eq!(world.asked(), 2);

    let recorded = client.recorded();
    let (code, log) = client.end().await;
    assert!(code == Some(0) && !log.is_empty());
    for value in [PASSWORD, TOKEN, key.as_str()] {
        assert_eq!(leaks(value, &recorded), "", "in what was said");
        assert_eq!(leaks(value, log.as_bytes()), "", "in the log");
    }
    // the search itself finds what is there
    assert_ne!(leaks(PASSWORD, b"{\"a\":\"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5\"}"), "");
    assert_ne!(leaks(&key, key.lines().nth(2).unwrap().as_bytes()), "");
}

/// Where the redactor finds the value, in any shape that it knows.
fn leaks(value: &str, text: &[u8]) -> String {
    let value = SecretValue::from(value);
    let redacted = Redactor::new([("found", &value)]).unwrap().redact(text);
    let redacted = String::from_utf8_lossy(&redacted);
    let at = redacted.find("[redacted:found]");
    at.map(|at| redacted.chars().skip(at.saturating_sub(80)).take(160).collect()).unwrap_or_default()
}
