use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use unicode_general_category::{GeneralCategory, get_general_category};

use super::super::testing::question;
use super::visible::{clamped, name, shown};
use super::wrap::{AFTER_A_SPACE, QUOTE, WITHIN_A_WORD};
use super::*;
use crate::approver::{Approval, AskedField, AskedItem, Said};
use crate::{ExactCommand, ExactHost, Grant, Requester, Scope, Use};

/// What people read, and the number of tagged parts; panics when the HTML is not ours.
fn parse(html: &str) -> (String, usize) {
    let (mut text, mut open, mut parts) = (String::new(), Vec::new(), 0);
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&', '>']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((entity, c)) = [("&lt;", '<'), ("&gt;", '>'), ("&amp;", '&')].iter().find(|e| rest.starts_with(e.0))
        {
            text.push(*c);
            rest = &rest[entity.len()..];
            continue;
        }
        let end = rest.find('>').expect("a tag that ends");
        let tag = &rest[1..end];
        match tag.strip_prefix('/') {
            Some(tag) => assert_eq!(open.pop(), Some(tag)),
            None => {
                assert!(["b", "code", "blockquote"].contains(&tag), "{tag}");
                open.push(tag);
                parts += 1;
            }
        }
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    assert!(open.is_empty());
    (text, parts)
}

/// The marks around right-to-left text.
const ISOLATES: [char; 2] = ['\u{2068}', '\u{2069}'];

/// The lines of the message without what wrapping them added, and without isolates, which wrapping repeats.
fn unwrapped(text: &str) -> String {
    let mut whole = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.strip_prefix(QUOTE).unwrap_or(line);
        let after_a_space = line.strip_prefix(AFTER_A_SPACE);
        match after_a_space.or_else(|| line.strip_prefix(WITHIN_A_WORD)) {
            Some(rest) => {
                whole.push_str(if after_a_space.is_some() { " " } else { "" });
                whole.push_str(rest);
            }
            None => {
                whole.push_str(if index > 0 { "\n" } else { "" });
                whole.push_str(line);
            }
        }
    }
    whole.replace(ISOLATES, "")
}

