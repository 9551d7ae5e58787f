//! Tokens (RFC 9110 §5.6.2).

/// Returns `true` if the octet may occur in a token.
pub(crate) fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}
