//! The HTTP API's JSON types, shared by server and client. Shapes only, no behaviour.
//!
//! What a request leaves out may be null as well, as older clients write it; answers hold no null.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{SecretValue, Use};

/// Body of `POST /search`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct SearchRequest {
    /// What to look for in titles, case-insensitively.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(pattern = r"\S", required = true, examples("payment")))]
    pub query: String,
    /// How many results to give at most: below 1 means 10, above 100 means 100.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(nullable, examples(10)))]
    pub limit: i64,
}

/// Older clients send null for what they leave out.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What another version of the server writes into a member that a client can do without must not cost the rest of the
/// answer, which may be a value that is handed out once.
fn unreadable_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Lenient<T> {
        Readable(T),
        Unreadable(IgnoredAny),
    }
    Ok(match Lenient::deserialize(deserializer)? {
        Lenient::Readable(value) => value,
        Lenient::Unreadable(_) => T::default(),
    })
}

/// Answer of `POST /search`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct SearchResponse {
    /// The query as it was understood.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub query: String,
    /// The matches, best first.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub results: Vec<SearchResult>,
    /// Names of vaults that could not be listed, where there are such.
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

/// One match of a search.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct SearchResult {
    /// The item's title.
    #[cfg_attr(feature = "openapi", schema(examples("Payment provider")))]
    pub secret_name: String,
    /// The vault's name.
    #[cfg_attr(feature = "openapi", schema(examples("Accounts")))]
    pub vault_name: String,
    /// How good the match is, from 0 to 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1, examples(0.9)))]
    pub score: f64,
    /// How it matches: `exact`, `prefix`, `contains` or `fuzzy`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^(exact|prefix|contains|fuzzy)$", examples("prefix")))]
    pub match_type: String,
}

/// Body of `POST /fields`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct FieldsRequest {
    /// Title or id of the item, or a secret reference.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(pattern = r"\S", required = true, examples("Payment provider")))]
    pub secret_name: String,
    /// Name or id of the vault; all vaults where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("Accounts")))]
    pub vault: Option<String>,
}

/// Answer of `POST /fields`: labels and types, never values.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct FieldsResponse {
    /// The resolved title.
    pub secret_name: String,
    /// The vault's name.
    pub vault_name: String,
    /// The fields.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub fields: Vec<FieldInfo>,
}

/// A field without its value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct FieldInfo {
    /// The name to ask for it by.
    #[cfg_attr(feature = "openapi", schema(examples("credential")))]
    pub label: String,
    /// What it holds, in the backend's word, such as `CONCEALED`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(examples("CONCEALED")))]
    pub kind: String,
}

/// Body of `POST /request`: one secret, or several under `secrets`, which wins when both are there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct AccessRequest {
    /// Title or id of the item, or a secret reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("Payment provider")))]
    pub secret_name: Option<String>,
    /// Name or id of the vault; all vaults where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("Accounts")))]
    pub vault: Option<String>,
    /// Labels of the fields asked for; the whole item where absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 200, examples(json!(["credential"]))))]
    pub fields: Option<Vec<String>>,
    /// Several secrets under one approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 20))]
    pub secrets: Option<Vec<WantedSecret>>,
    /// The requester's name for its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("ci-runner-01")))]
    pub machine: Option<String>,
    /// Why the secret is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("settle the invoices of May")))]
    pub reason: Option<String>,
    /// The program that asks, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("invoicing 1.2")))]
    pub agent: Option<String>,
    /// The folder it works in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("/srv/invoicing")))]
    pub working_dir: Option<String>,
    /// What the value is for. Without it the requester gets the value.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub intended_use: Option<Use>,
    /// How long the requester would keep the grant, such as `1h`; at most `24h`, more is cut to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = r"^(|0|([0-9]{1,6}(\.[0-9]{1,3})?(h|m|s|ms))+)$", examples("1h"))
    )]
    pub duration: Option<String>,
}

/// One of several secrets in an [`AccessRequest`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct WantedSecret {
    /// Title or id of the item, or a secret reference.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(pattern = r"\S", required = true, examples("Payment provider")))]
    pub secret_name: String,
    /// Name or id of the vault; all vaults where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// Labels of the fields asked for; the whole item where absent or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 200, examples(json!(["credential"]))))]
    pub fields: Option<Vec<String>>,
}

