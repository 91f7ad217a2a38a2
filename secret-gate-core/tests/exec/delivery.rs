//! What a command gets.

use std::collections::BTreeSet;
use std::io::Write as _;

use secret_gate_core::exec::{Command, Delivery, ExecError, Injection};

use crate::{TOKEN, collect, injection, printed, shell, token, variable};

fn file(name: &str) -> Delivery {
    Delivery::File(name.to_owned())
}

async fn refused(command: Command, injections: &[Injection]) -> ExecError {
    collect(command, injections).await.unwrap_err()
}

#[tokio::test]
async fn several_variables_at_once() {
    let values = [
        token(),
        injection("api/user", "ann", variable("API_USER")).visible(),
        injection("db/password", "corr3ct horse\nbattery \"staple\"", variable("_p2")),
    ];
    let line = r#"printf '%s|%s|%s|' "$T" "$API_USER" "$_p2"; printf %s "$_p2" | sha256sum"#;
    let (exit, out, _) = collect(shell(line), &values).await.unwrap();
    let (shown, hash) = out.rsplit_once('|').unwrap();
    assert_eq!(shown, "[redacted:api/token]|ann|[redacted:db/password]");
    assert!(hash.starts_with("c734f05e"), "{hash}");
    assert_eq!(exit.unredacted, ["api/user"]);
}

#[tokio::test]
async fn the_environment_is_what_was_given_less_keys_and_the_values() {
    let given = [
        ("PLAIN", "1"),
        ("EMPTY", ""),
        ("LD_LIBRARY_PATH", "/nowhere"),
        ("SECRET_GATE_API_KEY", "k"),
        ("SECRET_GATE_API_KEY_FILE", "/k"),
        ("SECRET_GATE_URL", "http://127.0.0.1"),
        ("T", "the caller's own"),
    ];
    let command = Command::new(["/usr/bin/env", "-0"], "/").env(given);
    let visible = injection("api/token", TOKEN, variable("T")).visible();
    let (_, out, _) = collect(command, &[visible]).await.unwrap();
    let mut seen: Vec<&str> = out.split_terminator('\0').collect();
    seen.sort_unstable();
    let token = format!("T={TOKEN}");
    assert_eq!(seen, ["EMPTY=", "LD_LIBRARY_PATH=/nowhere", "PLAIN=1", "SECRET_GATE_URL=http://127.0.0.1", &token]);
}

#[tokio::test]
async fn stdin_carries_the_value_and_nothing_else() {
    for value in [TOKEN, "", "line\nwithout end", "with\0NUL", &"long".repeat(500_000)] {
        let stdin = injection("api/token", value, Delivery::Stdin).visible();
        let (_, out, _) = collect(shell("cat"), &[stdin]).await.unwrap();
        assert!(out == value, "{} bytes became {}", value.len(), out.len());
    }
    assert_eq!(printed("cat", &[injection("api/token", TOKEN, Delivery::Stdin)]).await, "[redacted:api/token]");
}

#[tokio::test]
async fn files_carry_a_value_each() {
    let long = "0123456789abcdef".repeat(20_000);
    let values = [
        injection("a/long", &long, file("LONG")).visible(),
        injection("a/nul", "a\0b", file("NUL")).visible(),
        injection("api/token", TOKEN, file("TOKEN_FILE")),
    ];
    let line = r#"cat "$NUL" "$TOKEN_FILE"; wc -c < "$LONG"; test -p "$NUL" && echo "$TOKEN_FILE"; cat "$NUL" | wc -c"#;
    let out = printed(line, &values).await;
    let (head, rest) = out.split_once(']').unwrap();
    assert_eq!(head, "a\0b[redacted:api/token");
    let rest: Vec<&str> = rest.lines().collect();
    assert!(rest[1].starts_with("/dev/fd/"), "{rest:?}");
    assert_eq!((rest[0], rest[2]), ("320000", "0"), "it can be read once");
}

#[tokio::test]
async fn no_other_descriptor_is_inherited() {
    // what whoever started the tests left open is open in every program
    let plain = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
    let listed = |out: &str| out.lines().map(|line| line.parse().unwrap()).collect::<BTreeSet<u32>>();
    let known = listed(std::str::from_utf8(&plain.stdout).unwrap());
    let seen = listed(&printed("ls /proc/self/fd", &[injection("api/token", TOKEN, file("F"))]).await);
    let more: Vec<u32> = seen.difference(&known).copied().collect();
    assert_eq!(more.len(), 1, "{more:?}");
    assert!(more[0] >= 40, "{more:?}");
}

