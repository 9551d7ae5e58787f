//! A cable, and its clients as the tests play them.

mod events;
mod histories;
mod presence;
mod rails;
mod seeded;
mod sessions;

use std::{cell::RefCell, rc::Rc, time::Duration};

use serde_json::{Value, json};
use ws_reactor::{
    Backplane, Hub, PublishedMessage, Reactor, ReactorConfig, Routes, Server,
    action_cable::{
        Action, ActionCable, CableHandle, Channel, ChannelTimer, Denied, JwtKey, NamedStreams, StreamVerifier,
        Subscription,
    },
    net::sim::{PeerId, Sim},
};

use crate::support::{further_frames, played::SERVER};

type Log = Rc<RefCell<Vec<String>>>;

/// Writes down its calls.
struct Chat(Log);

impl Channel for Chat {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        let room = subscription.param("room");
        self.note(subscription, "subscribed");
        match room.as_deref() {
            Some("none") | None => subscription.reject(),
            Some("two") => ["chat:a", "chat:b", "chat:a"].into_iter().for_each(|name| subscription.stream_from(name)),
            Some("silent") => {}
            Some(room) => subscription.stream_from(&format!("chat:{room}")),
        }
    }

    fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
        self.note(subscription, &format!("{} {}", action.name(), action.json()));
        match action.name() {
            "speak" => subscription.broadcast_json("chat:a", action.json()),
            "transmit" => _ = subscription.transmit("<only you>").unwrap(),
            "stop" => assert!(subscription.stop_stream_from("chat:a") && !subscription.stop_stream_from("chat:a")),
            "stop_all" => subscription.stop_all_streams(),
            "tick" => _ = subscription.periodically(Duration::from_secs(1)),
            "panic" => panic!("deliberate"),
            _ => {}
        }
    }

    fn on_timer(&mut self, subscription: &mut Subscription<'_>, timer: ChannelTimer) {
        self.note(subscription, "tick");
        subscription.transmit_json("1");
        if self.0.borrow().iter().filter(|line| line.contains("tick")).count() > 3 {
            subscription.cancel_timer(timer);
        }
    }

    fn unsubscribed(&mut self, subscription: &mut Subscription<'_>) {
        self.note(subscription, "unsubscribed");
        assert!(subscription.streams().is_empty());
    }
}

impl Chat {
    fn note(&self, subscription: &Subscription<'_>, what: &str) {
        let user = subscription.user::<String>().expect("a name");
        self.0.borrow_mut().push(format!("{user} {what}"));
    }
}

#[derive(serde::Deserialize)]
struct Claims {}

struct World {
    reactor: Reactor<Sim>,
    handle: CableHandle,
    log: Log,
    /// The name of the last session that was begun.
    last_sid: String,
}

const IDENTIFIER: &str = r#"{\"channel\":\"Chat\",\"room\":\"a\"}"#;

impl World {
    fn new() -> Self {
        World::with(ActionCable::any_origin)
    }

