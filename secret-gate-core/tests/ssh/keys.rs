//! Keys as people paste them into a vault.

use base64ct::{Base64, Encoding as _};
use proptest::prelude::*;
use rsa::BigUint;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, LineEnding};
use secret_gate_core::SecretValue;
use secret_gate_core::ssh::{KeyError, MAX_KEY_TEXT, SshKey};

use crate::support::{ed25519, encrypted_keys, keygen, parse, run, there_is};

fn read(text: &str) -> Result<SshKey, KeyError> {
    SshKey::parse(&SecretValue::from(text))
}

fn programs() -> bool {
    there_is("ssh-keygen") && there_is("openssl")
}

/// What `ssh-keygen` says of a file: its public line without the comment, and its fingerprint.
fn by_ssh_keygen(text: &str) -> (String, String) {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let line = run("ssh-keygen", &["-y", "-f", file.to_str().unwrap()]);
    let fingerprint = run("ssh-keygen", &["-l", "-f", file.to_str().unwrap()]);
    let mut words = line.split_whitespace();
    let line = format!("{} {}", words.next().unwrap(), words.next().unwrap());
    (line, fingerprint.split_whitespace().nth(1).unwrap().to_owned())
}

#[test]
fn public_half_and_fingerprint_are_those_of_ssh_keygen() {
    if !programs() {
        return;
    }
    let mut keys = vec![
        ed25519(),
        keygen(&["-t", "rsa", "-b", "4096", "-N", ""]),
        keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"]),
        keygen(&["-t", "rsa", "-b", "2048", "-N", "", "-m", "PKCS8"]),
        keygen(&["-t", "ecdsa", "-b", "384", "-N", "", "-m", "PEM"]),
        keygen(&["-t", "ecdsa", "-b", "256", "-N", "", "-m", "PKCS8"]),
    ];
    // half of these have a number that is a byte shorter than the curve
    keys.extend((0..12).map(|_| keygen(&["-t", "ecdsa", "-b", "521", "-N", ""])));
    for text in keys {
        let key = parse(&text);
        let (line, fingerprint) = by_ssh_keygen(&text);
        assert_eq!(key.public().to_string(), line);
        assert_eq!(key.public().fingerprint(), fingerprint);
        assert_eq!(line.split_once(' ').unwrap().0, key.public().algorithm());
    }
}

#[test]
fn line_ends_indents_and_text_around_do_not_matter() {
    if !programs() {
        return;
    }
    for text in [
        ed25519(),
        run("openssl", &["genpkey", "-algorithm", "ed25519"]),
        keygen(&["-t", "rsa", "-N", "", "-m", "PEM"]),
    ] {
        let line = parse(&text).public().to_string();
        let body: String = text.lines().filter(|line| !line.starts_with("---")).collect();
        let first = text.lines().next().unwrap();
        let last = text.lines().last().unwrap();
        let ways = [
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
            text.trim_end().to_owned(),
            text.lines().map(|line| format!("    {line}  \n")).collect(),
            format!("\u{feff}\n\n{text}\n\n"),
            format!("{first}\n{body}\n{last}"),
            format!("{first} {body} {last}"),
            format!("note: the deploy key\n{text}\nssh-ed25519 AAAA…\n"),
        ];
        for way in ways {
            assert_eq!(read(&way).map(|key| key.public().to_string()), Ok(line.clone()), "{}", way.len());
        }
    }
}

#[test]
fn a_key_with_a_passphrase_is_refused_with_what_to_do() {
    if !programs() {
        return;
    }
    for (name, text) in encrypted_keys() {
        assert_eq!(text.contains("Proc-Type: 4,ENCRYPTED"), name.contains("Proc-Type"), "{name}");
        for text in [text.replace('\n', "\r\n"), text] {
            let error = read(&text).unwrap_err();
            assert_eq!(error, KeyError::Encrypted, "{name}");
            assert!(error.to_string().contains("ssh-keygen -p"));
        }
    }
}