/// Answer of `POST /request`, given once a human can see the question.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct AccessResponse {
    /// 256 random bits in hexadecimal digits; redeems the request, once. Secret.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9a-f]{64}$"))]
    pub token: String,
    /// Names the request; not secret.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub request_id: String,
    /// Where to ask how the request stands.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true, format = "uri"))]
    pub status_url: String,
    /// Until when the request can be approved and redeemed (RFC 3339).
    #[serde(default, deserialize_with = "unreadable_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true, format = DateTime))]
    pub expires_at: String,
    /// What to do next, in a sentence.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub message: String,
}

impl fmt::Debug for AccessResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token: _, request_id, status_url: _, expires_at, message: _ } = self;
        f.debug_struct("AccessResponse")
            .field("request_id", request_id)
            .field("expires_at", expires_at)
            .finish_non_exhaustive()
    }
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "mirrors the HTTP API")]
pub enum Status {
    /// Nobody has decided yet.
    Pending,
    /// Approved; redeem it at `secret_url`.
    Approved,
    /// Denied, or taken back.
    Denied,
    /// Nobody decided in time, or the request was taken back.
    Expired,
}

/// How a request ended, where [`Status`] alone does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "mirrors the HTTP API")]
pub enum Ended {
    /// The secret was handed out.
    Released,
    /// The requester took a pending request back.
    Withdrawn,
    /// The approval was taken back.
    Revoked,
}

/// Answer of `GET /status/{token}`.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct StatusResponse {
    /// How the request stands.
    pub status: Status,
    /// The same in a sentence.
    #[serde(default, deserialize_with = "unreadable_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub message: String,
    /// Where to redeem the request; only while that is possible.
    #[serde(default, deserialize_with = "unreadable_as_default", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, format = "uri"))]
    pub secret_url: Option<String>,
    /// What the approval allows, for requests with a `use`.
    #[serde(default, deserialize_with = "unreadable_as_default", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub grant: Option<GrantInfo>,
    /// How it ended, where `status` alone does not tell.
    #[serde(default, deserialize_with = "unreadable_as_default", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub ended: Option<Ended>,
}

impl fmt::Debug for StatusResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, message: _, secret_url: _, grant, ended } = self;
        f.debug_struct("StatusResponse")
            .field("status", status)
            .field("grant", grant)
            .field("ended", ended)
            .finish_non_exhaustive()
    }
}

/// What an approval left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct GrantInfo {
    /// Names the grant; not secret.
    pub id: String,
    /// What may be done.
    #[serde(rename = "use")]
    pub allowed: Use,
    /// When it ends (RFC 3339).
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub expires_at: String,
    /// Whether it ends after one use.
    pub once: bool,
}

/// Answer of `GET /secret/{token}`: `secret` for one item without a field list, else `secrets`.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct SecretResponse {
    /// Label to value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<BTreeMap<String, String>>))]
    pub secret: Option<BTreeMap<String, Revealed>>,
    /// Name to label to value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<BTreeMap<String, BTreeMap<String, String>>>))]
    pub secrets: Option<BTreeMap<String, BTreeMap<String, Revealed>>>,
    /// What the approval allows, for requests with a `use`.
    #[serde(default, deserialize_with = "unreadable_as_default", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub grant: Option<GrantInfo>,
    /// Which items these are, for requests with a `use`; older servers don't say.
    #[serde(default, deserialize_with = "unreadable_as_default", skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ReleasedInfo>,
}

/// An item that was released.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct ReleasedInfo {
    /// What it is called in `secrets`.
    pub name: String,
    /// Its title.
    pub secret_name: String,
    /// Its vault's name.
    pub vault_name: String,
    /// Its vault's id.
    pub vault_id: String,
    /// Its id.
    pub item_id: String,
    /// The labels and types of its fields.
    pub fields: Vec<FieldInfo>,
}

/// A value on its way through the HTTP API: the one place where a secret is serialized.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct Revealed(pub SecretValue);

impl Serialize for Revealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

