//! What clients have missed, and the streams that nothing follows and that keep their history for a while.

use std::{
    rc::{Rc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    super::{
        extended::{self, HistoryRequest},
        packet, random_name,
    },
    Asked, Log, Member, SharedStreams, Stage, Streams,
    message_log::{Keep, Missing},
};
use crate::reactor::{ConnectionId, Hub};

/// Time in which a client that has its session again has to ask for what is missing.
const RESUME_WAIT: Duration = Duration::from_secs(5);

impl Streams {
    /// The history of a new stream.
    pub(super) fn new_log(&mut self, hub: &mut Hub) -> Option<Log> {
        self.settings.keep?;
        self.logs += 1;
        Some(Log::new(format!("{}{:x}", &random_name(hub)[..12], self.logs)))
    }

    /// Has the messages of a stream that are published now be part of its history, also if nothing follows it.
    pub(in super::super) fn record(streams: &SharedStreams, hub: &mut Hub, stream: &str) {
        if streams.borrow().settings.keep.is_none() {
            return;
        }
        let name = streams.borrow_mut().hold(hub, stream);
        let streams = Rc::downgrade(streams);
        // After the messages have been handled, which is one tick later.
        hub.next_tick(move |hub| {
            hub.next_tick(move |hub| {
                if let Some(streams) = streams.upgrade() {
                    streams.borrow_mut().release(hub, &name);
                }
            });
        });
    }

    /// A client wants what it has missed. Returns `false` if its subscription is not confirmed.
    pub(in super::super) fn history(&mut self, hub: &mut Hub, member: &Rc<Member>, asked: Asked) -> bool {
        match member.stage.get() {
            Stage::Confirmed => self.answer_history(hub, member, asked),
            Stage::Paused => {
                self.answer_history(hub, member, asked);
                self.go_on(hub, member);
            }
            Stage::New | Stage::Accepted => *member.history.borrow_mut() = Some(asked),
            Stage::Ended => return false,
        }
        true
    }

    /// Sends what is missing, and then that this was all; or that not all is known.
    pub(super) fn answer_history(&self, hub: &mut Hub, member: &Member, asked: Asked) {
        let is_all = asked.is_ok_and(|request| self.send_missing(hub, member, &request));
        hub.send(member.id.get(), extended::history_answer(&member.quoted(), is_all));
    }

    /// Sends what is missing. Returns `false` if some of it is not known. Nothing was sent then, unless the connection
    /// does not take it.
    fn send_missing(&self, hub: &mut Hub, member: &Member, request: &HistoryRequest) -> bool {
        let age = request.since.map(age);
        let streams = member.streams();
        let asked: Option<Vec<_>> = streams
            .iter()
            .filter_map(|name| {
                let from = request.streams.get(&**name).map(Missing::After);
                Some((name, from.or(age.map(Missing::Of))?))
            })
            .map(|(name, from)| {
                let log = self.streams.get(name)?.log.as_ref()?;
                log.missing(&from, hub.now()).is_some().then_some((name, log, from))
            })
            .collect();
        let Some(asked) = asked.filter(|_| self.settings.keep.is_some()) else { return false };
        let (id, identifier, now) = (member.id.get(), member.quoted(), hub.now());
        asked.into_iter().all(|(name, log, from)| {
            let name = packet::quoted(name);
            log.missing(&from, now).into_iter().flatten().all(|(offset, json)| {
                hub.send(id, extended::message(&identifier, json, &name, &log.epoch, offset)).is_queued()
            })
        })
    }

    /// The newest messages of the streams of a subscription.
    pub(super) fn positions(&self, member: &Member) -> HistoryRequest {
        let position = |name: &Rc<str>| Some((name.to_string(), self.streams.get(name)?.log.as_ref()?.position()));
        HistoryRequest { since: None, streams: member.streams().iter().filter_map(position).collect() }
    }

    /// A subscription has a connection again. It gets messages once its client has asked for those that are missing,
    /// so that they come first.
    pub(in super::super) fn resume(&mut self, hub: &mut Hub, member: &Rc<Member>, id: ConnectionId) {
        member.id.set(id);
        self.stay(member);
        if self.settings.keep.is_none() {
            return self.go_on(hub, member);
        }
        let (own, member) = (Weak::clone(&self.own), Rc::clone(member));
        hub.add_timer(RESUME_WAIT, move |hub| {
            let Some(streams) = own.upgrade() else { return };
            if member.stage.get() != Stage::Paused || member.id.get() != id {
                return;
            }
            // It has not asked: what came since it was cut.
            let mut streams = streams.borrow_mut();
            if let Some(Ok(request)) = member.history.take() {
                streams.send_missing(hub, &member, &request);
            }
            streams.go_on(hub, &member);
        });
    }

    /// Has a paused subscription get messages.
    fn go_on(&mut self, hub: &mut Hub, member: &Member) {
        member.history.take();
        member.stage.set(Stage::Confirmed);
        self.add_to_groups(member);
        self.begin_presence(hub, member);
    }

    /// Keeps a stream that nothing follows, if it has a history.
    pub(super) fn set_idle(&mut self, hub: &mut Hub, name: &str) -> bool {
        let (Some(keep), Some((key, _))) = (self.settings.keep, self.streams.get_key_value(name)) else { return false };
        let (key, now) = (Rc::clone(key), hub.now());
        let Some(stream) = self.streams.get_mut(name) else { return false };
        let Some(log) = stream.log.as_mut() else { return false };
        log.drop_old(keep, now);
        if log.is_empty() {
            return false;
        }
        stream.idle_since = Some(now);
        self.idle.push_back((now, key));
        if self.idle.len() == 1 {
            self.schedule_drop(hub, keep);
        }
        while self.idle.len() > self.settings.max_idle {
            self.drop_first_idle(hub);
        }
        true
    }

    fn schedule_drop(&self, hub: &mut Hub, keep: Keep) {
        let Some((since, _)) = self.idle.front() else { return };
        let own = Weak::clone(&self.own);
        hub.add_timer((*since + keep.age).saturating_duration_since(hub.now()), move |hub| {
            if let Some(streams) = own.upgrade() {
                streams.borrow_mut().drop_idle(hub, keep);
            }
        });
    }

    /// Drops the streams whose history is too old.
    fn drop_idle(&mut self, hub: &mut Hub, keep: Keep) {
        let now = hub.now();
        while self.idle.front().is_some_and(|(since, _)| *since + keep.age <= now) {
            self.drop_first_idle(hub);
        }
        self.schedule_drop(hub, keep);
    }

    fn drop_first_idle(&mut self, hub: &mut Hub) {
        let Some((since, name)) = self.idle.pop_front() else { return };
        if self.streams.get(&name).is_some_and(|stream| stream.idle_since == Some(since)) {
            self.drop_stream(hub, &name);
        }
    }
}

/// How long ago a time of a client's clock was, in seconds since 1970.
fn age(since: f64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Duration::try_from_secs_f64((now - since).max(0.0)).unwrap_or(Duration::MAX)
}
