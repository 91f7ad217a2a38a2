//! Asking for a secret: put the question, wait for the human, redeem. Whatever ends it early takes the question back.

use std::pin::pin;
use std::time::Duration;

use secret_gate_core::client::{ClientError, RemoteGate};
use secret_gate_core::wire::{AccessRequest, AccessResponse, Ended, SecretResponse, Status, StatusResponse};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::Values;
use crate::stop::{Limit, Stop};
use crate::ui::Ui;

/// What to say where a question may stand whose token is not known.
pub(crate) const MAY_BE_OPEN: &str = "a question may be open on the phone until it expires; deny it there";

/// How long to wait before an approved secret is fetched again that the server could not read.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How long the program stays to take a question back after it was told to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Asks for one item and returns its values once a human has approved.
pub(crate) async fn ask(gate: &RemoteGate, ui: &Ui, question: AccessRequest, limit: &Limit) -> Result<Values, Failure> {
    let mut stop = Stop::new()?;
    let asked = post(gate, ui, &question, limit, &mut stop).await?;
    let outcome = redeem(gate, ui, &question, &asked, limit, &mut stop).await;
    if let Err(Unredeemed { is_over: false, .. }) = outcome {
        // the token is lost with this process, and nothing should stay open that nobody can use
        withdraw(gate, ui, &asked, &mut stop).await;
    }
    outcome.map_err(|unredeemed| unredeemed.failure)
}

/// Why a request was not redeemed.
struct Unredeemed {
    failure: Failure,
    /// Whether it has ended, so that there is nothing to take back.
    is_over: bool,
}

impl From<ClientError> for Unredeemed {
    fn from(error: ClientError) -> Self {
        let is_over = matches!(error, ClientError::UnknownRequest | ClientError::NotApproved { .. });
        Self { failure: error.into(), is_over }
    }
}

impl From<Failure> for Unredeemed {
    fn from(failure: Failure) -> Self {
        Self { failure, is_over: false }
    }
}

/// Puts the question. When told to stop meanwhile, it still waits a little for the token, which alone can take the
/// question back; told again, it ends at once.
async fn post(
    gate: &RemoteGate,
    ui: &Ui,
    question: &AccessRequest,
    limit: &Limit,
    stop: &mut Stop,
) -> Result<AccessResponse, Failure> {
    let mut answer = pin!(gate.request(question));
    let (answer, failure) = tokio::select! {
        asked = &mut answer => match asked {
            Ok(asked) => return Ok(asked),
            Err(error) => {
                // the human may see a question whose token got lost
                if matches!(error, ClientError::Interrupted { .. } | ClientError::Protocol { .. }) {
                    ui.warning(MAY_BE_OPEN);
                }
                return Err(error.into());
            }
        },
        stopped = stop.signal_or(limit) => (answer, stopped),
    };
    ui.note("the server has not answered yet; waiting 5s more to withdraw the question (Ctrl-C ends at once)");
    let asked = tokio::select! {
        asked = tokio::time::timeout(FAREWELL, answer) => asked.ok(),
        _ = stop.signal() => None,
    };
    match asked {
        Some(Ok(asked)) => withdraw(gate, ui, &asked, stop).await,
        // nothing was asked
        Some(Err(error)) if !matches!(error, ClientError::Interrupted { .. } | ClientError::Protocol { .. }) => {}
        Some(Err(_)) | None => ui.warning(MAY_BE_OPEN),
    }
    Err(failure)
}

/// Waits for the decision and gets the values.
async fn redeem(
    gate: &RemoteGate,
    ui: &Ui,
    question: &AccessRequest,
    asked: &AccessResponse,
    limit: &Limit,
    stop: &mut Stop,
) -> Result<Values, Unredeemed> {
    let name = question.secret_name.as_deref().unwrap_or_default();
    let what = match asked.request_id.as_str() {
        "" => format!("the approval of {name}"),
        id => format!("the approval of {name} (request {id})"),
    };
    let decision = async {
        tokio::select! {
            status = gate.decision(&asked.token) => status.map_err(Unredeemed::from),
            stopped = stop.signal_or(limit) => Err(stopped.into()),
        }
    };
    let status = ui.waiting(&what, "Ctrl-C withdraws the question", decision).await?;
    if let Some(failure) = refusal(&status) {
        return Err(Unredeemed { failure, is_over: true });
    }
    tokio::select! {
        fetched = fetch(gate, ui, &asked.token) => Ok(values(fetched?)?),
        stopped = stop.signal_or(limit) => Err(stopped.into()),
    }
}

/// Gets what was approved. While the server can't read it, the approval stays good, so this tries until it lapses.
async fn fetch(gate: &RemoteGate, ui: &Ui, token: &str) -> Result<SecretResponse, Unredeemed> {
    let mut told = false;
    loop {
        match gate.secret(token).await {
            Err(error) if error.leaves_approval() => {
                if !std::mem::replace(&mut told, true) {
                    ui.note(&format!("approved, but {error}; trying again (Ctrl-C gives up and withdraws)"));
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            // between the approval and now: it says how it ended
            Err(error @ ClientError::NotApproved { .. }) => {
                let refused = gate.status(token, None).await.ok().and_then(|status| refusal(&status));
                return Err(refused.map_or_else(|| error.into(), |failure| Unredeemed { failure, is_over: true }));
            }
            answer => return Ok(answer?),
        }
    }
}

/// Why there is nothing to redeem; none where there is.
fn refusal(status: &StatusResponse) -> Option<Failure> {
    let refusal = match (status.status, status.ended) {
        (Status::Approved, Some(Ended::Released)) => ClientError::AlreadyUsed.into(),
        (Status::Approved, _) => return None,
        (Status::Denied, Some(Ended::Revoked)) => Failure::new(Exit::Denied, "the approval was taken back"),
        (Status::Denied, _) => Failure::new(Exit::Denied, "the request was denied"),
        (Status::Expired, Some(Ended::Withdrawn)) => Failure::new(Exit::Expired, "the request was withdrawn"),
        (Status::Expired, _) => Failure::new(Exit::Expired, "nobody approved before the request expired")
            .with_hint("ask again when someone can look at the phone"),
        (Status::Pending, _) => Failure::new(Exit::Failed, "the request is still pending"),
    };
    Some(refusal)
}

fn values(answer: SecretResponse) -> Result<Values, Failure> {
    let SecretResponse { secret, secrets, .. } = answer;
    let mut items: Vec<Values> = secret.into_iter().chain(secrets.unwrap_or_default().into_values()).collect();
    match (items.pop(), items.is_empty()) {
        (Some(values), true) => Ok(values),
        _ => Err(Failure::new(Exit::Failed, "the server released something else than the one secret asked for")),
    }
}

/// Takes the question back, for as long as the user has patience.
async fn withdraw(gate: &RemoteGate, ui: &Ui, asked: &AccessResponse, stop: &mut Stop) {
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(FAREWELL, gate.withdraw(&asked.token)) => outcome,
        _ = stop.signal() => Ok(Ok(false)),
    };
    if !matches!(outcome, Ok(Ok(true))) {
        let question = if asked.request_id.is_empty() { String::new() } else { format!(" {}", asked.request_id) };
        ui.warning(&format!("the question{question} could not be withdrawn; deny it on the phone, or let it expire"));
    }
}
