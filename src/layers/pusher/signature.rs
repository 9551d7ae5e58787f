//! Signatures of subscriptions, users, requests and webhooks: HMAC-SHA256 in hexadecimal digits. Pure.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Key and secret of an app.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) key: String,
    secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Credentials {
    pub(super) fn new(key: impl Into<String>, secret: impl Into<String>) -> Self {
        Credentials { key: key.into(), secret: secret.into() }
    }

    /// The `auth` of a client for a text: `KEY:SIGNATURE`.
    pub(super) fn auth(&self, text: &str) -> String {
        format!("{}:{}", self.key, self.sign(text))
    }

    /// The signature of a text.
    pub(super) fn sign(&self, text: &str) -> String {
        // A key of HMAC has any length.
        let mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).map(|mac| mac.chain_update(text).finalize());
        mac.map(|digest| hex(&digest.into_bytes())).unwrap_or_default()
    }

    /// Returns `true` if `auth` is the [`auth`](Self::auth) of a text. Takes the same time wherever the signature
    /// differs.
    pub(super) fn is_auth(&self, auth: &str, text: &str) -> bool {
        is_same(auth, &self.auth(text))
    }

    /// Returns `true` for the signature of a text.
    pub(super) fn is_signature(&self, signature: &str, text: &str) -> bool {
        is_same(signature, &self.sign(text))
    }
}

fn is_same(given: &str, expected: &str) -> bool {
    given.as_bytes().ct_eq(expected.as_bytes()).into()
}

/// The text that a subscription signs.
pub(super) fn of_subscription(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// The text that a sign-in signs.
pub(super) fn of_user(socket_id: &str, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// Digits of the MD5 of a body.
pub(super) fn md5_of(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Longest time between the timestamp of a request and the server's clock, in seconds.
const MAX_AGE: u64 = 600;

/// Reasons for which a request of the HTTP API is not authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unauthorized {
    Key,
    Version,
    Timestamp,
    Body,
    Signature,
}

impl Unauthorized {
    /// The text of the response.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Unauthorized::Key => "auth_key is missing, or is not the app's",
            Unauthorized::Version => "auth_version is not 1.0",
            Unauthorized::Timestamp => "auth_timestamp is missing, or more than 600 s away from the server's clock",
            Unauthorized::Body => "body_md5 is missing or wrong",
            Unauthorized::Signature => "auth_signature is missing or wrong",
        }
    }
}

/// A request of the HTTP API.
pub(super) struct SignedRequest<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Decoded names and values.
    pub(super) query: &'a [(String, String)],
    pub(super) body: &'a [u8],
}

impl SignedRequest<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The text that is signed: method, path, and the query without the signature, in lower case and sorted.
    fn text(&self) -> String {
        let signed = self.query.iter().filter(|(name, _)| name != "auth_signature");
        let mut parameters: Vec<(String, &str)> =
            signed.map(|(name, value)| (name.to_lowercase(), value.as_str())).collect();
        parameters.sort();
        let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}\n{}\n{}", self.method, self.path, pairs.join("&"))
    }

    /// Checks the request at a time, in seconds since 1970.
    pub(super) fn check(&self, credentials: &Credentials, now: u64) -> Result<(), Unauthorized> {
        if !self.parameter("auth_key").is_some_and(|key| is_same(key, &credentials.key)) {
            return Err(Unauthorized::Key);
        }
        if self.parameter("auth_version") != Some("1.0") {
            return Err(Unauthorized::Version);
        }
        let timestamp = self.parameter("auth_timestamp").and_then(|text| text.parse::<u64>().ok());
        if timestamp.is_none_or(|timestamp| timestamp.abs_diff(now) > MAX_AGE) {
            return Err(Unauthorized::Timestamp);
        }
        let is_signed_body = match self.parameter("body_md5") {
            Some(digest) => is_same(digest, &md5_of(self.body)),
            None => self.body.is_empty(),
        };
        if !is_signed_body {
            return Err(Unauthorized::Body);
        }
        match self.parameter("auth_signature") {
            Some(signature) if credentials.is_signature(signature, &self.text()) => Ok(()),
            _ => Err(Unauthorized::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of Pusher's documentation: "Generating authentication strings", "HTTP API reference".
    const KEY: &str = "278d425bdf160c739803";
    const SECRET: &str = "7ad3773142a6692b25b8";

    fn credentials() -> Credentials {
        Credentials::new(KEY, SECRET)
    }

    #[test]
    fn subscription_of_a_private_channel_is_that_of_the_documentation() {
        let text = of_subscription("1234.1234", "private-foobar", None);
        let auth = format!("{KEY}:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4");
        assert!(credentials().is_auth(&auth, &text));
        assert!(!credentials().is_auth(&auth, &of_subscription("1234.1235", "private-foobar", None)));
        assert!(!credentials().is_auth(&auth.replace(KEY, "other"), &text));
    }

    #[test]
    fn subscription_of_a_presence_channel_is_that_of_the_documentation() {
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        let text = of_subscription("1234.1234", "presence-foobar", Some(data));
        assert!(credentials().is_signature("31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80", &text));
    }

    #[test]
    fn sign_in_is_that_of_the_documentation() {
        let text = of_user("1234.1234", r#"{"id":"12345"}"#);
        assert!(credentials().is_signature("4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba", &text));
    }

    fn request<'a>(query: &'a [(String, String)], body: &'a [u8]) -> SignedRequest<'a> {
        SignedRequest { method: "POST", path: "/apps/3/events", query, body }
    }

    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const NOW: u64 = 1_353_088_179;

    fn query() -> Vec<(String, String)> {
        let signature = "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
        [
            ("auth_key", KEY),
            ("auth_timestamp", "1353088179"),
            ("auth_version", "1.0"),
            ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
            ("auth_signature", signature),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    #[test]
    fn request_is_that_of_the_documentation() {
        assert_eq!(request(&query(), BODY).check(&credentials(), NOW), Ok(()));
        assert_eq!(request(&query(), BODY).check(&credentials(), NOW + 600), Ok(()));
    }

    #[test]
    fn request_with_any_part_changed_is_not_authorized() {
        let check = |query: &[(String, String)], body, now| request(query, body).check(&credentials(), now);
        assert_eq!(check(&query(), BODY, NOW + 601), Err(Unauthorized::Timestamp));
        assert_eq!(check(&query(), BODY, NOW - 601), Err(Unauthorized::Timestamp));
        assert_eq!(check(&query(), b"{}", NOW), Err(Unauthorized::Body));
        for (name, error) in [
            ("auth_key", Unauthorized::Key),
            ("auth_timestamp", Unauthorized::Timestamp),
            ("auth_version", Unauthorized::Version),
            ("body_md5", Unauthorized::Body),
            ("auth_signature", Unauthorized::Signature),
        ] {
            let without: Vec<_> = query().into_iter().filter(|(known, _)| known != name).collect();
            assert_eq!(check(&without, BODY, NOW), Err(error), "{name}");
        }
        let mut with_more = query();
        with_more.push(("info".to_owned(), "user_count".to_owned()));
        assert_eq!(check(&with_more, BODY, NOW), Err(Unauthorized::Signature));
    }
}
