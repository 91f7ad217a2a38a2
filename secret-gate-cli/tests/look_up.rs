//! `--search` and `--fields`: what they print.

mod support;

use serde_json::{Value, json};
use support::{Machine, Reply, Server, error, finish};

#[tokio::test]
async fn search_prints_one_match_a_line() {
    let matches =
        json!([{"secret_name": "db-\u{202e}prod", "vault_name": "Infra", "score": 0.9, "match_type": "prefix"}]);
    let server = Server::start().await;
    server.on("POST /search", Reply::Json(200, json!({"query": "db", "results": matches, "incomplete": ["Old"]})));
    let machine = Machine::of(&server);
    let run = machine.run(&["--search", "db", "--search-limit", "3"]).await;
    assert_eq!((run.code, run.out.as_str()), (0, "db-\\u{202e}prod  (Infra)  0.90 prefix\n"));
    assert_eq!(run.err, "warning: the vault Old could not be searched\n");
    assert_eq!(server.calls()[0].body, json!({"query": "db", "limit": 3}));
    let run = machine.run(&["-search=db", "-format", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&run.out).unwrap(), json!({"query": "db", "results": matches}));
}

#[tokio::test]
async fn fields_prints_labels_and_types() {
    let answer = json!({"secret_name": "db", "vault_name": "Infra",
        "fields": [{"label": "password", "type": "CONCEALED"}, {"label": "user", "type": "STRING"}]});
    let server = Server::start().await.on("POST /fields", Reply::Json(200, answer.clone()));
    let machine = Machine::of(&server);
    assert_eq!(machine.run(&["--secret", "db", "--fields"]).await.out, "password  CONCEALED\nuser      STRING\n");
    let run = machine.run(&["--secret", "db", "--fields", "--format", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&run.out).unwrap(), answer);
    assert_eq!(run.err, "");
}

#[tokio::test]
async fn the_subcommands_print_what_the_flags_do() {
    let matches = json!([{"secret_name": "db", "vault_name": "Infra", "score": 0.9, "match_type": "prefix"}]);
    let fields = json!([{"label": "password", "type": "CONCEALED"}]);
    let server = Server::start().await;
    server.on("POST /search", Reply::Json(200, json!({"query": "db", "results": matches})));
    server.on("POST /fields", Reply::Json(200, json!({"secret_name": "db", "vault_name": "Infra", "fields": fields})));
    let machine = Machine::of(&server);
    // a word that looks like a flag, and one that is a subcommand, are words
    let elsewhere = Machine::new();
    for (args, flags) in [
        (&["search", "db", "--limit", "3"][..], &["--search", "db", "--search-limit", "3"][..]),
        (&["search", "db", "--format=json"], &["--search", "db", "--format", "json"]),
        (&["search", "--", "-db"], &["-search", "-db"]),
        (&["search", "grants"], &["-search", "grants"]),
        (&["fields", "--secret", "db", "--vault", "Infra"], &["--secret", "db", "--vault", "Infra", "--fields"]),
        (&["fields", "--secret", "db", "--format", "json"], &["--secret", "db", "--fields", "--format", "json"]),
    ] {
        // the harness adds a flag of its own to what it runs with a secret
        let (subcommand, rest) = args.split_first().unwrap();
        let mut command = elsewhere.command(env!("CARGO_BIN_EXE_secret-gate"));
        command.args([subcommand, "--server", &server.url]).args(rest);
        let new = finish(command.spawn().unwrap()).await;
        let old = machine.run(flags).await;
        assert_eq!((new.code, &new.out, &new.err), (0, &old.out, &old.err), "{args:?}");
        let calls = server.calls();
        assert_eq!(calls[calls.len() - 1].body, calls[calls.len() - 2].body, "{args:?}");
    }
    assert_eq!(machine.run(&["search"]).await.code, 2);
    assert_eq!(server.count("POST /request"), 0);
}

#[tokio::test]
async fn names_that_are_not_one_items_are_explained() {
    let item = json!({"secret_name": "db-1", "vault_name": "Infra", "id": "abc"});
    let cases = [
        (
            json!({"error": "not_found", "message": "no secret db", "suggestions": [item]}),
            404,
            "did you mean db-1 (vault Infra)?",
        ),
        (
            json!({"error": "ambiguous", "message": "two", "candidates": [item, item]}),
            409,
            "--vault, or by its id: db-1 (vault Infra, id abc)",
        ),
        (json!({"error": "not_found", "message": "no secret db", "suggestions": []}), 404, "--search WORD finds names"),
        (json!({"error": "fields_failed", "message": "item not found"}), 500, "secret-gate --search WORD finds names"),
    ];
    for (body, code, hint) in cases {
        let server = Server::start().await.on("POST /fields", Reply::Json(code, body.clone()));
        server.on("POST /request", Reply::Json(code, body));
        for args in [&["--secret", "db", "--fields"][..], &["--secret", "db"]] {
            let run = Machine::of(&server).run(args).await;
            assert_eq!((run.code, run.out.as_str()), (5, ""), "{run:?}");
            assert!(run.err.contains("hint: ") && run.err.contains(hint), "{}", run.err);
        }
    }
}

#[tokio::test]
async fn look_ups_are_repeated_and_questions_are_not() {
    let server = Server::start().await.on("POST", error(502, "backend_unavailable", "the vault is away"));
    let machine = Machine::of(&server);
    assert_eq!(machine.run(&["--search", "db"]).await.code, 1);
    assert_eq!(server.count("POST /search"), 3);
    assert_eq!(machine.run(&["--secret", "db"]).await.code, 1);
    assert_eq!(server.count("POST /request"), 1);
}

#[tokio::test]
async fn a_time_out_bounds_look_ups() {
    let server = Server::start().await.on("POST", Reply::Silence);
    for args in [&["--search", "db"][..], &["--secret", "db", "--fields"]] {
        let run = Machine::of(&server).run(&[args, &["--timeout", "200ms"]].concat()).await;
        assert_eq!((run.code, run.out.as_str()), (4, ""), "{run:?}");
        assert!(run.err.starts_with("error: the server gave no answer within 200ms\nhint: "), "{}", run.err);
    }
}

#[tokio::test]
async fn null_lists_of_older_servers_are_empty() {
    let server = Server::start().await.on("POST /search", Reply::Json(200, json!({"query": "x", "results": null})));
    server.on("POST /fields", Reply::Json(200, json!({"secret_name": "db", "vault_name": "v", "fields": null})));
    let run = Machine::of(&server).run(&["--search", "x"]).await;
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", "nothing matches\n"));
    assert_eq!(Machine::of(&server).run(&["--secret", "db", "--fields"]).await.code, 0);
}

#[tokio::test]
async fn a_wrong_path_is_not_taken_for_an_unknown_name() {
    let message = "There is nothing at this path; see /openapi.json.";
    let server = Server::start().await.on("POST /gate", error(404, "not_found", message));
    let machine = Machine::new().with("SECRET_GATE_URL", &format!("{}/gate", server.url));
    for args in [&["--search", "db"][..], &["--secret", "db", "--fields"], &["--secret", "db"]] {
        let run = machine.run(args).await;
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{run:?}");
        assert!(run.err.contains("hint: check the server's URL and its path"), "{}", run.err);
    }
}
