//! Which server to talk to, and with which key: flags, environment and file brought together.
//!
//! A key is bound to the server it was configured with: the file's key to the file's `server_url`, the environment's
//! to the environment's URL, or the file's where there is none. Where a flag names another server, no key goes there.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::call::{Key, OsText, Wish};
use super::config::Config;
use crate::SecretValue;
use crate::client::{ClientError, RemoteGate, ServerUrl, ServerUrlError};
use crate::wire::Revealed;

/// The server to talk to, and the key for it.
///
/// ```no_run
/// use secret_gate_core::daemon::Settings;
///
/// let settings = Settings::read(None)?;
/// println!("asks {}", settings.server());
/// # Ok::<(), secret_gate_core::daemon::SettingsError>(())
/// ```
#[derive(Debug)]
pub struct Settings {
    server: ServerUrl,
    api_key: Option<SecretValue>,
    private_ca: Option<PathBuf>,
    config: Config,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The configuration file can't be read.
    #[error("can't read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration file is wrong.
    #[error("{path}, line {line}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in it, counted from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A URL is wrong.
    #[error("the URL of {place} {problem}")]
    Url {
        /// Where it stands: a flag, a variable, the file.
        place: String,
        /// What is wrong with it.
        problem: ServerUrlError,
    },
    /// No server is named anywhere.
    #[error("no server is configured")]
    NoServer {
        /// The configuration file, which could name one.
        path: PathBuf,
    },
    /// An environment variable is not text.
    #[error("the variable {0} is not text")]
    NotText(&'static str),
    /// The file with the key can't be used.
    #[error("api_key_file {path}: {problem}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file with the CAs to trust can't be read.
    #[error("can't read {path}")]
    Ca {
        /// The file that `SSL_CERT_FILE` names.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There can be no client for this server.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl SettingsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { .. } => "correct the line; the file looks like {\"server_url\": \
                                       \"https://gate.example.org\", \"cache_ttl\": \"1h\"}"
                .to_owned(),
            Self::Url { .. } => "it looks like https://gate.example.org".to_owned(),
            Self::NoServer { path } => format!(
                "run secret-gate setup --server URL, which writes it to {}; or set SECRET_GATE_URL, or pass --server",
                path.display()
            ),
            Self::KeyFile { .. } => "the file holds the key alone, on one line".to_owned(),
            Self::Ca { .. } => "correct or unset SSL_CERT_FILE".to_owned(),
            Self::Client(ClientError::KeyInTheClear { .. }) => "use https, or remove the API key".to_owned(),
            Self::Unreadable { .. } | Self::NotText(_) | Self::Client(_) => return None,
        })
    }
}

impl Settings {
    /// What the flag `--server`, the environment and the configuration file say; an empty flag counts as none.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(server_flag: Option<&str>) -> Result<Self, SettingsError> {
        let path = Config::path().unwrap_or_default();
        let config = Config::read(&path)?;
        Self::resolve(server_flag.filter(|url| !url.is_empty()), Environment::read()?, config, &path)
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// What else the configuration file says.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a key goes to the server.
    #[must_use]
    pub const fn has_api_key(&self) -> bool {
        self.api_key.is_some()
    }

