//! The clients: regulars, which stay and check everything they receive; visitors, which close after one echo; and
//! faulty peers.

use std::{
    cell::RefCell,
    fmt,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{
    Client, CloseCode, CloseReason, Error, Handler, Handshake, Hub, Message, Reactor, Stream, StreamHandler, TimerId,
    WebSocket, net::sim::Random,
};

/// Interval of the messages of a regular.
const SEND_INTERVAL: Duration = Duration::from_millis(80);
/// Per this number of regulars, one visitor connects each second.
const REGULARS_PER_VISITOR: usize = 10;
/// Limit of simultaneous visitors: a slow machine gets fewer visits.
const MAX_VISITING: u64 = 200;
/// Interval at which faulty peers connect, one per hundred regulars.
const FAULTY_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Urls {
    pub(crate) plain: SocketAddr,
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    pub(crate) secure: Option<SocketAddr>,
}

/// Counts, latencies and violations of all clients.
pub(crate) struct Report {
    began: Instant,
    window: Duration,
    /// For each window of time, the number of echoes by latency in units of `GRAIN`.
    windows: Vec<Vec<u32>>,
    sent: u64,
    pub(crate) echoed: u64,
    pub(crate) ticks: u64,
    last_tick: u64,
    pub(crate) visits: u64,
    /// Visitors that are still connected.
    visiting: u64,
    pub(crate) faulty: u64,
    /// Clients start nothing new.
    pub(crate) stopping: bool,
    pub(crate) violations: Vec<String>,
}

const GRAIN: Duration = Duration::from_micros(10);
const LONGEST: usize = 500_000;

impl Report {
    pub(crate) fn new(window: Duration) -> Self {
        Report {
            began: Instant::now(),
            window,
            windows: Vec::new(),
            sent: 0,
            echoed: 0,
            ticks: 0,
            last_tick: 0,
            visits: 0,
            visiting: 0,
            faulty: 0,
            stopping: false,
            violations: Vec::new(),
        }
    }

    /// Number of missing echoes and connected visitors.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent - self.echoed + self.visiting
    }

    fn add_violation(&mut self, what: String) {
        if self.violations.len() < 20 {
            self.violations.push(what);
        }
    }

    fn add_latency(&mut self, time: Duration) {
        let window = (self.began.elapsed().as_nanos() / self.window.as_nanos().max(1)) as usize;
        while self.windows.len() <= window {
            self.windows.push(Vec::new());
        }
        let grains = ((time.as_nanos() / GRAIN.as_nanos()) as usize).min(LONGEST);
        let counts = &mut self.windows[window];
        if counts.len() <= grains {
            counts.resize(grains + 1, 0);
        }
        counts[grains] += 1;
    }
}

/// The latency at the 99.9th percentile.
fn percentile(counts: &[u32]) -> Duration {
    let mut beyond = counts.iter().map(|count| u64::from(*count)).sum::<u64>() / 1000;
    for (grains, count) in counts.iter().enumerate().rev() {
        match beyond.checked_sub(u64::from(*count)) {
            Some(rest) => beyond = rest,
            None => return GRAIN * grains as u32,
        }
    }
    Duration::ZERO
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (echoed, ticks, visits, faulty) = (self.echoed, self.ticks, self.visits, self.faulty);
        write!(
            formatter,
            "{echoed} echoes, {ticks} broadcasts, {visits} visits, {faulty} faulty peers, {} violations",
            self.violations.len()
        )?;
        write!(formatter, "; 99.9th percentile of the echo latency, by tenth of the run:")?;
        self.windows.iter().try_for_each(|counts| write!(formatter, " {:.1?}", percentile(counts)))
    }
}

type Shared = Rc<RefCell<Report>>;

/// Creates clients of the server.
#[derive(Clone)]
struct Maker {
    urls: Urls,
    #[cfg(feature = "tls")]
    trust: ws_reactor::TlsClientConfig,
}

impl Maker {
    /// Every other client uses TLS, if that is built in.
    fn make(&self, number: usize, handler: impl Handler + 'static) -> (String, Client) {
        let client = Client::new(handler);
        #[cfg(feature = "tls")]
        if number % 2 == 1 {
            let addr = self.urls.secure.expect("the address for TLS");
            return (format!("wss://{addr}/{number}"), client.tls(self.trust.clone()));
        }
        (format!("ws://{}/{number}", self.urls.plain), client)
    }
}

/// Connects the regulars, and sets the timers that connect visitors and faulty peers.
pub(crate) fn start(reactor: &mut Reactor, urls: &Urls, folder: &Path, connections: usize, report: &Shared) {
    let _ = folder;
    let maker = Maker {
        urls: *urls,
        #[cfg(feature = "tls")]
        trust: ws_reactor::TlsClientConfig::trusting_pem_file(folder.join("cert.pem"))
            .expect("the certificate of the server"),
    };
    for number in 0..connections {
        let regular = Regular {
            number,
            report: Rc::clone(report),
            random: Random::new(number as u64),
            sent: 0,
            echoed: 0,
            in_flight: std::collections::VecDeque::new(),
            tick: None,
        };
        let (url, client) = maker.make(number, regular);
        reactor.connect(&url, client).unwrap();
    }
    let (visitors, mut visit) = (Rc::clone(report), 0);
    let visiting = Duration::from_secs(1) / (connections / REGULARS_PER_VISITOR).max(1) as u32;
    reactor.hub().add_periodic_timer(Duration::from_millis(5), move |hub| {
        let due = visitors.borrow().began.elapsed().as_nanos() / visiting.as_nanos();
        while !visitors.borrow().stopping && (visit as u128) < due && visitors.borrow().visiting < MAX_VISITING {
            visit += 1;
            visitors.borrow_mut().visiting += 1;
            let (url, client) = maker.make(visit, Visitor { report: Rc::clone(&visitors) });
            hub.connect(&url, client).unwrap();
        }
    });
    let (faulty, plain, each) = (Rc::clone(report), urls.plain, (connections / 100).max(1));
    let mut random = Random::new(0);
    reactor.hub().add_periodic_timer(FAULTY_INTERVAL, move |hub| {
        if !faulty.borrow().stopping {
            (0..each).for_each(|_| connect_faulty(hub, plain, &mut random));
            faulty.borrow_mut().faulty += each as u64;
        }
    });
}

