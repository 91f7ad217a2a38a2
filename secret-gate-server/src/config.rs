//! The server's configuration, out of environment variables.
//!
//! A missing or malformed value stops the start: a typo must not change who may approve.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use secret_gate_core::{SecretValue, parse_duration};
use url::Url;

pub(crate) const DEFAULT_CLIENT_DIR: &str = "/app/clients";
pub(crate) const DEFAULT_REQUESTS_PER_MINUTE: u32 = 30;
pub(crate) const DEFAULT_LOOKUPS_PER_MINUTE: u32 = 120;

/// Everything the server is told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// `OP_CONNECT_HOST`: URL of the 1Password Connect server.
    pub connect_host: String,
    /// `OP_CONNECT_TOKEN`: token for it.
    pub connect_token: SecretValue,
    /// `TELEGRAM_BOT_TOKEN`: token of the bot.
    pub bot_token: SecretValue,
    /// `TELEGRAM_CHAT_ID`: the chat that gets the requests.
    pub chat_id: i64,
    /// `TELEGRAM_API_URL`: the Bot API server.
    pub telegram_api_url: String,
    /// `TELEGRAM_APPROVER_IDS`: users who may decide; everybody in the chat where empty.
    pub approver_ids: Vec<u64>,
    /// `WEBHOOK_BASE_URL`: public URL of this server.
    pub base_url: String,
    /// `BIND_ADDRESS`: the address to listen on.
    pub bind_address: IpAddr,
    /// `PORT`: the TCP port to listen on; 0 takes a free one.
    pub port: u16,
    /// `REQUEST_TTL`: how long a request stays valid.
    pub request_ttl: Duration,
    /// `CLEANUP_INTERVAL`: how often ended requests are dropped.
    pub cleanup_interval: Duration,
    /// `INDEX_TTL`: how old the titles may be that a search looks through.
    pub index_ttl: Duration,
    /// `TRUSTED_PROXIES`: networks whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// `CLIENT_DIR`: folder of the clients to hand out.
    pub client_dir: PathBuf,
    /// `API_KEYS_FILE`: the keys that may ask; everybody may where absent.
    pub api_keys_file: Option<PathBuf>,
    /// `AUDIT_LOG`: file of the audit log; the program's log where absent.
    pub audit_log: Option<PathBuf>,
    /// `MAX_PENDING`: requests that wait for a decision, in all.
    pub max_pending: usize,
    /// `MAX_PENDING_PER_REQUESTER`: requests of one requester that wait for a decision.
    pub max_pending_per_requester: usize,
    /// `MAX_REQUESTS_PER_MINUTE`: requests of one requester.
    pub max_requests_per_minute: NonZeroU32,
    /// `MAX_LOOKUPS_PER_MINUTE`: searches and looks at fields of one requester.
    pub max_lookups_per_minute: NonZeroU32,
}

/// What is needed to talk to the bot, and nothing else.
#[derive(Debug)]
#[non_exhaustive]
pub struct BotConfig {
    /// `TELEGRAM_BOT_TOKEN`: token of the bot.
    pub token: SecretValue,
    /// `TELEGRAM_API_URL`: the Bot API server.
    pub api_url: String,
}

/// Where the server listens, and nothing else.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListenConfig {
    /// `BIND_ADDRESS`: the address to listen on.
    pub bind_address: IpAddr,
    /// `PORT`: the TCP port to listen on; 0 takes a free one.
    pub port: u16,
}

