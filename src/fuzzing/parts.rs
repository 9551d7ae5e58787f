//! Targets for small parts, compared with simple models.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use http::{HeaderMap, StatusCode, header};

use super::Choices;
use crate::{
    http::body::BodyReader,
    protocol::utf8::Utf8Stream,
    proxy::{Proxy, Tunnel, proxy_for},
    reactor::{IdSource, Timers, Topics},
    url::Url,
};

/// UTF-8 in pieces is valid if and only if the standard library accepts the whole text.
pub(super) fn utf8(data: &[u8]) {
    let whole = std::str::from_utf8(data);
    for pieces in [Choices(data).pieces(data), data.chunks(1).collect(), vec![data]] {
        let (mut stream, mut text, mut consumed) = (Utf8Stream::default(), String::new(), 0);
        let bad = pieces.iter().any(|piece| {
            let pushed = stream.push(piece, &mut text);
            consumed += piece.len();
            pushed.is_err()
        });
        let ours = !bad && stream.finish().is_ok();
        assert_eq!(ours, whole.is_ok());
        match &whole {
            Ok(whole) => assert_eq!(text, *whole),
            // The piece that contains the fault fails.
            Err(error) if bad => assert!(consumed > error.valid_up_to()),
            Err(error) => assert!(error.error_len().is_none()),
        }
    }
}

/// Replies of Redis are found at the same places however they arrive, and URLs of Redis are parsed or refused.
#[cfg(feature = "redis")]
pub(super) fn resp(data: &[u8]) {
    crate::cluster::check_redis(data);
}

#[cfg(not(feature = "redis"))]
pub(super) fn resp(_: &[u8]) {}

/// Messages of clients of ActionCable are read or refused, and what is written of them is JSON.
#[cfg(feature = "action-cable")]
pub(super) fn action_cable(data: &[u8]) {
    crate::layers::action_cable::check(data);
}

#[cfg(not(feature = "action-cable"))]
pub(super) fn action_cable(_: &[u8]) {}

/// Messages of clients of Pusher and bodies of its HTTP API are read or refused, and the messages to clients are JSON.
#[cfg(feature = "pusher")]
pub(super) fn pusher(data: &[u8]) {
    crate::layers::pusher::check(data);
}

#[cfg(not(feature = "pusher"))]
pub(super) fn pusher(_: &[u8]) {}

/// Packets of clients of Engine.IO and Socket.IO are read or refused, and what is written of them is read as the same.
#[cfg(feature = "socket-io")]
pub(super) fn socket_io(data: &[u8]) {
    crate::layers::socket_io::check(data);
}

#[cfg(not(feature = "socket-io"))]
pub(super) fn socket_io(_: &[u8]) {}

/// A URL survives parsing and formatting. A reference from a URL resolves to a valid URL without `..`, and never to
/// another Unix socket.
pub(super) fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, reference) = text.split_once('\n').unwrap_or((text, "../x?y"));
    let _ = text.parse::<Proxy>().map(|proxy| format!("{proxy:?}"));
    let Ok(url) = Url::parse(text) else { return };
    assert!(url.target.starts_with('/') && !url.target.contains(['\r', '\n', ' ', '#']) && !url.host.is_empty());
    let again = Url::parse(&url.location()).unwrap();
    let parts = |url: &Url| (url.secure, url.host.clone(), url.port, url.target.clone());
    assert_eq!(parts(&again), parts(&url), "{text:?}");
    assert!(again.credentials.is_none());
    if let Ok(joined) = url.join(reference) {
        assert!(joined.socket.is_none() || joined.socket == url.socket);
        assert!(!joined.target.split('?').next().unwrap_or_default().split('/').any(|segment| segment == ".."));
        Url::parse(&joined.location()).unwrap();
    }
    let _ = proxy_for(&url, |name| (name == "no_proxy").then(|| reference.to_owned()));
}

