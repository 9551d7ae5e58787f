//! hyper's server on bytes in memory, without a runtime: it is polled until it makes no more progress.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, rt, server::conn::http1, service::service_fn};

use super::Seen;

/// Polls without progress after which the server is taken to wait for input. hyper yields now and then.
const IDLE_POLLS: usize = 4;

/// The peer: the pieces that it sends, each in a read of its own, and what it received.
#[derive(Default)]
struct Peer {
    pieces: VecDeque<Vec<u8>>,
    received: Vec<u8>,
    is_ended: bool,
}

#[derive(Clone)]
struct Io(Rc<RefCell<Peer>>);

impl rt::Read for Io {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: rt::ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut peer = self.0.borrow_mut();
        let Some(mut piece) = peer.pieces.pop_front() else { return Poll::Pending };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        if !rest.is_empty() {
            peer.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().received.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().is_ended = true;
        Poll::Ready(Ok(()))
    }
}

/// Sends the pieces to the server of hyper.
pub(super) fn read(pieces: &[&[u8]]) -> Seen {
    let peer = Rc::new(RefCell::new(Peer::default()));
    peer.borrow_mut().pieces.extend(pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()));
    let log = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let log = Rc::clone(&log);
        async move {
            let (head, body) = request.into_parts();
            // A malformed body ends the connection.
            let body = body.collect().await?.to_bytes();
            log.borrow_mut().push((head.method.to_string(), head.uri.to_string(), body.to_vec()));
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from("answered"))))
        }
    });
    let mut server = pin!(http1::Builder::new().serve_connection(Io(Rc::clone(&peer)), service));
    let mut context = Context::from_waker(Waker::noop());
    let progress = || (peer.borrow().pieces.len(), peer.borrow().received.len(), log.borrow().len());
    let (mut idle, mut before) = (0, progress());
    let mut is_ended = false;
    while idle < IDLE_POLLS && !is_ended {
        is_ended = server.as_mut().poll(&mut context).is_ready();
        let after = progress();
        idle = if after == before { idle + 1 } else { 0 };
        before = after;
    }
    let is_ended = is_ended || peer.borrow().is_ended;
    let output = String::from_utf8_lossy(&peer.borrow().received).into_owned();
    let status = output.rfind("HTTP/1.").and_then(|start| output[start..].get(9..12)).unwrap_or("0").parse();
    Seen { requests: log.take(), last: (status.unwrap(), String::new()), is_ended }
}
