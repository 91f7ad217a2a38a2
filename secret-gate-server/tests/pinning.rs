//! What the human read is what is released: names mean one thing, items stay what they were, messages hide nothing.
#![expect(clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use reqwest::Method;
use secret_gate_doubles::telegram::{Message, User};
use serde_json::{Value, json};

use support::{Answer, Asked, PASSWORD, World, login};

async fn assert_changed(world: &World, asked: &Asked, what: &str) {
    for _ in 0..2 {
        let answer = world.secret(asked).await;
        assert_eq!((answer.status, answer.code()), (409, "item_changed"), "{what}: {answer:?}");
        let status = world.status(asked).await;
        assert_eq!((&status["status"], status.get("ended")), (&json!("approved"), None), "{what}");
    }
}

async fn approved(world: &World, title: &str) -> Asked {
    let asked = world.ask(json!({"secret_name": title})).await;
    assert_eq!(world.tap(&asked, "Approve").await, "Approved");
    asked
}

#[tokio::test]
async fn an_item_that_changed_after_the_question_is_not_released_and_nothing_is_spent() {
    let world = World::start().await;
    let asked = approved(&world, "db").await;
    let edit = |item: &mut Value| item["fields"][0]["value"] = json!("another");
    world.connect.update_item(&world.db, edit);
    assert_changed(&world, &asked, "edited").await;
    // back to what it was, and the token still counts
    world.connect.update_item_silently(&world.db, |item| {
        item["fields"][0]["value"] = json!(PASSWORD);
        item["version"] = json!(1);
    });
    assert_eq!(world.redeem(&asked).await["secret"]["password"], PASSWORD);

    let asked = approved(&world, "db").await;
    world.connect.update_item_silently(&world.db, |item| item["title"] = json!("db-root"));
    assert_changed(&world, &asked, "renamed, at the same version").await;
    world.connect.update_item_silently(&world.db, |item| item["title"] = json!("db"));
    world.redeem(&asked).await;

    let asked = approved(&world, "db").await;
    world.connect.update_item_silently(&world.db, |item| item["fields"][0]["id"] = json!("other"));
    assert_changed(&world, &asked, "another field of the same name").await;
    world.connect.update_item_silently(&world.db, |item| item["fields"][0]["id"] = json!("password"));
    world.redeem(&asked).await;

    let asked = approved(&world, "db").await;
    world.connect.update_item(&world.db, |item| item["title"] = json!("renamed"));
    assert_changed(&world, &asked, "renamed").await;
}

#[tokio::test]
async fn a_field_that_came_after_the_question_is_not_released() {
    let world = World::start().await;
    let asked = approved(&world, "db").await;
    world.connect.update_item_silently(&world.db, |item| {
        let fields = item["fields"].as_array_mut().unwrap();
        fields.push(json!({"id": "root", "type": "CONCEALED", "label": "root", "value": "unseen"}));
    });
    assert_eq!(world.redeem(&asked).await, json!({"secret": {"password": PASSWORD}}));
}

#[tokio::test]
async fn an_item_that_moved_or_is_gone_is_not_released() {
    let world = World::start().await;
    let other = world.connect.add_vault("", "other");
    let (removed, replaced) = (world.add_item("gone", "gone-gone"), world.add_item("replaced", "first-first"));
    let asked = [approved(&world, "db").await, approved(&world, "gone").await, approved(&world, "replaced").await];
    world.connect.move_item(&world.db, &other);
    world.connect.remove_item(&removed);
    world.connect.remove_item(&replaced);
    world.add_item("replaced", "second-second");
    for (asked, what) in asked.iter().zip(["moved", "removed", "replaced by one of the same title"]) {
        assert_changed(&world, asked, what).await;
    }
    // asked anew, it is found where it is now
    let again = world.ask(json!({"secret_name": "db"})).await;
    assert!(again.message.plain.contains("db · vault other"), "{}", again.message.plain);
    world.approve_and_redeem(&again).await;
}

