//! The subcommands that use a secret: `exec`, `run`, `ssh`, `get`, `read`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Format;
use crate::duration;

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
#[command(after_help = EXEC_EXAMPLES, override_usage = EXEC_USAGE)]
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
    #[arg(long, value_name = "VAR[=LABEL]", required_unless_present_any = ["file", "stdin"])]
    pub(crate) env: Vec<String>,
    /// The environment variable with the path of a pipe, /dev/fd/N, that carries a field and can be read once; repeatable
    #[arg(long, value_name = "VAR=LABEL")]
    pub(crate) file: Vec<String>,
    /// The field that the command reads on standard input, without a new line at its end
    #[arg(long, value_name = "LABEL")]
    pub(crate) stdin: Option<String>,
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
#[command(after_help = RUN_EXAMPLES, override_usage = RUN_USAGE)]
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
#[command(after_help = SSH_EXAMPLES, override_usage = SSH_USAGE)]
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
#[command(after_help = GET_EXAMPLES)]
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
#[command(after_help = READ_EXAMPLES)]
pub(crate) struct Read {
    /// The reference, op://vault/item/field
    #[arg(value_name = "REFERENCE")]
    pub(crate) reference: String,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

const EXEC_USAGE: &str = "\
secret-gate exec --secret <NAME> --env <VAR=LABEL>... --reason <TEXT>
                        [OPTIONS] -- <COMMAND>...
       secret-gate exec --secret <NAME> --env <VAR=LABEL>... --reason <TEXT>
                        [OPTIONS] --shell <LINE>

With --file <VAR=LABEL> or --stdin <LABEL>, a value gets in otherwise";

const EXEC_EXAMPLES: &str = "\
Examples:
  secret-gate exec --secret db --env PGPASSWORD=password \\
    --reason 'nightly backup' -- pg_dump -h db shop
  secret-gate exec --secret api --field token --env TOKEN --reason deploy \\
    --shell 'curl -H \"X-Key: $TOKEN\" https://…'
  secret-gate exec --secret registry --stdin token --reason push \\
    -- docker login --username ci --password-stdin registry.example.com
  secret-gate exec --secret api --file RC=curlrc --reason deploy \\
    --shell 'curl -K \"$RC\" https://…'

The human sees the command and approves exactly it: program, arguments, folder, which field gets in how. \
Every program that the command starts sees its variables; a file or standard input, whoever reads it first. \
The value, and what common tools make of it, is replaced in the output by [redacted:item/field]. \
Exit code: that of the command; 124 when --kill-after killed it.";

const RUN_USAGE: &str = "\
secret-gate run --env-file <FILE>... --reason <TEXT>
                       [OPTIONS] -- <COMMAND>...";

const RUN_EXAMPLES: &str = "\
Example:
  secret-gate run --env-file .env --reason 'run the tests' -- cargo test

with a file such as
  DATABASE_HOST=db.example.com
  DATABASE_PASSWORD=op://infra/database/password

The human sees all secrets in one message. Files are read as dotenv
files are: quotes, comments, and variables of the environment (${HOME}) in values.";

const SSH_USAGE: &str = "\
secret-gate ssh --secret <NAME> --reason <TEXT> [OPTIONS]
                       <[USER@]HOST> [-- <COMMAND>...]";

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