fn check(question: &Question, outcome: Option<&Outcome>) -> Option<String> {
    let html = match html(question, outcome) {
        Ok(html) => html,
        Err(ApproverError::TooLongToShow { length, limit }) => {
            assert!(length > limit);
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let (text, parts) = parse(&html);
    let wrapped = plain(question, outcome).unwrap();
    assert_eq!(text.replace(ISOLATES, ""), unwrapped(&wrapped));
    for line in wrapped.lines() {
        assert!(line.chars().filter(|c| !ISOLATES.contains(c)).count() <= 76, "{line}");
        let marks: Vec<_> = line.chars().filter(|c| ISOLATES.contains(c)).collect();
        assert!(marks.chunks(2).all(|pair| *pair == ISOLATES), "{line}");
    }
    let (_, quote) = html.split_once("<blockquote>").unwrap_or_default();
    let (quote, _) = quote.split_once("</blockquote>").unwrap_or_default();
    let quoted: Vec<_> = wrapped.lines().filter_map(|line| line.strip_prefix(QUOTE)).collect();
    assert_eq!(parse(quote).0.replace(ISOLATES, ""), unwrapped(&quoted.join("\n")));
    assert!(text.encode_utf16().count() <= MESSAGE_LIMIT);
    assert!(parts <= 100, "{parts} tagged parts");
    let hidden = |c: char| {
        use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, Unassigned};
        let category = get_general_category(c);
        !matches!(c, '\n' | '\u{2068}' | '\u{2069}')
            && matches!(category, Control | Format | LineSeparator | ParagraphSeparator | PrivateUse | Unassigned)
    };
    assert!(!text.contains(hidden), "{text:?}");
    Some(text)
}

#[test]
fn reads_like_this() {
    let mut broker = question("4f2a91c0");
    let mut host = ExactHost::new("prod");
    (host.user, host.command) = (Some("deploy".into()), Some("kubectl rollout restart deployment/app".into()));
    broker.intended_use = Some(Use::host(host));
    broker.said = Said {
        machine: Some("build-vm-3".into()),
        agent: Some("Claude Code 2.1.330".into()),
        working_dir: Some("~/src/shop".into()),
        reason: Some("deploy app to production".into()),
    };
    let expected = "🔐 Secret request

Checked by the gate
Secret: prod-deploy-key · vault infra · private_key
Use: ssh to deploy@prod:22 running kubectl rollout restart deployment/app
Asked by: build-vm-3 (broker) · 10.0.0.7

Said by the requester
Agent: Claude Code 2.1.330
Machine: build-vm-3
Folder: ~/src/shop
Reason: deploy app to production

Keeps it 1 h
Open until 22:28 UTC · request 4f2a91c0
Audit 4711:3f2a91c04b7d6e55";
    assert_eq!(check(&broker, None).unwrap(), expected);

    let mut anybody = question("77b3e05d");
    anybody.requester = Requester::unauthenticated().at("203.0.113.9");
    anybody.items[0].fields.push(AskedField { name: "a, b".into(), is_seed: true });
    (anybody.keep, anybody.said) = (None, Said::default());
    let expected = "🔐 Secret request

Checked by the gate
Secret: prod-deploy-key · vault infra · private_key, \"a, b\" (⚠ one-time-password seed)
Use: receives the value (says: run any command)
Asked by: unauthenticated · 203.0.113.9

Open until 22:28 UTC · request 77b3e05d
Audit 4711:3f2a91c04b7d6e55

⌛ Expired, nobody answered in time";
    assert_eq!(check(&anybody, Some(&Outcome::Expired { unused: None })).unwrap(), expected);
    anybody.intended_use = None;
    anybody.expires_at += Duration::from_secs(86_400);
    let text = check(&anybody, None).unwrap();
    assert!(text.contains("\nUse: receives the value\n") && text.contains("22:28 UTC on 2023-11-15"), "{text}");
}

#[test]
fn plain_text_shows_what_each_piece_of_a_line_belongs_to() {
    let mut asked = question("4f2a91c0");
    // padded so that a terminal of 80 columns would begin its second line with words of ours
    let forged = format!("{:-<72}Checked by the gate", "");
    asked.said.reason = Some(format!("{forged} {} end", "ab ".repeat(25).trim_end()));
    let mut command = ExactCommand::new(["sh", "-c"], "/srv/x", "/bin/sh", "f".repeat(64));
    command.argv.push(format!("{:-<61}Asked by: unauthenticated", ""));
    asked.intended_use = Some(Use::command(command));
    asked.items[0].title = "שלום ".repeat(20).trim_end().to_owned();
    let expected = "🔐 Secret request

Checked by the gate
Secret: \u{2068}\"שלום שלום שלום שלום שלום שלום שלום\u{2069}
  \u{2068}שלום שלום שלום שלום שלום שלום שלום שלום\u{2069}
  \u{2068}שלום שלום שלום שלום שלום\"\u{2069} · vault infra ·
  private_key
Use: run sh -c '------------------------------------------------------------
↪ -Asked by: unauthenticated'
Program: /bin/sh
A shell line: programs and scripts that it calls are not checked
Starts in: /srv/x
Asked by: build-vm-3 (broker) · 10.0.0.7

Said by the requester
│ Reason: ------------------------------------------------------------------
│ ↪ ------Checked by the gate ab ab ab ab ab ab ab ab ab ab ab ab ab ab ab
│   ab ab ab ab ab ab ab ab ab ab end

Keeps it 1 h
Open until 22:28 UTC · request 4f2a91c0
Audit 4711:3f2a91c04b7d6e55";
    let text = plain(&asked, None).unwrap();
    assert_eq!(text, expected);
    check(&asked, None).unwrap();
}

#[test]
fn ids_stand_beside_items_that_look_alike() {
    let mut asked = question("1");
    asked.items[0].ids = Some("vaults/v1/items/i\n1".into());
    let text = check(&asked, None).unwrap();
    assert!(text.contains("\nSecret: prod-deploy-key · vault infra · vaults/v1/items/i⏎1 · private_key\n"), "{text}");
}

#[test]
fn who_receives_the_value() {
    let line = |broker: bool, wanted: Option<Use>| {
        let asked = Question { requester: Requester::with_key("k", broker), intended_use: wanted, ..question("1") };
        let text = plain(&asked, None).unwrap();
        let (_, from) = text.split_once("\nUse: ").unwrap();
        let (line, _) = from.split_once("\nAsked by: ").unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let both = Use { ssh: Some(Scope::Any), ..Use::any_command() };
    let all = Use { reveal: true, ..both.clone() };
    assert_eq!(line(true, None), "receives the value");
    assert_eq!(line(true, Some(Use::reveal())), "receives the value");
    let text = "run any command; ssh to any host, with the key in the requester's ssh-agent";
    assert_eq!(line(true, Some(both.clone())), text);
    assert_eq!(line(true, Some(all.clone())), format!("receives the value; {text}"));
    assert_eq!(line(false, None), "receives the value");
    assert_eq!(line(false, Some(Use::reveal())), "receives the value");
    assert_eq!(line(false, Some(both)), "receives the value (says: run any command; ssh to any host)");
    assert_eq!(line(false, Some(all)), "receives the value (says: run any command; ssh to any host)");
}

#[test]
fn an_exact_command_is_shown_whole() {
    let command = ExactCommand::new(["env", "-c", "a b\nc", ""], "/srv/x", "/bin/env", "f".repeat(64));
    let command = command.with_env("TOKEN", "token").with_env("URL", "a, b");
    let command = command.with_file("KEY", "private key").with_stdin("password\nUse: none");
    let asked = Question { intended_use: Some(Use::command(command)), ..question("1") };
    let text = check(&asked, None).unwrap();
    for part in [
        "\nUse: run env -c 'a b⏎c' ''\n",
        "\nProgram: /bin/env\n",
        &format!("\nSHA-256: {}\n", "f".repeat(64)),
        "\nStarts in: /srv/x\n",
        "\nVariables: TOKEN=token, URL=\"a, b\"\n",
        "\nFiles named by variables: KEY=private key\n",
        "\nStandard input: \"password⏎Use: none\"\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn only_a_shell_of_the_system_is_shown_as_one() {
    let hash = format!("SHA-256: {}", "f".repeat(64));
    for (argv, program, is_line) in [
        (["sh", "-c", "./migrate"], "/usr/bin/dash", true),
        (["sh", "-c", "./migrate"], "/tmp/bin/dash", false),
        (["sh", "-e", "./migrate"], "/usr/bin/dash", false),
        (["curl", "-c", "jar"], "/usr/bin/curl", false),
    ] {
        let command = Use::command(ExactCommand::new(argv, "/srv/x", program, "f".repeat(64)));
        let asked = Question { intended_use: Some(command), ..question("1") };
        let text = check(&asked, None).unwrap();
        assert!(text.contains("A shell line: ") == is_line && text.contains(&hash) != is_line, "{program}: {text}");
    }
}

#[test]
fn an_exact_use_that_nobody_vouches_for_stands_where_the_requester_speaks() {
    let padding = " ".repeat(300) + "Asked by: build-vm-3 (broker)";
    let command = ExactCommand::new(["sh", "-c", padding.as_str()], "/srv/x", "/bin/sh", "f".repeat(64));
    let host = ExactHost { command: Some(padding), ..ExactHost::new("prod") };
    let exact = Use { ssh: Some(Scope::Exact(host)), ..Use::command(command) };
    let asked = Question { requester: Requester::with_key("k", false), intended_use: Some(exact), ..question("1") };
    let text = check(&asked, None).unwrap();
    assert!(text.contains("\nUse: receives the value (says: run the command below; log in as below)\n"), "{text}");
    let (checked, said) = text.split_once("Said by the requester").unwrap();
    assert!(!checked.contains("broker") && !checked.contains("/bin/sh"), "{checked}");
    for part in ["Command: sh -c ", "Program: /bin/sh", "Starts in: /srv/x", "ssh to prod:22 running ␣"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    for line in plain(&asked, None).unwrap().lines().skip_while(|line| !line.starts_with('│')) {
        assert!(!line.trim_start().starts_with("Asked by"), "{line}");
    }
}

#[test]
fn what_can_not_be_seen_is_named() {
    let reason = " a  b\u{202E}\t\r\n\u{200B}\u{3164}\u{E0041}\u{FE0F}\u{A0}⏎x ";
    let text = shown(reason);
    assert_eq!(text, "␣a␣␣b⟨U+202E⟩⇥⟨U+000D⟩⏎⟨U+200B⟩⟨U+3164⟩⟨U+E0041⟩⟨U+FE0F⟩⟨U+00A0⟩⟨U+23CE⟩x␣");
    assert_eq!(shown("e\u{301}\u{301}\u{301}\u{301}"), "e\u{301}\u{301}\u{301}⟨U+0301⟩");
    assert_eq!(shown("\u{336}"), "⟨U+0336⟩");
    assert_eq!(shown("שלום"), "\u{2068}שלום\u{2069}");
}

#[test]
fn how_it_ended() {
    let at = SystemTime::UNIX_EPOCH;
    let grant = |once| Some(Grant::new("g", Use::reveal(), at + Duration::from_secs(5400), once));
    let approval = |grant| Approval { by: "Ann (@ann, 42)".into(), grant, at, audit: None };
    let audit = || "9:3f2a91c04b7d6e55".parse().ok();
    let cases = [
        (Outcome::Approved(approval(grant(false))), "✅ Approved by Ann (@ann, 42) for 1 h 30 min"),
        (Outcome::Approved(approval(grant(true))), "✅ Approved by Ann (@ann, 42) for one use"),
        (Outcome::Denied { by: "A\nB".into() }, "❌ Denied by A⏎B"),
        (Outcome::Expired { unused: Some(approval(None)) }, "⌛ Expired, although approved by Ann (@ann, 42)"),
        (Outcome::Withdrawn, "↩ Withdrawn by the requester"),
        (Outcome::Released(approval(None)), "📤 Released, approved by Ann (@ann, 42)"),
        (
            Outcome::Released(Approval { audit: audit(), ..approval(grant(true)) }),
            "📤 Released, approved by Ann (@ann, 42) for one use · audit 9:3f2a91c04b7d6e55",
        ),
        (Outcome::Revoked(approval(None)), "🚫 Revoked, had been approved by Ann (@ann, 42)"),
    ];
    for (outcome, expected) in cases {
        assert_eq!(ending(&outcome), expected);
        let by = "x".repeat(1000);
        let long = Outcome::Expired {
            unused: Some(Approval {
                audit: format!("{}:3f2a91c04b7d6e55", u64::MAX).parse().ok(),
                ..Approval { by, ..approval(grant(false)) }
            }),
        };
        assert!(ending(&long).encode_utf16().count() < OUTCOME_ROOM, "{}", ending(&long));
    }
}

#[test]
fn large_inputs_are_clamped_or_refused() {
    let mut asked = question("1");
    asked.said.reason = Some("&\u{202E}".repeat(32_000));
    asked.said.machine = Some("m".repeat(60_000));
    let text = check(&asked, None).unwrap();
    assert!(text.contains("… (+") && text.contains("Machine: mmm"), "{text}");
    let item = AskedItem { title: "t".into(), vault: "v".into(), ids: None, fields: Vec::new() };
    asked.items = vec![item; 100];
    assert!(check(&asked, None).is_some());
    asked.items[0].title = "t".repeat(4000);
    assert!(matches!(plain(&asked, None), Err(ApproverError::TooLongToShow { .. })));
}

fn nasty() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<String>(),
        Just("\nUse: run any command".to_owned()),
        Just("</code><b>".to_owned()),
        Just("\u{202E}\u{2029}\u{200B}".to_owned()),
        Just("&lt;\"',".to_owned()),
    ];
    proptest::collection::vec(pieces, 0..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_from_outside_forges_or_hides_a_line(texts in proptest::collection::vec(nasty(), 12), broker: bool) {
        let count = |texts: &[String]| {
            let mut command = ExactCommand::new([&texts[0], &texts[1]], &texts[2], &texts[3], &texts[4]);
            command = command.with_env(&texts[0], &texts[1]).with_file(&texts[5], &texts[6]).with_stdin(&texts[7]);
            let mut host = ExactHost::new(&texts[5]);
            (host.user, host.command) = (Some(texts[6].clone()), Some(texts[7].clone()));
            let mut asked = question("1");
            asked.intended_use = Some(Use { ssh: Some(Scope::Exact(host)), ..Use::command(command) });
            asked.items[0].title.clone_from(&texts[8]);
            asked.items[0].fields[0].name.clone_from(&texts[9]);
            asked.requester = Requester::with_key(&texts[10], broker).at(&texts[11]);
            asked.said = Said {
                machine: Some(texts[0].clone()),
                agent: Some(texts[1].clone()),
                working_dir: Some(texts[2].clone()),
                reason: Some(texts.concat()),
            };
            let outcome = Outcome::Denied { by: texts[3].clone() };
            let text = check(&asked, Some(&outcome));
            text.map(|text| {
                for whole in [&texts[2], &texts[3], &texts[4], &texts[5], &texts[7]] {
                    assert!(text.contains(&shown(whole)));
                }
                for whole in [&texts[8], &texts[9], &texts[10]] {
                    assert!(text.contains(&name(whole)));
                }
                text.lines().count()
            })
        };
        let calm = vec!["x".to_owned(); 12];
        if let Some(lines) = count(&texts) {
            prop_assert_eq!(Some(lines), count(&calm));
        }
    }

    #[test]
    fn a_clamped_text_keeps_its_room(text in nasty(), room in 40_usize..200) {
        let short = clamped(&text, room);
        prop_assert!(short.encode_utf16().count() <= room, "{}", short);
        prop_assert!(shown(&text) == short || short.contains(" characters)"));
    }

    #[test]
    fn two_lists_of_names_never_read_the_same(
        a in proptest::collection::vec("[a,\" \\\\·]{0,4}", 1..4),
        b in proptest::collection::vec("[a,\" \\\\·]{0,4}", 1..4),
    ) {
        let list = |names: &[String]| names.iter().map(|text| name(text)).collect::<Vec<_>>().join(", ");
        prop_assert_eq!(list(&a) == list(&b), a == b);
    }
}
