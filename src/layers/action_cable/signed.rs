//! Signed names of streams: Rails' message verifier, with HMAC-SHA256, or the SHA-1 of older versions.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::Sha1;
use sha2::Sha256;

/// The key that signs names of streams, and the hash.
///
/// A signed name is `BASE64--HEX`: the name as JSON text in base64, and the HMAC of the base64 text in lowercase
/// hexadecimal digits, as Rails' `ActiveSupport::MessageVerifier` makes them.
///
/// ```
/// use ws_reactor::action_cable::StreamVerifier;
///
/// let verifier = StreamVerifier::new("secret");
/// let signed = verifier.sign("chat/7");
/// assert_eq!(verifier.verify(&signed).as_deref(), Some("chat/7"));
/// assert_eq!(StreamVerifier::new("other").verify(&signed), None);
/// ```
#[derive(Clone)]
pub struct StreamVerifier {
    key: Vec<u8>,
    is_sha1: bool,
}

impl StreamVerifier {
    /// A verifier with HMAC-SHA256 and this key: `Turbo.signed_stream_verifier_key` in Rails.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        StreamVerifier { key: key.as_ref().to_vec(), is_sha1: false }
    }

    /// A verifier with HMAC-SHA1, as Rails before 7.0 signs by default.
    pub fn sha1(key: impl AsRef<[u8]>) -> Self {
        StreamVerifier { key: key.as_ref().to_vec(), is_sha1: true }
    }

    /// A verifier with HMAC-SHA256 and the key that Rails derives from `secret_key_base`: by PBKDF2 with 1,000 rounds
    /// and SHA-256, the default since Rails 7.0. The salt of Turbo is `turbo/signed_stream_verifier_key`.
    pub fn from_secret_key_base(secret_key_base: &str, salt: &str) -> Self {
        StreamVerifier::new(derived::<Hmac<Sha256>>(secret_key_base, salt))
    }

    /// As [`from_secret_key_base`](Self::from_secret_key_base), where Rails derives keys with SHA-1
    /// (`hash_digest_class` of the key generator): the default before 7.0.
    pub fn from_secret_key_base_sha1(secret_key_base: &str, salt: &str) -> Self {
        StreamVerifier::new(derived::<Hmac<Sha1>>(secret_key_base, salt))
    }

    /// Signs the name of a stream.
    pub fn sign(&self, name: &str) -> String {
        let encoded = STANDARD.encode(serde_json::to_string(name).unwrap_or_default());
        let digest = if self.is_sha1 {
            hmac::<Hmac<Sha1>>(&self.key, &encoded)
        } else {
            hmac::<Hmac<Sha256>>(&self.key, &encoded)
        };
        format!("{encoded}--{digest}")
    }

    /// The name of a stream whose signature is right. `None` for everything else, also for a message with an expiry or
    /// a purpose. Takes the same time wherever the signature differs.
    pub fn verify(&self, signed: &str) -> Option<String> {
        let (encoded, digest) = signed.rsplit_once("--")?;
        let digest = unhex(digest)?;
        let is_right = match self.is_sha1 {
            true => is_hmac::<Hmac<Sha1>>(&self.key, encoded, &digest),
            false => is_hmac::<Hmac<Sha256>>(&self.key, encoded, &digest),
        };
        if !is_right {
            return None;
        }
        match serde_json::from_slice(&STANDARD.decode(encoded).ok()?).ok()? {
            Value::String(name) => Some(name),
            _ => None,
        }
    }
}

impl std::fmt::Debug for StreamVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("StreamVerifier").field("is_sha1", &self.is_sha1).finish_non_exhaustive()
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Option<M> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac)
}

fn hmac<M: Mac + KeyInit>(key: &[u8], text: &str) -> String {
    let digest = keyed::<M>(key, text.as_bytes()).map(|mac| mac.finalize().into_bytes());
    digest.iter().flatten().map(|octet| format!("{octet:02x}")).collect()
}

/// Returns `true` if a digest is the HMAC of a text. Takes the same time wherever it differs.
pub(super) fn is_hmac<M: Mac + KeyInit>(key: &[u8], text: &str, digest: &[u8]) -> bool {
    keyed::<M>(key, text.as_bytes()).is_some_and(|mac| mac.verify_slice(digest).is_ok())
}

/// Octets of lowercase hexadecimal digits.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octets = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { octets.collect() } else { None }
}

/// Rounds of the key derivation of Rails, and bytes of the key.
const ROUNDS: u32 = 1000;
const KEY_BYTES: usize = 64;

