//! Conditions that make a run fail: `p99>5ms`, `errors>0`, `received<10000`.

use std::{fmt, str::FromStr};

use super::{figures::Figures, report::metrics, scenario::time};

/// A condition on a metric. It holds if the run is to fail.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Threshold {
    metric: String,
    comparison: Comparison,
    /// Times are in microseconds.
    limit: f64,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    More,
    Less,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['>', '<']).ok_or_else(|| format!("{text:?} has no > or <"))?;
        let comparison = if text[at..].starts_with('>') { Comparison::More } else { Comparison::Less };
        let (metric, limit) = (text[..at].trim().to_owned(), text[at + 1..].trim());
        let Some((_, is_time)) =
            metrics(&Figures::new()).into_iter().map(|m| (m.name, m.is_time)).find(|m| m.0 == metric)
        else {
            let names: Vec<&str> = metrics(&Figures::new()).iter().map(|metric| metric.name).collect();
            return Err(format!("{metric:?} is none of {}", names.join(", ")));
        };
        let limit = match is_time {
            true => time(limit)?.as_secs_f64() * 1e6,
            false => limit.parse().map_err(|_| format!("{limit:?} is no number"))?,
        };
        Ok(Threshold { metric, comparison, limit, text: text.to_owned() })
    }
}

impl Threshold {
    /// Returns `true` if the run is to fail. A metric without a value fails too: nothing was measured.
    pub(super) fn is_passed(&self, figures: &Figures) -> bool {
        let value = metrics(figures).into_iter().find(|metric| metric.name == self.metric).and_then(|m| m.value);
        value.is_none_or(|value| match self.comparison {
            Comparison::More => value > self.limit,
            Comparison::Less => value < self.limit,
        })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
