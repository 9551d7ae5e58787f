//! The clients: regulars, who stay and check all they get; visitors, who say a word and go; and those who misbehave.

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

/// How often a regular says something.
const SAYING: Duration = Duration::from_millis(80);
/// A visitor comes for each of so many regulars, once a second.
const REGULARS_PER_VISITOR: usize = 10;
/// More are not there at a time: a machine that cannot follow has fewer.
const MOST_VISITING: u64 = 200;
/// So often one peer for each hundred regulars begins to misbehave.
const MISBEHAVING: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Urls {
    pub(crate) plain: SocketAddr,
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    pub(crate) secure: Option<SocketAddr>,
}

/// What has been seen.
pub(crate) struct Report {
    began: Instant,
    window: Duration,
    /// For each window, how many echoes took so many tens of microseconds.
    windows: Vec<Vec<u32>>,
    said: u64,
    pub(crate) echoed: u64,
    pub(crate) told: u64,
    last_tick: u64,
    pub(crate) visits: u64,
    /// Visitors who have not left.
    visiting: u64,
    pub(crate) faulty: u64,
    /// Nobody begins anything any more.
    pub(crate) over: bool,
    pub(crate) wrong: Vec<String>,
}

const GRAIN: Duration = Duration::from_micros(10);
const LONGEST: usize = 500_000;

impl Report {
    pub(crate) fn new(window: Duration) -> Self {
        Report {
            began: Instant::now(),
            window,
            windows: Vec::new(),
            said: 0,
            echoed: 0,
            told: 0,
            last_tick: 0,
            visits: 0,
            visiting: 0,
            faulty: 0,
            over: false,
            wrong: Vec::new(),
        }
    }

    /// Messages whose echo has not come, and visitors who have not left.
    pub(crate) fn under_way(&self) -> u64 {
        self.said - self.echoed + self.visiting
    }

    fn wrong(&mut self, what: String) {
        if self.wrong.len() < 20 {
            self.wrong.push(what);
        }
    }

    fn took(&mut self, time: Duration) {
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

/// The time within which all but one of a thousand came.
fn most(counts: &[u32]) -> Duration {
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
        let (echoed, told, visits, faulty) = (self.echoed, self.told, self.visits, self.faulty);
        write!(
            formatter,
            "{echoed} echoes, {told} broadcasts, {visits} visits, {faulty} faulty peers, {} wrong",
            self.wrong.len()
        )?;
        write!(formatter, "; of 1000 echoes 999 within, tenth by tenth:")?;
        self.windows.iter().try_for_each(|counts| write!(formatter, " {:.1?}", most(counts)))
    }
}

type Shared = Rc<RefCell<Report>>;

/// What makes clients of the server.
#[derive(Clone)]
struct Maker {
    urls: Urls,
    #[cfg(feature = "tls")]
    trust: ws_reactor::TlsClientConfig,
}

impl Maker {
    /// The URL of every other one is secure, where there is such.
    fn make(&self, number: usize, handler: impl Handler + 'static) -> (String, Client) {
        let client = Client::new(handler);
        #[cfg(feature = "tls")]
        if number % 2 == 1 {
            let addr = self.urls.secure.expect("it listens there, too");
            return (format!("wss://{addr}/{number}"), client.tls(self.trust.clone()));
        }
        (format!("ws://{}/{number}", self.urls.plain), client)
    }
}

/// Has all of them come, and go on coming.
pub(crate) fn start(reactor: &mut Reactor, urls: &Urls, folder: &Path, connections: usize, report: &Shared) {
    let _ = folder;
    let maker = Maker {
        urls: *urls,
        #[cfg(feature = "tls")]
        trust: ws_reactor::TlsClientConfig::trusting_pem_file(folder.join("cert.pem"))
            .expect("the server has written it"),
    };
    for number in 0..connections {
        let regular = Regular {
            number,
            report: Rc::clone(report),
            random: Random::new(number as u64),
            said: 0,
            heard: 0,
            under_way: std::collections::VecDeque::new(),
            tick: None,
        };
        let (url, client) = maker.make(number, regular);
        reactor.connect(&url, client).unwrap();
    }
    let (visitors, mut visit) = (Rc::clone(report), 0);
    let visiting = Duration::from_secs(1) / (connections / REGULARS_PER_VISITOR).max(1) as u32;
    reactor.hub().add_periodic_timer(Duration::from_millis(5), move |hub| {
        let due = visitors.borrow().began.elapsed().as_nanos() / visiting.as_nanos();
        while !visitors.borrow().over && (visit as u128) < due && visitors.borrow().visiting < MOST_VISITING {
            visit += 1;
            visitors.borrow_mut().visiting += 1;
            let (url, client) = maker.make(visit, Visitor { report: Rc::clone(&visitors) });
            hub.connect(&url, client).unwrap();
        }
    });
    let (faulty, plain, each) = (Rc::clone(report), urls.plain, (connections / 100).max(1));
    let mut random = Random::new(0);
    reactor.hub().add_periodic_timer(MISBEHAVING, move |hub| {
        if !faulty.borrow().over {
            (0..each).for_each(|_| misbehave(hub, plain, &mut random));
            faulty.borrow_mut().faulty += each as u64;
        }
    });
}

/// Says something at its pace, and checks what comes back and what is told.
struct Regular {
    number: usize,
    report: Shared,
    random: Random,
    said: u64,
    heard: u64,
    /// When what is under way was said, and how long it is.
    under_way: std::collections::VecDeque<(Instant, usize)>,
    tick: Option<u64>,
}

impl Regular {
    fn text(&self, number: u64, length: usize) -> String {
        format!("echo {} {number} {}", self.number, "0123456789abcdef".repeat(length))
    }
}

impl Handler for Regular {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        // Not all at the same moment.
        ws.set_timer(SAYING.mul_f64(self.random.below(1000) as f64 / 1000.0));
    }

