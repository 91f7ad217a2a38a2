//! 1Password Connect: whether it answers, takes the token, and which vaults that sees.

use futures_util::StreamExt as _;
use secret_gate_core::approver::message::shown;
use secret_gate_core::{BackendError, OnePassword, SecretBackend as _, SecretValue, Vault};
use secret_gate_server::config::Config;
use serde_json::Value;

use super::http::{self, Answer, Time, Trust};
use super::{Finding, LIMIT, count};

const SERVER: &str = "connect";
const TOKEN: &str = "connect_token";
const VAULTS: &str = "vaults";

/// Vaults that are named; the others are counted.
const NAMED: usize = 20;

/// Vaults that are listed at one time.
const AT_ONCE: usize = 8;

pub(super) async fn look(config: &Config) -> (Vec<Finding>, Option<Time>) {
    let host = config.connect_host.trim_end_matches('/').trim_end_matches("/v1");
    let answer = match http::get(&format!("{host}/health"), Trust::Usual).await {
        Ok(answer) => answer,
        Err(why) => {
            let hint = "start 1Password Connect, or correct OP_CONNECT_HOST; token and vaults are checked then";
            return (vec![Finding::fail(SERVER, format!("{host} does not answer: {why}"), hint)], None);
        }
    };
    let token = SecretValue::copy_of(config.connect_token.expose());
    let backend = OnePassword::builder(&config.connect_host, token).timeout(LIMIT).total_timeout(LIMIT).build();
    let mut findings = vec![health(host, &answer)];
    match backend {
        Ok(backend) => {
            let vaults = backend.vaults().await;
            if vaults.is_ok()
                && let Err(BackendError::Unavailable { message }) = backend.check().await
            {
                findings = vec![Finding::fail(SERVER, message, "give it a moment to fetch the vaults, or see its log")];
            }
            findings.push(accepted(vaults.as_ref()));
            if let Ok(vaults) = &vaults {
                findings.push(counted(&backend, vaults).await);
            }
        }
        Err(error) => findings.push(Finding::fail(TOKEN, error.to_string(), "correct OP_CONNECT_TOKEN")),
    }
    (findings, answer.time)
}

/// What the server says of itself.
fn health(host: &str, answer: &Answer) -> Finding {
    let version = answer.body.get("version").and_then(Value::as_str);
    match version.filter(|_| answer.status.is_success()) {
        Some(version) => Finding::ok(SERVER, format!("version {} at {host}", shown(version))),
        None => Finding::warn(
            SERVER,
            format!("{host} answers (status {}), but not as Connect tells of its health", answer.status.as_u16()),
            "if the token is accepted, a proxy hides /health; if not, OP_CONNECT_HOST leads to something else",
        ),
    }
}

fn accepted(vaults: Result<&Vec<Vault>, &BackendError>) -> Finding {
    match vaults {
        Ok(_) => Finding::ok(TOKEN, "accepted"),
        Err(BackendError::Unauthorized | BackendError::Forbidden) => Finding::fail(
            TOKEN,
            "1Password Connect does not accept the token",
            "copy the access token of this Connect server into OP_CONNECT_TOKEN, or make a new one",
        ),
        Err(error) => Finding::fail(
            TOKEN,
            format!("it can't be tried: {error}"),
            "correct OP_CONNECT_HOST, or see the log of 1Password Connect",
        ),
    }
}

async fn counted(backend: &OnePassword, vaults: &[Vault]) -> Finding {
    if vaults.is_empty() {
        let hint = "let the access token see a vault, in 1Password's settings of this Connect server";
        return Finding::fail(VAULTS, "the token sees no vault", hint);
    }
    let listed = futures_util::stream::iter(vaults)
        .map(async |vault| (vault, backend.items(&vault.id).await.map(|items| items.len())))
        .buffered(AT_ONCE)
        .collect::<Vec<_>>();
    let in_all = count(vaults.len(), "vault", "vaults");
    let Ok(listed) = tokio::time::timeout(LIMIT, listed).await else {
        let detail = format!("{in_all}, whose items were not listed within {} s", LIMIT.as_secs());
        return Finding::warn(VAULTS, detail, "searches will be as slow; see the log of 1Password Connect");
    };
    let mut named: Vec<String> = listed
        .iter()
        .take(NAMED)
        .map(|(vault, items)| {
            let items = items.as_ref().map_or("not listed".to_owned(), |items| count(*items, "item", "items"));
            format!("{} ({items})", shown(&vault.name))
        })
        .collect();
    if listed.len() > NAMED {
        named.push(format!("and {} more", listed.len() - NAMED));
    }
    let detail = format!("{in_all}: {}", named.join(", "));
    match listed.iter().find_map(|(_, items)| items.as_ref().err()) {
        None => Finding::ok(VAULTS, detail),
        Some(error) => Finding::warn(
            VAULTS,
            format!("{detail}: {error}"),
            "nothing is found in what can't be listed; let the token see the vault, or take it away from it",
        ),
    }
}
