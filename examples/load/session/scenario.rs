//! Scenarios, the steps of each user: read from a TOML file, or made of options.

use std::{fs, time::Duration};

use toml::{Table, Value};

use super::dialect::Dialect;

/// The plan of all users.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) url: String,
    pub(super) dialect: Dialect,
    pub(super) users: usize,
    /// Time in which the users connect, evenly.
    pub(super) ramp_up: Duration,
    /// Time after the ramp-up.
    pub(super) duration: Duration,
    pub(super) headers: Vec<(String, String)>,
    pub(super) subprotocols: Vec<String>,
    pub(super) deflate: bool,
    pub(super) reconnect: bool,
    /// Addresses to connect from, in turns.
    pub(super) sources: Vec<String>,
    /// Steps after the connection opens, and those that follow in a loop.
    pub(super) open: Vec<Step>,
    pub(super) repeat: Vec<Step>,
    /// The period of the loop. `None`: each pass follows the last one.
    pub(super) every: Option<Duration>,
}

/// A step of a user: think, send, and expect a message, each if given, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) think: Option<(Duration, Duration)>,
    pub(super) send: Option<String>,
    /// The text that a message contains.
    pub(super) expect: Option<String>,
    pub(super) timeout: Option<Duration>,
}

impl Step {
    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(10))
    }
}

type Result<T> = std::result::Result<T, String>;

impl Scenario {
    pub(super) fn new(url: String) -> Self {
        Scenario {
            url,
            dialect: Dialect::WebSocket,
            users: 100,
            ramp_up: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            deflate: false,
            reconnect: false,
            sources: Vec::new(),
            open: Vec::new(),
            repeat: Vec::new(),
            every: None,
        }
    }

    /// Reads a file over the defaults. Payload files are relative to the working directory.
    pub(super) fn read(mut self, file: &str) -> Result<Self> {
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        self.take(&text).map_err(|error| format!("{file}: {error}"))?;
        Ok(self)
    }

    fn take(&mut self, text: &str) -> Result<()> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        for (key, value) in table {
            match key.as_str() {
                "url" => self.url = string(&key, value)?,
                "protocol" => self.dialect = string(&key, value)?.parse()?,
                "channel" => self.dialect = Dialect::ActionCable { identifier: string(&key, value)? },
                "users" => self.users = number(&key, &value)?,
                "ramp_up" => self.ramp_up = time(&string(&key, value)?)?,
                "duration" => self.duration = time(&string(&key, value)?)?,
                "every" => self.every = Some(time(&string(&key, value)?)?),
                "deflate" => self.deflate = boolean(&key, &value)?,
                "reconnect" => self.reconnect = boolean(&key, &value)?,
                "subprotocols" => self.subprotocols = strings(&key, value)?,
                "sources" => self.sources = strings(&key, value)?,
                "headers" => {
                    let Value::Table(headers) = value else { return Err("headers is not a table".to_owned()) };
                    for (name, value) in headers {
                        let value = string(&name, value)?;
                        self.headers.push((name, value));
                    }
                }
                "open" => self.open = steps(&key, value)?,
                "loop" => self.repeat = steps(&key, value)?,
                _ => return Err(format!("{key} is no key of a scenario")),
            }
        }
        Ok(())
    }

    /// Checks what no single key shows.
    pub(super) fn check(&self) -> Result<()> {
        let waits = |step: &Step| step.think.is_some() || step.expect.is_some();
        if self.users == 0 {
            return Err("a scenario needs at least one user".to_owned());
        }
        if !self.repeat.is_empty() && self.every.is_none() && !self.repeat.iter().any(waits) {
            return Err("a loop without `every` needs a step with `think` or `expect`".to_owned());
        }
        if self.every == Some(Duration::ZERO) {
            return Err("every is 0".to_owned());
        }
        if self.dialect == Dialect::EventStream && self.open.iter().chain(&self.repeat).any(|step| step.send.is_some())
        {
            return Err("an event stream has nothing to send".to_owned());
        }
        Ok(())
    }
}

fn string(key: &str, value: Value) -> Result<String> {
    if let Value::String(text) = value { Ok(text) } else { Err(format!("{key} is not a string")) }
}

fn boolean(key: &str, value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| format!("{key} is neither true nor false"))
}

fn number(key: &str, value: &Value) -> Result<usize> {
    let number = value.as_integer().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("{key} is not a number from 0 on"))
}

fn strings(key: &str, value: Value) -> Result<Vec<String>> {
    let Value::Array(values) = value else { return Err(format!("{key} is not an array")) };
    values.into_iter().map(|value| string(key, value)).collect()
}

fn steps(key: &str, value: Value) -> Result<Vec<Step>> {
    let Value::Array(values) = value else { return Err(format!("{key} is not an array of steps")) };
    values.into_iter().map(|value| step(key, value)).collect()
}

fn step(key: &str, value: Value) -> Result<Step> {
    let Value::Table(table) = value else { return Err(format!("a step of {key} is not a table")) };
    let mut step = Step::default();
    for (name, value) in table {
        let value = string(&name, value)?;
        match name.as_str() {
            "think" => step.think = Some(span(&value)?),
            "send" => step.send = Some(value),
            "send_file" => {
                step.send = Some(fs::read_to_string(&value).map_err(|error| format!("{value}: {error}"))?);
            }
            "expect" => step.expect = Some(value),
            "timeout" => step.timeout = Some(time(&value)?),
            _ => return Err(format!("{name} is no key of a step")),
        }
    }
    Ok(step)
}

/// A time such as `250ms`, `1.5s` or `2m`.
pub(super) fn time(text: &str) -> Result<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is not a time such as 250ms, 1.5s or 2m")),
    };
    let number: f64 = number.trim().parse().map_err(|_| format!("{text:?} is not a time such as 250ms, 1.5s or 2m"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| format!("{text:?}: {error}"))
}

/// A time, or a range such as `1s..3s`.
pub(super) fn span(text: &str) -> Result<(Duration, Duration)> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to) = (time(from)?, time(to)?);
    if from > to { Err(format!("{text:?} ends before it begins")) } else { Ok((from, to)) }
}
