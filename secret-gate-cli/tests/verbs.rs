//! No verb of the daemon yields the value of an approval that does not say reveal.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in tests, a failure is a panic"
)]

mod gated;
mod silence;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use gated::{Gated, approving};
use secret_gate_core::Use;
use secret_gate_core::daemon::{Call, Exec, Inject, OsText, SocketPath, Ssh, Verb, Way, Wish};
use secret_gate_core::wire::WantedSecret;
use silence::{Search, framed, random_value, sent, vault};
use support::Machine;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

/// Names a verb. Whoever adds one adds it here, where nothing compiles without, and a case to `verbs`, which is missed by
/// `known` otherwise.
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

/// Every verb that the protocol knows: it lists them to who uses another.
fn known() -> BTreeSet<String> {
    let error = serde_json::from_str::<Verb>(r#"{"verb":"?"}"#).unwrap_err().to_string();
    let (_, verbs) = error.split_once("expected one of ").unwrap();
    verbs.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Everything that the daemon says to these bytes, to the end. A call that is whole waits for what it gets, another one
/// is cut off.
async fn heard(machine: &Machine, bytes: &[u8], is_whole: bool) -> Vec<u8> {
    let place = SocketPath::at(machine.path("secret-gate.sock")).unwrap();
    let mut stream = place.connect().await.unwrap();
    // it may hang up on what it does not like
    stream.write_all(bytes).await.ok();
    if !is_whole {
        stream.shutdown().await.ok();
    }
    let mut heard = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut heard)).await;
    // what was not read of a call breaks the connection; what came before counts
    end.expect("the end of a call").ok();
    heard
}

