//! Opening files that let people in: only where nobody else could have put or changed them.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::keys::KeysError;

const GROUP_OR_OTHERS: u32 = 0o077;
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
const PERMISSIONS: u32 = 0o777;

/// Opens the file for reading, together with what it is.
///
/// It must be a regular file, and so must what a link leads to: waiting for somebody to write into a pipe would hold up
/// who reads. It must belong to root or to the user of this process, and nobody else may write it or its folder.
pub(super) fn open(path: &Path) -> Result<(File, Metadata), KeysError> {
    check_folders(path)?;
    let file = OpenOptions::new().read(true).custom_flags(flags(OFlags::NONBLOCK)).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(KeysError::NotAFile);
    }
    if !is_ours(&metadata) {
        return Err(KeysError::OtherOwner { uid: metadata.uid() });
    }
    match metadata.mode() & PERMISSIONS {
        mode if mode & GROUP_OR_OTHERS_WRITE != 0 => Err(KeysError::WritableByOthers { mode }),
        _ => Ok((file, metadata)),
    }
}

/// Nobody else may put another file into the place of this one: neither where it is named nor where a link leads.
///
/// That holds for a group as for everybody, root's included, since a group is there to have members. In a sticky folder,
/// such as `/tmp`, others can only add files, which don't belong to us.
pub(super) fn check_folders(path: &Path) -> Result<(), KeysError> {
    let named = folder(path);
    check_folder(&named)?;
    let led_to = path.canonicalize().map(|path| folder(&path));
    if let Some(folder) = led_to.ok().filter(|folder| *folder != named) {
        check_folder(&folder)?;
    }
    Ok(())
}

fn check_folder(folder: &Path) -> Result<(), KeysError> {
    let metadata = std::fs::metadata(folder)?;
    let mode = metadata.mode();
    let others_write = mode & GROUP_OR_OTHERS_WRITE != 0 && mode & STICKY == 0;
    if others_write || !is_ours(&metadata) {
        let (folder, mode) = (folder.to_owned(), mode & PERMISSIONS);
        return Err(KeysError::FolderOfOthers { folder, uid: metadata.uid(), mode });
    }
    Ok(())
}

/// The folder that a file is in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Opens, and makes where it is not there, a file that nobody else can open, and so can't lock either. Not through a
/// link.
pub(super) fn private(path: &Path) -> std::io::Result<File> {
    let flags = flags(OFlags::NONBLOCK | OFlags::NOFOLLOW);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && is_ours(&metadata) && metadata.mode() & GROUP_OR_OTHERS == 0 {
        return Ok(file);
    }
    let text = format!("{} is not a file that only its owner, us or root, can open; remove it", path.display());
    Err(std::io::Error::other(text))
}

fn is_ours(metadata: &Metadata) -> bool {
    let uid = metadata.uid();
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn flags(flags: OFlags) -> i32 {
    // the bits are those of the system's C headers, where they are an int
    flags.bits().cast_signed()
}
