//! Tests of an app without sockets and without real time.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Pusher, PusherAppHandle, PusherHandle};
use crate::{
    protocol::OwnedMessage,
    reactor::Hub,
    websocket::{Received, Routes, Server, TestSocket},
};

/// An app under test, and one client.
///
/// Each call returns after the server has handled its consequences. Time moves only by [`advance`](Self::advance); the
/// client answers pings.
///
/// ```
/// use serde_json::json;
/// use ws_reactor::pusher::{Pusher, PusherApp, PusherTest};
///
/// let pusher = Pusher::new().app(PusherApp::new("1", "key", "secret"));
/// let mut client = PusherTest::connect(pusher, "1");
/// let members = client.subscribe("presence-room", Some(json!({"user_id": "ann"}))).expect("it is signed");
/// assert_eq!(members["presence"]["ids"], json!(["ann"]));
/// let app = client.app();
/// app.trigger(client.hub(), &["presence-room"], "greeting", &"hello", None).unwrap();
/// assert_eq!(client.events(), [("presence-room".to_owned(), "greeting".to_owned(), json!("hello"))]);
/// ```
#[derive(Debug)]
pub struct PusherTest {
    socket: TestSocket,
    app: PusherAppHandle,
    socket_id: String,
    /// Messages that were received and not asked for.
    received: Vec<Value>,
    is_closed: bool,
}

impl PusherTest {
    /// Connects a client to the app with an id.
    ///
    /// # Panics
    ///
    /// If there is no such app, or the client is not accepted.
    pub fn connect(pusher: Pusher, id: &str) -> Self {
        let pusher = pusher.build();
        let app = pusher.app(id).unwrap_or_else(|| panic!("no app has the id {id:?}"));
        let server = server(&pusher);
        let socket = TestSocket::connect(server, &format!("/app/{}?protocol=7", app.key()));
        let mut test = PusherTest { socket, app, socket_id: String::new(), received: Vec::new(), is_closed: false };
        let established = test.take(|message| message["event"] == "pusher:connection_established");
        let established = data_of(&established.unwrap_or_else(|| panic!("not accepted: {:?}", test.received)));
        test.socket_id = established["socket_id"].as_str().unwrap_or_default().to_owned();
        test
    }

    /// The id of the connection.
    pub fn socket_id(&self) -> &str {
        &self.socket_id
    }

    /// The app.
    pub fn app(&self) -> PusherAppHandle {
        self.app.clone()
    }

    /// Subscribes to a channel, with the signature that it needs. `channel_data`: the member, in a presence channel.
    ///
    /// # Errors
    ///
    /// The data of the subscription error, or `null` without an answer.
    pub fn subscribe(&mut self, channel: &str, channel_data: Option<Value>) -> Result<Value, Value> {
        let data = channel_data.map(|data| data.to_string());
        let mut subscribe = match self.app.authorize(&self.socket_id, channel, data.as_deref()) {
            Ok(response) => serde_json::from_str(&response).unwrap_or_default(),
            Err(_) => json!({"channel_data": data}),
        };
        subscribe["channel"] = channel.into();
        self.send("pusher:subscribe", &subscribe);
        let is_answer = |message: &Value| {
            let event = message["event"].as_str().unwrap_or_default();
            message["channel"] == channel && event.contains("subscription_") && !event.ends_with("_count")
        };
        let answer = self.take(is_answer).ok_or(Value::Null)?;
        match answer["event"] == "pusher_internal:subscription_succeeded" {
            true => Ok(data_of(&answer)),
            false => Err(data_of(&answer)),
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, channel: &str) {
        self.send("pusher:unsubscribe", &json!({"channel": channel}));
    }

    /// Signs a user in. Returns `false` if that is refused.
    pub fn sign_in(&mut self, user_data: &Value) -> bool {
        let Ok(response) = self.app.authenticate(&self.socket_id, &user_data.to_string()) else { return false };
        self.send("pusher:signin", &serde_json::from_str(&response).unwrap_or_default());
        self.take(|message| message["event"] == "pusher:signin_success").is_some()
    }

    /// Sends an event to the other subscribers of a channel.
    pub fn client_event(&mut self, channel: &str, event: &str, data: &Value) {
        let message = json!({"event": event, "channel": channel, "data": data});
        self.socket.send(message.to_string().as_str());
    }

    /// Sends a message with data.
    pub fn send(&mut self, event: &str, data: &Value) {
        self.socket.send(json!({"event": event, "data": data}).to_string().as_str());
    }

    /// Returns the messages with a channel that the client has received since the last call, as channel, event and
    /// data. Data that is JSON text is parsed.
    pub fn events(&mut self) -> Vec<(String, String, Value)> {
        self.read();
        let of_channels = self.received.extract_if(.., |message| message["channel"].is_string());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        of_channels.map(|message| (text(&message["channel"]), text(&message["event"]), data_of(&message))).collect()
    }

    /// The code of the last error that the client has received.
    pub fn error(&mut self) -> Option<u64> {
        self.read();
        let mut errors = self.received.iter().rev().filter(|message| message["event"] == "pusher:error");
        errors.find_map(|message| message["data"]["code"].as_u64())
    }

    /// Returns `true` until the connection is closed.
    pub fn is_connected(&mut self) -> bool {
        self.read();
        !self.is_closed
    }

    /// Moves time forward: for time-outs.
    pub fn advance(&mut self, by: Duration) {
        self.socket.advance(by);
        self.read();
    }

    /// The client ends its connection.
    pub fn disconnect(&mut self) {
        self.socket.reset();
    }

    /// The Hub of the reactor.
    pub fn hub(&mut self) -> &mut Hub {
        self.socket.hub()
    }

    fn take(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.read();
        let index = self.received.iter().position(is_wanted)?;
        Some(self.received.remove(index))
    }

    fn read(&mut self) {
        loop {
            self.socket.settle();
            let received = self.socket.received();
            if received.is_empty() {
                return;
            }
            for received in received {
                match received {
                    Received::Message(OwnedMessage::Text(text)) => {
                        let message: Value = serde_json::from_str(&text).unwrap_or_default();
                        match message["event"] == "pusher:ping" {
                            true => self.send("pusher:pong", &json!({})),
                            false => self.received.push(message),
                        }
                    }
                    Received::Close(_) => self.is_closed = true,
                    _ => {}
                }
            }
        }
    }
}

fn server(pusher: &PusherHandle) -> Server {
    Server::routes(pusher.mount(Routes::new())).unwrap_or_else(|error| panic!("{error}"))
}

/// The data of a message. Data that is JSON text is parsed.
fn data_of(message: &Value) -> Value {
    let data = &message["data"];
    data.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| data.clone())
}
