//! `setup`: tells the coding agents of this machine about Secret Gate, and takes it back.
//!
//! `agents` knows which files each agent reads and what stands there, `target` what would become of a file, `json` and
//! `toml` edit texts, `file` reads and replaces files, `link` keeps the place where older skills look for the client.

mod agents;
mod diff;
mod file;
mod json;
mod link;
mod target;
mod toml;

use std::fs::File;
use std::io::{self, BufRead, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use jsonc_parser::cst::CstInputValue;
use secret_gate_core::client::ServerUrl;
use secret_gate_core::daemon::Config;

use self::agents::{Places, Tool};
use self::json::{Piece, Problem};
use self::link::{Link, Step};
use self::target::{Content, Plan, Target, Way};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{Ui, visible};

pub(crate) const EXAMPLES: &str = "\
Examples:
  secret-gate setup --server https://gate.example.com --api-key-file ~/ci.key
  secret-gate setup --tool codex --dry-run
  secret-gate setup --remove

What stands in the files stays: comments, order, unknown members, mode. Each is copied once before, beside it, as \
NAME.secret-gate-backup. --remove puts back what nobody changed since, byte for byte, and takes our entries out of the \
rest. A second run changes nothing.";

/// What to set up.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The agent to set up; repeatable [default: those that are found]
    #[arg(long, value_enum, value_name = "NAME")]
    tool: Vec<Tool>,
    /// URL of the secret-gate server, for the client's configuration
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// File with the API key for that server
    #[arg(long, value_name = "PATH", requires = "server")]
    api_key_file: Option<PathBuf>,
    /// Write the files of the project in this folder, too
    #[arg(long)]
    project: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take everything back
    #[arg(long, conflicts_with_all = ["server", "api_key_file"])]
    remove: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

/// Something that is not as it is to be.
enum Change<'a> {
    File(&'a Target, Plan),
    Link(&'a Link, Step),
}

impl Setup {
    /// Shows what is to change, asks, and does it. What can't be done is told, and the rest is done.
    pub(crate) fn run(self, ui: &Ui) -> Result<Exit, Failure> {
        let places = self.places()?;
        let way = if self.remove { Way::Remove } else { Way::Add };
        let tools: Vec<Tool> = match (self.tool.is_empty(), way) {
            (false, _) => self.tool.clone(),
            (true, Way::Add) => Tool::ALL.into_iter().filter(|tool| tool.is_found(&places)).collect(),
            (true, Way::Remove) => Tool::ALL.to_vec(),
        };
        if tools.is_empty() {
            let names: Vec<_> = Tool::ALL.iter().map(|tool| tool.title()).collect();
            ui.warning(&format!("no coding agent was found ({}); name one with --tool", names.join(", ")));
        }
        let targets = self.targets(&places, &tools, way)?;
        let link = Link { path: client_folder()?.join("bin/secret-gate"), to: PathBuf::from(&places.client) };
        let links = if way == Way::Add || self.tool.is_empty() { vec![link] } else { Vec::new() };

        let mut failed = false;
        let mut changes = Vec::new();
        for target in &targets {
            match target.plan(way) {
                Ok(plan) if plan.changes_nothing() => {
                    if way == Way::Add {
                        ui.tell(&line("unchanged", &target.path, &target.about, &places))?;
                    }
                }
                Ok(plan) => changes.push(Change::File(target, plan)),
                Err(problem) => failed |= refused(ui, &target.path, &problem),
            }
        }
        for link in &links {
            match link.plan(way) {
                Ok(Step::Nothing) => {}
                Ok(step) => changes.push(Change::Link(link, step)),
                Err(problem) => failed |= refused(ui, &link.path, &problem),
            }
        }
        let exit = |failed| if failed { Exit::Failed } else { Exit::Done };
        if changes.is_empty() {
            ui.tell("nothing to change")?;
            return Ok(exit(failed));
        }
        for change in &changes {
            ui.tell(&change.described(&places))?;
        }
        if self.dry_run || !self.yes {
            self.show(ui, &changes, &places)?;
        }
        if self.dry_run || !self.may_go_on(ui, changes.len())? {
            return Ok(exit(failed));
        }
        let _turn = turn(&places.home);
        for change in &changes {
            // looks again at what is there, since others may have had their turn meanwhile
            if let Err(problem) = change.apply(way) {
                failed |= refused(ui, change.path(), &problem);
            }
        }
        if way == Way::Add && !failed {
            self.tell_what_is_left(ui)?;
        }
        Ok(exit(failed))
    }

    fn places(&self) -> Result<Places, Failure> {
        let fail = |what: &str| Failure::new(Exit::Failed, what);
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| fail("there is no home folder").with_hint("set HOME"))?;
        let config = client_folder()?.parent().map_or_else(|| home.join(".config"), Path::to_owned);
        let folder = std::env::current_dir().map_err(|error| fail(&format!("there is no current folder: {error}")))?;
        let client = client().ok_or_else(|| fail("the path of this program is not known, or not text"))?;
        Ok(Places {
            home,
            config,
            folder,
            with_project: self.project,
            client,
            variables: |name| std::env::var_os(name),
        })
    }

    /// The files that are to be as they should.
    fn targets(&self, places: &Places, tools: &[Tool], way: Way) -> Result<Vec<Target>, Failure> {
        let mut targets: Vec<Target> = tools.iter().flat_map(|tool| tool.targets(places)).collect();
        for skill in tools.iter().filter_map(|tool| tool.skill(places)) {
            // of those that stay, some may still read it
            let is_needed = way == Way::Remove && !self.tool.is_empty() && agents::is_shared(&skill.path, places);
            if !is_needed && targets.iter().all(|target| target.path != skill.path) {
                targets.push(skill);
            }
        }
        targets.extend(self.client_config(way)?);
        Ok(targets)
    }

    /// The client's own configuration, where there is something to write into it.
    fn client_config(&self, way: Way) -> Result<Option<Target>, Failure> {
        let path = client_folder()?.join("config.json");
        let member = |name, value: &str| Piece::Member { path: vec![name], value: CstInputValue::from(value) };
        let about = "server and key of the client".to_owned();
        let mut pieces = Vec::new();
        match (way, &self.server) {
            (Way::Remove, _) if self.tool.is_empty() => {
                pieces.extend([member("server_url", ""), member("api_key_file", "")]);
            }
            (Way::Remove, _) | (Way::Add, None) => return Ok(None),
            (Way::Add, Some(server)) => {
                let server: ServerUrl = server.parse().map_err(|error| {
                    Failure::new(Exit::Usage, format!("the URL of --server {error}"))
                        .with_hint("it looks like https://gate.example.org")
                })?;
                if server.is_in_the_clear() && self.api_key_file.is_some() {
                    let what = format!("the key would travel to {server} unencrypted");
                    return Err(Failure::new(Exit::Usage, what).with_hint("use https"));
                }
                pieces.push(member("server_url", &server.to_string()));
                match &self.api_key_file {
                    Some(file) => pieces.push(member("api_key_file", &key_file(file)?)),
                    None => keep_key_with_its_server(&path, &server)?,
                }
            }
        }
        Ok(Some(Target { path, about, content: Content::Client(pieces) }))
    }

    fn show(&self, ui: &Ui, changes: &[Change<'_>], places: &Places) -> Result<(), Failure> {
        for change in changes {
            if let Change::File(target, plan) = change {
                let ours = target.ours();
                let name = shown(&target.path, places);
                let diff = diff::unified(&name, plan.before.as_deref(), plan.after.as_deref(), &ours);
                for line in diff.lines() {
                    // tabs are indentation here, and deceive nobody
                    ui.tell(&line.split('\t').map(visible).collect::<Vec<_>>().join("\t"))?;
                }
            }
        }
        Ok(())
    }

    fn may_go_on(&self, ui: &Ui, count: usize) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() {
            let what = "setup asks on the terminal before it changes files, and standard input is none";
            return Err(Failure::new(Exit::Usage, what).with_hint("secret-gate setup --yes does not ask"));
        }
        let files = if count == 1 { "this file".to_owned() } else { format!("these {count} files") };
        ui.note(&format!("change {files}? [y/N]"));
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|error| Failure::new(Exit::Failed, format!("can't read the answer: {error}")))?;
        let is_yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
        if !is_yes {
            ui.tell("nothing was changed")?;
        }
        Ok(is_yes)
    }

    fn tell_what_is_left(&self, ui: &Ui) -> Result<(), Failure> {
        let config = std::fs::read_to_string(client_folder()?.join("config.json")).unwrap_or_default();
        match json::text_at(&config, "server_url").map(|url| url.parse::<ServerUrl>()) {
            None => ui.warning(
                "no server is configured: run secret-gate setup --server URL; agents don't pass SECRET_GATE_URL on",
            ),
            Some(Ok(server)) if server.is_in_the_clear() => {
                ui.warning(&format!("secrets from {server} travel unencrypted; use https"));
            }
            Some(_) => {}
        }
        if let Some(file) = &self.api_key_file
            && std::fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
        {
            ui.warning(&format!("others can read {}: chmod 600 it", file.display()));
        }
        ui.tell(
            "done; agents that run see it when they are started again, and secret-gate doctor says whether all works",
        )
    }
}

