//! What a request is pinned to: exactly these fields of exactly this item as it was when the human was asked.

use crate::gate::request::Wanted;
use crate::index::{Mark, TitleIndex};
use crate::resolve::{Entry, Resolution, VaultListing, is_called, resolve};
use crate::{
    AskedField, AskedItem, BackendError, Error, Field, FieldKind, Item, ReleasedField, ReleasedItem, Revision,
    SecretBackend, SecretReference, SecretValue, Vault,
};
use std::collections::HashSet;
use std::time::Duration;

/// How old titles may be when a request or a look at fields resolves a name.
const FRESH_ENOUGH: Duration = Duration::from_secs(5);
/// What is appended to a label to ask for the current one-time code.
const ONE_TIME_CODE: &str = "?attribute=otp";

/// An item pinned by ids and revision.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    pub(crate) vault: Vault,
    pub(crate) item_id: String,
    pub(crate) title: String,
    pub(crate) revision: Revision,
    pub(crate) fields: Vec<PinnedField>,
    /// Whether another item has the same title in a vault of the same name.
    has_twin: bool,
    /// Whether the request named fields; otherwise it is for the whole item.
    pub(crate) fields_named: bool,
}

/// A field pinned by its id, with the name it is shown and released under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PinnedField {
    pub(crate) name: String,
    id: String,
    label: String,
    section: Option<String>,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Value,
    Seed,
    CurrentCode,
}

/// Where to look for an item: by its name, or by a secret reference that names vault and field as well.
pub(crate) struct Target {
    name: String,
    vault: Option<String>,
    field: Option<String>,
}

impl Target {
    pub(crate) fn parse(name: &str, vault: Option<&str>) -> Result<Self, Error> {
        if !name.starts_with(SecretReference::SCHEME) {
            return Ok(Self { name: name.to_owned(), vault: vault.map(str::to_owned), field: None });
        }
        let SecretReference { vault: named_vault, item, field } = name.parse()?;
        if vault.is_some() {
            return Err(Error::ReferenceWithFields);
        }
        Ok(Self { name: item, vault: Some(named_vault), field: Some(field) })
    }
}

/// An item that a name means, as it is now.
pub(crate) struct FoundItem {
    pub(crate) vault: Vault,
    pub(crate) item: Item,
    has_twin: bool,
}

/// Finds and reads the item that a name means, among titles that are as new as `mark` if that makes a difference.
pub(crate) async fn find(
    index: &TitleIndex,
    backend: &dyn SecretBackend,
    mark: Mark,
    target: &Target,
) -> Result<FoundItem, Error> {
    let (name, vault) = (target.name.as_str(), target.vault.as_deref());
    if name.trim().is_empty() {
        return Err(Error::MissingName);
    }
    let titles = index.at_most(FRESH_ENOUGH).await?;
    if let Resolution::Exact(entry) = resolve(&titles.listings, name, vault)
        && let Some(item) = read(backend, &entry).await?
        && item.title == entry.item.title
    {
        return Ok(FoundItem::new(entry, item, &titles.listings));
    }
    // Not there, not sure, or not what it was called any more: look again at what there is now.
    let titles = index.newer_than(mark).await?;
    let resolution = resolve(&titles.listings, name, vault);
    let is_known = |vault: &str| titles.listings.iter().any(|listing| is_called(&listing.vault, vault));
    let not_found = |suggestions: Vec<Entry>| Error::NotFound {
        name: name.to_owned(),
        unknown_vault: vault.filter(|vault| !is_known(vault)).map(str::to_owned),
        suggestions: suggestions.iter().map(Entry::to_candidate).collect(),
    };
    match resolution {
        Resolution::Exact(entry) | Resolution::Close(entry) => match read(backend, &entry).await? {
            Some(item) => Ok(FoundItem::new(entry, item, &titles.listings)),
            None => Err(not_found(Vec::new())),
        },
        Resolution::Ambiguous(entries) => Err(Error::Ambiguous {
            name: name.to_owned(),
            candidates: entries.iter().map(Entry::to_candidate).collect(),
        }),
        Resolution::NotFound(suggestions) => Err(not_found(suggestions)),
        Resolution::Unlisted(vaults) => Err(Error::Unlisted { vaults }),
    }
}

