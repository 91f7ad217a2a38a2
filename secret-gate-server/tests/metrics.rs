//! What is counted through a life with faults: every number exactly right, nothing said that is nobody's business.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test that calls them")]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use rustix::process::{Resource, Rlimit, prlimit};
use secret_gate_doubles::{ConnectDouble, Fault, TelegramDouble, Times};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use support::exposition::{Exposition, Series, pairs};
use support::{Answer, Asked, Http, PATIENCE, World, login, server_by, wire};

/// What may stand in labels. Whoever adds a value here says that there is a fixed number of them.
const LABELS: [(&str, &[&str]); 6] = [
    ("outcome", &["asked", "undelivered", "approved", "denied", "expired", "withdrawn", "released", "revoked"]),
    ("operation", &["vaults", "items", "item", "check", "ask"]),
    ("kind", &["not_found", "forbidden", "unauthorized", "unavailable"]),
    ("method", &METHODS),
    ("version", &[env!("CARGO_PKG_VERSION")]),
    (
        "route",
        &[
            "none",
            "/request",
            "/search",
            "/metrics",
            "/ready",
            "/status/{token}",
            "/secret/{token}",
            "/request/{token}",
            "/client/{os}/{arch}",
        ],
    ),
];

const METHODS: [&str; 6] =
    ["answerCallbackQuery", "deleteWebhook", "editMessageText", "getChat", "getUpdates", "sendMessage"];

const TITLE: &str = "planted-title";
const KEY: &str = "planted-key";
const ADDRESS: &str = "203.0.113.77";

/// A server whose calls are counted here as well.
struct Counted {
    world: World,
    answers: Mutex<BTreeMap<(String, u16), u32>>,
    /// What must not be found in the metrics.
    planted: Mutex<Vec<String>>,
}

impl Counted {
    async fn call(&self, method: Method, route: &str, path: &str, body: Value) -> Answer {
        let call = self.world.http.call(method, path).bearer_auth(KEY).header("x-forwarded-for", ADDRESS);
        let answer = self.world.http.send(call.body(body.to_string())).await;
        *self.answers.lock().unwrap().entry((route.to_owned(), answer.status)).or_default() += 1;
        answer
    }

    async fn get(&self, route: &str) -> Answer {
        self.call(Method::GET, route, route, Value::Null).await
    }

    async fn request(&self, body: Value) -> Answer {
        self.call(Method::POST, "/request", "/request", body).await
    }

    async fn ask(&self) -> Asked {
        let answer = self.request(json!({"secret_name": TITLE, "machine": "planted-machine"})).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let asked = self.world.asked(&answer);
        self.planted.lock().unwrap().extend([asked.token.clone(), asked.request_id.clone()]);
        asked
    }

    async fn approved(&self) -> Asked {
        let asked = self.ask().await;
        assert_eq!(self.world.tap(&asked, "Approve").await, "Approved");
        asked
    }

    async fn redeem(&self, asked: &Asked) -> u16 {
        let path = format!("/secret/{}", asked.token);
        self.call(Method::GET, "/secret/{token}", &path, Value::Null).await.status
    }

    async fn take_back(&self, asked: &Asked) {
        let path = format!("/request/{}", asked.token);
        assert_eq!(self.call(Method::DELETE, "/request/{token}", &path, Value::Null).await.status, 204);
    }

    /// Looks for what there is not, so that the titles are listed anew.
    async fn search(&self) -> u16 {
        let body = json!({"query": "xyzzy"});
        self.call(Method::POST, "/search", "/search", body).await.status
    }

