//! The flags without a subcommand, as older scripts have them.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::Format;
use crate::duration;

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
