//! A secret-gate server over HTTP: [`RemoteGate`] asks, waits for the human, and redeems.

mod error;
mod exchange;
mod health;
mod idempotency;
mod url;

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::error::About;
use self::exchange::{Answer, Repeat, exchange};
use crate::wire::{
    AccessRequest, AccessResponse, FieldsRequest, FieldsResponse, SearchRequest, SearchResponse, SecretResponse,
    Status, StatusResponse, WatchRequest, WatchResponse,
};
use crate::{SecretValue, http};

pub use self::error::ClientError;
pub use self::health::{Health, Readiness};
pub use self::url::{ServerUrl, ServerUrlError};

/// How long a server is asked to hold its answer while nobody has decided.
const LONG_POLL: Duration = Duration::from_secs(30);
/// Longest hold that the API knows.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long a call may take, with all its attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to say how a request stands, beyond the hold that was asked for; all attempts together.
const STATUS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long [`RemoteGate::decision`] bears a server that can't be reached: one held call that is never answered and one
/// that is not held.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before an approved value is asked for again that did not come.
const REDEEM_PAUSE: Duration = Duration::from_secs(1);
/// Shortest pause between two questions to a server that does not hold its answers.
const MIN_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The client of a secret-gate server.
///
/// Every call goes to the server it was built for: URLs in answers are not used and redirects not followed. The API
/// key is sent where the API asks for it and nowhere else. A call that may be sent again is, twice at most; with all its
/// attempts it ends after a minute, or little more.
///
/// ```no_run
/// use secret_gate_core::client::RemoteGate;
/// use secret_gate_core::wire::{AccessRequest, Status};
///
/// # async fn run() -> Result<(), secret_gate_core::client::ClientError> {
/// let gate = RemoteGate::builder("https://gate.example.org".parse()?).build()?;
/// let asked = gate
///     .request(&AccessRequest { secret_name: Some("database".into()), reason: Some("nightly backup".into()), ..Default::default() })
///     .await?;
/// if gate.decision(&asked.token).await?.status == Status::Approved {
///     let answer = gate.secret(&asked.token).await?;
/// #   drop(answer);
/// }
/// # Ok(())
/// # }
/// ```
pub struct RemoteGate {
    http: reqwest::Client,
    server: ServerUrl,
    api_key: Option<SecretValue>,
    poll_interval: Duration,
}

/// Settings of a [`RemoteGate`].
#[must_use]
#[derive(Debug)]
pub struct RemoteGateBuilder {
    server: ServerUrl,
    api_key: Option<SecretValue>,
    connect_timeout: Duration,
    poll_interval: Duration,
    private_ca: Option<Vec<u8>>,
}

impl RemoteGate {
    /// Settings for this server: no API key, 10 s to connect, a question every 2 s where a server does not hold its
    /// answers, and the well-known CAs.
    pub const fn builder(server: ServerUrl) -> RemoteGateBuilder {
        RemoteGateBuilder {
            server,
            api_key: None,
            connect_timeout: Duration::from_secs(10),
            poll_interval: Duration::from_secs(2),
            private_ca: None,
        }
    }

    /// The server it talks to.
    #[must_use]
    pub const fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// Items whose titles match, best first. Asks nobody.
    ///
    /// # Errors
    /// [`ClientError`] as the server reports it, or when it can't be reached.
    pub async fn search(&self, query: &SearchRequest) -> Result<SearchResponse, ClientError> {
        self.look_up("search", query).await
    }

    /// Labels and types of an item's fields. Asks nobody.
    ///
    /// # Errors
    /// [`ClientError::NotFound`] and [`ClientError::Ambiguous`] where the name is not that of one item, and the others.
    pub async fn fields(&self, item: &FieldsRequest) -> Result<FieldsResponse, ClientError> {
        self.look_up("fields", item).await
    }

