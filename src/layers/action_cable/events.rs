//! A subscription as an event stream: what `EventSource` follows by a URL.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    Cable,
    connection::{Connect, Denied},
    packet::{self, Command, CommandKind},
    protocol::Protocol,
    session::Session,
};
use crate::{
    http::{HeaderValue, Method, Request, StatusCode, header},
    reactor::{ConnectionId, Hub},
    server::{EventStream, Reply},
};

/// Time between two looks for streams that have ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Parameters of the query that are not those of the subscription.
const OWN: [&str; 4] = ["identifier", "raw", "history_since", "jid"];

/// The subscriptions that are event streams.
#[derive(Default)]
pub(super) struct EventStreams {
    sessions: RefCell<HashMap<ConnectionId, Session>>,
    is_scheduled: Cell<bool>,
}

impl EventStreams {
    /// Answers a request for a subscription: with its stream, or with 401 if it is refused.
    pub(super) fn open(cable: &Rc<Cable>, request: &Request, hub: &mut Hub) -> Reply {
        let identifier = identifier(request);
        let (Some(identifier), Some(id)) = (identifier, hub.current_connection()) else {
            return Reply::text(StatusCode::BAD_REQUEST, "no subscription");
        };
        let protocol = if request.query_value("raw").is_some() { Protocol::RawEvents } else { Protocol::Events };
        let mut connect = Connect::new(hub, id, request);
        let session = match (cable.connect)(&mut connect) {
            Ok(user) => {
                let user_stream = connect.user_stream();
                // Before anything that the subscription causes. The stream has begun then.
                hub.next_tick(move |hub| _ = protocol.tell(hub, id, "welcome", packet::WELCOME));
                Session::open(cable, hub, id, user, user_stream, protocol)
            }
            Err(denied) => return refused(denied),
        };
        EventStreams::subscribe(cable, hub, id, session, &identifier, request)
    }

    fn subscribe(
        cable: &Rc<Cable>,
        hub: &mut Hub,
        id: ConnectionId,
        session: Session,
        identifier: &str,
        request: &Request,
    ) -> Reply {
        let history = history(request).map(|history| history.to_string());
        let command = Command {
            kind: CommandKind::Subscribe,
            identifier: identifier.into(),
            data: None,
            history: history.as_deref(),
            presence: None,
        };
        // A channel that panics leaves the session there, which ends with the connection.
        if let Some(earlier) = cable.event_streams.sessions.borrow_mut().insert(id, session) {
            EventStreams::end(cable, hub, earlier);
        }
        EventStreams::schedule(cable, hub);
        let is_accepted = cable
            .event_streams
            .sessions
            .borrow_mut()
            .get_mut(&id)
            .is_some_and(|session| session.subscribe(cable, hub, &command).is_ok() && !session.is_empty());
        if !is_accepted || *request.method() == Method::HEAD {
            let session = cable.event_streams.sessions.borrow_mut().remove(&id);
            if let Some(session) = session {
                EventStreams::end(cable, hub, session);
            }
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

    /// Ends a session, in a tick of its own: a panic ends no other.
    fn end(cable: &Rc<Cable>, hub: &mut Hub, session: Session) {
        let cable = Rc::clone(cable);
        hub.next_tick(move |hub| session.end(&cable, hub, true));
    }

    /// Ends the subscriptions whose streams have ended.
    fn schedule(cable: &Rc<Cable>, hub: &mut Hub) {
        if cable.event_streams.is_scheduled.replace(true) {
            return;
        }
        let weak = Rc::downgrade(cable);
        hub.add_timer(LOOK_EVERY, move |hub| {
            let Some(cable) = weak.upgrade() else { return };
            let ended: Vec<_> =
                cable.event_streams.sessions.borrow_mut().extract_if(|id, _| !hub.is_open(*id)).collect();
            for (_, session) in ended {
                EventStreams::end(&cable, hub, session);
            }
            cable.event_streams.is_scheduled.set(false);
            let is_empty = cable.event_streams.sessions.borrow().is_empty();
            if !is_empty {
                EventStreams::schedule(&cable, hub);
            }
        });
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

/// What the client has missed: after the last event that it knows, or since a time.
fn history(request: &Request) -> Option<Value> {
    let last = request.header("last-event-id").and_then(|id| {
        let (offset, rest) = id.split_once('/')?;
        let (epoch, stream) = rest.split_once('/')?;
        let place = serde_json::json!({"offset": offset.parse::<u64>().ok()?, "epoch": epoch});
        Some(serde_json::json!({"streams": {stream: place}}))
    });
    last.or_else(|| {
        let since: f64 = request.query_value("history_since")?.parse().ok()?;
        Some(serde_json::json!({"since": since}))
    })
}
