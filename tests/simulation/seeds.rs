//! Stories told by seeds: many of them on all processors, and a failing one again, as short as it still fails.

use std::{
    env, fmt, panic,
    str::FromStr,
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use ws_reactor::net::sim::Faults;

/// What handlers panic with on purpose.
pub(crate) const DELIBERATE: &str = "deliberate: the handler of a simulation panics";

/// A seed, and how much of what it tells is left out: `17`, or `17:peers=2:steps=8:without=busy,leap`.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) seed: u64,
    pub(crate) peers: usize,
    pub(crate) steps: usize,
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

impl Story {
    pub(crate) fn new(seed: u64) -> Self {
        Story { seed, peers: usize::MAX, steps: usize::MAX, without: Vec::new() }
    }

    /// The faults, without those that are left out.
    pub(crate) fn faults(&self, mut faults: Faults) -> Faults {
        for (name, fault) in KINDS {
            if self.without.iter().any(|without| without == name) {
                *fault(&mut faults) = 0;
            }
        }
        faults
    }

    /// Leaves out what can be left out while the story still fails, and says how it fails then.
    fn shortened(mut self, mut failure: String, fails: impl Fn(&Story) -> Option<String>) -> (Story, String) {
        let mut try_out = |shorter: Story, story: &mut Story| {
            let fails = fails(&shorter);
            if let Some(message) = fails {
                (*story, failure) = (shorter, message);
                return true;
            }
            false
        };
        let story = &mut self;
        let _ = (1..12).any(|peers| try_out(Story { peers, ..story.clone() }, story));
        // The longest of these is all of it for stories that have no steps.
        let _ = (0..8).rev().all(|power| try_out(Story { steps: 1 << power, ..story.clone() }, story));
        for (name, _) in KINDS {
            let without = [&story.without[..], &[name.to_owned()]].concat();
            try_out(Story { without, ..story.clone() }, story);
        }
        (self, failure)
    }
}

impl fmt::Display for Story {
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

impl FromStr for Story {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(':');
        let mut story = Story::new(parts.next().unwrap_or_default().parse()?);
        for part in parts {
            match part.split_once('=') {
                Some(("peers", number)) => story.peers = number.parse()?,
                Some(("steps", number)) => story.steps = number.parse()?,
                Some(("without", names)) => {
                    story.without = names.split(',').map(str::to_owned).collect();
                    let unknown = story.without.iter().find(|name| KINDS.iter().all(|(kind, _)| kind != name));
                    assert!(unknown.is_none(), "{unknown:?} is no kind of fault");
                }
                _ => panic!("{part:?} is no part of a story"),
            }
        }
        Ok(story)
    }
}

/// Tells the story that is asked for (`SIMULATION_SEED`), or as many as are (`SIMULATION_SEEDS`), or as are usual, and
/// names the first that fails.
///
/// `tell` says how many connections have lived.
pub(crate) fn for_each(usual: u64, tell: impl Fn(&Story) -> usize + Sync + panic::RefUnwindSafe) {
    keep_quiet_about_what_is_deliberate();
    if let Ok(story) = env::var("SIMULATION_SEED") {
        tell(&story.parse().expect("SIMULATION_SEED is a story"));
        return;
    }
    let seeds =
        env::var("SIMULATION_SEEDS").map_or(usual, |seeds| seeds.parse().expect("SIMULATION_SEEDS is a number"));
    let told = |story: &Story| panic::catch_unwind(|| tell(story)).map_err(|payload| message_of(&*payload));
    let (next, lives, failed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::new(None));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match told(&Story::new(seed)) {
                        Ok(lived) => drop(lives.fetch_add(lived as u64, Ordering::Relaxed)),
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
        let (story, message) = Story::new(seed).shortened(message, |story| told(story).err());
        panic!("SIMULATION_SEED={story} fails, and so does SIMULATION_SEED={seed}: {message}");
    }
    println!("{seeds} seeds, {} connection lives", lives.into_inner());
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let message = payload.downcast_ref::<String>().cloned();
    message.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn keep_quiet_about_what_is_deliberate() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if message_of(info.payload()) != DELIBERATE {
                report(info);
            }
        }));
    });
}
