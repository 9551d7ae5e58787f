//! The value of `Date`, made once per second (RFC 9110 §6.6.1).

use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

/// The date of the last response.
#[derive(Debug, Default)]
pub(crate) struct DateClock {
    /// Seconds since 1970, and the date of that second.
    last: RefCell<(u64, String)>,
}

impl DateClock {
    /// Calls `then` with the date of `now`.
    pub(crate) fn with<T>(&self, now: SystemTime, then: impl FnOnce(&str) -> T) -> T {
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut last = self.last.borrow_mut();
        if last.0 != second || last.1.is_empty() {
            *last = (second, httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second)));
        }
        then(&last.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_is_that_of_the_second() {
        let clock = DateClock::default();
        let date = |millis| clock.with(SystemTime::UNIX_EPOCH + Duration::from_millis(millis), str::to_owned);
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
