//! The walk: what a program does to get a secret, and what it can't do.

use secret_gate_core::client::{ClientError, RemoteGate};
use secret_gate_core::wire::{AccessRequest, FieldsRequest, SearchRequest, SecretResponse, Status};

use crate::demo::tell::Teller;
use crate::demo::vault::{DATABASE, DEPLOY_KEY, MARK, TWO_FACTOR};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::render;
use crate::ui::Ui;

/// The reason that should not convince anybody.
pub(super) const CURIOUS: &str = "just curious";

const PASSWORD: &str = "password";
/// The current code of the field `code`, instead of the seed that makes all of them.
const CODE: &str = "code?attribute=otp";

/// Goes through every step; with `must_agree`, a step that a human refuses fails.
pub(super) async fn walk(ui: Ui, gate: &RemoteGate, must_agree: bool) -> Result<(), Failure> {
    let walk = Walk { teller: Teller(ui), gate, must_agree };
    walk.search().await?;
    walk.fields().await?;
    let password = walk.password().await?;
    let code = walk.one_time_code().await?;
    walk.again(code.or(password)).await?;
    walk.denied().await
}

struct Walk<'a> {
    teller: Teller,
    gate: &'a RemoteGate,
    must_agree: bool,
}

/// Redeems a request; the demo shows what becomes of it afterwards.
struct Spent(String);

