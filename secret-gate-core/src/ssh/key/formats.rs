//! From the bytes of each format to a key pair.
//!
//! The public half is worked out anew from the private one wherever that is cheap, and checked against it elsewhere: a file
//! whose halves do not belong together would make signatures that give the private one away.

use pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use rsa::BigUint;
use sec1::EcPrivateKey;
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData, RsaKeypair};

use super::KeyError;
use super::armor::Format;
use crate::ssh::fields::Fields;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const UNKNOWN_CURVE: KeyError = KeyError::Unsupported { what: "a key on another curve" };

pub(super) fn read(format: Format, bytes: &[u8]) -> Result<KeypairData, KeyError> {
    let result = match format {
        Format::OpenSsh => openssh(bytes),
        Format::Pkcs8 => pkcs8(bytes),
        Format::Pkcs1 => pkcs1(bytes),
        Format::Sec1 => sec1(bytes, None),
    };
    result.map_err(|damage| damage.into_error(format))
}

/// Damage is named by the outer format, which only [`read`] knows.
enum Damage {
    Malformed,
    Other(KeyError),
}

impl Damage {
    fn into_error(self, format: Format) -> KeyError {
        match self {
            Self::Malformed => KeyError::Malformed { format: format.name() },
            Self::Other(error) => error,
        }
    }
}

impl From<KeyError> for Damage {
    fn from(error: KeyError) -> Self {
        Self::Other(error)
    }
}

/// OpenSSH's PROTOCOL.key. Read here, since `ssh-key` takes no ECDSA key whose number has fewer bytes than the curve, as
/// half of those on P-521 have.
fn openssh(bytes: &[u8]) -> Result<KeypairData, Damage> {
    let mut outer = Fields::new(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(Damage::Malformed)?);
    let (cipher, _kdf, _options) =
        (|| Some((outer.string()?, outer.string()?, outer.string()?)))().ok_or(Damage::Malformed)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted.into());
    }
    let (count, _public, private) =
        (|| Some((outer.uint32()?, outer.string()?, outer.string()?)))().ok_or(Damage::Malformed)?;
    if count != 1 || !outer.is_empty() {
        return Err(Damage::Malformed);
    }
    let mut fields = Fields::new(private);
    let (check, again) = (fields.uint32(), fields.uint32());
    if check.is_none() || check != again {
        return Err(Damage::Malformed);
    }
    let key = match fields.string().ok_or(Damage::Malformed)? {
        b"ssh-ed25519" => openssh_ed25519(&mut fields)?,
        b"ssh-rsa" => openssh_rsa(&mut fields)?,
        b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521" => openssh_ecdsa(&mut fields)?,
        name if name.starts_with(b"sk-") => {
            return Err(KeyError::Unsupported { what: "the stub of a hardware key" }.into());
        }
        b"ssh-dss" => return Err(KeyError::Unsupported { what: "a DSA key" }.into()),
        _ => return Err(KeyError::Unsupported { what: "this kind of key" }.into()),
    };
    let _comment = fields.string().ok_or(Damage::Malformed)?;
    let padded = fields.rest().iter().zip(1_u8..).all(|(byte, expected)| *byte == expected);
    if !padded || fields.rest().len() > 255 {
        return Err(Damage::Malformed);
    }
    Ok(key)
}

fn openssh_ed25519(fields: &mut Fields<'_>) -> Result<KeypairData, Damage> {
    let public = fields.string().ok_or(Damage::Malformed)?;
    let pair = fields.string().ok_or(Damage::Malformed)?;
    let (seed, public_again) = pair.split_first_chunk::<32>().ok_or(Damage::Malformed)?;
    let key = Ed25519Keypair::from(&ed25519_dalek::SigningKey::from_bytes(seed));
    if public != key.public.0 || public_again != key.public.0 {
        return Err(Damage::Malformed);
    }
    Ok(key.into())
}

fn openssh_ecdsa(fields: &mut Fields<'_>) -> Result<KeypairData, Damage> {
    let curve = match fields.string().ok_or(Damage::Malformed)? {
        b"nistp256" => P256,
        b"nistp384" => P384,
        b"nistp521" => P521,
        _ => return Err(UNKNOWN_CURVE.into()),
    };
    let public = fields.string().ok_or(Damage::Malformed)?;
    ecdsa(curve, fields.unsigned().ok_or(Damage::Malformed)?, Some(public))
}

fn openssh_rsa(fields: &mut Fields<'_>) -> Result<KeypairData, Damage> {
    let mut next = || fields.unsigned().ok_or(Damage::Malformed);
    let (modulus, exponent, private, _inverse, p, q) = (next()?, next()?, next()?, next()?, next()?, next()?);
    rsa(modulus, exponent, private, p, q)
}

