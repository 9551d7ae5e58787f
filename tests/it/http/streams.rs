//! Bodies of responses that are made while they are sent.

use std::{
    cell::RefCell,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use ws_reactor::{BodyStream, Reply, Routes, TestSocket, http::StatusCode};

use super::{dechunked, get, received, response, serving};

/// A counter that outlives its stream, so that a test sees both polls and the end of the stream.
#[derive(Clone, Default)]
struct Polls(Arc<AtomicUsize>);

impl Polls {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Parts of 1,000 bytes.
struct Parts {
    left: usize,
    polls: Polls,
}

impl BodyStream for Parts {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.polls.0.fetch_add(1, Ordering::Relaxed);
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return Poll::Ready(None),
        };
        Poll::Ready(Some(Ok(Bytes::from_static(&[b'x'; 1000]))))
    }
}

fn parts(left: usize, polls: &Polls) -> Routes {
    let polls = polls.clone();
    // A route may be asked several times.
    Routes::new().get("/", move |_, _| Reply::stream(Parts { left, polls: Polls(Arc::clone(&polls.0)) }))
}

#[test]
fn stream_is_sent_in_chunks_and_the_connection_is_used_again() {
    let polls = Polls::default();
    let mut socket = TestSocket::request(serving(parts(300, &polls)), get("/"));
    for _ in 0..2 {
        let text = received(&mut socket);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("\r\nTransfer-Encoding: chunked") && !head.contains("Content-Length"), "{head}");
        assert_eq!(dechunked(body).len(), 300_000);
        socket.send_bytes(get("/").as_bytes());
    }
    assert_eq!(polls.count(), 3 * 301);
    let old = response(parts(3, &polls), "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let (head, body) = old.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Connection: close") && body.len() == 3000,
        "the end of the connection ends the body: {head}"
    );
}

#[test]
fn slow_reader_costs_no_more_than_its_window() {
    let polls = Polls::default();
    let mut socket = TestSocket::request(serving(parts(100_000, &polls)), "");
    socket.hold(10_000);
    socket.send_bytes(get("/").as_bytes());
    let ahead = polls.count();
    assert!(ahead < 100, "{ahead} parts were made for a client that took 10");
    assert!(socket.hub().stats().buffered_bytes < 80_000);
    socket.release();
    socket.settle();
    let text = received(&mut socket);
    assert_eq!(dechunked(text.split_once("\r\n\r\n").unwrap().1).len(), 100_000_000);
}