    fn with(change: impl FnOnce(ActionCable) -> ActionCable) -> Self {
        let log = Log::default();
        let (noted, ended) = (Rc::clone(&log), Rc::clone(&log));
        let signed = NamedStreams::signed("signed_stream_name", &StreamVerifier::new("secret"));
        let cable = ActionCable::new()
            .connect(|connect| {
                let name = connect.request().query_value("user").unwrap_or_default().into_owned();
                if let Some(token) = connect.token() {
                    JwtKey::new("secret").verify::<Claims>(&token)?;
                }
                if name == "denied" {
                    return Err(Denied::Unauthorized);
                }
                connect.identify(&*name);
                Ok(name)
            })
            .on_disconnect(move |_, _, name: &String| ended.borrow_mut().push(format!("{name} disconnected")))
            .channel("Chat", move || Chat(Rc::clone(&noted)))
            .streams("Turbo::StreamsChannel", signed);
        let cable = change(cable);
        let handle = cable.handle();
        let routes = cable.broadcast_route(Routes::new(), "/_broadcast", "key");
        let routes = cable.mount(routes, "/cable");
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::new());
        // The clients answer no pings.
        reactor.listen(SERVER, Server::routes(routes).unwrap().ping_after(None)).unwrap();
        World { reactor, handle, log, last_sid: String::new() }
    }

    fn request(&mut self, request: &str) -> PeerId {
        let kernel = self.reactor.kernel_mut();
        let peer = kernel.connect(SERVER.parse().unwrap()).unwrap();
        kernel.send(peer, request.replace('\n', "\r\n").as_bytes());
        self.reactor.settle().unwrap();
        peer
    }

    fn connect(&mut self, user: &str, headers: &str) -> PeerId {
        self.request(&format!(
            "GET /cable?user={user} HTTP/1.1\nHost: example.com\nConnection: Upgrade\nUpgrade: websocket\n\
             Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n{headers}\n"
        ))
    }

    /// A client that was welcomed.
    fn client(&mut self, user: &str) -> PeerId {
        let peer = self.connect(user, "");
        assert_eq!(self.received(peer), [r#"{"type":"welcome"}"#]);
        peer
    }

    fn send(&mut self, peer: PeerId, text: &str) {
        let mut frame = vec![0x81];
        match text.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => frame.extend([0x80 | 126, (length >> 8) as u8, length as u8]),
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.reactor.kernel_mut().send(peer, &frame);
        self.reactor.settle().unwrap();
    }

    fn command(&mut self, peer: PeerId, command: &str, identifier: &str) {
        self.send(peer, &format!(r#"{{"command":"{command}","identifier":"{identifier}"}}"#));
    }

    fn perform(&mut self, peer: PeerId, data: &str) {
        let data = data.replace('"', "\\\"");
        self.send(peer, &format!(r#"{{"command":"message","identifier":"{IDENTIFIER}","data":"{data}"}}"#));
    }

    /// A client that is subscribed.
    fn subscriber(&mut self, user: &str) -> PeerId {
        let peer = self.client(user);
        self.command(peer, "subscribe", IDENTIFIER);
        assert_eq!(self.received(peer), [confirmed(IDENTIFIER)]);
        peer
    }

    fn received(&mut self, peer: PeerId) -> Vec<String> {
        let received = self.reactor.kernel_mut().received(peer);
        let is_ping = |text: &String| text.starts_with(r#"{"type":"ping""#);
        let texts = further_frames(&received).into_iter().map(|frame| String::from_utf8_lossy(&frame).into_owned());
        texts.filter(|text| !is_ping(text)).collect()
    }

    fn values(&mut self, peer: PeerId) -> Vec<Value> {
        self.received(peer).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// A client of the extended protocol, and the name of its session. `query` follows the name of the user.
    fn extended(&mut self, user: &str, query: &str) -> (PeerId, String, Value) {
        let peer = self.connect(&format!("{user}{query}"), "Sec-WebSocket-Protocol: actioncable-v1-ext-json\n");
        let welcome = self.values(peer).remove(0);
        assert_eq!(welcome["type"], "welcome");
        self.last_sid = welcome["sid"].as_str().unwrap().to_owned();
        (peer, self.last_sid.clone(), welcome)
    }

    /// The line of a client is cut.
    fn cut(&mut self, peer: PeerId) {
        self.reactor.kernel_mut().reset(peer);
        self.reactor.settle().unwrap();
    }

    /// Sends a command with an identifier, and with further fields.
    fn tell(&mut self, peer: PeerId, command: &str, identifier: &Value, fields: Value) {
        let mut text = json!({"command": command, "identifier": identifier.to_string()});
        text.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.send(peer, &text.to_string());
    }

    /// The last message before a close frame with 1000.
    fn goodbye(&mut self, peer: PeerId) -> String {
        let received = self.reactor.kernel_mut().received(peer);
        let mut frames = further_frames(&received);
        assert_eq!(frames.pop().expect("a close frame"), 1000_u16.to_be_bytes());
        String::from_utf8(frames.pop().expect("a message")).unwrap()
    }

    fn publish(&mut self, stream: &str, text: &str) {
        self.reactor.hub().publish(stream, text);
        self.reactor.settle().unwrap();
    }
}

/// Has a simulated kernel not be the twin of another one.
fn other_random_numbers(world: &mut World) {
    world.reactor.hub().random(&mut [0; 100]);
}

/// A backplane that writes down what it is given.
#[derive(Default, Clone)]
struct Elsewhere(Log);

impl Backplane for Elsewhere {
    fn subscribe(&mut self, _: &mut Hub, topic: &str) {
        self.0.borrow_mut().push(format!("+{topic}"));
    }

    fn unsubscribe(&mut self, _: &mut Hub, topic: &str) {
        self.0.borrow_mut().push(format!("-{topic}"));
    }

    fn publish(&mut self, _: &mut Hub, published: PublishedMessage<'_>) {
        self.0.borrow_mut().push(format!("{} {}", published.topic, published.message));
    }
}

fn confirmed(identifier: &str) -> String {
    format!(r#"{{"identifier":"{identifier}","type":"confirm_subscription"}}"#)
}

fn rejected(identifier: &str) -> String {
    format!(r#"{{"identifier":"{identifier}","type":"reject_subscription"}}"#)
}

fn message(json: &str) -> String {
    format!(r#"{{"identifier":"{IDENTIFIER}","message":{json}}}"#)
}
