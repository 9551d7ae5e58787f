//! The `Basic` scheme of authentication (RFC 7617).

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;

use crate::url::Credentials;

/// Value of `Authorization` for a user and a password (RFC 7617 §2).
pub(crate) fn basic(credentials: &Credentials) -> HeaderValue {
    let joined = [&credentials.user[..], b":", &credentials.password].concat();
    let value = format!("Basic {}", BASE64_STANDARD.encode(joined));
    let mut value = HeaderValue::try_from(value).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}
