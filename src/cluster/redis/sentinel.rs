//! Sentinels: which Redis is the master, and when another one is.

use std::{mem, rc::Rc, time::Duration};

use super::{
    link::{Loss, SharedLink},
    resp::{Reply, Scanner, Version, write_command},
    url::join,
};
use crate::{
    error::Error,
    protocol::CloseReason,
    reactor::{Hub, Stream, StreamConfig, StreamHandler},
};

/// Time in which a Sentinel has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Time after which another Sentinel is watched when one is lost.
const WATCH_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The functions that handle the answers.
#[derive(Clone, Copy)]
pub(super) struct SentinelEvents {
    /// The address of the master is known.
    pub(super) on_master: fn(&SharedLink, &mut Hub, u64),
    /// No Sentinel knows it, or another Redis has become the master.
    pub(super) on_loss: fn(&SharedLink, &mut Hub, u64, Loss),
}

/// Asks the Sentinel with this index, and then the ones after it.
pub(super) fn ask(shared: &SharedLink, hub: &mut Hub, attempt: u64, index: usize, events: SentinelEvents) {
    let address = {
        let link = shared.borrow();
        let Some(sentinels) = link.settings.url.sentinels.as_ref().filter(|_| link.is_current(attempt)) else { return };
        sentinels.addresses.get(index).cloned()
    };
    let Some(address) = address else {
        if shared.borrow().has_pair() {
            // Redis itself may be well. A switch is noticed later.
            return watch_again(shared, hub, attempt, 0, events);
        }
        let reason = "no Sentinel knows the master".to_owned();
        return (events.on_loss)(shared, hub, attempt, Loss { reason, is_timeout: false });
    };
    let sentinel = Sentinel {
        link: Rc::clone(shared),
        attempt,
        index,
        events,
        has_answered: false,
        scanner: Scanner::default(),
        unfinished: Vec::new(),
    };
    // An error says that the loop is ending.
    let id = hub.connect_stream_with(&address, StreamConfig::new().connect_timeout(PATIENCE), sentinel);
    shared.borrow_mut().sentinel = id.ok();
}

/// A connection to a Sentinel: it asks, and then hears of switches.
struct Sentinel {
    link: SharedLink,
    attempt: u64,
    index: usize,
    events: SentinelEvents,
    has_answered: bool,
    scanner: Scanner,
    /// The beginning of a reply.
    unfinished: Vec<u8>,
}

impl Sentinel {
    /// Handles a whole reply. Returns `false` if the connection is of no further use.
    fn handle(&mut self, hub: &mut Hub, reply: &Reply<'_>) -> bool {
        let is_first = !mem::replace(&mut self.has_answered, true);
        match reply.items() {
            [Reply::Text(host), Reply::Text(port)] if is_first => {
                let address = join(host, port);
                let is_connected = self.link.borrow().has_pair();
                if !is_connected {
                    self.link.borrow_mut().set_address(address);
                    (self.events.on_master)(&self.link, hub, self.attempt);
                } else if self.link.borrow().address() != address {
                    self.leave(hub, &address);
                }
                true
            }
            _ if is_first => {
                self.has_answered = false;
                false
            }
            [Reply::Text(b"message"), Reply::Text(_), Reply::Text(switch)] => {
                self.on_switch(hub, switch);
                true
            }
            _ => true,
        }
    }

    /// Handles a message: the name of the master, and its old and its new address.
    fn on_switch(&self, hub: &mut Hub, switch: &[u8]) {
        let words: Vec<&[u8]> = switch.split(|octet| *octet == b' ').collect();
        let [name, _, _, host, port] = words[..] else { return };
        let is_own = {
            let link = self.link.borrow();
            link.settings.url.sentinels.as_ref().is_some_and(|sentinels| sentinels.master.as_bytes() == name)
        };
        if is_own {
            self.leave(hub, &join(host, port));
        }
    }

    /// Leaves a Redis that is no master any more.
    fn leave(&self, hub: &mut Hub, address: &str) {
        let reason = format!("{address} is the master now");
        (self.events.on_loss)(&self.link, hub, self.attempt, Loss { reason, is_timeout: false });
    }
}

impl StreamHandler for Sentinel {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let mut commands = Vec::new();
        if let Some(sentinels) = &self.link.borrow().settings.url.sentinels {
            write_command(&[b"SENTINEL", b"get-master-addr-by-name", sentinels.master.as_bytes()], &mut commands);
        }
        write_command(&[b"SUBSCRIBE", b"+switch-master"], &mut commands);
        stream.write(&commands);
        let deadline = stream.hub().after(PATIENCE);
        stream.set_deadline(Some(deadline));
    }

    fn on_data(&mut self, stream: &mut Stream<'_>, data: &mut [u8]) {
        self.unfinished.extend_from_slice(data);
        let unfinished = mem::take(&mut self.unfinished);
        let mut begin = 0;
        loop {
            if !self.link.borrow().is_current(self.attempt) {
                return stream.terminate();
            }
            let Ok(found) = self.scanner.end(&unfinished[begin..]) else { return stream.terminate() };
            let Some(length) = found else { break };
            let reply = Reply::decode(&unfinished[begin..begin + length], Version::Resp2);
            begin += length;
            if !reply.is_ok_and(|reply| self.handle(stream.hub(), &reply)) {
                return stream.terminate();
            }
        }
        self.unfinished = unfinished[begin..].to_vec();
        if self.has_answered {
            stream.set_deadline(None);
        }
    }

    fn on_shutdown(&mut self, stream: &mut Stream<'_>) {
        stream.terminate();
    }

    fn on_error(&mut self, stream: &mut Stream<'_>, error: &Error) {
        log::debug!(target: "ws_reactor::redis", "{}: a Sentinel: {error:#}", stream.id());
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        if !self.has_answered {
            return ask(&self.link, stream.hub(), self.attempt, self.index + 1, self.events);
        }
        watch_again(&self.link, stream.hub(), self.attempt, self.index + 1, self.events);
    }
}

/// Watches another Sentinel in a while.
fn watch_again(shared: &SharedLink, hub: &mut Hub, attempt: u64, index: usize, events: SentinelEvents) {
    let shared = Rc::clone(shared);
    hub.add_timer(WATCH_AGAIN_AFTER, move |hub| ask(&shared, hub, attempt, index, events));
}
