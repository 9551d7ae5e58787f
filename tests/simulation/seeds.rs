//! Runs scenarios, each given by a seed, on all processors, and reduces a failing scenario.

use std::{
    cell::Cell,
    env, fmt, panic,
    str::FromStr,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ws_reactor::net::sim::Faults;

/// Message of the deliberate panics of handlers.
pub(crate) const DELIBERATE: &str = "deliberate: the handler of a simulation panics";

/// A seed and the reductions of its scenario: `17`, or `17:peers=2:steps=8:without=busy,leap`.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) peers: usize,
    pub(crate) steps: usize,
    /// A pong time-out that slow lines cannot meet, to break the law about live peers.
    pub(crate) pong_timeout: Option<Duration>,
    without: Vec<String>,
}

type Kind = (&'static str, fn(&mut Faults) -> &mut u32);

const KINDS: [Kind; 7] = [
    ("pieces", |faults| &mut faults.pieces),
    ("busy", |faults| &mut faults.busy),
    ("spurious", |faults| &mut faults.spurious),
    ("reset", |faults| &mut faults.reset),
    ("accept", |faults| &mut faults.accept),
    ("shortage", |faults| &mut faults.shortage),
    ("leap", |faults| &mut faults.leap),
];

/// Slow lines, buffers of realistic sizes, and stops of the process.
const LINKS: [&str; 3] = ["lines", "buffers", "stops"];

fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name).chain(LINKS)
}

/// Connections of a scenario, and those of them that the law about live peers covers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) connections: usize,
    pub(crate) live: usize,
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        Scenario { seed, peers: usize::MAX, steps: usize::MAX, pong_timeout: None, without: Vec::new() }
    }

    /// Returns `true` if the scenario includes this kind of fault.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.without.iter().all(|without| without != name)
    }

    /// `faults` without the kinds of fault that this scenario leaves out.
    pub(crate) fn faults(&self, mut faults: Faults) -> Faults {
        for (name, fault) in KINDS {
            if !self.has(name) {
                *fault(&mut faults) = 0;
            }
        }
        faults
    }

    /// Reduces a failing scenario as long as it fails. Returns the reduced scenario and its failure.
    fn reduced(mut self, mut failure: String, fails: impl Fn(&Scenario) -> Option<String>) -> (Scenario, String) {
        let mut attempt = |reduced: Scenario, scenario: &mut Scenario| {
            if let Some(message) = fails(&reduced) {
                (*scenario, failure) = (reduced, message);
                return true;
            }
            false
        };
        let scenario = &mut self;
        let _ = (1..12).any(|peers| attempt(Scenario { peers, ..scenario.clone() }, scenario));
        // 128 steps are more than any scenario has.
        let _ = (0..8).rev().all(|power| attempt(Scenario { steps: 1 << power, ..scenario.clone() }, scenario));
        for name in kinds() {
            let without = [&scenario.without[..], &[name.to_owned()]].concat();
            attempt(Scenario { without, ..scenario.clone() }, scenario);
        }
        (self, failure)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.seed)?;
        if self.peers != usize::MAX {
            write!(formatter, ":peers={}", self.peers)?;
        }
        if self.steps != usize::MAX {
            write!(formatter, ":steps={}", self.steps)?;
        }
        if !self.without.is_empty() {
            write!(formatter, ":without={}", self.without.join(","))?;
        }
        Ok(())
    }
}

impl FromStr for Scenario {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let mut scenario = Scenario::new(parts.next().unwrap_or_default().parse()?);
        for part in parts {
            match part.split_once('=') {
                Some(("peers", number)) => scenario.peers = number.parse()?,
                Some(("steps", number)) => scenario.steps = number.parse()?,
                Some(("without", names)) => {
                    scenario.without = names.split(',').map(str::to_owned).collect();
                    let unknown = scenario.without.iter().find(|name| kinds().all(|kind| kind != *name));
                    assert!(unknown.is_none(), "{unknown:?} is not a kind of fault");
                }
                _ => panic!("{part:?} is not a reduction of a scenario"),
            }
        }
        Ok(scenario)
    }
}

/// Runs the scenario in `SIMULATION_SEED`, or the seeds below `SIMULATION_SEEDS` or `default_seeds`. Panics with a
/// failing seed and its reduced scenario.
///
/// Returns the numbers of seeds and of connections that the law about live peers covers.
pub(crate) fn for_each(
    default_seeds: u64,
    run: impl Fn(&Scenario) -> Count + Sync + panic::RefUnwindSafe,
) -> (u64, u64) {
    hide_deliberate_panics();
    if let Ok(scenario) = env::var("SIMULATION_SEED") {
        let count = run(&scenario.parse().expect("SIMULATION_SEED is not a scenario"));
        return (1, count.live as u64);
    }
    let seeds = env::var("SIMULATION_SEEDS")
        .map_or(default_seeds, |seeds| seeds.parse().expect("SIMULATION_SEEDS is not a number"));
    let caught = |scenario: &Scenario| panic::catch_unwind(|| run(scenario)).map_err(|payload| message_of(&*payload));
    let (next, failed) = (AtomicU64::new(0), Mutex::new(None));
    let (connections, live) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match caught(&Scenario::new(seed)) {
                        Ok(count) => {
                            connections.fetch_add(count.connections as u64, Ordering::Relaxed);
                            live.fetch_add(count.live as u64, Ordering::Relaxed);
                        }
                        Err(message) => {
                            next.store(seeds, Ordering::Relaxed);
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((seed, message));
                        }
                    }
                }
            });
        }
    });
    if let Some((seed, message)) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let (scenario, message) = Scenario::new(seed).reduced(message, |scenario| caught(scenario).err());
        panic!("SIMULATION_SEED={seed} fails, reduced to SIMULATION_SEED={scenario}: {message}");
    }
    let live = live.into_inner();
    println!("{seeds} seeds, {} connections, {live} of them under the law", connections.into_inner());
    (seeds, live)
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let message = payload.downcast_ref::<String>().cloned();
    message.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// The message of the failure of a scenario that is expected to fail.
pub(crate) fn failure(scenario: &Scenario, run: impl Fn(&Scenario) -> Count + panic::RefUnwindSafe) -> Option<String> {
    hide_deliberate_panics();
    HIDDEN.set(true);
    let failure = panic::catch_unwind(|| run(scenario)).map_err(|payload| message_of(&*payload)).err();
    HIDDEN.set(false);
    failure
}

thread_local! {
    /// Hides the reports of all panics of this thread.
    static HIDDEN: Cell<bool> = const { Cell::new(false) };
}

fn hide_deliberate_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if message_of(info.payload()) != DELIBERATE && !HIDDEN.get() {
                report(info);
            }
        }));
    });
}
