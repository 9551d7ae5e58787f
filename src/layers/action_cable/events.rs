//! A subscription as an event stream: what `EventSource` follows by a URL.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use serde_json::{Map, Value, json};

use super::{
    Cable,
    connection::{Connect, Denied},
    extended::Position,
    packet::{self, Command, CommandKind},
    protocol::Protocol,
    session::Session,
};
use crate::{
    http::{HeaderValue, Method, Request, StatusCode, header},
    reactor::{ConnectionId, Hub},
    server::{EventStream, Reply},
};

/// Parameters of the query that are not those of the subscription.
const OWN: [&str; 4] = ["identifier", "raw", "history_since", "jid"];

/// The subscriptions that are event streams.
#[derive(Default)]
pub(super) struct EventStreams {
    sessions: RefCell<HashMap<ConnectionId, Session>>,
}

impl EventStreams {
    /// Answers a request for a subscription: with its stream, or with 401 if it is refused.
    pub(super) fn open(cable: &Rc<Cable>, request: &Request, hub: &mut Hub) -> Reply {
        let identifier = identifier(request);
        let (Some(identifier), Some(id)) = (identifier, hub.current_connection()) else {
            return Reply::text(StatusCode::BAD_REQUEST, "no subscription");
        };
        let protocol = match () {
            () if *request.method() == Method::HEAD => Protocol::EventsHead,
            () if request.query_value("raw").is_some() => Protocol::RawEvents,
            () => Protocol::Events,
        };
        let mut connect = Connect::new(hub, id, request);
        match (cable.connect)(&mut connect) {
            Ok(user) => {
                let user_stream = connect.user_stream();
                // Before anything that the subscription causes.
                protocol.tell(hub, id, "welcome", packet::WELCOME);
                let session = Session::open(cable, hub, id, user, user_stream, protocol);
                EventStreams::subscribe(cable, hub, session, &identifier, request)
            }
            Err(denied) => refused(denied),
        }
    }

    fn subscribe(cable: &Rc<Cable>, hub: &mut Hub, session: Session, identifier: &str, request: &Request) -> Reply {
        let (id, history) = (session.id(), history(cable, hub, request).map(|history| history.to_string()));
        let command = Command {
            kind: CommandKind::Subscribe,
            identifier: identifier.into(),
            data: None,
            history: history.as_deref(),
            presence: None,
        };
        // A channel that panics leaves the session there, which ends with the connection.
        let earlier = cable.event_streams.sessions.borrow_mut().insert(id, session);
        if let Some(earlier) = earlier {
            earlier.end(cable, hub, true);
        }
        // The server may be gone before its last connection.
        let of = Rc::clone(cable);
        let hook = hub.when_closed(id, move |hub| EventStreams::end(&of, hub, id));
        let is_accepted = cable
            .event_streams
            .sessions
            .borrow_mut()
            .get_mut(&id)
            .is_some_and(|session| session.subscribe(cable, hub, &command).is_ok() && !session.is_empty());
        if !is_accepted || *request.method() == Method::HEAD {
            if let Some(hook) = hook {
                hub.cancel_close_hook(hook);
            }
            EventStreams::end(cable, hub, id);
            return if is_accepted { EventStream::topics::<&str>([]).into() } else { refused(Denied::Unauthorized) };
        }
        let reply: Reply = EventStream::topics::<&str>([]).into();
        match request.header("origin").and_then(|origin| HeaderValue::from_str(origin).ok()) {
            Some(origin) => reply
                .header(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin)
                .header(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"))
                .header(header::VARY, HeaderValue::from_static("Origin")),
            None => reply,
        }
    }

    /// Ends the subscription of a connection.
    fn end(cable: &Rc<Cable>, hub: &mut Hub, id: ConnectionId) {
        let session = cable.event_streams.sessions.borrow_mut().remove(&id);
        if let Some(session) = session {
            session.end(cable, hub, true);
        }
    }
}

fn refused(denied: Denied) -> Reply {
    let json = HeaderValue::from_static("application/json");
    let text = packet::disconnect(denied.reason(), false);
    Reply::bytes(text).with_status(StatusCode::UNAUTHORIZED).header(header::CONTENT_TYPE, json)
}

/// The subscription that a query names: by its identifier, by a channel and its parameters, or by a stream.
fn identifier(request: &Request) -> Option<String> {
    if let Some(identifier) = request.query_value("identifier") {
        return Some(identifier.into_owned());
    }
    let pairs = request.query_pairs().filter(|(name, _)| !OWN.contains(&&**name));
    let mut params: Map<String, Value> =
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
    let named =
        [("signed_stream", "signed_stream_name"), ("stream", "stream_name")].into_iter().find_map(|(name, param)| {
            Some(Map::from_iter([("channel".into(), "$pubsub".into()), (param.into(), params.remove(name)?)]))
        });
    let params = named.unwrap_or(params);
    params.contains_key("channel").then(|| Value::Object(params).to_string())
}

/// Returns the request for the messages that a client has missed: after its `Last-Event-ID`, or since a time. On the
/// other streams of its subscription, the messages since the time of that event.
fn history(cable: &Cable, hub: &Hub, request: &Request) -> Option<Value> {
    // Browsers send it as UTF-8.
    let last = request.headers().get("last-event-id").and_then(|id| str::from_utf8(id.as_bytes()).ok());
    let last = last.and_then(|id| {
        let (offset, rest) = id.split_once('/')?;
        let (epoch, stream) = rest.split_once('/')?;
        Some((stream, Position { epoch: epoch.to_owned(), offset: offset.parse().ok()? }))
    });
    if let Some((stream, place)) = last {
        let since = cable.streams.borrow().time_of(hub, stream, &place);
        let place = json!({"offset": place.offset, "epoch": place.epoch});
        return Some(json!({"streams": {stream: place}, "since": since}));
    }
    let since: f64 = request.query_value("history_since")?.parse().ok()?;
    Some(json!({"since": since}))
}
