//! Messages of the agent protocol: a length, a type and its fields (draft-ietf-sshm-ssh-agent).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The longest message that is read, in bytes; OpenSSH's agent has the same limit.
pub(super) const MAX_FRAME: usize = 256 * 1024;

pub(super) const FAILURE: u8 = 5;
pub(super) const SUCCESS: u8 = 6;
pub(super) const REQUEST_IDENTITIES: u8 = 11;
pub(super) const IDENTITIES_ANSWER: u8 = 12;
pub(super) const SIGN_REQUEST: u8 = 13;
pub(super) const SIGN_RESPONSE: u8 = 14;
pub(super) const REMOVE_IDENTITY: u8 = 18;
pub(super) const ADD_ID_CONSTRAINED: u8 = 25;

/// Constraint of an added key: how many seconds the agent keeps it.
pub(super) const CONSTRAIN_LIFETIME: u8 = 1;

/// The next message, type first: waits `idle` for it to begin and `stall` for it to be whole.
///
/// # Errors
/// Any end of the stream, silence for too long, and a length of zero or above [`MAX_FRAME`].
pub(super) async fn read(stream: &mut UnixStream, idle: Duration, stall: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(timeout(idle, stream.read_u32()).await??).unwrap_or(usize::MAX);
    if length == 0 || length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of impossible length"));
    }
    let mut frame = Zeroizing::new(vec![0; length]);
    timeout(stall, stream.read_exact(&mut frame)).await??;
    Ok(frame)
}

/// Sends a message; its parts go into one buffer, which is wiped.
pub(super) async fn write(stream: &mut UnixStream, kind: u8, parts: &[&[u8]], stall: Duration) -> io::Result<()> {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let prefix = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // never grown, since that would leave a copy behind
    let mut frame = Zeroizing::new(Vec::with_capacity(4 + length));
    frame.extend_from_slice(&prefix.to_be_bytes());
    frame.push(kind);
    for part in parts {
        frame.extend_from_slice(part);
    }
    timeout(stall, stream.write_all(&frame)).await?
}
