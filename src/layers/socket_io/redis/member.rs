//! A server among others that speak the messages of `ClusterAdapter`: what it asks of them, and what it does for them.

use std::{rc::Rc, time::Duration};

use super::{
    super::{
        adapter::{Answer, Answers, Operation, Question},
        broadcast::ANSWER_TIMEOUT,
        msgpack::{self, Packed, field},
        namespace::Namespace,
        payload::Payload,
        target::Target,
    },
    Asked,
    message::{Message, kind},
    new_uid, wire,
};
use crate::reactor::Hub;

/// Called with the number of servers; `None` if it is not known.
pub(super) type OnCount = Box<dyn FnOnce(&mut Hub, Option<usize>)>;

/// Carries messages between servers.
pub(super) trait Bus {
    /// Sends a message to the other servers.
    fn publish(&self, hub: &mut Hub, message: &Message);
    /// Sends an answer to the server with a uid.
    fn respond(&self, hub: &mut Hub, uid: &str, message: &Message);
    /// Asks for the number of servers, this one included.
    fn count(&self, hub: &mut Hub, call: OnCount);
}

/// This server in a namespace.
pub(super) struct Member {
    pub(super) namespace: Namespace,
    /// Names this server among the others.
    pub(super) uid: String,
    asked: Asked,
}

impl Member {
    pub(super) fn new(namespace: &Namespace) -> Self {
        Member { namespace: namespace.clone(), uid: new_uid(), asked: Asked::default() }
    }

    /// A message of this server.
    fn message<const N: usize>(&self, kind: u64, data: [(&str, Packed); N]) -> Message {
        let (uid, namespace) = (self.uid.clone(), self.namespace.name().to_owned());
        Message { uid, namespace, kind, data: wire::map(data) }
    }

    /// An event as a packet. `None` if it is nested too deeply.
    fn packet(&self, payload: &Payload) -> Option<Packed> {
        let data = values(payload)?;
        Some(wire::map([("type", 2.into()), ("data", data), ("nsp", self.namespace.name().into())]))
    }

    /// The message of an operation. `None` if there is none.
    pub(super) fn operation(&self, operation: &Operation) -> Option<Message> {
        let options = |target: &Target| ("opts", wire::options(target, Default::default(), None));
        Some(match operation {
            Operation::Emit { payload, target, flags } => {
                let options = ("opts", wire::options(target, *flags, None));
                self.message(kind::BROADCAST, [("packet", self.packet(payload)?), options])
            }
            Operation::Join { target, rooms } => {
                self.message(kind::JOIN, [options(target), ("rooms", wire::names_packed(rooms))])
            }
            Operation::Leave { target, rooms } => {
                self.message(kind::LEAVE, [options(target), ("rooms", wire::names_packed(rooms))])
            }
            Operation::Disconnect { target, closes } => {
                self.message(kind::DISCONNECT, [options(target), ("close", (*closes).into())])
            }
            Operation::ServerEmit { payload } => self.message(kind::SERVER_EMIT, [("packet", values(payload)?)]),
        })
    }