impl Change<'_> {
    fn path(&self) -> &Path {
        match self {
            Self::File(target, _) => &target.path,
            Self::Link(link, _) => &link.path,
        }
    }

    fn described(&self, places: &Places) -> String {
        let (verb, about) = match self {
            Self::File(target, Plan { before: None, .. }) => ("create", target.about.as_str()),
            Self::File(target, Plan { after: None, .. }) => ("delete", target.about.as_str()),
            Self::File(target, _) => ("change", target.about.as_str()),
            Self::Link(_, Step::Delete) => ("delete", "link to the client"),
            Self::Link(_, Step::Restore) => ("restore", "client of older skills"),
            Self::Link(_, Step::MoveAside) => ("replace", "client of older skills, by a link to this one"),
            Self::Link(..) => ("link", "client, for older skills"),
        };
        line(verb, self.path(), about, places)
    }

    fn apply(&self, way: Way) -> Result<(), Problem> {
        match self {
            Self::File(target, _) => target.apply(way),
            Self::Link(link, _) => link.apply(way),
        }
    }
}

/// Lets one setup at a time change files, for as long as this is kept. Some file systems know no locks; there, each goes
/// on, as with other programs that write these files.
fn turn(home: &Path) -> Option<File> {
    let folder = File::open(home).ok()?;
    folder.lock().ok()?;
    Some(folder)
}