#[tokio::test]
async fn stdin_is_what_was_given_and_empty_by_default() {
    assert_eq!(printed("cat; echo end", &[]).await, "end\n");
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"from the caller").unwrap();
    drop(writer);
    let (_, out, _) = collect(shell("cat").stdin(reader), &[]).await.unwrap();
    assert_eq!(out, "from the caller");
}

#[tokio::test]
async fn values_that_nobody_reads_hold_nothing_up() {
    let long = "x".repeat(1_000_000);
    let values = [injection("a/in", &long, Delivery::Stdin).visible(), injection("a/file", &long, file("F")).visible()];
    assert_eq!(collect(shell("exit 5"), &values).await.unwrap().0.code(), 5);
    // nor is the one lost that is read when all output has ended
    let line = "exec >/dev/null 2>&1; sleep 0.2; test $(wc -c) = 1000000";
    assert_eq!(collect(shell(line), &values[..1]).await.unwrap().0.code(), 0);
}

#[tokio::test]
async fn refused_names() {
    let long = "N".repeat(10) + "\u{e9}";
    for bad in ["", "1A", "A B", "A=B", "A-B", "A\nB", "A\0B", "Ä", "a.b", &long] {
        for delivery in [variable(bad), file(bad)] {
            let error = refused(shell("true"), &[injection("a/b", TOKEN, delivery)]).await;
            assert!(matches!(&error, ExecError::VariableName { name } if name == bad), "{bad:?}: {error}");
        }
    }
    let loaders = [
        "PATH",
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "ENV",
        "IFS",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "GIT_SSH_COMMAND",
        "GIT_EXTERNAL_DIFF",
        "BASH_FUNC_x",
        "JAVA_TOOL_OPTIONS",
        "PS4",
        "GCONV_PATH",
        "LUA_INIT",
    ];
    for bad in loaders {
        for delivery in [variable(bad), file(bad)] {
            let error = refused(shell("true"), &[injection("a/b", TOKEN, delivery)]).await;
            assert!(matches!(&error, ExecError::LoaderVariable { name } if name == bad), "{bad:?}: {error}");
        }
    }
}

#[tokio::test]
async fn one_thing_in_one_place() {
    let twice = [injection("a/b", TOKEN, variable("A")), injection("a/c", TOKEN, file("A"))];
    assert!(matches!(refused(shell("true"), &twice).await, ExecError::VariableTwice { name } if name == "A"));
    let twice = [injection("a/b", TOKEN, Delivery::Stdin), injection("a/c", TOKEN, Delivery::Stdin)];
    assert!(matches!(refused(shell("true"), &twice).await, ExecError::StdinTwice));
    let (reader, _writer) = std::io::pipe().unwrap();
    assert!(matches!(refused(shell("true").stdin(reader), &twice[..1]).await, ExecError::StdinTwice));
    // one value in two places is fine
    let both = [injection("a/b", TOKEN, variable("A")), injection("a/b", TOKEN, Delivery::Stdin)];
    assert_eq!(printed(r#"test "$A" = "$(cat)" && echo "$A""#, &both).await, "[redacted:a/b]\n");
}

#[tokio::test]
async fn values_that_do_not_fit() {
    let error = refused(shell("true"), &[injection("a/b", "with\0NUL", variable("A"))]).await;
    assert!(matches!(&error, ExecError::Nul { label } if label == "a/b"));
    assert!(error.to_string().contains("stdin"), "{error}");
    // A= and the NUL at the end make 128 KiB
    let longest = "x".repeat(128 * 1024 - 3);
    let (exit, out, _) =
        collect(shell("printf %s \"$A\" | wc -c"), &[injection("a/b", &longest, variable("A")).visible()])
            .await
            .unwrap();
    assert_eq!((exit.code(), out.trim()), (0, "131069"));
    let error = refused(shell("true"), &[injection("a/b", &(longest + "x"), variable("A")).visible()]).await;
    assert!(matches!(error, ExecError::TooLong { label } if label == "a/b"));
    for short in ["", "12345", " 1 2 3 4 5 "] {
        let error = refused(shell("true"), &[injection("a/b", short, variable("A"))]).await;
        assert!(matches!(error, ExecError::TooShort(short) if short.label == "a/b"));
        assert_eq!(printed("echo .", &[injection("a/b", short, variable("A")).visible()]).await, ".\n");
    }
}
