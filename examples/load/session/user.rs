//! One user: a connection whose handler takes the steps of a scenario.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ws_reactor::{CloseReason, ClosedBy, Error, Handler, Handshake, Message, TimerId, WebSocket};

use super::{
    dialect::Incoming,
    figures::Figures,
    scenario::{Scenario, Step},
};

pub(super) struct User {
    pub(super) number: usize,
    scenario: Rc<Scenario>,
    figures: Rc<RefCell<Figures>>,
    began: Instant,
    is_open: bool,
    steps: Steps,
    waiting: Option<Waiting>,
    /// The timer of a think time or of the loop's period.
    thinking: Option<TimerId>,
    /// Messages sent, for `{number}`.
    sent: u64,
    random: u64,
}

/// The place in the scenario.
#[derive(Debug, Default, Clone, Copy)]
struct Steps {
    is_repeating: bool,
    index: usize,
    /// The think time of this step is over.
    has_thought: bool,
    /// Passes of the loop.
    passes: u32,
    /// Time at which this pass was due.
    due: Option<Instant>,
    /// Start of the first pass.
    first: Option<Instant>,
}

/// A message that the user waits for.
struct Waiting {
    text: String,
    since: Instant,
    timeout: TimerId,
}

impl User {
    pub(super) fn new(number: usize, scenario: &Rc<Scenario>, figures: &Rc<RefCell<Figures>>) -> Self {
        User {
            number,
            scenario: Rc::clone(scenario),
            figures: Rc::clone(figures),
            began: Instant::now(),
            is_open: false,
            steps: Steps::default(),
            waiting: None,
            thinking: None,
            sent: 0,
            random: number as u64 * 2 + 1,
        }
    }

    /// Takes steps until one waits.
    fn advance(&mut self, ws: &mut WebSocket<'_>) {
        let scenario = Rc::clone(&self.scenario);
        loop {
            let steps = if self.steps.is_repeating { &scenario.repeat } else { &scenario.open };
            let Some(step) = steps.get(self.steps.index) else {
                if scenario.repeat.is_empty() || !self.begin_pass(ws, scenario.every) {
                    return;
                }
                continue;
            };
            if let Some((from, to)) = step.think.filter(|_| !self.steps.has_thought) {
                let part = f64::from(self.random() as u32) / f64::from(u32::MAX);
                self.thinking = Some(ws.set_timer(from + (to - from).mul_f64(part)));
                return;
            }
            self.steps.index += 1;
            self.steps.has_thought = false;
            if self.take(ws, step) {
                return;
            }
        }
    }

    /// Begins a pass of the loop. Returns `false` if it is not due yet.
    fn begin_pass(&mut self, ws: &mut WebSocket<'_>, every: Option<Duration>) -> bool {
        let now = Instant::now();
        if let Some(every) = every {
            let first = *self.steps.first.get_or_insert(now + every.mul_f64(self.share()));
            let due = first + every * self.steps.passes;
            if due > now {
                self.thinking = Some(ws.set_timer(due - now));
                return false;
            }
            self.steps.due = Some(due);
        }
        let passes = self.steps.passes + 1;
        self.steps = Steps { is_repeating: true, index: 0, has_thought: false, passes, ..self.steps };
        true
    }

    /// Takes a step after its think time. Returns `true` if it waits for a message.
    fn take(&mut self, ws: &mut WebSocket<'_>, step: &Step) -> bool {
        // A late pass counts from the time at which it was due, so that a stall counts for all that had to wait.
        let since = self.steps.due.take().unwrap_or_else(Instant::now);
        let expect = step.expect.as_ref().map(|text| self.filled(text));
        if let Some(text) = &step.send {
            let text = self.filled(text);
            let text = self.scenario.dialect.write(text);
            self.sent += 1;
            self.figures.borrow_mut().sent += 1;
            ws.send(text);
        }
        if let Some(text) = expect {
            let timeout = ws.set_timer(step.timeout());
            self.waiting = Some(Waiting { text, since, timeout });
        }
        self.waiting.is_some()
    }

    /// A text with its placeholders replaced.
    fn filled(&mut self, text: &str) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let text = text.replace("{user}", &self.number.to_string()).replace("{number}", &self.sent.to_string());
        let random = if text.contains("{random}") { self.random() >> 32 } else { 0 };
        text.replace("{time}", &now.to_string()).replace("{random}", &random.to_string())
    }

    /// Xorshift.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// The share of a period by which this user is behind the first one: passes of users are spread evenly.
    fn share(&self) -> f64 {
        self.number as f64 / self.scenario.users as f64
    }

    fn begin(&mut self, ws: &mut WebSocket<'_>) {
        self.figures.borrow_mut().connected(self.began.elapsed());
        (self.steps, self.waiting, self.thinking) = (Steps::default(), None, None);
        self.advance(ws);
    }
}

impl Handler for User {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        self.figures.borrow_mut().open += 1;
        self.is_open = true;
        if self.scenario.dialect.is_ready_at_once() {
            self.begin(ws);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let now = Instant::now();
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(data) => str::from_utf8(data).unwrap_or_default(),
        };
        let dialect = &self.scenario.dialect;
        match dialect.read(text) {
            Incoming::Nothing => {}
            Incoming::Answer(answer) => _ = ws.send(answer),
            Incoming::Ready => self.begin(ws),
            Incoming::Refused => {
                self.figures.borrow_mut().error("session refused");
                ws.close(ws_reactor::CloseCode::NORMAL, "");
            }
            Incoming::Message(text) => {
                let mut figures = self.figures.borrow_mut();
                figures.received += 1;
                figures.received_bytes += message.as_bytes().len() as u64;
                if self.waiting.as_ref().is_none_or(|waiting| !text.contains(&*waiting.text)) {
                    return;
                }
                if let Some(Waiting { since, timeout, .. }) = self.waiting.take() {
                    figures.answered(now - since);
                    drop(figures);
                    ws.cancel_timer(timeout);
                    self.advance(ws);
                }
            }
        }
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, timer: TimerId) {
        if self.thinking.take_if(|thinking| *thinking == timer).is_some() {
            self.steps.has_thought = true;
        } else if self.waiting.take_if(|waiting| waiting.timeout == timer).is_some() {
            self.figures.borrow_mut().error("expected message missing");
        }
        self.advance(ws);
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.figures.borrow_mut().error(format!("{error:#}"));
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut figures = self.figures.borrow_mut();
        figures.open -= usize::from(std::mem::take(&mut self.is_open));
        if matches!(reason.by, ClosedBy::Peer) {
            figures.error(format!("closed by the server with {}", reason.code));
        }
        self.began = Instant::now();
    }
}
