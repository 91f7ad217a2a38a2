//! What a server released, as it is held.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::ask::{is_wanted_as_code, names, scope};
use super::call::{Failure, FailureKind, Wish};
use super::holdings::{Holding, HoldingField, HoldingItem, Name};
use crate::client::RemoteGate;
use crate::wire::{AccessResponse, GrantInfo, ReleasedInfo, Revealed, SecretResponse};
use crate::{FieldKind, Grant, SecretValue, Use};

/// How long a server that does not say so is taken to mean an approval to last.
const DEFAULT_KEEP: Duration = Duration::from_secs(60 * 60);

type Values = BTreeMap<String, Revealed>;

/// What was released, as it is held: each item once, however often it is named.
pub(super) fn holding(
    wish: &Wish,
    gate: &Arc<RemoteGate>,
    asked: &AccessResponse,
    answer: SecretResponse,
) -> Result<Holding, Failure> {
    let SecretResponse { secret, secrets, items: infos, grant } = answer;
    let now = SystemTime::now();
    let grant = grant.map_or_else(|| unsaid_grant(wish, asked, now), |grant| grant_of(&grant, &wish.intended_use, now));
    let released: Vec<(String, Values)> = match (secret, secrets) {
        (Some(values), None) => vec![(String::new(), values)],
        (None, Some(all)) => all.into_iter().collect(),
        _ => return Err(Failure::new(FailureKind::Failed, "the server released nothing that can be understood")),
    };
    let mut wanted = names(wish);
    let alone = released.len() == 1;
    let mut items = Vec::new();
    for (name, values) in released {
        let info = infos.iter().find(|info| info.name == name).or_else(|| infos.first().filter(|_| alone));
        let (asked, others) = wanted.into_iter().partition(|wanted| alone || is_meant(wanted, &name, info));
        wanted = others;
        let mut item = item(name, asked, values, info);
        for field in item.fields.iter_mut().filter(|field| field.kind.is_none()) {
            // where the server does not say so, whoever asked for its codes does
            field.kind = is_wanted_as_code(wish, &field.label).then(FieldKind::one_time_password);
        }
        items.push(item);
    }
    if let Some(missing) = wanted.first() {
        let message = format!("the server released something else than {}", missing.name);
        return Err(Failure::new(FailureKind::Failed, message));
    }
    let token = SecretValue::copy_of(&asked.token);
    Ok(Holding {
        server: wish.server.clone(),
        scope: scope(wish),
        grant,
        gate: Some(Arc::clone(gate)),
        token,
        items,
        since: now,
        revoked: CancellationToken::new(),
    })
}

/// Whether what was released under this name is what the other name means.
fn is_meant(wanted: &Name, released: &str, info: Option<&ReleasedInfo>) -> bool {
    let vault = wanted.vault.as_ref();
    match info {
        Some(info) => {
            let named = [&info.secret_name, &info.item_id, &info.name].contains(&&wanted.name);
            named && vault.is_none_or(|vault| [&info.vault_name, &info.vault_id].contains(&vault))
        }
        // older servers name an item by its title alone
        None => released == wanted.name || vault.is_some_and(|vault| released == format!("{vault}/{}", wanted.name)),
    }
}

fn item(name: String, asked: Vec<Name>, values: Values, info: Option<&ReleasedInfo>) -> HoldingItem {
    let kind = |label: &str| {
        let field = info?.fields.iter().find(|field| field.label == label)?;
        Some(FieldKind::new(field.kind.clone()))
    };
    let fields =
        values.into_iter().map(|(label, value)| HoldingField { kind: kind(&label), label, value: Arc::new(value.0) });
    let fields = fields.collect();
    let whole = asked.iter().any(|asked| asked.fields.is_empty());
    let first = asked.first();
    match info {
        Some(info) => HoldingItem {
            title: info.secret_name.clone(),
            vault: info.vault_name.clone(),
            vault_id: info.vault_id.clone(),
            item_id: info.item_id.clone(),
            asked,
            whole,
            fields,
        },
        None => HoldingItem {
            title: first.map_or(name, |first| first.name.clone()),
            vault: first.and_then(|first| first.vault.clone()).unwrap_or_default(),
            vault_id: String::new(),
            item_id: String::new(),
            asked,
            whole,
            fields,
        },
    }
}

/// The server's grant; of what it allows, no more counts than was asked for.
fn grant_of(info: &GrantInfo, asked: &Use, now: SystemTime) -> Grant {
    let expires_at = humantime::parse_rfc3339(&info.expires_at).unwrap_or(now);
    let allowed = if info.allowed.covers(asked) { asked.clone() } else { info.allowed.clone() };
    Grant::new(info.id.clone(), allowed, expires_at, info.once)
}

/// What an older server's yes means, which knows no uses: what was asked for, for as long as was asked for.
fn unsaid_grant(wish: &Wish, asked: &AccessResponse, now: SystemTime) -> Grant {
    let keep = wish.duration.as_deref().and_then(crate::parse_duration).unwrap_or(DEFAULT_KEEP);
    // the token names it as well, but is a secret
    let random = || crate::RequestId::random().map(|id| id.to_string()).unwrap_or_default();
    let id = if asked.request_id.is_empty() { random() } else { asked.request_id.clone() };
    Grant::new(id, wish.intended_use.clone(), now + keep, false)
}
