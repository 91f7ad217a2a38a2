//! Running commands with what was approved, and with nothing else.

use serde_json::{Value, json};

use crate::support::{PASSWORD, TOKEN, World, refusal, structured};

fn exec(command: &str) -> Value {
    json!({"secret_name": "db", "field": "password", "env_var": "PGPASSWORD", "command": command})
}

/// The request that an error names.
fn named(refused: &str) -> Value {
    let from = refused.find("request_secret with ").unwrap() + "request_secret with ".len();
    let mut values = serde_json::Deserializer::from_str(&refused[from..]).into_iter::<Value>();
    values.next().unwrap().unwrap()
}

#[tokio::test]
async fn without_an_approval_the_call_to_make_is_named_and_covers_exactly_that() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let mut wanted = exec("echo \"it is $PGPASSWORD\"; test ${#PGPASSWORD} = 21; exit 7");
    wanted["working_dir"] = "sub".into();
    std::fs::create_dir(world.path("sub")).unwrap();
    let refused = client.refused("exec_with_secret", wanted.clone()).await;
    let mut call = named(&refused);
    assert_eq!(world.asked(), 0);
    call["reason"] = "look".into();
    let id = client.begin("request_secret", call).await;
    let message = world.decide("db", "Approve").await;
    assert!(message.plain.contains("it is $PGPASSWORD") && message.plain.contains("password"), "{}", message.plain);
    assert!(!message.plain.contains("username"), "no more than is used:\n{}", message.plain);
    let decision = structured(&client.result(id).await);
    assert_eq!(decision["fields_available"], json!(["password"]), "{decision}");

    let ran = client.done("exec_with_secret", wanted.clone()).await;
    assert_eq!((&ran["exit_code"], &ran["secret_used"]), (&json!(7), &json!("db/password")), "{ran}");
    assert_eq!((&ran["stdout"], &ran["stderr"]), (&json!("it is [redacted:db/password]\n"), &json!("")), "{ran}");

    // another command, folder, variable or field is another question
    let others = [
        exec("echo \"it is $PGPASSWORD\"; test ${#PGPASSWORD} = 21; exit 7"),
        json!({"secret_name": "db", "field": "password", "env_var": "OTHER", "command": wanted["command"], "working_dir": "sub"}),
        json!({"secret_name": "db", "field": "username", "env_var": "PGPASSWORD", "command": wanted["command"], "working_dir": "sub"}),
        json!({"secret_name": "db", "field": "password", "env_var": "PGPASSWORD", "command": "echo", "args": [], "working_dir": "sub"}),
        json!({"secret_name": "db-staging", "field": "password", "env_var": "PGPASSWORD", "command": wanted["command"], "working_dir": "sub"}),
    ];
    for other in others {
        let refused = client.refused("exec_with_secret", other.clone()).await;
        let named = named(&refused);
        for member in ["secret_name", "field", "env_var", "command"] {
            assert_eq!(named[member], other[member], "{refused}");
        }
    }
    let refused = client.refused("ssh_with_secret", json!({"secret_name": "db", "host": "ann@127.0.0.1"})).await;
    assert!(refused.contains("no field that is known to be an SSH key"), "{refused}");
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn any_command_may_run_once_that_was_approved() {
    let world = World::start().await.and("FROM_OUTSIDE", "kept");
    let mut client = world.ready(&[]).await;
    let id = client.begin("request_secret", json!({"secret_name": "db", "reason": "many things"})).await;
    world.decide("many things", "Approve").await;
    assert_eq!(structured(&client.result(id).await)["status"], "approved");

    let ran = client.done("exec_with_secret", exec("echo $FROM_OUTSIDE; pwd; cat")).await;
    let home = world.path("").canonicalize().unwrap();
    let expected = format!("kept\n{}\n", home.to_str().unwrap().trim_end_matches('/'));
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(0), &json!(expected)), "{ran}");

    // a program without a shell, and several variables
    let arguments = json!({"secret_name": "db", "command": "sh", "args": ["-c", "echo $U $P \"$1\"", "sh", "two words; $P"],
        "env": {"U": "username", "P": "password"}});
    let ran = client.done("exec_with_secret", arguments).await;
    assert_eq!(ran["stdout"], "ann [redacted:db/password] two words; $P\n", "{ran}");
    assert_eq!(ran["secret_used"], "db/password, db/username");
    assert!(ran["stderr"].as_str().unwrap().contains("not redacted, since no secret: db/username"), "{ran}");

    let mut slow = exec("echo begun; sleep 600");
    slow["timeout_sec"] = 1.into();
    let ran = client.done("exec_with_secret", slow).await;
    assert_eq!((&ran["exit_code"], &ran["stdout"]), (&json!(-1), &json!("begun\n")), "{ran}");
    assert!(ran["stderr"].as_str().unwrap().contains("killed after 1 s"), "{ran}");

    let ran = client.done("exec_with_secret", exec("head -c 3000000 /dev/zero | tr '\\0' x; echo short >&2")).await;
    let stdout = ran["stdout"].as_str().unwrap();
    assert!(stdout.len() < 1024 * 1024 + 100 && stdout.ends_with("cut off, after 1 MiB]\n"), "{} bytes", stdout.len());
    assert_eq!(ran["stderr"], "short\n");

    for (arguments, words) in [
        (
            json!({"secret_name": "db", "command": "no-such-program", "args": [], "field": "password", "env_var": "P"}),
            "no-such-program",
        ),
        (json!({"secret_name": "db", "command": "true", "field": "password"}), "env_var is missing"),
        (json!({"secret_name": "db", "command": "true", "env_var": "P"}), "no field is named"),
        (json!({"secret_name": "db", "command": "true"}), "gets no value"),
        (json!({"secret_name": "db", "command": "true", "field": "password", "env_var": "LD_PRELOAD"}), "LD_PRELOAD"),
        (
            json!({"secret_name": "db", "command": "true", "field": "password", "env_var": "P", "working_dir": "/nowhere"}),
            "no folder /nowhere",
        ),
        (json!({"secret_name": "db", "command": "true", "env": {"P": "op://infra/db"}}), "no secret reference"),
    ] {
        let refused = client.refused("exec_with_secret", arguments.clone()).await;
        assert!(refused.contains(words), "{arguments}: {refused}");
    }
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn fields_of_several_secrets_come_under_one_approval() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let arguments = json!({"secret_name": "db", "field": "password", "env_var": "P", "env": {"T": "op://other/web/token"},
        "command": "echo $P $T ${#P} ${#T}"});
    let refused = client.refused("exec_with_secret", arguments.clone()).await;
    let mut call = named(&refused);
    call["reason"] = "both".into();
    let id = client.begin("request_secret", call).await;
    let message = world.decide("web", "Once").await;
    assert!(message.plain.contains("db/password") && message.plain.contains("web/token"), "{}", message.plain);
    let decision = structured(&client.result(id).await);
    assert!(decision["message"].as_str().unwrap().contains("for one use"), "{decision}");
    let ran = client.done("exec_with_secret", arguments.clone()).await;
    let lengths = format!("{} {}", PASSWORD.len(), TOKEN.len());
    assert_eq!(ran["stdout"], format!("[redacted:db/password] [redacted:web/token] {lengths}\n"), "{ran}");
    assert_eq!(ran["secret_used"], "db/password, web/token");
    // that was the one use
    assert!(client.refused("exec_with_secret", arguments).await.contains("No approval covers"));
    assert_eq!(world.asked(), 1);
}

