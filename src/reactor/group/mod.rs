//! A reactor among the others of its group: what it publishes reaches all of them, and a command for a connection finds
//! the reactor of that connection.
//!
//! The reactors share their command queues, and a count of what waits between each two of them: no lock is held while
//! one of them works, and none waits for another.

mod backlog;
mod gather;
mod hand_on;
mod kept_topics;
mod place;
pub(in crate::reactor) mod publication;
mod shared_listeners;
mod turns;

use std::{
    collections::HashMap,
    io, mem,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Instant,
};

pub(super) use self::gather::Asks;
pub(crate) use self::place::Place;
pub(super) use self::shared_listeners::{Opened, SharedListener};
use self::{
    backlog::Backlog,
    kept_topics::KeptTopics,
    publication::{Handed, HistoryChange, Publication, Sequence},
    shared_listeners::SharedListeners,
};
use super::{
    id::{ConnectionId, ListenerId},
    publish::topics::TopicEdge,
    remote::{Command, QueuedCommand, Remote},
};
use crate::net::{Bind, CommandQueue, ConnectedSocket, PushError};

/// The reactors of a group. Shared by their threads.
#[derive(Debug)]
pub(crate) struct Group {
    /// Number of the first reactor in its ids; the others follow.
    first: u32,
    members: Box<[Member]>,
    listeners: Arc<SharedListeners>,
    /// Topics that have a history, for threads that publish.
    kept: KeptTopics,
    /// The last id that was made.
    last_event_id: Arc<AtomicU64>,
}

/// Index of the reactor that gives the ids of what has a history.
const SEQUENCER: usize = 0;

/// A reactor of a group, as the others see it.
#[derive(Debug)]
struct Member {
    commands: Arc<CommandQueue<QueuedCommand>>,
    /// The publications of each reactor that this one has not delivered.
    backlogs: Box<[Backlog]>,
}

impl Group {
    /// The command queue of the reactor that a connection belongs to. `None` if that is in no group, or in another.
    pub(super) fn queue_of(&self, id: ConnectionId) -> Option<&Arc<CommandQueue<QueuedCommand>>> {
        let index = id.reactor().wrapping_sub(self.first) as usize;
        self.members.get(index).map(|member| &member.commands)
    }

    /// The command queues of all reactors.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<CommandQueue<QueuedCommand>>> {
        self.members.iter().map(|member| &member.commands)
    }

    /// The command queue of the sequencer if it has to number what is published on a topic.
    pub(super) fn sequencer_of(&self, topic: &str) -> Option<&Arc<CommandQueue<QueuedCommand>>> {
        self.kept.contains(topic).then(|| &self.members[SEQUENCER].commands)
    }

    /// Sets whether what threads publish passes by the sequencer, whatever the topic.
    pub(super) fn sequence_all(&self, all: bool) {
        self.kept.set_all(all);
    }

    /// Handles to all reactors.
    pub(super) fn remotes(self: &Arc<Self>, clock: Option<fn() -> Instant>) -> Vec<Remote> {
        let remote = |member: &Member| Remote::new(Arc::clone(&member.commands), clock, Some(Arc::clone(self)));
        self.members.iter().map(remote).collect()
    }
}

/// The place of a reactor in its group, and what it has published for the others in this turn.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(super) group: Arc<Group>,
    own: usize,
    outboxes: Box<[Outbox]>,
    most_messages: usize,
    most_bytes: usize,
    /// At least one outbox is not empty.
    has_output: bool,
}

/// The next batch for one other reactor.
#[derive(Debug, Default)]
struct Outbox {
    items: Vec<Handed>,
    /// Publications among the items, and their bytes.
    publications: usize,
    bytes: usize,
    /// Topics with a history some of whose events it does not get, with the last id of these. Until that is reported,
    /// it gets no later event of them.
    missed: HashMap<Box<str>, u64>,
    /// The reactor has ended.
    is_ended: bool,
}

/// How many of the other reactors a publication is queued for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandedOn {
    pub(super) queued: usize,
    pub(super) refused: usize,
}

impl Membership {
    /// Index of the reactor in the group.
    pub(super) fn index(&self) -> usize {
        self.own
    }

    /// The last id that was made in the group.
    pub(super) fn last_event_id(&self) -> &Arc<AtomicU64> {
        &self.group.last_event_id
    }

    /// Opens a listener that the other reactors of the group open too.
    pub(super) fn open_listener<L>(
        &mut self,
        bind: Bind,
        open: impl FnOnce(&Bind) -> io::Result<(L, SocketAddr)>,
    ) -> io::Result<Opened<L>> {
        self.group.listeners.open(self.own, bind, open)
    }

    /// Returns `true` if another reactor has room for a command.
    pub(super) fn has_room(&self, reactor: usize) -> bool {
        self.group.members.get(reactor).is_some_and(|member| member.commands.check().is_ok())
    }

    /// Passes an accepted connection to the listener of another reactor, which has room.
    pub(super) fn pass_on(&self, reactor: usize, listener: ListenerId, socket: ConnectedSocket) -> bool {
        let Some(member) = self.group.members.get(reactor) else { return false };
        let command = Command::Accepted(listener, socket);
        member.commands.push_beyond(QueuedCommand { command, queued_at: None }).is_ok()
    }

