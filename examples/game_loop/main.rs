//! A game at 60 steps a second: the reactor runs between the steps of a loop of its own, and each player gets the
//! newest state only.
//!
//!     cargo run --release --example game_loop -- [--listen ADDR] [--rate N] [--seconds N]
//!
//! The page on the same port is the game: arrow keys, or a finger, move a dot. Each second the program prints how late
//! its steps were.

#[path = "../arguments/mod.rs"]
mod arguments;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant},
};

use ws_reactor::{
    CloseReason, Error, Handler, Handshake, Message, Reactor, Reply, Server, Turn, WebSocket, http::StatusCode,
};

const PAGE: &str = include_str!("page.html");

/// Topic of the state of the world.
const WORLD: &str = "world";

/// Distance that a player moves in a second; the world is 1 by 1.
const SPEED: f64 = 0.4;

#[derive(Default)]
struct World {
    players: BTreeMap<u32, Dot>,
    next: u32,
}

#[derive(Default)]
struct Dot {
    x: f64,
    y: f64,
    /// The direction that the player holds.
    towards: (f64, f64),
}

impl World {
    fn step(&mut self, seconds: f64) {
        for Dot { x, y, towards } in self.players.values_mut() {
            *x = (*x + towards.0 * SPEED * seconds).clamp(0.0, 1.0);
            *y = (*y + towards.1 * SPEED * seconds).clamp(0.0, 1.0);
        }
    }

    /// `NUMBER X Y` for each player, separated by semicolons.
    fn state(&self) -> String {
        let dots: Vec<String> =
            self.players.iter().map(|(number, dot)| format!("{number} {:.4} {:.4}", dot.x, dot.y)).collect();
        dots.join(";")
    }
}

struct Player {
    number: u32,
    world: Rc<RefCell<World>>,
}

impl Handler for Player {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        let mut world = self.world.borrow_mut();
        world.next += 1;
        self.number = world.next;
        world.players.insert(self.number, Dot { x: 0.5, y: 0.5, ..Dot::default() });
        ws.send(format!("you {}", self.number));
        ws.subscribe(WORLD);
    }

    /// A direction: two numbers from -1 to 1.
    fn on_message(&mut self, _: &mut WebSocket<'_>, message: Message<'_>) {
        let direction = message.as_text().and_then(|text| {
            let (x, y) = text.split_once(' ')?;
            Some((x.parse::<f64>().ok()?, y.parse::<f64>().ok()?))
        });
        let Some((x, y)) = direction.filter(|(x, y)| x.is_finite() && y.is_finite()) else { return };
        // Diagonals are not faster.
        let length = x.hypot(y).max(1.0);
        if let Some(dot) = self.world.borrow_mut().players.get_mut(&self.number) {
            dot.towards = (x / length, y / length);
        }
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, _: &CloseReason) {
        self.world.borrow_mut().players.remove(&self.number);
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--rate N", "Steps a second [default: 60]"),
        ("--seconds N", "Time to run; 0: until the program is stopped [default: 0]"),
    ];
    let arguments = arguments::Arguments::read("A game with a loop of its own", &options);
    arguments::run(|| play(&arguments))
}

fn play(arguments: &arguments::Arguments) -> Result<(), Error> {
    let period = Duration::from_secs(1) / arguments.get("--rate", 60_u32).clamp(1, 1000);
    let seconds = arguments.get("--seconds", 0);
    let world = Rc::<RefCell<World>>::default();
    let players = Rc::clone(&world);
    let server = Server::new(move |_| Player { number: 0, world: Rc::clone(&players) });
    let server = server.max_message_bytes(64).on_request(|request, _| match (request.is_upgrade(), request.path()) {
        (true, "/play") => Reply::upgrade(),
        (false, "/") => Reply::html(PAGE),
        _ => Reply::status(StatusCode::NOT_FOUND),
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:8080".to_owned()), server)?;
    eprintln!("listening on http://{}", listening.addr);
    let (began, mut late, mut reported) = (Instant::now(), Duration::ZERO, 0);
    let mut due = began;
    loop {
        // The reactor has the time until the next step.
        let now = Instant::now();
        if now < due {
            if reactor.turn(Some(due - now))? == Turn::Stopped {
                return Ok(());
            }
            continue;
        }
        late = late.max(now - due);
        world.borrow_mut().step(period.as_secs_f64());
        let state = world.borrow().state();
        // A player that reads slowly gets the newest state, and none that is old.
        reactor.hub().publish_latest(WORLD, WORLD, state);
        // After a pause of the process, steps are left out instead of being made up for.
        due = if now - due > 10 * period { now + period } else { due + period };
        let passed = began.elapsed().as_secs();
        if passed > reported {
            println!("{passed} s: {} players, steps at most {late:?} late", world.borrow().players.len());
            (reported, late) = (passed, Duration::ZERO);
        }
        if seconds > 0 && passed >= seconds {
            return Ok(());
        }
    }
}
