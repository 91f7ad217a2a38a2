//! The way back: whether `WEBHOOK_BASE_URL` leads to this server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use reqwest::StatusCode;
use secret_gate_server::config::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::http::{self, Answer, Trust};
use super::{Finding, LIMIT};

const BASE_URL: &str = "base_url";

/// The longest that the port is held where no server runs: one that is started meanwhile can't listen on it.
const HOLD: Duration = Duration::from_secs(3);

/// A path further down, which a server of ours answers in its own way: there is no such token.
const DEEPER: &str = "/status/check";

/// Who answers on `PORT` of this machine, under which name.
struct Here {
    instance: String,
    /// What is answered at [`DEEPER`].
    deeper: (StatusCode, Value),
    /// Where no server runs, an answer of our own, for as long as this lives.
    standing_in: Option<AbortOnDropHandle<()>>,
}

pub(super) async fn look(config: &Config) -> Finding {
    if config.port == 0 {
        let hint = "set PORT to a number, so that WEBHOOK_BASE_URL can lead to it";
        return Finding::warn(BASE_URL, "it can't lead to a port that changes with each start", hint);
    }
    let here = match here(config).await {
        Ok(here) => here,
        Err(finding) => return finding,
    };
    let url = &config.base_url;
    let limit = if here.standing_in.is_some() { HOLD } else { LIMIT };
    let get = async |path: &str| http::get_within(limit, &format!("{url}{path}"), Trust::Clients).await;
    let (seen, deeper) = tokio::join!(get("/"), get(DEEPER));
    let port = format!("port {} of this machine", config.port);
    let (what, hint) = match seen {
        Err(why) => (
            format!("{url} does not answer: {why}"),
            format!(
                "let its name lead to this machine (DNS), and what listens there pass it on to {port}; if it is only \
                 this machine that does not reach it, look from another"
            ),
        ),
        Ok(answer) if answer.status.is_redirection() => (
            format!("{url} leads on to another URL (status {}), which clients do not follow", answer.status.as_u16()),
            "set WEBHOOK_BASE_URL to where it leads".to_owned(),
        ),
        Ok(answer) => match greeting(&answer) {
            Some(instance) if instance == here.instance => match what_is_deeper(deeper, &here) {
                Ok(()) => return reached(url, &here),
                Err(got) => (
                    format!("{url} leads to this server, but {url}{DEEPER} does not: {got}"),
                    format!("let the proxy pass on every path behind {url} to {port}, and not only /"),
                ),
            },
            Some(_) => (
                format!("{url} leads to another Secret Gate server"),
                format!("correct WEBHOOK_BASE_URL, its name's address (DNS) or the proxy, so that it leads to {port}"),
            ),
            None => (
                format!("{url} leads to something else (status {})", answer.status.as_u16()),
                format!("let the proxy pass it on to {port}, with its whole path behind {url}"),
            ),
        },
    };
    Finding::fail(BASE_URL, what, hint)
}

/// Whether a path further down leads to the same server; else what came instead.
fn what_is_deeper(seen: Result<Answer, String>, here: &Here) -> Result<(), String> {
    match seen {
        Ok(answer) if (answer.status, &answer.body) == (here.deeper.0, &here.deeper.1) => Ok(()),
        Ok(answer) => Err(format!("another answer (status {})", answer.status.as_u16())),
        Err(why) => Err(why),
    }
}

fn reached(url: &str, here: &Here) -> Finding {
    let who = if here.standing_in.is_some() { "this machine; no server runs yet" } else { "the running server" };
    let detail = format!("{url} leads to {who}");
    if url.starts_with("http://") && !http::is_loopback(url) {
        let hint = "secrets travel readable over http; put a proxy with TLS in front, and write https://";
        return Finding::warn(BASE_URL, detail, hint);
    }
    Finding::ok(BASE_URL, detail)
}

async fn here(config: &Config) -> Result<Here, Finding> {
    let address = SocketAddr::new(reachable(config.bind_address), config.port);
    // bound before it is asked: where that fails, somebody listens already
    let taken = match TcpListener::bind((config.bind_address, config.port)).await {
        Ok(listener) => return Ok(stand_in(listener)),
        Err(error) => error,
    };
    match http::get(&format!("http://{address}/"), Trust::Usual).await {
        Ok(answer) => match greeting(&answer) {
            Some(instance) if !instance.is_empty() => {
                let deeper = http::get(&format!("http://{address}{DEEPER}"), Trust::Usual).await;
                let deeper = deeper.map(|answer| (answer.status, answer.body)).map_err(|why| {
                    let hint = "see its log, and check again";
                    Finding::fail(BASE_URL, format!("the server that runs answers no more: {why}"), hint)
                })?;
                Ok(Here { instance, deeper, standing_in: None })
            }
            Some(_) => Err(Finding::warn(
                BASE_URL,
                "the server that runs does not say who it is, so it can't be told apart",
                "start it again as the version that is installed now",
            )),
            None => Err(Finding::fail(
                BASE_URL,
                format!("something else listens on {address} (status {})", answer.status.as_u16()),
                "stop it, or choose another PORT",
            )),
        },
        Err(_) => Err(Finding::fail(
            BASE_URL,
            format!("nothing can listen on {}:{}: {taken}", config.bind_address, config.port),
            "stop what listens there, choose another PORT, or correct BIND_ADDRESS",
        )),
    }
}

/// An address under which this machine reaches what listens there.
const fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(address) if address.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        address => address,
    }
}

fn stand_in(listener: TcpListener) -> Here {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).unwrap_or_default();
    let instance = hex::encode(bits);
    let greeting = json!({"service": "secret-gate", "status": "checking", "instance": instance});
    let nothing = json!({"error": "not_found", "message": "A check is under way.", "instance": instance});
    let deeper = (StatusCode::NOT_FOUND, nothing.clone());
    let router = Router::new()
        .route("/", get(move || async move { Json(greeting) }))
        .fallback(move || async move { (StatusCode::NOT_FOUND, Json(nothing)) });
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).await.ok();
    });
    Here { instance, deeper, standing_in: Some(AbortOnDropHandle::new(serving)) }
}

/// What a server of ours calls itself; empty where it is of a version that does not say.
fn greeting(answer: &Answer) -> Option<String> {
    let member = |name: &str| answer.body.get(name).and_then(Value::as_str);
    if answer.status != StatusCode::OK || member("service") != Some("secret-gate") {
        return None;
    }
    Some(member("instance").unwrap_or_default().to_owned())
}
