//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::demo::Demo;
use crate::{duration, go_flags};

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
  129  hung up, 130 Ctrl-C, 143 terminated; these withdraw the question";

/// Ask for a secret, wait until a human has approved, and print it.
#[derive(Debug, Parser)]
#[command(name = "secret-gate", version, after_help = AFTER_HELP, max_term_width = 120, args_conflicts_with_subcommands = true,
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
    Demo(Demo),
    /// Run a command with a secret that it sees and you don't
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(Exec),
    /// Run a command with the secrets that a file of variables refers to, under one approval
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Log in over ssh with a key that you don't see
    #[command(after_help = SSH_EXAMPLES)]
    Ssh(Ssh),
    /// Print fields of a secret
    #[command(after_help = GET_EXAMPLES)]
    Get(Get),
    /// Print the field that a secret reference names
    #[command(after_help = READ_EXAMPLES)]
    Read(Read),
    /// Look after the daemon, which holds what was approved until it ends
    #[command(subcommand)]
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
}

/// How to ask.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// Why you need it; shown to the human who approves
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// URL of the secret-gate server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// How long the approval is to be kept [default: cache_ttl]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) keep: Option<Duration>,
    /// How long to wait for the approval
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "15m")]
    pub(crate) timeout: Duration,
}

/// A command to run with a secret.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Name or id of the secret
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: String,
    /// Name or id of the vault to look in [default: all]
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
    /// A field for the --env that names no field itself; the first for the first, and so on
    #[arg(long, value_name = "LABEL")]
    pub(crate) field: Vec<String>,
    /// The environment variable that carries a field; repeatable
    #[arg(long, value_name = "VAR[=LABEL]", required = true)]
    pub(crate) env: Vec<String>,
    /// Ask for any command, instead of exactly this one
    #[arg(long)]
    pub(crate) any: bool,
    /// Kill the command when it runs for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) kill_after: Option<Duration>,
    /// A line for the shell, instead of a command
    #[arg(long, value_name = "LINE", conflicts_with = "command", required_unless_present = "command")]
    pub(crate) shell: Option<OsString>,
    #[command(flatten)]
    pub(crate) asking: Asking,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// A command to run with a file of variables.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// File of lines VARIABLE=VALUE; values of the form op://vault/item/field are secrets
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) env_file: Vec<PathBuf>,
    /// Ask for any command, instead of exactly this one
    #[arg(long)]
    pub(crate) any: bool,
    /// Kill the command when it runs for longer than this
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) kill_after: Option<Duration>,
    #[command(flatten)]
    pub(crate) asking: Asking,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", required = true)]
    pub(crate) command: Vec<OsString>,
}

/// A login with a key.
#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Name or id of the secret with the key
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: String,
    /// Name or id of the vault to look in [default: all]
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
    /// The field with the key [default: the one that is an SSH key]
    #[arg(long, value_name = "LABEL")]
    pub(crate) field: Option<String>,
    /// TCP port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    #[command(flatten)]
    pub(crate) asking: Asking,
    /// Where to log in; an alias of ~/.ssh/config is resolved, and shown to the human
    #[arg(value_name = "[USER@]HOST")]
    pub(crate) target: String,
    /// The command to run there
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Fields to print.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Name or id of the secret
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: String,
    /// Name or id of the vault to look in [default: all]
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
    /// The field to print; repeatable [default: all]
    #[arg(long, value_name = "LABEL")]
    pub(crate) field: Vec<String>,
    /// How to print them
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Plain)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// A secret reference to print.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The reference, op://vault/item/field
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

const EXEC_EXAMPLES: &str = "\
Examples:
  secret-gate exec --secret db --env PGPASSWORD=password \\
    --reason 'nightly backup' -- pg_dump -h db shop
  secret-gate exec --secret api --field token --env TOKEN --reason deploy \\
    --shell 'curl -H \"X-Key: $TOKEN\" https://…'

The human sees the command and approves exactly it: program, arguments, folder, variables. \
The value, and what common tools make of it, is replaced in the output by [redacted:item/field]. \
Exit code: that of the command; 124 when --kill-after killed it.";

const RUN_EXAMPLES: &str = "\
Example:
  secret-gate run --env-file .env --reason 'run the tests' -- cargo test

with a file such as
  DATABASE_HOST=db.example.com
  DATABASE_PASSWORD=op://infra/database/password

The human sees all secrets in one message. Files are read as dotenv
files are: quotes, comments, and variables of the environment (${HOME}) in values.";

const SSH_EXAMPLES: &str = "\
Examples:
  secret-gate ssh --secret prod-deploy-key --reason deploy deploy@prod -- uptime
  secret-gate ssh --secret prod-deploy-key --port 2222 \\
    --reason 'look at the log' deploy@prod -- tail app.log

The human sees host, user, port and command, and approves exactly these. \
The key lies in no file: an ssh-agent has it that only this ssh can talk to. Exit code: that of ssh.";

const GET_EXAMPLES: &str = "\
Example:
  secret-gate get --secret db --field password --reason 'check by hand'";

const READ_EXAMPLES: &str = "\
Example:
  secret-gate read --reason 'check by hand' op://infra/db/password";

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

const GRANTS_EXAMPLES: &str = "\
Example:
  secret-gate grants    a line for each: id, until when, what for, items";

const REVOKE_EXAMPLES: &str = "\
Examples:
  secret-gate revoke 4f2a91c04b7d6e55
  secret-gate revoke --all

The values are forgotten at once, and the message on the phone says so.";

/// What can be asked without a subcommand.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// URL of the secret-gate server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Name or id of the secret to ask for, or a secret reference
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Option<String>,
    /// Name or id of the vault to look in [default: all]
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
    /// Why you need it; shown to the human who approves
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// How to print the answer
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Plain)]
    pub(crate) format: Format,
    /// Print the bare value of this field only (with --format plain): it only chooses what is printed; the whole item is
    /// asked for
    #[arg(long, value_name = "LABEL")]
    pub(crate) field: Option<String>,
    /// Look for secrets by name; asks nobody, prints no values
    #[arg(long, value_name = "WORD")]
    pub(crate) search: Option<String>,
    /// How many matches to print at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) search_limit: i64,
    /// Print labels and types of the fields of --secret; asks nobody, prints no values
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = BoolishValueParser::new(), hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) fields: bool,
    /// Redeem here, without the daemon, and keep nothing
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
        value_parser = BoolishValueParser::new(), hide_default_value = true, hide_possible_values = true, value_name = "BOOL")]
    pub(crate) no_cache: bool,
    /// How often to ask a server that does not report decisions by itself
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "2s")]
    pub(crate) poll_interval: Duration,
    /// How long to wait for the approval, or for the answer to --search and --fields (which ends after a minute anyway)
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "15m")]
    pub(crate) timeout: Duration,
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