/// A tunnel gives the same result in pieces and at once, and its output to the proxy is bounded.
pub(super) fn proxy(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let proxy: Proxy =
        ["http://u:p@p", "socks5://u:p@p", "socks5://p", "https://p"][usize::from(choice % 4)].parse().unwrap();
    let url = Url::parse("wss://example.com/x").unwrap();
    let run_tunnel = |pieces: Vec<&[u8]>| {
        let mut out = Vec::new();
        let mut tunnel = Tunnel::new(&proxy, &url, &mut out);
        let mut used = 0;
        for piece in pieces {
            match tunnel.read(piece, &mut out) {
                Ok(None) => used += piece.len(),
                Ok(Some(more)) => return (Ok(used + more), out),
                Err(error) => return (Err(error), out),
            }
        }
        (Ok(usize::MAX), out)
    };
    let whole = run_tunnel(vec![data]);
    assert_eq!(whole, run_tunnel(Choices(data).pieces(data)));
    assert!(whole.1.len() < 500);
}

/// A body in pieces equals the body at once, within the limit.
pub(super) fn body(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let mut headers = HeaderMap::new();
    match choice % 3 {
        0 => drop(headers.insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap())),
        1 => drop(headers.insert(header::CONTENT_LENGTH, (choice / 3).to_string().parse().unwrap())),
        _ => {}
    }
    let read_body = |pieces: Vec<&[u8]>| {
        let mut reader = BodyReader::new(StatusCode::FORBIDDEN, &headers, 50);
        pieces.into_iter().for_each(|piece| reader.read(piece));
        (reader.is_complete(), reader.into_body())
    };
    let whole = read_body(vec![data]);
    assert_eq!(whole, read_body(Choices(data).pieces(data)));
    assert!(whole.1.len() <= 50);
}

/// Timers fire like a sorted list.
pub(super) fn timers(data: &[u8]) {
    let (mut choices, start) = (Choices(data), Instant::now());
    let (mut timers, mut model, mut ids) = (Timers::new(IdSource::new()), BTreeMap::new(), Vec::new());
    let mut now = start;
    while !choices.is_over() {
        let at = start + Duration::from_millis(choices.below(1000) as u64);
        match choices.octet() % 6 {
            0..=2 => {
                let id = timers.insert(at, ids.len());
                model.insert(ids.len(), at);
                ids.push(id);
            }
            3 if !ids.is_empty() => {
                let chosen = choices.below(ids.len());
                assert_eq!(timers.cancel(ids[chosen]), model.remove(&chosen).map(|_| chosen));
            }
            4 if !ids.is_empty() => {
                let chosen = choices.below(ids.len());
                let there = model.get_mut(&chosen).map(|known| *known = at).is_some();
                assert_eq!(timers.reschedule(ids[chosen], at), there);
            }
            _ => {
                now = now.max(at);
                while let Some(due) = timers.next_due(now) {
                    let number = timers.cancel(due).unwrap();
                    let first = model.remove(&number).unwrap();
                    assert!(first <= now && model.values().all(|other| *other >= first));
                }
            }
        }
        assert_eq!(timers.next_deadline(), model.values().min().copied());
    }
}

/// Topics have the members of a model of sets.
pub(super) fn topics(data: &[u8]) {
    let (mut choices, mut topics, mut model) =
        (Choices(data), Topics::default(), BTreeMap::<&[u8], BTreeSet<usize>>::new());
    while !choices.is_over() {
        let (step, connection) = (choices.octet(), choices.below(9));
        let name = choices.bytes(1);
        let text = String::from_utf8_lossy(name);
        match step % 8 {
            0 => {
                topics.leave_all(connection);
                for members in model.values_mut() {
                    members.remove(&connection);
                }
            }
            1..=3 => {
                let was = model.get_mut(name).is_some_and(|members| members.remove(&connection));
                // Names that are not UTF-8 count as one name here.
                if name.is_ascii() {
                    assert_eq!(topics.unsubscribe(connection, &text), was);
                }
            }
            _ if name.is_ascii() => {
                assert_eq!(topics.subscribe(connection, &text), model.entry(name).or_default().insert(connection));
            }
            _ => {}
        }
    }
    for (name, members) in &model {
        let ours = topics.members(&String::from_utf8_lossy(name)).iter().map(|member| member.connection as usize);
        assert_eq!(&ours.collect::<BTreeSet<_>>(), members);
    }
}
