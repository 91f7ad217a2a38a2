//! `setup` in temporary homes: what it writes for each agent, what it leaves alone, and that it takes itself back.

#![expect(clippy::unwrap_used, reason = "in tests, a failure is a panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A user's home with a project in it, and nothing else.
struct Home {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

/// How a run ended.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Home {
    /// A home with a name that scripts stumble over.
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        fs::create_dir_all(home.path("project")).unwrap();
        home
    }

    /// A home in which all agents were installed before.
    fn with_agents() -> Self {
        let home = Self::new();
        for folder in [
            ".agents/skills",
            ".claude/skills",
            ".cline/data/settings",
            ".codex",
            ".config/Code/User",
            ".config/opencode",
            ".cursor",
            ".gemini",
            "project/.roo",
        ] {
            fs::create_dir_all(home.path(folder)).unwrap();
        }
        home
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("hö me")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("{name}: {error}"))
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secret-gate"));
        command
            .arg("setup")
            .args(args)
            .env_clear()
            .env("HOME", self.root())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path("project"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        ended(self.command(args).output().unwrap())
    }

    /// Sets up without asking, and expects that it goes well.
    fn set_up(&self, args: &[&str]) -> Run {
        let run = self.run(&[args, &["--yes"]].concat());
        assert_eq!(run.code, 0, "{run:?}");
        run
    }

    /// Every file, folder and link: its mode, and what it holds.
    fn snapshot(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = if metadata.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else if metadata.is_dir() {
                    walk(&path, found);
                    Vec::new()
                } else {
                    fs::read(&path).unwrap()
                };
                found.insert(path, (metadata.permissions().mode(), content));
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.root(), &mut found);
        found
    }
}

fn ended(output: Output) -> Run {
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code().unwrap(), out: text(stdout), err: text(stderr) }
}

const CLIENT: &str = env!("CARGO_BIN_EXE_secret-gate");
const CLINE: &str = ".cline/data/settings/cline_mcp_settings.json";

#[test]
fn each_agent_gets_its_entry_with_time_for_an_approval() {
    let home = Home::with_agents();
    let run = home.set_up(&["--server", "https://gate.example.com"]);
    assert!(run.err.is_empty(), "{run:?}");

    let long = json!(["mcp", "--wait", "14m"]);
    let short = json!(["mcp", "--wait", "45s"]);
    let claude = json!({"type": "stdio", "command": CLIENT, "args": long, "timeout": 900_000});
    assert_eq!(home.json(".claude.json")["mcpServers"]["secret-gate"], claude);
    assert_eq!(home.json(".claude/settings.json")["permissions"]["allow"], json!(["mcp__secret-gate__*"]));
    let transport = json!({"type": "stdio", "command": CLIENT, "args": long});
    assert_eq!(home.json(CLINE)["mcpServers"]["secret-gate"], json!({"transport": transport, "timeout": 900}));
    let opencode =
        json!({"type": "local", "command": [CLIENT, "mcp", "--wait", "14m"], "enabled": true, "timeout": 900_000});
    assert_eq!(home.json(".config/opencode/opencode.json")["mcp"]["secret-gate"], opencode);
    let roo = json!({"command": CLIENT, "args": long, "timeout": 900});
    assert_eq!(home.json("project/.roo/mcp.json")["mcpServers"]["secret-gate"], roo);
    let gemini = json!({"command": CLIENT, "args": long, "timeout": 900_000});
    assert_eq!(home.json(".gemini/settings.json")["mcpServers"]["secret-gate"], gemini);
    let editor = json!({"type": "stdio", "command": CLIENT, "args": short});
    assert_eq!(home.json(".cursor/mcp.json")["mcpServers"]["secret-gate"], editor);
    assert_eq!(home.json(".config/Code/User/mcp.json")["servers"]["secret-gate"], editor);
    let codex = format!(
        "[mcp_servers.secret-gate]\ncommand = \"{CLIENT}\"\nargs = [\"mcp\", \"--wait\", \"14m\"]\ntool_timeout_sec = 900\n"
    );
    assert_eq!(home.text(".codex/config.toml"), codex);
    for skills in [".claude/skills", ".agents/skills"] {
        let skill = home.text(&format!("{skills}/secret-gate/SKILL.md"));
        assert!(skill.starts_with("---\nname: secret-gate\ndescription: "), "{skill}");
    }
    assert_eq!(home.json(".config/secret-gate/config.json"), json!({"server_url": "https://gate.example.com"}));
    assert_eq!(fs::read_link(home.path(".config/secret-gate/bin/secret-gate")).unwrap(), Path::new(CLIENT));
}