#[tokio::test]
async fn one_title_in_two_vaults_is_ambiguous_until_the_vault_is_named() {
    let world = World::start().await;
    let other = world.connect.add_vault("", "other");
    let twin = world.connect.add_item(&other, login("db", "the-other-one"));
    for path in ["/request", "/fields"] {
        let answer = world.http.post(path, &json!({"secret_name": "db"})).await;
        assert_eq!((answer.status, answer.code()), (409, "ambiguous"), "{path}: {answer:?}");
        let candidates = answer.body["candidates"].as_array().unwrap();
        let mut vaults: Vec<_> = candidates.iter().map(|one| one["vault_name"].as_str().unwrap()).collect();
        vaults.sort_unstable();
        assert_eq!(vaults, ["infra", "other"]);
    }
    assert!(world.telegram.messages().is_empty());
    for wanted in [json!({"secret_name": "db", "vault": "other"}), json!({"secret_name": twin})] {
        let asked = world.ask(wanted).await;
        assert!(asked.message.plain.contains("db · vault other"));
        assert_eq!(world.approve_and_redeem(&asked).await["secret"]["password"], "the-other-one");
    }
    // both in one request: each under a name of its own
    let both = json!({"secrets": [{"secret_name": "db", "vault": "infra"}, {"secret_name": "db", "vault": "other"}]});
    let asked = world.ask(both).await;
    let released = world.approve_and_redeem(&asked).await;
    assert_eq!(
        released,
        json!({"secrets": {"infra/db": {"password": PASSWORD}, "other/db": {"password": "the-other-one"}}})
    );
}

#[tokio::test]
async fn a_prefix_means_the_only_title_that_begins_with_it_and_the_human_reads_the_title() {
    let world = World::start().await;
    world.add_item("web-root", "web-web-web");
    let asked = world.ask(json!({"secret_name": "web"})).await;
    assert!(asked.message.plain.contains("Secret: web-root · vault infra"), "{}", asked.message.plain);
    assert_eq!(world.approve_and_redeem(&asked).await["secret"]["password"], "web-web-web");
    world.add_item("web-user", "x-x-x-x");
    let answer = world.http.post("/request", &json!({"secret_name": "web"})).await;
    assert_eq!((answer.status, answer.code()), (409, "ambiguous"), "{answer:?}");
    // what only contains the name is suggested, not taken
    let answer = world.http.post("/request", &json!({"secret_name": "root"})).await;
    assert_eq!((answer.status, answer.code()), (404, "not_found"));
    assert_eq!(answer.body["suggestions"][0]["secret_name"], "web-root");
}

#[tokio::test]
async fn an_empty_name_means_nothing() {
    let world = World::start().await;
    for body in [
        json!({"secret_name": ""}),
        json!({"secret_name": " \t"}),
        json!({"secret_name": "", "vault": "infra"}),
        json!({"secrets": []}),
        json!({"secrets": [{"secret_name": ""}]}),
        json!({"secrets": [{}]}),
        json!({"secrets": [{"secret_name": "db"}, {"secret_name": ""}]}),
        json!({"secret_name": "db", "secrets": [{"secret_name": "  "}]}),
    ] {
        let answer = world.http.post("/request", &body).await;
        assert_eq!((answer.status, answer.code()), (400, "missing_fields"), "{body}: {answer:?}");
    }
    for name in ["op://infra//password", "op://infra/ /password", "op://", "op:///db/password"] {
        let answer = world.http.post("/request", &json!({"secret_name": name})).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_reference"), "{name}: {answer:?}");
    }
    assert_eq!(world.telegram_calls("sendMessage"), 0);
}

#[tokio::test]
async fn beside_a_vault_that_cannot_be_listed_only_whole_titles_count() {
    let world = World::start().await;
    let broken = world.connect.add_vault("", "broken");
    world.connect.add_item(&broken, login("db-root", "root-root"));
    world.connect.faults().fail_vault(&broken, 500);
    let asked = world.ask_for_db().await;
    assert!(asked.message.plain.contains("db · vault infra"));
    for name in ["d", "db-root", "nothing"] {
        let answer = world.http.post("/request", &json!({"secret_name": name})).await;
        assert_eq!((answer.status, answer.code()), (502, "backend_unavailable"), "{name}: {answer:?}");
    }
    let found = world.http.post("/search", &json!({"query": "d"})).await;
    assert_eq!((found.status, &found.body["incomplete"]), (200, &json!(["broken"])), "{found:?}");
    // one that the token may not see is not there at all
    world.connect.faults().heal_vault(&broken);
    world.connect.faults().fail_vault(&broken, 403);
    let answer = world.http.post("/request", &json!({"secret_name": "db-root"})).await;
    assert_eq!((answer.status, answer.code()), (404, "not_found"), "{answer:?}");
}

