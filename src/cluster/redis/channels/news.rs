//! The meaning of replies.

use std::rc::Rc;

use crate::cluster::redis::payload::Mark;

/// The meaning of a reply.
#[derive(Debug)]
pub(in crate::cluster::redis) enum News {
    Nothing,
    /// The messages of others on this topic arrive from now on.
    Live(Rc<str>),
    /// Redis does not allow the channel of this topic.
    Refused(Rc<str>),
    PatternRefused,
    /// Redis did not publish a message.
    NotPublished,
    /// Redis did not publish a message, and one of others that is equal to it was taken for it: it is to be delivered.
    NotPublishedButReceived(Rc<str>, Mark),
    /// The reply has the id of the entry of this publication.
    Appended(u64),
    /// The reply has the id of the node.
    NodeId,
    /// The reply has the slots of the nodes.
    Slots,
    /// Redis has unsubscribed the channel of this topic by itself: another node has its slot.
    Moved(Rc<str>),
    /// It is no reply to what was asked.
    Unexpected,
}