/// What is wrong with the configuration, a line for each variable.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Names each variable that is missing or malformed, what is wrong and what to write.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(environment)
    }

    /// Reads variables from wherever `variable` finds them.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn read(variable: impl Fn(&str) -> Result<Option<String>, String>) -> Result<Self, ConfigError> {
        let mut vars = Variables { variable: &variable, problems: Vec::new() };
        let connect_host = vars.url(
            "OP_CONNECT_HOST",
            None,
            "the URL of your 1Password Connect server, such as http://localhost:8081",
        );
        let connect_token = vars.needed_secret("OP_CONNECT_TOKEN", "the access token of your 1Password Connect server");
        let bot_token = vars.bot_token();
        let chat_id =
            vars.needed_or_file("TELEGRAM_CHAT_ID", "the chat's number, such as 42, or -10042 for a group", chat_id);
        let base_url = vars.url(
            "WEBHOOK_BASE_URL",
            None,
            "the URL under which clients reach this server, such as https://gate.example.com",
        );
        let telegram_api_url = vars.telegram_api_url();
        let approver_ids = vars.or("TELEGRAM_APPROVER_IDS", "", "numeric user ids, such as 42,43", user_ids);
        let (bind_address, port) = (vars.bind_address(), vars.port());
        let duration_form = "a duration up to 168h, such as 90s, 15m or 1h30m";
        let request_ttl = vars.or("REQUEST_TTL", "15m", duration_form, duration);
        let cleanup_interval = vars.or("CLEANUP_INTERVAL", "5m", duration_form, duration);
        let index_ttl = vars.or("INDEX_TTL", "60s", duration_form, duration);
        let trusted_proxies = vars.or("TRUSTED_PROXIES", "", "networks, such as 10.0.0.0/8,192.168.1.7", networks);
        let client_dir = vars.or("CLIENT_DIR", DEFAULT_CLIENT_DIR, "a folder", parsed);
        let api_keys_file = vars.or("API_KEYS_FILE", "", "the path of a file", optional_path);
        let audit_log = vars.or("AUDIT_LOG", "", "the path of a file", optional_path);
        let count_form = "a whole number above 0";
        let max_pending = vars.or("MAX_PENDING", "100", count_form, above_zero);
        let max_pending_per_requester = vars.or("MAX_PENDING_PER_REQUESTER", "10", count_form, above_zero);
        let max_requests_per_minute = vars.or("MAX_REQUESTS_PER_MINUTE", "30", count_form, parsed);
        let max_lookups_per_minute = vars.or("MAX_LOOKUPS_PER_MINUTE", "120", count_form, parsed);

        let problems = vars.problems;
        let config = || {
            Some(Self {
                connect_host: connect_host?,
                connect_token: connect_token?,
                bot_token: bot_token?,
                chat_id: chat_id?,
                telegram_api_url: telegram_api_url?,
                approver_ids: approver_ids?,
                base_url: base_url?,
                bind_address: bind_address?,
                port: port?,
                request_ttl: request_ttl?,
                cleanup_interval: cleanup_interval?,
                index_ttl: index_ttl?,
                trusted_proxies: trusted_proxies?,
                client_dir: client_dir?,
                api_keys_file: api_keys_file?,
                audit_log: audit_log?,
                max_pending: max_pending?,
                max_pending_per_requester: max_pending_per_requester?,
                max_requests_per_minute: max_requests_per_minute?,
                max_lookups_per_minute: max_lookups_per_minute?,
            })
        };
        config().ok_or(ConfigError { problems })
    }
}

impl BotConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut vars = Variables { variable: &environment, problems: Vec::new() };
        match (vars.bot_token(), vars.telegram_api_url()) {
            (Some(token), Some(api_url)) => Ok(Self { token, api_url }),
            _ => Err(ConfigError { problems: vars.problems }),
        }
    }
}

impl ListenConfig {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_env() -> Result<Self, ConfigError> {
        let mut vars = Variables { variable: &environment, problems: Vec::new() };
        match (vars.bind_address(), vars.port()) {
            (Some(bind_address), Some(port)) => Ok(Self { bind_address, port }),
            _ => Err(ConfigError { problems: vars.problems }),
        }
    }
}

fn environment(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err("is not UTF-8 text".to_owned()),
    }
}

/// Reads one variable after the other and collects what is wrong with them. `None` always comes with a problem.
struct Variables<'a> {
    variable: &'a dyn Fn(&str) -> Result<Option<String>, String>,
    problems: Vec<String>,
}

