//! A file that has something of ours in it: what setup and its removal would make of it.

use std::path::{Path, PathBuf};

use super::file;
use super::json::{self, Piece, Problem};
use super::toml;

/// A file, and what is to be in it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Whose file, and what of ours.
    pub(super) about: String,
    pub(super) content: Content,
}

/// What is to be in a file.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Pieces in an agent's JSON file.
    Json(Vec<Piece>),
    /// Pieces in the client's own configuration, which people write by hand, too: it is removed only where setup has
    /// written it, and that a file was there before is known by its backup, which else is empty.
    Client(Vec<Piece>),
    /// A table in Codex's configuration.
    Codex(toml::Entry),
    /// A file of ours; one that lacks [`MARK`] is somebody else's.
    Whole(&'static str),
}

/// Stands in the files that are ours as a whole.
const MARK: &str = "written by `secret-gate setup`";

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Add,
    Remove,
}

/// What is to become of a file.
#[derive(Debug)]
pub(super) struct Plan {
    /// The file, links followed.
    pub(super) file: PathBuf,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
    backup: Backup,
}

/// What is to become of the copy of a file as it was before setup.
#[derive(Debug, PartialEq, Eq)]
enum Backup {
    Leave,
    Write,
    Delete,
}

impl Plan {
    pub(super) fn changes_nothing(&self) -> bool {
        self.before == self.after
    }
}

impl Target {
    /// What is to become of the file as it is now.
    pub(super) fn plan(&self, way: Way) -> Result<Plan, Problem> {
        let file = file::resolved(&self.path)?;
        let before = file::read(&file)?;
        let (after, backup) = match way {
            Way::Add => self.added(&file, before.as_deref())?,
            Way::Remove => self.removed(&file, before.as_deref())?,
        };
        Ok(Plan { file, before, after, backup })
    }

    /// Does it. What others write meanwhile is not lost: the file is read again then.
    pub(super) fn apply(&self, way: Way) -> Result<(), Problem> {
        for _ in 0..20 {
            let plan = self.plan(way)?;
            if plan.changes_nothing() {
                return Ok(());
            }
            let Plan { file, before, after, backup } = plan;
            if backup == Backup::Write {
                file::back_up(&file, before.as_deref().unwrap_or_default())?;
            }
            let new_mode = if matches!(self.content, Content::Whole(_)) { 0o644 } else { 0o600 };
            match after {
                Some(after) if !file::replace(&file, before.as_deref(), &after, new_mode)? => continue,
                Some(_) => {}
                None => {
                    // the backup first, so that its folder is empty
                    if backup == Backup::Delete {
                        std::fs::remove_file(file::backup_of(&file)).ok();
                    }
                    return file::delete(&file, &self.path);
                }
            }
            if backup == Backup::Delete {
                std::fs::remove_file(file::backup_of(&file)).ok();
            }
            return Ok(());
        }
        Err("another program keeps changing it; end that program".to_owned())
    }

    /// What is ours alone, as a text.
    pub(super) fn ours(&self) -> String {
        self.put("").unwrap_or_default()
    }

    fn added(&self, file: &Path, before: Option<&[u8]>) -> Result<(Option<Vec<u8>>, Backup), Problem> {
        let (mark, text) = decoded(before.unwrap_or_default())?;
        let after = encoded(mark, &self.put(text)?);
        if before == Some(&after) {
            return Ok((Some(after), Backup::Leave));
        }
        let has_backup = file::backup_of(file).exists();
        let taken = self.take(text)?;
        let is_client = matches!(self.content, Content::Client(_));
        let backup = match before {
            // what is without anything of ours is what to come back to
            Some(_) if taken == text => Backup::Write,
            Some(_) if !has_backup && (is_client || !self.is_bare(&taken)) => Backup::Write,
            None if is_client => Backup::Write,
            _ => Backup::Leave,
        };
        Ok((Some(after), backup))
    }

    fn removed(&self, file: &Path, before: Option<&[u8]>) -> Result<(Option<Vec<u8>>, Backup), Problem> {
        let Some(before) = before else { return Ok((None, Backup::Leave)) };
        let unchanged = Ok((Some(before.to_vec()), Backup::Leave));
        let (mark, text) = decoded(before)?;
        let taken = self.take(text)?;
        if taken == text {
            return unchanged;
        }
        let backup = file::read(&file::backup_of(file))?;
        let is_client = matches!(self.content, Content::Client(_));
        match backup {
            None if is_client => unchanged,
            None => {
                // an entry that setup would write otherwise may be somebody's own
                let is_ours = self.put(text).is_ok_and(|put| put == text);
                let backup = if is_ours { Backup::Leave } else { Backup::Write };
                let after = if self.is_bare(&taken) { None } else { Some(encoded(mark, &taken)) };
                Ok((after, backup))
            }
            Some(backup) if backup.is_empty() && is_client && self.is_bare(&taken) => Ok((None, Backup::Delete)),
            Some(backup) if self.is_untouched_since(&backup, &taken) => Ok((Some(backup), Backup::Delete)),
            Some(_) if matches!(self.content, Content::Whole(_)) => Ok((None, Backup::Leave)),
            Some(_) => Ok((Some(encoded(mark, &taken)), Backup::Leave)),
        }
    }

    /// Whether a file that is this without what is ours differs from the backup in nothing else, and the backup has
    /// nothing of ours.
    fn is_untouched_since(&self, backup: &[u8], taken: &str) -> bool {
        let Ok((_, text)) = decoded(backup) else { return false };
        let is_it = |text: Result<String, Problem>| text.is_ok_and(|text| text == taken);
        let without = self.take(text);
        if !matches!(self.content, Content::Client(_)) && without.as_deref() != Ok(text) {
            return false;
        }
        is_it(without) || is_it(self.put(text).and_then(|text| self.take(&text)))
    }

    fn put(&self, text: &str) -> Result<String, Problem> {
        match &self.content {
            Content::Json(pieces) | Content::Client(pieces) => json::put(text, pieces),
            Content::Codex(entry) => entry.put(text),
            Content::Whole(ours) => Ok((*ours).to_owned()),
        }
    }

    fn take(&self, text: &str) -> Result<String, Problem> {
        match &self.content {
            Content::Json(pieces) | Content::Client(pieces) => json::take(text, pieces),
            Content::Codex(entry) => entry.take(text),
            Content::Whole(_) if text.contains(MARK) => Ok(String::new()),
            Content::Whole(_) => Ok(text.to_owned()),
        }
    }

    fn is_bare(&self, text: &str) -> bool {
        match self.content {
            Content::Json(_) | Content::Client(_) => json::is_bare(text),
            Content::Codex(_) => toml::is_bare(text),
            Content::Whole(_) => text.is_empty(),
        }
    }
}

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The byte order mark, where there is one, and the text.
fn decoded(bytes: &[u8]) -> Result<(&'static str, &str), Problem> {
    let text = str::from_utf8(bytes).map_err(|error| {
        let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
        format!("line {}: it is not text in UTF-8", 1 + good.iter().filter(|byte| **byte == b'\n').count())
    })?;
    Ok(text.strip_prefix(BYTE_ORDER_MARK).map_or(("", text), |text| (BYTE_ORDER_MARK, text)))
}

fn encoded(mark: &str, text: &str) -> Vec<u8> {
    format!("{mark}{text}").into_bytes()
}
