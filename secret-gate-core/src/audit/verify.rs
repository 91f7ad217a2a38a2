//! Whether an audit log is whole.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::chain::{AuditAnchor, Head, LineHash, Link, MAX_LINE, Note};

/// Notes that are kept; more say nothing new.
const MAX_NOTES: usize = 1000;

/// How often a log is looked at again that changed meanwhile.
const ATTEMPTS: usize = 10;

/// Findings after which nothing more is looked for; one slip rarely comes with so many.
const MAX_FINDINGS: usize = 100;

/// A log in which nothing was found to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The files, oldest first: those that were named, and the ones before them that they name.
    pub files: Vec<PathBuf>,
    /// How many lines there are.
    pub lines: u64,
    /// The last line; `None` of an empty log. Changes to it alone show only where somebody remembers this.
    pub last: Option<AuditAnchor>,
    /// What the log says of itself: crashes, lines that did not count. In words for people.
    pub notes: Vec<String>,
}

/// A log that is not whole, or that can't be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file can't be read.
    #[error("{} can't be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something was changed, removed, added or moved.
    #[error("the audit log is not whole")]
    NotWhole {
        /// What was found, at least one thing.
        findings: Vec<Finding>,
    },
}

/// Something that is wrong with an audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The log does not begin with line 1, and the file with the lines before was not given.
    BeginsLate {
        /// The first line there is.
        position: u64,
        /// The file with those before, where the log names it.
        after: Option<String>,
    },
    /// Lines are missing.
    Missing {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A line comes after one that it does not belong after.
    OutOfOrder {
        /// The line's number.
        position: u64,
        /// The number of the one before.
        after: u64,
    },
    /// A line does not carry the hash of the line before: one of the two was changed.
    Changed {
        /// The number of the line before.
        position: u64,
    },
    /// Something that is no line of the log, and that no later line accounts for.
    Foreign {
        /// The file.
        path: PathBuf,
        /// The line within the file, counted from 1.
        line: u64,
    },
    /// Bytes that a line accounts for are not there any more.
    Vanished {
        /// The number of the line that accounts for them.
        position: u64,
    },
    /// A line takes another one back that it can't take back.
    FalseVoid {
        /// The line's number.
        position: u64,
        /// The number of the one that it would take back.
        line: u64,
    },
    /// The log ends before the line that an anchor names.
    CutOff {
        /// The number of the last line.
        last: u64,
        /// The anchor.
        anchor: AuditAnchor,
    },
    /// The line of an anchor is another one than it was when the anchor was taken.
    Rewritten {
        /// The anchor.
        anchor: AuditAnchor,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeginsLate { position, after: Some(file) } => {
                write!(f, "the log begins at line {position}; the lines before it are in {file}, which is not there")
            }
            Self::BeginsLate { position, after: None } => {
                write!(f, "the log begins at line {position}; the lines before it were removed, or are in another file")
            }
            Self::Missing { from, to } if from == to => write!(f, "line {from} is missing"),
            Self::Missing { from, to } => write!(f, "lines {from} to {to} are missing"),
            Self::OutOfOrder { position, after } => write!(f, "line {position} comes after line {after}"),
            Self::Changed { position } => {
                write!(f, "line {position} was changed, or the hash of it that the next line carries")
            }
            Self::Foreign { path, line } => write!(f, "{}:{line} is no line of an audit log", path.display()),
            Self::Vanished { position } => {
                write!(f, "line {position} notes what a crash left before it, which is not there, or is something else")
            }
            Self::FalseVoid { position, line } => {
                write!(f, "line {position} takes back line {line}, which is not the one before it")
            }
            Self::CutOff { last, anchor } => {
                write!(f, "the log ends at line {last}, although there was a line {anchor}: lines were cut off")
            }
            Self::Rewritten { anchor } => write!(f, "the line {anchor} is not the one that it was: it was rewritten"),
        }
    }
}

