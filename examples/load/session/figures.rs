//! Figures of a run: counts, latencies, errors by kind, and a sample for each second.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 300_000_000_000;

pub(super) struct Figures {
    pub(super) began: Instant,
    /// The load has reached its end: what closes now is no error.
    pub(super) is_over: bool,
    pub(super) open: usize,
    pub(super) opened: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) received_bytes: u64,
    pub(super) errors: BTreeMap<String, u64>,
    /// From the start of a connection to the first step of its user.
    pub(super) connects: Histogram<u64>,
    /// From a step's message, or from the time at which it was due, to the expected message.
    pub(super) latencies: Histogram<u64>,
    /// How late timers of the load generator itself are.
    pub(super) pauses: Histogram<u64>,
    second: Histogram<u64>,
    counted: (u64, u64),
    pub(super) samples: Vec<Sample>,
}

/// One second of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) open: usize,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, LONGEST, 3).expect("bounds in order")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
}

/// A percentile. `None` without a value.
pub(super) fn percentile(histogram: &Histogram<u64>, percentile: f64) -> Option<Duration> {
    (!histogram.is_empty()).then(|| Duration::from_nanos(histogram.value_at_percentile(percentile)))
}

impl Figures {
    pub(super) fn new() -> Self {
        Figures {
            began: Instant::now(),
            is_over: false,
            open: 0,
            opened: 0,
            sent: 0,
            received: 0,
            received_bytes: 0,
            errors: BTreeMap::new(),
            connects: histogram(),
            latencies: histogram(),
            pauses: histogram(),
            second: histogram(),
            counted: (0, 0),
            samples: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, kind: impl Into<String>) {
        if !self.is_over {
            *self.errors.entry(kind.into()).or_default() += 1;
        }
    }

    pub(super) fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn connected(&mut self, time: Duration) {
        self.opened += 1;
        record(&mut self.connects, time);
    }

    pub(super) fn answered(&mut self, latency: Duration) {
        record(&mut self.latencies, latency);
        record(&mut self.second, latency);
    }

    pub(super) fn paused(&mut self, late: Duration) {
        record(&mut self.pauses, late);
    }

    /// Ends a second.
    pub(super) fn sample(&mut self) -> Sample {
        let (sent, received) = self.counted;
        self.counted = (self.sent, self.received);
        let sample = Sample {
            open: self.open,
            sent: self.sent - sent,
            received: self.received - received,
            p50: percentile(&self.second, 50.0),
            p99: percentile(&self.second, 99.0),
        };
        self.second.reset();
        self.samples.push(sample);
        sample
    }

    /// Messages a second, sent and received: the mean of the seconds that begin and end with nine tenths of the users.
    pub(super) fn rates(&self) -> (f64, f64) {
        let most = self.samples.iter().map(|sample| sample.open).max().unwrap_or_default();
        let is_full = |sample: &Sample| sample.open * 10 >= most * 9;
        let pairs = self.samples.windows(2).filter(|pair| pair.iter().all(is_full));
        let full: Vec<&Sample> = pairs.map(|pair| &pair[1]).collect();
        let mean = |count: fn(&Sample) -> u64| {
            full.iter().map(|sample| count(sample)).sum::<u64>() as f64 / full.len().max(1) as f64
        };
        (mean(|sample| sample.sent), mean(|sample| sample.received))
    }

    /// Returns `true` if the load generator was so late itself that its latencies say little about the server.
    pub(super) fn is_overloaded(&self) -> bool {
        match (percentile(&self.pauses, 99.0), percentile(&self.latencies, 99.0)) {
            // A timer of a system at rest is late by a tenth of a millisecond.
            (Some(pause), Some(latency)) => pause * 2 > latency && pause > Duration::from_millis(1),
            _ => false,
        }
    }
}