impl FoundItem {
    fn new(Entry { vault, item: summary }: Entry, item: Item, listings: &[VaultListing]) -> Self {
        let same_vault_name = listings.iter().filter(|listing| listing.vault.name == vault.name);
        let items = same_vault_name.flat_map(|listing| listing.items.iter().flatten());
        let has_twin = items.filter(|other| other.summary.title == summary.title).count() > 1;
        Self { vault, item, has_twin }
    }
}

async fn read(backend: &dyn SecretBackend, entry: &Entry) -> Result<Option<Item>, Error> {
    match backend.item(&entry.vault.id, &entry.item.id).await {
        Ok(item) => Ok(Some(item)),
        Err(BackendError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Pin {
    /// Pins what a request names.
    pub(crate) async fn resolve(
        index: &TitleIndex,
        backend: &dyn SecretBackend,
        mark: Mark,
        wanted: &Wanted,
    ) -> Result<Self, Error> {
        let target = Target::parse(&wanted.name, wanted.vault.as_deref())?;
        if target.field.is_some() && !wanted.fields.is_empty() {
            return Err(Error::ReferenceWithFields);
        }
        let found = find(index, backend, mark, &target).await?;
        match target.field {
            Some(field) => Self::new(found, &[field]),
            None => Self::new(found, &wanted.fields),
        }
    }

    fn new(FoundItem { vault, item, has_twin }: FoundItem, names: &[String]) -> Result<Self, Error> {
        let mut fields = Vec::new();
        if names.is_empty() {
            fields.extend(item.named_fields().into_iter().map(|(name, field)| PinnedField::whole(name, field)));
        }
        for name in names {
            let field = PinnedField::named(&item, name).ok_or_else(|| Error::UnknownField {
                title: item.title.clone(),
                field: name.clone(),
                fields: item.named_fields().into_iter().map(|(name, _)| name).collect(),
            })?;
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        let fields_named = !names.is_empty();
        let Item { id: item_id, title, revision, .. } = item;
        Ok(Self { vault, item_id, title, revision, fields, has_twin, fields_named })
    }

    /// Joins pins of one item into one, so that each item stands once in a question.
    pub(crate) fn merge(pins: Vec<Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::with_capacity(pins.len());
        for pin in pins {
            match merged.iter_mut().find(|known| known.vault.id == pin.vault.id && known.item_id == pin.item_id) {
                Some(known) => known.absorb(pin),
                None => merged.push(pin),
            }
        }
        merged
    }

    fn absorb(&mut self, other: Self) {
        self.fields_named &= other.fields_named;
        for field in other.fields {
            if !self.fields.contains(&field) {
                self.fields.push(field);
            }
        }
    }

    /// What the human is shown.
    pub(crate) fn asked(&self) -> AskedItem {
        let field = |field: &PinnedField| AskedField { name: field.name.clone(), is_seed: field.part == Part::Seed };
        AskedItem {
            title: self.title.clone(),
            vault: self.vault.name.clone(),
            ids: self.has_twin.then(|| format!("ids {}/{}", self.vault.id, self.item_id)),
            fields: self.fields.iter().map(field).collect(),
        }
    }

    /// Reads the pinned fields, if the item is what it was when the human was asked.
    pub(crate) async fn read(&self, backend: &dyn SecretBackend, name: String) -> Result<ReleasedItem, Error> {
        let changed = || Error::ItemChanged { title: self.title.clone() };
        let item = match backend.item(&self.vault.id, &self.item_id).await {
            Ok(item) => item,
            Err(BackendError::NotFound) => return Err(changed()),
            Err(error) => return Err(error.into()),
        };
        let same = item.id == self.item_id
            && item.vault_id == self.vault.id
            && item.title == self.title
            && item.revision == self.revision;
        if !same {
            return Err(changed());
        }
        let mut fields = Vec::with_capacity(self.fields.len());
        for pinned in &self.fields {
            let field = item.fields.iter().find(|field| pinned.is(field)).ok_or_else(changed)?;
            let (kind, value) = match pinned.part {
                Part::Value | Part::Seed => (field.kind.clone(), &field.value),
                Part::CurrentCode => (FieldKind::concealed(), field.code.as_ref().ok_or_else(changed)?),
            };
            fields.push(ReleasedField::new(pinned.name.clone(), kind, SecretValue::copy_of(value.expose())));
        }
        Ok(ReleasedItem {
            name,
            title: item.title,
            vault_id: item.vault_id,
            vault: self.vault.name.clone(),
            item_id: item.id,
            revision: item.revision,
            fields,
        })
    }

    /// The pinned fields out of an item that was released before, if it holds them all. One-time codes are never kept.
    pub(crate) fn pick(&self, held: &ReleasedItem) -> Option<ReleasedItem> {
        let wanted =
            |pinned: &PinnedField| (pinned.part != Part::CurrentCode).then(|| held.field(&pinned.name)).flatten();
        let fields: Option<Vec<ReleasedField>> =
            self.fields.iter().map(|pinned| wanted(pinned).map(ReleasedField::copy)).collect();
        Some(ReleasedItem { fields: fields?, ..held.copy() })
    }

    /// Names for the items of one release, each once: the title, else `vault/title`, else `vault/id`.
    pub(crate) fn release_names(pins: &[Self]) -> Vec<String> {
        let mut taken = HashSet::new();
        let count = |title: &str| pins.iter().filter(|pin| pin.title == title).count();
        let in_vault = |pin: &Self| format!("{}/{}", pin.vault.name, pin.title);
        let names = pins.iter().map(|pin| {
            let first = if count(&pin.title) > 1 { in_vault(pin) } else { pin.title.clone() };
            let candidates = [first, in_vault(pin), format!("{}/{}", pin.vault.name, pin.item_id)];
            let free = candidates.into_iter().find(|name| !taken.contains(name));
            let name = free.unwrap_or_else(|| format!("{}/{}", pin.vault.id, pin.item_id));
            taken.insert(name.clone());
            name
        });
        names.collect()
    }
}

impl PinnedField {
    fn whole(name: String, field: &Field) -> Self {
        let part = if field.kind.is_one_time_password() { Part::Seed } else { Part::Value };
        Self::new(name, field, part)
    }

    fn named(item: &Item, name: &str) -> Option<Self> {
        if let Some(field) = item.field(name) {
            return Some(Self::whole(name.to_owned(), field));
        }
        let field = item.field(name.strip_suffix(ONE_TIME_CODE)?)?;
        let has_code = field.kind.is_one_time_password() && field.code.is_some();
        has_code.then(|| Self::new(name.to_owned(), field, Part::CurrentCode))
    }

    fn new(name: String, field: &Field, part: Part) -> Self {
        Self { name, id: field.id.clone(), label: field.label.clone(), section: field.section.clone(), part }
    }

    fn is(&self, field: &Field) -> bool {
        field.id == self.id && field.label == self.label && field.section == self.section
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FieldKind;

    fn pin(vault: &str, title: &str, id: &str) -> Pin {
        let (vault, item) = (Vault::new(format!("id-{vault}"), vault), Item::new(id, format!("id-{vault}"), title));
        Pin::new(FoundItem { vault, item, has_twin: false }, &[]).unwrap()
    }

    #[test]
    fn release_names_stand_once() {
        let names = |pins: &[Pin]| Pin::release_names(pins);
        assert_eq!(names(&[pin("a", "db", "1"), pin("a", "web", "2")]), ["db", "web"]);
        assert_eq!(names(&[pin("a", "db", "1"), pin("b", "db", "2")]), ["a/db", "b/db"]);
        assert_eq!(names(&[pin("a", "db", "1"), pin("a", "db", "2")]), ["a/db", "a/2"]);
        assert_eq!(
            names(&[pin("a", "db", "1"), pin("b", "db", "2"), pin("c", "a/db", "3")]),
            ["a/db", "b/db", "c/a/db"]
        );
    }

    #[test]
    fn one_time_password_is_the_seed_or_the_code_by_name() {
        let otp = || Field::new("f", "code", FieldKind::one_time_password(), "SEED").with_code("123456");
        let item = || Item::new("i", "v", "github").with_field(otp());
        let found = || FoundItem { vault: Vault::new("v", "infra"), item: item(), has_twin: false };
        let pin = |name: &str| Pin::new(found(), &[name.to_owned()]);
        assert_eq!(pin("code").unwrap().fields[0].part, Part::Seed);
        assert!(pin("code").unwrap().asked().fields[0].is_seed);
        assert_eq!(pin("code?attribute=otp").unwrap().fields[0].part, Part::CurrentCode);
        assert!(!pin("code?attribute=otp").unwrap().asked().fields[0].is_seed);
        assert!(matches!(pin("other?attribute=otp"), Err(Error::UnknownField { .. })));
    }
}
