//! Helpers for the tests of this binary.

use std::{cell::Cell, rc::Rc};

use ws_reactor::{Callbacks, ConnectionId, TestSocket};

/// A socket to a server that does nothing, and the id of the connection on the server's side.
pub(crate) fn idle_socket() -> (TestSocket, ConnectionId) {
    let id = Rc::new(Cell::new(None));
    let opened = Rc::clone(&id);
    let socket = TestSocket::open(Callbacks::new().on_open(move |ws, _| opened.set(Some(ws.id()))));
    let id = id.get().expect("the connection is open");
    (socket, id)
}
