//! Beginning a new file.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
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
    let path = path.as_ref();
    let mut log = Opened::at(path, false)?;
    log.lock(path)?;
    let head = log.write(None)?;
    let first = first_position(log.file())?.unwrap_or(head.position);
    if head.position <= first && first != 1 || head.position == 0 {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let archive_name = format!("{name}.{first}-{}", head.position);
    let archive = path.with_file_name(&archive_name);
    let fresh = path.with_file_name(format!(".{name}.new"));
    write_private(&fresh, &continuation(head, archive_name)?)?;
    // first the second name, so that at no moment there is no log
    fs::hard_link(path, &archive)?;
    fs::rename(&fresh, path)?;
    sync_folder(path)?;
    Ok(Some(archive))
}

fn first_position(file: &fs::File) -> io::Result<Option<u64>> {
    use std::io::Seek as _;
    let mut reader = BufReader::new(file);
    reader.seek(io::SeekFrom::Start(0))?;
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").and_then(Link::of).map(|link| link.head.position))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // what an earlier attempt left behind is of no use
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}