/// Sends messages at an interval, and checks the echoes and the ticks.
struct Regular {
    number: usize,
    report: Shared,
    random: Random,
    sent: u64,
    echoed: u64,
    /// Time and length of each message without an echo.
    in_flight: std::collections::VecDeque<(Instant, usize)>,
    tick: Option<u64>,
}

impl Regular {
    fn text(&self, number: u64, length: usize) -> String {
        format!("echo {} {number} {}", self.number, "0123456789abcdef".repeat(length))
    }
}

impl Handler for Regular {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        // Spreads the clients over the interval.
        ws.set_timer(SEND_INTERVAL.mul_f64(self.random.below(1000) as f64 / 1000.0));
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        let stopping = self.report.borrow().stopping;
        if stopping {
            return;
        }
        let length = if self.random.one_in(100) { self.random.below(4000) } else { self.random.below(12) };
        let text = self.text(self.sent, length);
        if ws.send(&text).is_queued() {
            self.report.borrow_mut().sent += 1;
            self.sent += 1;
            self.in_flight.push_back((Instant::now(), length));
        }
        ws.set_timer(SEND_INTERVAL);
    }

    fn on_message(&mut self, _: &mut WebSocket<'_>, message: Message<'_>) {
        let mut report = self.report.borrow_mut();
        let text = message.as_text().unwrap_or_default();
        if let Some(tick) = text.strip_prefix("tick ").and_then(|number| number.parse::<u64>().ok()) {
            report.ticks += 1;
            if self.tick.is_some_and(|last| tick != last + 1) {
                report.add_violation(format!("{}: tick {tick} after {:?}", self.number, self.tick));
            }
            report.last_tick = report.last_tick.max(tick);
            self.tick = Some(tick);
            return;
        }
        let Some((when, length)) = self.in_flight.pop_front() else {
            return report.add_violation(format!("{}: unexpected message {text:.60}", self.number));
        };
        if text != self.text(self.echoed, length) {
            report.add_violation(format!("{}: {text:.60} instead of echo {}", self.number, self.echoed));
        }
        self.echoed += 1;
        report.echoed += 1;
        report.add_latency(when.elapsed());
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.report.borrow_mut().add_violation(format!("{}: {error}", self.number));
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut report = self.report.borrow_mut();
        if !report.stopping || !reason.clean {
            report.add_violation(format!("{}: {reason}", self.number));
        }
        // The last ticks may still be in flight.
        let last = report.last_tick;
        if self.tick.is_none_or(|tick| tick + 2 < last) {
            report.add_violation(format!("{}: the last tick is {:?} of {last}", self.number, self.tick));
        }
    }
}

/// Sends one message and closes after its echo.
struct Visitor {
    report: Shared,
}

impl Handler for Visitor {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        ws.send("hello");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        if message.as_text() == Some("hello") {
            ws.close(CloseCode::NORMAL, "bye");
        }
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.report.borrow_mut().add_violation(format!("visitor: {error}"));
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut report = self.report.borrow_mut();
        (report.visits, report.visiting) = (report.visits + 1, report.visiting - 1);
        if !reason.clean {
            report.add_violation(format!("visitor: {reason}"));
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: soak\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn connect_faulty(hub: &mut Hub, to: SocketAddr, random: &mut Random) {
    let garbage: Vec<u8> = (0..200).map(|_| random.number() as u8).collect();
    // A hundred thousand text messages "x": more than the server reads while nothing reads its echoes.
    let flood = b"\x81\x81\0\0\0\0x".repeat(100_000);
    let output = match random.below(5) {
        0 => REQUEST[..random.below(REQUEST.len())].to_vec(),
        1 => [REQUEST, &garbage].concat(),
        2 => [REQUEST, b"\x82\xff\0\0\0\0\0\x80\0\0\0\0\0\0", &garbage].concat(),
        3 => [REQUEST, &flood].concat(),
        _ => Vec::new(),
    };
    let lifetime = Duration::from_millis(random.below(3000) as u64);
    hub.connect_stream(&to.to_string(), Faulty { output, lifetime }).unwrap();
}

/// Sends its output, reads nothing, and terminates the connection.
struct Faulty {
    output: Vec<u8>,
    lifetime: Duration,
}

impl StreamHandler for Faulty {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.pause();
        stream.write(&self.output);
        stream.set_timer(self.lifetime);
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: TimerId) {
        stream.terminate();
    }
}
