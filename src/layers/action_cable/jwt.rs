//! JSON Web Tokens (RFC 7519) with a shared key: HS256, HS384 and HS512, and no other algorithm. Pure: the time is an
//! argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::Hmac;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use sha2::{Sha256, Sha384, Sha512};

use super::signed::is_hmac;

/// The key of tokens that say who connects. [`Connect::token`](super::Connect::token) has an example.
#[derive(Clone)]
pub struct JwtKey(Vec<u8>);

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtError {
    /// It is no token, its signature is not right, it is of another algorithm or not valid yet, or its claims are not
    /// of the type.
    Invalid,
    /// Its time is over.
    Expired,
}

impl std::fmt::Display for JwtError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            JwtError::Invalid => "the token is not valid",
            JwtError::Expired => "the token has expired",
        })
    }
}

impl std::error::Error for JwtError {}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that have to be understood: none are.
    crit: Option<IgnoredAny>,
}

/// The claims that concern the time.
#[derive(Deserialize)]
struct Times {
    exp: Option<f64>,
    nbf: Option<f64>,
}

impl JwtKey {
    /// A key. RFC 7518 §3.2 asks for as many bytes as the hash has: 32 for HS256. With an empty one no token is valid.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        JwtKey(key.as_ref().to_vec())
    }

    /// The claims of a token, if its signature is right and its time is not over.
    ///
    /// # Errors
    ///
    /// [`JwtError`].
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Result<T, JwtError> {
        self.verify_at(token, SystemTime::now())
    }

    fn verify_at<T: DeserializeOwned>(&self, token: &str, now: SystemTime) -> Result<T, JwtError> {
        const INVALID: JwtError = JwtError::Invalid;
        let (signed, signature) = token.rsplit_once('.').ok_or(INVALID)?;
        let (header, claims) = signed.split_once('.').ok_or(INVALID)?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| INVALID);
        let (header, claims, signature) = (decoded(header)?, decoded(claims)?, decoded(signature)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| INVALID)?;
        let is_right = match header.alg.as_str() {
            _ if self.0.is_empty() || header.crit.is_some() => false,
            "HS256" => is_hmac::<Hmac<Sha256>>(&self.0, signed, &signature),
            "HS384" => is_hmac::<Hmac<Sha384>>(&self.0, signed, &signature),
            "HS512" => is_hmac::<Hmac<Sha512>>(&self.0, signed, &signature),
            _ => false,
        };
        if !is_right {
            return Err(INVALID);
        }
        let times: Times = serde_json::from_slice(&claims).map_err(|_| INVALID)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        if times.exp.is_some_and(|exp| now >= exp) {
            return Err(JwtError::Expired);
        }
        if times.nbf.is_some_and(|nbf| now < nbf) {
            return Err(INVALID);
        }
        serde_json::from_slice(&claims).map_err(|_| INVALID)
    }
}

impl std::fmt::Debug for JwtKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JwtKey").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's `hmac`: `{"ext":"{\"user\":\"ann\"}","exp":2000}` with the key `secret`.
    const CLAIMS: &str = "eyJleHQiOiJ7XCJ1c2VyXCI6XCJhbm5cIn0iLCJleHAiOjIwMDB9";
    const TOKENS: [(&str, &str); 3] = [
        ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "5FRg6-afL53znV8Q1QyUw32GeES_-iiksRwynkAwoNQ"),
        ("eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9", "NAivR6OdV3hBFnfDrVntYuKzTQteUAaqV2ETombNjSOYDyqCmz8MVeyRq1vSnBLL"),
        (
            "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9",
            "Tz-WDm5X_mI97YNFpOgVJsyAGIxcXI4yVHVc2sv94L0D10XXW6ZBeUyOXQV67LgHhZW0pqun-ILWJ84FhboThA",
        ),
    ];

    #[derive(Deserialize, Debug, PartialEq)]
    struct Claims {
        ext: String,
    }

    fn verify(token: &str, seconds: u64) -> Result<String, JwtError> {
        let now = UNIX_EPOCH + Duration::from_secs(seconds);
        JwtKey::new("secret").verify_at::<Claims>(token, now).map(|claims| claims.ext)
    }

    #[test]
    fn tokens_of_the_three_algorithms_are_verified_until_they_expire() {
        for (header, signature) in TOKENS {
            let token = format!("{header}.{CLAIMS}.{signature}");
            assert_eq!(verify(&token, 1999).as_deref(), Ok(r#"{"user":"ann"}"#));
            assert_eq!(verify(&token, 2000), Err(JwtError::Expired));
            assert!(matches!(JwtKey::new("other").verify::<Claims>(&token), Err(JwtError::Invalid)));
        }
    }

    #[test]
    fn anything_else_is_no_token() {
        let (header, signature) = TOKENS[0];
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let cases = [
            String::new(),
            "..".to_owned(),
            format!("{header}.{CLAIMS}"),
            format!("{header}.{CLAIMS}."),
            format!("{none}.{CLAIMS}."),
            format!("{none}.{CLAIMS}.{signature}"),
            format!("{header}.{CLAIMS}.{signature}="),
            format!("{header}.{CLAIMS}.{}", &signature[1..]),
            format!("{}.{CLAIMS}.{signature}", TOKENS[1].0),
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("{}")),
            format!("{header}.{CLAIMS}.{signature}.x"),
        ];
        for case in cases {
            assert_eq!(verify(&case, 0), Err(JwtError::Invalid), "{case}");
        }
    }
}
