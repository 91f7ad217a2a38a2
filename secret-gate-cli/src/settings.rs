//! Which server to talk to, and with which key: flags, environment and file brought together.
//!
//! A key is bound to the server it was configured with: the file's key to the file's `server_url`, the environment's
//! to the environment's URL, or the file's where there is none. Where a flag names another server, no key goes there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secret_gate_core::SecretValue;
use secret_gate_core::client::{RemoteGate, ServerUrl};
use secret_gate_core::daemon::{Key, Wish};
use secret_gate_core::wire::Revealed;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::Ui;
use crate::{machine, working_dir};

/// What the environment says.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// Name of the variable, and the URL in it.
    url: Option<(&'static str, String)>,
    api_key: Option<SecretValue>,
    private_ca: Option<PathBuf>,
}

/// The server to talk to, and the key for it.
#[derive(Debug)]
pub(crate) struct Settings {
    server: ServerUrl,
    api_key: Option<SecretValue>,
    private_ca: Option<PathBuf>,
}

impl Environment {
    pub(crate) fn read() -> Result<Self, Failure> {
        let mut url = None;
        for name in ["SECRET_GATE_URL", "OP_APPROVAL_PROXY_URL"] {
            url = match url {
                None => variable(name)?.map(|value| (name, value)),
                found => found,
            };
        }
        let api_key = variable("SECRET_GATE_API_KEY")?.map(SecretValue::new);
        let private_ca = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(Self { url, api_key, private_ca })
    }
}

/// A variable's value; an empty one counts as unset.
fn variable(name: &str) -> Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::new(Exit::Failed, format!("the variable {name} is not text")))
        }
    }
}

impl Settings {
    /// Brings the flag, the environment and the configuration file at `path` together.
    pub(crate) fn resolve(
        flag: Option<&str>,
        environment: Environment,
        config: Config,
        path: &Path,
    ) -> Result<Self, Failure> {
        let Environment { url, api_key: environment_key, private_ca } = environment;
        let from_flag = flag.map(|url| parsed(url, "--server", Exit::Usage)).transpose()?;
        let from_environment = url.map(|(name, url)| parsed(&url, name, Exit::Failed)).transpose()?;
        let from_file = config.server_url.filter(|url| !url.is_empty());
        let from_file = from_file
            .map(|url| parsed(&url, &format!("server_url in {}", path.display()), Exit::Failed))
            .transpose()?;

        let environment_key_is_for = from_environment.as_ref().or(from_file.as_ref()).cloned();
        let file_key_is_for = from_file.clone();
        let Some(server) = from_flag.or(from_environment).or(from_file) else {
            return Err(Failure::new(Exit::Failed, "no server is configured").with_hint(format!(
                "set SECRET_GATE_URL, pass --server, or write {{\"server_url\": \"https://…\"}} to {}",
                path.display()
            )));
        };

        let api_key = match (environment_key, config.api_key_file) {
            (Some(key), _) if environment_key_is_for.as_ref() == Some(&server) => Some(key),
            (None, Some(file)) if file_key_is_for.as_ref() == Some(&server) => Some(read_key(&file, path)?),
            _ => None,
        };
        Ok(Self { server, api_key, private_ca })
    }

    /// A wish for the daemon under these settings, to be kept for so long, without what it is for; warns where it talks
    /// unencrypted.
    pub(crate) fn wish(&self, poll_interval: Duration, keep: Duration, ui: &Ui) -> Wish {
        let Self { server, api_key, private_ca } = self;
        if server.is_in_the_clear() {
            ui.warning(&format!("secrets from {server} travel unencrypted; use https"));
        }
        Wish {
            server: server.to_string(),
            api_key: api_key.as_ref().map(|key| Key(Revealed(SecretValue::copy_of(key.expose())))),
            private_ca: private_ca.clone(),
            poll_interval_ms: u64::try_from(poll_interval.as_millis()).ok(),
            duration: Some(humantime::format_duration(keep).to_string().replace(' ', "")),
            machine: machine(),
            working_dir: working_dir(),
            ..Wish::default()
        }
    }

    /// The client for these settings; warns where it talks unencrypted.
    pub(crate) fn gate(&self, poll_interval: Duration, ui: &Ui) -> Result<RemoteGate, Failure> {
        let Self { server, api_key, private_ca } = self;
        let is_in_the_clear = server.is_in_the_clear();
        let mut builder = RemoteGate::builder(server.clone()).with_poll_interval(poll_interval);
        if let Some(key) = api_key {
            builder = builder.with_api_key(SecretValue::copy_of(key.expose()));
        }
        if let Some(path) = private_ca {
            let pem = std::fs::read(path).map_err(|error| {
                Failure::new(Exit::Failed, format!("can't read {}: {error}", path.display()))
                    .with_hint("correct or unset SSL_CERT_FILE")
            })?;
            builder = builder.with_private_ca(pem);
        }
        let gate = builder.build()?;
        if is_in_the_clear {
            ui.warning(&format!("secrets from {} travel unencrypted; use https", gate.server()));
        }
        Ok(gate)
    }
}

fn parsed(url: &str, source: &str, exit: Exit) -> Result<ServerUrl, Failure> {
    url.parse().map_err(|error| {
        Failure::new(exit, format!("the URL of {source} {error}")).with_hint("it looks like https://gate.example.org")
    })
}

/// The key in this file; a relative path starts at the configuration's folder, `~/` at the home folder.
fn read_key(file: &Path, config: &Path) -> Result<SecretValue, Failure> {
    let file = match (file.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => config.parent().unwrap_or(config).join(file),
    };
    let fail = |problem: &str| {
        Failure::new(Exit::Failed, format!("api_key_file {}: {problem}", file.display()))
            .with_hint("the file holds the key alone, on one line")
    };
    let text = Zeroizing::new(std::fs::read_to_string(&file).map_err(|error| fail(&error.to_string()))?);
    match text.trim() {
        "" => Err(fail("it is empty")),
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
        let failure = Settings::resolve(None, Environment::default(), Config::default(), path).unwrap_err();
        assert!(failure.hint.unwrap().contains("SECRET_GATE_URL"));
        let failure =
            Settings::resolve(Some("gate:8080"), Environment::default(), Config::default(), path).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(failure.what, "the URL of --server does not start with http:// or https://");
    }
}