/// The same as text, without the heads of the frames.
async fn said(machine: &Machine, verb: Verb) -> String {
    let heard = heard(machine, &sent(verb), true).await;
    let (mut rest, mut said) = (heard.as_slice(), Vec::new());
    while let Some((head, after)) = rest.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let (content, after) = after.split_at(usize::try_from(length).unwrap());
        said.extend(content);
        rest = after;
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn no_verb_yields_what_was_not_approved_to_be_revealed() {
    let value = random_value();
    let search = Search::of(&value);
    let gated = Gated::over(approving(1), vault(&value, "no key")).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    let args = ["exec", "--secret", "db", "--env", "T=password", "--reason", "r", "--any", "--", "true"];
    assert_eq!(machine.run(&args).await.code, 0);
    let mut tried = BTreeSet::new();
    let mut was_redacted = 0;
    for verb in verbs(&gated) {
        let name = name(&verb);
        tried.insert(name.to_owned());
        let heard = heard(&machine, &sent(verb), true).await;
        let text = String::from_utf8_lossy(&heard);
        assert!(!heard.is_empty() && !search.finds(&heard), "{name}: {text}");
        was_redacted += usize::from(text.contains("[redacted:db/password]"));
    }
    assert_eq!(was_redacted, 4, "the commands had the value");
    assert_eq!(tried, known(), "every verb has a case");
    assert_eq!(gated.asked(), 1, "and nobody was asked");
}

/// Calls that are none, as they are sent.
fn malformed(gated: &Gated) -> Vec<(String, Vec<u8>)> {
    let reveal = |intended: Use| serde_json::to_value(Call::new(Verb::Reveal(wish(gated, intended)))).unwrap();
    let whole = reveal(Use::reveal());
    let json = whole.to_string().into_bytes();
    let frame = framed(0, &json);
    let short = u32::try_from(json.len() - 1).unwrap().to_be_bytes();
    let mut all: Vec<(String, Vec<u8>)> = vec![
        ("nothing".into(), vec![]),
        ("an opening of another kind".into(), [&[7], &frame[1..]].concat()),
        ("a descriptor that does not come".into(), [&[1], &frame[1..]].concat()),
        ("a message too long".into(), [&[0, 255, 255, 255, 255, 0], &json[..]].concat()),
        ("a message just too long".into(), framed(0, &vec![b' '; 4 * 1024 * 1024 + 1])),
        ("a length that is too short".into(), [&[0], &short[..], &frame[5..]].concat()),
        ("an empty message".into(), framed(0, b"")),
        ("no JSON".into(), framed(0, "gib mir das Paßwort 🔑".as_bytes())),
        ("bytes".into(), framed(0, &(0..=255).collect::<Vec<u8>>())),
        ("JSON that is too deep".into(), framed(0, &[b'['; 100_000])),
        ("one and another".into(), [&frame[..], &frame[1..]].concat()),
        ("an event".into(), framed(0, br#"{"protocol":1,"event":"revealed","values":[]}"#)),
        ("two verbs".into(), framed(0, &[&br#"{"verb":"grants","#[..], &json[1..]].concat())),
    ];
    all.extend((1..frame.len()).step_by(7).map(|at| (format!("cut off at {at}"), frame[..at].to_vec())));
    all.extend([1, 2, 3, 255].map(|kind| (format!("a frame of kind {kind}"), framed(kind, &json))));
    let mut with = |member: &str, value: serde_json::Value| {
        let mut call = whole.clone();
        call[member] = value;
        all.push((format!("{member}: {}", call[member]), framed(0, call.to_string().as_bytes())));
    };
    for protocol in [0.into(), 2.into(), "1".into(), (-1).into(), serde_json::Value::Null, 1e300.into()] {
        with("protocol", protocol);
    }
    for verb in ["", "Reveal", "REVEAL", "reveal ", "get", "store", "reveal\0"] {
        with("verb", verb.into());
    }
    for intended in [serde_json::json!({"exec": "all"}), "reveal".into(), serde_json::json!({"exec": ["any"]})] {
        with("use", intended);
    }
    for secrets in [serde_json::json!([]), serde_json::json!({}), serde_json::json!([{"secret_name": ["db"]}])] {
        with("secrets", secrets);
    }
    for server in ["", "file:///etc/passwd", "http://user:word@localhost", "\u{202e}"] {
        with("server", server.into());
    }
    all
}

#[tokio::test]
async fn nor_does_what_is_no_call() {
    let value = random_value();
    let search = Search::of(&value);
    let gated = Gated::over(approving(1), vault(&value, "no key")).await;
    let machine = gated.machine().with("PATH", "/usr/bin:/bin");
    let args = ["exec", "--secret", "db", "--env", "T=password", "--reason", "r", "--any", "--", "true"];
    assert_eq!(machine.run(&args).await.code, 0);
    for (name, bytes) in malformed(&gated) {
        let heard = heard(&machine, &bytes, false).await;
        let text = String::from_utf8_lossy(&heard);
        assert!(heard.is_empty() || text.contains(r#""event":"failed""#), "{name}: {text}");
        assert!(!text.contains("revealed") && !search.finds(&heard), "{name}: {text}");
    }
    assert!(
        said(&machine, Verb::Status).await.contains(r#""entry_count":1"#),
        "it is still there, and holds what it held"
    );
    assert_eq!(gated.asked(), 1, "and nobody was asked");
}

#[tokio::test]
async fn what_was_approved_to_be_revealed_is_found_by_the_same_search() {
    let value = random_value();
    let search = Search::of(&value);
    let gated = Gated::over(approving(1), vault(&value, "no key")).await;
    let machine = gated.machine();
    let get = ["get", "--secret", "db", "--field", "password", "--reason", "r"];
    assert_eq!(machine.run(&get).await.code, 0);
    let heard = heard(&machine, &sent(Verb::Reveal(wish(&gated, Use::reveal()))), true).await;
    assert!(search.finds(&heard), "{}", String::from_utf8_lossy(&heard));
    for form in search.exact() {
        assert!(search.finds(&[b"among ", form.as_slice(), b" others"].concat()));
    }
    let spaced: String = value.chars().map(|c| format!("{c} ")).collect();
    assert!(search.finds(spaced.as_bytes()) && !search.finds(random_value().as_bytes()));
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
