//! Exact commands: the program that was approved runs, and no other.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use secret_gate_core::ExactCommand;
use secret_gate_core::exec::{Collected, Command, Delivery, Ended, ExecError, resolve, run};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{TOKEN, collect, injection, token, variable};

/// A folder with programs of its own.
struct Fixture {
    root: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "other", "work"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        // where the temporary folder itself is a link
        fs::canonicalize(self.root.path()).unwrap().join(name)
    }

    /// Writes a new file; what is open stays as it is.
    fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let new = self.path("new");
        fs::write(&new, content).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    fn search(&self) -> String {
        format!("{}:{}", self.path("bin").display(), self.path("other").display())
    }

    fn resolve(&self, argv: &[&str]) -> Result<ExactCommand, ExecError> {
        self.resolve_with(argv, &[])
    }

    fn resolve_with(&self, argv: &[&str], env: &[(&str, &str)]) -> Result<ExactCommand, ExecError> {
        let argv: Vec<String> = argv.iter().map(|&argument| argument.to_owned()).collect();
        let env: BTreeMap<String, String> =
            env.iter().map(|&(name, field)| (name.to_owned(), field.to_owned())).collect();
        resolve(&argv, &self.path("work"), Some(OsStr::new(&self.search())), env)
    }

    fn command(&self, argv: &[&str]) -> Command {
        Command::new(argv, self.path("work")).env([("PATH", self.search())])
    }

    /// Runs the vector if it is what was approved; returns what it prints, or what changed.
    async fn run(&self, argv: &[&str], approved: &ExactCommand) -> Result<String, &'static str> {
        self.run_with(self.command(argv), approved).await
    }

    async fn run_with(&self, command: Command, approved: &ExactCommand) -> Result<String, &'static str> {
        match collect(command.exactly(approved.clone()), &[]).await {
            Ok((_, out, _)) => Ok(out),
            Err(ExecError::Changed { what }) => Err(what),
            Err(error) => panic!("{error} {error:?}"),
        }
    }
}

fn hash(path: impl AsRef<Path>) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

/// A real program that prints `text`: a copy of echo, told apart by what follows its content.
fn echo(mark: &str) -> Vec<u8> {
    let mut content = fs::read("/bin/echo").unwrap();
    content.extend_from_slice(mark.as_bytes());
    content
}

#[tokio::test]
async fn a_program_is_its_path_and_its_content() {
    let fixture = Fixture::new();
    let program = fixture.program("bin/say", echo(""));
    let exact = fixture.resolve(&["say", "hello"]).unwrap();
    assert_eq!(exact.argv, ["say", "hello"]);
    assert_eq!(exact.program, program.to_str().unwrap());
    assert_eq!(exact.sha256, hash(&program));
    assert_eq!(exact.script_sha256, None);
    assert_eq!(exact.working_dir, fixture.path("work").to_str().unwrap());
    assert_eq!(fixture.run(&["say", "hello"], &exact).await, Ok("hello\n".to_owned()));
    let upper = {
        let mut upper = exact.clone();
        upper.sha256 = exact.sha256.to_uppercase();
        upper
    };
    assert_eq!(fixture.run(&["say", "hello"], &upper).await, Ok("hello\n".to_owned()));
}