fn derived<M: Mac + KeyInit>(secret: &str, salt: &str) -> Vec<u8> {
    pbkdf2::<M>(secret.as_bytes(), salt.as_bytes(), ROUNDS)
}

/// PBKDF2. RFC 8018 §5.2.
fn pbkdf2<M: Mac + KeyInit>(password: &[u8], salt: &[u8], rounds: u32) -> Vec<u8> {
    let prf = |text: &[u8]| keyed::<M>(password, text).map_or(Vec::new(), |mac| mac.finalize().into_bytes().to_vec());
    let mut key = Vec::with_capacity(KEY_BYTES);
    for block in 1_u32.. {
        let mut last = prf(&[salt, &block.to_be_bytes()].concat());
        let mut sum = last.clone();
        for _ in 1..rounds {
            last = prf(&last);
            sum.iter_mut().zip(&last).for_each(|(sum, octet)| *sum ^= octet);
        }
        key.extend(&sum);
        if key.len() >= KEY_BYTES || sum.is_empty() {
            break;
        }
    }
    key.truncate(KEY_BYTES);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Ruby 3.1: `OpenSSL::HMAC.hexdigest("SHA256", "secret", Base64.strict_encode64("\"chat:1\""))`.
    #[test]
    fn signatures_are_those_of_rails() {
        let verifier = StreamVerifier::new("secret");
        let signed = verifier.sign("chat:1");
        let expected = "ImNoYXQ6MSI=--6bcc461dd50e77f855d1a756deff8c79c6b6a0624ce848e3fda47bd3d1eacf1d";
        assert_eq!(signed, expected);
        assert_eq!(verifier.verify(&signed).as_deref(), Some("chat:1"));
        let old = StreamVerifier::sha1("secret").sign("chat:1");
        assert_eq!(old.len(), signed.len() - 24);
        assert_eq!((verifier.verify(&old), StreamVerifier::sha1("secret").verify(&old).is_some()), (None, true));
    }

    #[test]
    fn everything_else_is_refused() {
        let verifier = StreamVerifier::new("secret");
        let signed = verifier.sign("chat:1");
        let (encoded, digest) = signed.split_once("--").unwrap();
        let sign = |json: &str| {
            let encoded = STANDARD.encode(json);
            format!("{encoded}--{}", hmac::<Hmac<Sha256>>(b"secret", &encoded))
        };
        let envelope = r#"{"_rails":{"message":"ImNoYXQ6MSI=","exp":"2020-01-01T00:00:00Z","pur":"x"}}"#;
        let cases = [
            String::new(),
            encoded.to_owned(),
            format!("{encoded}--"),
            format!("--{digest}"),
            format!("{encoded}-{digest}"),
            format!("{encoded}--{}", digest.to_uppercase()),
            format!("{encoded}--{}", &digest[..62]),
            format!("{encoded}--{digest}0"),
            format!("{encoded}--{}{}", if digest.starts_with('0') { '1' } else { '0' }, &digest[1..]),
            format!("{}--{digest}", STANDARD.encode("\"chat:2\"")),
            sign("7"),
            sign("null"),
            sign(r#"["chat:1"]"#),
            sign("chat:1"),
            sign(envelope),
        ];
        for case in cases {
            assert_eq!(verifier.verify(&case), None, "{case}");
        }
        assert_eq!(verifier.verify(&sign(r#""chat:1""#)).as_deref(), Some("chat:1"));
    }

    /// RFC 7914 §11: PBKDF2-HMAC-SHA256 with P="passwd", S="salt", c=1, dkLen=64. The others are those of Python's
    /// `hashlib.pbkdf2_hmac` with 1,000 rounds.
    #[test]
    fn derived_keys_are_those_of_the_test_vectors() {
        let hex = |octets: Vec<u8>| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        assert_eq!(
            hex(pbkdf2::<Hmac<Sha256>>(b"passwd", b"salt", 1)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
        );
        let salt = "turbo/signed_stream_verifier_key";
        assert_eq!(
            hex(StreamVerifier::from_secret_key_base("abc", salt).key),
            "3cfc4a5b6cd2ef426303cebd93c71f1c8799b1dc456bd813ffec370140cb0def\
             6665e3aac45bfc5e6904dc316f722c22ffd571982c1ee252ddca32e9b622297d"
        );
        assert_eq!(hex(StreamVerifier::from_secret_key_base_sha1("abc", salt).key), SHA1_KEY);
    }

    const SHA1_KEY: &str = "1de8f830089b2b6c22f7d5c50506abf4ba43c2895989a8ee1220c20425c690e9\
        c8f20d134b72a9dfb76fe000414ff2b64c25fc718572c838bd572096817947b7";
}
