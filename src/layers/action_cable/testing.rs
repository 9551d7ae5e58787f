//! Tests of channels without sockets and without real time.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{ActionCable, CableHandle, packet};
use crate::{
    protocol::{Message, OwnedMessage},
    reactor::Hub,
    websocket::{Received, Routes, Server, TestSocket},
};

/// A cable under test, and one client.
///
/// Each call returns after the cable has handled what it caused. Time moves only by [`advance`](Self::advance).
///
/// ```
/// use serde_json::json;
/// use ws_reactor::action_cable::{Action, ActionCable, ActionCableTest, Channel, Subscription};
///
/// struct Chat;
///
/// impl Channel for Chat {
///     fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
///         match subscription.param("room") {
///             Some(room) => subscription.stream_from(&format!("chat:{room}")),
///             None => subscription.reject(),
///         }
///     }
///
///     fn perform(&mut self, subscription: &mut Subscription<'_>, action: &Action<'_>) {
///         subscription.transmit(action.name()).unwrap();
///     }
/// }
///
/// let cable = ActionCable::new().channel("Chat", || Chat);
/// let mut client = ActionCableTest::connect(cable, "/cable?user=ann");
/// let (chat, other) = (json!({"channel": "Chat", "room": 1}), json!({"channel": "Chat"}));
/// assert!(client.subscribe(&chat) && !client.subscribe(&other));
/// assert_eq!(client.streams(&chat), ["chat:1"]);
/// client.perform(&chat, "speak", &json!({"body": "hi"}));
/// client.broadcast("chat:1", &json!({"body": "hello"}));
/// assert_eq!(client.transmissions(&chat), [json!("speak"), json!({"body": "hello"})]);
/// ```
#[derive(Debug)]
pub struct ActionCableTest {
    socket: TestSocket,
    handle: CableHandle,
    /// Messages that were received and not asked for.
    received: Vec<Value>,
    is_closed: bool,
}

impl ActionCableTest {
    /// Connects a client, with a target such as `/cable?user=ann`. The origin does not matter.
    pub fn connect(cable: ActionCable, target: &str) -> Self {
        let (cable, path) = (cable.any_origin(), target.split(['?', '#']).next().unwrap_or(target));
        let handle = cable.handle();
        let server = Server::routes(cable.mount(Routes::new(), path)).unwrap_or_else(|error| panic!("{error}"));
        let socket = TestSocket::connect(server, target);
        let mut test = ActionCableTest { socket, handle, received: Vec::new(), is_closed: false };
        test.read();
        test
    }

    /// Returns `true` if the client was welcomed, and not disconnected since.
    pub fn is_connected(&mut self) -> bool {
        self.read();
        !self.is_closed && self.received.iter().any(|message| message["type"] == "welcome")
    }

    /// The reason for which the client was disconnected, and whether it may connect again.
    pub fn disconnected(&mut self) -> Option<(String, bool)> {
        self.read();
        let message = self.received.iter().find(|message| message["type"] == "disconnect")?;
        Some((message["reason"].as_str()?.to_owned(), message["reconnect"].as_bool()?))
    }

    /// Subscribes, by the channel and its parameters. Returns `true` if that is confirmed, and `false` if it is
    /// rejected, or not answered.
    pub fn subscribe(&mut self, identifier: &Value) -> bool {
        self.command("subscribe", identifier, None);
        self.read();
        let own = identifier.to_string();
        let is_answer = |message: &Value| {
            message["identifier"] == own.as_str()
                && message["type"].as_str().is_some_and(|kind| kind.ends_with("subscription"))
        };
        let answer = self.received.iter().position(is_answer).map(|index| self.received.remove(index));
        answer.is_some_and(|answer| answer["type"] == "confirm_subscription")
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, identifier: &Value) {
        self.command("unsubscribe", identifier, None);
    }

    /// Performs an action, with the fields of an object.
    ///
    /// # Panics
    ///
    /// If the data cannot be written as a JSON object.
    pub fn perform<T: Serialize + ?Sized>(&mut self, identifier: &Value, action: &str, data: &T) {
        let mut data = serde_json::to_value(data).expect("the data can be written as JSON");
        data.as_object_mut().expect("the data is an object").insert("action".to_owned(), action.into());
        self.command("message", identifier, Some(data.to_string()));
    }

    fn command(&mut self, command: &str, identifier: &Value, data: Option<String>) {
        let mut text = serde_json::json!({"command": command, "identifier": identifier.to_string()});
        if let Some(data) = data {
            text["data"] = data.into();
        }
        self.socket.send(text.to_string().as_str());
    }

    /// Broadcasts a value on a stream, as another part of the application does.
    ///
    /// # Panics
    ///
    /// If the value cannot be written as JSON.
    pub fn broadcast<T: Serialize + ?Sized>(&mut self, stream: &str, value: &T) {
        let json = packet::to_json(value).expect("the value can be written as JSON");
        self.socket.hub().publish(stream, Message::Text(&json));
        self.socket.settle();
    }

    /// The streams that a subscription follows, sorted.
    pub fn streams(&self, identifier: &Value) -> Vec<String> {
        self.handle.streams_of(&identifier.to_string())
    }

    /// Returns the messages that a subscription has received since the last call: broadcasts, and those that its
    /// channel transmits.
    pub fn transmissions(&mut self, identifier: &Value) -> Vec<Value> {
        self.read();
        let own = identifier.to_string();
        let is_own = |message: &mut Value| message["identifier"] == own.as_str() && message.get("message").is_some();
        self.received.extract_if(.., is_own).map(|mut message| message["message"].take()).collect()
    }

    /// Moves time forward: for timers.
    pub fn advance(&mut self, by: Duration) {
        self.socket.advance(by);
    }

    /// The client ends its connection.
    pub fn disconnect(&mut self) {
        self.socket.reset();
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.socket.hub()
    }

    fn read(&mut self) {
        for received in self.socket.received() {
            match received {
                Received::Message(OwnedMessage::Text(text)) => {
                    self.received.extend(serde_json::from_str(&text));
                }
                Received::Close(_) => self.is_closed = true,
                _ => {}
            }
        }
    }
}