    /// What a user should be told before anything is sent; none where all is well.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let is_in_the_clear = self.server.is_in_the_clear();
        is_in_the_clear.then(|| format!("secrets from {} travel unencrypted; use https", self.server))
    }

    /// A wish for the daemon under these settings, without what it is for. It is to be kept for as long as `cache_ttl`
    /// says, or `keep`.
    #[must_use]
    pub fn wish(&self, poll_interval: Duration, keep: Option<Duration>) -> Wish {
        let Self { server, api_key, private_ca, config } = self;
        let keep = keep.unwrap_or_else(|| config.cache_ttl());
        Wish {
            server: server.to_string(),
            api_key: api_key.as_ref().map(|key| Key(Revealed(SecretValue::copy_of(key.expose())))),
            private_ca: private_ca.clone(),
            poll_interval_ms: u64::try_from(poll_interval.as_millis()).ok(),
            duration: Some(written(keep)),
            machine: Some(machine_name()),
            working_dir: std::env::current_dir().ok().map(|path| path.to_string_lossy().into_owned()),
            ssh_auth_sock: if config.ssh_agent_integration() { ssh_auth_sock() } else { None },
            ..Wish::default()
        }
    }

    /// The client for these settings, which polls so often where a server does not hold its answers.
    ///
    /// # Errors
    /// [`SettingsError::Ca`], and [`SettingsError::Client`] such as for a key that would travel unencrypted.
    pub fn gate(&self, poll_interval: Duration) -> Result<RemoteGate, SettingsError> {
        let Self { server, api_key, private_ca, .. } = self;
        let mut builder = RemoteGate::builder(server.clone()).with_poll_interval(poll_interval);
        if let Some(key) = api_key {
            builder = builder.with_api_key(SecretValue::copy_of(key.expose()));
        }
        if let Some(path) = private_ca {
            let read = std::fs::read(path);
            builder = builder.with_private_ca(read.map_err(|source| SettingsError::Ca { path: path.clone(), source })?);
        }
        Ok(builder.build()?)
    }

    /// Brings the flag, the environment and the configuration file at `path` together.
    fn resolve(
        flag: Option<&str>,
        environment: Environment,
        config: Config,
        path: &Path,
    ) -> Result<Self, SettingsError> {
        let Environment { url, api_key: environment_key, private_ca } = environment;
        let from_flag = flag.map(|url| parsed(url, "--server")).transpose()?;
        let from_environment = url.map(|(name, url)| parsed(&url, name)).transpose()?;
        let from_file = config.server_url.as_deref().filter(|url| !url.is_empty());
        let from_file = from_file.map(|url| parsed(url, &format!("server_url in {}", path.display()))).transpose()?;

        let environment_key_is_for = from_environment.as_ref().or(from_file.as_ref()).cloned();
        let file_key_is_for = from_file.clone();
        let Some(server) = from_flag.or(from_environment).or(from_file) else {
            return Err(SettingsError::NoServer { path: path.to_owned() });
        };

        let api_key = match (environment_key, &config.api_key_file) {
            (Some(key), _) if environment_key_is_for.as_ref() == Some(&server) => Some(key),
            (None, Some(file)) if file_key_is_for.as_ref() == Some(&server) => Some(read_key(file, path)?),
            _ => None,
        };
        Ok(Self { server, api_key, private_ca, config })
    }
}

