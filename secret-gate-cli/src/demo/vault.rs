//! The demo's vault: every value is random and made up, and says so where it can.

use rand_core::{OsRng, RngCore};
use secret_gate_core::{Field, FieldKind, Item, MemoryBackend, SecretBackend as _, SecretValue};
use ssh_key::{Algorithm, LineEnding, PrivateKey};

use crate::exit::Exit;
use crate::failure::Failure;

/// What a made-up value starts with.
pub(super) const MARK: &str = "made-up";
/// The item with a user name and a password.
pub(super) const DATABASE: &str = "database";
/// The item with the seed of one-time passwords.
pub(super) const TWO_FACTOR: &str = "two-factor";
/// The item with an SSH key.
pub(super) const DEPLOY_KEY: &str = "deploy-key";
/// The item with an API token.
pub(super) const API_TOKEN: &str = "api-token";

const VAULT: &str = "demo";

/// One vault with four items.
pub(super) fn made_up() -> Result<MemoryBackend, Failure> {
    let api_token = Item::new("i1", VAULT, API_TOKEN).with_field(concealed("token", marked("token", 32)?));
    let database = Item::new("i2", VAULT, DATABASE)
        .with_field(text("username", marked("user", 6)?))
        // 42 bytes: in base64, a last group that is not full would be left when the value is taken out
        .with_field(concealed("password", marked("password", 25)?))
        .with_field(text("hostname", marked("host", 6)? + ".example"))
        .with_field(text("port", port()?));
    let deploy_key =
        Item::new("i3", VAULT, DEPLOY_KEY).with_field(field("private_key", FieldKind::ssh_key(), ssh_key()?));
    let two_factor =
        Item::new("i4", VAULT, TWO_FACTOR).with_field(field("code", FieldKind::one_time_password(), seed()?));

    Ok(MemoryBackend::new()
        .with_vault(VAULT, "made-up secrets")
        .with_item(api_token)
        .with_item(database)
        .with_item(deploy_key)
        .with_item(two_factor))
}

/// The public half of the vault's SSH key, as `authorized_keys` has it.
pub(super) async fn public_key(vault: &MemoryBackend) -> Result<String, Failure> {
    let fail = |problem: &dyn std::error::Error| Failure::new(Exit::Failed, format!("the vault has no key: {problem}"));
    let item = vault.item(VAULT, "i3").await.map_err(|problem| fail(&problem))?;
    let value = item.fields.first().map(|field| field.value.expose()).unwrap_or_default();
    let key = PrivateKey::from_openssh(value).and_then(|key| key.public_key().to_openssh());
    key.map_err(|problem| fail(&problem))
}

fn text(name: &str, value: String) -> Field {
    field(name, FieldKind::text(), value.into())
}

fn concealed(name: &str, value: String) -> Field {
    field(name, FieldKind::concealed(), value.into())
}

/// A field whose label is its id, too.
fn field(name: &str, kind: FieldKind, value: SecretValue) -> Field {
    Field::new(name, name, kind, value)
}

fn marked(what: &str, length: usize) -> Result<String, Failure> {
    Ok(format!("{MARK}-{what}-{}", letters(length)?.to_lowercase()))
}

fn port() -> Result<String, Failure> {
    let mut bytes = [0; 2];
    OsRng.try_fill_bytes(&mut bytes).map_err(|_| no_random_numbers())?;
    // one that no service is known by (RFC 6335: 49152 to 65535 are never assigned)
    Ok((49_152 | u16::from_be_bytes(bytes)).to_string())
}

/// 160 bits in base32, as RFC 4226 recommends for a seed.
fn seed() -> Result<SecretValue, Failure> {
    Ok(letters(32)?.into())
}

fn ssh_key() -> Result<SecretValue, Failure> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).and_then(|mut key| {
        key.set_comment(MARK);
        key.to_openssh(LineEnding::LF)
    });
    let pem = key.map_err(|problem| Failure::new(Exit::Failed, format!("can't make an SSH key: {problem}")))?;
    Ok(SecretValue::copy_of(&pem))
}

/// Random letters and digits of base32 (RFC 4648).
fn letters(length: usize) -> Result<String, Failure> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0; length];
    OsRng.try_fill_bytes(&mut bytes).map_err(|_| no_random_numbers())?;
    let letters = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 32)));
    Ok(letters.map(|letter| char::from(*letter)).collect())
}

fn no_random_numbers() -> Failure {
    Failure::new(Exit::Failed, "the operating system gives no random numbers")
}

#[cfg(test)]
mod tests {
    use secret_gate_core::otp::current_code;

    use super::*;

    async fn values() -> Vec<(String, String)> {
        let vault = made_up().unwrap();
        let mut values = Vec::new();
        for summary in vault.items(VAULT).await.unwrap() {
            let item = vault.item(VAULT, &summary.id).await.unwrap();
            values.extend(item.fields.iter().map(|field| (field.label.clone(), field.value.expose().to_owned())));
        }
        values
    }

    #[tokio::test]
    async fn values_are_usable_marked_and_new_each_time() {
        let (once, twice) = (values().await, values().await);
        assert_eq!(once.len(), 7);
        for ((label, value), (_, other)) in once.iter().zip(&twice) {
            match label.as_str() {
                "port" => assert!(value.parse::<u16>().unwrap() >= 49_152),
                "code" => assert_eq!(current_code(&value.as_str().into()).unwrap().len(), 6),
                "private_key" => assert_eq!(PrivateKey::from_openssh(value).unwrap().comment(), MARK),
                _ => assert!(value.starts_with(MARK), "{label}: {value}"),
            }
            assert!(value != other || label == "port", "{label} is the same twice");
        }
    }
}
