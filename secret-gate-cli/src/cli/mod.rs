//! The command line: the subcommands here, what belongs to each in `looking` and `using`, and the flags of older scripts
//! in `flags`.

mod flags;
mod looking;
mod using;

use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::demo::Demo;
use crate::duration;
use crate::go_flags;
use crate::setup::{self, Setup};

pub(crate) use self::flags::Flags;
pub(crate) use self::looking::{Doctor, Fields, Search};
pub(crate) use self::using::{Asking, Exec, Get, Read, Run, Ssh};

// Paragraphs are one line each, which clap wraps to the terminal; lines of tables fit into 80 columns.
const AFTER_HELP: &str = "\
Output:
  A secret with one field, or the field named by --field, is printed as the bare value. \
Several fields are printed one a line as `label: value`, sorted by label; values that span lines stay as they are. \
--format json prints them all as one object, {\"label\": \"value\"}. \
Standard output holds data alone, everything else goes to standard error.

Approvals:
  They are kept by a daemon of your own, in memory: --secret asks nobody again within cache_ttl.

Configuration:
  Flags win over the environment, the environment over the file.

  SECRET_GATE_URL      URL of the server (older name: OP_APPROVAL_PROXY_URL)
  SECRET_GATE_API_KEY  API key; sent to the server that SECRET_GATE_URL or the
                       file names, and to no other
  SSL_CERT_FILE        PEM file of CAs to trust beside the well-known ones
  NO_COLOR             no colours
  RUST_LOG             what to log on standard error [default: nothing]
  XDG_RUNTIME_DIR      where the daemon's socket is [default: /run/user/UID,
                       else ~/.local/state/secret-gate/run]

  ~/.config/secret-gate/config.json has server_url, api_key_file,
  cache_ttl (1h) and daemon_idle_timeout (5m)

Exit codes:
  0    done
  1    failed
  2    usage
  3    denied
  4    expired or timed out; a time-out withdraws the question
  5    not found or ambiguous
  6    server or daemon unreachable
  129  hung up, 130 Ctrl-C, 143 terminated; these withdraw the question
  141  whoever reads the output takes no more";

const MCP_EXAMPLES: &str = "\
Examples:
  secret-gate mcp --wait 9m

In the configuration of an agent that gives up on a call after ten minutes:
  {\"command\": \"secret-gate\", \"args\": [\"mcp\", \"--wait\", \"9m\"]}

`secret-gate setup` writes such entries.";

/// Ask for a secret, wait until a human has approved, and print it.
#[derive(Debug, Parser)]
#[command(name = "secret-gate", version, after_help = AFTER_HELP, max_term_width = 80, args_conflicts_with_subcommands = true,
    args_override_self = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// What there is beside asking for a secret.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how it works, with made-up secrets; needs no server, no phone and no configuration
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
    /// Look for secrets by name; asks nobody, prints no values
    Search(Search),
    /// Print labels and types of a secret's fields; asks nobody, prints no values
    Fields(Fields),
    /// Run a command with a secret that it sees and you don't
    Exec(Exec),
    /// Run a command with the secrets that a file of variables refers to, under one approval
    Run(Run),
    /// Log in over ssh with a key that you don't see
    Ssh(Ssh),
    /// Print fields of a secret
    Get(Get),
    /// Print the field that a secret reference names
    Read(Read),
    /// Tell the coding agents of this machine about Secret Gate, and write the client's configuration
    #[command(after_help = setup::EXAMPLES)]
    Setup(Setup),
    /// Serve agents over the Model Context Protocol, on standard input and output
    #[command(after_help = MCP_EXAMPLES)]
    Mcp {
        /// How long a call that asks waits for the human before it answers that this is pending; the question stays open
        #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "45s")]
        wait: Duration,
    },
    /// Look after the daemon, which holds what was approved until it ends
    #[command(subcommand, after_help = DAEMON_EXAMPLES)]
    Daemon(DaemonCommand),
    /// List the approvals that are held, without values
    #[command(after_help = GRANTS_EXAMPLES)]
    Grants {
        /// How to print them
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Plain)]
        format: Format,
    },
    /// End an approval, here and at the server
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// Its id, as `grants` lists it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All that are held
        #[arg(long)]
        all: bool,
    },
    /// Check what asking and using a secret needs, and say what to do where something is missing
    Doctor(Doctor),
    /// Print a script that completes command lines
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell to print it for
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// Of this subcommand [default: of the whole program]
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
}

/// What can be done with the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Start it, where none runs; it starts by itself when it is needed
    Start,
    /// Forget everything and end it
    Stop,
    /// Say how it is
    Status,
    /// Forget every value; the approvals end here, and are not taken back at the server
    Flush,
    /// Be the daemon
    #[command(hide = true)]
    Serve,
}

/// How to print an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people and `$(…)`.
    Plain,
    /// For programs.
    Json,
}