#[test]
fn what_is_written_starts_the_mcp_server() {
    let home = Home::with_agents();
    home.set_up(&["--server", "https://gate.example.com"]);
    let entry = &home.json(".claude.json")["mcpServers"]["secret-gate"];
    let mut server = Command::new(entry["command"].as_str().unwrap());
    server.args(entry["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()));
    // as the sparest of the agents starts it
    server.env_clear().env("HOME", home.root()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}}});
    writeln!(server.stdin.as_mut().unwrap(), "{hello}").unwrap();
    let mut answer = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["serverInfo"]["name"], "secret-gate", "{answer}");
    drop(server.stdin.take());
    server.wait().unwrap();
}

#[test]
fn the_commands_of_the_skill_are_understood() {
    let mut home = Home::new();
    home.set_up(&["--tool", "claude-code"]);
    let skill = home.text(".claude/skills/secret-gate/SKILL.md");
    let path = [home.path(".config/secret-gate/bin"), "/usr/bin".into(), "/bin".into()];
    home.variables.push(("PATH", std::env::join_paths(path).unwrap().into()));
    home.write("project/migrate", "#!/bin/sh\n");
    fs::set_permissions(home.path("project/migrate"), fs::Permissions::from_mode(0o755)).unwrap();
    let commands: Vec<_> = skill.lines().filter(|line| line.starts_with("secret-gate ")).collect();
    assert_eq!(commands.len(), 4, "{skill}");
    for command in commands {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).env_clear().env("HOME", home.root());
        shell.envs(home.variables.iter().map(|(name, value)| (name, value))).current_dir(home.path("project"));
        let run = ended(shell.output().unwrap());
        assert!(run.code == 1 && run.err.contains("no server is configured"), "{command}: {run:?}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_removal_leaves_nothing() {
    let home = Home::with_agents();
    let before = home.snapshot();
    home.set_up(&["--server", "https://gate.example.com"]);
    let after = home.snapshot();
    let again = home.set_up(&["--server", "https://gate.example.com"]);
    assert!(
        again.out.contains("nothing to change") && again.out.contains("unchanged  ~/.codex/config.toml"),
        "{again:?}"
    );
    assert_eq!(home.snapshot(), after);

    home.set_up(&["--remove"]);
    assert_eq!(home.snapshot(), before);
    let again = home.set_up(&["--remove"]);
    assert_eq!(again.out, "nothing to change\n");
}

/// Files as people and programs leave them, each with what makes it hard.
fn with_files() -> Home {
    let home = Home::with_agents();
    home.write(".claude.json", "{\"numStartups\":3,\"mcpServers\":{\"other\":{\"command\":\"x\"}},\"last\":\"ü\"}");
    home.write(
        ".claude/settings.json",
        "\u{feff}{\r\n\t\"permissions\": {\r\n\t\t\"allow\": [\"Bash(ls:*)\"]\r\n\t}\r\n}\r\n",
    );
    home.write(
        ".codex/config.toml",
        "# mine\r\nmodel = \"gpt\" # why\r\n\r\n[mcp_servers.other]\r\ncommand = 'x'\r\n\r\n[tui]\r\na=1",
    );
    home.write(
        ".config/opencode/opencode.jsonc",
        "// my settings\n{\n  \"theme\": \"dark\", // not light\n  \"mcp\": {\n    /* none yet */\n  },\n}\n",
    );
    home.write(CLINE, "");
    home.write("dotfiles/gemini.json", "{\n    \"mcpServers\": {},\n    \"b\": 1,\n    \"a\": 2\n}");
    symlink(home.path("dotfiles/gemini.json"), home.path(".gemini/settings.json")).unwrap();
    home.write(".claude/skills/secret-gate/SKILL.md", "---\nname: secret-gate\n---\nof an older version\n");
    home.write(".config/secret-gate/bin/secret-gate", "#!/bin/sh\necho older client\n");
    home.write(
        ".config/secret-gate/config.json",
        "{\"cache_ttl\": \"2h\", \"server_url\": \"https://old.example.com\"}",
    );
    for (name, mode) in [(".claude.json", 0o600), (".codex/config.toml", 0o640), ("dotfiles/gemini.json", 0o664)] {
        fs::set_permissions(home.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    home
}

#[test]
fn what_stands_in_files_stays_and_comes_back_byte_for_byte() {
    let home = with_files();
    let before = home.snapshot();
    home.set_up(&["--server", "https://gate.example.com"]);

    let claude = home.json(".claude.json");
    assert_eq!((&claude["last"], &claude["mcpServers"]["other"]["command"]), (&json!("ü"), &json!("x")));
    let settings = home.text(".claude/settings.json");
    let expected =
        "\u{feff}{\r\n\t\"permissions\": {\r\n\t\t\"allow\": [\"Bash(ls:*)\", \"mcp__secret-gate__*\"]\r\n\t}\r\n}\r\n";
    assert_eq!(settings, expected);
    let codex = home.text(".codex/config.toml");
    assert!(
        codex.starts_with("# mine\r\nmodel = \"gpt\" # why\r\n\r\n[mcp_servers.other]\r\ncommand = 'x'\r\n"),
        "{codex:?}"
    );
    assert!(codex.contains("[tui]\r\na=1") && codex.contains("\r\n[mcp_servers.secret-gate]\r\n"), "{codex:?}");
    let opencode = home.text(".config/opencode/opencode.jsonc");
    for kept in ["// my settings\n", "\"dark\", // not light\n", "/* none yet */", "  },\n}\n"] {
        assert!(opencode.contains(kept), "{opencode}");
    }
    assert!(!home.path(".config/opencode/opencode.json").exists());
    assert_eq!(fs::read_link(home.path(".gemini/settings.json")).unwrap(), home.path("dotfiles/gemini.json"));
    let linked = home.json("dotfiles/gemini.json");
    assert_eq!(linked["mcpServers"]["secret-gate"]["timeout"], 900_000);
    for (name, mode) in [(".claude.json", 0o600), (".codex/config.toml", 0o640), ("dotfiles/gemini.json", 0o664)] {
        for name in [name.to_owned(), format!("{name}.secret-gate-backup")] {
            assert_eq!(fs::metadata(home.path(&name)).unwrap().permissions().mode() & 0o777, mode, "{name}");
        }
    }
    let config = json!({"cache_ttl": "2h", "server_url": "https://gate.example.com"});
    assert_eq!(home.json(".config/secret-gate/config.json"), config);

    let after = home.snapshot();
    home.set_up(&["--server", "https://gate.example.com"]);
    assert_eq!(home.snapshot(), after, "a second run");
    home.set_up(&["--remove"]);
    assert_eq!(home.snapshot(), before);
}

#[test]
fn removal_keeps_what_was_written_since() {
    let home = with_files();
    home.set_up(&[]);
    for name in [".claude.json", "dotfiles/gemini.json"] {
        let text = home.text(name).replacen('{', "{\"since\": \"then\",", 1);
        home.write(name, text);
    }
    home.write(".codex/config.toml", home.text(".codex/config.toml") + "\n# since then\n");
    home.write(".cursor/mcp.json", home.text(".cursor/mcp.json").replacen('{', "// since then\n{", 1));
    home.set_up(&["--remove"]);
    for name in [".claude.json", "dotfiles/gemini.json", ".codex/config.toml", ".cursor/mcp.json"] {
        let text = home.text(name);
        assert!(text.contains("since") && !text.contains("secret-gate"), "{name}: {text}");
    }
    assert_eq!(home.json(".claude.json")["mcpServers"]["other"]["command"], "x");
}

#[test]
fn a_file_that_is_broken_is_left_alone_and_the_others_go_on() {
    let home = Home::with_agents();
    home.write(".claude.json", "{\n  \"a\": 1\n  \"b\": 2\n}\n");
    home.write(".codex/config.toml", "a = 1\n\nb = \n");
    home.write(".gemini/settings.json", b"{\n\"a\": \"\xff\xfe\"}");
    home.write(".cursor/mcp.json", "{\"mcpServers\": [1, 2]}");
    home.write(CLINE, "\u{0}\u{1}\u{2}");
    fs::create_dir(home.path(".config/opencode/opencode.json")).unwrap();
    symlink("nowhere", home.path("project/.roo/mcp.json")).unwrap();
    fs::File::create(home.path(".config/Code/User/mcp.json")).unwrap().set_len((64 << 20) + 1).unwrap();
    let texts = [".claude.json", ".codex/config.toml", ".cursor/mcp.json", CLINE];
    let before: Vec<_> = texts.iter().map(|name| home.text(name)).collect();

    let run = home.run(&["--yes"]);
    assert_eq!(run.code, 1, "{run:?}");
    for (name, problem) in [
        (".claude.json", "line 2: expected comma"),
        (".codex/config.toml", "line 3: "),
        (".gemini/settings.json", "line 2: it is not text in UTF-8"),
        (".cursor/mcp.json", "mcpServers is not an object"),
        (CLINE, "line 1: "),
        ("opencode/opencode.json", "it is not a file"),
        (".roo/mcp.json", "it is a link to nothing"),
        ("Code/User/mcp.json", "it is larger than 64 MiB"),
    ] {
        let said = format!("{name}, left alone: {problem}");
        assert!(run.err.contains(&said), "{said} not in {}", run.err);
    }
    let after: Vec<_> = texts.iter().map(|name| home.text(name)).collect();
    assert_eq!(after, before);
    assert_eq!(home.json(".claude/settings.json")["permissions"]["allow"], json!(["mcp__secret-gate__*"]));
    assert!(home.path(".agents/skills/secret-gate/SKILL.md").exists());
}

#[test]
fn a_dry_run_shows_the_changes_without_the_tokens_of_others_and_changes_nothing() {
    let home = with_files();
    home.write(".cursor/mcp.json", "{\n  \"token\": \"ghp_verysecret\"\n}\n");
    home.write(".gemini/settings.json", "{\"mcpServers\":{\"other\":{\"env\":{\"KEY\":\"ghp_verysecret\"}}}}");
    let before = home.snapshot();
    let run = home.run(&["--dry-run", "--server", "https://gate.example.com"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(home.snapshot(), before);
    assert!(!run.out.contains("verysecret"), "{}", run.out);
    for shown in [
        "change     ~/.codex/config.toml  (Codex: MCP server)\n",
        "create     ~/.agents/skills/secret-gate/SKILL.md  (skill)\n",
        "replace    ~/.config/secret-gate/bin/secret-gate  (client of older skills, by a link to this one)\n",
        "--- ~/.codex/config.toml\n+++ ~/.codex/config.toml\n",
        "\n+[mcp_servers.secret-gate]\n",
        "--- /dev/null\n+++ ~/.agents/skills/secret-gate/SKILL.md\n",
        "-  \"token\": \"…\"\n+  \"token\": \"…\",\n",
        "\n+      \"args\": [\"mcp\", \"--wait\", \"45s\"]\n",
    ] {
        assert!(run.out.contains(shown), "{shown:?} not in {}", run.out);
    }
}

#[test]
fn asks_on_a_terminal_and_refuses_without_one() {
    let home = Home::with_agents();
    let before = home.snapshot();
    let run = home.run(&[]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("hint: secret-gate setup --yes does not ask"), "{run:?}");
    assert_eq!(home.snapshot(), before);

    for (answer, changes) in [("\n", false), ("no\n", false), ("\u{4}", false), ("Y\n", true)] {
        let (mut near, far) = support::terminal();
        let mut setup = home.command(&["--tool", "codex"]);
        let setup = setup.stdin(Stdio::from(far)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        near.write_all(answer.as_bytes()).unwrap();
        let run = ended(setup.wait_with_output().unwrap());
        assert!(run.code == 0 && run.err.contains("change these 3 files? [y/N]"), "{run:?}");
        assert!(run.out.contains("\n+[mcp_servers.secret-gate]\n") || run.out.contains("+[mcp_servers"), "{run:?}");
        assert_eq!(run.out.contains("nothing was changed"), !changes, "{run:?}");
        assert_eq!(home.snapshot() != before, changes, "{answer:?}");
    }
}

#[test]
fn sets_up_only_what_is_named_and_finds_programs_on_the_path() {
    let mut home = Home::new();
    let run = home.set_up(&[]);
    assert!(run.err.contains("warning: no coding agent was found (Claude Code, Codex,"), "{run:?}");
    assert!(!home.path(".agents").exists() && !home.path(".claude").exists());

    home.write("bin/gemini", "");
    home.variables.push(("PATH", home.path("bin")));
    home.set_up(&[]);
    assert!(home.path(".gemini/settings.json").exists() && !home.path(".codex").exists());

    home.set_up(&["--tool", "codex", "--tool", "cursor"]);
    assert!(home.path(".codex/config.toml").exists() && home.path(".cursor/mcp.json").exists());
    assert!(!home.path(".claude").exists());

    // taking one back leaves what the others read
    home.set_up(&["--tool", "codex", "--remove"]);
    assert!(!home.path(".codex/config.toml").exists() && home.path(".agents/skills/secret-gate/SKILL.md").exists());

    let run = home.run(&["--tool", "emacs", "--yes"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("claude-code, codex, cline, opencode, roo-code, gemini-cli, cursor, vscode"), "{run:?}");
}

#[test]
fn a_client_that_moved_is_found_again_and_what_the_user_added_stays() {
    let mut home = with_files();
    let before = home.snapshot();
    home.set_up(&[]);
    let text =
        home.text("project/.roo/mcp.json").replace("\"timeout\"", "\"alwaysAllow\": [\"search_secrets\"], \"timeout\"");
    home.write("project/.roo/mcp.json", text);

    // a link on the path outlives updates of what it leads to
    home.variables.push(("PATH", home.path("bin")));
    fs::create_dir(home.path("bin")).unwrap();
    symlink(CLIENT, home.path("bin/secret-gate")).unwrap();
    home.set_up(&[]);
    let moved = json!(home.path("bin/secret-gate"));
    for name in [".claude.json", "dotfiles/gemini.json", "project/.roo/mcp.json"] {
        assert_eq!(home.json(name)["mcpServers"]["secret-gate"]["command"], moved, "{name}");
    }
    let entry = &home.json("project/.roo/mcp.json")["mcpServers"]["secret-gate"];
    assert_eq!(entry["alwaysAllow"], json!(["search_secrets"]));
    let link = fs::read_link(home.path(".config/secret-gate/bin/secret-gate")).unwrap();
    assert_eq!(link, home.path("bin/secret-gate"));

    home.set_up(&["--remove"]);
    fs::remove_dir_all(home.path("bin")).unwrap();
    assert_eq!(home.snapshot(), before);
}

#[test]
fn an_entry_that_was_copied_by_hand_is_taken_over_and_goes_with_the_rest() {
    let home = Home::new();
    let by_hand = "{\"mcpServers\": {\"secret-gate\": {\"command\": \"/old/client\"}}, \"mine\": 1}";
    home.write(".gemini/settings.json", by_hand);
    home.set_up(&[]);
    assert_eq!(home.json(".gemini/settings.json")["mcpServers"]["secret-gate"]["command"], CLIENT);
    assert_eq!(home.text(".gemini/settings.json.secret-gate-backup"), by_hand);
    home.set_up(&["--remove"]);
    assert_eq!(home.json(".gemini/settings.json"), json!({"mcpServers": {}, "mine": 1}));
}

#[test]
fn files_of_a_project_come_where_they_are_wanted() {
    let home = Home::new();
    home.set_up(&["--tool", "roo-code", "--tool", "vscode", "--tool", "cursor", "--project"]);
    for (name, list) in
        [(".roo/mcp.json", "mcpServers"), (".vscode/mcp.json", "servers"), (".cursor/mcp.json", "mcpServers")]
    {
        assert_eq!(home.json(&format!("project/{name}"))[list]["secret-gate"]["command"], CLIENT, "{name}");
    }
    home.set_up(&["--remove", "--project"]);
    for folder in fs::read_dir(home.path("project")).unwrap() {
        assert_eq!(fs::read_dir(folder.unwrap().path()).unwrap().count(), 0);
    }
}

#[test]
fn goes_where_the_agents_were_told_to_look() {
    let mut home = Home::new();
    home.variables.push(("CLAUDE_CONFIG_DIR", home.path("claude")));
    home.variables.push(("CODEX_HOME", home.path("codex")));
    home.variables.push(("XDG_CONFIG_HOME", home.path("xdg")));
    fs::create_dir_all(home.path("claude")).unwrap();
    fs::create_dir_all(home.path("codex")).unwrap();
    fs::create_dir_all(home.path("xdg/opencode")).unwrap();
    home.set_up(&["--server", "https://gate.example.com"]);
    for name in [
        "claude/.claude.json",
        "claude/settings.json",
        "claude/skills/secret-gate/SKILL.md",
        "codex/config.toml",
        "xdg/opencode/opencode.json",
        "xdg/secret-gate/config.json",
    ] {
        assert!(home.path(name).exists(), "{name}");
    }
    // Codex passes the variable on to nobody
    let codex = home.text("codex/config.toml");
    assert!(codex.contains(&format!("env = {{ XDG_CONFIG_HOME = \"{}\" }}", home.path("xdg").display())), "{codex}");
    assert!(!home.path(".claude").exists() && !home.path(".codex").exists() && !home.path(".config").exists());
}

#[test]
fn skills_that_are_linked_together_are_written_once() {
    let home = Home::with_agents();
    fs::remove_dir(home.path(".claude/skills")).unwrap();
    symlink(home.path(".agents/skills"), home.path(".claude/skills")).unwrap();
    let before = home.snapshot();
    home.set_up(&[]);
    home.set_up(&["--remove"]);
    assert_eq!(home.snapshot(), before);
}

#[test]
fn many_at_once_leave_what_one_leaves() {
    let home = with_files();
    let original = home.text(".claude.json");
    let runs: Vec<_> = (0..8)
        .map(|_| {
            let mut setup = home.command(&["--yes", "--server", "https://gate.example.com"]);
            setup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for run in runs {
        let run = ended(run.wait_with_output().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
    }
    let after = home.snapshot();
    let alone = with_files();
    alone.set_up(&["--server", "https://gate.example.com"]);
    let texts = |home: &Home, snapshot: BTreeMap<PathBuf, (u32, Vec<u8>)>| -> BTreeMap<PathBuf, Vec<u8>> {
        let relative = |path: PathBuf| path.strip_prefix(home.root()).unwrap().to_owned();
        let is_link = |path: &Path| fs::symlink_metadata(path).unwrap().is_symlink();
        snapshot
            .into_iter()
            .filter(|(path, _)| !is_link(path))
            .map(|(path, (_, text))| (relative(path), text))
            .collect()
    };
    assert_eq!(texts(&home, after), texts(&alone, alone.snapshot()));
    assert_eq!(home.text(".claude.json.secret-gate-backup"), original);
}

#[test]
fn the_configuration_of_the_client_keeps_a_key_with_its_server() {
    let home = Home::new();
    home.write("ci.key", "the-key\n");
    let config = ".config/secret-gate/config.json";
    let key = home.path("ci.key");
    let key = key.to_str().unwrap();
    let run = home.set_up(&["--server", "https://gate.example.com/", "--api-key-file", "../ci.key"]);
    assert!(run.err.contains("warning: others can read ../ci.key: chmod 600 it"), "{run:?}");
    let written = home.json(config);
    assert_eq!(written["server_url"], "https://gate.example.com");
    assert_eq!(fs::canonicalize(written["api_key_file"].as_str().unwrap()).unwrap(), fs::canonicalize(key).unwrap());
    assert_eq!(fs::metadata(home.path(config)).unwrap().permissions().mode() & 0o777, 0o600);

    // the same server may be named again, another would get the key
    home.set_up(&["--server", "https://GATE.example.com:443"]);
    let run = home.run(&["--server", "https://other.example.com", "--yes"]);
    assert!(run.code == 1 && run.err.contains("was configured for https://gate.example.com"), "{run:?}");
    assert_eq!(home.json(config), written);

    for args in [
        &["--server", "gate.example.com"][..],
        &["--server", "https://g", "--api-key-file", "../missing"],
        &["--server", "https://g", "--api-key-file", ".."],
        &["--api-key-file", "../ci.key"],
        &["--server", "http://gate.example.com", "--api-key-file", "../ci.key"],
        &["--remove", "--server", "https://g"],
    ] {
        let run = home.run(&[args, &["--yes"]].concat());
        assert_eq!(run.code, 2, "{run:?}");
    }
    assert_eq!(home.json(config), written);
    home.set_up(&["--remove"]);
    assert!(!home.path(".config/secret-gate").exists());
}

#[test]
fn removal_leaves_a_configuration_that_setup_did_not_write() {
    let home = Home::new();
    let config = ".config/secret-gate/config.json";
    home.write(config, "{\"server_url\": \"https://gate.example.com\"}");
    let run = home.set_up(&["--tool", "codex"]);
    assert!(!run.err.contains("no server is configured"), "{run:?}");
    home.set_up(&["--remove"]);
    assert_eq!(home.text(config), "{\"server_url\": \"https://gate.example.com\"}");
}

#[test]
fn removal_without_a_setup_loses_nothing_that_the_user_made() {
    let home = Home::with_agents();
    let made = r#"{"mcpServers":{"secret-gate":{"command":"/opt/mine/secret-gate","args":["mcp"],"env":{"A":"b"}}}}"#;
    home.write(".claude.json", made);
    fs::create_dir_all(home.path("opt")).unwrap();
    home.write("opt/secret-gate", "mine");
    fs::create_dir_all(home.path(".config/secret-gate/bin")).unwrap();
    let link = home.path(".config/secret-gate/bin/secret-gate");
    symlink(home.path("opt/secret-gate"), &link).unwrap();
    assert_eq!(home.run(&["--remove", "--yes"]).code, 0);
    assert_eq!(home.text(".claude.json.secret-gate-backup"), made);
    assert_eq!(fs::read_link(&link).unwrap(), home.path("opt/secret-gate"));
}