#[tokio::test]
async fn looked_up_as_execvp_does() {
    let fixture = Fixture::new();
    let found = |argv: &[&str]| fixture.resolve(argv).map(|exact| exact.program);
    fixture.program("other/say", echo("other"));
    fs::create_dir(fixture.path("bin/say")).unwrap();
    assert_eq!(found(&["say"]).unwrap(), fixture.path("other/say").to_str().unwrap(), "a folder is no program");
    fs::remove_dir(fixture.path("bin/say")).unwrap();
    fs::write(fixture.path("bin/say"), echo("")).unwrap();
    assert_eq!(found(&["say"]).unwrap(), fixture.path("other/say").to_str().unwrap(), "nor what can't be executed");
    fixture.program("work/here", echo(""));
    assert_eq!(found(&["./here"]).unwrap(), fixture.path("work/here").to_str().unwrap());
    assert_eq!(found(&["../other/say"]).unwrap(), fixture.path("other/say").to_str().unwrap());
    assert!(matches!(found(&["here"]), Err(ExecError::NotFound { name }) if name == "here"));
    assert!(matches!(found(&["./none"]), Err(ExecError::NotFound { .. })));
    assert!(matches!(found(&[]), Err(ExecError::NoProgram)));
    assert!(matches!(found(&[""]), Err(ExecError::NoProgram)));
    let in_path = |path: Option<&str>, name: &str| {
        let found = resolve(&[name.to_owned()], &fixture.path("work"), path.map(OsStr::new), BTreeMap::new());
        found.map(|exact| exact.program).ok()
    };
    let here = fixture.path("work/here").to_str().map(str::to_owned);
    assert_eq!(in_path(Some(":/nowhere"), "here"), here, "an empty entry is the folder");
    assert_eq!(in_path(Some("../work"), "here"), here, "a relative entry counts from the folder");
    assert_eq!(in_path(None, "here"), None);
    assert!(in_path(None, "sh").is_some());
    let elsewhere = resolve(&["sh".to_owned()], Path::new("work"), None, BTreeMap::new());
    assert!(matches!(elsewhere, Err(ExecError::NoFolder { .. })));
}

#[tokio::test]
async fn a_changed_program_is_refused() {
    let fixture = Fixture::new();
    fixture.program("bin/say", echo(""));
    let exact = fixture.resolve(&["say", "hello"]).unwrap();
    fixture.program("bin/say", echo("changed"));
    let error = collect(fixture.command(&["say", "hello"]).exactly(exact.clone()), &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "not what was approved: the program's content changed since");
    fixture.program("bin/say", echo(""));
    assert_eq!(fixture.run(&["say", "hello"], &exact).await, Ok("hello\n".to_owned()), "the content counts");
}

#[tokio::test]
async fn cancelled_while_it_is_looked_at_it_does_not_start() {
    let fixture = Fixture::new();
    let program = fixture.program("bin/say", echo(""));
    // takes longer to look at than the caller needs to change their mind
    fs::File::options().write(true).open(program).unwrap().set_len(64 << 20).unwrap();
    let approved = fixture.resolve(&["say", "hello"]).unwrap();
    let command = || fixture.command(&["say", "hello"]).exactly(approved.clone());
    let mut output = Collected::new();
    let unwanted = command().on_start(|_| panic!("it starts"));
    let exit = run(unwanted, &[], &mut output, tokio::task::yield_now()).await.unwrap();
    assert_eq!((exit.ended, output.stdout), (Ended::Cancelled, vec![]));
    assert_eq!(collect(command(), &[]).await.unwrap().1, "hello\n");
}

#[tokio::test]
async fn a_changed_call_is_refused() {
    let fixture = Fixture::new();
    fixture.program("bin/say", echo(""));
    let exact = fixture.resolve(&["say", "hello"]).unwrap();
    for argv in [&["say", "hullo"][..], &["say"], &["say", "hello", ""], &["./../bin/say", "hello"]] {
        assert_eq!(fixture.run(argv, &exact).await, Err("the argument vector"), "{argv:?}");
    }
    let elsewhere = Command::new(["say", "hello"], fixture.path("other")).env([("PATH", fixture.search())]);
    assert_eq!(fixture.run_with(elsewhere, &exact).await, Err("the working folder"));
    let not_text =
        Command::new([OsStr::new("say"), std::os::unix::ffi::OsStrExt::from_bytes(b"\xff")], fixture.path("work"));
    assert_eq!(fixture.run_with(not_text, &exact).await, Err("the argument vector"));
}

#[tokio::test]
async fn a_swapped_link_is_refused() {
    let fixture = Fixture::new();
    fixture.program("other/one", echo(""));
    fixture.program("other/two", echo(""));
    symlink("../other/one", fixture.path("bin/say")).unwrap();
    let exact = fixture.resolve(&["say"]).unwrap();
    assert_eq!(exact.program, fixture.path("other/one").to_str().unwrap(), "links are followed");
    assert_eq!(fixture.run(&["say"], &exact).await, Ok("\n".to_owned()));
    fs::remove_file(fixture.path("bin/say")).unwrap();
    symlink("../other/two", fixture.path("bin/say")).unwrap();
    assert_eq!(fixture.run(&["say"], &exact).await, Err("the program's path"));
    // nor may the folder become another
    symlink("work", fixture.path("link")).unwrap();
    let in_link = || Command::new(["say"], fixture.path("link")).env([("PATH", fixture.search())]);
    let exact = fixture.resolve(&["say"]).unwrap();
    assert_eq!(fixture.run_with(in_link(), &exact).await, Ok("\n".to_owned()));
    fs::remove_file(fixture.path("link")).unwrap();
    symlink("other", fixture.path("link")).unwrap();
    assert_eq!(fixture.run_with(in_link(), &exact).await, Err("the working folder"));
}

