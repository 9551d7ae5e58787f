//! The differences between the protocol versions.

mod challenges;
mod hixie;
mod hybi;
mod opening;
mod refusals;

use std::{cell::RefCell, rc::Rc, time::Duration};

use crate::support::{
    played::echo,
    wire::{Kind, answer, failed, frame, is_hixie, request, text},
};
use ws_reactor::{
    Callbacks, CloseCode, Error, HandshakeError, HeadError, ProtocolError, SendStatus, Server, TestSocket, Version,
    net::sim::Random, on_message,
};

/// The errors that the server reports because no handler exists.
type Errors = Rc<RefCell<Vec<Error>>>;

/// A server that panics if it makes a handler.
fn server_that_must_refuse() -> (Server, Errors) {
    let errors = Errors::default();
    let shared = Rc::clone(&errors);
    let server = Server::new(|_| -> Callbacks { panic!("a handler is made without a handshake") });
    (server.on_error(move |_, error| shared.borrow_mut().push(copy(error))), errors)
}

fn copy(error: &Error) -> Error {
    match error {
        Error::Handshake(error) => Error::Handshake(*error),
        Error::Head(error) => Error::Head(*error),
        Error::Timeout(deadline) => Error::Timeout(*deadline),
        Error::Io(error) => Error::Io(error.kind().into()),
        other => panic!("not an error of the opening handshake: {other:?}"),
    }
}

/// The status of the response that refuses a request, and the error that the server reports.
fn refusal(bytes: impl AsRef<[u8]>) -> (String, String) {
    let (server, errors) = server_that_must_refuse();
    let mut socket = TestSocket::request(server, bytes);
    let answer = String::from_utf8(socket.received_bytes()).unwrap();
    let closes = answer.contains("Connection: close\r\n") || answer.contains("Connection: Upgrade, close\r\n");
    assert_eq!(socket.is_ended(), closes, "{answer}");
    assert!(closes || !answer.starts_with("HTTP/1.1 400 "), "the stream may be out of step after {answer}");
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).expect("an HTTP response").to_owned();
    let errors = errors.borrow();
    assert_eq!(errors.len(), 1, "the error is reported once: {errors:?}");
    (status, errors[0].to_string())
}

fn assert_refused(bytes: impl AsRef<[u8]>, error: HandshakeError) {
    let expected = (error.status().as_str().to_owned(), Error::Handshake(error).to_string());
    assert_eq!(refusal(&bytes), expected, "{}", String::from_utf8_lossy(bytes.as_ref()));
}

/// The request of the version, with `from` replaced by `to`.
fn request_with(version: Version, from: &str, to: &str) -> String {
    let request = String::from_utf8(request(version, "/", "")).unwrap();
    assert!(request.contains(from), "{from} in {request}");
    request.replace(from, to)
}

/// The output of the server for `bytes`, which arrive in pieces of `piece_bytes()` bytes.
fn response_in_pieces(server: Server, bytes: &[u8], mut piece_bytes: impl FnMut() -> usize) -> Vec<u8> {
    let mut socket = TestSocket::request(server, "");
    let (mut rest, mut received) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (piece, next) = rest.split_at(rest.len().min(piece_bytes()));
        socket.send_bytes(piece);
        received.extend(socket.received_bytes());
        rest = next;
    }
    received
}