impl Walk<'_> {
    async fn search(&self) -> Result<(), Failure> {
        self.step("search", "a program looks for names; nobody is asked, no value is shown")?;
        self.call("POST /search", "{\"query\":\"data\"}")?;
        let found = self.gate.search(&SearchRequest { query: "data".to_owned(), limit: 10 }).await?;
        if found.results.first().is_none_or(|first| first.secret_name != DATABASE) {
            return Err(broken("the search found something else"));
        }
        self.answer(200, &render::search(&found))
    }

    async fn fields(&self) -> Result<(), Failure> {
        self.step("fields", "labels and types, still no value")?;
        self.call("POST /fields", &format!("{{\"secret_name\":\"{DATABASE}\"}}"))?;
        let known = self.gate.fields(&FieldsRequest { secret_name: DATABASE.to_owned(), vault: None }).await?;
        if !known.fields.iter().any(|field| field.label == PASSWORD) {
            return Err(broken("the password is not among the fields"));
        }
        self.answer(200, &render::fields(&known))
    }

    async fn password(&self) -> Result<Option<Spent>, Failure> {
        self.step("request", "it asks for one field and says why; the phone shows the human exactly this")?;
        let (token, status) = self.ask(DATABASE, PASSWORD, "migrate the orders table").await?;
        self.step("approve", "the program waits for the decision, with a token that is good for nothing until then")?;
        self.decided(status)?;
        if status != Status::Approved {
            return self.refused(&token).await;
        }
        self.step("release", "the token gets what was approved, and nothing else")?;
        let value = self.redeem(&token, DATABASE, PASSWORD).await?;
        if value.starts_with(MARK) { Ok(Some(Spent(token))) } else { Err(broken("the password is not the vault's")) }
    }

    async fn one_time_code(&self) -> Result<Option<Spent>, Failure> {
        self.step("code", "a one-time code for a log-in; the seed that makes the codes stays in the vault")?;
        let (token, status) = self.ask(TWO_FACTOR, CODE, "log in to the console").await?;
        self.decided(status)?;
        if status != Status::Approved {
            return self.refused(&token).await;
        }
        let code = self.redeem(&token, TWO_FACTOR, CODE).await?;
        let is_code = code.len() == 6 && code.chars().all(|c| c.is_ascii_digit());
        if is_code { Ok(Some(Spent(token))) } else { Err(broken("the code is none")) }
    }

    async fn again(&self, spent: Option<Spent>) -> Result<(), Failure> {
        self.step("again", "one approval, one release: the same token a second time")?;
        let Some(Spent(token)) = spent else {
            return self.remark("nothing was released, so there is nothing to try again");
        };
        self.call("GET /secret", "{token}")?;
        match self.gate.secret(&token).await {
            Err(ClientError::AlreadyUsed) => self.answer(410, "already_used"),
            Err(other) => Err(other.into()),
            Ok(_) => Err(broken("the token was redeemed twice")),
        }
    }

    async fn denied(&self) -> Result<(), Failure> {
        let advice = if self.must_agree { "" } else { " (try [d])" };
        self.step("deny", &format!("a request that a human should refuse{advice}"))?;
        let (token, status) = self.ask(DEPLOY_KEY, "private_key", CURIOUS).await?;
        self.decided(status)?;
        match status {
            Status::Approved if self.must_agree => Err(broken("nobody denied")),
            // not redeemed: one made-up key in the window is no use to anybody
            Status::Approved => {
                self.remark("you said yes, so the program could fetch the key now: the human is the gate")
            }
            _ => self.not_approved(&token).await,
        }
    }

    /// Puts a question and waits until it is decided; the approver shows it meanwhile.
    async fn ask(&self, secret: &str, field: &str, reason: &str) -> Result<(String, Status), Failure> {
        let body = format!("{{\"secret_name\":\"{secret}\",\"fields\":[\"{field}\"],\"reason\":\"{reason}\"}}");
        self.call("POST /request", &body)?;
        let question = AccessRequest {
            secret_name: Some(secret.to_owned()),
            fields: Some(vec![field.to_owned()]),
            reason: Some(reason.to_owned()),
            agent: Some(concat!("secret-gate demo ", env!("CARGO_PKG_VERSION")).to_owned()),
            ..AccessRequest::default()
        };
        let asked = self.gate.request(&question).await?;
        let status = self.gate.decision(&asked.token).await?;
        Ok((asked.token, status.status))
    }

    async fn redeem(&self, token: &str, secret: &str, field: &str) -> Result<String, Failure> {
        self.call("GET /secret", "{token}")?;
        let SecretResponse { secrets, .. } = self.gate.secret(token).await?;
        let released = secrets.and_then(|mut secrets| secrets.remove(secret)?.remove(field));
        let value = released.ok_or_else(|| broken("the answer lacks the field asked for"))?;
        // shown and kept as plain text, which a made-up value alone deserves
        let value = value.0.expose().to_owned();
        self.answer(200, &format!("{field} = {value}"))?;
        Ok(value)
    }

    /// A no where the walk would have gone on with a yes.
    async fn refused(&self, token: &str) -> Result<Option<Spent>, Failure> {
        if self.must_agree {
            return Err(broken("nobody approved"));
        }
        self.not_approved(token).await?;
        self.remark("without a yes there is no value; the walk goes on").map(|()| None)
    }

    async fn not_approved(&self, token: &str) -> Result<(), Failure> {
        self.call("GET /secret", "{token}")?;
        match self.gate.secret(token).await {
            Err(ClientError::NotApproved { .. }) => self.answer(403, "not_approved"),
            Err(other) => Err(other.into()),
            Ok(_) => Err(broken("a value was released without a yes")),
        }
    }

    fn step(&self, name: &str, explanation: &str) -> Result<(), Failure> {
        self.teller.step(name, explanation)
    }

    fn call(&self, route: &str, detail: &str) -> Result<(), Failure> {
        self.teller.call(route, detail)
    }

    fn answer(&self, status: u16, text: &str) -> Result<(), Failure> {
        self.teller.answer(status, text)
    }

    fn remark(&self, text: &str) -> Result<(), Failure> {
        self.teller.remark(text)
    }

    fn decided(&self, status: Status) -> Result<(), Failure> {
        self.call("GET /status", "{token}?wait=30s")?;
        let word = match status {
            Status::Pending => "pending",
            Status::Approved => "approved",
            Status::Denied => "denied",
            Status::Expired => "expired: nobody answered",
        };
        self.answer(200, word)
    }
}

/// A step that does not hold.
pub(super) fn broken(what: &str) -> Failure {
    Failure::new(Exit::Failed, format!("the demo shows a fault: {what}"))
}
