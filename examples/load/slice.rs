//! The result of one round, and its output.

use std::{
    fmt::Write,
    io,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::process::Process;

/// A kind of load, measured in rounds.
pub(crate) trait Work {
    /// Unit of the count: echoes, deliveries, handshakes.
    const UNIT: &'static str;

    /// Answers pings that arrived between rounds.
    fn settle(&mut self) -> io::Result<()>;

    /// Runs for `time`, and until no message is in flight.
    fn run(&mut self, time: Duration) -> io::Result<Slice>;
}

pub(crate) struct Slice {
    pub(crate) count: u64,
    /// Times from a message to its echo, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Received bytes, where they are counted.
    pub(crate) answered: Option<u64>,
    /// Longest time between two polls of the load generator.
    pub(crate) away: Duration,
}

impl Slice {
    pub(crate) fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds in order");
        Slice { count: 0, latencies, answered: None, away: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.latencies.saturating_record(latency.as_nanos() as u64);
    }
}

/// Longest time without an answer.
const SILENCE: Duration = Duration::from_secs(10);

/// Measures the time between polls, and the time without an answer.
pub(crate) struct Watch {
    looked: Instant,
    count: u64,
    counted: Instant,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Watch { looked: now, count: 0, counted: now }
    }

    /// Notes the end of a wait for events.
    pub(crate) fn wake(&mut self) {
        self.looked = Instant::now();
    }

    /// Notes and returns the time. A long time without an answer is an error: the server may have lost a message.
    pub(crate) fn look(&mut self, slice: &mut Slice) -> io::Result<Instant> {
        let now = Instant::now();
        slice.away = slice.away.max(now - self.looked);
        self.looked = now;
        if slice.count != self.count {
            (self.count, self.counted) = (slice.count, now);
        }
        match now - self.counted < SILENCE {
            true => Ok(now),
            false => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {SILENCE:?}"))),
        }
    }
}

/// A round with its duration and cost.
pub(crate) struct Measured {
    slice: Slice,
    seconds: f64,
    /// CPU time of the server per unit, in nanoseconds.
    cpu: Option<f64>,
}

impl Measured {
    pub(crate) fn of<W: Work>(work: &mut W, time: Duration, server: Option<&Process>) -> io::Result<Self> {
        let before = server.map(Process::cpu_nanos).transpose()?;
        let began = Instant::now();
        let slice = work.run(time)?;
        let seconds = began.elapsed().as_secs_f64();
        let after = server.map(Process::cpu_nanos).transpose()?;
        let cpu =
            before.zip(after).map(|(before, after)| after.saturating_sub(before) as f64 / slice.count.max(1) as f64);
        Ok(Measured { slice, seconds, cpu })
    }

    /// One line of JSON.
    pub(crate) fn json<W: Work>(&self) -> String {
        let mut line = format!(
            r#"{{"unit":"{}","count":{},"seconds":{:.4},"away_us":{:.1}"#,
            W::UNIT,
            self.slice.count,
            self.seconds,
            self.slice.away.as_secs_f64() * 1e6
        );
        if let Some(cpu) = self.cpu {
            let _ = write!(line, r#","cpu_ns":{cpu:.1}"#);
        }
        if let Some(answered) = self.slice.answered {
            let _ = write!(line, r#","answer_bytes":{:.1}"#, answered as f64 / self.slice.count.max(1) as f64);
        }
        if !self.slice.latencies.is_empty() {
            for (name, percentile) in [("p50", 50.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)] {
                let _ = write!(line, r#","{name}_us":{:.2}"#, self.micros(percentile));
            }
        }
        line + "}"
    }

    /// A line of text, and a histogram of the latencies.
    pub(crate) fn text<W: Work>(&self) -> String {
        let Slice { count, latencies, answered, away } = &self.slice;
        let mut text = format!("{count} {} in {:.2} s, {:.0}/s", W::UNIT, self.seconds, *count as f64 / self.seconds);
        if let Some(cpu) = self.cpu {
            let _ = write!(text, "; server CPU {:.3} µs each", cpu / 1e3);
        }
        if let Some(answered) = answered {
            let _ = write!(text, "; {:.0} bytes each", *answered as f64 / (*count).max(1) as f64);
        }
        let _ = write!(text, "; longest pause of the load {:.0} µs", away.as_secs_f64() * 1e6);
        for percentile in [50.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            if latencies.is_empty() {
                break;
            }
            let micros = self.micros(percentile);
            // Four characters per power of two.
            let bar = "#".repeat((4.0 * micros.max(1.0).log2()) as usize);
            let _ = write!(text, "\n  {percentile:>6} % {micros:>12.2} µs  {bar}");
        }
        text
    }

    fn micros(&self, percentile: f64) -> f64 {
        self.slice.latencies.value_at_percentile(percentile) as f64 / 1e3
    }
}
