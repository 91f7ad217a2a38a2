//! Vaults, items and fields, as every backend reports them.

use std::fmt;

use crate::SecretValue;

/// A vault: a named collection of items that the backend's token can see.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vault {
    /// The backend's stable id.
    pub id: String,
    /// The name people know it by; need not be unique.
    pub name: String,
}

impl Vault {
    /// A vault of this id and name.
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into() }
    }
}

/// Which state of an item was seen; another revision means that the item was changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Revision {
    /// The backend's version counter.
    Version(i64),
    /// The backend's time of the last change, compared as text.
    UpdatedAt(String),
    /// The backend tells neither; such an item can only be compared by its field names.
    Unknown,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::UpdatedAt(time) => write!(f, "updated {time}"),
            Self::Unknown => f.write_str("revision unknown"),
        }
    }
}

/// An item without its fields: what a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemSummary {
    /// The backend's stable id.
    pub id: String,
    /// The title; the id where the item has none.
    pub title: String,
}

impl ItemSummary {
    /// A summary of this id and title; an empty title becomes the id.
    pub fn new(id: impl Into<String>, title: impl Into<String>) -> Self {
        let (id, mut title) = (id.into(), title.into());
        if title.is_empty() {
            title.clone_from(&id);
        }
        Self { id, title }
    }
}

/// An item with its fields and their values.
#[derive(Debug)]
#[non_exhaustive]
pub struct Item {
    /// The backend's stable id.
    pub id: String,
    /// The id of the vault that holds it.
    pub vault_id: String,
    /// The title; the id where the item has none.
    pub title: String,
    /// Which state of the item this is.
    pub revision: Revision,
    /// The fields, in the backend's order.
    pub fields: Vec<Field>,
}

impl Item {
    /// An item without fields, of an unknown revision.
    pub fn new(id: impl Into<String>, vault_id: impl Into<String>, title: impl Into<String>) -> Self {
        let ItemSummary { id, title } = ItemSummary::new(id, title);
        Self { id, vault_id: vault_id.into(), title, revision: Revision::Unknown, fields: Vec::new() }
    }

    /// The same item at this revision.
    #[must_use]
    pub fn with_revision(mut self, revision: Revision) -> Self {
        self.revision = revision;
        self
    }

    /// The same item with one more field.
    #[must_use]
    pub fn with_field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// The fields under the names that people and requests use for them, each name once.
    ///
    /// A field without a label goes by its id. Where a label occurs again in another section, the first keeps the
    /// plain label and the others go by `section/label`; what is still taken goes by `label/id`. A field with a label
    /// never goes by its id alone, which says nothing to the human who reads it.
    #[must_use]
    pub fn named_fields(&self) -> Vec<(String, &Field)> {
        let mut named: Vec<(String, &Field)> = Vec::with_capacity(self.fields.len());
        let mut taken = std::collections::HashSet::new();
        for field in &self.fields {
            let with_id = format!("{}/{}", field.label(), field.id);
            let candidates = [Some(field.label().to_owned()), field.name_in_section(), Some(with_id)];
            let name = candidates.into_iter().flatten().find(|name| !taken.contains(name));
            // same label and same id: nothing that a human could tell apart, so the later field can't be asked for
            if let Some(name) = name {
                taken.insert(name.clone());
                named.push((name, field));
            }
        }
        named
    }

    /// Finds a field by its name in [`named_fields`](Self::named_fields), else by `section/label`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.named_fields()
            .into_iter()
            .find_map(|(known, field)| (known == name).then_some(field))
            .or_else(|| self.fields.iter().find(|field| field.name_in_section().as_deref() == Some(name)))
    }
}

/// One field of an item.
#[derive(Debug)]
#[non_exhaustive]
pub struct Field {
    /// The backend's id of the field, stable within its item.
    pub id: String,
    /// The label people see; may be empty.
    pub label: String,
    /// What the field holds.
    pub kind: FieldKind,
    /// The label of the section the field stands in; the section's id where it has no label.
    pub section: Option<String>,
    /// The value; for one-time passwords the seed. Empty where the backend reports none.
    pub value: SecretValue,
    /// The current one-time code, where the backend computes it.
    pub code: Option<SecretValue>,
}

impl Field {
    /// A field of this id, label and kind with this value.
    pub fn new(
        id: impl Into<String>,
        label: impl Into<String>,
        kind: FieldKind,
        value: impl Into<SecretValue>,
    ) -> Self {
        Self { id: id.into(), label: label.into(), kind, section: None, value: value.into(), code: None }
    }

    /// The same field in this section.
    #[must_use]
    pub fn in_section(mut self, section: impl Into<String>) -> Self {
        self.section = Some(section.into());
        self
    }

    /// The same field with its current one-time code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<SecretValue>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The label, or the id where there is none.
    #[must_use]
    pub fn label(&self) -> &str {
        if self.label.is_empty() { &self.id } else { &self.label }
    }

    fn name_in_section(&self) -> Option<String> {
        self.section.as_ref().map(|section| format!("{section}/{}", self.label()))
    }
}

/// What a field holds, by the backend's own word.
///
/// The word is kept as it came, since backends know more kinds than their documents list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldKind(String);

impl FieldKind {
    /// A kind by the backend's word for it, such as `CONCEALED`.
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// Plain text that need not be hidden, such as a user name (`STRING`).
    #[must_use]
    pub fn text() -> Self {
        Self::new("STRING")
    }

    /// A password or token (`CONCEALED`).
    #[must_use]
    pub fn concealed() -> Self {
        Self::new("CONCEALED")
    }

    /// The seed of a one-time password (`OTP`).
    #[must_use]
    pub fn one_time_password() -> Self {
        Self::new("OTP")
    }

    /// A private SSH key (`SSHKEY`).
    #[must_use]
    pub fn ssh_key() -> Self {
        Self::new("SSHKEY")
    }

    /// The backend's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the value is the seed of a one-time password.
    #[must_use]
    pub fn is_one_time_password(&self) -> bool {
        matches!(self.as_str(), "OTP" | "TOTP")
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(id: &str, label: &str, section: Option<&str>) -> Field {
        let field = Field::new(id, label, FieldKind::text(), id);
        match section {
            Some(section) => field.in_section(section),
            None => field,
        }
    }

    fn item(fields: Vec<Field>) -> Item {
        Item { fields, ..Item::new("i", "v", "title") }
    }

    fn names(item: &Item) -> Vec<String> {
        item.named_fields().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn label_in_several_sections() {
        let item = item(vec![
            field("a", "password", Some("prod")),
            field("b", "password", Some("staging")),
            field("c", "password", Some("staging")),
            field("d", "", None),
        ]);
        assert_eq!(names(&item), ["password", "staging/password", "password/c", "d"]);
        assert_eq!(item.field("password").unwrap().id, "a");
        assert_eq!(item.field("prod/password").unwrap().id, "a");
        assert_eq!(item.field("staging/password").unwrap().id, "b");
        assert_eq!(item.field("password/c").unwrap().id, "c");
        assert!(item.field("c").is_none(), "the human would read an id");
        assert!(item.field("nope").is_none());
        assert!(item.field("").is_none());
    }

    #[test]
    fn every_name_stands_once() {
        let item = item(vec![field("x", "x", None), field("x", "x", None), field("y", "x", None)]);
        assert_eq!(names(&item), ["x", "x/x", "x/y"]);
    }

    #[test]
    fn absent_title_becomes_the_id() {
        assert_eq!(ItemSummary::new("abc", "").title, "abc");
    }
}
