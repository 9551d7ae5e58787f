//! Sessions of many users: they connect one after another, and each takes the steps of a scenario.

mod dialect;
mod figures;
mod html;
mod report;
mod scenario;
mod sse;
mod thresholds;
mod user;

use std::{
    cell::RefCell,
    error::Error,
    fs,
    io::{self, IsTerminal},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use dialect::Dialect;
use figures::Figures;
use indicatif::{ProgressBar, ProgressStyle};
use scenario::{Scenario, Step};
use thresholds::Threshold;
use user::User;
use ws_reactor::{
    Client, DeflateConfig, Hub, Reactor, Reconnect, SocketOptions, StreamConfig,
    http::{HeaderName, HeaderValue},
};

use crate::arguments::{Arguments, OptionHelp};

/// Options of the kind `session`.
pub(crate) const OPTIONS: [OptionHelp; 14] = [
    ("--scenario FILE", "session: what each user does (TOML); the other options of a session go before the file's"),
    ("--users NUMBER", "session: users [default: 100]"),
    ("--ramp-up TIME", "session: time in which the users connect [default: 1s]"),
    ("--duration TIME", "session: time after the ramp-up [default: 10s]"),
    ("--protocol NAME", "session: websocket, sse or socket.io [default: websocket]"),
    ("--channel IDENTIFIER", "session: the identifier of an ActionCable channel, in JSON"),
    ("--send TEXT", "session: message of each pass; {user}, {number}, {time}, {random} are filled in"),
    ("--expect TEXT", "session: text that the answer contains; the latency counts until it comes"),
    ("--every TIME", "session: period of the passes of a user; late passes count from their due time"),
    ("--think TIME", "session: wait before each message, 1s or 1s..3s"),
    ("--source ADDRESS", "session: address to connect from; may be repeated"),
    ("--report FILE", "session: write an HTML page with plots"),
    ("--compare FILE", "session: compare with an earlier run, the file that --json printed"),
    (
        "--fail-if CONDITION",
        "session: exit with status 1 if p99>5ms, errors>0, received_per_second<1000; may be repeated",
    ),
];

/// Length of the periods in which users are started, and in which the lateness of the load itself is measured.
const TICK: Duration = Duration::from_millis(5);

/// Runs a scenario. Returns an error if a threshold is passed.
pub(crate) fn run(arguments: &Arguments, url: String) -> Result<(), Box<dyn Error>> {
    let scenario = Rc::new(planned(arguments, url)?);
    let thresholds = arguments.all("--fail-if").into_iter().map(str::parse).collect::<Result<Vec<Threshold>, _>>();
    let thresholds = thresholds.map_err(|error| format!("--fail-if: {error}"))?;
    let earlier = arguments.all("--compare").pop().map(fs::read_to_string).transpose();
    let earlier = earlier.map_err(|error| format!("--compare: {error}"))?;

    let figures = Rc::new(RefCell::new(Figures::new()));
    let mut reactor = Reactor::new()?;
    start(reactor.hub(), &scenario, &figures)?;
    sample(reactor.hub(), &scenario, &figures, !arguments.has("--json"));
    reactor.run()?;

    let figures = figures.borrow();
    match arguments.has("--json") {
        true => println!("{}", report::json(&figures)),
        false => println!("{}", report::text(&figures)),
    }
    if let Some(earlier) = earlier {
        println!("{}", report::comparison(&figures, &earlier));
    }
    if let Some(file) = arguments.all("--report").pop() {
        fs::write(file, html::page(&scenario, &figures)).map_err(|error| format!("--report {file}: {error}"))?;
    }
    if figures.opened == 0 {
        return Err("no session opened".into());
    }
    let passed: Vec<String> = thresholds.iter().filter(|t| t.is_passed(&figures)).map(Threshold::to_string).collect();
    if passed.is_empty() { Ok(()) } else { Err(format!("failed: {}", passed.join(", ")).into()) }
}

/// The scenario of the file, or that of the options.
fn planned(arguments: &Arguments, url: String) -> Result<Scenario, String> {
    let mut scenario = Scenario::new(url);
    if let Some(file) = arguments.all("--scenario").pop() {
        scenario = scenario.read(file)?;
    }
    let given = |option: &str| arguments.all(option).pop().map(str::to_owned);
    let time = |option: &str| {
        let time = given(option).map(|text| scenario::time(&text)).transpose();
        time.map_err(|error| format!("{option}: {error}"))
    };
    // Options override the file.
    if arguments.has("--url") || arguments.all("--scenario").is_empty() {
        scenario.url = arguments.get("--url", scenario.url);
    }
    scenario.users = arguments.get("--users", scenario.users);
    scenario.ramp_up = time("--ramp-up")?.unwrap_or(scenario.ramp_up);
    scenario.duration = time("--duration")?.unwrap_or(scenario.duration);
    scenario.every = time("--every")?.or(scenario.every);
    scenario.deflate |= arguments.has("--deflate");
    scenario.sources.extend(arguments.all("--source").into_iter().map(str::to_owned));
    if let Some(protocol) = given("--protocol") {
        scenario.dialect = protocol.parse().map_err(|error| format!("--protocol: {error}"))?;
    }
    if let Some(identifier) = given("--channel") {
        scenario.dialect = Dialect::ActionCable { identifier };
    }
    for header in arguments.all("--header") {
        let (name, value) = header.split_once(':').ok_or_else(|| format!("--header {header:?} has no colon"))?;
        scenario.headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    scenario.open.extend(
        arguments.all("--subscribe").into_iter().map(|text| Step { send: Some(text.to_owned()), ..Step::default() }),
    );
    let step = Step {
        think: given("--think").map(|text| scenario::span(&text)).transpose()?,
        send: given("--send"),
        expect: given("--expect"),
        timeout: None,
    };
    if step != Step::default() {
        scenario.repeat.push(step);
    }
    scenario.check()?;
    Ok(scenario)
}

/// Starts the users, evenly within the ramp-up.
fn start(hub: &mut Hub, scenario: &Rc<Scenario>, figures: &Rc<RefCell<Figures>>) -> Result<(), Box<dyn Error>> {
    let sources: Vec<SocketAddr> = scenario
        .sources
        .iter()
        .map(|source| source.parse().map(|ip| SocketAddr::new(ip, 0)).map_err(|_| format!("{source:?} is no address")))
        .collect::<Result<_, _>>()?;
    // The first user shows at once that the URL and the options are valid.
    connect(hub, 0, scenario, figures, &sources)?;
    let (scenario, figures, began) = (Rc::clone(scenario), Rc::clone(figures), Instant::now());
    let mut started = 1;
    let mut last = began;
    hub.add_periodic_timer(TICK, move |hub| {
        let now = Instant::now();
        figures.borrow_mut().paused((now - last).saturating_sub(TICK));
        last = now;
        let share = (now - began).as_secs_f64() / scenario.ramp_up.as_secs_f64().max(1e-9);
        let due = (scenario.users as f64 * share.min(1.0)).ceil() as usize;
        while started < due && !figures.borrow().is_over {
            if let Err(error) = connect(hub, started, &scenario, &figures, &sources) {
                figures.borrow_mut().error(error.to_string());
            }
            started += 1;
        }
    });
    Ok(())
}

fn connect(
    hub: &mut Hub,
    number: usize,
    scenario: &Rc<Scenario>,
    figures: &Rc<RefCell<Figures>>,
    sources: &[SocketAddr],
) -> Result<(), Box<dyn Error>> {
    let source = (!sources.is_empty()).then(|| sources[number % sources.len()]);
    let socket = SocketOptions::new().local_addr(source);
    if scenario.dialect == Dialect::EventStream {
        let reader = sse::Reader::new(number, scenario, figures)?;
        let mut config = StreamConfig::new();
        config.socket = socket;
        hub.connect_stream_with(&sse::place(&scenario.url)?.0, config, reader)?;
        return Ok(());
    }
    let fill = |text: &str| text.replace("{user}", &number.to_string());
    let protocols = scenario.subprotocols.iter().map(String::as_str).chain(scenario.dialect.subprotocol());
    let mut client = Client::new(User::new(number, scenario, figures)).socket(socket).subprotocols(protocols);
    for (name, value) in &scenario.headers {
        client = client.header(HeaderName::try_from(name)?, HeaderValue::try_from(fill(value))?);
    }
    if scenario.deflate {
        client = client.deflate(DeflateConfig::default());
    }
    if scenario.reconnect {
        client = client.reconnect(Reconnect::new());
    }
    hub.connect(&fill(&scenario.dialect.url(&scenario.url)), client)?;
    Ok(())
}

/// Takes a sample each second, shows it on a terminal, and ends the run.
fn sample(hub: &mut Hub, scenario: &Scenario, figures: &Rc<RefCell<Figures>>, shows: bool) {
    let whole = scenario.ramp_up + scenario.duration;
    let bar = (shows && io::stderr().is_terminal()).then(|| {
        let bar = ProgressBar::new(whole.as_millis() as u64);
        let style = ProgressStyle::with_template("[{bar:30}] {percent:>3} %  {msg}").expect("the template is sound");
        bar.with_style(style)
    });
    let (sampled, ended, shown) = (Rc::clone(figures), Rc::clone(figures), bar.clone());
    hub.add_periodic_timer(Duration::from_secs(1), move |_| {
        let mut figures = sampled.borrow_mut();
        if figures.is_over {
            return;
        }
        let sample = figures.sample();
        if let Some(bar) = &shown {
            bar.set_position(figures.began.elapsed().as_millis() as u64);
            bar.set_message(report::live(&sample, figures.error_count()));
        }
    });
    hub.add_timer(whole, move |hub| {
        ended.borrow_mut().is_over = true;
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        hub.shutdown(Duration::from_secs(2));
    });
}
