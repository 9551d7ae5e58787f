//! `Retry-After` of a response (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// The wait that a response asks for: a number of seconds, or a date. A date counts from the `Date` of the response, or
/// from `now` if that is missing. `None` if the value cannot be read.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let value = text(header::RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let sent = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
    Some(at.duration_since(sent).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(retry_after: &'static str, date: Option<&'static str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(retry_after));
        headers.extend(date.map(|date| (header::DATE, HeaderValue::from_static(date))));
        // The example of RFC 9110 §5.6.7: Sun, 06 Nov 1994 08:49:37 GMT.
        super::retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
    }

    #[test]
    fn wait_is_a_number_of_seconds_or_the_time_until_a_date() {
        for (value, date, seconds) in [
            ("120", None, Some(120)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999", None, Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", None, Some(60)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", None, Some(0)),
            // The clock of the server counts.
            ("Sun, 06 Nov 1994 09:00:00 GMT", Some("Sun, 06 Nov 1994 08:59:50 GMT"), Some(10)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some("yesterday"), Some(60)),
        ] {
            assert_eq!(of(value, date), seconds.map(Duration::from_secs), "{value} {date:?}");
        }
    }

    #[test]
    fn value_that_cannot_be_read_is_ignored() {
        for value in ["", "soon", "-1", "1.5", "+3", "Sun, 06 Nov"] {
            assert_eq!(of(value, None), None, "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), SystemTime::now()), None);
    }
}
