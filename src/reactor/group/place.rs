//! What a reactor is made with, besides its configuration and its system.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{Backlog, Group, Member, Membership, Outbox, SharedListeners};
use crate::{
    net::{CommandQueue, Wake},
    reactor::{
        config::ReactorConfig,
        id::IdSource,
        remote::{QueuedCommand, Remote},
    },
};

/// The ids, the command queue and the group of a reactor that is to be made. It may be passed to another thread.
#[derive(Debug)]
pub(crate) struct Place {
    pub(in crate::reactor) ids: IdSource,
    pub(in crate::reactor) commands: Arc<CommandQueue<QueuedCommand>>,
    pub(in crate::reactor) membership: Option<Box<Membership>>,
}

impl Place {
    /// A place outside of any group.
    pub(in crate::reactor) fn alone(config: &ReactorConfig, waker: Arc<dyn Wake>) -> Self {
        let commands = Arc::new(CommandQueue::new(config.remote_commands, waker));
        Place { ids: IdSource::new(), commands, membership: None }
    }

    /// A handle to the reactor, before it is made.
    pub(crate) fn remote(&self, clock: Option<fn() -> Instant>) -> Remote {
        let group = self.membership.as_ref().map(|membership| Arc::clone(&membership.group));
        Remote::new(Arc::clone(&self.commands), clock, group)
    }

    /// The places of a group, one for each waker.
    pub(crate) fn of_group(config: &ReactorConfig, wakers: Vec<Arc<dyn Wake>>) -> Vec<Place> {
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
            listeners: SharedListeners::default(),
        });
        let membership = |own| Membership {
            group: Arc::clone(&group),
            own,
            outboxes: (0..size).map(|_| Outbox::default()).collect(),
            most_messages: config.group_backlog,
            most_bytes: config.group_backlog_bytes,
            has_output: false,
            opened: HashMap::new(),
        };
        let place = |(own, ids): (usize, IdSource)| Place {
            ids,
            commands: Arc::clone(&group.members[own].commands),
            membership: Some(Box::new(membership(own))),
        };
        ids.into_iter().enumerate().map(place).collect()
    }
}
