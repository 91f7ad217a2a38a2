//! No verb of the daemon yields the value of an approval that does not say reveal.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use gated::{Gated, approving};
use secret_gate_core::Use;
use secret_gate_core::daemon::{Answer, Exec, Inject, OsText, SocketPath, Ssh, Verb, Way, Wish, call};
use secret_gate_core::wire::WantedSecret;
use support::Machine;

const VALUE: &str = "s3cret-value";

/// What the daemon holds for an approval of any command, of the whole item.
fn wish(gated: &Gated, intended_use: Use) -> Wish {
    Wish {
        server: gated.url.parse::<secret_gate_core::client::ServerUrl>().unwrap().to_string(),
        secrets: vec![WantedSecret { secret_name: "db".into(), vault: None, fields: Some(vec!["password".into()]) }],
        intended_use,
        only_held: true,
        ..Wish::default()
    }
}

/// Every verb, in each way that could lead to the value. `name` does not compile without a verb that is new.
fn verbs(gated: &Gated) -> Vec<Verb> {
    let text = |text: &str| OsText::Text(text.to_owned());
    let exec = |line: &str, into: Way| {
        let inject = vec![Inject { secret: 0, field: "password".into(), into }];
        let argv = vec![text("/bin/sh"), text("-c"), text(line)];
        let env = vec![(text("PATH"), text("/usr/bin:/bin"))];
        let wish = wish(gated, Use::any_command());
        Verb::Exec(Exec {
            wish,
            argv,
            working_dir: text("/"),
            env,
            inject,
            timeout_ms: Some(10_000),
            output_limit: None,
        })
    };
    let ssh = Ssh {
        wish: wish(gated, Use::any_host()),
        field: Some("password".into()),
        target: "localhost".into(),
        port: None,
        command: None,
        working_dir: text("/"),
        env: Vec::new(),
        timeout_ms: None,
        output_limit: None,
    };
    let every_use = {
        let mut every = Use::reveal();
        (every.exec, every.ssh) = (Use::any_command().exec, Use::any_host().ssh);
        every
    };
    let mut verbs = vec![
        Verb::Status,
        Verb::Grants,
        Verb::Ssh(ssh),
        exec("echo $T; echo $T >&2", Way::Variable("T".into())),
        exec("printf %s $T | base64; printf %s $T | od -An -tx1; echo $T | rev", Way::Variable("T".into())),
        exec("cat", Way::Stdin),
        exec("cat $T", Way::File("T".into())),
        exec("true", Way::Variable("LD_PRELOAD".into())),
    ];
    for intended in [Use::any_command(), Use::any_host(), Use::reveal(), every_use, Use::default()] {
        verbs.push(Verb::Request(wish(gated, intended.clone())));
        verbs.push(Verb::Reveal(wish(gated, intended)));
    }
    // these end what is held, so they come last
    verbs.extend([Verb::Revoke { id: Some("none".into()) }, Verb::Flush, Verb::Revoke { id: None }, Verb::Stop]);
    verbs
}

/// Names a verb. Whoever adds one adds it here, and a case to `verbs`, which the count below misses otherwise.
fn name(verb: &Verb) -> &'static str {
    match verb {
        Verb::Request(_) => "request",
        Verb::Reveal(_) => "reveal",
        Verb::Exec(_) => "exec",
        Verb::Ssh(_) => "ssh",
        Verb::Grants => "grants",
        Verb::Revoke { .. } => "revoke",
        Verb::Flush => "flush",
        Verb::Status => "status",
        Verb::Stop => "stop",
    }
}

