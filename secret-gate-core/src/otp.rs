//! One-time codes ([RFC 6238](https://www.rfc-editor.org/rfc/rfc6238)) from a seed.

use std::time::{SystemTime, UNIX_EPOCH};

use totp_rs::{Algorithm, Builder, Secret};

use crate::SecretValue;

/// The code that is valid now. The seed is base32 text or an `otpauth://totp/` URI
/// ([key URI format](https://github.com/google/google-authenticator/wiki/Key-Uri-Format)).
///
/// Returns `None` for a seed in neither form.
#[must_use]
pub fn current_code(seed: &SecretValue) -> Option<SecretValue> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    code_at(seed.expose(), now)
}

fn code_at(seed: &str, unix_time: u64) -> Option<SecretValue> {
    let (mut secret, mut digits, mut period, mut algorithm) = (seed, 6, 30, Algorithm::SHA1);
    if let Some(uri) = seed.strip_prefix("otpauth://totp/") {
        let (_, query) = uri.split_once('?')?;
        secret = "";
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "secret" => secret = value,
                "digits" => digits = value.parse().ok().filter(|digits| (6..=8).contains(digits))?,
                "period" => period = value.parse().ok().filter(|period| *period > 0)?,
                "algorithm" => algorithm = named_algorithm(value)?,
                _ => {}
            }
        }
    }
    let letters: zeroize::Zeroizing<String> = secret
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '='))
        .map(|c| c.to_ascii_uppercase())
        .collect::<String>()
        .into();
    if letters.is_empty() {
        return None;
    }
    let secret = Secret::try_from_base32(letters.as_str()).ok()?;
    let builder = Builder::new().with_algorithm(algorithm).with_digits(digits).with_step_duration(period);
    let totp = builder.with_secret(secret).build_noncompliant();
    Some(SecretValue::new(totp.generate(unix_time).to_string()))
}

fn named_algorithm(name: &str) -> Option<Algorithm> {
    match name.to_ascii_uppercase().as_str() {
        "SHA1" => Some(Algorithm::SHA1),
        "SHA256" => Some(Algorithm::SHA256),
        "SHA512" => Some(Algorithm::SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 6238, appendix B: the seed is the ASCII text 1234567890…, as long as the hash
    #[test]
    fn codes_of_the_rfc() {
        let seeds = [
            ("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", "SHA1", [(59, "94287082"), (1_111_111_109, "07081804")]),
            (
                "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA",
                "SHA256",
                [(59, "46119246"), (1_111_111_109, "68084774")],
            ),
        ];
        for (seed, algorithm, codes) in seeds {
            for (time, code) in codes {
                let uri = format!("otpauth://totp/x?secret={seed}&digits=8&algorithm={algorithm}&issuer=y");
                assert_eq!(code_at(&uri, time).unwrap().expose(), code);
            }
        }
        assert_eq!(code_at("gezd gnbv gy3t qojq gezd gnbv gy3t qojq", 59).unwrap().expose(), "287082");
    }

    #[test]
    fn no_code_from_what_is_no_seed() {
        for seed in
            ["", "not base32!", "otpauth://totp/x", "otpauth://totp/x?digits=6", "otpauth://totp/x?secret=A&period=0"]
        {
            assert!(code_at(seed, 59).is_none(), "{seed}");
        }
    }
}
