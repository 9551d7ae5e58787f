//! Two raw streams on a simulated network, for tests of what they do to each other.

use std::{cell::RefCell, rc::Rc};

use ws_reactor::{
    ConnectionId, Reactor, ReactorConfig, StreamConfig, StreamHandler,
    net::sim::{PeerId, Sim},
};

use crate::support::played::Log;

/// The ids of the streams, which their handlers write down.
pub(super) type Ids = Rc<RefCell<Vec<ConnectionId>>>;

/// Two streams that the reactor has accepted, and their far ends.
pub(super) struct Pair {
    pub(super) reactor: Reactor<Sim>,
    pub(super) peers: [PeerId; 2],
    pub(super) ids: [ConnectionId; 2],
    pub(super) log: Log,
}

impl Pair {
    pub(super) fn new<H: StreamHandler + 'static>(
        config: StreamConfig,
        handler: impl Fn(Log, Ids) -> H + 'static,
    ) -> Self {
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let (log, ids) = (Log::default(), Ids::default());
        let (of_handlers, noted) = (Rc::clone(&log), Rc::clone(&ids));
        let factory = move |_| handler(Rc::clone(&of_handlers), Rc::clone(&noted));
        let addr = reactor.listen_stream_with("10.0.0.1:80", config, factory).unwrap().addr;
        let peers = [(); 2].map(|()| {
            let peer = reactor.kernel_mut().connect(addr).unwrap();
            reactor.settle().unwrap();
            peer
        });
        let ids = [ids.borrow()[0], ids.borrow()[1]];
        Pair { reactor, peers, ids, log }
    }

    pub(super) fn send(&mut self, from: usize, bytes: &[u8]) {
        self.reactor.kernel_mut().send(self.peers[from], bytes);
        self.reactor.settle().unwrap();
    }

    pub(super) fn received(&mut self, by: usize) -> Vec<u8> {
        self.reactor.kernel_mut().received(self.peers[by])
    }

    pub(super) fn finish(&mut self, peer: usize) {
        self.reactor.kernel_mut().finish(self.peers[peer]);
        self.reactor.settle().unwrap();
    }
}
