//! The subcommands that ask nobody: `search`, `fields`, `doctor`.

use clap::Args;

use super::Format;

/// Names to look for.
#[derive(Debug, Args)]
#[command(after_help = SEARCH_EXAMPLES)]
pub(crate) struct Search {
    /// What the name is like
    #[arg(value_name = "QUERY")]
    pub(crate) query: String,
    /// How many matches to print at most
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: i64,
    /// How to print them
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Plain)]
    pub(crate) format: Format,
    /// URL of the secret-gate server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

/// A secret whose fields to list.
#[derive(Debug, Args)]
#[command(after_help = FIELDS_EXAMPLES)]
pub(crate) struct Fields {
    /// Name or id of the secret
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: String,
    /// Name or id of the vault to look in [default: all]
    #[arg(long, value_name = "VAULT")]
    pub(crate) vault: Option<String>,
    /// How to print them
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Plain)]
    pub(crate) format: Format,
    /// URL of the secret-gate server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct Doctor {
    /// URL of the secret-gate server
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// How to print what was found
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Plain)]
    pub(crate) format: Format,
}

const SEARCH_EXAMPLES: &str = "\
Examples:
  secret-gate search database
  secret-gate search db --limit 3 --format json

A line for each match: name, vault, how good it is and why.";

const FIELDS_EXAMPLES: &str = "\
Examples:
  secret-gate fields --secret database
  secret-gate fields --secret database --vault Infrastructure --format json";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  secret-gate doctor
  secret-gate doctor --format json

Nobody is asked, and no value is read. Each check takes 5 seconds at most. A line for each: ok, warn or FAIL, \
what was found, and below it what to do. With --format json, {\"ok\": true, \"checks\": [{\"name\": \"server\", \
\"state\": \"ok\", \"message\": \"…\"}, …]}, where a state is ok, warn or fail, and hint says what to do. \
Exit code: 0, or 1 where a check fails.";
