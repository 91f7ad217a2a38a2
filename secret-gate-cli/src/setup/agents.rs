//! The coding agents that setup knows: how each is found, where it keeps its MCP servers, and what stands there.
//!
//! An approval takes minutes, and agents give up on a tool call sooner. Where an agent can be told how long to wait, it
//! is told [`TOOL_TIMEOUT_SECS`], and the MCP server answers shortly before; elsewhere it answers within [`SHORT_WAIT`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jsonc_parser::cst::CstInputValue;

use super::json::Piece;
use super::target::{Content, Target};
use super::toml;

/// How long an agent is told to wait for the answer of a tool.
const TOOL_TIMEOUT_SECS: u32 = 900;
/// How long the MCP server waits for an approval then.
const LONG_WAIT: &str = "14m";
/// How long it waits where the agent gives up after a minute.
const SHORT_WAIT: &str = "45s";

/// Under which name agents know the MCP server.
pub(super) const NAME: &str = "secret-gate";

/// What agents that load skills read.
pub(super) const SKILL: &str = include_str!("../../skill/SKILL.md");

/// A coding agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    #[value(alias = "claude")]
    ClaudeCode,
    Codex,
    Cline,
    #[value(name = "opencode")]
    OpenCode,
    #[value(alias = "roo")]
    RooCode,
    #[value(alias = "gemini")]
    GeminiCli,
    Cursor,
    #[value(name = "vscode")]
    VsCode,
}

/// Where things are on this machine.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) home: PathBuf,
    /// `~/.config`, or where `XDG_CONFIG_HOME` says.
    pub(super) config: PathBuf,
    /// The folder of the project, where its files are wanted, too.
    pub(super) folder: PathBuf,
    pub(super) with_project: bool,
    /// The client, as agents start it.
    pub(super) client: String,
    pub(super) variables: fn(&str) -> Option<OsString>,
}

impl Places {
    /// The folder that this variable names, else this one in the home folder.
    fn folder_of(&self, variable: &str, default: &str) -> PathBuf {
        (self.variables)(variable)
            .filter(|path| !path.is_empty())
            .map_or_else(|| self.home.join(default), PathBuf::from)
    }

    /// The variable that says where the client's configuration is, where that is not the usual place.
    fn other_config(&self) -> Option<(&'static str, String)> {
        let is_usual = self.config == self.home.join(".config");
        self.config.to_str().filter(|_| !is_usual).map(|folder| ("XDG_CONFIG_HOME", folder.to_owned()))
    }

