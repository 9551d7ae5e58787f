//! A group on simulated networks: the test decides which reactor has its turn.

use std::time::Duration;

use ws_reactor::{
    Bind, Callbacks, Published, Reactor, ReactorConfig, ReactorGroup, Server, Turn,
    net::sim::{PeerId, Sim},
};

use crate::support::{REQUEST, further_frames, played::SERVER};

/// Reactors that listen at [`SERVER`], each on a network of its own.
pub(super) struct Group {
    pub(super) reactors: Vec<Reactor<Sim>>,
}

impl Group {
    /// Reactors on whose servers each connection is subscribed to these topics.
    pub(super) fn new(size: usize, config: ReactorConfig, topics: &'static [&'static str]) -> Self {
        let server = || {
            Server::new(move |_| {
                Callbacks::new().on_open(move |ws, _| {
                    for topic in topics {
                        ws.subscribe(topic);
                    }
                })
            })
        };
        Group::serving(size, config, server, &SERVER.into())
    }

    /// Reactors that have this server each.
    pub(super) fn serving(size: usize, config: ReactorConfig, server: impl Fn() -> Server, bind: &Bind) -> Self {
        let mut reactors = ReactorGroup::simulated(size, config);
        for reactor in &mut reactors {
            reactor.listen(bind.clone(), server()).unwrap();
        }
        Group { reactors }
    }

    /// Connects a WebSocket to a reactor.
    pub(super) fn connect(&mut self, index: usize) -> PeerId {
        self.connect_with(index, REQUEST)
    }

    pub(super) fn connect_with(&mut self, index: usize, request: &[u8]) -> PeerId {
        let peer = self.request(index, request);
        self.settle();
        peer
    }

    /// Connects to a reactor, which has no turn yet.
    pub(super) fn request(&mut self, index: usize, request: &[u8]) -> PeerId {
        let kernel = self.reactors[index].kernel_mut();
        let peer = kernel.connect(SERVER.parse().unwrap()).unwrap();
        kernel.send(peer, request);
        peer
    }

    pub(super) fn turn(&mut self, index: usize) -> Turn {
        self.reactors[index].turn(Some(Duration::ZERO)).unwrap()
    }

    /// Gives each reactor turns until none has work.
    pub(super) fn settle(&mut self) {
        for _ in 0..8 * self.reactors.len() {
            for reactor in &mut self.reactors {
                reactor.settle().unwrap();
            }
        }
    }

    /// Advances the time of each reactor.
    pub(super) fn advance(&mut self, by: Duration) {
        for reactor in &mut self.reactors {
            reactor.advance(by).unwrap();
        }
        self.settle();
    }

    pub(super) fn publish(&mut self, index: usize, topic: &str, text: &str) -> Published {
        self.reactors[index].hub().publish(topic, text)
    }

    /// All messages that a WebSocket has received since the last call.
    pub(super) fn messages(&mut self, index: usize, peer: PeerId) -> Vec<String> {
        let received = self.reactors[index].kernel_mut().received(peer);
        further_frames(&received).into_iter().map(|payload| payload.escape_ascii().to_string()).collect()
    }

    /// The ids and data of the events in the history of a topic.
    pub(super) fn history(&mut self, index: usize, topic: &str) -> Vec<(u64, String)> {
        let replay = self.reactors[index].hub().events_after([topic], 0).unwrap();
        replay.events.into_iter().map(|event| (event.id, event.data.to_string())).collect()
    }

    /// Whether each reactor keeps the history of a topic.
    pub(super) fn keeps_history(&mut self, topic: &str) -> Vec<bool> {
        self.reactors.iter_mut().map(|reactor| reactor.hub().keeps_history(topic)).collect()
    }
}

#[cfg(feature = "server")]
impl Group {
    /// Reactors with event streams and polls.
    pub(super) fn of_streams(size: usize, config: ReactorConfig) -> Self {
        use ws_reactor::{EventStream, LongPoll, Routes};
        let server = || {
            let routes = Routes::new()
                .metrics("/metrics")
                .event_stream("/events", |_, _| EventStream::topics(["one", "two"]))
                .get("/poll/{after}", |request, _| {
                    LongPoll::topic("one").after(request.param("after").parse().unwrap())
                });
            Server::routes(routes).unwrap()
        };
        Group::serving(size, config, server, &SERVER.into())
    }

    /// The text that a client has received since the last call.
    pub(super) fn text(&mut self, index: usize, peer: PeerId) -> String {
        String::from_utf8(self.reactors[index].kernel_mut().received(peer)).unwrap()
    }

    /// The data of the events that a client has received since the last call.
    pub(super) fn data(&mut self, index: usize, peer: PeerId) -> Vec<String> {
        self.text(index, peer).lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// A request, of an event stream that goes on after an event if that is given.
#[cfg(feature = "server")]
pub(super) fn get(path: &str, last_event_id: Option<u64>) -> Vec<u8> {
    let last = last_event_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n{last}\r\n").into_bytes()
}
