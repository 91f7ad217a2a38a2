//! What the command line tells about itself: help, completions, manual pages, and what to write instead of a typo.
#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod support;

use support::{Machine, finish};

/// The subcommands that `--help` lists.
async fn subcommands() -> Vec<String> {
    let help = Machine::new().run(&["--help"]).await.out;
    let (_, rest) = help.split_once("\nCommands:\n").unwrap();
    let (list, _) = rest.split_once("\n\n").unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[tokio::test]
async fn help_fits_a_narrow_terminal_and_has_an_example() {
    let names = subcommands().await;
    assert!(names.len() >= 14, "{names:?}");
    for name in names.iter().map(String::as_str).chain([""]) {
        for flag in ["--help", "-h"] {
            let args: Vec<_> = [name, flag].into_iter().filter(|arg| !arg.is_empty()).collect();
            let run = Machine::new().run(&args).await;
            assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
            for line in run.out.lines() {
                assert!(line.chars().count() <= 80, "{name} {flag}: {line}");
            }
            let usage = format!("secret-gate {name}");
            assert!(run.out.contains(usage.trim()), "{name}: {}", run.out);
            assert!(name.is_empty() || run.out.contains(&format!("  secret-gate {name}")), "{name} has no example");
        }
    }
}

#[tokio::test]
async fn a_typo_is_answered_with_what_was_meant() {
    for (args, meant) in [
        (&["exce"][..], "'exec'"),
        (&["grant"], "'grants'"),
        (&["--secrte", "db"], "'--secret'"),
        (&["exec", "--secret", "db", "--enw", "T=t"], "'--env'"),
        (&["run", "--env-fil", ".env"], "'--env-file'"),
        (&["daemon", "flus"], "'flush'"),
        (&["grants", "--format", "jsn"], "'json'"),
        (&["completions", "bsh"], "'bash'"),
    ] {
        let run = Machine::new().run(args).await;
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{run:?}");
        let tip = run.err.lines().find(|line| line.trim_start().starts_with("tip: a similar")).unwrap_or_default();
        assert!(tip.contains(meant), "{args:?}: {}", run.err);
    }
    for args in [&["man", "exce"][..], &["man", ""], &["man", "daemon", "x"]] {
        assert_eq!(Machine::new().run(args).await.code, 2, "{args:?}");
    }
}

#[tokio::test]
async fn bash_completes_with_the_script() {
    let machine = Machine::new().with("PATH", "/usr/bin:/bin");
    let script = machine.run(&["completions", "bash"]).await;
    assert_eq!((script.code, script.err.as_str()), (0, ""));
    std::fs::write(machine.path("script"), &script.out).unwrap();
    for (words, expected) in
        [("secret-gate ex", "exec"), ("secret-gate exec --std", "--stdin"), ("secret-gate da", "daemon")]
    {
        // as bash calls it: the words and where the cursor is, then the command, the word and the one before
        let line = format!(
            "set -e; . ./script; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             cur=${{COMP_WORDS[COMP_CWORD]}}; \"$(complete -p secret-gate | sed 's/.*-F \\([^ ]*\\).*/\\1/')\" \
             secret-gate \"$cur\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let mut bash = machine.command("bash");
        let run = finish(bash.args(["--norc", "-c", &line]).current_dir(machine.path("")).spawn().unwrap()).await;
        assert_eq!((run.out.as_str(), run.err.as_str()), (format!("{expected}\n").as_str(), ""), "{words}: {run:?}");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = machine.run(&["completions", shell]).await;
        assert!(script.code == 0 && script.out.contains("exec") && script.out.contains("stdin"), "{shell}: {script:?}");
    }
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_subcommand() {
    let page = async |args: &[&str]| {
        let run = Machine::new().run(&[&["man"], args].concat()).await;
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{run:?}");
        assert!(run.out.starts_with(".ie ") || run.out.starts_with(".TH "), "{}", run.out);
        // in such pages, a dash that is to be copied is written with a backslash
        run.out.replace("\\-", "-")
    };
    let whole = page(&[]).await;
    for name in subcommands().await {
        assert!(whole.contains(&format!("secret-gate-{name}(1)")), "{name} is not in the page");
        let own = page(&[&name]).await;
        assert!(own.contains(&format!("secret-gate-{name}")) && own.contains("Example"), "{name}: {own}");
    }
    let daemon = page(&["daemon"]).await;
    assert!(daemon.contains("daemon-flush") && !daemon.contains("daemon-serve"), "what is hidden stays so");
    assert!(whole.contains("SECRET_GATE_URL") && whole.contains("143 terminated"), "{whole}");
    for option in ["--stdin", "--file", "--env", "--any", "--kill-after", "--reason"] {
        assert!(page(&["exec"]).await.contains(option), "{option}");
    }
}

#[tokio::test]
async fn a_reader_who_has_seen_enough_is_no_error() {
    for args in [&["man"][..], &["completions", "bash"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut client = Machine::new().command(env!("CARGO_BIN_EXE_secret-gate"));
        let run = finish(client.args(args).stdout(writer).spawn().unwrap()).await;
        assert_eq!((run.code, run.err.as_str()), (141, ""), "{args:?}");
    }
}
