//! Apps of Pusher on several nodes, and their clients as the tests play them.

mod clients;
mod group;
mod nodes;
mod seeded;
mod webhooks;

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde_json::{Value, json};
use ws_reactor::{
    Reactor, ReactorConfig, Routes, Server,
    net::sim::{PeerId, Sim},
    pusher::{Pusher, PusherApp, PusherHandle, PusherTest},
};

use crate::support::further_frames;

type Log = Rc<RefCell<Vec<String>>>;

/// The request of a client.
const UPGRADE: &str = "GET /app/key?protocol=7 HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Nodes of one app on a reactor, each at an address of its own.
struct World {
    reactor: Reactor<Sim>,
    nodes: Vec<PusherHandle>,
    /// Events that the nodes have reported.
    reports: Log,
}

fn app() -> PusherApp {
    PusherApp::new("1", "key", "secret")
}

fn address(node: usize) -> String {
    format!("10.0.0.1:{}", 80 + node)
}

impl World {
    fn new(nodes: usize) -> Self {
        let reactor = Reactor::on(Sim::new(), ReactorConfig::new());
        let mut world = World { reactor, nodes: Vec::new(), reports: Log::default() };
        (0..nodes).for_each(|_| _ = world.start(app()));
        world
    }

    /// Starts a node. Returns its index.
    fn start(&mut self, app: PusherApp) -> usize {
        let (pusher, node) = (Pusher::new().app(app).build(), self.nodes.len());
        let reports = Rc::clone(&self.reports);
        pusher.app("1").unwrap().on_event(move |_, event| reports.borrow_mut().push(format!("{event:?}")));
        pusher.start(self.reactor.hub());
        let server = Server::routes(pusher.mount(Routes::new())).unwrap().ping_after(None);
        self.reactor.listen(&*address(node), server).unwrap();
        self.nodes.push(pusher);
        self.settle();
        // The holdings of the others are known.
        self.advance(2);
        node
    }

    fn settle(&mut self) {
        self.reactor.settle().unwrap();
    }

    fn advance(&mut self, seconds: u64) {
        // In steps, so that timers follow each other.
        for _ in 0..seconds {
            self.reactor.kernel_mut().advance(Duration::from_secs(1));
            self.settle();
        }
    }

    /// Publishes a message as another node does.
    fn publish(&mut self, message: &Value) {
        self.reactor.hub().publish("pusher/1", message.to_string());
        self.settle();
    }

    /// A client of a node, and its socket id.
    fn client(&mut self, node: usize) -> Client {
        let kernel = self.reactor.kernel_mut();
        let peer = kernel.connect(address(node).parse().unwrap()).unwrap();
        kernel.send(peer, UPGRADE.as_bytes());
        self.settle();
        let established = self.received(peer).remove(0);
        let data: Value = serde_json::from_str(established["data"].as_str().unwrap()).unwrap();
        Client { peer, node, socket_id: data["socket_id"].as_str().unwrap().to_owned() }
    }

    fn received(&mut self, peer: PeerId) -> Vec<Value> {
        let received = self.reactor.kernel_mut().received(peer);
        let frames = further_frames(&received);
        frames.iter().filter_map(|frame| serde_json::from_slice(frame).ok()).collect()
    }

    /// The messages of a client, as event, and data where it is an event of a member.
    fn events(&mut self, client: &Client) -> Vec<String> {
        let line = |message: Value| match message["event"].as_str().unwrap() {
            event @ ("pusher_internal:member_added" | "pusher_internal:member_removed") => {
                let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
                format!("{} {}", event.trim_start_matches("pusher_internal:member_"), data["user_id"])
            }
            event => event.trim_start_matches("pusher_internal:").to_owned(),
        };
        self.received(client.peer).into_iter().map(line).collect()
    }

    fn send(&mut self, client: &Client, message: &Value) {
        let text = message.to_string();
        let mut frame = vec![0x81];
        match text.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => frame.extend([0x80 | 126, (length >> 8) as u8, length as u8]),
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.reactor.kernel_mut().send(client.peer, &frame);
        self.settle();
    }

    /// Sends a subscription with the signature that it needs.
    fn subscribe(&mut self, client: &Client, channel: &str, user: Option<&str>) {
        let data = user.map(|user| json!({"user_id": user}).to_string());
        let app = self.nodes[client.node].app("1").unwrap();
        let response = app.authorize(&client.socket_id, channel, data.as_deref()).unwrap();
        let mut data: Value = serde_json::from_str(&response).unwrap();
        data["channel"] = channel.into();
        self.send(client, &json!({"event": "pusher:subscribe", "data": data}));
    }

    /// A client that is a member of a channel.
    fn member(&mut self, node: usize, channel: &str, user: &str) -> Client {
        let client = self.client(node);
        self.subscribe(&client, channel, Some(user));
        assert_eq!(self.events(&client), ["subscription_succeeded"]);
        client
    }

    fn cut(&mut self, client: &Client) {
        self.reactor.kernel_mut().reset(client.peer);
        self.settle();
    }

    fn users(&self, node: usize, channel: &str) -> Vec<String> {
        self.nodes[node].app("1").unwrap().users(channel)
    }

    /// The code of the close frame at the end.
    fn close_code(&mut self, client: &Client) -> Option<u16> {
        let received = self.reactor.kernel_mut().received(client.peer);
        let last = further_frames(&received).pop()?;
        Some(u16::from_be_bytes(*last.first_chunk()?))
    }
}

struct Client {
    peer: PeerId,
    node: usize,
    socket_id: String,
}
