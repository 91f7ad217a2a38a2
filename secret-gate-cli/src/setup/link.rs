//! The place where older skills look for the client: a link to it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::file::{self, backup_of};
use super::json::Problem;
use super::target::Way;

/// A link to the client.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: PathBuf,
    pub(super) to: PathBuf,
}

/// What is to become of what is at the place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Put the link there.
    Create,
    /// Put it there, in place of another link.
    Replace,
    /// Move a file aside and put the link there.
    MoveAside,
    Delete,
    /// Delete it and put back what was there.
    Restore,
}

impl Link {
    pub(super) fn plan(&self, way: Way) -> Result<Step, Problem> {
        let there = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(if way == Way::Add { Step::Create } else { Step::Nothing });
            }
            Err(error) => return Err(error.to_string()),
        };
        if there.is_symlink() {
            let to = fs::read_link(&self.path).map_err(|error| error.to_string())?;
            return Ok(match way {
                Way::Add if to == self.to => Step::Nothing,
                Way::Add => Step::Replace,
                // somebody else's; one that leads nowhere is from before the client moved
                Way::Remove if to.file_name() != self.path.file_name() => Step::Nothing,
                Way::Remove if to != self.to && self.path.exists() => Step::Nothing,
                Way::Remove if backup_of(&self.path).exists() => Step::Restore,
                Way::Remove => Step::Delete,
            });
        }
        // the client may have been installed right here
        let is_the_client = fs::canonicalize(&self.path).ok() == fs::canonicalize(&self.to).ok();
        match way {
            Way::Remove => Ok(Step::Nothing),
            Way::Add if is_the_client => Ok(Step::Nothing),
            Way::Add if there.is_file() => Ok(Step::MoveAside),
            Way::Add => Err("it is not a file".to_owned()),
        }
    }

    pub(super) fn apply(&self, way: Way) -> Result<(), Problem> {
        let said = |error: std::io::Error| error.to_string();
        match self.plan(way)? {
            Step::Nothing => Ok(()),
            Step::Create | Step::Replace => self.put(),
            Step::MoveAside => {
                fs::rename(&self.path, backup_of(&self.path)).map_err(said)?;
                self.put()
            }
            Step::Delete => file::delete(&self.path, &self.path),
            // replaces the link
            Step::Restore => fs::rename(backup_of(&self.path), &self.path).map_err(said),
        }
    }

    fn put(&self) -> Result<(), Problem> {
        let said = |error: std::io::Error| error.to_string();
        let folder = self.path.parent().ok_or("it has no folder")?;
        fs::create_dir_all(folder).map_err(said)?;
        // a link can't be written over, but renamed over
        let place = tempfile::Builder::new().prefix(".secret-gate-").tempdir_in(folder).map_err(said)?;
        let new = place.path().join("link");
        symlink(&self.to, &new).map_err(said)?;
        fs::rename(new, &self.path).map_err(said)
    }
}
