//! Files of others, read and replaced with care: links are written through, mode and owner stay, a reader sees the old
//! or the new content and nothing between.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::json::Problem;

/// More than any configuration holds.
const MAX_BYTES: u64 = 64 << 20;
const BACKUP: &str = ".secret-gate-backup";

/// The file at this path, links followed; the path itself where nothing is.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, Problem> {
    match fs::canonicalize(path) {
        Ok(file) => Ok(file),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err("it is a link to nothing".to_owned()),
            Err(_) => Ok(path.to_owned()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// What the file holds; nothing where there is none.
pub(super) fn read(file: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    fs::read(file).map(Some).map_err(|error| format!("can't be read: {error}"))
}

/// Where the copy of the file as it was before setup lies.
pub(super) fn backup_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(BACKUP);
    name.into()
}

/// Replaces the file's content where it is still `before`; tells whether it was. A new file gets this mode.
pub(super) fn replace(file: &Path, before: Option<&[u8]>, after: &[u8], new_mode: u32) -> Result<bool, Problem> {
    let folder = file.parent().ok_or("it has no folder")?;
    let unwritable = |error: std::io::Error| format!("can't be written: {error}");
    fs::create_dir_all(folder).map_err(unwritable)?;
    let metadata = if before.is_some() { Some(fs::metadata(file).map_err(unwritable)?) } else { None };
    let written = written(folder, after, metadata.as_ref(), new_mode).map_err(unwritable)?;
    if read(file)?.as_deref() != before {
        return Ok(false);
    }
    match before {
        Some(_) => written.persist(file).map_err(|error| unwritable(error.error))?,
        None => match written.persist_noclobber(file) {
            Ok(file) => file,
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(unwritable(error.error)),
        },
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(unwritable)?;
    Ok(true)
}

/// Writes a copy with the mode and owner of the original, over an older one.
pub(super) fn back_up(file: &Path, content: &[u8]) -> Result<(), Problem> {
    let failed = |error: std::io::Error| format!("can't be backed up: {error}");
    let folder = file.parent().ok_or("it has no folder")?;
    let metadata = fs::metadata(file).ok();
    fs::create_dir_all(folder).map_err(failed)?;
    let written = written(folder, content, metadata.as_ref(), 0o600).map_err(failed)?;
    written.persist(backup_of(file)).map_err(|error| failed(error.error))?;
    Ok(())
}

fn written(
    folder: &Path,
    content: &[u8],
    like: Option<&Metadata>,
    new_mode: u32,
) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".secret-gate-").tempfile_in(folder)?;
    file.write_all(content)?;
    let own = file.as_file().metadata()?;
    if let Some(like) = like
        && (like.uid(), like.gid()) != (own.uid(), own.gid())
    {
        std::os::unix::fs::fchown(file.as_file(), Some(like.uid()), Some(like.gid()))?;
    }
    let mode = like.map_or(new_mode, |like| like.mode() & 0o7777);
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Deletes the file, and the folders above its name that are ours alone and empty now.
pub(super) fn delete(file: &Path, name: &Path) -> Result<(), Problem> {
    fs::remove_file(file).map_err(|error| format!("can't be deleted: {error}"))?;
    for folder in name.ancestors().skip(1) {
        let is_ours = folder.ends_with("secret-gate") || folder.ends_with("secret-gate/bin");
        // a folder that is not empty, or a link, can't be removed, and that ends it
        if !is_ours || fs::remove_dir(folder).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.json");
        assert!(replace(&file, None, b"ours", 0o600).unwrap());
        assert!(!replace(&file, None, b"again", 0o600).unwrap());
        assert!(!replace(&file, Some(b"theirs"), b"again", 0o600).unwrap());
        assert_eq!(read(&file).unwrap().unwrap(), b"ours");
        assert!(replace(&file, Some(b"ours"), b"again", 0o600).unwrap());
        assert_eq!(read(&file).unwrap().unwrap(), b"again");
        // deleted meanwhile
        fs::remove_file(&file).unwrap();
        replace(&file, Some(b"again"), b"more", 0o600).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
    }
}
