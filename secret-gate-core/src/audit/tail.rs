//! The end of an audit file: its last whole line, and what may be left behind it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::chain::{Head, Link, MAX_LINE};

/// How much of the end is read at first, in bytes.
const CHUNK: u64 = 64 * 1024;

/// How much may lie behind the last whole line, in bytes.
const MAX_TORN: u64 = MAX_LINE as u64;

/// How every first line begins.
const BEGINNING: &[u8] = b"{\"n\":1,\"prev\":\"0000";

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// The last whole line; none in a file that holds no whole line yet.
    pub(super) head: Head,
    /// Whether only its line break is missing.
    pub(super) unended: bool,
    /// The bytes behind it, where there are any.
    pub(super) torn: Option<Vec<u8>>,
}

impl Tail {
    /// Reads what came between these lengths of a file, in bytes, behind a line that is known. `None` where that line is
    /// not there any more. What does not hang on what comes before it is torn.
    pub(super) fn behind(file: &mut File, known: Head, from: u64, len: u64) -> io::Result<Option<Self>> {
        // a file that is shared by so busy writers is read as if it were new
        if len - from > MAX_TORN {
            return Self::read(file, len).map(Some);
        }
        if known.position > 0 && Self::read(file, from)?.head != known {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.by_ref().take(len - from).read_to_end(&mut bytes)?;
        let (mut head, mut rest, mut unended) = (known, bytes.as_slice(), false);
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let Some(link) = Link::of(line).filter(|link| link.follows(head)) else { break };
            head = link.head;
            unended = end.is_none();
            rest = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        }
        Ok(Some(Self { head, unended, torn: (!rest.is_empty()).then(|| rest.to_vec()) }))
    }

    /// Reads the end of a file of this length, in bytes.
    pub(super) fn read(file: &mut File, len: u64) -> io::Result<Self> {
        let mut take = CHUNK;
        loop {
            let start = len.saturating_sub(take);
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.by_ref().take(len - start).read_to_end(&mut bytes)?;
            if let Some((head, behind)) = last_line(&bytes, start == 0) {
                let unended = behind > bytes.len();
                let torn = bytes.split_off(behind.min(bytes.len()));
                return Ok(Self { head, unended, torn: (!torn.is_empty()).then_some(torn) });
            }
            if start == 0 && could_be_a_first_line(&bytes) {
                return Ok(Self { head: Head::default(), unended: false, torn: Some(bytes) });
            }
            if start == 0 || take >= MAX_TORN {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "it holds something else than an audit log; move it away or name another file",
                ));
            }
            take *= 4;
        }
    }
}

/// The last whole line, and where the bytes behind its line break begin, or would. Unless the bytes are a file's first
/// ones, what stands before the first line break may be a part of a line.
fn last_line(bytes: &[u8], from_the_start: bool) -> Option<(Head, usize)> {
    let mut end = bytes.len();
    loop {
        let before = bytes.get(..end)?;
        let begin = before.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        let line = match begin {
            Some(begin) => before.get(begin..)?,
            None if from_the_start => before,
            None => return None,
        };
        if let Some(link) = Link::of(line) {
            return Some((link.head, end + 1));
        }
        end = begin?.checked_sub(1)?;
    }
}

fn could_be_a_first_line(bytes: &[u8]) -> bool {
    let compared = bytes.len().min(BEGINNING.len());
    bytes.get(..compared) == BEGINNING.get(..compared)
}
