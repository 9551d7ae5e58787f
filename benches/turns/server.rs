//! The server: each turn is measured.
#![allow(unsafe_code)]

use std::{cell::RefCell, mem::MaybeUninit, rc::Rc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use ws_reactor::{Callbacks, DeflateConfig, Error, Message, Reactor, Server, SlowTurn, TlsConfig, Turn};

/// Messages that control the measurement. All others are echoed, or published.
pub(crate) const BEGIN: &str = "begin";
pub(crate) const REPORT: &str = "report";

#[derive(Default)]
struct Measured {
    nanos: Vec<u64>,
    slowest: Option<SlowTurn>,
}

impl Measured {
    fn report(&mut self) -> String {
        self.nanos.sort_unstable();
        let at = |share: f64| self.nanos.get((self.nanos.len() as f64 * share) as usize).or(self.nanos.last());
        let micros = |nanos: Option<&u64>| nanos.map_or(0.0, |nanos| *nanos as f64 / 1e3);
        let (median, high, max) = (micros(at(0.5)), micros(at(0.999)), micros(self.nanos.last()));
        let phase = self.slowest.map_or(String::new(), |slow| format!("; longest in {:?}", slow.phase.0));
        format!("{} turns, median {median:.0} µs, p99.9 {high:.0} µs, max {max:.0} µs{phase}", self.nanos.len())
    }
}

pub(crate) fn serve(case: &str) -> Result<(), Error> {
    let measured = Rc::new(RefCell::new(Measured::default()));
    let in_turn = Rc::clone(&measured);
    let publishes = case == "publish";
    let mut server = Server::new(move |_| {
        let measured = Rc::clone(&in_turn);
        Callbacks::new()
            .on_open(move |ws, _| {
                if publishes {
                    ws.subscribe("all");
                }
            })
            .on_message(move |ws, message| match message {
                Message::Text(BEGIN) => {
                    *measured.borrow_mut() = Measured::default();
                    ws.send(BEGIN);
                }
                Message::Text(REPORT) => {
                    let report = measured.borrow_mut().report();
                    ws.send(report);
                }
                message if publishes => {
                    ws.hub().publish("all", message);
                }
                message => {
                    ws.send(message);
                }
            })
    })
    .max_message_bytes(32 << 20)
    .ping_after(None);
    if case == "deflate" {
        server = server.deflate(DeflateConfig::dedicated());
    }
    if matches!(case, "handshakes" | "tls-echo") {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        server = server.tls(TlsConfig::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes())?);
    }
    let mut reactor = Reactor::new()?;
    println!("{}", reactor.listen("127.0.0.1:0", server)?.addr);
    let slow = Rc::clone(&measured);
    reactor.on_slow_turn(Duration::from_micros(200), move |_, turn| {
        let slowest = &mut slow.borrow_mut().slowest;
        if slowest.is_none_or(|slowest| turn.phase.1 > slowest.phase.1) {
            *slowest = Some(turn);
        }
    });
    loop {
        // The wait for events takes no CPU time.
        let before = thread_cpu_nanos();
        let turn = reactor.turn(None)?;
        measured.borrow_mut().nanos.push(thread_cpu_nanos() - before);
        if turn == Turn::Stopped {
            return Ok(());
        }
    }
}

/// CPU time of this thread.
fn thread_cpu_nanos() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the call fills the struct that it is given.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
