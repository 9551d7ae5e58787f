//! Raw streams on which nothing moves.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    CloseReason, ClosedBy, ConnectionId, Error, Reactor, ReactorConfig, Stream, StreamConfig, StreamHandler,
    TimeoutKind,
    net::sim::{PeerId, Sim},
};

use crate::support::played::{Log, drain};

const TIMEOUT: Duration = Duration::from_secs(8);

struct Noting {
    log: Log,
    ids: Rc<RefCell<Vec<ConnectionId>>>,
}

impl StreamHandler for Noting {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.ids.borrow_mut().push(stream.id());
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        assert!(matches!(error, Error::Timeout(TimeoutKind::Idle)));
        self.log.borrow_mut().push("idle".to_owned());
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        assert_eq!(reason.by, ClosedBy::Timeout(TimeoutKind::Idle));
        self.log.borrow_mut().push("close".to_owned());
    }
}

struct Setup {
    reactor: Reactor<Sim>,
    peers: [PeerId; 2],
    ids: [ConnectionId; 2],
    log: Log,
}

impl Setup {
    fn new(config: StreamConfig) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let (log, ids) = (Log::default(), Rc::<RefCell<Vec<ConnectionId>>>::default());
        let (of_handlers, noted) = (Rc::clone(&log), Rc::clone(&ids));
        let factory = move |_| Noting { log: Rc::clone(&of_handlers), ids: Rc::clone(&noted) };
        let addr = reactor.listen_stream_with("10.0.0.1:80", config, factory).unwrap().addr;
        let peers = [(); 2].map(|()| reactor.kernel_mut().connect(addr).unwrap());
        reactor.settle().unwrap();
        let ids = [ids.borrow()[0], ids.borrow()[1]];
        Setup { reactor, peers, ids, log }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.reactor.advance(Duration::from_secs(1)).unwrap();
        }
    }
}

fn with_timeout() -> StreamConfig {
    StreamConfig::new().idle_timeout(Some(TIMEOUT))
}

#[test]
fn stream_ends_after_its_idle_timeout_and_a_byte_either_way_restarts_it() {
    let mut setup = Setup::new(with_timeout());
    setup.pass(6);
    setup.reactor.kernel_mut().send(setup.peers[0], b"in");
    setup.reactor.settle().unwrap();
    setup.reactor.hub().write(setup.ids[1], b"out");
    setup.pass(7);
    assert!(drain(&setup.log).is_empty());
    setup.reactor.kernel_mut().send(setup.peers[0], b"in");
    setup.pass(4);
    assert_eq!(drain(&setup.log), ["idle", "close"], "the other stream, between 8 and 9 s after its output");
    setup.pass(6);
    assert_eq!(drain(&setup.log), ["idle", "close"]);
    assert_eq!((setup.reactor.hub().stats().connections, setup.reactor.hub().stats().timed_out), (0, 2));
}

#[test]
fn relayed_and_half_open_streams_have_the_idle_timeout_and_streams_without_one_have_none() {
    let mut setup = Setup::new(with_timeout().allow_half_open(true));
    let [one, other] = setup.ids;
    assert!(setup.reactor.hub().relay(one, other));
    setup.pass(5);
    setup.reactor.kernel_mut().send(setup.peers[0], b"relayed");
    setup.reactor.kernel_mut().finish(setup.peers[0]);
    setup.pass(7);
    assert!(drain(&setup.log).is_empty());
    setup.pass(3);
    assert_eq!(drain(&setup.log), ["idle", "close", "idle", "close"]);

    let mut setup = Setup::new(StreamConfig::new());
    setup.pass(100);
    assert!(drain(&setup.log).is_empty());
}
