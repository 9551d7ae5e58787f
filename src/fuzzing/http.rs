//! Targets for HTTP: requests and their bodies, paths of files, and ranges.

use std::path::{Component, Path};

use http::Response;

use super::Choices;
use crate::{
    http::{
        HeadLimits,
        connection::{BodyLength, HttpConnection, HttpEvent, Next, RequestError, Step},
        range::{Selection, select},
    },
    server::relative_path,
};

/// Requests as an application sees them, and the responses.
#[derive(Debug, Default, PartialEq, Eq)]
struct Served {
    requests: Vec<(String, Vec<u8>)>,
    out: Vec<u8>,
    /// Bytes that were used before the end.
    used: usize,
    end: Option<RequestError>,
}

/// Largest body in these targets.
const LIMIT: u64 = 1000;

/// Serves a stream of requests that arrives in pieces. Every second request is answered without its body.
fn serve(pieces: &[&[u8]]) -> Served {
    let limits = HeadLimits { max_bytes: 2000, max_headers: 20 };
    let (mut connection, mut served) = (HttpConnection::new(limits), Served::default());
    for mut piece in pieces.iter().copied() {
        loop {
            let (used, event) = match connection.read(piece) {
                Ok(read) => read,
                Err(error) => {
                    served.end = Some(error);
                    return served;
                }
            };
            served.used += used;
            let ready = match event {
                Some(HttpEvent::Request(request)) => {
                    served.requests.push((format!("{} {}", request.method(), request.uri()), Vec::new()));
                    if served.requests.len() % 2 == 1
                        && let Err(error) = connection.want_body(LIMIT, &mut served.out)
                    {
                        served.end = Some(error);
                        return served;
                    }
                    connection.step() == Step::Response
                }
                Some(HttpEvent::Data(range)) => {
                    let body = &mut served.requests.last_mut().unwrap().1;
                    body.extend_from_slice(&piece[range]);
                    assert!(body.len() as u64 <= LIMIT);
                    false
                }
                Some(HttpEvent::End) => true,
                None => {
                    assert!(used == piece.len() || connection.step() == Step::Ended);
                    break;
                }
            };
            piece = &piece[used..];
            if ready {
                connection.begin_response(&Response::new(()), BodyLength::Known(2), "now", &mut served.out);
                connection.write_body(b"ok", &mut served.out);
                if connection.end_response(&mut served.out) == Next::Close {
                    return served;
                }
            }
        }
    }
    served
}

/// Requests and responses do not depend on the pieces in which the requests arrive.
pub(super) fn requests(data: &[u8]) {
    let whole = serve(&[data]);
    assert!(whole.used <= data.len());
    for pieces in [Choices(data).pieces(data), data.chunks(1).collect()] {
        let divided = serve(&pieces);
        assert_eq!((&divided.requests, &divided.out, &divided.end), (&whole.requests, &whole.out, &whole.end));
    }
}

/// The path of a file stays below its root, and a range within its representation.
pub(super) fn files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(path) = relative_path(text) {
        assert!(path.components().all(|component| matches!(component, Component::Normal(_))), "{text:?}");
        assert!(Path::new("/root").join(&path).starts_with("/root"));
    }
    for length in [0, 1, 1000, u64::MAX] {
        if let Selection::Part(range) = select(data, length) {
            assert!(range.start < range.end && range.end <= length, "{text:?} of {length}");
        }
    }
}