impl Variables<'_> {
    fn problem<T>(&mut self, name: &str, problem: &str, form: &str) -> Option<T> {
        self.problems.push(format!("{name} {problem}; write {name}=…, {form}"));
        None
    }

    /// The variable's value without surrounding white space; an empty one counts as absent.
    fn value(&mut self, name: &str) -> Result<Option<String>, ()> {
        match (self.variable)(name) {
            Ok(value) => Ok(value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())),
            Err(problem) => {
                self.problems.push(format!("{name} {problem}"));
                Err(())
            }
        }
    }

    fn or<T>(&mut self, name: &str, default: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.value(name).ok()?.unwrap_or_else(|| default.to_owned());
        match parse(&text) {
            Some(value) => Some(value),
            None => self.problem(name, &format!("is malformed ({text:?})"), form),
        }
    }

    /// A URL; never quoted, since it may hold a password, or a token that was meant for another variable.
    fn url(&mut self, name: &str, default: Option<&str>, form: &str) -> Option<String> {
        let text = self.value(name).ok()?.or_else(|| default.map(str::to_owned));
        let Some(text) = text else { return self.problem(name, "is not set", form) };
        match http_url(&text) {
            Some(url) => Some(url),
            None => self.problem(
                name,
                "is malformed (it needs http:// or https:// and a host, and no user name, password, query or #)",
                form,
            ),
        }
    }

    /// The variable, or the content of the file that `NAME_FILE` names.
    fn value_or_file(&mut self, name: &str) -> Result<Option<String>, ()> {
        let file_name = format!("{name}_FILE");
        match (self.value(name)?, self.value(&file_name)?) {
            (Some(_), Some(_)) => {
                self.problems.push(format!("{name} and {file_name} are both set; set one of them"));
                Err(())
            }
            (value, None) => Ok(value),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
                Err(error) => {
                    self.problems.push(format!(
                        "{file_name} names a file that can't be read ({error}); write the path of a readable file"
                    ));
                    Err(())
                }
            },
        }
    }

    fn needed_or_file<T>(&mut self, name: &str, form: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let Some(text) = self.value_or_file(name).ok()? else { return self.problem(name, "is not set", form) };
        match parse(&text) {
            Some(value) => Some(value),
            None => self.problem(name, "is malformed", form),
        }
    }

    fn bot_token(&mut self) -> Option<SecretValue> {
        self.needed_secret("TELEGRAM_BOT_TOKEN", "the token that @BotFather gave you, such as 123456:ABC-DEF")
    }

    fn bind_address(&mut self) -> Option<IpAddr> {
        self.or("BIND_ADDRESS", "0.0.0.0", "an IP address, such as 127.0.0.1", parsed)
    }

    fn port(&mut self) -> Option<u16> {
        self.or("PORT", "8080", "a TCP port between 0 and 65535", parsed)
    }

    fn telegram_api_url(&mut self) -> Option<String> {
        self.url("TELEGRAM_API_URL", Some("https://api.telegram.org"), "the URL of a Bot API server")
    }

    fn needed_secret(&mut self, name: &str, form: &str) -> Option<SecretValue> {
        // never quoted, whatever is wrong with it
        self.needed_or_file(name, form, |text| {
            let printable = text.chars().all(|c| c.is_ascii_graphic());
            printable.then(|| SecretValue::copy_of(text))
        })
    }
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn above_zero(text: &str) -> Option<usize> {
    parsed(text).filter(|count| *count > 0)
}

fn chat_id(text: &str) -> Option<i64> {
    parsed(text).filter(|id| *id != 0)
}

/// Longer ones are taken for a slip of the pen.
const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn duration(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
}

fn optional_path(text: &str) -> Option<Option<PathBuf>> {
    Some(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()))
}

/// Parts between commas, each of which must mean something: a lone comma is not an empty list.
fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    if text.is_empty() { Some(Vec::new()) } else { text.split(',').map(|part| parse(part.trim())).collect() }
}

fn user_ids(text: &str) -> Option<Vec<u64>> {
    list(text, parsed)
}

fn networks(text: &str) -> Option<Vec<IpNet>> {
    list(text, |part| parsed(part).or_else(|| parsed::<IpAddr>(part).map(IpNet::from)))
}