impl Cli {
    /// Reads a command line, in which flags may be written as Go's `flag` package reads them, too.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(go_flags::normalize(args, &mut Self::command()))
    }
}

const DEMO_EXAMPLES: &str = "\
Examples:
  secret-gate demo            # you answer, on the terminal
  secret-gate demo --yes      # it answers by itself
  secret-gate demo --serve    # stays up, with commands to try";

const DAEMON_EXAMPLES: &str = "\
Examples:
  secret-gate daemon status
  secret-gate daemon flush    # forget what is held
  secret-gate daemon stop     # and end";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  secret-gate completions bash \\
    > ~/.local/share/bash-completion/completions/secret-gate
  secret-gate completions zsh > ~/.zfunc/_secret-gate
  secret-gate completions fish > ~/.config/fish/completions/secret-gate.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  secret-gate man | man -l -
  secret-gate man exec | man -l -";

const GRANTS_EXAMPLES: &str = "\
Examples:
  secret-gate grants    # a line for each: id, until when, what for, items
  secret-gate grants --format json";

const REVOKE_EXAMPLES: &str = "\
Examples:
  secret-gate revoke 4f2a91c04b7d6e55
  secret-gate revoke --all

The values are forgotten at once, and the message on the phone says so.";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Flags, clap::Error> {
        let args = std::iter::once("secret-gate").chain(args.iter().copied()).map(OsString::from);
        Cli::read(args).map(|cli| cli.flags)
    }

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_are_command_lines() {
        let mut texts = vec![
            include_str!("../../../README.md").to_owned(),
            include_str!("../../README.md").to_owned(),
            AFTER_HELP.to_owned(),
        ];
        let program = Cli::command();
        for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let own = format!("  {} {}", program.get_name(), command.get_name());
            assert!(help.contains("Example") && help.contains(&own), "{} has no example", command.get_name());
            texts.push(help);
        }
        let mut count = 0;
        for text in texts {
            let text = text.replace("\\\n", "");
            for line in text.lines().map(str::trim_start).filter(|line| line.starts_with("secret-gate ")) {
                // up to what the shell does with the output
                let words = shlex::split(line).unwrap_or_else(|| panic!("{line} is no command line"));
                let words = words.split(|word| word == "|" || word.starts_with('>')).next().unwrap();
                let parsed = Cli::read(words.iter().map(OsString::from));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                count += 1;
            }
        }
        assert!(count >= 30, "{count}");
    }

    #[test]
    fn reads_the_flags_of_older_scripts() {
        let flags =
            read(&["-secret", "db", "-fields", "-format=json", "-poll-interval", "1.5s", "--timeout=1h30m"]).unwrap();
        assert_eq!(flags.secret.as_deref(), Some("db"));
        assert_eq!((flags.fields, flags.format), (true, Format::Json));
        assert_eq!((flags.poll_interval, flags.timeout), (Duration::from_millis(1500), Duration::from_secs(5400)));
        for (text, value) in [("--fields=false", false), ("-fields=0", false), ("-fields=T", true), ("-fields=1", true)]
        {
            assert_eq!(read(&[text]).unwrap().fields, value, "{text}");
        }
    }

    #[test]
    fn of_repeated_flags_the_last_wins() {
        let flags =
            read(&["-secret", "a", "--secret=b", "--fields", "-fields=false", "--format", "json", "-format=plain"]);
        let flags = flags.unwrap();
        assert_eq!((flags.secret.as_deref(), flags.fields, flags.format), (Some("b"), false, Format::Plain));
        let flags = read(&["--timeout", "1s", "--timeout", "2s", "--no-cache=false", "--no-cache"]).unwrap();
        assert_eq!((flags.timeout, flags.no_cache), (Duration::from_secs(2), true));
        read(&["demo", "--yes", "--yes"]).unwrap();
    }

    #[test]
    fn a_subcommand_keeps_its_arguments_and_takes_no_flags_of_older_scripts() {
        let command = |args: &[&str]| Cli::read(args.iter().map(OsString::from)).map(|cli| cli.command);
        assert!(matches!(command(&["secret-gate", "demo", "--yes", "--serve"]), Ok(Some(Command::Demo(_)))));
        assert!(matches!(command(&["secret-gate", "--secret", "demo"]), Ok(None)));
        assert!(matches!(command(&["secret-gate", "-reason", "demo", "-secret", "db"]), Ok(None)));
        for args in [&["secret-gate", "--secret", "db", "demo"][..], &["secret-gate", "demo", "--secret", "db"]] {
            assert_eq!(command(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for args in [&["--nonsense"][..], &["--format", "xml"], &["--timeout", "soon"], &["word"], &["--fields=maybe"]]
        {
            assert_eq!(read(args).unwrap_err().exit_code(), 2, "{args:?}");
        }
    }
}
