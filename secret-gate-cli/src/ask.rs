//! Asking for a secret: put the question, wait for the human, redeem. Whatever ends it early takes the question back.

use std::pin::pin;
use std::time::Duration;

use secret_gate_core::client::{ClientError, RemoteGate};
use secret_gate_core::wire::{AccessRequest, AccessResponse, Ended, SecretResponse, Status, StatusResponse};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::render::Values;
use crate::stop::Stop;
use crate::ui::Ui;

/// How long the program stays to take a question back after it was told to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Asks for one item and returns its values once a human has approved.
pub(crate) async fn ask(
    gate: &RemoteGate,
    ui: &Ui,
    question: AccessRequest,
    timeout: Duration,
) -> Result<Values, Failure> {
    let mut stop = Stop::new()?;
    let asked = post(gate, ui, &question, timeout, &mut stop).await?;
    let name = question.secret_name.as_deref().unwrap_or_default();
    let what = format!("the approval of {name} (request {})", asked.request_id);

    let decided = ui.waiting(&what, async {
        tokio::select! {
            status = gate.decision(&asked.token) => status.map_err(Failure::from),
            stopped = stop.signal_or(timeout) => Err(stopped),
        }
    });
    let outcome = match decided.await {
        Ok(status) => match refusal(&status) {
            Some(refusal) => return Err(refusal),
            None => tokio::select! {
                answer = gate.secret(&asked.token) => answer.map_err(Failure::from).and_then(values),
                stopped = stop.signal() => Err(stopped),
            },
        },
        Err(failure) => Err(failure),
    };
    if outcome.is_err() {
        // the token is lost with this process, and nothing should stay open that nobody can use
        withdraw(gate, ui, &asked, &mut stop).await;
    }
    outcome
}

/// Puts the question. When told to stop meanwhile, it still waits a little for the token, which alone can take the
/// question back.
async fn post(
    gate: &RemoteGate,
    ui: &Ui,
    question: &AccessRequest,
    timeout: Duration,
    stop: &mut Stop,
) -> Result<AccessResponse, Failure> {
    let mut answer = pin!(gate.request(question));
    let stopped = tokio::select! {
        asked = &mut answer => return Ok(asked?),
        stopped = stop.signal_or(timeout) => stopped,
    };
    if let Ok(Ok(asked)) = tokio::time::timeout(FAREWELL, answer).await {
        withdraw(gate, ui, &asked, stop).await;
    }
    Err(stopped)
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
    let SecretResponse { secret, secrets, grant: _ } = answer;
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
        _ = stop.signal() => return,
    };
    if !matches!(outcome, Ok(Ok(()))) {
        ui.warning(&format!("the question {} could not be withdrawn; deny it on the phone", asked.request_id));
    }
}