/// Looks whether an audit log is whole: every line there, unchanged, in order, and the anchored ones as they were.
///
/// `files` are the parts of one log, oldest first. Where the first one names the file that it continues, and that is in
/// the same folder, it is looked at as well, and so on. Without anchors, changes, removals and moves within the log are
/// found; that its end was cut off, or that all of it was written anew, shows only against anchors from somewhere else,
/// such as the messages in the chat.
///
/// The log may be written to meanwhile: what comes after the call is not looked at.
///
/// # Errors
/// [`VerifyError::NotWhole`] with what was found, [`VerifyError::Unreadable`] when there is nothing to look at.
pub fn verify(files: &[impl AsRef<Path>], anchors: &[AuditAnchor]) -> Result<Verified, VerifyError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let named = files.iter().map(|file| file.as_ref().to_owned()).collect();
        let files = with_earlier(named)?;
        let before: Vec<Option<u64>> = files.iter().map(|file| inode(file)).collect();
        let verified = look_at(&files, anchors);
        // a file that was set aside meanwhile was missed, or read twice
        let after: Vec<Option<u64>> = files.iter().map(|file| inode(file)).collect();
        if verified.is_ok() || before == after || attempt == ATTEMPTS {
            return verified;
        }
    }
}

fn look_at(files: &[PathBuf], anchors: &[AuditAnchor]) -> Result<Verified, VerifyError> {
    let mut reading = Reading::new(anchors);
    for (at, path) in files.iter().enumerate() {
        let is_last = at + 1 == files.len();
        reading.file(path, is_last).map_err(|source| VerifyError::Unreadable { path: path.clone(), source })?;
    }
    reading.finish(files.to_vec())
}

/// What tells one file at a path from another.
fn inode(path: &Path) -> Option<u64> {
    #[cfg(unix)]
    return path.metadata().ok().map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata));
    #[cfg(not(unix))]
    path.exists().then_some(0)
}

/// Opens what is a file; anything else may never end.
fn open(path: &Path) -> io::Result<(BufReader<io::Take<File>>, u64)> {
    let is_file = |metadata: &std::fs::Metadata| metadata.is_file();
    if !path.metadata().as_ref().is_ok_and(is_file) && path.exists() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    Ok((BufReader::new(io::Read::take(file, length)), length))
}

/// The files with those before them that are named and there.
fn with_earlier(mut files: Vec<PathBuf>) -> Result<Vec<PathBuf>, VerifyError> {
    while let Some(first) = files.first() {
        let unreadable = |source| VerifyError::Unreadable { path: first.clone(), source };
        let Some(name) = named_by(first).map_err(unreadable)? else { break };
        // a name, never a way out of the folder
        let Some(name) = Path::new(&name).file_name() else { break };
        let earlier = first.with_file_name(name);
        if files.contains(&earlier) || !earlier.exists() {
            break;
        }
        files.insert(0, earlier);
    }
    Ok(files)
}

fn named_by(path: &Path) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    read_line(&mut open(path)?.0, &mut line)?;
    match Link::of(line.strip_suffix(b"\n").unwrap_or(&line)).and_then(|link| link.note) {
        Some(Note::Continued { after }) => Ok(after),
        _ => Ok(None),
    }
}

fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    io::Read::take(reader, MAX_LINE as u64).read_until(b'\n', line)
}

/// Bytes that are no lines of the log, until one accounts for them.
#[derive(Debug)]
struct Torn {
    line: u64,
    bytes: u64,
    hash: Sha256,
}

#[derive(Debug)]
struct Reading<'a> {
    head: Head,
    lines: u64,
    /// The latest line that is no note of the log itself.
    entry: u64,
    anchors: HashMap<u64, Vec<&'a AuditAnchor>>,
    notes: Vec<String>,
    findings: Vec<Finding>,
}

impl<'a> Reading<'a> {
    fn new(anchors: &'a [AuditAnchor]) -> Self {
        let mut by_position: HashMap<u64, Vec<&AuditAnchor>> = HashMap::new();
        for anchor in anchors {
            by_position.entry(anchor.position).or_default().push(anchor);
        }
        let (notes, findings) = (Vec::new(), Vec::new());
        Self { head: Head::default(), lines: 0, entry: 0, anchors: by_position, notes, findings }
    }

    fn is_enough(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
    }