    fn is_program(&self, name: &str) -> bool {
        let path = (self.variables)("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    }

    /// Where VS Code keeps what is the user's.
    fn vscode_user(&self) -> PathBuf {
        if cfg!(target_os = "macos") {
            self.home.join("Library/Application Support/Code/User")
        } else {
            self.config.join("Code/User")
        }
    }

    fn cline_extension(&self) -> PathBuf {
        self.vscode_user().join("globalStorage/saoudrizwan.claude-dev")
    }

    fn roo_extension(&self) -> PathBuf {
        self.vscode_user().join("globalStorage/rooveterinaryinc.roo-cline")
    }

    fn claude_folder(&self) -> PathBuf {
        self.folder_of("CLAUDE_CONFIG_DIR", ".claude")
    }

    fn claude_file(&self) -> PathBuf {
        // it lies beside the folder, but in a folder that was chosen
        match (self.variables)("CLAUDE_CONFIG_DIR").filter(|path| !path.is_empty()) {
            Some(folder) => PathBuf::from(folder).join(".claude.json"),
            None => self.home.join(".claude.json"),
        }
    }

    /// The file that OpenCode reads, of the names that it may have.
    fn opencode_file(&self) -> PathBuf {
        let folder = self.config.join("opencode");
        let names = ["opencode.json", "opencode.jsonc"];
        let there = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
        there.unwrap_or_else(|| folder.join("opencode.json"))
    }
}

impl Tool {
    pub(super) const ALL: [Self; 8] = [
        Self::ClaudeCode,
        Self::Codex,
        Self::Cline,
        Self::OpenCode,
        Self::RooCode,
        Self::GeminiCli,
        Self::Cursor,
        Self::VsCode,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::Codex => "Codex",
            Self::Cline => "Cline",
            Self::OpenCode => "OpenCode",
            Self::RooCode => "Roo Code",
            Self::GeminiCli => "Gemini CLI",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
        }
    }

    /// Whether the agent is on this machine: by its folder or its program.
    pub(super) fn is_found(self, places: &Places) -> bool {
        let in_home = |name: &str| places.home.join(name).exists();
        let in_project = |name: &str| places.folder != places.home && places.folder.join(name).exists();
        match self {
            Self::ClaudeCode => {
                places.claude_folder().exists() || places.claude_file().exists() || places.is_program("claude")
            }
            Self::Codex => places.folder_of("CODEX_HOME", ".codex").exists() || places.is_program("codex"),
            Self::Cline => in_home(".cline") || places.cline_extension().exists() || places.is_program("cline"),
            Self::OpenCode => places.config.join("opencode").exists() || places.is_program("opencode"),
            Self::RooCode => places.roo_extension().exists() || in_project(".roo"),
            Self::GeminiCli => in_home(".gemini") || places.is_program("gemini"),
            Self::Cursor => in_home(".cursor") || places.is_program("cursor") || places.is_program("cursor-agent"),
            Self::VsCode => places.vscode_user().exists() || places.is_program("code"),
        }
    }

    /// The files of this agent with something of ours in them. Those of the project come where they are wanted, where
    /// the agent has no others, and where the project has them.
    pub(super) fn targets(self, places: &Places) -> Vec<Target> {
        let server =
            |path: PathBuf, content: Content| Target { path, about: format!("{}: MCP server", self.title()), content };
        let json = |path: PathBuf, list: &'static str, members: Vec<(&str, CstInputValue)>| {
            let value = object(members);
            server(path, Content::Json(vec![Piece::Member { path: vec![list, NAME], value }]))
        };
        let seconds = ("timeout", CstInputValue::from(TOOL_TIMEOUT_SECS));
        let milliseconds = ("timeout", CstInputValue::from(TOOL_TIMEOUT_SECS * 1000));
        let typed = || ("type", CstInputValue::from("stdio"));
        let long = || start(places, LONG_WAIT);
        let wants = |name: &str| places.with_project || places.folder.join(name).exists();
        let mut targets = Vec::new();
        match self {
            Self::ClaudeCode => {
                let members = with([typed()], long(), [milliseconds]);
                targets.push(json(places.claude_file(), "mcpServers", members));
                let text = "mcp__secret-gate__*";
                targets.push(Target {
                    path: places.claude_folder().join("settings.json"),
                    about: format!(
                        "{}: permission to use the tools, commands included, without asking you each time",
                        self.title()
                    ),
                    content: Content::Json(vec![Piece::Element { path: vec!["permissions", "allow"], text }]),
                });
            }
            Self::Codex => {
                let entry = toml::Entry {
                    name: NAME,
                    command: places.client.clone(),
                    args: args(LONG_WAIT).map(str::to_owned).to_vec(),
                    timeout_secs: TOOL_TIMEOUT_SECS.into(),
                    variable: places.other_config(),
                };
                let path = places.folder_of("CODEX_HOME", ".codex").join("config.toml");
                targets.push(server(path, Content::Codex(entry)));
            }
            Self::Cline => {
                let extension = places.cline_extension();
                if places.home.join(".cline").exists() || places.is_program("cline") || !extension.exists() {
                    let path = places.home.join(".cline/data/settings/cline_mcp_settings.json");
                    let transport = ("transport", object(with([typed()], long(), [])));
                    targets.push(json(path, "mcpServers", vec![transport, seconds.clone()]));
                }
                if extension.exists() {
                    let path = extension.join("settings/cline_mcp_settings.json");
                    targets.push(json(path, "mcpServers", with([typed()], long(), [seconds])));
                }
            }
            Self::OpenCode => {
                let command = [places.client.as_str()].into_iter().chain(args(LONG_WAIT)).collect::<Vec<_>>();
                let members =
                    vec![("type", "local".into()), ("command", command.into()), ("enabled", true.into()), milliseconds];
                targets.push(json(places.opencode_file(), "mcp", members));
            }
            Self::RooCode => {
                let extension = places.roo_extension();
                if extension.exists() {
                    let path = extension.join("settings/mcp_settings.json");
                    targets.push(json(path, "mcpServers", with([], long(), [seconds.clone()])));
                }
                if wants(".roo") {
                    let path = places.folder.join(".roo/mcp.json");
                    targets.push(json(path, "mcpServers", with([], long(), [seconds])));
                }
            }
            Self::GeminiCli => {
                let path = places.home.join(".gemini/settings.json");
                targets.push(json(path, "mcpServers", with([], long(), [milliseconds])));
            }
            Self::Cursor => {
                let members = || with([typed()], start(places, SHORT_WAIT), []);
                targets.push(json(places.home.join(".cursor/mcp.json"), "mcpServers", members()));
                if places.with_project && places.folder != places.home {
                    targets.push(json(places.folder.join(".cursor/mcp.json"), "mcpServers", members()));
                }
            }
            Self::VsCode => {
                let members = || with([typed()], start(places, SHORT_WAIT), []);
                targets.push(json(places.vscode_user().join("mcp.json"), "servers", members()));
                if places.with_project {
                    targets.push(json(places.folder.join(".vscode/mcp.json"), "servers", members()));
                }
            }
        }
        targets
    }

    /// The skill, where this agent looks for skills.
    pub(super) fn skill(self, places: &Places) -> Option<Target> {
        let folder = match self {
            Self::ClaudeCode => places.claude_folder().join("skills"),
            Self::Codex | Self::Cline | Self::OpenCode | Self::RooCode | Self::GeminiCli => shared_skills(places),
            Self::Cursor | Self::VsCode => return None,
        };
        Some(Target {
            path: folder.join(NAME).join("SKILL.md"),
            about: "skill".to_owned(),
            content: Content::Whole(SKILL),
        })
    }
}

/// Where several agents look for skills.
fn shared_skills(places: &Places) -> PathBuf {
    places.home.join(".agents/skills")
}

/// Whether agents beside the chosen ones read a skill that lies here.
pub(super) fn is_shared(skill: &Path, places: &Places) -> bool {
    skill.starts_with(shared_skills(places))
}

fn args(wait: &'static str) -> [&'static str; 3] {
    ["mcp", "--wait", wait]
}

/// How an agent starts the MCP server.
fn start(places: &Places, wait: &'static str) -> [(&'static str, CstInputValue); 2] {
    [("command", places.client.as_str().into()), ("args", args(wait).to_vec().into())]
}

fn with<'a, const N: usize, const M: usize>(
    first: [(&'a str, CstInputValue); N],
    start: [(&'a str, CstInputValue); 2],
    last: [(&'a str, CstInputValue); M],
) -> Vec<(&'a str, CstInputValue)> {
    first.into_iter().chain(start).chain(last).collect()
}

fn object(members: Vec<(&str, CstInputValue)>) -> CstInputValue {
    CstInputValue::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