    fn on_timer(&mut self, ws: &mut WebSocket<'_>, _: TimerId) {
        let over = self.report.borrow().over;
        if over {
            return;
        }
        let length = if self.random.one_in(100) { self.random.below(4000) } else { self.random.below(12) };
        let text = self.text(self.said, length);
        if ws.send(&text).is_queued() {
            self.report.borrow_mut().said += 1;
            self.said += 1;
            self.under_way.push_back((Instant::now(), length));
        }
        ws.set_timer(SAYING);
    }

    fn on_message(&mut self, _: &mut WebSocket<'_>, message: Message<'_>) {
        let mut report = self.report.borrow_mut();
        let text = message.as_text().unwrap_or_default();
        if let Some(tick) = text.strip_prefix("tick ").and_then(|number| number.parse::<u64>().ok()) {
            report.told += 1;
            if self.tick.is_some_and(|last| tick != last + 1) {
                report.wrong(format!("{}: tick {tick} after {:?}", self.number, self.tick));
            }
            report.last_tick = report.last_tick.max(tick);
            self.tick = Some(tick);
            return;
        }
        let Some((when, length)) = self.under_way.pop_front() else {
            return report.wrong(format!("{}: nothing is under way, {text:.60}", self.number));
        };
        if text != self.text(self.heard, length) {
            report.wrong(format!("{}: instead of {} came {text:.60}", self.number, self.heard));
        }
        self.heard += 1;
        report.echoed += 1;
        report.took(when.elapsed());
    }

    fn on_error(&mut self, _: &mut WebSocket<'_>, error: &Error) {
        self.report.borrow_mut().wrong(format!("{}: {error}", self.number));
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut report = self.report.borrow_mut();
        if !report.over || !reason.clean {
            report.wrong(format!("{}: {reason}", self.number));
        }
        // The last may be on its way to some.
        let last = report.last_tick;
        if self.tick.is_none_or(|tick| tick + 2 < last) {
            report.wrong(format!("{}: the last tick is {:?} of {last}", self.number, self.tick));
        }
    }
}

/// Comes, says a word, and leaves in order.
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
        self.report.borrow_mut().wrong(format!("a visitor: {error}"));
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        let mut report = self.report.borrow_mut();
        (report.visits, report.visiting) = (report.visits + 1, report.visiting - 1);
        if !reason.clean {
            report.wrong(format!("a visitor: {reason}"));
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: soak\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn misbehave(hub: &mut Hub, to: SocketAddr, random: &mut Random) {
    let garbage: Vec<u8> = (0..200).map(|_| random.number() as u8).collect();
    // "x", masked by zeros, a hundred thousand times: more than it will listen to.
    let flood = b"\x81\x81\0\0\0\0x".repeat(100_000);
    let says = match random.below(5) {
        0 => REQUEST[..random.below(REQUEST.len())].to_vec(),
        1 => [REQUEST, &garbage].concat(),
        2 => [REQUEST, b"\x82\xff\0\0\0\0\0\x80\0\0\0\0\0\0", &garbage].concat(),
        3 => [REQUEST, &flood].concat(),
        _ => Vec::new(),
    };
    let stays = Duration::from_millis(random.below(3000) as u64);
    hub.connect_stream(&to.to_string(), Faulty { says, stays }).unwrap();
}

/// Says what it has to say, reads nothing, and breaks off.
struct Faulty {
    says: Vec<u8>,
    stays: Duration,
}

impl StreamHandler for Faulty {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        stream.pause();
        stream.write(&self.says);
        stream.set_timer(self.stays);
    }

    fn on_timer(&mut self, stream: &mut Stream<'_>, _: TimerId) {
        stream.terminate();
    }
}
