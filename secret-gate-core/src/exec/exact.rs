//! Exact commands: which program a command is, to the byte, and starting that one and no other.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process;

use rustix::fs::{Access, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::ExactCommand;

use super::shebang::{self, Shebang};
use super::start::Inherited;
use super::{Command, ExecError, system};

/// Where programs are looked for when there is no `PATH`, as `execvp(3)` of the GNU library does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The largest script, in bytes: it is read into memory.
const MAX_SCRIPT: u64 = 16 * 1024 * 1024;

/// Says exactly which command this is, for a human to approve.
///
/// `argv` is the argument vector, `working_dir` the absolute folder it runs in, `path` the `PATH` to look its name up in
/// (`/bin:/usr/bin` where there is none), `env` the variables that carry fields. The program is looked up as `execvp(3)`
/// does; relative names and entries count from the folder.
///
/// What is hashed, what the human should see, and what [`Command::exactly`] runs:
/// - a program: [`program`](ExactCommand::program) is its path without symbolic links, [`sha256`](ExactCommand::sha256)
///   the SHA-256 of its content. When it starts, the file is opened, what was opened is hashed, and on Linux it is that open
///   file which is executed, so that putting another in its place changes nothing. Its argument zero is the path under which
///   it was found; lists of processes that show another name show a number;
/// - a script (`#!`): `program` and `sha256` are those of its interpreter, and
///   [`script_sha256`](ExactCommand::script_sha256) is of the script. On Linux the interpreter reads a sealed copy in memory
///   of what was hashed, as `/dev/fd/N`, which is then what the script takes for its own name (`$0`). Of `#!/usr/bin/env
///   NAME`, `NAME` is looked up in `path` and is the interpreter; `env` takes no part. An interpreter that is a script
///   itself is refused.
///
/// Libraries, modules and files that the program reads in its turn are not hashed, and neither are programs that a script
/// calls. Nor is a file protected against who may write into it in the moment between the hash and the start; that is
/// noticed right after, and the command killed.
///
/// Reads the files, so it can take a while (a second for a gigabyte).
///
/// # Errors
/// [`ExecError`] when the command can't be found or read, or can't be exact.
pub fn resolve(
    argv: &[String],
    working_dir: &Path,
    path: Option<&OsStr>,
    env: BTreeMap<String, String>,
) -> Result<ExactCommand, ExecError> {
    Ok(Opened::find(argv, working_dir, path, env)?.exact)
}

/// An exact command whose files are open.
#[derive(Debug)]
pub(super) struct Opened {
    exact: ExactCommand,
    program: Program,
    /// What the interpreter gets before the script.
    options: Vec<String>,
    script: Option<Script>,
}

#[derive(Debug)]
struct Program {
    /// Where it was found.
    found: PathBuf,
    file: File,
    /// When the file was changed last, in seconds and nanoseconds.
    changed: (i64, i64),
    sha256: String,
}

#[derive(Debug)]
enum Script {
    Copy(OwnedFd),
    Path(PathBuf),
}

impl Opened {
    /// Opens what was approved.
    ///
    /// # Errors
    /// [`ExecError::Changed`] when this command, run here and now, is another one.
    pub(super) async fn approved(command: &Command, approved: &ExactCommand) -> Result<Self, ExecError> {
        let not_text = || ExecError::Changed { what: "the argument vector" };
        let argv = command.argv.iter().map(|argument| argument.to_str().map(str::to_owned));
        let argv: Vec<String> = argv.collect::<Option<_>>().ok_or_else(not_text)?;
        let (dir, path) = (command.working_dir.clone(), command.variable("PATH").map(OsStr::to_owned));
        let env = approved.env.clone();
        let find = move || Self::find(&argv, &dir, path.as_deref(), env);
        let opened =
            tokio::task::spawn_blocking(find).await.map_err(|error| ExecError::Start(io::Error::other(error)))??;
        opened.check(approved)?;
        Ok(opened)
    }

    fn check(&self, approved: &ExactCommand) -> Result<(), ExecError> {
        let ExactCommand { argv, working_dir, program, sha256, script_sha256, .. } = &self.exact;
        let is_script = |hash: &Option<String>| hash.as_deref().map(str::to_ascii_lowercase);
        let what = if *argv != approved.argv {
            "the argument vector"
        } else if *working_dir != approved.working_dir {
            "the working folder"
        } else if *program != approved.program {
            "the program's path"
        } else if !sha256.eq_ignore_ascii_case(&approved.sha256) {
            "the program's content"
        } else if *script_sha256 != is_script(&approved.script_sha256) {
            "the script's content"
        } else {
            return Ok(());
        };
        Err(ExecError::Changed { what })
    }

    /// What starts it.
    ///
    /// # Errors
    /// Too many open files.
    pub(super) fn command(&self, inherited: &mut Inherited) -> io::Result<process::Command> {
        let mut command = process::Command::new(self.program.path());
        command.arg0(&self.program.found).args(&self.options);
        match &self.script {
            Some(Script::Copy(copy)) => {
                command.arg(inherited.add(copy)?);
            }
            Some(Script::Path(path)) => {
                command.arg(path);
            }
            None => {}
        }
        command.args(self.exact.argv.iter().skip(1));
        Ok(command)
    }

    /// The folder it runs in, without symbolic links.
    pub(super) fn working_dir(&self) -> &Path {
        Path::new(&self.exact.working_dir)
    }

    /// Whether the program's file is as it was before it was hashed.
    pub(super) fn is_unchanged(&self) -> bool {
        self.program.file.metadata().is_ok_and(|now| (now.ctime(), now.ctime_nsec()) == self.program.changed)
    }

    fn find(
        argv: &[String],
        working_dir: &Path,
        path: Option<&OsStr>,
        env: BTreeMap<String, String>,
    ) -> Result<Self, ExecError> {
        let dir = fs::canonicalize(working_dir).ok().filter(|dir| working_dir.is_absolute() && dir.is_dir());
        let dir = dir.ok_or_else(|| ExecError::NoFolder { path: working_dir.to_owned() })?;
        let name = argv.first().filter(|name| !name.is_empty()).ok_or(ExecError::NoProgram)?;
        let look = |name: &str| look_up(name, &dir, path).ok_or_else(|| ExecError::NotFound { name: name.to_owned() });
        let found = look(name)?;
        let not_exact = |problem| ExecError::NotExact { path: found.clone(), problem };
        let (mut file, _) = open(&found)?;
        let Some(content) = script(&mut file).map_err(|source| unreadable(&found, source))? else {
            return Self::new(argv, &dir, Program::of(found)?, env);
        };
        if content.len() as u64 > MAX_SCRIPT {
            return Err(not_exact("it is a script of more than 16 MiB"));
        }
        let Some(first_line) = shebang::parse(&content).map_err(not_exact)? else {
            return Err(not_exact("its first line changed while it was read"));
        };
        let (interpreter, options) = match first_line {
            Shebang::Interpreter(path, option) => (dir.join(path), option.into_iter().collect()),
            Shebang::Named(name, options) => (look(name)?, options),
        };
        let program = Program::of(interpreter)?;
        let options = options.into_iter().map(str::to_owned).collect();
        let copy = system::sealed_copy(&content).map_err(|source| unreadable(&found, source))?;
        let hash = hex::encode(Sha256::digest(&content));
        let script = copy.map_or_else(|| Script::Path(found.clone()), Script::Copy);
        let mut opened = Self { options, script: Some(script), ..Self::new(argv, &dir, program, env)? };
        opened.exact.script_sha256 = Some(hash);
        Ok(opened)
    }

    fn new(argv: &[String], dir: &Path, program: Program, env: BTreeMap<String, String>) -> Result<Self, ExecError> {
        let text = |path: &Path| {
            let not_text = || ExecError::NotExact { path: path.to_owned(), problem: "its path is not text" };
            path.to_str().map(str::to_owned).ok_or_else(not_text)
        };
        let path = system::path_of(&program.file, &program.found);
        let path = path.map_err(|source| unreadable(&program.found, source))?;
        let mut exact = ExactCommand::new(argv, text(dir)?, text(&path)?, &program.sha256);
        exact.env = env;
        Ok(Self { exact, program, options: Vec::new(), script: None })
    }
}

impl Program {
    /// Opens and hashes a program that is no script.
    fn of(found: PathBuf) -> Result<Self, ExecError> {
        let (mut file, changed) = open(&found)?;
        let failed = |source| unreadable(&found, source);
        if script(&mut file).map_err(failed)?.is_some() {
            let problem = "the interpreter of a script can't be a script itself; name the program behind it";
            return Err(ExecError::NotExact { path: found, problem });
        }
        let mut hash = Sha256::new();
        io::Seek::rewind(&mut file).map_err(failed)?;
        io::copy(&mut file, &mut hash).map_err(failed)?;
        Ok(Self { file, changed, sha256: hex::encode(hash.finalize()), found })
    }

    fn path(&self) -> PathBuf {
        system::program_path(&self.file).unwrap_or_else(|| self.found.clone())
    }
}

/// Opens a file that may be executed, and nothing else: to open a pipe would wait for its other end. Returns when it was
/// changed last as well.
fn open(path: &Path) -> Result<(File, (i64, i64)), ExecError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|source| unreadable(path, source.into()))?;
    let file = File::from(file);
    let metadata = file.metadata().map_err(|source| unreadable(path, source))?;
    if !metadata.is_file() {
        return Err(ExecError::NotExact { path: path.to_owned(), problem: "it is not a file" });
    }
    Ok((file, (metadata.ctime(), metadata.ctime_nsec())))
}