    fn file(&mut self, path: &Path, is_last: bool) -> io::Result<()> {
        let (mut reader, length) = open(path)?;
        let (mut bytes, mut number, mut read) = (Vec::new(), 0, 0);
        let mut torn: Option<Torn> = None;
        let mut is_half = false;
        while !self.is_enough() && read_line(&mut reader, &mut bytes)? > 0 {
            number += 1;
            read += bytes.len() as u64;
            is_half = !bytes.ends_with(b"\n") && read == length;
            let Some(link) = Link::of(bytes.strip_suffix(b"\n").unwrap_or(&bytes)) else {
                let torn = torn.get_or_insert_with(|| Torn { line: number, bytes: 0, hash: Sha256::new() });
                torn.bytes += bytes.len() as u64;
                torn.hash.update(&bytes);
                continue;
            };
            self.account_for(path, torn.take(), &link);
            self.line(link);
        }
        match torn {
            // as a crash leaves it; whoever made it so can as well have cut it off whole
            Some(torn) if is_last && is_half && torn.line == number => {
                self.note(format!("{} ends in half a line, which does not count", path.display()));
            }
            Some(torn) => self.findings.push(Finding::Foreign { path: path.to_owned(), line: torn.line }),
            None => {}
        }
        Ok(())
    }

    /// Foreign bytes are fine when the line behind them notes exactly those.
    fn account_for(&mut self, path: &Path, torn: Option<Torn>, link: &Link) {
        let position = link.head.position;
        match (torn, &link.note) {
            (Some(Torn { bytes, hash, .. }), Some(Note::Recovered { torn_bytes, torn_sha256 })) => {
                if (bytes, LineHash::from(hash)) == (*torn_bytes, *torn_sha256) {
                    self.note(format!("before line {position}, {bytes} bytes that are no line; they do not count"));
                } else {
                    self.findings.push(Finding::Vanished { position });
                }
            }
            (None, Some(Note::Recovered { .. })) => self.findings.push(Finding::Vanished { position }),
            (Some(torn), _) => self.findings.push(Finding::Foreign { path: path.to_owned(), line: torn.line }),
            (None, _) => {}
        }
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    fn line(&mut self, link: Link) {
        let (before, position) = (self.head, link.head.position);
        let expected = before.position.saturating_add(1);
        if self.lines == 0 && position > 1 {
            let after = match &link.note {
                Some(Note::Continued { after }) => after.clone(),
                _ => None,
            };
            self.findings.push(Finding::BeginsLate { position, after });
        } else if position > expected {
            self.findings.push(Finding::Missing { from: expected, to: position - 1 });
        } else if position < expected {
            self.findings.push(Finding::OutOfOrder { position, after: before.position });
        } else if !link.follows(before) {
            self.findings.push(Finding::Changed { position: before.position.max(1) });
        }
        match link.note {
            // only ever said at once, of the entry before
            Some(Note::Void { line }) if line == self.entry => {
                self.note(format!("line {line} did not count: it was not surely kept when it was written"));
                self.entry = 0;
            }
            Some(Note::Void { line }) => self.findings.push(Finding::FalseVoid { position, line }),
            Some(_) => {}
            None => self.entry = position,
        }
        for anchor in self.anchors.remove(&position).unwrap_or_default() {
            if !anchor.names(link.head.hash) {
                self.findings.push(Finding::Rewritten { anchor: anchor.clone() });
            }
        }
        self.head = link.head;
        self.lines += 1;
    }

    fn finish(mut self, files: Vec<PathBuf>) -> Result<Verified, VerifyError> {
        let last = self.head.position;
        // what was not looked at any more may well be there
        let unseen = if self.is_enough() { HashMap::new() } else { self.anchors };
        for anchor in unseen.into_values().flatten().cloned() {
            let finding = match anchor.position > last {
                true => Finding::CutOff { last, anchor },
                false => Finding::Missing { from: anchor.position, to: anchor.position },
            };
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        if !self.findings.is_empty() {
            return Err(VerifyError::NotWhole { findings: self.findings });
        }
        let last = (self.lines > 0).then(|| self.head.anchor());
        Ok(Verified { files, lines: self.lines, last, notes: self.notes })
    }
}
