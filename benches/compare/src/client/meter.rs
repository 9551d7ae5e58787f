//! The measurement of a client.

use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use super::{ClientOptions, Work};

/// Messages that are shorter than this are marks of the feeder.
pub const SHORTEST_MESSAGE: usize = 32;

/// Digits of the time at the beginning of a paced message: nanoseconds of the monotonic clock, in decimal.
pub const TIME_DIGITS: usize = 20;

/// Begins the measurement. The messages before it warm up.
pub const BEGIN: &[u8] = b"begin";

/// Messages that a client sends before it waits for an answer, if it is measured sending.
pub const BURST: usize = 32;

/// The answer to a burst.
pub const GO: &[u8] = b"go";

/// Ends the measurement; followed by the number of messages since [`BEGIN`].
pub const END: &[u8] = b"end ";

/// What the client does after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Receives the next message.
    Receive,
    /// Sends [requests](Meter::request), as many as [`Meter::burst`] says, and receives the answer.
    Send,
    /// Ends.
    Stop,
}

/// Measures a client: CPU time of the process per message, and latencies.
pub struct Meter {
    work: Work,
    bytes: usize,
    /// Messages received or sent, round trips or connections since the beginning of the measurement.
    count: u64,
    cpu: Duration,
    /// The monotonic clock at the last request, and at the end of the warm-up and of the measurement of round trips.
    sent: u64,
    warm: u64,
    end: u64,
    request: String,
    latencies: Histogram<u64>,
    measuring: bool,
}

impl Meter {
    pub fn new(options: &ClientOptions) -> Self {
        let (now, whole) = (monotonic(), (options.seconds * 1e9) as u64);
        Self {
            work: options.work,
            bytes: options.bytes,
            count: 0,
            cpu: Duration::ZERO,
            sent: 0,
            warm: now + whole / 5,
            end: now + whole / 5 + whole,
            request: "r".repeat(options.bytes),
            latencies: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are valid"),
            measuring: false,
        }
    }

    /// Whether the client sends the first message.
    pub fn sends_first(&self) -> bool {
        matches!(self.work, Work::Rounds | Work::Sends)
    }

    /// Messages to send at a time.
    pub fn burst(&self) -> usize {
        if self.work == Work::Sends { BURST } else { 1 }
    }

    /// The next message to send. The time of the call is the beginning of a round trip.
    pub fn request(&mut self) -> &str {
        if self.work == Work::Rounds {
            self.sent = monotonic();
        }
        &self.request
    }

    /// Takes a received message.
    #[inline]
    pub fn message(&mut self, payload: &[u8]) -> Next {
        if payload.len() < SHORTEST_MESSAGE {
            return self.mark(payload);
        }
        assert_eq!(payload.len(), self.bytes, "a message has another length");
        self.count += 1;
        match self.work {
            Work::Feed => Next::Receive,
            Work::Rounds => self.echoed(payload),
            _ => self.paced(payload),
        }
    }

    fn mark(&mut self, payload: &[u8]) -> Next {
        if payload == BEGIN {
            self.begin();
            return Next::Receive;
        }
        if payload == GO {
            self.count += BURST as u64;
            return self.send_until_end(monotonic());
        }
        let sent = payload.strip_prefix(END).and_then(|count| str::from_utf8(count).ok()?.parse().ok());
        assert_eq!(sent, Some(self.count), "messages are missing");
        self.finish()
    }

    fn paced(&mut self, payload: &[u8]) -> Next {
        let sent = payload[..TIME_DIGITS].iter().fold(0, |time, digit| time * 10 + u64::from(digit - b'0'));
        if self.measuring {
            self.latencies.saturating_record(monotonic() - sent);
        }
        Next::Receive
    }

    fn echoed(&mut self, payload: &[u8]) -> Next {
        assert!(payload == self.request.as_bytes(), "the echo differs");
        let now = monotonic();
        if self.measuring {
            self.latencies.saturating_record(now - self.sent);
        }
        self.send_until_end(now)
    }

    fn send_until_end(&mut self, now: u64) -> Next {
        self.advance(now);
        if now >= self.end { self.finish() } else { Next::Send }
    }

    /// Counts a connection that was opened and ended. Returns whether to open another.
    pub fn connected(&mut self) -> bool {
        self.count += 1;
        let now = monotonic();
        self.advance(now);
        now < self.end || self.finish() != Next::Stop
    }

    fn advance(&mut self, now: u64) {
        if !self.measuring && now >= self.warm {
            self.begin();
        }
    }

    fn begin(&mut self) {
        (self.count, self.measuring, self.cpu) = (0, true, cpu());
    }

    fn finish(&mut self) -> Next {
        self.cpu = cpu() - self.cpu;
        Next::Stop
    }

    /// Prints the result.
    pub fn report(&self) {
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            r#"{{"cpu_ns": {}, "count": {}, "p50_us": {}, "p99_us": {}, "p999_us": {}}}"#,
            self.cpu.as_nanos() as f64 / self.count.max(1) as f64,
            self.count,
            micros(0.5),
            micros(0.99),
            micros(0.999),
        );
    }
}

/// Nanoseconds of the clock that all processes share.
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn cpu() -> Duration {
    Duration::from_nanos(nanoseconds(ClockId::ProcessCPUTime))
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
