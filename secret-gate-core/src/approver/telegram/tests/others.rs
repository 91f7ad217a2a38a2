//! Others in the way: strangers, a proxy, a server that redirects, a webhook that comes back.

use std::process::Command;

use secret_gate_doubles::telegram::RawPress;
use secret_gate_doubles::{Fault, Times};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::Decision;

/// A server that is not Telegram's: answers each call with what `answer` makes of its path, and notes the path.
struct Server {
    url: String,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let paths = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&paths);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 16 * 1024];
                let count = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..count]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                lock(&seen).push(path.to_owned());
                stream.write_all(answer(path).as_bytes()).await.ok();
            }
        });
        Self { url, paths }
    }

    fn calls(&self) -> usize {
        lock(&self.paths).len()
    }
}

fn http(status: &str, header: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{header}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn approver_at(url: &str) -> TelegramApprover {
    let token = SecretValue::new(format!("123456:{}", "A".repeat(35)));
    let mut builder = TelegramApprover::builder(token, ANN).api_url(url).call_timeout(Duration::from_secs(2));
    builder.pace.first_pause = Duration::from_millis(20);
    builder.pace.conflict_pause = Duration::from_millis(200);
    builder.start().unwrap()
}

#[tokio::test]
async fn a_webhook_that_comes_back_makes_no_busy_loop_and_no_good_health() {
    let active = r#"{"ok":false,"error_code":409,"description":"Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"}"#;
    let server = Server::start(move |path| match path.to_lowercase().ends_with("/deletewebhook") {
        true => http("200 OK", "", r#"{"ok":true,"result":true}"#),
        false => http("409 Conflict", "", active),
    })
    .await;
    let approver = approver_at(&server.url);
    let mut health = approver.health.clone();
    let good = health.wait_for(|health| *health == Health::Good);
    tokio::time::timeout(Duration::from_secs(2), good).await.unwrap_err();
    assert!(approver.check().await.unwrap_err().to_string().contains("webhook"));
    assert!((4..=14).contains(&server.calls()), "{} calls in 2 s", server.calls());
}

#[tokio::test]
async fn no_redirect_takes_the_token_elsewhere() {
    let elsewhere = Server::start(|_| http("200 OK", "", r#"{"ok":true,"result":true}"#)).await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let target = elsewhere.url.clone();
        let answer = move |path: &str| http(status, &format!("location: {target}{path}\r\n"), "");
        let server = Server::start(answer).await;
        let approver = approver_at(&server.url);
        approver.ask(Arc::new(question("x")), FirstCounts::new().ballot("x")).await.unwrap_err();
        assert!(server.calls() > 0);
    }
    assert_eq!(elsewhere.calls(), 0);
}

/// Runs itself again in an environment that names a proxy where nobody listens.
#[tokio::test]
async fn no_proxy_stands_before_a_server_of_this_machine() {
    const AGAIN: &str = "SECRET_GATE_TEST_AGAIN";
    if std::env::var_os(AGAIN).is_some() {
        let scene = Scene::new().await;
        let (_posted, _) = scene.ask("asked").await;
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", &name]).env(AGAIN, "1").env_remove("NO_PROXY").env_remove("no_proxy");
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(variable, "http://127.0.0.1:9");
    }
    let output = tokio::task::spawn_blocking(move || again.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn a_poll_of_no_time_makes_no_busy_loop() {
    let scene = Scene::with(|builder| builder.poll_timeout(Duration::ZERO)).await;
    scene.telegram.wait_call(|call| call.method == "getUpdates").await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(scene.calls("getUpdates") <= 3, "{} polls in 1.5 s", scene.calls("getUpdates"));
}

#[tokio::test]
async fn strangers_hold_up_no_approver() {
    let scene = Scene::with(|builder| builder.approver_ids([42])).await;
    let (_posted, message) = scene.ask("asked").await;
    scene.telegram.faults().set("answerCallbackQuery", Fault::Delay(Duration::from_secs(20)), Times::Always);
    let eve = RawPress::new(ANN, message.message_id, "approve:asked", User::new(66, "Eve"));
    let elsewhere = RawPress::new(-5, message.message_id, "approve:asked", User::new(ANN, "Ann"));
    for _ in 0..300 {
        scene.telegram.press_raw(eve.clone());
        scene.telegram.press_raw(elsewhere.clone());
    }
    scene.telegram.press(message.message_id, "Approve", ANN).await.unwrap();
    let decided = tokio::time::timeout(Duration::from_secs(2), scene.ballots.decisions(1)).await.unwrap();
    assert_eq!(decided, [Decision::approve("Ann (@ann, 42)")]);
    // long enough for the first attempts to fail; only Ann's is repeated
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let answers = scene.calls("answerCallbackQuery");
    assert!((2..=19).contains(&answers), "{answers} attempts to tell them");
}

#[tokio::test]
async fn presses_that_wait_for_a_place_do_not_hold_up_the_end() {
    let scene = Scene::with(|builder| builder.call_timeout(Duration::from_secs(30))).await;
    scene.telegram.faults().set("answerCallbackQuery", Fault::Delay(Duration::from_secs(25)), Times::Always);
    for _ in 0..300 {
        scene.telegram.press_raw(RawPress::new(ANN, 1, "nonsense", User::new(ANN, "Ann")));
    }
    until(|| scene.calls("answerCallbackQuery") >= 256).await;
    scene.approver.stop.cancel();
    let last = scene.telegram.wait_call(|call| call.parameters["limit"] == 1).await.unwrap();
    // the first 256 are confirmed, the others left to the next server
    scene.telegram.faults().clear();
    scene.telegram.clear_calls();
    let _next = builder(&scene.telegram).start().unwrap();
    let told = || scene.telegram.answers().len();
    until(|| told() >= 44).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(told(), 44, "after {last:?}");
}