#[test]
fn head_request_does_not_ask_the_stream() {
    let polls = Polls::default();
    let text = response(parts(3, &polls), "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.contains("Transfer-Encoding: chunked\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    assert_eq!(polls.count(), 0);
}

#[test]
fn stream_ends_with_its_connection() {
    let polls = Polls::default();
    let mut socket = TestSocket::request(serving(parts(1_000_000, &polls)), "");
    socket.hold(1000);
    socket.send_bytes(get("/").as_bytes());
    let streams = Arc::strong_count(&polls.0);
    socket.reset();
    assert_eq!(Arc::strong_count(&polls.0), streams - 1, "the stream is dropped");
    assert!(polls.is_watched() && polls.count() < 100);
}

/// A stream that another thread fills.
#[derive(Clone, Default)]
struct Channel(Arc<Mutex<Parted>>);

#[derive(Default)]
struct Parted {
    parts: Vec<&'static str>,
    waker: Option<Waker>,
    is_complete: bool,
}

impl Channel {
    fn send(&self, part: &'static str) {
        let mut inner = self.0.lock().unwrap();
        inner.parts.push(part);
        inner.waker.take().into_iter().for_each(Waker::wake);
    }

    fn end(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.is_complete = true;
        inner.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl BodyStream for Channel {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut inner = self.0.lock().unwrap();
        inner.waker = Some(context.waker().clone());
        match inner.parts.is_empty() {
            false => Poll::Ready(Some(Ok(inner.parts.remove(0).into()))),
            true if inner.is_complete => Poll::Ready(None),
            true => Poll::Pending,
        }
    }
}

#[test]
fn pending_stream_is_asked_again_when_it_is_woken() {
    let channel = Channel::default();
    let stream = channel.clone();
    let mut socket =
        TestSocket::request(serving(Routes::new().get("/", move |_, _| Reply::stream(stream.clone()))), get("/"));
    assert!(received(&mut socket).ends_with("\r\n\r\n"));
    for part in ["one", "two"] {
        channel.send(part);
        socket.settle();
        assert_eq!(received(&mut socket), format!("3\r\n{part}\r\n"));
    }
    // From another thread, also while the command queue is full.
    let remote = socket.hub().remote();
    while remote.run(|_| {}).is_ok() {}
    let other = channel.clone();
    std::thread::spawn(move || {
        other.send("six");
        other.end();
    })
    .join()
    .unwrap();
    socket.settle();
    assert_eq!(received(&mut socket), "3\r\nsix\r\n0\r\n\r\n");
    socket.advance(std::time::Duration::from_secs(3600));
    assert!(socket.is_ended(), "an idle connection is closed");
}

#[test]
fn stream_that_waits_is_not_timed_out() {
    let channel = Channel::default();
    let stream = channel.clone();
    let mut socket =
        TestSocket::request(serving(Routes::new().get("/", move |_, _| Reply::stream(stream.clone()))), get("/"));
    socket.advance(std::time::Duration::from_secs(3600));
    received(&mut socket);
    channel.send("late");
    channel.end();
    socket.settle();
    assert_eq!(received(&mut socket), "4\r\nlate\r\n0\r\n\r\n");
}

/// Fails in its second part.
struct Failing(Option<&'static str>, u64);

impl BodyStream for Failing {
    fn poll_chunk(&mut self, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(Some(self.0.take().map(Bytes::from).ok_or_else(|| io::Error::other("the disk is gone"))))
    }

    fn length(&self) -> Option<u64> {
        (self.1 > 0).then_some(self.1)
    }
}

#[test]
fn stream_that_fails_cuts_the_connection_off() {
    let errors = Rc::new(RefCell::new(Vec::new()));
    for (length, expected) in [
        (0, "connection failed: the disk is gone"),
        (3, "connection failed: a body has more bytes than its length"),
        (30, "connection failed: the disk is gone"),
    ] {
        let log = Rc::clone(&errors);
        let routes = Routes::new().get("/", move |_, _| Reply::stream(Failing(Some("begun"), length)));
        let server = serving(routes).on_error(move |_, error| log.borrow_mut().push(format!("{error:#}")));
        let mut socket = TestSocket::request(server, get("/"));
        assert!(!received(&mut socket).ends_with("0\r\n\r\n") && socket.is_closed(), "{length}");
        assert_eq!(errors.borrow_mut().pop().as_deref(), Some(expected));
        assert!(errors.borrow().is_empty());
    }
}

#[test]
fn bytes_files_and_iterators_are_bodies() {
    let large = vec![b'y'; 1_000_000];
    let copy = large.clone();
    let routes = || {
        let large = copy.clone();
        Routes::new()
            .get("/bytes", move |_, _| Reply::bytes(large.clone()))
            .get("/chunks", |_, _| Reply::chunks((0..5).map(|number| number.to_string())))
            .get("/file", |_, _| Reply::file("Cargo.toml").with_status(StatusCode::OK))
            .get("/missing", |_, _| Reply::file("no such file"))
            .get("/folder", |_, _| Reply::file("src"))
    };
    let bytes = response(routes(), &get("/bytes"));
    assert!(bytes.contains("Content-Length: 1000000\r\n") && bytes.ends_with(&"y".repeat(1_000_000)));
    let chunks = response(routes(), &get("/chunks"));
    assert_eq!(dechunked(chunks.split_once("\r\n\r\n").unwrap().1), "01234");
    let file = response(routes(), &get("/file"));
    let content = std::fs::read_to_string("Cargo.toml").unwrap();
    assert!(file.ends_with(&content) && file.contains("ETag: \"") && file.contains("Last-Modified: "), "{file}");
    for path in ["/missing", "/folder"] {
        assert!(response(routes(), &get(path)).starts_with("HTTP/1.1 404 "), "{path}");
    }
}