#[tokio::test]
async fn secrets_of_one_title_are_told_apart_and_not_exchanged() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let arguments = |s: &str, p: &str| {
        let reference = |vault: &str| format!("op://{vault}/twin/password");
        json!({"secret_name": "x", "command": "echo ${#S} ${#P}", "env": {"S": reference(s), "P": reference(p)}})
    };
    let mut wanted = arguments("infra", "other");
    wanted["reason"] = "both".into();
    let id = client.begin("request_secret", wanted).await;
    let message = world.decide("twin", "Approve").await;
    assert!(message.plain.contains("P=other/twin/password, S=infra/twin/password"), "{}", message.plain);
    client.result(id).await;
    let ran = client.done("exec_with_secret", arguments("infra", "other")).await;
    assert_eq!(ran["stdout"], format!("{0} {0}\n", PASSWORD.len()), "{ran}");
    let refused = client.refused("exec_with_secret", arguments("other", "infra")).await;
    assert!(refused.contains("No approval covers"), "{refused}");
}

#[tokio::test]
async fn whoever_leaves_takes_the_command_along() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let id = client.begin("request_secret", json!({"secret_name": "db", "reason": "r"})).await;
    world.decide("db", "Approve").await;
    client.result(id).await;
    for cancels in [true, false] {
        let file = world.path("pid");
        let mut command = exec("trap '' TERM; echo $$ > pid.new; mv pid.new pid; while :; do sleep 0.1; done");
        command["timeout_sec"] = 600.into();
        let id = client.begin("exec_with_secret", command).await;
        let pid = eventually(|| std::fs::read_to_string(&file).ok()).await;
        std::fs::remove_file(&file).unwrap();
        if cancels {
            client.cancel(id).await;
        } else {
            assert_eq!(client.end().await.0, Some(0));
            client = world.ready(&[]).await;
        }
        let process = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
        eventually(|| (!process.exists()).then_some(())).await;
    }
    // the daemon goes on
    assert_eq!(client.done("daemon_status", json!({})).await["entry_count"], 1);
}

#[tokio::test]
async fn an_approval_that_was_taken_back_ends_the_command() {
    let world = World::start().await;
    let mut client = world.ready(&[]).await;
    let id = client.begin("request_secret", json!({"secret_name": "db", "reason": "r"})).await;
    world.decide("db", "Approve").await;
    client.result(id).await;
    let mut command = exec("echo > started; sleep 600");
    command["timeout_sec"] = 600.into();
    let id = client.begin("exec_with_secret", command).await;
    eventually(|| world.path("started").exists().then_some(())).await;
    let flush = world.daemon("flush");
    assert!(flush.contains("\"count\":1"), "{flush}");
    let refused = refusal(&client.result(id).await);
    assert!(refused.contains("taken back") && refused.contains("Do not ask again"), "{refused}");
}

/// Waits until there is something.
async fn eventually<T: Send>(look: impl Fn() -> Option<T> + Send + Sync) -> T {
    let wait = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, wait).await.expect("it does not come")
}