fn pkcs8(bytes: &[u8]) -> Result<KeypairData, Damage> {
    let info = PrivateKeyInfo::try_from(bytes).map_err(|_| Damage::Malformed)?;
    match info.algorithm.oid {
        RSA => pkcs1(info.private_key),
        EC => {
            let curve = info.algorithm.parameters_oid().map_err(|_| UNKNOWN_CURVE)?;
            sec1(info.private_key, Some(curve))
        }
        ED25519 => {
            let key = ed25519_dalek::SigningKey::try_from(info).map_err(|_| Damage::Malformed)?;
            Ok(Ed25519Keypair::from(&key).into())
        }
        _ => Err(KeyError::Unsupported { what: "this kind of key" }.into()),
    }
}

fn pkcs1(bytes: &[u8]) -> Result<KeypairData, Damage> {
    let key = rsa::pkcs1::RsaPrivateKey::try_from(bytes).map_err(|_| Damage::Malformed)?;
    if key.other_prime_infos.is_some() {
        return Err(KeyError::Unsupported { what: "an RSA key of more than two primes" }.into());
    }
    rsa(
        key.modulus.as_bytes(),
        key.public_exponent.as_bytes(),
        key.private_exponent.as_bytes(),
        key.prime1.as_bytes(),
        key.prime2.as_bytes(),
    )
}

fn rsa(modulus: &[u8], exponent: &[u8], private: &[u8], p: &[u8], q: &[u8]) -> Result<KeypairData, Damage> {
    let number = BigUint::from_bytes_be;
    let bits = number(modulus).bits();
    // looked at first: checking the rest takes longer the larger the numbers are
    if !RSA_BITS.contains(&bits) {
        return Err(KeyError::RsaSize { bits }.into());
    }
    if [exponent, private, p, q].iter().any(|part| part.len() > modulus.len()) {
        return Err(Damage::Malformed);
    }
    let key = rsa::RsaPrivateKey::from_components(
        number(modulus),
        number(exponent),
        number(private),
        vec![number(p), number(q)],
    )
    .map_err(|_| Damage::Malformed)?;
    Ok(RsaKeypair::try_from(&key).map_err(|_| Damage::Malformed)?.into())
}

fn sec1(bytes: &[u8], curve: Option<ObjectIdentifier>) -> Result<KeypairData, Damage> {
    let key = EcPrivateKey::try_from(bytes).map_err(|_| Damage::Malformed)?;
    let named = key.parameters.and_then(|parameters| parameters.named_curve());
    let curve = match (curve, named) {
        (Some(outer), Some(inner)) if outer != inner => return Err(Damage::Malformed),
        (Some(curve), _) | (None, Some(curve)) => curve,
        (None, None) => return Err(UNKNOWN_CURVE.into()),
    };
    ecdsa(curve, key.private_key, key.public_key)
}

fn ecdsa(curve: ObjectIdentifier, scalar: &[u8], public: Option<&[u8]>) -> Result<KeypairData, Damage> {
    macro_rules! on_curve {
        ($curve:ident, $variant:ident, $size:literal) => {{
            use $curve::elliptic_curve::sec1::ToEncodedPoint as _;
            let scalar = padded::<$size>(scalar).ok_or(Damage::Malformed)?;
            let private = $curve::SecretKey::from_slice(&scalar[..]).map_err(|_| Damage::Malformed)?;
            let point = private.public_key();
            let is_it = |given| {
                point.to_encoded_point(false).as_bytes() == given || point.to_encoded_point(true).as_bytes() == given
            };
            if !public.is_none_or(is_it) {
                return Err(Damage::Malformed);
            }
            EcdsaKeypair::$variant { public: point.to_encoded_point(false), private: private.into() }
        }};
    }
    Ok(KeypairData::Ecdsa(match curve {
        P256 => on_curve!(p256, NistP256, 32),
        P384 => on_curve!(p384, NistP384, 48),
        P521 => on_curve!(p521, NistP521, 66),
        _ => return Err(UNKNOWN_CURVE.into()),
    }))
}

/// The number with zeros in front, as long as the curve's numbers are.
fn padded<const SIZE: usize>(number: &[u8]) -> Option<zeroize::Zeroizing<[u8; SIZE]>> {
    let mut bytes = zeroize::Zeroizing::new([0; SIZE]);
    let start = SIZE.checked_sub(number.len())?;
    bytes.get_mut(start..)?.copy_from_slice(number);
    Some(bytes)
}