    /// Puts a question before the human; returns once they can see it. Where the answer got lost, the question is sent
    /// again, under the same `Idempotency-Key`, to a server whose `/openapi.json` says that it knows this header: it answers
    /// again and asks nobody twice. To any other server it is sent once.
    ///
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Ambiguous`] and [`ClientError::UnknownField`] where the question names
    /// nothing that can be asked for, and the others. After [`ClientError::Interrupted`] the human may see a question
    /// whose token got lost.
    pub async fn request(&self, question: &AccessRequest) -> Result<AccessResponse, ClientError> {
        let once = idempotency::key()?;
        let end = Instant::now() + CALL_TIMEOUT;
        let mut pauses = idempotency::PAUSES.into_iter();
        loop {
            let outcome = self.ask(question, &once, end.saturating_duration_since(Instant::now())).await;
            let lost = outcome.as_ref().err().is_some_and(idempotency::is_lost);
            let Some(pause) = pauses.next().filter(|pause| lost && Instant::now() + *pause < end) else {
                return outcome;
            };
            tokio::time::sleep(pause).await;
            if !self.knows_idempotency().await {
                return outcome;
            }
            tracing::debug!("the answer was lost; sending the question again");
        }
    }

    async fn ask(
        &self,
        question: &AccessRequest,
        once: &HeaderValue,
        within: Duration,
    ) -> Result<AccessResponse, ClientError> {
        let answer = self.post("request", question, Repeat::Unsent, within, Some(once)).await?;
        let asked: AccessResponse = answer.parse(About::Names, self.key())?;
        let is_token = asked.token.len() <= 512
            && asked.token.chars().all(|c| c.is_ascii_graphic())
            && asked.token.contains(|c| c != '.');
        if is_token { Ok(asked) } else { Err(ClientError::Protocol { problem: "its token is none".to_owned() }) }
    }

    /// How a request stands. With `wait`, in whole seconds, a server holds its answer that long (at most 60 s) while
    /// nobody has decided; an older one answers at once. The server has 15 s beyond that to answer.
    ///
    /// # Errors
    /// [`ClientError::UnknownRequest`] where the server does not know the token, and the others.
    pub async fn status(&self, token: &str, wait: Option<Duration>) -> Result<StatusResponse, ClientError> {
        let wait = wait.map(|wait| wait.min(MAX_WAIT));
        let mut url = self.server.join(&["status", token]);
        if let Some(wait) = wait {
            url.query_pairs_mut().append_pair("wait", &format!("{}s", wait.as_secs()));
        }
        let within = STATUS_TIMEOUT + wait.unwrap_or_default();
        let answer = exchange(&self.server, Repeat::Safe, within, || self.http.get(url.clone())).await?;
        answer.parse(About::Request, Some(token))
    }

    /// Waits until the human has decided or the request has ended otherwise; for that, bound it from outside.
    ///
    /// A server that holds its answers is asked again at once, another one at the poll interval. A server that can't
    /// be reached is borne for a minute.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn decision(&self, token: &str) -> Result<StatusResponse, ClientError> {
        let mut last_heard = Instant::now();
        let mut wait = Some(LONG_POLL);
        loop {
            let asked = Instant::now();
            let pause = match self.status(token, wait).await {
                Ok(status) if status.status != Status::Pending => return Ok(status),
                Ok(_) => {
                    wait = Some(LONG_POLL);
                    last_heard = Instant::now();
                    let was_held = asked.elapsed() >= LONG_POLL / 2;
                    if was_held { Duration::ZERO } else { self.poll_interval }
                }
                Err(error) if error.is_transient() && last_heard.elapsed() < PATIENCE => {
                    tracing::debug!(%error, "the server is away, the question stands");
                    // an answer that is not held tells soonest whether it is back
                    wait = None;
                    self.poll_interval.max(retry_after(&error))
                }
                Err(error) => return Err(error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Redeems an approved request. The server hands the value out once, however often it is asked; so the call is sent
    /// again where the answer was lost or the server says that it failed, for a minute: the approval is good as long as
    /// the value has not left.
    ///
    /// # Errors
    /// [`ClientError::NotApproved`] before and after its time, [`ClientError::AlreadyUsed`] where someone else was
    /// faster, and the others. After [`ClientError::Interrupted`] the value may be gone.
    pub async fn secret(&self, token: &str) -> Result<SecretResponse, ClientError> {
        let end = Instant::now() + CALL_TIMEOUT;
        let left = || end.saturating_duration_since(Instant::now());
        let mut lost = None;
        loop {
            let error = match self.redeem(token, left()).await {
                Err(error) => error,
                released => return released,
            };
            let is_lost = matches!(error, ClientError::Interrupted { .. } | ClientError::Unreachable { .. });
            if (is_lost || matches!(error, ClientError::Server { status: 500, .. })) && left() > REDEEM_PAUSE {
                tracing::debug!(%error, "the approved value did not come; asking for it again");
                if matches!(error, ClientError::Interrupted { .. }) {
                    lost.get_or_insert(error);
                }
                tokio::time::sleep(REDEEM_PAUSE).await;
                continue;
            }
            return Err(match (error, lost) {
                // by our own call, as far as anybody can tell
                (ClientError::AlreadyUsed | ClientError::UnknownRequest, Some(lost)) => lost,
                (_, Some(lost)) if is_lost => lost,
                (error, _) => error,
            });
        }
    }

    async fn redeem(&self, token: &str, within: Duration) -> Result<SecretResponse, ClientError> {
        let url = self.server.join(&["secret", token]);
        let call = || self.http.get(url.clone());
        exchange(&self.server, Repeat::Unsent, within, call).await?.parse(About::Request, Some(token))
    }

    /// Takes a request back: withdraws the question, or revokes what came of it. Returns whether it was taken back:
    /// false where the server does not know the request, or is too old to take one back; there, a question stays open
    /// until it expires.
    ///
    /// # Errors
    /// [`ClientError`] when the server can't be reached or reports another failure.
    pub async fn withdraw(&self, token: &str) -> Result<bool, ClientError> {
        let url = self.server.join(&["request", token]);
        let call = || self.http.delete(url.clone());
        let answer = exchange(&self.server, Repeat::Safe, CALL_TIMEOUT, call).await?;
        if answer.is_success() || matches!(answer.status, 404 | 405) {
            return Ok(answer.is_success());
        }
        Err(error::from_answer(&answer, About::Request, Some(token)))
    }

    /// Waits until one of the requests is revoked or unknown to the server, or until `wait` is over, in whole seconds (at
    /// most 60 s); returns the tokens of those that are.
    ///
    /// # Errors
    /// [`ClientError::Server`] with status 404 or 405 where the server is too old to tell, and the others.
    pub async fn watch(&self, tokens: &[&str], wait: Duration) -> Result<Vec<String>, ClientError> {
        let wait = wait.min(MAX_WAIT);
        let url = self.server.join(&["watch"]);
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let body = WatchRequest { tokens, wait: Some(format!("{}s", wait.as_secs())) };
        let call = || self.http.post(url.clone()).json(&body);
        let answer = exchange(&self.server, Repeat::Safe, STATUS_TIMEOUT + wait, call).await?;
        let revoked: WatchResponse = answer.parse(About::Names, None)?;
        Ok(revoked.changed.into_iter().map(|change| change.token).collect())
    }

    async fn look_up<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, ClientError> {
        self.post(path, body, Repeat::Safe, CALL_TIMEOUT, None).await?.parse(About::Names, self.key())
    }

    async fn post(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        repeat: Repeat,
        within: Duration,
        once: Option<&HeaderValue>,
    ) -> Result<Answer, ClientError> {
        let url = self.server.join(&[path]);
        let authorization = self.key().map(authorization).transpose()?;
        let call = || {
            let mut call = self.http.post(url.clone()).json(body);
            if let Some(value) = &authorization {
                call = call.header(AUTHORIZATION, value.clone());
            }
            if let Some(value) = once {
                call = call.header(idempotency::HEADER, value.clone());
            }
            call
        };
        exchange(&self.server, repeat, within, call).await
    }

    /// Whether the server says of itself that a question under a key that it has seen is the same question.
    async fn knows_idempotency(&self) -> bool {
        let url = self.server.join(&["openapi.json"]);
        let answer = exchange(&self.server, Repeat::Safe, STATUS_TIMEOUT, || self.http.get(url.clone())).await;
        let described = answer.and_then(|answer| answer.parse::<serde_json::Value>(About::Names, self.key()));
        described.is_ok_and(|described| idempotency::is_known_by(&described))
    }

    fn key(&self) -> Option<&str> {
        self.api_key.as_ref().map(SecretValue::expose)
    }
}

impl fmt::Debug for RemoteGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http: _, server, api_key, poll_interval } = self;
        f.debug_struct("RemoteGate")
            .field("server", server)
            .field("api_key", &api_key.is_some())
            .field("poll_interval", poll_interval)
            .finish_non_exhaustive()
    }
}

impl RemoteGateBuilder {
    /// Sends this API key with questions and look-ups.
    pub fn with_api_key(self, key: SecretValue) -> Self {
        Self { api_key: Some(key), ..self }
    }

    /// How long a connection may take to come about.
    pub fn with_connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// How often to ask a server that does not hold its answers; below 100 ms means 100 ms.
    pub fn with_poll_interval(self, interval: Duration) -> Self {
        Self { poll_interval: interval.max(MIN_POLL_INTERVAL), ..self }
    }

    /// Trusts the CA certificates in this PEM text beside the well-known ones.
    pub fn with_private_ca(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { private_ca: Some(pem.into()), ..self }
    }

    /// The client. A server that is asked over plain http, and is not this machine, gets a warning in the log
    /// ([`ServerUrl::is_in_the_clear`] tells front-ends).
    ///
    /// # Errors
    /// [`ClientError::KeyInTheClear`] where an API key would travel unencrypted, [`ClientError::MalformedKey`], and
    /// [`ClientError::PrivateCa`].
    pub fn build(self) -> Result<RemoteGate, ClientError> {
        let Self { server, api_key, connect_timeout, poll_interval, private_ca } = self;
        if let Some(key) = &api_key {
            authorization(key.expose())?;
        }
        if server.is_in_the_clear() {
            if api_key.is_some() {
                return Err(ClientError::KeyInTheClear { server: server.to_string() });
            }
            tracing::warn!(%server, "plain http: tokens and secrets travel unencrypted");
        }
        let authorities: Vec<_> = private_ca.into_iter().collect();
        let http = http::client(server.as_url(), &authorities, connect_timeout).map_err(|error| match error {
            http::ClientError::Build(source) => ClientError::Tls(source),
            unusable => ClientError::PrivateCa(unusable.into()),
        })?;
        Ok(RemoteGate { http, server, api_key, poll_interval })
    }
}

fn authorization(key: &str) -> Result<HeaderValue, ClientError> {
    let well_formed = !key.is_empty() && key.chars().all(|c| c.is_ascii_graphic());
    let value = Zeroizing::new(format!("Bearer {key}"));
    let mut value = HeaderValue::from_str(&value).ok().filter(|_| well_formed).ok_or(ClientError::MalformedKey)?;
    value.set_sensitive(true);
    Ok(value)
}

fn retry_after(error: &ClientError) -> Duration {
    match error {
        ClientError::TooManyRequests { retry_after: Some(pause), .. } => (*pause).min(PATIENCE),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_costs_a_minute_at_most() {
        let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", hangs.local_addr().unwrap());
        let gate = &RemoteGate::builder(url.parse().unwrap()).build().unwrap();
        let calls: [futures_util::future::LocalBoxFuture<'_, Option<ClientError>>; 4] = [
            Box::pin(async { gate.search(&SearchRequest::default()).await.err() }),
            Box::pin(async { gate.withdraw("token").await.err() }),
            Box::pin(async { gate.secret("token").await.err() }),
            Box::pin(async { gate.decision("token").await.err() }),
        ];
        for (number, call) in calls.into_iter().enumerate() {
            let started = Instant::now();
            let error = call.await.unwrap();
            assert!(error.is_transient(), "call {number}: {error:?}");
            assert!(started.elapsed() <= Duration::from_secs(63), "call {number} took {:?}", started.elapsed());
        }
    }
}
