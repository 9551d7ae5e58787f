//! A request on its way to its endpoint.

use std::{mem, rc::Rc};

#[cfg(feature = "server")]
use crate::server::reply::ReplyKind;
use crate::{
    http::Request,
    server::{
        reply::{Reply, upgrade::Upgrade},
        site::{Found, OnRequest},
    },
};

/// A request that is not answered yet.
pub(super) struct PendingRequest<S> {
    pub(super) request: Request,
    pub(super) found: Found<S>,
    /// Number of callbacks ahead of the endpoint that were asked.
    pub(super) asked: usize,
    /// All of them have let the request pass.
    pub(super) is_admitted: bool,
    /// Headers, values and limits that the callbacks have added.
    pub(super) upgrade: Option<Box<Upgrade>>,
}

impl<S> PendingRequest<S> {
    /// In a box from the start: a request is large, and is passed on several times.
    pub(super) fn new(request: Request, found: Found<S>) -> Box<Self> {
        Box::new(PendingRequest { request, found, asked: 0, is_admitted: false, upgrade: None })
    }

    /// The next callback ahead of the endpoint, after that of the server.
    pub(super) fn next_callback(&self) -> Option<Rc<OnRequest>> {
        match &self.found {
            Found::Endpoint(endpoint) => endpoint.rules.callbacks.get(self.asked - 1).cloned(),
            #[cfg(feature = "server")]
            Found::Reply(_) => None,
        }
    }

    /// A callback has let the request pass.
    pub(super) fn pass(&mut self, mut upgrade: Box<Upgrade>) {
        self.request.head.extensions_mut().extend(mem::take(&mut upgrade.extensions));
        match &mut self.upgrade {
            Some(earlier) => earlier.merge(*upgrade),
            None => self.upgrade = Some(upgrade),
        }
    }

    /// The reply with the headers that the callbacks have added.
    pub(super) fn with_added_headers(&self, reply: Reply) -> Reply {
        #[cfg(feature = "server")]
        if matches!(reply.0, ReplyKind::Poll(_)) {
            // They are added to the reply that is made from it.
            return reply;
        }
        let added = self.upgrade.iter().flat_map(|upgrade| &upgrade.headers);
        added.fold(reply, |reply, (name, value)| reply.header(name.clone(), value.clone()))
    }
}