/// Body of `POST /watch`.
#[derive(Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct WatchRequest {
    /// The tokens of the requests to watch, at most 256.
    #[serde(default, deserialize_with = "null_as_default")]
    #[cfg_attr(feature = "openapi", schema(required = true, min_items = 1, max_items = 256))]
    pub tokens: Vec<String>,
    /// How long to hold the answer while nothing changes, such as `30s`; at most 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(pattern = r"^(0|[0-9]{1,4}ms|[1-5]?[0-9](\.[0-9]{1,3})?s|60s|1m)$", examples("30s"))
    )]
    pub wait: Option<String>,
}

impl fmt::Debug for WatchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, wait } = self;
        f.debug_struct("WatchRequest").field("tokens", &tokens.len()).field("wait", wait).finish()
    }
}

/// Answer of `POST /watch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct WatchResponse {
    /// The requests that are revoked; unknown tokens count as such.
    pub changed: Vec<WatchChange>,
}

/// A request that is revoked.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct WatchChange {
    /// Its token, as given.
    pub token: String,
    /// `revoked`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^revoked$"))]
    pub status: String,
}

impl fmt::Debug for WatchChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchChange").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Every error answer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct ErrorResponse {
    /// What went wrong, for programs.
    #[cfg_attr(feature = "openapi", schema(pattern = "^[a-z_]+$", examples("not_found")))]
    pub error: String,
    /// What went wrong, for people.
    #[cfg_attr(feature = "openapi", schema(examples("There is no such item.")))]
    pub message: String,
    /// With `not_found` for a name: items that come close, best first, at most five. Absent where a path or a token is
    /// what was not found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, max_items = 5))]
    pub suggestions: Option<Vec<Candidate>>,
    /// With `ambiguous`: the items that the name could mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// With `unknown_field`: the labels there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// An item that was perhaps meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[expect(clippy::exhaustive_structs, reason = "mirrors the HTTP API")]
pub struct Candidate {
    /// The item's title.
    pub secret_name: String,
    /// The vault's name.
    pub vault_name: String,
    /// The item's id, which names it whatever its title.
    pub id: String,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_value_is_not_lost_over_what_stands_beside_it() {
        let odd = [
            json!({"use": {"exec": "any", "db": "any"}, "expires_at": null}),
            json!({"id": "g", "use": {}, "expires_at": "soon", "once": "yes"}),
            json!("a text"),
            json!([1, {"deep": [null]}]),
            json!(null),
        ];
        for grant in odd {
            let answer = json!({"secret": {"password": "x"}, "grant": grant});
            let answer: SecretResponse = from_value(answer).unwrap();
            assert_eq!(answer.secret.unwrap()["password"].0.expose(), "x", "{grant}");
            assert_eq!(answer.grant, None, "{grant}");
            let status: StatusResponse = from_value(json!({"status": "approved", "grant": grant})).unwrap();
            assert!(status.status == Status::Approved && status.grant.is_none(), "{grant}");
        }
        let whole = json!({"id": "g", "use": {"reveal": true}, "expires_at": "2026-01-01T00:00:00Z", "once": false});
        let answer: SecretResponse = from_value(json!({"secret": {}, "grant": whole})).unwrap();
        assert_eq!(answer.grant.unwrap().id, "g");
    }

    #[test]
    fn a_new_word_for_the_end_does_not_end_a_wait() {
        let read = |ended: &str| {
            let status = json!({"status": "pending", "message": "m", "secret_url": 5, "ended": ended});
            from_value::<StatusResponse>(status).unwrap()
        };
        assert_eq!((read("snoozed").status, read("snoozed").ended), (Status::Pending, None));
        assert_eq!(read("revoked").ended, Some(Ended::Revoked));
    }

    #[test]
    fn the_token_alone_is_enough_to_go_on() {
        for answer in [
            json!({"token": "t"}),
            json!({"token": "t", "request_id": 7, "status_url": null, "expires_at": 1_700_000_000, "message": {}}),
        ] {
            assert_eq!(from_value::<AccessResponse>(answer).unwrap().token, "t");
        }
        from_value::<AccessResponse>(json!({"request_id": "r"})).unwrap_err();
    }

    #[test]
    fn null_lists_are_empty() {
        let found: SearchResponse = from_value(json!({"query": "x", "results": null, "incomplete": null})).unwrap();
        assert!(found.results.is_empty() && found.incomplete.is_empty());
        let known = json!({"secret_name": "x", "vault_name": "v", "fields": null});
        assert!(from_value::<FieldsResponse>(known).unwrap().fields.is_empty());
    }
}