#[tokio::test]
async fn another_path_variable_brings_no_other_program() {
    let fixture = Fixture::new();
    fixture.program("bin/say", echo(""));
    let exact = fixture.resolve(&["say", "hello"]).unwrap();
    fixture.program("other/say", echo("other"));
    let path = |path: String| fixture.command(&["say", "hello"]).env([("PATH", path)]);
    let (bin, other) = (fixture.path("bin"), fixture.path("other"));
    assert_eq!(
        fixture.run_with(path(format!("{}:{}", other.display(), bin.display())), &exact).await,
        Err("the program's path")
    );
    let more = path(format!("/nowhere:{}:{}", bin.display(), other.display()));
    assert_eq!(fixture.run_with(more, &exact).await, Ok("hello\n".to_owned()), "the same program under another PATH");
}

#[tokio::test]
async fn a_script_is_its_content_and_its_interpreter() {
    let fixture = Fixture::new();
    let shell = fixture.program("other/shell", fs::read("/bin/sh").unwrap());
    let script = format!("#!{} -u\necho \"$#:$1:$2\"; read line; echo $line\n", shell.display());
    let script = fixture.program("bin/script", script);
    let exact = fixture.resolve(&["script", "a b", "c"]).unwrap();
    assert_eq!(exact.program, shell.to_str().unwrap());
    assert_eq!(exact.sha256, hash(&shell));
    assert_eq!(exact.script_sha256, Some(hash(&script)));
    let run = || fixture.run(&["script", "a b", "c"], &exact);
    assert_eq!(run().await, Ok("2:a b:c\n\n".to_owned()));

    let content = fs::read_to_string(&script).unwrap();
    fixture.program("bin/script", content.clone() + "echo more\n");
    assert_eq!(run().await, Err("the script's content"));
    fixture.program("bin/script", content.replace(" -u", ""));
    assert_eq!(run().await, Err("the script's content"));
    fixture.program("bin/script", echo(""));
    assert_eq!(run().await, Err("the program's path"), "a program in its place");
    fixture.program("bin/script", &content);
    assert_eq!(run().await, Ok("2:a b:c\n\n".to_owned()));

    let mut changed = fs::read("/bin/sh").unwrap();
    changed.push(0);
    fixture.program("other/shell", changed);
    assert_eq!(run().await, Err("the program's content"), "another interpreter");
}

#[tokio::test]
async fn a_script_that_asks_env_for_its_interpreter() {
    let fixture = Fixture::new();
    let shell = fixture.program("bin/shell", fs::read("/bin/sh").unwrap());
    fixture.program("bin/script", "#!/usr/bin/env shell\necho \"$1\"\n");
    let exact = fixture.resolve(&["script", "x"]).unwrap();
    assert_eq!((&*exact.program, &exact.sha256), (shell.to_str().unwrap(), &hash(&shell)), "env takes no part");
    assert_eq!(fixture.run(&["script", "x"], &exact).await, Ok("x\n".to_owned()));
    // another interpreter of that name comes first
    fixture.program("other/shell", fs::read("/bin/sh").unwrap());
    let search = format!("{}:{}", fixture.path("other").display(), fixture.path("bin").display());
    let command = fixture.command(&["script", "x"]).env([("PATH", search)]);
    assert_eq!(fixture.run_with(command, &exact).await, Err("the program's path"));
    fixture.program("bin/script", "#!/usr/bin/env -S shell -u\necho \"$1\"\n");
    let exact = fixture.resolve(&["script", "x"]).unwrap();
    assert_eq!(fixture.run(&["script", "x"], &exact).await, Ok("x\n".to_owned()));
}

