//! The place of a reactor in its process: ids, command queue, group and shared counts.

use std::{sync::Arc, time::Instant};

use super::{Backlog, Group, KeptTopics, Member, Membership, Outbox, SharedListeners};
use crate::{
    net::{CommandQueue, Wake},
    reactor::{
        config::ReactorConfig,
        connection::group_excess::GroupExcess,
        id::IdSource,
        listen::{admission::PendingCounts, connection_counts::Networks},
        remote::{QueuedCommand, Remote},
    },
};

/// The ids, the command queue and the group of a reactor that is to be made. It may be passed to another thread.
#[derive(Debug)]
pub(crate) struct Place {
    pub(in crate::reactor) ids: IdSource,
    pub(in crate::reactor) commands: CommandsToBe,
    pub(in crate::reactor) membership: Option<Box<Membership>>,
    pub(in crate::reactor) counts: SharedCounts,
}

impl Place {
    /// A place outside of any group.
    pub(in crate::reactor) fn alone(config: &ReactorConfig, waker: Arc<dyn Wake>) -> Self {
        let commands = CommandsToBe::new(&Arc::new(CommandQueue::new(config.remote_commands, waker)));
        Place { ids: IdSource::new(), commands, membership: None, counts: SharedCounts::default() }
    }

    /// A handle to the reactor, before it is made.
    pub(crate) fn remote(&self, clock: Option<fn() -> Instant>) -> Remote {
        let group = self.membership.as_ref().map(|membership| Arc::clone(&membership.group));
        Remote::new(Arc::clone(&self.commands.queue), clock, group)
    }

    /// The places of a group, one for each waker.
    pub(crate) fn of_group(config: &ReactorConfig, mut wakers: Vec<Arc<dyn Wake>>) -> Vec<Place> {
        if wakers.len() == 1 {
            return wakers.pop().into_iter().map(|waker| Place::alone(config, waker)).collect();
        }
        let size = wakers.len();
        let ids = IdSource::several(size);
        let member = |waker| Member {
            commands: Arc::new(CommandQueue::new(config.remote_commands, waker)),
            backlogs: (0..size).map(|_| Backlog::default()).collect(),
        };
        let members = wakers.into_iter().map(member).collect();
        let group = Arc::new(Group {
            first: ids.first().map_or(0, IdSource::reactor),
            members,
            listeners: Arc::new(SharedListeners::default()),
            kept: KeptTopics::default(),
            last_event_id: Arc::default(),
        });
        let membership = |own| Membership {
            group: Arc::clone(&group),
            own,
            outboxes: (0..size).map(|_| Outbox::default()).collect(),
            most_messages: config.group_backlog,
            most_bytes: config.group_backlog_bytes,
            has_output: false,
        };
        let counts = SharedCounts::of_group(size);
        let place = |(own, ids): (usize, IdSource)| Place {
            ids,
            commands: CommandsToBe::new(&group.members[own].commands),
            membership: Some(Box::new(membership(own))),
            counts: counts.clone(),
        };
        ids.into_iter().enumerate().map(place).collect()
    }
}

/// The command queue of a reactor that is to be made. If none is, its senders are not left waiting.
#[derive(Debug)]
pub(in crate::reactor) struct CommandsToBe {
    queue: Arc<CommandQueue<QueuedCommand>>,
    is_taken: bool,
}

impl CommandsToBe {
    fn new(queue: &Arc<CommandQueue<QueuedCommand>>) -> Self {
        CommandsToBe { queue: Arc::clone(queue), is_taken: false }
    }

    /// The queue, for the reactor.
    pub(in crate::reactor) fn take(mut self) -> Arc<CommandQueue<QueuedCommand>> {
        self.is_taken = true;
        Arc::clone(&self.queue)
    }
}

impl Drop for CommandsToBe {
    fn drop(&mut self) {
        if !self.is_taken {
            self.queue.close();
        }
    }
}

/// Counts of all reactors of a group, which their limits are compared with. A reactor outside of a group has its own.
#[derive(Debug, Clone, Default)]
pub(in crate::reactor) struct SharedCounts {
    /// Unfinished handshakes.
    pub(in crate::reactor) pending: Arc<PendingCounts>,
    /// Connections of each network.
    pub(in crate::reactor) networks: Arc<Networks>,
    /// Output above the high-water marks. `None` outside of a group.
    pub(in crate::reactor) excess: Option<GroupExcess>,
}

impl SharedCounts {
    /// Counts for a group of so many reactors.
    fn of_group(reactors: usize) -> Self {
        let excess = Some(GroupExcess::new(reactors));
        SharedCounts { excess, ..SharedCounts::default() }
    }
}
