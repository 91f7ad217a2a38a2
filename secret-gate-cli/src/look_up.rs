//! Finding out what there is to ask for: `--search`, `--fields`, and whether there is what `--field` names. Nobody is
//! asked, no value is shown.

use std::time::Duration;

use secret_gate_core::client::RemoteGate;
use secret_gate_core::wire::{FieldInfo, FieldsRequest, SearchRequest};

use crate::cli::Format;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::ui::Ui;

/// Prints the secrets whose names match.
pub(crate) async fn search(
    gate: &RemoteGate,
    ui: &Ui,
    query: String,
    limit: i64,
    format: Format,
) -> Result<(), Failure> {
    let answer = gate.search(&SearchRequest { query, limit }).await?;
    for vault in &answer.incomplete {
        ui.warning(&format!("the vault {vault} could not be searched"));
    }
    if answer.results.is_empty() {
        ui.note("nothing matches");
    }
    let text = match format {
        Format::Plain => render::search(&answer),
        Format::Json => render::search_json(&answer).map_err(unwritable)?,
    };
    ui.data(text.as_bytes())
}

/// Prints labels and types of a secret's fields.
pub(crate) async fn fields(
    gate: &RemoteGate,
    ui: &Ui,
    secret_name: String,
    vault: Option<String>,
    format: Format,
) -> Result<(), Failure> {
    let answer = gate.fields(&FieldsRequest { secret_name, vault }).await?;
    let text = match format {
        Format::Plain => render::fields(&answer),
        Format::Json => render::fields_json(&answer).map_err(unwritable)?,
    };
    ui.data(text.as_bytes())
}

/// How long a check may hold up what it is for.
const CHECK: Duration = Duration::from_secs(10);

/// Refuses a field that the secret does not have, before a human is asked in vain. A server that does not tell is no
/// obstacle: the answer to the question will.
pub(crate) async fn check_field(
    gate: &RemoteGate,
    secret_name: &str,
    vault: Option<&str>,
    label: &str,
) -> Result<(), Failure> {
    let item = FieldsRequest { secret_name: secret_name.to_owned(), vault: vault.map(str::to_owned) };
    let Ok(Ok(known)) = tokio::time::timeout(CHECK, gate.fields(&item)).await else { return Ok(()) };
    let labels: Vec<_> = known.fields.iter().map(|field| field.label.as_str()).collect();
    if labels.is_empty() || labels.contains(&label) { Ok(()) } else { Err(Failure::no_field(label, &labels)) }
}

/// The label of the field that is an SSH key.
pub(crate) async fn key_field(gate: &RemoteGate, secret_name: &str, vault: Option<&str>) -> Result<String, Failure> {
    let item = FieldsRequest { secret_name: secret_name.to_owned(), vault: vault.map(str::to_owned) };
    let known = gate.fields(&item).await?;
    let is_key =
        |field: &&FieldInfo| field.kind == "SSHKEY" || ["private_key", "private key"].contains(&field.label.as_str());
    let found = known.fields.iter().find(is_key).or_else(|| known.fields.first().filter(|_| known.fields.len() == 1));
    let labels: Vec<_> = known.fields.iter().map(|field| field.label.as_str()).collect();
    found.map(|field| field.label.clone()).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{secret_name} has no field that is known to be an SSH key"))
            .with_hint(format!("name one with --field; it has: {}", labels.join(", ")))
    })
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::new(Exit::Failed, format!("can't write JSON: {error}"))
}
