//! HTTP by hand over one connection, so that no client library is measured with the server.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Outcome;

/// A connection that stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    host: String,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Outcome<Self> {
        let host = address.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host })
    }

    /// Sends a GET and returns the answer, head and body.
    pub(crate) async fn get(&mut self, path: &str) -> Outcome<String> {
        self.call(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host)).await
    }

    /// The same for a POST.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Outcome<String> {
        let (host, length) = (&self.host, body.len());
        self.call(&format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n{body}")).await
    }

    async fn call(&mut self, request: &str) -> Outcome<String> {
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(8 * 1024);
        loop {
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err("the connection ended".into());
            }
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && body.len() >= content_length(head)?
            {
                return Ok(text.into_owned());
            }
        }
    }
}

fn content_length(head: &str) -> Outcome<usize> {
    let line =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    Ok(line.ok_or("an answer without a length")?.trim().parse()?)
}

/// One GET over a connection of its own.
pub(crate) async fn get(address: &str, path: &str) -> Outcome<String> {
    Connection::open(address).await?.get(path).await
}