fn http_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let http = matches!(url.scheme(), "http" | "https") && url.has_host();
    (http && plain).then(|| url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKING: [(&str, &str); 5] = [
        ("OP_CONNECT_HOST", "http://localhost:8081/"),
        ("OP_CONNECT_TOKEN", "connect-token"),
        ("TELEGRAM_BOT_TOKEN", "123456:ABC"),
        ("TELEGRAM_CHAT_ID", "-10042"),
        ("WEBHOOK_BASE_URL", "https://gate.example.com"),
    ];

    fn read(changes: &[(&str, &str)]) -> Result<Config, String> {
        let find = |name: &str| changes.iter().chain(&WORKING).find(|(known, _)| *known == name);
        Config::read(|name| Ok(find(name).map(|(_, value)| (*value).to_owned()))).map_err(|error| error.to_string())
    }

    #[test]
    fn an_old_environment_keeps_working() {
        let config = read(&[("REQUEST_TTL", "1h30m"), ("PORT", "9000")]).unwrap();
        assert_eq!(config.connect_host, "http://localhost:8081");
        assert_eq!(config.chat_id, -10042);
        assert_eq!(config.request_ttl, Duration::from_secs(5400));
        assert_eq!((config.port, config.bind_address.to_string().as_str()), (9000, "0.0.0.0"));
        assert_eq!(config.cleanup_interval, Duration::from_secs(300));
        assert!(config.api_keys_file.is_none() && config.approver_ids.is_empty());
    }

    #[test]
    fn each_problem_names_variable_fault_and_remedy() {
        let none = Config::read(|_| Ok(None)).unwrap_err().to_string();
        let missing: Vec<&str> = none.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(
            missing,
            ["OP_CONNECT_HOST", "OP_CONNECT_TOKEN", "TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "WEBHOOK_BASE_URL"]
        );
        let cases = [
            ("PORT", "80800"),
            ("PORT", "http"),
            ("REQUEST_TTL", "15"),
            ("REQUEST_TTL", "0s"),
            ("REQUEST_TTL", "15M"),
            ("REQUEST_TTL", "169h"),
            ("TELEGRAM_APPROVER_IDS", ","),
            ("TRUSTED_PROXIES", "10.0.0.1,"),
            ("REQUEST_TTL", "fifteen minutes"),
            ("TELEGRAM_CHAT_ID", "@channel"),
            ("TELEGRAM_CHAT_ID", "0"),
            ("TELEGRAM_APPROVER_IDS", "42,ann"),
            ("OP_CONNECT_HOST", "localhost:8081"),
            ("WEBHOOK_BASE_URL", "ftp://gate"),
            ("TRUSTED_PROXIES", "10.0.0.0/40"),
            ("MAX_PENDING", "0"),
            ("MAX_REQUESTS_PER_MINUTE", "0"),
            ("BIND_ADDRESS", "localhost"),
            ("OP_CONNECT_TOKEN", "two words"),
        ];
        for (name, value) in cases {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(
                error.starts_with(&format!("{name} ")) && error.contains("; write ") && error.lines().count() == 1,
                "{error}"
            );
        }
    }

    #[test]
    fn no_problem_quotes_a_secret() {
        for name in ["OP_CONNECT_TOKEN", "TELEGRAM_BOT_TOKEN"] {
            assert!(!read(&[(name, "hunter2 hunter2")]).unwrap_err().contains("hunter2"));
        }
        for name in ["OP_CONNECT_HOST", "WEBHOOK_BASE_URL", "TELEGRAM_API_URL"] {
            for text in ["http://admin:hunter2@op", "hunter2", "http://op/?token=hunter2"] {
                assert!(!read(&[(name, text)]).unwrap_err().contains("hunter2"));
            }
        }
    }

    #[test]
    fn secrets_come_from_files_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "from-a-file\n").unwrap();
        let path = path.to_str().unwrap();
        let config = read(&[("OP_CONNECT_TOKEN", ""), ("OP_CONNECT_TOKEN_FILE", path)]).unwrap();
        assert_eq!(config.connect_token.expose(), "from-a-file");
        assert!(read(&[("OP_CONNECT_TOKEN_FILE", path)]).unwrap_err().contains("both set"));
        assert!(
            read(&[("OP_CONNECT_TOKEN", ""), ("OP_CONNECT_TOKEN_FILE", "/nowhere")])
                .unwrap_err()
                .starts_with("OP_CONNECT_TOKEN_FILE ")
        );
    }
}