/// The content of a script, and one byte more than it may have at most; `None` for another program.
fn script(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    file.take(2).read_to_end(&mut content)?;
    if content != b"#!" {
        return Ok(None);
    }
    file.take(MAX_SCRIPT - 1).read_to_end(&mut content)?;
    Ok(Some(content))
}

fn look_up(name: &str, dir: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let may_run = |path: &PathBuf| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return Some(dir.join(name)).filter(may_run);
    }
    let default = OsString::from(DEFAULT_PATH);
    // an empty entry is the folder itself
    std::env::split_paths(path.unwrap_or(&default)).map(|entry| dir.join(entry).join(name)).find(may_run)
}

fn unreadable(path: &Path, source: io::Error) -> ExecError {
    ExecError::Unreadable { path: path.to_owned(), source }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn put(&self, content: &[u8]) {
            let (new, path) = (self.0.path().join("new"), self.0.path().join("say"));
            fs::write(&new, content).unwrap();
            fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(new, path).unwrap();
        }

        fn open(&self) -> Opened {
            let argv = ["./say".to_owned(), "hello".to_owned()];
            Opened::find(&argv, self.0.path(), None, BTreeMap::new()).unwrap()
        }
    }

    fn output(opened: &Opened) -> String {
        let mut inherited = Inherited::default();
        let mut command = opened.command(&mut inherited).unwrap();
        inherited.hand_to(&mut command);
        String::from_utf8(command.process_group(0).output().unwrap().stdout).unwrap()
    }

    #[test]
    fn another_program_in_its_place_changes_nothing() {
        let fixture = Fixture::new();
        fixture.put(&fs::read("/bin/echo").unwrap());
        let opened = fixture.open();
        fixture.put(&fs::read("/bin/false").unwrap());
        assert_eq!(output(&opened), "hello\n");
        assert!(fixture.open().check(&opened.exact).is_err());
    }

    #[test]
    fn neither_does_another_script_nor_a_change_within_it() {
        let fixture = Fixture::new();
        fixture.put(b"#!/bin/sh\necho \"script $1\"\n");
        let opened = fixture.open();
        let mut file = fs::OpenOptions::new().write(true).open(fixture.0.path().join("say")).unwrap();
        file.write_all(b"#!/bin/sh\necho \"CHANGE $1\"\n").unwrap();
        assert_eq!(output(&opened), "script hello\n");
        fixture.put(b"#!/bin/sh\necho another\n");
        assert_eq!(output(&opened), "script hello\n", "and it can be started again");
    }

    #[test]
    fn a_change_within_the_program_is_noticed() {
        let fixture = Fixture::new();
        fixture.put(&fs::read("/bin/echo").unwrap());
        let opened = fixture.open();
        assert!(opened.is_unchanged());
        let mut file = fs::OpenOptions::new().append(true).open(fixture.0.path().join("say")).unwrap();
        file.write_all(b"x").unwrap();
        assert!(!opened.is_unchanged());
    }
}
