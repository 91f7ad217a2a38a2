//! `health`: what a container's runtime runs to see whether the server serves.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::support::{Environment, World};
use super::{assert_failed, run};

fn listening(address: &str, port: &str) -> Environment {
    [("BIND_ADDRESS", address), ("PORT", port)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

#[tokio::test]
async fn health_says_ok_beside_a_server_and_why_not_without_one() {
    let world = World::with(|_| {}).await;
    let port = world.server.url.rsplit(':').next().unwrap().to_owned();
    for bound in ["127.0.0.1", "0.0.0.0"] {
        let ended = run(&["health"], &listening(bound, &port)).await;
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "OK\n", ""), "{ended:?}");
    }
    world.server.kill().await;
    assert_failed(&run(&["health"], &listening("0.0.0.0", &port)).await, 1, "does not answer");
}

#[tokio::test]
async fn what_else_listens_there_is_not_taken_for_a_server() {
    for (answer, words) in [
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "answers 503"),
        ("HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n", "answers 302"),
        ("\u{1}\u{2} not HTTP\r\n\r\n", "does not answer"),
        ("", "does not answer"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let answering = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            let asked = connection.read(&mut [0; 1024]).await.unwrap();
            assert_ne!(asked, 0);
            connection.write_all(answer.as_bytes()).await.unwrap();
        });
        assert_failed(&run(&["health"], &listening("127.0.0.1", &port)).await, 1, words);
        answering.await.unwrap();
    }
}

#[tokio::test]
async fn a_port_that_can_not_be_known_or_understood_is_told() {
    assert_failed(&run(&["health"], &listening("127.0.0.1", "0")).await, 2, "PORT=0");
    assert_failed(&run(&["health"], &listening("127.0.0.1", "http")).await, 1, "PORT is malformed");
    assert_failed(&run(&["health"], &listening("localhost", "8080")).await, 1, "BIND_ADDRESS is malformed");
}
