//! Topics: by WebSockets, event streams, long-polling and `POST`.

use std::time::Duration;

use ws_reactor::{
    Callbacks, CloseCode, EventStream, HistoryLimits, Hub, LongPoll, Reply, Request, Routes, Upgrade, http::StatusCode,
};

/// Topics whose histories are kept. Clients choose their names.
const MAX_TOPICS: usize = 10_000;

/// A topic that nobody uses is forgotten after this time.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Longest time-out of a poll, in milliseconds.
const MAX_POLL_MILLIS: u64 = 60_000;

/// The routes of a topic, the parameter `topic` of the path around them.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .on_request(admit)
        .websocket("/", |handshake| socket(handshake.request().param("topic").to_owned()))
        .post("/", |request, hub| {
            hub.publish(request.param("topic"), request.text()?);
            Ok::<_, Reply>(StatusCode::ACCEPTED)
        })
        .event_stream("/events", |request, _| EventStream::topic(request.param("topic")).retry(Duration::from_secs(2)))
        .get("/poll", |request, _| poll(request))
}

/// Keeps the history of a topic from its first use on.
fn admit(request: &Request, hub: &mut Hub) -> Result<Upgrade, Reply> {
    let topic = request.param("topic");
    if topic.contains('\0') || !is_well_encoded(request.path()) {
        return Err(Reply::text(StatusCode::BAD_REQUEST, "the name of the topic is malformed"));
    }
    if !hub.keeps_history(topic) && hub.histories() >= MAX_TOPICS {
        return Err(Reply::text(StatusCode::SERVICE_UNAVAILABLE, "too many topics"));
    }
    let limits = HistoryLimits::new().max_events(100).max_bytes(1024 * 1024).max_age(Duration::MAX);
    hub.keep_history(topic, limits.forget_after(Some(FORGET_AFTER)));
    Ok(Upgrade::new())
}

/// Returns `true` if all percent escapes are complete. The routes take others as they are.
fn is_well_encoded(path: &str) -> bool {
    let is_escape = |part: &str| part.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    path.split('%').skip(1).all(is_escape)
}

/// Subscribes to a topic, and publishes what it is sent.
fn socket(topic: String) -> Callbacks {
    let subscribed = topic.clone();
    Callbacks::new()
        .on_open(move |ws, _| {
            ws.subscribe(&subscribed);
        })
        .on_message(move |ws, message| {
            match message.is_text() {
                true => _ = ws.hub().publish(&topic, message),
                false => _ = ws.close(CloseCode::UNSUPPORTED_DATA, "text only"),
            };
        })
}

/// Waits for the first event after `after`, by default the next one, for `timeout` milliseconds, by default 25,000.
fn poll(request: &Request) -> Result<LongPoll, Reply> {
    let number = |name: &str| match request.query_value(name).map(|value| value.parse::<u64>()) {
        Some(Err(_)) => Err(Reply::text(StatusCode::BAD_REQUEST, &format!("{name} is a number"))),
        Some(Ok(number)) => Ok(Some(number)),
        None => Ok(None),
    };
    let mut poll = LongPoll::topic(request.param("topic"));
    if let Some(after) = number("after")? {
        poll = poll.after(after);
    }
    match number("timeout")? {
        Some(0..=MAX_POLL_MILLIS) | None => {}
        Some(_) => return Err(Reply::text(StatusCode::BAD_REQUEST, "timeout is at most 60000")),
    }
    Ok(match number("timeout")? {
        Some(millis) => poll.timeout(Duration::from_millis(millis)),
        None => poll,
    })
}
