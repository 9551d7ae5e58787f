//! Commands of other threads.

use std::mem;

use super::{
    Reactor,
    connection::outbound::Outbound,
    events::Wakeup,
    group::{Batch, publication::Handed},
    id::ConnectionId,
    recording::Recording,
    remote::{Command, QueuedCommand},
    share::Share,
    turn_phase::TurnPhase,
};
use crate::{
    net::{Kernel, recording::Record},
    protocol::OwnedMessage,
};

/// Commands, each of which may be a publish, after which the time is looked at.
const COMMANDS_PER_LOOK: usize = 4;

impl<K: Kernel> Reactor<K> {
    /// Executes commands of other threads within the budget.
    #[inline]
    pub(super) fn run_commands(&mut self) {
        if !self.commands.is_empty() || self.hub.command_queue.is_waiting() {
            self.run_waiting_commands();
            self.end_phase(TurnPhase::Commands);
        }
    }

    #[inline(never)]
    fn run_waiting_commands(&mut self) {
        if self.commands.is_empty() {
            // The command queue and this queue swap their buffers.
            let mut commands = Vec::from(mem::take(&mut self.commands));
            self.hub.command_queue.drain(&mut commands);
            self.commands = commands.into();
        }
        let now = self.hub.time_slice.clock.map(|clock| clock());
        let mut share = Share::of_long(self.config.command_budget, COMMANDS_PER_LOOK);
        while self.hub.deliveries_left > 0 && share.take(&self.hub.time_slice) {
            let Some(QueuedCommand { command, queued_at }) = self.commands.pop_front() else { return };
            if let (Some(now), Some(queued_at)) = (now, queued_at) {
                self.hub.latencies.command_delay.record(now.saturating_duration_since(queued_at));
            }
            let place = self.commands_taken;
            self.commands_taken += 1;
            let is_stale = self.is_for_earlier_connection(&command, place);
            let outbounds = &self.hub.outbounds;
            if let Some(recording) = &mut self.hub.recording {
                note_command(recording, &command, |id| !is_stale && outbounds.get(id).is_some());
            }
            if is_stale {
                self.drop_guarded(command);
                continue;
            }
            match command {
                Command::Run(call) | Command::RunFor(_, call) => drop(self.call_hub(call)),
                Command::Send(id, message) => drop(self.hub.send(id, message)),
                Command::Publish(topic, message) => drop(self.hub.publish(&topic, message)),
                Command::PublishShared(publication) => self.hub.publish_passed_to_all(&publication),
                Command::PublishSequenced(publication) => drop(self.hub.publish_in_group(*publication)),
                Command::Close(id, code, reason) => drop(self.hub.close(id, code, &reason)),
                Command::Notify(id, event) => drop(self.hub.notify_boxed(id, event)),
                Command::NotifyTopic(topic, event) => {
                    self.hub.notify_topic_sent(&topic, &event);
                }
                Command::Wake(id) => self.wake(id),
                Command::Publications(batch) => {
                    if !self.publish_batch(batch, &mut share) {
                        return;
                    }
                }
                Command::Accepted(listener, socket) => self.take_accepted(listener, socket),
                Command::Live(key) => {
                    self.call_hub(|hub| hub.call_live(key));
                }
                Command::Answered(key, answers) => {
                    self.call_hub(|hub| hub.deliver_answers(key, answers));
                }
                Command::Worked(key, outcome) => {
                    if let Some(done) = self.hub.works.take(key) {
                        self.call_hub(|hub| done(hub, outcome));
                    }
                }
            }
        }
    }

    /// Publishes messages of another reactor of the group, within the budget. Returns `false` if some are left.
    fn publish_batch(&mut self, mut batch: Batch, share: &mut Share) -> bool {
        while let Some(item) = batch.items.next() {
            match item {
                Handed::Publication(publication) => {
                    if let Some(membership) = &self.hub.membership {
                        membership.delivered(batch.from, publication.cost());
                    }
                    self.hub.publish_handed_on(publication);
                }
                Handed::History(change) => self.hub.follow_history(&change),
                Handed::Edge(edge) => self.hub.note_edge(&edge),
            }
            let is_done = batch.items.as_slice().is_empty();
            if !is_done && (self.hub.deliveries_left == 0 || !share.take(&self.hub.time_slice)) {
                self.commands_taken -= 1;
                // The delay is recorded already.
                let rest = QueuedCommand { command: Command::Publications(batch), queued_at: None };
                self.commands.push_front(rest);
                return false;
            }
        }
        true
    }

    /// Returns `true` if the command was meant for a connection that has ended, of a client that has connected again
    /// under the same id. A close ends the client all the same.
    fn is_for_earlier_connection(&self, command: &Command, place: u64) -> bool {
        let (Command::Send(id, _) | Command::Notify(id, _) | Command::RunFor(id, _)) = command else { return false };
        let reconnection = self.hub.outbound(*id).and_then(Outbound::reconnection);
        reconnection.is_some_and(|reconnection| reconnection.precedes(place))
    }

    /// Wakes the handler of an HTTP request or an opening handshake. A wake-up that arrives later is not needed any
    /// more.
    fn wake(&mut self, id: ConnectionId) {
        let waits = |outbound: &Outbound| outbound.state.is_open() && outbound.encoding.is_reserved();
        if self.hub.outbound(id).is_some_and(waits) {
            self.call(id.key(), |handler, stream| handler.on_event(stream, &Wakeup));
        }
    }
}

/// Notes a command in a recording.
fn note_command(recording: &mut Recording, command: &Command, is_there: impl Fn(ConnectionId) -> bool) {
    if !recording.is_on() {
        return;
    }
    let other = |name: &str| Record::Other { name: name.to_owned() };
    let publish = |topic: &str, message: &OwnedMessage| {
        let (is_text, payload) = parts(message);
        Record::Publish { topic: topic.to_owned(), is_text, payload }
    };
    let record = match command {
        Command::Send(id, _) | Command::Close(id, ..) if !is_there(*id) => {
            other("command for a connection that has ended")
        }
        Command::Send(id, message) => recording.of_connection(*id, "send", |stream| {
            let (is_text, payload) = parts(message);
            Record::Send { stream, is_text, payload }
        }),
        Command::Publish(topic, message) => publish(topic, message),
        Command::PublishShared(publication) => publish(&publication.topic, &publication.message),
        Command::PublishSequenced(publication) => publish(&publication.topic, &publication.message),
        Command::Close(id, code, reason) => recording.of_connection(*id, "close", |stream| Record::Close {
            stream,
            code: (*code).into(),
            reason: reason.clone(),
        }),
        Command::Run(_) | Command::RunFor(..) => other("function"),
        Command::Notify(..) | Command::NotifyTopic(..) => other("event"),
        Command::Wake(_) => other("wake-up"),
        Command::Publications(_) => other("publications of another reactor"),
        Command::Accepted(..) => other("connection that another reactor has accepted"),
        Command::Live(_) => other("topic that is live"),
        Command::Answered(..) => other("answers of the reactors"),
        Command::Worked(..) => other("result of a work"),
    };
    recording.note(&record);
}

/// `true` if a message is text, and its payload.
fn parts(message: &OwnedMessage) -> (bool, Vec<u8>) {
    let message = message.as_message();
    (message.is_text(), message.as_bytes().to_vec())
}
