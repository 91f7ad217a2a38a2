//! Beginning a new file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::chain::Link;
use super::file::{Opened, continuation, sync_folder};

/// Sets the lines of the audit log at `path` aside, in a file beside it that is named for them (`audit.jsonl.1-4711`),
/// and begins a new file whose first line continues the chain and names the other. Whoever is writing to the log goes on
/// in the new file. Returns the name of the file set aside; `None` where nothing was written since the last time.
///
/// # Errors
/// When there is no audit log at `path`, or files can't be written or renamed there. The log is then as before.
pub fn rotate(path: impl AsRef<Path>) -> io::Result<Option<PathBuf>> {
    // where a link leads: the names beside it belong there
    let path = &fs::canonicalize(path)?;
    let mut log = Opened::at(path, false)?;
    log.lock(path)?;
    let head = log.write(None)?;
    let Some(first) = first_position(log.file())?.filter(|first| *first == 1 || *first < head.position) else {
        return Ok(None);
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let archive_name = format!("{name}.{first}-{}", head.position);
    let archive = path.with_file_name(&archive_name);
    let fresh = path.with_file_name(format!(".{name}.new"));
    write_private(&fresh, &continuation(head, archive_name)?)?;
    forget_names_of(log.file(), path)?;
    // first the second name, so that at no moment there is no log
    fs::hard_link(path, &archive)?;
    fs::rename(&fresh, path)?;
    sync_folder(path)?;
    Ok(Some(archive))
}

/// The number of the first line; what may be torn before it is none.
fn first_position(file: &fs::File) -> io::Result<Option<u64>> {
    let mut reader = BufReader::new(file);
    reader.seek(io::SeekFrom::Start(0))?;
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Some(link) = Link::of(line.strip_suffix(b"\n").unwrap_or(&line)) {
            return Ok(Some(link.head.position));
        }
        line.clear();
    }
    Ok(None)
}

/// Removes second names of the log that an attempt left behind which was cut off.
fn forget_names_of(file: &fs::File, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let ours = file.metadata()?;
        let prefix = format!("{}.", path.file_name().unwrap_or_default().to_string_lossy());
        for entry in fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let is_ours = (metadata.dev(), metadata.ino()) == (ours.dev(), ours.ino());
            if is_ours && entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // what an earlier attempt left behind, or somebody put there; nothing is written through it
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}
