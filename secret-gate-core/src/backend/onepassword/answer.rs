//! What the answers of the Connect API mean.
//!
//! Every member is read on its own, so that one of an odd shape costs only itself: it counts as absent. What can't be
//! asked for without it (an item without an id) is left out and logged. Texts are borrowed from the answer where JSON
//! allows it, and a value goes from there into its [`SecretValue`].

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::route::Id;
use crate::{Field, FieldKind, Item, ItemSummary, Revision, SecretValue, Vault};

/// The vaults of `GET /v1/vaults`.
pub(super) fn vaults(body: &[u8]) -> Result<Vec<Vault>, &'static str> {
    list(body, "vault", |raw: RawVault<'_>| {
        let id = text(raw.id)?;
        let name = text(raw.name).unwrap_or_else(|| id.clone());
        Some(Vault::new(id, name))
    })
}

/// The items of `GET /v1/vaults/{vault}/items`.
pub(super) fn items(body: &[u8]) -> Result<Vec<ItemSummary>, &'static str> {
    list(body, "item", |raw: RawItem<'_>| Some(ItemSummary::new(text(raw.id)?, text(raw.title).unwrap_or_default())))
}

/// The item of `GET /v1/vaults/{vault}/items/{item}`, which must be the one that was asked for.
pub(super) fn item(body: &[u8], vault_id: Id<'_>, item_id: Id<'_>) -> Result<Item, &'static str> {
    let raw: RawItem<'_> = serde_json::from_slice(body).map_err(|_| "not an item in JSON")?;
    let vault = raw.vault.and_then(parse::<RawReference<'_>>).and_then(|vault| text(vault.id));
    if is_other(text(raw.id), item_id) || is_other(vault, vault_id) {
        return Err("another item than the one asked for");
    }
    let sections = sections(raw.sections);
    let mut item = Item::new(item_id.as_str(), vault_id.as_str(), text(raw.title).unwrap_or_default())
        .with_revision(revision(raw.version, raw.updated_at));
    if let Some(fields) = raw.fields {
        let fields: Vec<&RawValue> = parse(fields).ok_or("its fields are not a list")?;
        for raw in fields {
            match parse(raw).and_then(|raw| field(raw, &sections)) {
                Some(field) => item.fields.push(field),
                None => {
                    tracing::warn!(item = item_id.as_str(), "left out a field that has no id or is of an odd shape");
                }
            }
        }
    }
    Ok(item)
}

/// The state of the part that fetches the vaults, if `GET /health` reports it: `ACTIVE` when all is well.
pub(super) fn sync_status(body: &[u8]) -> Result<Option<String>, &'static str> {
    let raw: RawHealth<'_> = serde_json::from_slice(body).map_err(|_| "not a health report in JSON")?;
    let dependencies: Vec<&RawValue> = raw.dependencies.and_then(parse).unwrap_or_default();
    let mut dependencies = dependencies.into_iter().filter_map(parse::<RawDependency<'_>>);
    let sync = dependencies.find(|dependency| text(dependency.service).is_some_and(|service| service == "sync"));
    // a word of the API's own kind, or nothing that we repeat
    let word = |status: &String| status.len() <= 32 && status.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    Ok(sync.map(|sync| text(sync.status).filter(word).unwrap_or_else(|| "state unknown".to_owned())))
}

#[derive(Deserialize)]
struct RawVault<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawItem<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    vault: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    updated_at: Option<&'a RawValue>,
    #[serde(borrow)]
    sections: Option<&'a RawValue>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawField<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    label: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    section: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    totp: Option<&'a RawValue>,
}

/// A section, or what refers to a section or vault by its id.
#[derive(Deserialize)]
struct RawReference<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    label: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawHealth<'a> {
    #[serde(borrow)]
    dependencies: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawDependency<'a> {
    #[serde(borrow)]
    service: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

fn list<'a, Raw: Deserialize<'a>, T>(
    body: &'a [u8],
    what: &'static str,
    read: impl Fn(Raw) -> Option<T>,
) -> Result<Vec<T>, &'static str> {
    let entries: Vec<&RawValue> = serde_json::from_slice(body).map_err(|_| "not a list in JSON")?;
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        match parse(entry).and_then(&read) {
            Some(entry) => found.push(entry),
            None => tracing::warn!(what, "left out an entry that has no id or is of an odd shape"),
        }
    }
    Ok(found)
}

fn field(raw: RawField<'_>, sections: &HashMap<String, String>) -> Option<Field> {
    let id = text(raw.id)?;
    let kind = text(raw.kind).map_or_else(FieldKind::text, FieldKind::new);
    let value = match raw.value {
        Some(raw) => secret(raw)?,
        None => SecretValue::copy_of(""),
    };
    let mut field = Field::new(id, text(raw.label).unwrap_or_default(), kind, value);
    field.section = raw.section.and_then(parse).and_then(|section| section_label(&section, sections));
    field.code = raw.totp.and_then(secret).filter(|code| !code.is_empty());
    Some(field)
}

fn sections(raw: Option<&RawValue>) -> HashMap<String, String> {
    let entries: Vec<&RawValue> = raw.and_then(parse).unwrap_or_default();
    let entries = entries.into_iter().filter_map(parse::<RawReference<'_>>);
    entries.filter_map(|section| Some((text(section.id)?, text(section.label)?))).collect()
}

/// The label by which people know the section that a field names by its id; the id where there is none.
fn section_label(section: &RawReference<'_>, sections: &HashMap<String, String>) -> Option<String> {
    let id = text(section.id);
    let known = id.as_ref().and_then(|id| sections.get(id).cloned());
    known.or_else(|| text(section.label)).or(id)
}

fn revision(version: Option<&RawValue>, updated_at: Option<&RawValue>) -> Revision {
    version
        .and_then(parse)
        .map(Revision::Version)
        .or_else(|| text(updated_at).map(Revision::UpdatedAt))
        .unwrap_or(Revision::Unknown)
}

fn is_other(told: Option<String>, asked: Id<'_>) -> bool {
    told.is_some_and(|told| told != asked.as_str())
}

/// A text, or a number or truth value as text; absent if empty or of another kind.
fn text(raw: Option<&RawValue>) -> Option<String> {
    let raw = raw?;
    let text = match raw.get().as_bytes().first()? {
        b'"' => parse(raw)?,
        b'{' | b'[' | b'n' => return None,
        _ => raw.get().to_owned(),
    };
    (!text.is_empty()).then_some(text)
}

/// A value: what a string says; of anything else the JSON as it stands, so that nothing is lost or rounded.
fn secret(raw: &RawValue) -> Option<SecretValue> {
    match raw.get().as_bytes().first()? {
        b'"' => parse(raw),
        _ => Some(SecretValue::copy_of(raw.get())),
    }
}

fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests;
