//! An item that is held: what it is called, and what of it is used or handed over.

use std::sync::Arc;

use super::call::HeldItem;
use crate::wire::FieldInfo;
use crate::{FieldKind, SecretReference, SecretValue, otp};

/// How the label of a code ends that is computed from a seed.
pub(super) const CURRENT_CODE: &str = "?attribute=otp";

/// An item of an approval, with values.
#[derive(Debug)]
pub(super) struct HoldingItem {
    /// What it was asked by; several names may mean one item.
    pub(super) asked: Vec<Name>,
    pub(super) title: String,
    pub(super) vault: String,
    /// Ids, where the server gave them; older ones don't.
    pub(super) vault_id: String,
    pub(super) item_id: String,
    /// Whether it was asked for whole.
    pub(super) whole: bool,
    pub(super) fields: Vec<HoldingField>,
}

/// A field of an item, with its value.
#[derive(Debug)]
pub(super) struct HoldingField {
    pub(super) label: String,
    /// `None` where the server did not say; then it is taken for concealed.
    pub(super) kind: Option<FieldKind>,
    pub(super) value: Arc<SecretValue>,
}

/// What an item is called, however it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) vault: Option<String>,
    pub(super) fields: Vec<String>,
}

impl Name {
    /// By a name, an optional vault and fields, or by a secret reference.
    pub(super) fn new(name: &str, vault: Option<&str>, fields: &[String]) -> Self {
        let vault = vault.filter(|vault| !vault.is_empty()).map(str::to_owned);
        match name.parse::<SecretReference>() {
            Ok(reference) if vault.is_none() && fields.is_empty() => {
                Self { name: reference.item, vault: Some(reference.vault), fields: vec![reference.field] }
            }
            _ => Self { name: name.to_owned(), vault, fields: fields.to_vec() },
        }
    }
}

impl HoldingItem {
    /// Whether this is the item, with at least the fields, that the name means.
    pub(super) fn is(&self, wanted: &Name) -> bool {
        let is_own = |name: &String| [&self.title, &self.item_id].contains(&name);
        let meant = match &wanted.vault {
            // a name that was asked for within a vault may, alone, mean another item as well
            None => {
                let as_asked = |asked: &Name| asked.vault.is_none() && asked.name == wanted.name;
                self.item_id == wanted.name || self.asked.iter().any(as_asked)
            }
            Some(vault) => {
                let in_vault = [&self.vault, &self.vault_id].contains(&vault);
                let as_asked =
                    |asked: &Name| asked.name == wanted.name && asked.vault.as_ref().is_none_or(|v| v == vault);
                (in_vault && (is_own(&wanted.name) || self.asked.iter().any(as_asked)))
                    || self.asked.iter().any(|asked| asked.name == wanted.name && asked.vault.as_ref() == Some(vault))
            }
        };
        meant && self.has(&wanted.fields)
    }

    fn has(&self, fields: &[String]) -> bool {
        let has = |label: &String| match label.strip_suffix(CURRENT_CODE) {
            // a code that the server computed is good for half a minute, whatever the approval is good for
            Some(seed) => self.field(seed).is_some_and(HoldingField::is_seed),
            None => self.field(label).is_some(),
        };
        if fields.is_empty() { self.whole } else { fields.iter().all(has) }
    }

    pub(super) fn field(&self, label: &str) -> Option<&HoldingField> {
        self.fields.iter().find(|field| field.label == label)
    }

    /// What stands under this label for a command: never a seed, but the code that is valid now.
    pub(super) fn value_to_use(&self, label: &str) -> Option<Result<Arc<SecretValue>, NoSeed>> {
        self.code(label).or_else(|| {
            let field = self.field(label)?;
            Some(if field.is_seed() { field.code() } else { Ok(Arc::clone(&field.value)) })
        })
    }

    /// What stands under this label for whoever may have the value: a seed under its own label.
    pub(super) fn value_to_reveal(&self, label: &str) -> Option<Result<Arc<SecretValue>, NoSeed>> {
        self.code(label).or_else(|| Some(Ok(Arc::clone(&self.field(label)?.value))))
    }

    /// The code that this label asks for, computed now.
    fn code(&self, label: &str) -> Option<Result<Arc<SecretValue>, NoSeed>> {
        Some(self.field(label.strip_suffix(CURRENT_CODE)?)?.code())
    }

    /// The field that this label is about.
    pub(super) fn field_of(&self, label: &str) -> Option<&HoldingField> {
        label.strip_suffix(CURRENT_CODE).and_then(|seed| self.field(seed)).or_else(|| self.field(label))
    }

    pub(super) fn describe(&self) -> HeldItem {
        HeldItem {
            secret_name: self.title.clone(),
            vault_name: self.vault.clone(),
            fields: self.fields.iter().map(HoldingField::describe).collect(),
        }
    }
}

/// A field that codes were asked of is no seed of any.
#[derive(Debug)]
pub(super) struct NoSeed;

impl HoldingField {
    /// Whether the value is the seed of one-time codes: by the server's word, or by how it begins.
    pub(super) fn is_seed(&self) -> bool {
        self.kind.as_ref().is_some_and(FieldKind::is_one_time_password)
            || self.value.expose().trim_start().starts_with("otpauth://")
    }

    /// The code that is valid now.
    fn code(&self) -> Result<Arc<SecretValue>, NoSeed> {
        let code = if self.is_seed() { otp::current_code(&self.value) } else { None };
        code.map(Arc::new).ok_or(NoSeed)
    }

    fn describe(&self) -> FieldInfo {
        let kind = self.kind.as_ref().map(|kind| kind.as_str().to_owned()).unwrap_or_default();
        FieldInfo { label: self.label.clone(), kind }
    }
}
