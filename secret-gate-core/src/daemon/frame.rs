//! How daemon and client talk: frames over a Unix socket.
//!
//! A client opens with one byte: 1 when a descriptor comes with it (`SCM_RIGHTS`), which is the standard input of a command,
//! 0 otherwise. A frame is a length (four bytes, big-endian), a kind (one byte) and so many bytes. A client sends one call and then
//! listens until the daemon closes; closing first takes the call back.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

/// The longest content of a frame, in bytes: an environment fits with room to spare.
pub(super) const MAX_FRAME: usize = 4 * 1024 * 1024;

/// What is in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON.
    Message = 0,
    /// Standard output of a command.
    Output = 1,
    /// Standard error of a command.
    ErrorOutput = 2,
}

/// A frame. Its content is wiped: a call may carry an API key, and an answer a value.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl Frame {
    /// Reads a frame; `None` when the other end has closed instead of sending one.
    pub(super) async fn read(from: &mut (impl AsyncRead + Unpin + Send)) -> io::Result<Option<Self>> {
        let mut head = [0; 5];
        let Some((first, rest)) = head.split_first_mut() else { return Ok(None) };
        if from.read(std::slice::from_mut(first)).await? == 0 {
            return Ok(None);
        }
        from.read_exact(rest).await?;
        let [a, b, c, d, kind] = head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MAX_FRAME {
            return Err(malformed("a frame is too long"));
        }
        let kind = match kind {
            0 => Kind::Message,
            1 => Kind::Output,
            2 => Kind::ErrorOutput,
            _ => return Err(malformed("a frame is of no known kind")),
        };
        // grows with what comes, whatever was announced
        let mut content = Zeroizing::new(Vec::with_capacity(length.min(64 * 1024)));
        while content.len() < length {
            let missing = (length - content.len()).min(64 * 1024);
            if content.capacity() - content.len() < missing {
                grow(&mut content, missing);
            }
            if (&mut *from).take(missing as u64).read_buf(&mut *content).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(Self { kind, content }))
    }

    /// The message in it.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> io::Result<T> {
        if self.kind != Kind::Message {
            return Err(malformed("a frame holds no message"));
        }
        // the text of the error could quote the frame
        serde_json::from_slice(&self.content).map_err(|_| malformed("a message can't be understood"))
    }
}

/// Makes room in a new buffer and wipes the old one, which growing in place would leave behind.
fn grow(content: &mut Zeroizing<Vec<u8>>, more: usize) {
    let mut larger = Zeroizing::new(Vec::with_capacity((content.capacity() * 2).max(content.len() + more)));
    larger.extend_from_slice(content);
    *content = larger;
}

fn malformed(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Sends a frame.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin + Send), kind: Kind, content: &[u8]) -> io::Result<()> {
    let length = u32::try_from(content.len()).ok().filter(|length| *length as usize <= MAX_FRAME);
    let [a, b, c, d] = length.ok_or_else(|| malformed("a frame is too long"))?.to_be_bytes();
    to.write_all(&[a, b, c, d, kind as u8]).await?;
    to.write_all(content).await?;
    to.flush().await
}

/// Sends a message.
pub(super) async fn send_message(
    to: &mut (impl AsyncWrite + Unpin + Send),
    message: &(impl Serialize + Sync),
) -> io::Result<()> {
    let content = Zeroizing::new(serde_json::to_vec(message)?);
    send(to, Kind::Message, &content).await
}

/// Opens a call, with the standard input of the command that it is about where there is one.
pub(super) async fn open(stream: &UnixStream, stdin: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let descriptors: Vec<BorrowedFd<'_>> = stdin.into_iter().collect();
    let opening = [u8::from(stdin.is_some())];
    let send = || {
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
        }
        Ok(sendmsg(stream, &[IoSlice::new(&opening)], &mut control, SendFlags::empty())?)
    };
    stream.async_io(Interest::WRITABLE, send).await.map(drop)
}

/// Hears how a call opens; `None` when the other end has closed instead.
pub(super) async fn opened(stream: &UnixStream) -> io::Result<Option<Option<OwnedFd>>> {
    let mut opening = [0];
    let (length, descriptor) = stream
        .async_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let buffers = &mut [IoSliceMut::new(&mut opening)];
            let received = recvmsg(stream, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            // what is not taken is closed
            let descriptor = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            Ok((received.bytes, descriptor))
        })
        .await?;
    match (length, opening, descriptor) {
        (0, _, _) => Ok(None),
        (_, [0], None) => Ok(Some(None)),
        (_, [1], Some(descriptor)) => Ok(Some(Some(descriptor))),
        _ => Err(malformed("it does not begin as a call does")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Option<Frame>> {
        Frame::read(&mut &*bytes).await
    }

    #[tokio::test]
    async fn frames_are_read_as_they_are_sent() {
        for length in [0, 1, 65_535, 65_536, 65_537, 1_000_000, MAX_FRAME] {
            let content = vec![7; length];
            let mut bytes = Vec::new();
            send(&mut bytes, Kind::ErrorOutput, &content).await.unwrap();
            let frame = read(&bytes).await.unwrap().unwrap();
            assert!(frame.kind == Kind::ErrorOutput && *frame.content == content, "{length}");
        }
        let mut bytes = Vec::new();
        send_message(&mut bytes, &["a", "b"]).await.unwrap();
        assert_eq!(read(&bytes).await.unwrap().unwrap().parse::<Vec<String>>().unwrap(), ["a", "b"]);
        assert!(send(&mut bytes, Kind::Message, &vec![0; MAX_FRAME + 1]).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        assert!(read(b"").await.unwrap().is_none());
        let cases: [&[u8]; 6] = [
            b"\0",
            b"\0\0\0\x02",
            b"\0\0\0\x02\0a",
            b"\0\0\0\x01\x03a",
            b"\xff\xff\xff\xff\0",
            b"GET / HTTP/1.1\r\n\r\n",
        ];
        for bytes in cases {
            assert!(read(bytes).await.is_err(), "{bytes:?}");
        }
        let frame = read(b"\0\0\0\x01\0{").await.unwrap().unwrap();
        assert_eq!(frame.parse::<Vec<String>>().unwrap_err().to_string(), "a message can't be understood");
    }

    fn read_now(bytes: &[u8]) -> io::Result<Option<Frame>> {
        tokio::runtime::Builder::new_current_thread().build()?.block_on(read(bytes))
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_however_much_comes() {
        let bytes = [&u32::try_from(MAX_FRAME + 1).unwrap().to_be_bytes()[..], &vec![0; MAX_FRAME + 2]].concat();
        assert_eq!(read_now(&bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_none(length in 0_u32..200, kind in 0_u8..6, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let announced = length as usize;
            let all = [&length.to_be_bytes()[..], &[kind], &bytes].concat();
            match read_now(&all) {
                Ok(frame) => {
                    let frame = frame.unwrap();
                    prop_assert!(frame.kind as u8 == kind && *frame.content == bytes[..announced]);
                }
                Err(_) => prop_assert!(kind > 2 || bytes.len() < announced),
            }
            // without a head that fits: whatever it is, no more is kept than came
            if let Ok(Some(frame)) = read_now(&bytes) {
                prop_assert!(frame.content.len() + 5 <= bytes.len());
            }
        }

        #[test]
        fn what_is_announced_and_does_not_come_takes_no_memory(length in 64_u32 * 1024..=4 * 1024 * 1024, came in 0_usize..1000) {
            let mut all = length.to_be_bytes().to_vec();
            all.resize(5 + came, 0);
            prop_assert_eq!(read_now(&all).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
