//! Parts of a request that applications read: query, path, cookies.

use std::borrow::Cow;

use crate::url::percent::decoded;

/// The pairs of a query, split at `&` and the first `=`, form-decoded: `+` is a space, and percent escapes are octets.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw_pairs(query).map(|(name, value)| (form_decoded(name), form_decoded(value)))
}

/// The pairs of a query, not decoded.
pub(super) fn raw_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The non-empty segments of a path, decoded. `/` has none.
pub(super) fn segments(path: &str) -> impl Iterator<Item = Cow<'_, str>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(percent_decoded)
}

/// The pairs of a `Cookie` line (RFC 6265 §4.2.1), without quotes around values.
pub(super) fn cookies(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some((name.trim(), quoted.unwrap_or(value)))
    })
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    match text.contains('+') {
        true => Cow::Owned(percent_decoded(&text.replace('+', " ")).into_owned()),
        false => percent_decoded(text),
    }
}

/// Invalid UTF-8 is replaced by U+FFFD.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    match text.contains('%') {
        true => Cow::Owned(String::from_utf8_lossy(&decoded(text)).into_owned()),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_decoded_as_form_data() {
        let pairs = |query| pairs(query).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        assert_eq!(
            pairs("token=a%2Bb+c&&name=%C3%A9=x&flag&discount=50%"),
            ["token=a+b c", "name=é=x", "flag=", "discount=50%"]
        );
        assert_eq!(pairs("%ff=1"), ["\u{fffd}=1"]);
        assert!(pairs("").is_empty());
    }

    #[test]
    fn path_is_split_into_decoded_segments() {
        let segments = |path| segments(path).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(segments("/rooms/a%2Fb/%C3%A9+"), ["rooms", "a/b", "é+"]);
        assert!(segments("/").is_empty());
    }

    #[test]
    fn cookie_header_is_split_into_pairs_without_quotes() {
        let cookies: Vec<_> = cookies("id=a=b; theme=\"dark\";broken; empty=").collect();
        assert_eq!(cookies, [("id", "a=b"), ("theme", "dark"), ("empty", "")]);
    }
}