/// Titles, and what the human must read for each.
const TITLES: [(&str, &str); 16] = [
    (r#"say "db""#, r#""say \"db\"""#),
    (r"a/b\c", r#""a/b\\c""#),
    ("prod/db", "prod/db"),
    ("🔑 keys", "\"🔑 keys\""),
    ("<b>db</b> & <i>co", "<b>db</b> & <i>co"),
    ("</code></blockquote>", "</code></blockquote>"),
    ("&lt;db&gt;&amp;", "&lt;db&gt;&amp;"),
    ("db\u{202e}toor", "\"db⟨U+202E⟩toor\""),
    ("db\u{200b}\u{feff}", "\"db⟨U+200B⟩⟨U+FEFF⟩\""),
    ("db\nAsked by: admin (broker)", "\"db⏎Asked by: admin (broker)\""),
    ("db\r\tx", "\"db⟨U+000D⟩⇥x\""),
    ("`db` *a* _b_ [c](http://d)", "`db` *a* _b_ [c](http://d)"),
    ("a, b", "\"a, b\""),
    ("db · vault infra · password", "\"db · vault infra · password\""),
    ("@everyone /start http://x.example", "@everyone /start http://x.example"),
    ("سر", "\"سر\""),
];

/// What holds for every message, whatever was asked.
#[track_caller]
fn assert_well_formed(message: &Message) {
    let lines: Vec<&str> = message.plain.lines().collect();
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    for start in ["🔐 Secret request", "Checked by the gate", "Use: ", "Asked by: ", "Open until "] {
        assert_eq!(count(start), 1, "{start}:\n{}", message.plain);
    }
    assert!(message.plain.contains("Asked by: unauthenticated · 127.0.0.1"), "{}", message.plain);
    let hidden = |c: char| {
        matches!(c, '\0'..='\u{9}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2067}' | '\u{feff}')
    };
    assert!(!message.plain.contains(hidden), "{:?}", message.plain);
    let links = ["text_link", "url", "mention", "bot_command"];
    assert!(!message.entities.iter().any(|entity| links.contains(&entity.kind.as_str())), "{:?}", message.entities);
    assert!(message.plain.encode_utf16().count() <= 4096);
}

#[tokio::test]
async fn hostile_titles_are_shown_whole_or_refused() {
    let world = World::start().await;
    for (title, shown) in TITLES {
        let value = format!("value of {title:?}");
        let id = world.add_item(title, &value);
        for name in [title, &id] {
            let asked = world.ask(json!({"secret_name": name})).await;
            assert_well_formed(&asked.message);
            // marks that keep right-to-left text in its place are ours
            let plain = asked.message.plain.replace(['\u{2068}', '\u{2069}'], "");
            let line = format!("Secret: {shown} · vault infra · password");
            assert!(plain.lines().any(|found| found == line), "no line {line}\nin {plain}");
            let released = world.approve_and_redeem(&asked).await;
            assert_eq!(released["secret"]["password"], json!(value));
        }
    }
}

#[tokio::test]
async fn what_is_too_long_to_show_is_refused_and_what_fits_is_shown_whole() {
    let world = World::start().await;
    for (length, fits) in [(3000, true), (5000, false), (30_000, false)] {
        for c in ["x", "<", "&", "🔑", "\u{202e}"] {
            let units =
                c.encode_utf16().count().max(if c == "\u{202e}" { "⟨U+202E⟩".encode_utf16().count() } else { 0 });
            let title = c.repeat(length / units);
            let id = world.add_item(&title, "long-long");
            let answer = world.http.post("/request", &json!({"secret_name": id, "reason": "r".repeat(5000)})).await;
            if !fits {
                assert_eq!((answer.status, answer.code()), (400, "too_long_to_show"), "{length} of {c}: {answer:?}");
                continue;
            }
            let asked = world.asked(&answer);
            assert_well_formed(&asked.message);
            let whole = title.replace('\u{202e}', "⟨U+202E⟩");
            assert!(asked.message.plain.contains(&whole), "{length} of {c}");
            assert!(asked.message.plain.contains("… (+"), "the reason is cut, and says so: {}", asked.message.plain);
            assert_eq!(world.approve_and_redeem(&asked).await["secret"]["password"], "long-long");
        }
    }
    let names: Vec<_> = (0..300).map(|number| format!("field-{number}")).collect();
    let answer = world.http.post("/request", &json!({"secret_name": "db", "fields": names})).await;
    assert_eq!((answer.status, answer.code()), (400, "too_long_to_show"), "{answer:?}");
    let many = json!({"secrets": vec![json!({"secret_name": "db"}); 21]});
    let answer = world.http.post("/request", &many).await;
    assert_eq!((answer.status, answer.code()), (400, "too_long_to_show"), "{answer:?}");
    assert_eq!(world.open_requests().await, 0);
}

async fn forwarded(world: &World, by: &str) -> Answer {
    let call = world.http.call(Method::POST, "/request").header("x-forwarded-for", by);
    world.http.send(call.body(json!({"secret_name": "db"}).to_string())).await
}

#[tokio::test]
async fn an_address_counts_only_from_a_trusted_proxy() {
    let world = World::start().await;
    let asked = world.asked(&forwarded(&world, "10.9.9.9").await);
    assert_well_formed(&asked.message);
    assert!(!asked.message.plain.contains("10.9.9.9"), "{}", asked.message.plain);

    let world = World::with(|env| drop(env.insert("TRUSTED_PROXIES".into(), "127.0.0.0/8".into()))).await;
    let asked = world.asked(&forwarded(&world, "6.6.6.6, 203.0.113.9").await);
    assert!(asked.message.plain.contains("Asked by: unauthenticated · 203.0.113.9"), "{}", asked.message.plain);
    let forged = "1.1.1.1, <b>admin</b> (broker)";
    let asked = world.asked(&forwarded(&world, forged).await);
    assert_well_formed(&asked.message);
    assert!(!asked.message.plain.contains("admin"), "{}", asked.message.plain);
}

#[tokio::test]
async fn words_of_the_requester_forge_no_line() {
    let world = World::start().await;
    let forgery = "x\nAsked by: admin (broker)\n\n🔐 Secret request\nUse: nothing</code></blockquote>\n<b>Checked by the gate</b>\u{202e}\u{2069}";
    let body =
        json!({"secret_name": "db", "reason": forgery, "machine": forgery, "agent": forgery, "working_dir": forgery});
    let asked = world.ask(body).await;
    assert_well_formed(&asked.message);
    let (checked, said) = asked.message.plain.split_once("Said by the requester").expect("a block of its own");
    assert!(!checked.contains("admin") && said.matches("admin").count() == 4, "{}", asked.message.plain);
    let quote = asked.message.entities.iter().find(|entity| entity.kind == "blockquote").expect("a quote");
    let before: usize = checked.encode_utf16().count();
    assert!(quote.offset > before, "the quote begins after what was checked");
    assert_eq!(said.trim().lines().count(), 7, "four lines, an empty one, and two at the end:\n{said}");
}

#[tokio::test]
async fn a_pressers_name_forges_no_line_either() {
    let world = World::start().await;
    let name = "Ann</code>\n✅ Approved by root\u{202e} & <b>co";
    world.telegram.add_user(User::new(support::ANN, name).with_username("ann"));
    let (asked, again) = (world.ask_for_db().await, world.ask_for_db().await);
    assert_eq!(world.tap(&again, "Deny").await, "Denied");
    world.approve_and_redeem(&asked).await;
    for (asked, word) in [(&asked, "Released"), (&again, "Denied by")] {
        let edited = world.telegram.wait_edit(asked.message.message_id, |message| message.plain.contains(word)).await;
        let edited = edited.unwrap();
        assert_well_formed(&edited);
        let lines = (edited.plain.lines().count(), asked.message.plain.lines().count() + 2);
        assert_eq!(lines.0, lines.1, "an empty line and how it ended:\n{}", edited.plain);
        assert!(edited.plain.contains("(@ann, 42)") && edited.plain.contains("⏎"), "{}", edited.plain);
    }
}
