//! The Connect double, driven with a plain HTTP client.

use std::{
    sync::Once,
    time::{Duration, Instant},
};

use reqwest::{Client, Response, StatusCode};
use secret_gate_doubles::{ConnectDouble, Fault, Times};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn client() -> Client {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().ok();
    });
    Client::builder().no_proxy().build().unwrap_or_default()
}

async fn get(connect: &ConnectDouble, path: &str) -> Result<Response, reqwest::Error> {
    let url = format!("{}{path}", connect.url());
    client().get(url).bearer_auth(connect.token()).send().await
}

async fn json(connect: &ConnectDouble, path: &str) -> Result<(u16, Value), reqwest::Error> {
    let answer = get(connect, path).await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

fn login(title: &str) -> Value {
    json!({
        "title": title,
        "category": "LOGIN",
        "sections": [{"id": "s", "label": "More"}],
        "fields": [{"id": "password", "type": "CONCEALED", "value": "hunter2"}],
    })
}

#[tokio::test]
async fn lists_are_bare_and_summaries_carry_no_values() -> TestResult {
    let connect = ConnectDouble::start().await?;
    let vault = connect.add_vault("auto", "Servers");
    let item = connect.add_item(&vault, login("db"));
    assert_eq!((vault.len(), item.len()), (26, 26));

    let (_, vaults) = json(&connect, "/v1/vaults/").await?;
    assert_eq!(vaults[0]["name"], "Servers");
    assert_eq!(vaults[0]["items"], 1);
    let (_, summaries) = json(&connect, &format!("/v1/vaults/{vault}/items")).await?;
    assert_eq!(summaries[0]["title"], "db");
    assert!(summaries[0].get("fields").is_none() && summaries[0].get("sections").is_none());
    let (_, full) = json(&connect, &format!("/v1/vaults/{vault}/items/{item}")).await?;
    assert_eq!(full["fields"][0]["value"], "hunter2");
    assert_eq!((&full["version"], &full["vault"]["id"]), (&json!(1), &json!(vault)));
    Ok(())
}

#[tokio::test]
async fn filters_are_scim_equality() -> TestResult {
    let connect = ConnectDouble::start().await?;
    let vault = connect.add_vault("", "Ops & more");
    connect.add_item(&vault, login("a db"));
    connect.add_item(&vault, login("another"));
    let items = format!("/v1/vaults/{vault}/items?filter=");

    let (_, found) = json(&connect, &format!("{items}title%20eq%20%22a%20db%22")).await?;
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    let (_, none) = json(&connect, "/v1/vaults?filter=name%20eq%20%22Ops%22").await?;
    assert_eq!(none, json!([]));
    let (_, one) = json(&connect, "/v1/vaults?filter=name+eq+%22Ops+%26+more%22").await?;
    assert_eq!(one[0]["id"], json!(vault));
    for invalid in ["title", "title%20co%20%22a%22", "title%20eq%20%22a%22b%22"] {
        assert_eq!(json(&connect, &format!("{items}{invalid}")).await?.0, 400, "{invalid}");
    }
    Ok(())
}

#[tokio::test]
async fn refusals_have_the_vendors_form() -> TestResult {
    let connect = ConnectDouble::start().await?;
    let vault = connect.add_vault("", "Servers");
    let unknown = "zzzzzzzzzzzzzzzzzzzzzzzzzz";
    for (path, status, message) in [
        ("/v1/vaults/short".to_owned(), 400, "Invalid Vault UUID".to_owned()),
        (format!("/v1/vaults/{vault}/items/short"), 400, "Invalid Item UUID".to_owned()),
        (format!("/v1/vaults/{unknown}/items"), 404, format!("vault {unknown} not found")),
        (format!("/v1/vaults/{vault}/items/{unknown}"), 404, format!("item {unknown} not found")),
    ] {
        let answer = get(&connect, &path).await?;
        assert_eq!(answer.headers()["1Password-Connect-Version"], "1.7.1");
        assert_eq!(answer.json::<Value>().await?, json!({"status": status, "message": message}));
    }

    connect.faults().forbid_vault(&vault);
    let (status, refusal) = json(&connect, &format!("/v1/vaults/{vault}/items")).await?;
    assert_eq!((status, &refusal["message"]), (403, &json!(format!("vault {vault} is not in scope"))));
    assert_eq!(json(&connect, "/v1/vaults").await?.1, json!([]));

    connect.clear_calls();
    let anonymous = client().get(format!("{}/v1/vaults", connect.url())).send().await?;
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
    let calls = connect.calls();
    assert_eq!((calls.len(), calls[0].authorized, calls[0].path.as_str()), (1, false, "/v1/vaults"));
    Ok(())
}

#[tokio::test]
async fn health_needs_no_token() -> TestResult {
    let connect = ConnectDouble::start().await?;
    connect.faults().sync_active(false);
    let heartbeat = client().get(format!("{}/heartbeat", connect.url())).send().await?;
    assert_eq!(heartbeat.text().await?, ".");
    let health = client().get(format!("{}/health", connect.url())).send().await?;
    assert_eq!(health.json::<Value>().await?["dependencies"][0], json!({"service": "sync", "status": "TOKEN_NEEDED"}));
    Ok(())
}

#[tokio::test]
async fn edits_raise_the_version_unless_silent() -> TestResult {
    let connect = ConnectDouble::start().await?;
    let (here, there) = (connect.add_vault("", "here"), connect.add_vault("", "there"));
    let item = connect.add_item(&here, login("db"));
    let path = format!("/v1/vaults/{here}/items/{item}");

    connect.update_item_silently(&item, |json| json["fields"][0]["value"] = json!("one"));
    let (_, silent) = json(&connect, &path).await?;
    assert_eq!((&silent["version"], &silent["fields"][0]["value"]), (&json!(1), &json!("one")));
    connect.update_item(&item, |json| json["fields"][0]["value"] = json!("two"));
    assert_eq!(json(&connect, &path).await?.1["version"], 2);

    let moved = connect.move_item(&item, &there);
    assert_eq!(json(&connect, &path).await?.0, 404);
    let (_, moved_item) = json(&connect, &format!("/v1/vaults/{there}/items/{moved}")).await?;
    assert_eq!(moved_item["vault"]["id"], json!(there));
    connect.remove_item(&moved);
    assert_eq!(json(&connect, &format!("/v1/vaults/{there}/items/{moved}")).await?.0, 404);
    Ok(())
}

#[tokio::test]
async fn faults_strike_as_often_as_told() -> TestResult {
    let connect = ConnectDouble::start().await?;
    let (sound, sick) = (connect.add_vault("", "sound"), connect.add_vault("", "sick"));
    let faults = connect.faults();

    faults.deny_next_with_401(1);
    assert_eq!(get(&connect, "/health").await?.status(), 200);
    assert_eq!(get(&connect, "/v1/vaults").await?.status(), 401);
    assert_eq!(get(&connect, "/v1/vaults").await?.status(), 200);

    faults.fail_vault(&sick, 503);
    assert_eq!(get(&connect, &format!("/v1/vaults/{sick}/items")).await?.status(), 503);
    assert_eq!(get(&connect, &format!("/v1/vaults/{sound}/items")).await?.status(), 200);
    faults.heal_vault(&sick);
    assert_eq!(get(&connect, &format!("/v1/vaults/{sick}/items")).await?.status(), 200);

    faults.garbage(200, Times::Next(1));
    assert!(get(&connect, "/v1/vaults").await?.json::<Value>().await.is_err_and(|error| error.is_decode()));

    faults.truncate(Times::Next(1));
    let cut = get(&connect, "/v1/vaults").await?;
    assert_eq!(cut.status(), 200);
    assert!(cut.bytes().await.is_err(), "a truncated body must not look complete");

    for fault in [Fault::Reset, Fault::Close, Fault::DropAnswer] {
        faults.set(fault, Times::Next(1));
        assert!(get(&connect, "/v1/vaults").await.is_err_and(|error| error.is_request()));
    }
    faults.fail_all(500);
    assert_eq!(get(&connect, "/v1/vaults").await?.status(), 500);
    assert_eq!(get(&connect, "/heartbeat").await?.status(), 500);
    faults.clear();
    assert_eq!(get(&connect, "/v1/vaults").await?.status(), 200);
    Ok(())
}

#[tokio::test]
async fn a_hanging_answer_comes_late_and_a_dropped_server_is_gone() -> TestResult {
    let connect = ConnectDouble::start().await?;
    let pause = Duration::from_millis(60);
    connect.faults().hang(pause);
    let started = Instant::now();
    get(&connect, "/v1/vaults").await?;
    assert!(started.elapsed() >= pause);

    connect.faults().hang(Duration::from_secs(3600));
    let url = format!("{}/v1/vaults", connect.url());
    connect.clear_calls();
    let waiting = tokio::spawn(client().get(&url).bearer_auth(connect.token()).send());
    connect.wait_call(|call| call.path == "/v1/vaults").await?;
    drop(connect);
    assert!(waiting.await?.is_err(), "the open connection must end with the server");
    assert!(client().get(&url).send().await.is_err_and(|error| error.is_connect()));
    Ok(())
}
