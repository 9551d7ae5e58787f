//! Events that come too late, and are about whoever has the place now: nobody is ended, told or read for another.

use crate::support::wire;
use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::support::wire::Kind;
use ws_reactor::{
    Callbacks, Reactor, ReactorConfig, Server, Version,
    net::sim::{PeerId, Sim},
};

/// What the handlers of one connection have heard.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    messages: Vec<String>,
    errors: usize,
    closed: usize,
}

#[test]
fn events_of_those_who_have_gone_do_not_touch_their_successors() {
    let heard: Rc<RefCell<Vec<Heard>>> = Rc::default();
    let notes = Rc::clone(&heard);
    let server = Server::new(move |_| {
        let number = notes.borrow().len();
        notes.borrow_mut().push(Heard::default());
        let [message, error, close] = [0; 3].map(|_| Rc::clone(&notes));
        Callbacks::new()
            .on_message(move |ws, said| {
                message.borrow_mut()[number].messages.push(said.as_text().unwrap().to_owned());
                ws.send(said);
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
    let mut before: Option<PeerId> = None;
    for number in 0..300 {
        // The last goes in the turn in which the next comes, in each of the ways of going.
        if let Some(before) = before {
            let sim = reactor.kernel_mut();
            match number % 3 {
                0 => sim.reset(before),
                1 => sim.finish(before),
                _ => {
                    sim.send(before, &wire::frame(Version::Rfc6455, Kind::Close, true, b""));
                    sim.finish(before);
                }
            }
        }
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.kernel_mut().send(peer, &wire::request(Version::Rfc6455, "/", ""));
        turn(&mut reactor, 1 + number % 4);
        reactor.kernel_mut().send(peer, &wire::text(Version::Rfc6455, number.to_string()));
        turn(&mut reactor, 5);
        let received = reactor.kernel_mut().received(peer);
        assert!(received.ends_with(number.to_string().as_bytes()), "{number} is not answered");
        assert!(!reactor.kernel_mut().is_closed(peer), "{number} was ended for another");
        before = Some(peer);
    }
    reactor.kernel_mut().finish(before.unwrap());
    turn(&mut reactor, 10);
    assert_eq!(reactor.hub().stats().connections, 0);
    for (number, one) in heard.borrow().iter().enumerate() {
        // Who was reset has heard of that; it goes when the next comes.
        let errors = usize::from(number + 1 < 300 && (number + 1) % 3 == 0);
        let messages = vec![number.to_string()];
        assert_eq!(*one, Heard { messages, errors, closed: 1 }, "{number}");
    }
}
