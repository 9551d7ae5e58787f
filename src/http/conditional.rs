//! Conditional requests: whether a stored response of the client is still valid (RFC 9110 §13).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, header};

/// Validators of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Validators {
    /// With quotes, and `W/` in front if it is weak.
    pub(crate) etag: String,
    pub(crate) modified: Option<SystemTime>,
}

/// Outcome of the conditions of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Send the representation. `ranged`: a `Range` header counts.
    Send { ranged: bool },
    /// 304: the client has it.
    NotModified,
    /// 412: the client has another one, and asked for that.
    Failed,
}

impl Validators {
    /// Evaluates the conditions of a `GET` or `HEAD`, in the order of RFC 9110 §13.2.2.
    pub(crate) fn evaluate(&self, headers: &HeaderMap) -> Outcome {
        match self.lists(headers, &header::IF_MATCH, Comparison::Strong) {
            Some(false) => return Outcome::Failed,
            Some(true) => {}
            None if self.is_modified_since(headers, &header::IF_UNMODIFIED_SINCE) == Some(true) => {
                return Outcome::Failed;
            }
            None => {}
        }
        match self.lists(headers, &header::IF_NONE_MATCH, Comparison::Weak) {
            Some(true) => return Outcome::NotModified,
            Some(false) => {}
            None if self.is_modified_since(headers, &header::IF_MODIFIED_SINCE) == Some(false) => {
                return Outcome::NotModified;
            }
            None => {}
        }
        Outcome::Send { ranged: self.allows_range(headers) }
    }

    /// Looks for this entity tag in the list of a header. `None` without the header.
    fn lists(&self, headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> Option<bool> {
        let mut lines = headers.get_all(name).iter().peekable();
        lines.peek()?;
        Some(lines.any(|line| {
            let value = line.as_bytes().trim_ascii();
            value == b"*" || entity_tags(value).any(|tag| comparison.matches(tag, self.etag.as_bytes()))
        }))
    }

    /// Compares the time of modification with the date of a header: `true` if the former is later. `None` if either is
    /// missing or malformed.
    fn is_modified_since(&self, headers: &HeaderMap, name: &HeaderName) -> Option<bool> {
        let since = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
        Some(whole_seconds(self.modified?) > since)
    }

    /// A range counts only for the representation that the client has a part of (RFC 9110 §13.1.5).
    fn allows_range(&self, headers: &HeaderMap) -> bool {
        let Some(condition) = headers.get(header::IF_RANGE) else { return true };
        let condition = condition.as_bytes().trim_ascii();
        if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
            return Comparison::Strong.matches(condition, self.etag.as_bytes());
        }
        let date = str::from_utf8(condition).ok().and_then(|date| httpdate::parse_http_date(date).ok());
        date.is_some() && date == self.modified.map(whole_seconds)
    }
}

/// Comparison of entity tags (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy)]
enum Comparison {
    Strong,
    Weak,
}

impl Comparison {
    fn matches(self, one: &[u8], other: &[u8]) -> bool {
        let opaque = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        match self {
            Comparison::Strong => one == other && !one.starts_with(b"W/"),
            Comparison::Weak => opaque(one) == opaque(other),
        }
    }
}

/// The entity tags of a list. A tag may contain a comma.
fn entity_tags(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        while let [b',' | b' ' | b'\t', rest @ ..] = list {
            list = rest;
        }
        let start = if list.starts_with(b"W/") { 2 } else { 0 };
        let quoted = list.get(start..)?.strip_prefix(b"\"")?;
        let end = start + 1 + quoted.iter().position(|octet| *octet == b'"')? + 1;
        let (tag, rest) = list.split_at(end);
        list = rest;
        Some(tag)
    })
}

/// A time without its fraction, as a date of HTTP has it.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Modified on Sun, 06 Nov 1994 08:49:37.5 GMT.
    fn validators(etag: &str) -> Validators {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        Validators { etag: etag.to_owned(), modified: Some(modified) }
    }

    fn outcome(etag: &str, lines: &[(&'static str, &'static str)]) -> Outcome {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        validators(etag).evaluate(&headers)
    }

    const WHOLE: Outcome = Outcome::Send { ranged: true };
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn if_none_match_compares_weakly_and_overrides_the_date() {
        for (value, expected) in [
            ("\"a\"", Outcome::NotModified),
            ("W/\"a\"", Outcome::NotModified),
            ("\"x\", \"a\"", Outcome::NotModified),
            ("\"x,y\",\"a\"", Outcome::NotModified),
            ("*", Outcome::NotModified),
            ("\"b\"", WHOLE),
            ("a", WHOLE),
            ("\"a", WHOLE),
            ("", WHOLE),
        ] {
            assert_eq!(outcome("\"a\"", &[("if-none-match", value)]), expected, "{value}");
            assert_eq!(outcome("W/\"a\"", &[("if-none-match", value)]), expected, "{value}");
        }
        assert_eq!(outcome("\"a\"", &[("if-none-match", "\"b\""), ("if-modified-since", SAME)]), WHOLE);
        let two_lines = [("if-none-match", "\"b\""), ("if-none-match", "\"a\"")];
        assert_eq!(outcome("\"a\"", &two_lines), Outcome::NotModified);
    }

    #[test]
    fn if_modified_since_compares_whole_seconds() {
        assert_eq!(outcome("\"a\"", &[("if-modified-since", SAME)]), Outcome::NotModified);
        assert_eq!(outcome("\"a\"", &[("if-modified-since", BEFORE)]), WHOLE);
        assert_eq!(outcome("\"a\"", &[("if-modified-since", "yesterday")]), WHOLE);
    }

    #[test]
    fn if_match_compares_strongly() {
        assert_eq!(outcome("\"a\"", &[("if-match", "\"a\"")]), WHOLE);
        assert_eq!(outcome("\"a\"", &[("if-match", "*")]), WHOLE);
        assert_eq!(outcome("\"a\"", &[("if-match", "\"b\"")]), Outcome::Failed);
        assert_eq!(outcome("W/\"a\"", &[("if-match", "W/\"a\"")]), Outcome::Failed);
        assert_eq!(outcome("\"a\"", &[("if-unmodified-since", BEFORE)]), Outcome::Failed);
        assert_eq!(outcome("\"a\"", &[("if-unmodified-since", SAME)]), WHOLE);
    }

    #[test]
    fn range_counts_only_for_the_representation_that_the_client_has() {
        let ranged = |etag: &str, value| outcome(etag, &[("if-range", value)]) == WHOLE;
        assert!(ranged("\"a\"", "\"a\"") && ranged("\"a\"", SAME));
        assert!(!ranged("\"a\"", "\"b\"") && !ranged("\"a\"", BEFORE) && !ranged("\"a\"", "nonsense"));
        assert!(!ranged("W/\"a\"", "W/\"a\""), "a weak validator does not name the bytes");
    }
}