#[tokio::test]
async fn real_interpreters_read_the_copy() {
    let fixture = Fixture::new();
    for (interpreter, script) in [
        ("/bin/bash", "echo \"$1\""),
        ("/usr/bin/perl", "print \"$ARGV[0]\\n\";"),
        ("/usr/bin/python3", "import sys; print(sys.argv[1])"),
        ("/usr/bin/awk -f", "BEGIN { print ARGV[1] }"),
    ] {
        if !Path::new(interpreter.split(' ').next().unwrap()).exists() {
            continue;
        }
        fixture.program("bin/script", format!("#!{interpreter}\n{script}\n"));
        let exact = fixture.resolve(&["script", "said"]).unwrap();
        assert_eq!(fixture.run(&["script", "said"], &exact).await, Ok("said\n".to_owned()), "{interpreter}");
    }
}

#[tokio::test]
async fn what_can_not_be_exact() {
    let fixture = Fixture::new();
    fixture.program("bin/script", "#!/bin/sh\n");
    fixture.program("bin/chain", format!("#!{}\n", fixture.path("bin/script").display()));
    fixture.program("bin/odd", "#!/usr/bin/env -i sh\n");
    fixture.program("bin/nobody", "#!/no/such/interpreter\n");
    fixture.program("bin/big", [b"#!/bin/sh\n".as_slice(), &vec![b'#'; 17 << 20]].concat());
    for name in ["chain", "odd", "big"] {
        let error = fixture.resolve(&[name]).unwrap_err();
        assert!(matches!(error, ExecError::NotExact { .. }), "{name}: {error:?}");
    }
    assert!(matches!(fixture.resolve(&["nobody"]), Err(ExecError::Unreadable { .. })));
    // a file without a first line is no program, and the system says so; no shell guesses
    fixture.program("bin/text", "echo guessed\n");
    let exact = fixture.resolve(&["text"]).unwrap();
    let error = collect(fixture.command(&["text"]).exactly(exact), &[]).await;
    assert!(matches!(error, Err(ExecError::Start(_))), "{error:?}");
}

#[tokio::test]
async fn loader_variables_are_dropped() {
    let fixture = Fixture::new();
    let loaders = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "BASH_ENV",
        "ENV",
        "IFS",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PERL5OPT",
        "RUBYOPT",
        "GIT_SSH_COMMAND",
        "BASH_FUNC_echo%%",
        "PS4",
        "SHELLOPTS",
    ];
    let mut given = vec![("PATH", "/usr/bin:/bin"), ("PLAIN", "1"), ("SECRET_GATE_API_KEY", "k")];
    given.extend(loaders.iter().map(|name| (*name, "/no/such/thing")));
    let argv = ["env".to_owned()];
    let exact = resolve(&argv, &fixture.path("work"), Some(OsStr::new("/usr/bin:/bin")), BTreeMap::new()).unwrap();
    let command = || Command::new(["env"], fixture.path("work")).env(given.clone());
    let (exit, out, err) = collect(command().exactly(exact), &[]).await.unwrap();
    assert_eq!((exit.code(), out.as_str(), err.as_str()), (0, "PLAIN=1\n", ""));
    // while another command has them, and the loader complains
    let (_, out, err) = collect(command(), &[]).await.unwrap();
    assert!(out.contains("LD_PRELOAD=") && err.contains("/no/such/thing"), "{out} {err}");
}

#[tokio::test]
async fn the_home_of_a_caller_configures_no_exact_command() {
    let fixture = Fixture::new();
    let home = fixture.path("work");
    let named = home.to_str().unwrap();
    let names = ["HOME", "CURL_HOME", "XDG_CONFIG_HOME", "OPENSSL_CONF", "SSLKEYLOGFILE"];
    let given: Vec<_> = names.map(|name| (name, named)).into_iter().chain([("PATH", "/usr/bin:/bin")]).collect();
    let argv = ["env".to_owned()];
    let exact = resolve(&argv, &home, Some(OsStr::new("/usr/bin:/bin")), BTreeMap::new()).unwrap();
    let command = || Command::new(["env"], &home).env(given.clone());
    let out = collect(command().exactly(exact.clone()), &[]).await.unwrap().1;
    assert!(!out.contains(named) && out.starts_with("HOME=/"), "{out}");
    assert!(collect(command(), &[]).await.unwrap().1.contains(named));
    // where there is none, none comes in
    let none = Command::new(["env"], &home).env([("PATH", "/usr/bin:/bin")]).exactly(exact);
    assert_eq!(collect(none, &[]).await.unwrap().1, "");
}