    /// Asks the other servers, once it is known how many there are.
    pub(super) fn ask<B: Bus + 'static>(&self, hub: &mut Hub, bus: &Rc<B>, question: &Question, answers: &Answers) {
        let id = self.asked.add(hub, answers);
        let Some(message) = self.question(question, &id) else { return answers.expect(hub, 0) };
        let (sender, answers) = (Rc::clone(bus), answers.clone());
        let ask = move |hub: &mut Hub, servers: Option<usize>| {
            // Without Redis the answers are missing at the end of their time.
            let Some(others) = servers.map(|servers| servers.saturating_sub(1)) else { return };
            if others > 0 {
                sender.publish(hub, &message);
            }
            answers.expect(hub, others);
        };
        bus.count(hub, Box::new(ask));
    }

    fn question(&self, question: &Question, id: &str) -> Option<Message> {
        let id = ("requestId", id.into());
        Some(match question {
            Question::Emit { payload, target, flags, timeout } => {
                let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                let options = ("opts", wire::options(target, *flags, Some(timeout)));
                self.message(kind::BROADCAST, [("packet", self.packet(payload)?), id, options])
            }
            Question::Fetch { target } => {
                self.message(kind::FETCH, [("opts", wire::options(target, Default::default(), None)), id])
            }
            Question::ServerEmit { payload } => self.message(kind::SERVER_EMIT, [id, ("packet", values(payload)?)]),
        })
    }

    /// Handles a message of another server, which may have an offset. `None` if it is not understood.
    pub(super) fn handle<B: Bus + 'static>(
        self: &Rc<Self>,
        hub: &mut Hub,
        bus: &Rc<B>,
        message: &Message,
        offset: Option<&str>,
    ) -> Option<()> {
        if message.uid == self.uid || message.namespace != self.namespace.name() {
            return Some(());
        }
        let data = &message.data;
        let options = || field(data, "opts").map(wire::read_options);
        let id = message.request_id();
        match message.kind {
            kind::BROADCAST => {
                let payload = msgpack::event_payload(field(field(data, "packet")?, "data")?.as_array()?)?;
                let (target, flags, timeout) = options()?;
                if id.is_none() {
                    let operation = Operation::Emit { payload, target, flags };
                    match offset {
                        Some(offset) => self.namespace.apply_at(hub, operation, offset),
                        None => self.namespace.apply(hub, operation),
                    }
                    return Some(());
                }
                let timeout = timeout.map_or(ANSWER_TIMEOUT, Duration::from_millis);
                self.answer(hub, bus, message, Question::Emit { payload, target, flags, timeout });
            }
            kind::JOIN | kind::LEAVE => {
                let ((target, ..), rooms) = (options()?, wire::read_names(field(data, "rooms")?));
                let operation = match message.kind {
                    kind::JOIN => Operation::Join { target, rooms },
                    _ => Operation::Leave { target, rooms },
                };
                self.namespace.apply(hub, operation);
            }
            kind::DISCONNECT => {
                let closes = field(data, "close").and_then(Packed::as_bool) == Some(true);
                self.namespace.apply(hub, Operation::Disconnect { target: options()?.0, closes });
            }
            kind::FETCH => self.answer(hub, bus, message, Question::Fetch { target: options()?.0 }),
            kind::SERVER_EMIT => {
                let payload = msgpack::event_payload(field(data, "packet")?.as_array()?)?;
                match id {
                    None => self.namespace.apply(hub, Operation::ServerEmit { payload }),
                    Some(_) => self.answer(hub, bus, message, Question::ServerEmit { payload }),
                }
            }
            // Of adapters that count their servers themselves.
            kind::FIRST_HEARTBEAT | kind::HEARTBEAT | kind::CLOSE => {}
            _ => self.on_answer(hub, message)?,
        }
        Some(())
    }

    /// Answers a question of another server.
    fn answer<B: Bus + 'static>(self: &Rc<Self>, hub: &mut Hub, bus: &Rc<B>, asked: &Message, question: Question) {
        let (member, bus) = (Rc::clone(self), Rc::clone(bus));
        let (uid, id) = (asked.uid.clone(), asked.request_id().unwrap_or_default().to_owned());
        self.namespace.answer(hub, question, move |hub, answer| {
            let id = ("requestId", id.as_str().into());
            let answer = match &answer {
                Answer::Asked(clients) => member.message(kind::CLIENT_COUNT, [id, ("clientCount", (*clients).into())]),
                // As Node's server, which passes on the first argument.
                Answer::Args(args) => member.message(kind::ACK, [id, ("packet", wire::first_of(args))]),
                Answer::Server(args) => member.message(kind::SERVER_ANSWER, [id, ("packet", wire::first_of(args))]),
                Answer::Sockets(sockets) => {
                    let sockets = sockets.iter().map(|socket| msgpack::to_packed(wire::socket_json(socket), &[]));
                    member.message(kind::SOCKETS, [id, ("sockets", Packed::Array(sockets.collect()))])
                }
            };
            bus.respond(hub, &uid, &answer);
        });
    }

    fn on_answer(&self, hub: &mut Hub, message: &Message) -> Option<()> {
        let data = &message.data;
        let args = || {
            let packet = field(data, "packet").unwrap_or(&Packed::Nil);
            msgpack::payload(std::slice::from_ref(packet))?.into_args()
        };
        let answer = match message.kind {
            kind::CLIENT_COUNT => Answer::Asked(usize::try_from(field(data, "clientCount")?.as_u64()?).ok()?),
            kind::ACK => Answer::Args(args()?),
            kind::SERVER_ANSWER => Answer::Server(args()?),
            kind::SOCKETS => {
                let sockets = field(data, "sockets")?.as_array()?.iter().map(msgpack::value_of);
                Answer::Sockets(sockets.filter_map(|socket| wire::read_socket(&socket)).collect())
            }
            _ => return None,
        };
        if let Some(answers) = self.asked.get(message.request_id()?) {
            answers.add(hub, answer);
        }
        Some(())
    }
}

/// The values of a payload. `None`, with a log line, if they are nested too deeply.
fn values(payload: &Payload) -> Option<Packed> {
    let values = msgpack::packed(payload);
    if values.is_none() {
        log::error!(target: super::super::LOG, "an event is nested too deeply for other servers");
    }
    values
}
