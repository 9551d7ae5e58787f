//! Pipelines read by this server and by that of hyper, the reference.
//!
//! Both read the same pieces and log every request that arrived whole, body included. Where both accept a request, the
//! logs agree; where only one does, the reason is one of those listed here.

mod pipelines;
mod reference;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use ws_reactor::{Reply, Routes, Server, TestSocket};

use self::pipelines::{Pipeline, broken, valid};

/// Requests that a server read from a pipeline, and the end of the connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Method, target and body of each complete request.
    requests: Vec<(String, String, Vec<u8>)>,
    /// Status and body of the last response.
    last: (u16, String),
    is_ended: bool,
}

/// Sends the pieces to the server of this crate.
fn read(pieces: &[&[u8]]) -> Seen {
    let log = Rc::new(RefCell::new(Vec::new()));
    let requests = Rc::clone(&log);
    let routes = Routes::new().fallback(move |request, _| {
        let target = request.http().uri().to_string();
        requests.borrow_mut().push((request.method().to_string(), target, request.body().to_vec()));
        Reply::bytes("answered")
    });
    let mut socket = TestSocket::request(Server::routes(routes).unwrap(), "");
    pieces.iter().for_each(|piece| socket.send_bytes(piece));
    let output = String::from_utf8(socket.received_bytes()).unwrap();
    let last = output.rfind("HTTP/1.1 ").map_or_else(Default::default, |start| {
        let body = output[start..].split_once("\r\n\r\n").map_or("", |(_, body)| body.trim_end());
        (output[start + 9..start + 12].parse().unwrap(), body.to_owned())
    });
    Seen { requests: log.take(), last, is_ended: socket.is_ended() }
}

/// Refusals of requests that hyper accepts, by the text of the response, and why this server is stricter.
const STRICTER: [(u16, &str); 8] = [
    // A bare LF or CR ends no line (RFC 9112 §2.2 lets a server accept a bare LF).
    (400, "bare CR or LF in the head"),
    // Two lengths, even equal ones, and a length beside a coding.
    (400, "ambiguous body length"),
    // Other codings before `chunked`, and `chunked` twice.
    (400, "unsupported transfer coding"),
    // hyper leaves `Host` to the application.
    (400, "exactly one Host header with a valid host is required"),
    // hyper cuts off a fragment, and takes an authority for a target.
    (400, "invalid request target"),
    // hyper leaves other expectations than `100-continue` to the application.
    (417, "unknown expectation"),
    // White space behind a chunk size, and control characters in an extension.
    (400, "malformed chunk"),
    // A bare LF in the trailer section.
    (400, "malformed or too long trailer"),
];

/// Runs a property on generated pipelines, with a fixed number of cases.
fn check(
    cases: u32,
    pipelines: impl Strategy<Value = Pipeline>,
    property: impl Fn(&Pipeline) -> Result<(), TestCaseError>,
) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&pipelines, |pipeline| property(&pipeline)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn valid_pipeline_is_read_as_by_hyper() {
    check(400, valid(), |pipeline| {
        let (own, reference) = (read(&pipeline.pieces()), reference::read(&pipeline.pieces()));
        prop_assert_eq!(&own.requests, &pipeline.expected, "{}", pipeline);
        prop_assert_eq!(&reference.requests, &pipeline.expected, "{}", pipeline);
        prop_assert_eq!(own.is_ended, pipeline.ends, "{}", pipeline);
        prop_assert_eq!(reference.is_ended, pipeline.ends, "{}", pipeline);
        Ok(())
    });
}

#[test]
fn broken_pipeline_is_read_as_by_hyper_or_refused_for_a_listed_reason() {
    let counts = RefCell::new(BTreeMap::<String, usize>::new());
    let count = |what: &str| *counts.borrow_mut().entry(what.to_owned()).or_default() += 1;
    check(3_000, broken(), |pipeline| {
        let (own, reference) = (read(&pipeline.pieces()), reference::read(&pipeline.pieces()));
        let both = own.requests.len().min(reference.requests.len());
        prop_assert_eq!(&own.requests[..both], &reference.requests[..both], "{}", pipeline);
        if own.requests.len() < reference.requests.len() {
            let (status, text) = (own.last.0, own.last.1.as_str());
            prop_assert!(STRICTER.contains(&(status, text)), "{} {:?}: {}", status, text, pipeline);
            prop_assert!(own.is_ended, "{}", pipeline);
            count(text);
        } else if own.requests.len() > reference.requests.len() {
            prop_assert!(false, "only hyper refuses: {:?}: {}", reference, pipeline);
        } else {
            // Both refused the rest, or one of them did before the end of a line, which the other waits for.
            count(if own.is_ended && own.last.0 >= 400 { "refused by both" } else { "accepted by both" });
        }
        Ok(())
    });
    // The property would hold of pipelines that are all refused, or all accepted.
    let counts = counts.into_inner();
    for (what, least) in [("accepted by both", 100), ("refused by both", 100), ("bare CR or LF in the head", 5)] {
        assert!(counts.get(what).is_some_and(|count| *count >= least), "{counts:?}");
    }
}