    /// Looks until the server is ready, or is not; returns what it says then.
    async fn ready(&self, status: u16) -> Value {
        let started = Instant::now();
        loop {
            let answer = self.get("/ready").await;
            if answer.status == status {
                return answer.body;
            }
            assert!(started.elapsed() < PATIENCE, "{answer:?}");
            // an answer is good for 5 s, and nothing tells when there is another
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn expired(&self, asked: &Asked) {
        let started = Instant::now();
        let path = format!("/status/{}", asked.token);
        while self.call(Method::GET, "/status/{token}", &path, Value::Null).await.body["status"] != "expired" {
            assert!(started.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn metrics(&self) -> Exposition {
        let before = self.answers.lock().unwrap().clone();
        let answer = self.get("/metrics").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4"));
        for planted in self.planted.lock().unwrap().iter() {
            assert!(!answer.text.contains(planted), "{planted} in {}", answer.text);
        }
        let metrics = Exposition::parse(&answer.text);
        for ((route, status), count) in &before {
            let labels = format!("route={route},status={status}");
            assert_same(metrics.get("secret_gate_http_answers_total", &labels), *count, &labels);
        }
        metrics
    }

    /// Looks of `/ready` that found this part unable to do its own. How many there are is a matter of time.
    fn failed_checks(&self, part: &str) -> u32 {
        let part = format!("\"part\":\"{part}\"");
        let log = self.world.server.log();
        let count = log.lines().filter(|line| line.contains("\"not ready\"") && line.contains(&part)).count();
        count.try_into().unwrap()
    }

    /// Calls to Telegram that the double answered with an error.
    fn failed_telegram_calls(&self, method: &str) -> u32 {
        let calls = self.world.telegram.calls();
        let failed =
            calls.iter().filter(|call| call.method == method && call.status.is_some_and(|status| status >= 400));
        failed.count().try_into().unwrap()
    }
}

#[track_caller]
fn assert_same(value: f64, count: u32, what: &str) {
    assert!((value - f64::from(count)).abs() < 0.5, "{what}: {value} and not {count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_is_right_after_a_life_with_faults() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("planted-name {}\n", hex::encode(Sha256::digest(KEY)))).unwrap();
    let world = World::with(|env| {
        env.insert("API_KEYS_FILE".into(), keys.to_str().unwrap().into());
        env.insert("TRUSTED_PROXIES".into(), "127.0.0.0/8".into());
        env.insert("REQUEST_TTL".into(), "15s".into());
    })
    .await;
    let item = world.add_item(TITLE, "planted-value");
    let planted = ["planted", "xyzzy", ADDRESS, "127.0.0.1", "infra", &world.vault, &item].map(str::to_owned).to_vec();
    let (answers, planted) = (Mutex::default(), Mutex::new(planted));
    let counted = Counted { world, answers, planted };
    let (connect, telegram) = (counted.world.connect.faults(), counted.world.telegram.faults());
    let started = Instant::now();

    assert_eq!(counted.ready(200).await, json!({"ready": true, "backend": "ok", "approver": "ok"}));
    let metrics = counted.metrics().await;
    let begun = metrics.get("process_start_time_seconds", "");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&begun), "{begun}");
    assert_same(metrics.get("secret_gate_build_info", concat!("version=", env!("CARGO_PKG_VERSION"))), 1, "build");
    let is_http = |(name, _): &Series| name == "secret_gate_http_answers_total";
    assert!(metrics.counters().iter().all(|(series, value)| is_http(series) || *value == 0.0), "{metrics:#?}");

    // all ends
    let (unanswered, unused) = (counted.ask().await, counted.approved().await);
    let metrics = counted.metrics().await;
    assert_same(metrics.get("secret_gate_pending_requests", ""), 1, "pending");
    assert_same(metrics.get("secret_gate_open_requests", ""), 2, "open");
    assert_eq!(counted.redeem(&counted.approved().await).await, 200);
    let denied = counted.ask().await;
    telegram.status("editMessageText", 400, 1);
    assert_eq!(counted.world.tap(&denied, "Deny").await, "Denied");
    counted.take_back(&counted.ask().await).await;
    counted.take_back(&counted.approved().await).await;
    let released = counted.approved().await;
    assert_eq!(counted.redeem(&released).await, 200);
    assert_eq!(counted.redeem(&released).await, 410);
    counted.take_back(&released).await;

    // questions that reach nobody
    telegram.status("sendMessage", 400, 1);
    assert_eq!(counted.request(json!({"secret_name": TITLE})).await.status, 502);
    let folder = "planted/".repeat(1000);
    assert_eq!(counted.request(json!({"secret_name": TITLE, "working_dir": folder})).await.status, 400);
    // calls that don't get as far
    assert_eq!(counted.request(json!({"secret_name": "planted-nothing"})).await.status, 404);
    let nowhere = "/planted/path";
    assert_eq!(counted.call(Method::PUT, "none", nowhere, Value::Null).await.status, 404);
    let client = "/client/planted/amd64";
    assert_eq!(counted.call(Method::GET, "/client/{os}/{arch}", client, Value::Null).await.status, 400);

    // Connect
    let waiting = counted.approved().await;
    connect.fail_all(500);
    assert_eq!(counted.search().await, 502);
    assert_eq!(counted.redeem(&waiting).await, 502);
    counted.take_back(&waiting).await;
    assert_eq!(counted.ready(503).await, json!({"ready": false, "backend": "unavailable", "approver": "ok"}));
    connect.clear();
    assert_eq!(counted.ready(200).await["backend"], "ok");
    connect.fail_all(401);
    assert_eq!(counted.search().await, 502);
    connect.clear();
    connect.fail_vault(&counted.world.vault, 403);
    assert_eq!(counted.search().await, 200);
    connect.heal_vault(&counted.world.vault);
    let waiting = counted.approved().await;
    counted.world.connect.remove_item(&item);
    assert_ne!(counted.redeem(&waiting).await, 200);
    counted.take_back(&waiting).await;
    counted.world.connect.add_item(&counted.world.vault, login(TITLE, "planted-value"));
    assert_eq!(counted.search().await, 200);

    // Telegram: another program polls while a server error comes; the press ends the poll that waits
    let pressed = counted.ask().await;
    telegram.set("getUpdates", Fault::Conflict, Times::Always);
    telegram.status("sendMessage", 502, 1);
    assert_eq!(counted.world.tap(&pressed, "Deny").await, "Denied");
    let undelivered = counted.request(json!({"secret_name": TITLE}));
    let unready = async {
        let failed =
            |call: &secret_gate_doubles::telegram::Call| call.method == "sendMessage" && call.status == Some(502);
        counted.world.telegram.wait_call(failed).await.unwrap();
        assert_eq!(counted.ready(503).await, json!({"ready": false, "backend": "ok", "approver": "unavailable"}));
        telegram.clear();
        assert_eq!(counted.ready(200).await["approver"], "ok");
    };
    assert_eq!(tokio::join!(undelivered, unready).0.status, 502);

    counted.expired(&unanswered).await;
    counted.expired(&unused).await;

    let mut expected: BTreeMap<Series, u32> = BTreeMap::new();
    let mut expect = |name: &str, labels: &str, count: u32| {
        expected.insert((format!("secret_gate_{name}_total"), pairs(labels)), count);
    };
    for (outcome, count) in LABELS[0].1.iter().zip([10, 3, 6, 2, 2, 1, 2, 4]) {
        expect("requests", &format!("outcome={outcome}"), count);
    }
    for operation in ["vaults", "items", "item", "check"] {
        for kind in LABELS[2].1 {
            let count = match (operation, *kind) {
                ("vaults", "unavailable" | "unauthorized")
                | ("items", "forbidden")
                | ("item", "unavailable" | "not_found") => 1,
                ("check", "unavailable") => counted.failed_checks("backend"),
                _ => 0,
            };
            expect("backend_errors", &format!("operation={operation},kind={kind}"), count);
        }
    }
    expect("approver_errors", "operation=ask", 2);
    expect("approver_errors", "operation=check", counted.failed_checks("approver"));
    assert!(counted.failed_checks("approver") >= 1 && counted.failed_checks("backend") >= 1);
    expect("audit_errors", "", 0);
    assert_eq!(
        (counted.failed_telegram_calls("sendMessage"), counted.failed_telegram_calls("editMessageText")),
        (2, 1)
    );
    assert!(counted.failed_telegram_calls("getUpdates") >= 1);
    for method in METHODS {
        expect("telegram_errors", &format!("method={method}"), counted.failed_telegram_calls(method));
    }
    for ((route, status), count) in counted.answers.lock().unwrap().iter() {
        expect("http_answers", &format!("route={route},status={status}"), *count);
    }
    let metrics = counted.metrics().await;
    let found: BTreeMap<Series, f64> = metrics.counters();
    let expected: BTreeMap<Series, f64> = expected.into_iter().map(|(at, count)| (at, f64::from(count))).collect();
    assert_eq!(found, expected);

    assert_same(metrics.get("secret_gate_pending_requests", ""), 0, "pending");
    assert_same(metrics.get("secret_gate_open_requests", ""), 0, "open");
    assert_same(metrics.get("secret_gate_decision_seconds_count", ""), 8, "decisions");
    assert_same(metrics.get("secret_gate_decision_seconds_bucket", "le=900"), 8, "decisions");
    assert_same(metrics.get("secret_gate_release_seconds_count", ""), 2, "releases");
    assert_same(metrics.get("secret_gate_release_seconds_bucket", "le=300"), 2, "releases");
    for (name, most) in [("decision", 8.0), ("release", 2.0)] {
        let sum = metrics.get(&format!("secret_gate_{name}_seconds_sum"), "");
        assert!(0.0 < sum && sum < most * started.elapsed().as_secs_f64(), "{name}: {sum}");
    }
    for (name, labels) in metrics.samples.keys() {
        for (label, value) in labels {
            let is_known = match label.as_str() {
                "le" => value.parse::<f64>().is_ok(),
                "status" => value.len() == 3 && value.parse::<u16>().is_ok(),
                label => LABELS.iter().any(|(known, values)| *known == label && values.contains(&value.as_str())),
            };
            assert!(is_known, "{name}: {label}={value}");
        }
    }
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open() {
    let world = World::start().await;
    let count = async || Exposition::parse(&world.http.get("/metrics").await.text).get("secret_gate_connections", "");
    assert_same(count().await, 1, "that of the scrape");
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = wire(&world.server.url, "/health").await;
        let mut start = [0; 12];
        wire.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        wires.push(wire);
    }
    assert_same(count().await, 4, "and three");
    wires.truncate(1);
    let started = Instant::now();
    while count().await > 2.0 {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_same(count().await, 2, "and one");
}

#[tokio::test]
async fn looks_of_callers_who_leave_cost_one() {
    let world = World::start().await;
    world.connect.clear_calls();
    world.connect.faults().latency(Duration::from_millis(500));
    for _ in 0..20 {
        let mut wire = wire(&world.server.url, "/ready").await;
        // nothing comes: the look takes longer
        tokio::time::timeout(Duration::from_millis(20), wire.read_u8()).await.unwrap_err();
    }
    let answer = world.http.get("/ready").await;
    assert_eq!((answer.status, &answer.body["backend"]), (200, &json!("ok")), "{answer:?}");
    // one look lists the vaults and asks how Connect is
    let calls = world.connect.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
}

#[tokio::test]
async fn lines_that_the_audit_log_can_not_take_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit").to_str().unwrap().to_owned();
    let (connect, telegram) = (ConnectDouble::start().await.unwrap(), TelegramDouble::start().await.unwrap());
    connect.add_item(&connect.add_vault("", "infra"), login("db", "value"));
    // a write beyond the limit is then an error and not the end
    let ignoring = ["sh", "-c", "trap '' XFSZ; exec \"$SERVER\""];
    let server = server_by(&ignoring, &connect, &telegram, |env| {
        env.insert("AUDIT_LOG".to_owned(), path);
        env.insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    })
    .await;
    let http = Http::new(&server.url);
    let counts = async || {
        let metrics = Exposition::parse(&http.get("/metrics").await.text);
        let outcome = |name: &str| metrics.get("secret_gate_requests_total", &format!("outcome={name}"));
        [metrics.get("secret_gate_audit_errors_total", ""), outcome("undelivered"), outcome("asked")]
    };
    let room = |current| prlimit(Some(server.pid()), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    assert_eq!(counts().await, [0.0, 0.0, 0.0]);
    room(Some(0));
    for count in [1.0, 2.0] {
        assert_eq!(http.post("/request", &json!({"secret_name": "db"})).await.status, 500);
        assert_eq!(counts().await, [count, count, 0.0]);
    }
    room(None);
    assert_eq!(http.post("/request", &json!({"secret_name": "db"})).await.status, 202);
    assert_eq!(counts().await, [2.0, 2.0, 1.0]);
}