    pub(super) fn has_output(&self) -> bool {
        self.has_output
    }

    /// Returns `true` if the reactor gives the ids of what has a history. There is one for all topics, so that on each
    /// reactor events arrive in the order of their ids, and an id stands for all that came before.
    pub(super) fn is_sequencer(&self) -> bool {
        self.own == SEQUENCER
    }

    /// Queues a publication for each other reactor whose backlog has room. The publication leaves by
    /// [`hand_on`](Self::hand_on).
    fn queue(&mut self, publication: &Arc<Publication>) -> HandedOn {
        let mut handed_on = HandedOn::default();
        let own = self.own;
        for index in (0..self.outboxes.len()).filter(|index| *index != own) {
            let outbox = &self.outboxes[index];
            let has_missed = !outbox.is_ended && outbox.missed.contains_key(&publication.topic);
            if !has_missed && self.queue_for(index, Arc::clone(publication)) {
                handed_on.queued += 1;
                continue;
            }
            handed_on.refused += 1;
            if let Sequence::Done(Some(id)) = publication.sequence {
                self.outboxes[index].missed.insert(publication.topic.clone(), id);
                self.has_output = true;
            }
        }
        handed_on
    }

    /// Tells the first reactor, which has the backplane, that topics have begun or ceased to have subscribers here.
    pub(super) fn report_edges(&mut self, edges: Vec<TopicEdge>) {
        self.outboxes[SEQUENCER].items.extend(edges.into_iter().map(Handed::Edge));
        self.has_output = true;
    }

    /// Queues a change of the histories for each other reactor.
    fn queue_change(&mut self, change: &Arc<HistoryChange>) {
        let own = self.own;
        for (_, outbox) in self.outboxes.iter_mut().enumerate().filter(|(index, _)| *index != own) {
            outbox.items.push(Handed::History(Arc::clone(change)));
        }
        self.has_output = true;
    }

    /// Queues a publication that the sequencer has to number.
    fn queue_for_sequencer(&mut self, publication: Arc<Publication>) -> HandedOn {
        match self.queue_for(SEQUENCER, publication) {
            true => HandedOn { queued: 1, refused: 0 },
            false => HandedOn { queued: 0, refused: 1 },
        }
    }

    /// Queues a publication for another reactor, if its backlog has room. One that has ended has no subscribers.
    fn queue_for(&mut self, index: usize, publication: Arc<Publication>) -> bool {
        let (outbox, cost) = (&mut self.outboxes[index], publication.cost());
        if outbox.is_ended {
            return true;
        }
        let member = &self.group.members[index];
        let (messages, bytes) = member.backlogs[self.own].waiting();
        let (messages, bytes) = (messages + outbox.publications, bytes + outbox.bytes);
        // A publication that is larger than the limit needs an empty backlog.
        let has_room = messages < self.most_messages.max(1) && (bytes == 0 || bytes + cost <= self.most_bytes);
        if has_room {
            outbox.items.push(Handed::Publication(publication));
            outbox.publications += 1;
            outbox.bytes += cost;
            self.has_output = true;
        } else if member.commands.check() == Err(PushError::Closed) {
            outbox.is_ended = true;
        }
        has_room || outbox.is_ended
    }

    /// Passes the publications of this turn to the other reactors: one command for each.
    fn hand_on(&mut self, now: Option<Instant>) {
        self.has_output = false;
        for (member, outbox) in self.group.members.iter().zip(&mut self.outboxes) {
            let backlog = &member.backlogs[self.own];
            if !outbox.missed.is_empty() && backlog.begin_gap() {
                let missed = HistoryChange::Missed(outbox.missed.drain().collect());
                // The events before the missed ones are among the items, and none after them.
                outbox.items.push(Handed::History(Arc::new(missed)));
            }
            if outbox.items.is_empty() {
                continue;
            }
            let (publications, bytes) = (mem::take(&mut outbox.publications), mem::take(&mut outbox.bytes));
            backlog.add(publications, bytes);
            let batch = Batch { from: self.own, items: mem::take(&mut outbox.items).into_iter() };
            // The backlog bounds the number.
            let command = QueuedCommand { command: Command::Publications(batch), queued_at: now };
            if member.commands.push_beyond(command).is_err() {
                outbox.is_ended = true;
            }
        }
    }

    /// Notes that a publication of another reactor was delivered.
    pub(super) fn delivered(&self, from: usize, cost: usize) {
        self.group.members[self.own].backlogs[from].remove(1, cost);
    }

    /// Notes that the events which this reactor has missed were reported.
    fn end_gap(&self) {
        self.group.members[self.own].backlogs[SEQUENCER].end_gap();
    }
}

/// The items that another reactor has handed on in one turn.
#[derive(Debug)]
pub(super) struct Batch {
    /// Index of that reactor.
    pub(super) from: usize,
    pub(super) items: std::vec::IntoIter<Handed>,
}