#[test]
fn what_is_no_usable_key_is_said_to_be_what_it_is() {
    if !programs() {
        return;
    }
    let key = ed25519();
    let line = parse(&key).public().to_string();
    let rsa = |bits: &str| run("openssl", &["genrsa", "-traditional", bits]);
    assert_eq!(read("").unwrap_err(), KeyError::NotAKey);
    assert_eq!(read("hunter2").unwrap_err(), KeyError::NotAKey);
    assert_eq!(read("🔑 -----BEGIN ").unwrap_err(), KeyError::NotAKey);
    assert_eq!(read(&line).unwrap_err(), KeyError::Public);
    assert_eq!(read("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap_err(), KeyError::Public);
    assert_eq!(read(&"x".repeat(MAX_KEY_TEXT + 1)).unwrap_err(), KeyError::TooLong);
    assert_eq!(read(&rsa("1024")).unwrap_err(), KeyError::RsaSize { bits: 1024 });
    let unsupported = [
        run("openssl", &["genpkey", "-algorithm", "x25519"]),
        run("openssl", &["genpkey", "-algorithm", "ed448"]),
        run("openssl", &["ecparam", "-name", "secp256k1", "-genkey"]),
        run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"]),
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n".into(),
        "-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n".into(),
        "-----BEGIN SOME PRIVATE KEY-----\nAAAA\n-----END SOME PRIVATE KEY-----\n".into(),
    ];
    for text in unsupported {
        assert!(matches!(read(&text), Err(KeyError::Unsupported { .. })), "{:?}", read(&text).err());
    }
    // cut off, at every place
    for end in 40..key.rfind("-----").unwrap() {
        assert!(matches!(read(&key[..end]), Err(KeyError::Malformed { .. })), "{end}");
    }
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    if !programs() {
        return;
    }
    let body = |text: &str| {
        let body: String = text.lines().filter(|line| !line.starts_with("---")).collect();
        Base64::decode_vec(&body).unwrap()
    };
    let wrap = |bytes: &[u8]| {
        format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
            Base64::encode_string(bytes)
        )
    };
    let mine = body(&ed25519());
    assert!(read(&wrap(&mine)).is_ok());
    // the public half, in each of its places but the outermost, which nothing uses
    let public = mine[62..94].to_vec();
    let places: Vec<_> = (0..mine.len() - 31).filter(|at| mine[*at..*at + 32] == public).collect();
    assert_eq!(places.len(), 3);
    for at in &places[1..] {
        let mut forged = mine.clone();
        forged[at + 7] ^= 1;
        assert!(matches!(read(&wrap(&forged)), Err(KeyError::Malformed { .. })));
    }
    for arguments in [&["-t", "rsa", "-N", ""][..], &["-t", "ecdsa", "-N", ""]] {
        let text = keygen(arguments);
        let blob = parse(&text).public().to_string();
        let blob = Base64::decode_vec(blob.split_once(' ').unwrap().1).unwrap();
        let (mut forged, end) = (body(&text), &blob[blob.len() - 32..]);
        // its second place: the first is the outermost
        let at = forged.windows(32).rposition(|part| part == end).unwrap();
        forged[at + 31] ^= 2;
        assert!(matches!(read(&wrap(&forged)), Err(KeyError::Malformed { .. })), "{arguments:?}");
    }
}

#[test]
fn debug_and_errors_show_nothing_of_the_key() {
    if !programs() {
        return;
    }
    let text = ed25519();
    let key = parse(&text);
    let shown = format!("{key:?} {key:#?}");
    assert!(shown.contains(&key.public().fingerprint()));
    for line in text.lines().filter(|line| !line.starts_with("---")).skip(1) {
        assert!(!shown.contains(line));
    }
    let error = read(&text.replace("OPENSSH", "SECRET-WORD OPENSSH")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("SECRET-WORD"));
}

#[test]
fn large_rsa_keys_are_read_up_to_8192_bits() {
    if !programs() {
        return;
    }
    // of primes that need no search: one less than these powers of two
    let prime = |power: usize| (BigUint::from(1_u8) << power) - 1_u8;
    let key = |p, q| rsa::RsaPrivateKey::from_p_q(prime(p), prime(q), 65537_u32.into()).unwrap();
    let pem = |p, q| key(p, q).to_pkcs1_pem(LineEnding::LF).unwrap().to_string();
    let text = pem(3217, 4423);
    assert_eq!(parse(&text).public().to_string(), by_ssh_keygen(&text).0);
    assert_eq!(read(&pem(4253, 4423)).unwrap_err(), KeyError::RsaSize { bits: 8676 });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,400}") {
        prop_assert!(read(&text).is_err());
    }

    #[test]
    fn any_bytes_in_any_wrapping_are_read_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        label in prop::sample::select(vec!["OPENSSH ", "RSA ", "EC ", "ENCRYPTED ", "DSA ", ""]),
        magic in any::<bool>(),
    ) {
        let bytes = if magic { [&b"openssh-key-v1\0"[..], &bytes].concat() } else { bytes };
        let body = Base64::encode_string(&bytes);
        let text = format!("-----BEGIN {label}PRIVATE KEY-----\n{body}\n-----END {label}PRIVATE KEY-----\n");
        prop_assert!(read(&text).is_err());
    }
}

#[test]
fn a_key_with_any_byte_changed_is_read_or_refused() {
    if !programs() {
        return;
    }
    let keys = [
        ed25519(),
        keygen(&["-t", "ecdsa", "-N", ""]),
        run("openssl", &["genpkey", "-algorithm", "ed25519"]),
        run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        run("openssl", &["ecparam", "-name", "secp384r1", "-genkey", "-noout"]),
    ];
    for text in keys {
        let first = text.lines().next().unwrap();
        let last = text.lines().last().unwrap();
        let body: String = text.lines().filter(|line| !line.starts_with("---")).collect();
        let bytes = Base64::decode_vec(&body).unwrap();
        for at in 0..bytes.len() {
            for change in [1, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                // never a panic; where it is read, it is a key that belongs together
                let read = read(&format!("{first}\n{}\n{last}\n", Base64::encode_string(&bytes)));
                drop(read);
            }
        }
    }
}
