//! `send_latest` and `publish_latest` against a model: any sequence of messages, on lines of any speed, plain,
//! compressed and within TLS.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use proptest::prelude::*;
use ws_reactor::{
    Callbacks, ConnectionId, DeflateConfig, Message, Reactor, ReactorConfig, Server,
    net::sim::{Buffers, PeerId, Sim},
    protocol::{ClientHandshake, Incoming, MessageDecoder, PendingResponse},
};

use crate::support::secure;

/// Keys of the messages. A message without a key is never replaced.
const KEYS: usize = 4;
/// Length of the longest message, in bytes.
const LONGEST: usize = 3000;

/// A step of an application or of the network.
#[derive(Debug, Clone)]
enum Step {
    Send {
        length: usize,
    },
    SendLatest {
        key: usize,
        length: usize,
    },
    PublishLatest {
        key: usize,
        length: usize,
    },
    /// The line carries this many bytes a second from now on.
    Speed(u64),
    Wait {
        millis: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = || prop_oneof![12_usize..200, 200..LONGEST];
    let step = prop_oneof![
        2 => length().prop_map(|length| Step::Send { length }),
        4 => (0..KEYS, length()).prop_map(|(key, length)| Step::SendLatest { key, length }),
        4 => (0..KEYS, length()).prop_map(|(key, length)| Step::PublishLatest { key, length }),
        1 => prop_oneof![Just(0), 100_u64..20_000].prop_map(Step::Speed),
        4 => (0_u64..300).prop_map(|millis| Step::Wait { millis }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// What lies between the reactor and its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Plain,
    Shared,
    Dedicated,
    Tls,
}

/// A peer that decodes what it receives.
struct Peer {
    id: PeerId,
    tls: Option<secure::Client>,
    pending: Option<PendingResponse>,
    decoder: Option<MessageDecoder>,
    /// Plaintext that is not decoded yet.
    bytes: Vec<u8>,
    texts: Vec<String>,
}

impl Peer {
    fn connect(reactor: &mut Reactor<Sim>, layer: Layer) -> Self {
        let id = reactor.kernel_mut().connect("10.0.0.1:80".parse().unwrap()).unwrap();
        let mut handshake = ClientHandshake::new("ws://localhost/").unwrap();
        match layer {
            Layer::Shared => handshake = handshake.deflate(DeflateConfig::shared()),
            Layer::Dedicated => handshake = handshake.deflate(DeflateConfig::dedicated()),
            Layer::Plain | Layer::Tls => {}
        }
        let mut request = Vec::new();
        let pending = handshake.send(|bytes| bytes.fill(7), &mut request).unwrap();
        let tls = (layer == Layer::Tls).then(secure::client);
        let mut peer = Peer { id, tls, pending: Some(pending), decoder: None, bytes: Vec::new(), texts: Vec::new() };
        while peer.decoder.is_none() {
            peer.write(reactor, &mut request);
            reactor.settle().unwrap();
            peer.read(reactor);
        }
        peer
    }

    fn write(&mut self, reactor: &mut Reactor<Sim>, plaintext: &mut Vec<u8>) {
        let bytes = match &mut self.tls {
            Some(tls) => std::mem::take(tls.encrypt(plaintext)),
            None => std::mem::take(plaintext),
        };
        reactor.kernel_mut().send(self.id, &bytes);
    }

    /// Decodes what has arrived.
    fn read(&mut self, reactor: &mut Reactor<Sim>) {
        let received = reactor.kernel_mut().received(self.id);
        match &mut self.tls {
            Some(tls) => tls.decrypt(&received, &mut self.bytes),
            None => self.bytes.extend(received),
        }
        let mut at = 0;
        if let Some(pending) = &mut self.pending {
            let (used, opened) = pending.receive(&self.bytes).unwrap();
            at += used;
            if let Some(opened) = opened {
                self.decoder = Some(opened.decoder);
                self.pending = None;
            }
        }
        while let Some(decoder) = &mut self.decoder {
            let (used, incoming) = decoder.decode(&mut self.bytes[at..]).unwrap();
            at += used;
            match incoming {
                Some(Incoming::Message(Message::Text(text))) => self.texts.push(text.to_owned()),
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
        self.bytes.drain(..at);
    }
}

/// The messages that were sent to one peer: the key of each, in order. The text begins with its index.
#[derive(Default)]
struct Model(Vec<Option<usize>>);

impl Model {
    /// The next text, of this length.
    fn text(&mut self, key: Option<usize>, length: usize) -> String {
        self.0.push(key);
        let mut text = format!("{:06} ", self.0.len() - 1);
        // Not easy to compress.
        let mut state = self.0.len() as u32;
        while text.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(char::from(b'a' + (state >> 24) as u8 % 26));
        }
        text
    }

    /// Checks what a peer has received in the end. Returns the number of messages that were replaced.
    fn check(&self, texts: &[String]) -> Result<usize, TestCaseError> {
        let indexes: Vec<usize> = texts.iter().map(|text| text[..6].parse().unwrap()).collect();
        let plain = |index: &usize| self.0[*index].is_none();
        let expected: Vec<usize> = (0..self.0.len()).filter(plain).collect();
        prop_assert_eq!(indexes.iter().copied().filter(plain).collect::<Vec<_>>(), expected, "without a key");
        // A message stands in the place of the first of its key that was not received.
        let (mut last, mut places) = (BTreeMap::new(), Vec::new());
        for index in &indexes {
            let place = match self.0[*index] {
                None => *index,
                Some(key) => {
                    let from = last.insert(key, *index).map_or(0, |last| last + 1);
                    prop_assert!(from <= *index, "message {index} of key {key} after {from}");
                    (from..).find(|place| self.0[*place] == Some(key)).unwrap()
                }
            };
            places.push(place);
        }
        prop_assert!(places.is_sorted(), "{places:?}");
        for key in 0..KEYS {
            let newest = self.0.iter().rposition(|sent| *sent == Some(key));
            prop_assert_eq!(last.get(&key).copied(), newest, "the newest of key {}", key);
        }
        Ok(self.0.len() - indexes.len())
    }
}

fn run(layer: Layer, steps: &[Step]) -> Result<(), TestCaseError> {
    let ids = Rc::<RefCell<Vec<ConnectionId>>>::default();
    let opened = Rc::clone(&ids);
    let server = Server::new(move |_| {
        let opened = Rc::clone(&opened);
        Callbacks::new().on_open(move |ws, _| {
            ws.subscribe("all");
            opened.borrow_mut().push(ws.id());
        })
    });
    // Neither pings nor time-outs: the line may be dead for the whole test.
    let server = server.ping_after(None).configure(|config| {
        config.websocket.stream.output.stall_timeout = Duration::from_secs(3600);
    });
    let server = match layer {
        Layer::Plain => server,
        Layer::Shared => server.deflate(DeflateConfig::shared()),
        Layer::Dedicated => server.deflate(DeflateConfig::dedicated()),
        Layer::Tls => secure::server(server),
    };
    let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
    reactor.listen("10.0.0.1:80", server).unwrap();
    let mut slow = Peer::connect(&mut reactor, layer);
    let mut fast = Peer::connect(&mut reactor, layer);
    let id = ids.borrow()[0];
    // A write blocks early.
    reactor.kernel_mut().set_buffers(slow.id, Buffers { send_bytes: 2000, ..Buffers::default() });
    let (mut to_slow, mut published, mut plain_bytes) = (Model::default(), Vec::new(), 0);
    for step in steps {
        match *step {
            Step::Send { length } => {
                plain_bytes += length + 14;
                let text = to_slow.text(None, length);
                prop_assert!(reactor.hub().send(id, text).is_queued());
            }
            Step::SendLatest { key, length } => {
                let text = to_slow.text(Some(key), length);
                prop_assert!(reactor.hub().send_latest(id, &key.to_string(), text).is_queued());
            }
            Step::PublishLatest { key, length } => {
                published.push((to_slow.0.len(), key));
                let text = to_slow.text(Some(key), length);
                let reached = reactor.hub().publish_latest("all", &key.to_string(), text).queued;
                prop_assert_eq!(reached, 2);
            }
            Step::Speed(speed) => reactor.kernel_mut().slow_line(slow.id, speed),
            Step::Wait { millis } => _ = reactor.advance(Duration::from_millis(millis)).unwrap(),
        }
        let most = plain_bytes + (KEYS + 1) * (LONGEST + 14);
        prop_assert!(reactor.hub().buffered(id) <= most, "{} bytes wait", reactor.hub().buffered(id));
        slow.read(&mut reactor);
    }
    reactor.kernel_mut().slow_line(slow.id, 100_000_000);
    reactor.advance(Duration::from_secs(10)).unwrap();
    slow.read(&mut reactor);
    fast.read(&mut reactor);
    let replaced = to_slow.check(&slow.texts)? + published.len() - fast.texts.len();
    prop_assert_eq!(reactor.hub().stats().conflated, replaced as u64);
    let at_fast: Vec<usize> = fast.texts.iter().map(|text| text[..6].parse().unwrap()).collect();
    for key in 0..KEYS {
        let of_key = |(index, other): &(usize, usize)| (*other == key).then_some(*index);
        let newest = published.iter().filter_map(of_key).next_back();
        let mut received = at_fast.iter().filter(|index| to_slow.0[**index] == Some(key));
        prop_assert!(received.clone().is_sorted() && received.next_back().copied() == newest, "key {}", key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn newest_message_of_each_key_arrives_in_the_place_of_the_older_ones(steps in steps()) {
        for layer in [Layer::Plain, Layer::Shared, Layer::Dedicated, Layer::Tls] {
            run(layer, &steps)?;
        }
    }
}
