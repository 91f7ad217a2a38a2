//! What the daemon holds: one-time codes, and what is good for one use.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod gated;
mod support;

use std::time::Duration;

use gated::{Gated, approving};
use secret_gate_core::client::ServerUrl;
use secret_gate_core::daemon::{
    Answer, Answers, Event, Exec, Failure, FailureKind, Inject, OsText, SocketPath, Verb, Way, Wish, call,
};
use secret_gate_core::wire::WantedSecret;
use secret_gate_core::{Decision, Field, FieldKind, Item, Keep, MemoryBackend, ScriptedApprover, Use};
use support::Machine;

const SEED: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

async fn with_codes(human: ScriptedApprover) -> (Gated, Machine) {
    let field = |name: &str, kind: FieldKind, value: &str| Field::new(name, name, kind, value);
    let item = Item::new("i1", "v1", "github")
        .with_field(field("password", FieldKind::concealed(), "s3cret-value"))
        .with_field(field("code", FieldKind::one_time_password(), SEED));
    let gated = Gated::over(human, MemoryBackend::new().with_vault("v1", "infra").with_item(item)).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    (gated, machine)
}

fn is_code(text: &str) -> bool {
    text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[tokio::test]
async fn codes_are_computed_at_each_use_from_a_seed_that_nobody_gets() {
    let (gated, machine) = with_codes(approving(3)).await;
    // two digits of it are not redacted, and all of it is
    let line = "printf '%s %s %s\n' ${#C} $C ${C%????}";
    let shell = ["--", "/bin/sh", "-c", line];
    for any in [&[][..], &["--any"]] {
        let args = ["exec", "--secret", "github", "--env", "C=code?attribute=otp", "--reason", "r"];
        for _ in 0..2 {
            let run = machine.run(&[&args[..], any, &shell].concat()).await;
            let digits = run.out.strip_prefix("6 [redacted:github/code?attribute=otp] ").map(str::trim);
            assert!(run.code == 0 && digits.is_some_and(|two| two.parse::<u8>().is_ok()), "{run:?}");
        }
    }
    assert_eq!(gated.asked(), 2, "one question for this command, one for any");
    let question = gated.human.asked(0).await.question;
    let shown: Vec<_> = question.items[0].fields.iter().map(|field| (field.name.as_str(), field.is_seed)).collect();
    assert_eq!(shown, [("code", true)], "the human sees that the seed is released");

    // by its own label a command gets the code as well
    let lengths = "echo ${#C} $(cat $F | wc -c); env | grep -c GEZD";
    let inject = |label: &str, into: Way| Inject { secret: 0, field: label.into(), into };
    let both = vec![inject("code", Way::Variable("C".into())), inject("code", Way::File("F".into()))];
    let heard = said(&machine, exec(held(&gated, "github", "code", Use::any_command()), both, lengths)).await;
    assert!(heard.contains("6 6\n0\n"), "{heard}");
    let revealed = said(&machine, Verb::Reveal(held(&gated, "github", "code", Use::any_command()))).await;
    assert!(revealed.contains("not_granted") && !revealed.contains(SEED), "{revealed}");

    // whoever may see the code gets that one, and the seed stays where it is
    let get = ["get", "--secret", "github", "--field", "code?attribute=otp", "--reason", "r"];
    let run = machine.run(&get).await;
    assert!(run.code == 0 && is_code(run.out.trim_end()), "{run:?}");
    let question = gated.human.asked(2).await.question;
    assert!(!question.items[0].fields[0].is_seed, "{question:?}");
    assert_eq!(gated.asked(), 3);
    let held = machine.run(&["grants", "--format", "json"]).await.out;
    assert_eq!(held.matches("\"grant\"").count(), 2, "a code that was given away is not held: {held}");
}

#[tokio::test]
async fn a_seed_that_was_approved_to_be_revealed_gives_codes_too() {
    let (gated, machine) = with_codes(approving(1)).await;
    let whole = machine.run(&["--secret", "github", "--field", "code"]).await;
    assert_eq!(whole.out, format!("{SEED}\n"), "as older scripts do: {whole:?}");
    for args in [
        vec!["get", "--secret", "github", "--field", "code?attribute=otp", "--reason", "r"],
        vec!["read", "op://infra/github/code?attribute=otp", "--reason", "r"],
    ] {
        let run = machine.run(&args).await;
        assert!(run.code == 0 && is_code(run.out.trim_end()), "{args:?}: {run:?}");
    }
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn what_is_no_seed_gives_no_codes() {
    let (gated, machine) = with_codes(approving(1)).await;
    let args = ["exec", "--secret", "github", "--env", "C=password?attribute=otp", "--reason", "r", "--any"];
    let run = machine.run(&[&args[..], &["--", "true"]].concat()).await;
    assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
    assert!(run.err.contains("password is no seed of one-time codes"), "{run:?}");
    assert_eq!(gated.asked(), 1);
}

/// A wish that only what is held can fulfil.
fn held(gated: &Gated, item: &str, field: &str, intended_use: Use) -> Wish {
    Wish { only_held: true, ..wish(gated, &[(item, field)], intended_use) }
}

fn wish(gated: &Gated, fields: &[(&str, &str)], intended_use: Use) -> Wish {
    let secret = |(item, field): &(&str, &str)| WantedSecret {
        secret_name: (*item).to_owned(),
        vault: None,
        fields: Some(vec![(*field).to_owned()]),
    };
    Wish {
        server: gated.url.parse::<ServerUrl>().unwrap().to_string(),
        secrets: fields.iter().map(secret).collect(),
        intended_use,
        ..Wish::default()
    }
}

fn exec(wish: Wish, inject: Vec<Inject>, line: &str) -> Verb {
    let text = |text: &str| OsText::Text(text.to_owned());
    Verb::Exec(Exec {
        wish,
        argv: vec![text("/bin/sh"), text("-c"), text(line)],
        working_dir: text("/"),
        env: vec![(text("PATH"), text("/usr/bin:/bin"))],
        inject,
        timeout_ms: Some(60_000),
        output_limit: None,
    })
}

fn password() -> Vec<Inject> {
    vec![Inject { secret: 0, field: "password".into(), into: Way::Variable("P".into()) }]
}

/// Everything that the daemon says to this call, as text.
async fn said(machine: &Machine, verb: Verb) -> String {
    let (output, event) = called(machine, verb).await;
    format!("{output}{}", serde_json::to_string(&event).unwrap())
}

fn place(machine: &Machine) -> SocketPath {
    SocketPath::at(machine.path("secret-gate.sock")).unwrap()
}

/// What a command printed, and how the call ended.
async fn called(machine: &Machine, verb: Verb) -> (String, Event) {
    called_at(place(machine), verb).await
}

async fn called_at(place: SocketPath, verb: Verb) -> (String, Event) {
    to_its_end(call(place.connect().await.unwrap(), verb).await.unwrap()).await
}

async fn to_its_end(mut answers: Answers) -> (String, Event) {
    let (mut output, mut last) = (String::new(), None);
    let everything = async {
        while let Some(answer) = answers.next().await.unwrap() {
            match answer {
                Answer::Event(event) => last = Some(*event),
                Answer::Output(bytes) | Answer::ErrorOutput(bytes) => output.push_str(&String::from_utf8_lossy(&bytes)),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), everything).await.unwrap();
    (output, last.unwrap())
}

fn for_one_use() -> Decision {
    Decision::approve_for("Ann", Keep::Once)
}

fn is_refused(event: &Event) -> bool {
    matches!(event, Event::Failed(Failure { kind: FailureKind::NotGranted, .. }))
}

#[tokio::test]
async fn one_use_is_kept_until_it_is_used_and_used_once_by_however_many() {
    let gated = Gated::start(ScriptedApprover::new().then(for_one_use())).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    assert_eq!(machine.run(&["daemon", "start"]).await.code, 0);
    let password_of_db = [("db", "password")];
    for cached in [false, true] {
        // asking uses nothing up
        let (_, event) = called(&machine, Verb::Request(wish(&gated, &password_of_db, Use::any_command()))).await;
        let Event::Granted(granted) = event else { panic!("{event:?}") };
        assert!(granted.cached == cached && granted.grant.unwrap().once);
    }
    // nor does a call that could not begin
    let wanted = || held(&gated, "db", "password", Use::any_command());
    let typo = vec![Inject { field: "passwort".into(), ..password().remove(0) }];
    let (_, event) = called(&machine, exec(wanted(), typo, "true")).await;
    assert!(matches!(event, Event::Failed(Failure { kind: FailureKind::UnknownField, .. })), "{event:?}");

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        calls.spawn(called_at(place(&machine), exec(wanted(), password(), "echo ran; echo ${#P}")));
    }
    let ended = calls.join_all().await;
    let (ran, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(output, _)| output.contains("ran\n12"));
    assert_eq!(ran.len(), 1, "{ran:?}");
    assert!(matches!(ran[0].1, Event::Exited { code: 0, .. }));
    assert!(refused.iter().all(|(output, event)| output.is_empty() && is_refused(event)), "{refused:?}");
    assert_eq!(machine.run(&["grants", "--format", "json"]).await.out, "[]\n");
    assert_eq!(gated.asked(), 1);
}

#[tokio::test]
async fn one_use_is_not_used_up_where_another_secret_was_denied() {
    let gated = Gated::start(ScriptedApprover::new().then(for_one_use()).then(Decision::deny("Ann"))).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    assert_eq!(machine.run(&["daemon", "start"]).await.code, 0);
    called(&machine, Verb::Request(wish(&gated, &[("db", "password")], Use::any_command()))).await;
    let both = wish(&gated, &[("db", "password"), ("web", "password")], Use::any_command());
    let (_, event) = called(&machine, exec(both, password(), "true")).await;
    assert!(matches!(event, Event::Failed(Failure { kind: FailureKind::Denied, .. })), "{event:?}");
    let (output, event) =
        called(&machine, exec(held(&gated, "db", "password", Use::any_command()), password(), "echo ${#P}")).await;
    assert!(output == "12\n" && matches!(event, Event::Exited { code: 0, .. }), "{output} {event:?}");
    assert_eq!(gated.asked(), 2);
}

#[tokio::test]
async fn of_two_who_wait_for_one_use_one_gets_it() {
    let gated = Gated::start(ScriptedApprover::new()).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    assert_eq!(machine.run(&["daemon", "start"]).await.code, 0);
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let wanted = wish(&gated, &[("db", "password")], Use::any_command());
        let verb = exec(wanted, password(), "echo ran");
        let mut answers = call(place(&machine).connect().await.unwrap(), verb).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(60), answers.next()).await.unwrap().unwrap();
        assert!(matches!(heard, Some(Answer::Event(event)) if matches!(*event, Event::Asked { .. })));
        waiting.push(answers);
    }
    gated.human.asked(0).await.ballot.cast(for_one_use()).await.unwrap();
    let mut ran = Vec::new();
    for answers in waiting {
        let (output, event) = to_its_end(answers).await;
        ran.push(output == "ran\n");
        assert!(is_refused(&event) != ran[ran.len() - 1], "{event:?}");
    }
    assert_eq!(ran.iter().filter(|ran| **ran).count(), 1);
    assert_eq!(gated.asked(), 1);
}
