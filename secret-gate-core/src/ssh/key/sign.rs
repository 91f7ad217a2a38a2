//! Signatures as SSH has them.

use rsa::BigUint;
use rsa::pkcs1v15::SigningKey;
use rsa::sha2::{Sha256, Sha512};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _, Signer as _};
use ssh_encoding::Encode as _;
use ssh_key::private::{KeypairData, RsaKeypair};

use super::KeyError;
use crate::ssh::fields::put_string;

/// Flags of a sign request, by the agent protocol.
pub(crate) const RSA_SHA2_256: u32 = 2;
pub(crate) const RSA_SHA2_512: u32 = 4;

/// The signature of `data`: its algorithm's name and its bytes.
pub(super) fn sign(key: &KeypairData, data: &[u8], flags: u32) -> Result<Vec<u8>, KeyError> {
    let mut signature = Vec::new();
    match key {
        KeypairData::Rsa(pair) => {
            let (name, bytes) = sign_rsa(pair, data, flags)?;
            put_string(&mut signature, name);
            put_string(&mut signature, &bytes);
        }
        _ => {
            let signed = key.try_sign(data).map_err(|_| KeyError::Unable)?;
            signed.encode(&mut signature).map_err(|_| KeyError::Unable)?;
        }
    }
    Ok(signature)
}

/// Made from the numbers here: `ssh-key` passes one prime twice. The randomness blinds the computation, whose time would
/// tell of the key otherwise (RUSTSEC-2023-0071).
fn sign_rsa(pair: &RsaKeypair, data: &[u8], flags: u32) -> Result<(&'static [u8], Vec<u8>), KeyError> {
    let number = |number| BigUint::try_from(number).map_err(|_| KeyError::Unable);
    let primes = vec![number(&pair.private.p)?, number(&pair.private.q)?];
    let key = rsa::RsaPrivateKey::from_components(
        number(&pair.public.n)?,
        number(&pair.public.e)?,
        number(&pair.private.d)?,
        primes,
    )
    .map_err(|_| KeyError::Unable)?;
    let mut random = rand_core::OsRng;
    if flags & RSA_SHA2_512 != 0 {
        let signed = SigningKey::<Sha512>::new(key).try_sign_with_rng(&mut random, data);
        Ok((b"rsa-sha2-512", signed.map_err(|_| KeyError::Unable)?.to_vec()))
    } else if flags & RSA_SHA2_256 != 0 {
        let signed = SigningKey::<Sha256>::new(key).try_sign_with_rng(&mut random, data);
        Ok((b"rsa-sha2-256", signed.map_err(|_| KeyError::Unable)?.to_vec()))
    } else {
        Err(KeyError::Sha1)
    }
}
