//! Events of a connection that has ended do not reach the connection that took its slot.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, Reactor, ReactorConfig, Server, Version,
    net::sim::{PeerId, Sim},
};

use crate::support::wire::{self, Kind};

/// The calls of one connection's handler.
#[derive(Debug, Default, PartialEq, Eq)]
struct Calls {
    messages: Vec<String>,
    errors: usize,
    closed: usize,
}

#[test]
fn events_of_ended_connections_do_not_reach_their_successors() {
    let calls: Rc<RefCell<Vec<Calls>>> = Rc::default();
    let log = Rc::clone(&calls);
    let server = Server::new(move |_| {
        let number = log.borrow().len();
        log.borrow_mut().push(Calls::default());
        let [message, error, close] = [0; 3].map(|_| Rc::clone(&log));
        Callbacks::new()
            .on_message(move |ws, received| {
                message.borrow_mut()[number].messages.push(received.as_text().unwrap().to_owned());
                ws.send(received);
            })
            .on_error(move |_, _| error.borrow_mut()[number].errors += 1)
            .on_close(move |_, _| close.borrow_mut()[number].closed += 1)
    });
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.kernel_mut().repeat_events();
    let addr = reactor.listen("10.0.0.1:80", server.ping_after(None)).unwrap().addr;
    let turn = |reactor: &mut Reactor<Sim>, times: usize| {
        for _ in 0..times {
            reactor.turn(Some(Duration::ZERO)).unwrap();
        }
    };
    let mut previous: Option<PeerId> = None;
    for number in 0..300 {
        // The previous peer leaves in the turn in which the next one connects: by a reset, by EOF, or by a close frame.
        if let Some(previous) = previous {
            let sim = reactor.kernel_mut();
            match number % 3 {
                0 => sim.reset(previous),
                1 => sim.finish(previous),
                _ => {
                    sim.send(previous, &wire::frame(Version::Rfc6455, Kind::Close, true, b""));
                    sim.finish(previous);
                }
            }
        }
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        turn(&mut reactor, 1 + number % 4);
        reactor.kernel_mut().send(peer, &wire::text(Version::Rfc6455, number.to_string()));
        turn(&mut reactor, 5);
        let received = reactor.kernel_mut().received(peer);
        assert!(received.ends_with(number.to_string().as_bytes()), "the message of {number} is not echoed");
        assert!(!reactor.kernel_mut().is_closed(peer), "{number} was closed by an event of another");
        previous = Some(peer);
    }
    reactor.kernel_mut().finish(previous.unwrap());
    turn(&mut reactor, 10);
    assert_eq!(reactor.hub().stats().connections, 0);
    for (number, calls) in calls.borrow().iter().enumerate() {
        // A connection that was reset gets one error.
        let errors = usize::from(number + 1 < 300 && (number + 1) % 3 == 0);
        let messages = vec![number.to_string()];
        assert_eq!(*calls, Calls { messages, errors, closed: 1 }, "{number}");
    }
}