/// A line of the list of files.
fn line(verb: &str, path: &Path, about: &str, places: &Places) -> String {
    format!("{verb:9}  {}  ({about})", visible(&shown(path, places)))
}

/// Tells why a file was left alone.
fn refused(ui: &Ui, path: &Path, problem: &str) -> bool {
    ui.failure(&Failure::new(Exit::Failed, format!("{}, left alone: {problem}", path.display())));
    true
}

fn shown(path: &Path, places: &Places) -> String {
    match path.strip_prefix(&places.home) {
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) => path.display().to_string(),
    }
}

/// The folder of the client's configuration.
fn client_folder() -> Result<PathBuf, Failure> {
    let path = Config::path().and_then(|path| path.parent().map(Path::to_owned));
    path.ok_or_else(|| Failure::new(Exit::Failed, "there is no home folder").with_hint("set HOME"))
}

/// The path under which agents start this program: that on PATH where it is this program, since it outlives updates.
fn client() -> Option<String> {
    let this = std::env::current_exe().ok().filter(|path| path.is_file())?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("secret-gate"))
        .find(|program| program.is_file())
        .filter(|program| std::fs::canonicalize(program).ok() == std::fs::canonicalize(&this).ok());
    on_path.unwrap_or(this).into_os_string().into_string().ok()
}

/// The path of the file with the key, checked.
fn key_file(file: &Path) -> Result<String, Failure> {
    let fail = |problem: String| {
        Failure::new(Exit::Usage, format!("--api-key-file {}: {problem}", file.display()))
            .with_hint("the file holds the key alone, on one line")
    };
    let path = std::fs::canonicalize(file).map_err(|error| fail(error.to_string()))?;
    let length = std::fs::metadata(&path).map(|file| if file.is_file() { file.len() } else { 0 });
    if length.map_err(|error| fail(error.to_string()))? == 0 {
        return Err(fail("it is empty, or not a file".to_owned()));
    }
    let absolute = std::path::absolute(file).map_err(|error| fail(error.to_string()))?;
    absolute.into_os_string().into_string().map_err(|_| fail("its path is not text".to_owned()))
}

/// Refuses to name another server beside a key that was configured for this one.
fn keep_key_with_its_server(path: &Path, server: &ServerUrl) -> Result<(), Failure> {
    let Ok(config) = std::fs::read_to_string(path) else { return Ok(()) };
    let Some(file) = json::text_at(&config, "api_key_file").filter(|file| !file.is_empty()) else { return Ok(()) };
    let configured = json::text_at(&config, "server_url");
    if configured.as_deref().and_then(|url| url.parse::<ServerUrl>().ok()).as_ref() == Some(server) {
        return Ok(());
    }
    let what = format!("the key in {file} was configured for {}", configured.as_deref().unwrap_or("no server"));
    let hint = format!("name the key for {server} with --api-key-file, or take api_key_file out of {}", path.display());
    Err(Failure::new(Exit::Failed, what).with_hint(hint))
}