/// A duration in the units that servers read, of which a day is none.
fn written(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (duration.subsec_millis(), seconds % 3_600, seconds % 60) {
        (0, 0, _) if seconds > 0 => format!("{}h", seconds / 3_600),
        (0, _, 0) if seconds > 0 => format!("{}m", seconds / 60),
        (0, ..) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// The name of this machine, as a requester says it.
#[must_use]
pub fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The caller's ssh-agent, as an absolute path: the daemon works elsewhere.
fn ssh_auth_sock() -> Option<OsText> {
    let path = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty())?;
    let path = std::path::absolute(&path).map_or(path, PathBuf::into_os_string);
    Some(path.into())
}

/// What the environment says.
#[derive(Debug, Default)]
struct Environment {
    /// Name of the variable, and the URL in it.
    url: Option<(&'static str, String)>,
    api_key: Option<SecretValue>,
    private_ca: Option<PathBuf>,
}

impl Environment {
    fn read() -> Result<Self, SettingsError> {
        let mut url = None;
        for name in ["SECRET_GATE_URL", "OP_APPROVAL_PROXY_URL"] {
            url = match url {
                None => variable(name)?.map(|value| (name, value)),
                found => found,
            };
        }
        let api_key = variable("SECRET_GATE_API_KEY")?.map(SecretValue::new);
        let private_ca = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        // for the daemon, which works elsewhere
        let private_ca = private_ca.map(|path| std::path::absolute(&path).unwrap_or(path));
        Ok(Self { url, api_key, private_ca })
    }
}

/// A variable's value; an empty one counts as unset.
fn variable(name: &'static str) -> Result<Option<String>, SettingsError> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(SettingsError::NotText(name)),
    }
}

fn parsed(url: &str, place: &str) -> Result<ServerUrl, SettingsError> {
    url.parse().map_err(|problem| SettingsError::Url { place: place.to_owned(), problem })
}

/// The key in this file; a relative path starts at the configuration's folder, `~/` at the home folder.
fn read_key(file: &Path, config: &Path) -> Result<SecretValue, SettingsError> {
    let file = match (file.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => config.parent().unwrap_or(config).join(file),
    };
    let fail = |problem: String| SettingsError::KeyFile { path: file.clone(), problem };
    let text = Zeroizing::new(std::fs::read_to_string(&file).map_err(|error| fail(error.to_string()))?);
    match text.trim() {
        "" => Err(fail("it is empty".to_owned())),
        key => Ok(SecretValue::copy_of(key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server and the key that are used, given URLs of flag, environment and file. Both have a key.
    fn resolve(
        flag: Option<&str>,
        environment: Option<&str>,
        file: Option<&str>,
        keys: (bool, bool),
    ) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "file-key\n").unwrap();
        let config: Config =
            serde_json::from_value(serde_json::json!({"server_url": file, "api_key_file": keys.1.then_some("key")}))
                .unwrap();
        let environment = Environment {
            url: environment.map(|url| ("SECRET_GATE_URL", url.to_owned())),
            api_key: keys.0.then(|| "env-key".into()),
            private_ca: None,
        };
        let settings = Settings::resolve(flag, environment, config, &folder.path().join("config.json")).unwrap();
        (settings.server.to_string(), settings.api_key.map_or_else(String::new, |key| key.expose().to_owned()))
    }

    #[test]
    fn durations_are_written_as_servers_read_them() {
        for (text, expected) in
            [("24h", "24h"), ("2d", "48h"), ("1h30m", "90m"), ("61s", "61s"), ("1500ms", "1500ms"), ("0s", "0s")]
        {
            let duration = humantime::parse_duration(text).unwrap();
            assert_eq!(written(duration), expected);
            assert_eq!(crate::parse_duration(expected), Some(duration));
        }
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let none = (false, false);
        let (a, b, c) = (Some("https://a"), Some("https://b"), Some("https://c"));
        assert_eq!(resolve(a, b, c, none).0, "https://a");
        assert_eq!(resolve(None, b, c, none).0, "https://b");
        assert_eq!(resolve(None, None, c, none).0, "https://c");
    }

    #[test]
    fn a_key_goes_to_its_own_server_only() {
        let (a, b, c) = (Some("https://a"), Some("https://b"), Some("https://c"));
        let key = |flag, environment, file, keys| resolve(flag, environment, file, keys).1;
        // the file's key
        assert_eq!(key(None, None, c, (false, true)), "file-key");
        assert_eq!(key(Some("https://C:443/"), None, c, (false, true)), "file-key");
        assert_eq!(key(None, Some("https://c/"), c, (false, true)), "file-key");
        for (flag, environment, file) in [(a, None, c), (None, b, c), (None, b, None), (a, c, b)] {
            assert_eq!(key(flag, environment, file, (false, true)), "", "{flag:?} {environment:?} {file:?}");
        }
        // the environment's key
        assert_eq!(key(None, b, c, (true, true)), "env-key");
        assert_eq!(key(b, b, c, (true, true)), "env-key");
        assert_eq!(key(None, None, c, (true, true)), "env-key");
        for (flag, environment, file) in [(a, b, c), (a, None, c), (c, b, c), (a, None, None)] {
            assert_eq!(key(flag, environment, file, (true, true)), "", "{flag:?} {environment:?} {file:?}");
        }
        // a server of another scheme or port is another server
        assert_eq!(key(Some("http://c"), None, c, (true, true)), "");
        assert_eq!(key(Some("https://c:8443"), None, c, (true, true)), "");
    }

    #[test]
    fn says_how_to_name_a_server() {
        let path = Path::new("/home/ann/config.json");
        let error = Settings::resolve(None, Environment::default(), Config::default(), path).unwrap_err();
        assert!(error.hint().unwrap().contains("SECRET_GATE_URL"));
        let error = Settings::resolve(Some("gate:8080"), Environment::default(), Config::default(), path);
        assert_eq!(error.unwrap_err().to_string(), "the URL of --server does not start with http:// or https://");
    }
}
