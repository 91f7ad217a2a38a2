//! JSON-RPC over standard input and output, a message a line.
//!
//! What can't be understood is answered, with its id where it has one, since a client would wait for it otherwise.

use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// How many messages may wait to be heard.
const WAITING: usize = 16;

/// How many answers may wait to be read by the client, before it is heard no further.
const UNREAD: usize = 64;

type Incoming = RxJsonRpcMessage<RoleServer>;
type Writer<W> = Arc<Mutex<W>>;

/// Messages that are lines.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    incoming: mpsc::Receiver<Incoming>,
    writer: Writer<W>,
    /// How many messages are not written yet.
    unread: watch::Sender<usize>,
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
        Self { incoming, writer, unread: watch::Sender::new(0) }
    }
}

impl<W: AsyncWrite + Send + Unpin + 'static> Transport<RoleServer> for Lines<W> {
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let writer = Arc::clone(&self.writer);
        let unread = Unread::new(&self.unread);
        async move {
            let written = write(&writer, &item).await;
            drop(unread);
            written
        }
    }

    async fn receive(&mut self) -> Option<Incoming> {
        // for a client that writes and does not read, answers would pile up without end
        self.unread.subscribe().wait_for(|unread| *unread < UNREAD).await.ok()?;
        self.incoming.recv().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.incoming.close();
        Ok(())
    }
}

/// A message that is not written yet.
struct Unread(watch::Sender<usize>);

impl Unread {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
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
    let mut begun = false;
    while let Some(length) = next_line(&mut reader, &mut line).await? {
        let heard = if length > MAX_MESSAGE {
            let problem = format!("a message is longer than {MAX_MESSAGE} bytes");
            vec![Err((problem, ErrorCode::INVALID_REQUEST, None))]
        } else {
            understand(&line)
        };
        for heard in heard {
            match heard {
                Ok(message) => {
                    begun |= begins(&message);
                    // the service would take what comes too early for the end
                    let is_heard = begun || matches!(message, JsonRpcMessage::Request(_));
                    if is_heard && messages.send(message).await.is_err() {
                        return Ok(());
                    }
                }
                Err((problem, code, id)) => {
                    let error = ErrorData::new(code, problem, None);
                    write(answers, &TxJsonRpcMessage::<RoleServer>::error(error, id)).await?;
                }
            }
        }
    }
    Ok(())
}

/// Whether this begins a session: a request that asks for more than whether somebody is there, and who.
fn begins(message: &Incoming) -> bool {
    let JsonRpcMessage::Request(request) = message else { return false };
    !["ping", "server/discover"].contains(&request.request.method())
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

/// The messages in a line; none where there is nothing to answer.
fn understand(line: &[u8]) -> Vec<Result<Incoming, Problem>> {
    let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Vec::new();
    }
    if let Ok(message) = serde_json::from_slice(line) {
        return vec![Ok(message)];
    }
    // the texts of the parser's errors could quote the line, which can be long
    match serde_json::from_slice(line) {
        Err(_) => vec![Err(("a message is not JSON".to_owned(), ErrorCode::PARSE_ERROR, None))],
        // revision 2025-03-26 has batches
        Ok(Value::Array(batch)) if !batch.is_empty() => batch.into_iter().filter_map(one).collect(),
        Ok(value) => one(value).into_iter().collect(),
    }
}

/// The message that a value is; none where it is a notification that nobody knows.
fn one(value: Value) -> Option<Result<Incoming, Problem>> {
    let is_notification =
        value.get("method").is_some_and(Value::is_string) && value.get("id").is_none_or(Value::is_null);
    let id = value.get("id").and_then(|id| RequestId::deserialize(id).ok());
    match serde_json::from_value(value) {
        Ok(message) => Some(Ok(message)),
        // these are never answered
        Err(_) if is_notification => None,
        Err(_) => {
            let problem = "a message is none of JSON-RPC 2.0, or of its method".to_owned();
            Some(Err((problem, ErrorCode::INVALID_REQUEST, id)))
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_is_understood() {
        let count = |line: &str| {
            let heard = understand(line.as_bytes());
            assert!(heard.iter().all(Result::is_ok), "{line}");
            heard.len()
        };
        assert_eq!(count(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), 1);
        assert_eq!(count("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"tools/list\"}\r"), 1);
        assert_eq!(count("  "), 0);
        assert_eq!(count(r#"{"jsonrpc":"1.0","method":"x"}"#), 0);
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        assert_eq!(count(&format!(r#"[{ping}, {{"jsonrpc":"1.0","method":"x"}}, {ping}]"#)), 2);
        let cases = [
            ("{", ErrorCode::PARSE_ERROR, None),
            ("\u{0}", ErrorCode::PARSE_ERROR, None),
            ("5", ErrorCode::INVALID_REQUEST, None),
            ("[]", ErrorCode::INVALID_REQUEST, None),
            ("[[]]", ErrorCode::INVALID_REQUEST, None),
            (r#"{"id":7}"#, ErrorCode::INVALID_REQUEST, Some(RequestId::Number(7))),
            (r#"[{"id":7}]"#, ErrorCode::INVALID_REQUEST, Some(RequestId::Number(7))),
            (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, ErrorCode::INVALID_REQUEST, Some(RequestId::Number(7))),
            (r#"{"jsonrpc":"2.0","id":[],"method":"ping"}"#, ErrorCode::INVALID_REQUEST, None),
        ];
        for (line, code, id) in cases {
            let (_, got, from) = problem(line.as_bytes());
            assert_eq!((got, from), (code, id), "{line}");
        }
        assert_eq!(problem("[".repeat(100_000).as_bytes()).1, ErrorCode::PARSE_ERROR);
        assert_eq!(problem(b"\xff\xfe").1, ErrorCode::PARSE_ERROR);
    }

    fn problem(line: &[u8]) -> Problem {
        let mut heard = understand(line);
        assert_eq!(heard.len(), 1, "{}", String::from_utf8_lossy(line));
        heard.remove(0).unwrap_err()
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_heard_no_further() {
        let (mut client, ours) = tokio::io::duplex(1024 * 1024);
        let (theirs, mut answers) = tokio::io::duplex(64);
        let mut lines = Lines::new(ours, theirs, CancellationToken::new());
        let ping = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
        client.write_all(&ping.repeat(UNREAD + 8)).await.unwrap();
        let mut sending = tokio::task::JoinSet::new();
        for _ in 0..UNREAD {
            assert!(lines.receive().await.is_some());
            let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, "x".repeat(64), None);
            sending.spawn(lines.send(TxJsonRpcMessage::<RoleServer>::error(error, None)));
        }
        assert!(lines.receive().now_or_never().is_none());
        // and again once it reads
        let reading = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
        assert!(lines.receive().await.is_some());
        reading.abort();
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
