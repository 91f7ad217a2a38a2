//! JSON-RPC over standard input and output, a message a line.
//!
//! What can't be understood is answered, with its id where it has one, since a client would wait for it otherwise.

use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// How many messages may wait to be heard.
const WAITING: usize = 16;

type Incoming = RxJsonRpcMessage<RoleServer>;
type Writer<W> = Arc<Mutex<W>>;

/// Messages that are lines.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    incoming: mpsc::Receiver<Incoming>,
    writer: Writer<W>,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Lines<W> {
    /// Reads from here and writes there; `ended` is cancelled at the end of input.
    pub(crate) fn new(reader: impl AsyncRead + Send + Unpin + 'static, writer: W, ended: CancellationToken) -> Self {
        let (sender, incoming) = mpsc::channel(WAITING);
        let writer = Arc::new(Mutex::new(writer));
        let answers = Arc::clone(&writer);
        tokio::spawn(async move {
            if let Err(error) = read(reader, &answers, &sender).await {
                tracing::debug!(%error, "standard input or output broke");
            }
            ended.cancel();
        });
        Self { incoming, writer }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for Lines<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let writer = Arc::clone(&self.writer);
        async move { write(&writer, &item).await }
    }

    async fn receive(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.incoming.close();
        Ok(())
    }
}

async fn write<W: AsyncWrite + Unpin>(writer: &Writer<W>, message: &TxJsonRpcMessage<RoleServer>) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut writer = writer.lock().await;
    writer.write_all(&line).await?;
    writer.flush().await
}

/// Reads until the end of input.
async fn read<W: AsyncWrite + Unpin>(
    reader: impl AsyncRead + Unpin,
    answers: &Writer<W>,
    messages: &mpsc::Sender<Incoming>,
) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let mut line = Vec::new();
    while let Some(length) = next_line(&mut reader, &mut line).await? {
        let heard = if length > MAX_MESSAGE {
            Err((format!("a message is longer than {MAX_MESSAGE} bytes"), ErrorCode::INVALID_REQUEST, None))
        } else {
            understand(&line)
        };
        match heard {
            Ok(Some(message)) => {
                if messages.send(message).await.is_err() {
                    return Ok(());
                }
            }
            Ok(None) => {}
            Err((problem, code, id)) => {
                let error = ErrorData::new(code, problem, None);
                write(answers, &TxJsonRpcMessage::<RoleServer>::error(error, id)).await?;
            }
        }
    }
    Ok(())
}

/// Reads a line, without its end; of one that is too long, the beginning. Gives its length, and `None` at the end of input.
/// A line that is cut off by the end is one.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<Option<usize>> {
    line.clear();
    let mut length = 0;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok((length > 0).then_some(length));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let (content, _) = available.split_at(end.unwrap_or(available.len()));
        let used = content.len() + usize::from(end.is_some());
        if length + content.len() <= MAX_MESSAGE {
            line.extend_from_slice(content);
        }
        length += content.len();
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(length));
        }
    }
}

type Problem = (String, ErrorCode, Option<RequestId>);

/// The message in a line; none where there is nothing to answer.
fn understand(line: &[u8]) -> Result<Option<Incoming>, Problem> {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    if let Ok(message) = serde_json::from_slice(line) {
        return Ok(Some(message));
    }
    // the texts of the parser's errors could quote the line, which can be long
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Err(("a message is not JSON".to_owned(), ErrorCode::PARSE_ERROR, None));
    };
    match (value.get("method"), value.get("id").filter(|id| !id.is_null())) {
        // notifications are never answered, known or not
        (Some(Value::String(_)), None) => Ok(None),
        (_, id) => {
            let id = id.and_then(|id| serde_json::from_value(id.clone()).ok());
            Err(("a message is none of JSON-RPC 2.0, or of its method".to_owned(), ErrorCode::INVALID_REQUEST, id))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood() {
        let ok = |line: &str| understand(line.as_bytes());
        assert!(ok(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap().is_some());
        assert!(ok("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"tools/list\"}\r").unwrap().is_some());
        assert!(ok("  ").unwrap().is_none());
        assert!(ok(r#"{"jsonrpc":"1.0","method":"x"}"#).unwrap().is_none());
        let cases = [
            ("{", ErrorCode::PARSE_ERROR, None),
            ("\u{0}", ErrorCode::PARSE_ERROR, None),
            ("5", ErrorCode::INVALID_REQUEST, None),
            ("[]", ErrorCode::INVALID_REQUEST, None),
            (r#"{"id":7}"#, ErrorCode::INVALID_REQUEST, Some(RequestId::Number(7))),
            (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, ErrorCode::INVALID_REQUEST, Some(RequestId::Number(7))),
            (r#"{"jsonrpc":"2.0","id":[],"method":"ping"}"#, ErrorCode::INVALID_REQUEST, None),
        ];
        for (line, code, id) in cases {
            let (_, got, from) = ok(line).unwrap_err();
            assert_eq!((got, from), (code, id), "{line}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(ok(&deep).unwrap_err().1, ErrorCode::PARSE_ERROR);
        assert_eq!(understand(b"\xff\xfe").unwrap_err().1, ErrorCode::PARSE_ERROR);
    }

    #[tokio::test]
    async fn lines_are_cut_and_bounded() {
        let long = vec![b'x'; MAX_MESSAGE + 5];
        let input = [&b"one\n\ntwo\r\n"[..], &long, b"\nthree"].concat();
        let mut reader = BufReader::new(&*input);
        let mut line = Vec::new();
        let (mut lengths, mut last) = (Vec::new(), Vec::new());
        while let Some(length) = next_line(&mut reader, &mut line).await.unwrap() {
            assert!(line.len() <= MAX_MESSAGE);
            lengths.push(length);
            last.clone_from(&line);
        }
        assert_eq!(lengths, [3, 0, 4, MAX_MESSAGE + 5, 5]);
        assert_eq!(last, b"three");
    }
}