#[tokio::test]
async fn a_function_from_the_environment_changes_no_script() {
    let fixture = Fixture::new();
    fixture.program("bin/script", "#!/bin/bash\nsay hello\n");
    fixture.program("bin/plain", "#!/bin/bash\nsay() { echo said; }\nsay\n");
    let exact = fixture.resolve(&["script"]).unwrap();
    let env = [("PATH".to_owned(), fixture.search()), ("BASH_FUNC_say%%".to_owned(), "() { echo stolen; }".to_owned())];
    let command = || fixture.command(&["script"]).env(env.clone());
    assert_eq!(fixture.run_with(command(), &exact).await, Ok(String::new()));
    assert_eq!(collect(command(), &[]).await.unwrap().1, "stolen\n");
}

#[tokio::test]
async fn exactly_the_approved_values_in_the_approved_ways() {
    let fixture = Fixture::new();
    fixture.program("bin/script", "#!/bin/sh\necho \"$T $U\"\n");
    let exact = fixture.resolve_with(&["script"], &[("T", "token"), ("U", "user")]).unwrap();
    assert_eq!(exact.env.len(), 2);
    let user = |label: &str, name: &str| injection(label, "ann-the-user", variable(name)).visible();
    let command = || fixture.command(&["script"]).exactly(exact.clone());
    let (_, out, _) = collect(command(), &[token(), user("api/user", "U")]).await.unwrap();
    assert_eq!(out, "[redacted:api/token] ann-the-user\n");
    let stdin = injection("api/user", TOKEN, Delivery::Stdin);
    for others in [
        vec![],
        vec![token()],
        vec![token(), user("api/user", "V")],
        vec![token(), user("api/password", "U")],
        vec![token(), user("api/superuser", "U")],
        vec![token(), user("api/user", "U"), user("api/user", "V")],
        vec![token(), stdin],
    ] {
        let error = collect(command(), &others).await.unwrap_err();
        assert!(matches!(error, ExecError::Changed { what } if what.contains("values")), "{others:?}: {error}");
    }

    fixture.program("bin/reads", "#!/bin/sh\nread line; echo \"$line, ${F%/*}, $(cat \"$F\")\"\n");
    let exact = fixture.resolve(&["reads"]).unwrap().with_file("F", "token").with_stdin("user");
    let command = || fixture.command(&["reads"]).exactly(exact.clone());
    let file = |name: &str| injection("api/token", TOKEN, Delivery::File(name.to_owned()));
    let stdin = injection("api/user", "ann-the-user", Delivery::Stdin).visible();
    let (_, out, _) = collect(command(), &[file("F"), stdin.clone()]).await.unwrap();
    assert_eq!(out, "ann-the-user, /dev/fd, [redacted:api/token]\n");
    for others in [
        vec![file("F")],
        vec![stdin.clone()],
        vec![file("G"), stdin.clone()],
        vec![injection("api/token", TOKEN, variable("F")), stdin.clone()],
        vec![file("F"), injection("api/token", TOKEN, Delivery::Stdin)],
        vec![file("F"), stdin, user("api/user", "U")],
    ] {
        let error = collect(command(), &others).await.unwrap_err();
        assert!(matches!(error, ExecError::Changed { what } if what.contains("values")), "{others:?}: {error}");
    }
}

/// As the process that holds values is.
#[tokio::test]
async fn in_a_process_that_nobody_may_trace() {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).unwrap();
    let fixture = Fixture::new();
    fixture.program("bin/say", echo(""));
    fixture.program("bin/script", "#!/bin/sh\ncat $F\n");
    let exact = fixture.resolve(&["say", "hello"]).unwrap();
    assert_eq!(fixture.run(&["say", "hello"], &exact).await, Ok("hello\n".to_owned()));
    let exact = fixture.resolve(&["script"]).unwrap().with_file("F", "token");
    let file = injection("api/token", TOKEN, Delivery::File("F".to_owned()));
    let (_, out, err) = collect(fixture.command(&["script"]).exactly(exact), &[file]).await.unwrap();
    // without PATH, the shell has one of its own
    assert_eq!((out.as_str(), err.as_str()), ("[redacted:api/token]", ""));
}