/// Everything that the daemon says to this call, as text.
async fn said(machine: &Machine, verb: Verb) -> String {
    let place = SocketPath::at(machine.path("secret-gate.sock")).unwrap();
    let mut answers = call(place.connect().await.unwrap(), verb).await.unwrap();
    let mut said = String::new();
    let everything = async {
        while let Some(answer) = answers.next().await.unwrap() {
            match answer {
                Answer::Event(event) => said.push_str(&serde_json::to_string(&event).unwrap()),
                Answer::Output(bytes) | Answer::ErrorOutput(bytes) => said.push_str(&String::from_utf8_lossy(&bytes)),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), everything).await.expect("the end of a call");
    said
}

/// Whether the value, or an encoding of it, is in there.
fn shows(said: &str) -> bool {
    let squeezed: String = said.chars().filter(|c| !c.is_whitespace()).collect();
    let reversed: String = VALUE.chars().rev().collect();
    [VALUE.to_owned(), reversed, BASE64.encode(VALUE.as_bytes()), HEXLOWER.encode(VALUE.as_bytes())]
        .iter()
        .any(|form| squeezed.contains(form))
}

#[tokio::test]
async fn no_verb_yields_what_was_not_approved_to_be_revealed() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    let args = ["exec", "--secret", "db", "--env", "T=password", "--reason", "r", "--any", "--", "true"];
    assert_eq!(machine.run(&args).await.code, 0);
    let mut tried = std::collections::BTreeSet::new();
    let mut was_redacted = 0;
    for verb in verbs(&gated) {
        let name = name(&verb);
        tried.insert(name);
        let heard = said(&machine, verb).await;
        assert!(!heard.is_empty() && !shows(&heard), "{name}: {heard}");
        was_redacted += usize::from(heard.contains("[redacted:db/password]"));
    }
    assert_eq!(was_redacted, 4, "the commands had the value");
    assert_eq!(tried.len(), 9);
    assert_eq!(gated.asked(), 1, "and nobody was asked");
}

#[tokio::test]
async fn what_was_approved_to_be_revealed_is_found_by_the_same_search() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine();
    let get = ["get", "--secret", "db", "--field", "password", "--reason", "r"];
    assert_eq!(machine.run(&get).await.code, 0);
    let heard = said(&machine, Verb::Reveal(wish(&gated, Use::reveal()))).await;
    assert!(shows(&heard), "{heard}");
    for form in ["s 3\ncret-value", "eulav-terc3s", "czNjcmV0LXZhbHVl", "7333637265742d76616c7565"] {
        assert!(shows(form), "{form}");
    }
}

#[tokio::test]
async fn what_was_approved_for_one_variable_gets_into_no_other() {
    let gated = Gated::start(approving(1)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    std::fs::write(machine.path(".env"), "X=op://infra/db/password\nY=op://infra/web/user\n").unwrap();
    let file = machine.path(".env").to_str().unwrap().to_owned();
    let line = "echo ${#X} $Y; env | grep -c ^BASH_ENV";
    let run = machine.run(&["run", "--env-file", &file, "--reason", "r", "--", "/bin/sh", "-c", line]).await;
    assert_eq!(run.out, "12 ann\n0\n", "{run:?}");

    let approved = gated.human.asked(0).await.question.intended_use.clone().unwrap();
    let folder = std::env::current_dir().unwrap().to_str().unwrap().to_owned();
    let text = |text: &str| OsText::Text(text.to_owned());
    let call = |x: (usize, &str), y: (usize, &str)| {
        let secret = |name: &str, field: &str| WantedSecret {
            secret_name: name.into(),
            vault: Some("infra".into()),
            fields: Some(vec![field.into()]),
        };
        let secrets = vec![secret("db", "password"), secret("web", "user")];
        let into = |(secret, field): (usize, &str), name: &str| Inject {
            secret,
            field: field.to_owned(),
            into: Way::Variable(name.to_owned()),
        };
        Verb::Exec(Exec {
            wish: Wish { secrets, ..wish(&gated, approved.clone()) },
            argv: vec![text("/bin/sh"), text("-c"), text(line)],
            working_dir: text(&folder),
            // a name with `=` in it would be another variable to the command
            env: vec![(text("PATH"), text("/usr/bin:/bin")), (text("BASH_ENV=/tmp/x"), text(""))],
            inject: vec![into(x, "X"), into(y, "Y")],
            timeout_ms: Some(10_000),
            output_limit: None,
        })
    };
    let (x, y) = ((0, "password"), (1, "user"));
    assert!(said(&machine, call(x, y)).await.contains("12 ann\n0\n"));
    for (x, y) in [(y, x), (x, x), (y, y)] {
        let heard = said(&machine, call(x, y)).await;
        assert!(heard.contains("not_granted") && !heard.contains("12"), "{heard}");
    }
    assert_eq!(gated.asked(), 1);
}
