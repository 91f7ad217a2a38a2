//! The configuration file, `~/.config/secret-gate/config.json`.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::base_strategy::{BaseStrategy, Xdg};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::settings::SettingsError;
use crate::parse_duration;

/// What the file says; members that it does not know are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
#[non_exhaustive]
#[serde(default, expecting = "an object such as {\"server_url\": \"https://gate.example.org\"}")]
pub struct Config {
    /// Base URL of the server.
    pub server_url: Option<String>,
    /// File that holds the API key for that server.
    pub api_key_file: Option<PathBuf>,
    cache_ttl: Option<Span>,
    daemon_idle_timeout: Option<Span>,
    ssh_agent_integration: Option<bool>,
}

impl Config {
    /// Where the file is looked for; nowhere for a user without a home folder.
    #[must_use]
    pub fn path() -> Option<PathBuf> {
        Some(Xdg::new().ok()?.config_dir().join("secret-gate").join("config.json"))
    }

    /// How long an approval is to be kept.
    #[must_use]
    pub fn cache_ttl(&self) -> Duration {
        self.cache_ttl.as_ref().map_or(Duration::from_secs(60 * 60), |span| span.0)
    }

    /// How long the daemon stays with nothing to hold and nothing to do.
    #[must_use]
    pub fn daemon_idle_timeout(&self) -> Duration {
        self.daemon_idle_timeout.as_ref().map_or(Duration::from_secs(5 * 60), |span| span.0)
    }

    /// Whether SSH keys also go into the user's own ssh-agent, where the approval allows it.
    #[must_use]
    pub fn ssh_agent_integration(&self) -> bool {
        self.ssh_agent_integration.unwrap_or(true)
    }

    /// What the file at this path says; nothing where there is none.
    ///
    /// # Errors
    /// [`SettingsError::Unreadable`], and [`SettingsError::Malformed`] with the line.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(SettingsError::Unreadable { path: path.to_owned(), source }),
        };
        serde_json::from_str(&text).map_err(|error| {
            let place = format!(" at line {} column {}", error.line(), error.column());
            let problem = error.to_string();
            let problem = problem.strip_suffix(&place).unwrap_or(&problem).to_owned();
            SettingsError::Malformed { path: path.to_owned(), line: error.line(), problem }
        })
    }
}

/// A duration as text. Refused while the parser stands on it, so that the error names its line.
#[derive(Debug, Clone)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"1h\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let length = parse_duration(text);
                length
                    .map(Span)
                    .ok_or_else(|| E::custom(format!("{text:?} is not a duration; write it like 90s, 15m or 1h30m")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn reads_what_older_clients_wrote() {
        let text = r#"{"server_url":"https://g","cache_ttl":"1h","daemon_idle_timeout":"5m","ssh_agent_integration":true,"later":{}}"#;
        assert_eq!(read(text).unwrap().server_url.as_deref(), Some("https://g"));
        assert!(read("{}").unwrap().server_url.is_none());
        assert!(Config::read(Path::new("/nonexistent/config.json")).unwrap().api_key_file.is_none());
    }

    #[test]
    fn names_the_line_of_a_mistake_and_what_to_write() {
        let cases = [
            ("{\n\"server_url\": \"x\",\n}", "line 3: "),
            ("{\n\"cache_ttl\": \"1 hour or so\"\n}", "line 2: \"1 hour or so\" is not a duration; write it like"),
            ("{\"daemon_idle_timeout\": 5}", "line 1: invalid type: integer `5`, expected a duration"),
            ("{\n\n\"ssh_agent_integration\": \"yes\"}", "line 3: "),
            ("", "line 1: "),
            ("5", "line 1: invalid type: integer `5`, expected an object"),
        ];
        for (text, expected) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("column"), "{error}");
        }
    }
}
