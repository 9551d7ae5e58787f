//! Handles by which the application acts on its apps.

use std::{fmt, rc::Rc};

use super::{
    api::{Info, Trigger, TriggerError},
    app::App,
    events::PusherEvent,
    names::{self, Access},
    packet::{self, MemberData, UserData},
    signature,
};
use crate::reactor::Hub;

/// An app on this reactor: the HTTP API as functions, and the signatures for clients. See
/// [`PusherHandle::app`](super::PusherHandle::app).
#[derive(Clone)]
pub struct PusherAppHandle(Rc<App>);

/// A value of a client that is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizationError {
    /// The socket id is not of the form `n.n`.
    SocketId,
    /// The channel name is malformed.
    Channel,
    /// The data of a member is missing or malformed, or the channel is not a presence channel.
    ChannelData,
    /// The data of a user is malformed.
    UserData,
}

impl fmt::Display for AuthorizationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            AuthorizationError::SocketId => "socket_id is malformed",
            AuthorizationError::Channel => "the channel name is malformed",
            AuthorizationError::ChannelData => "channel_data is missing, malformed, or not for a presence channel",
            AuthorizationError::UserData => "user_data is malformed",
        })
    }
}

impl std::error::Error for AuthorizationError {}

/// Counters of an app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PusherStats {
    /// Connections of this reactor.
    pub connections: usize,
    /// Subscriptions of this reactor.
    pub subscriptions: usize,
    /// Channels with a subscription, in all processes.
    pub channels: usize,
    /// Users that have signed in, in all processes.
    pub users: usize,
    /// Cache channels with an event.
    pub cached_events: usize,
    /// Events that wait for the webhook, and batches that wait for a further attempt.
    pub webhooks_waiting: usize,
    /// Events and batches that were dropped.
    pub webhooks_dropped: u64,
}

impl PusherAppHandle {
    pub(super) fn new(app: &Rc<App>) -> Self {
        PusherAppHandle(Rc::clone(app))
    }

    /// The id of the app.
    pub fn id(&self) -> &str {
        &self.0.options.id
    }

    /// The key of the app.
    pub fn key(&self) -> &str {
        &self.0.options.credentials.key
    }

    /// Sends an event to the subscribers of channels, in all processes, as the HTTP API does. `data` is any value, as
    /// JSON. `except`: the socket id of a connection that does not get it.
    ///
    /// A channel `#server-to-user-ID` stands for the connections of a user.
    ///
    /// # Errors
    ///
    /// [`TriggerError`] if a name, the number of channels or the data is beyond its limit, or if the value cannot be
    /// written as JSON.
    pub fn trigger<T: serde::Serialize + ?Sized>(
        &self,
        hub: &mut Hub,
        channels: &[&str],
        event: &str,
        data: &T,
        except: Option<&str>,
    ) -> Result<(), TriggerError> {
        let data = serde_json::to_string(data).map_err(|error| TriggerError::bad(error.to_string()))?;
        self.trigger_text(hub, channels, event, data, except)
    }

    /// As [`trigger`](Self::trigger), with data that is text: JSON, or any other. Clients parse it if it is JSON.
    ///
    /// # Errors
    ///
    /// See [`trigger`](Self::trigger).
    pub fn trigger_text(
        &self,
        hub: &mut Hub,
        channels: &[&str],
        event: &str,
        data: impl Into<String>,
        except: Option<&str>,
    ) -> Result<(), TriggerError> {
        let trigger = Trigger {
            name: event.to_owned(),
            channels: channels.iter().copied().map(str::to_owned).collect(),
            data: data.into(),
            socket_id: except.map(str::to_owned),
            info: Info::default(),
        };
        let trigger = self.0.options.events.check(trigger)?;
        self.0.start(hub);
        self.0.trigger(hub, trigger).map(|_| ())
    }

    /// The response to a client that asks for access to a private or presence channel, after the application has
    /// checked its user: the body of the route that `channelAuthorization.endpoint` of pusher-js names.
    ///
    /// `channel_data`: for a presence channel, JSON text with `user_id` and, if wanted, `user_info`. Clients of
    /// encrypted channels need a `shared_secret`, too, which the response does not have.
    ///
    /// # Errors
    ///
    /// [`AuthorizationError`] if the socket id or the channel name is malformed, or if `channel_data` is missing, or
    /// given for another channel. A signature of such values could be used for another channel or user.
    pub fn authorize(
        &self,
        socket_id: &str,
        channel: &str,
        channel_data: Option<&str>,
    ) -> Result<String, AuthorizationError> {
        if !names::is_socket_id(socket_id) {
            return Err(AuthorizationError::SocketId);
        }
        if !names::is_channel(channel) {
            return Err(AuthorizationError::Channel);
        }
        let is_member = channel_data.is_some_and(|data| MemberData::parse(data).is_some());
        let is_presence = Access::of(channel) == Access::Presence;
        if is_member != is_presence || channel_data.is_some() != is_presence {
            return Err(AuthorizationError::ChannelData);
        }
        let text = signature::of_subscription(socket_id, channel, channel_data);
        Ok(self.response(&text, channel_data.map(|data| ("channel_data", data))))
    }

    /// The response to a client that signs its user in, after the application has checked the user: the body of the
    /// route that `userAuthentication.endpoint` of pusher-js names.
    ///
    /// `user_data`: JSON text with `id` and, if wanted, `watchlist`, an array of at most 100 other ids.
    ///
    /// # Errors
    ///
    /// [`AuthorizationError`] if the socket id is malformed, or `user_data` has no `id`.
    pub fn authenticate(&self, socket_id: &str, user_data: &str) -> Result<String, AuthorizationError> {
        if !names::is_socket_id(socket_id) {
            return Err(AuthorizationError::SocketId);
        }
        if UserData::parse(user_data).is_none() {
            return Err(AuthorizationError::UserData);
        }
        Ok(self.response(&signature::of_user(socket_id, user_data), Some(("user_data", user_data))))
    }

    fn response(&self, text: &str, data: Option<(&str, &str)>) -> String {
        let auth = packet::quoted(&self.0.options.credentials.auth(text));
        let data = data.map(|(name, data)| format!(r#","{name}":{}"#, packet::quoted(data))).unwrap_or_default();
        format!(r#"{{"auth":{auth}{data}}}"#)
    }

    /// The channels with a subscription in any process, sorted.
    pub fn channels(&self) -> Vec<String> {
        self.0.roster.borrow().channels().map(|(name, _)| name.to_owned()).collect()
    }

    /// Subscriptions of a channel, in all processes.
    pub fn subscriptions(&self, channel: &str) -> usize {
        self.0.roster.borrow().channel(channel).map_or(0, |channel| channel.subscriptions)
    }

    /// Ids of the users of a presence channel, sorted.
    pub fn users(&self, channel: &str) -> Vec<String> {
        self.0.users(channel)
    }

    /// Closes the connections of a user that has signed in, in all processes, with 4009. Their clients do not connect
    /// again.
    pub fn terminate_user(&self, hub: &mut Hub, user_id: &str) {
        self.0.start(hub);
        // A message that has no room is for a group that is overloaded: the user's connections stay then.
        let _ = self.0.terminate(hub, user_id);
    }

    /// Sets the function that is called with the events that a [webhook](super::PusherApp::webhook) would get. It
    /// takes the place of an earlier one.
    ///
    /// With several reactors or processes, each event is reported by one of them: of a change of a client by the one
    /// with its connection.
    pub fn on_event(&self, call: impl Fn(&mut Hub, &PusherEvent) + 'static) {
        self.0.set_hook(Rc::new(call));
    }

    /// The counters.
    pub fn stats(&self) -> PusherStats {
        let (local, roster) = (self.0.local.borrow(), self.0.roster.borrow());
        let (cached_events, webhooks_waiting, webhooks_dropped) = self.0.waiting();
        PusherStats {
            connections: local.len(),
            subscriptions: local.subscriptions(),
            channels: roster.channels().count(),
            users: roster.users(),
            cached_events,
            webhooks_waiting,
            webhooks_dropped,
        }
    }
}

impl fmt::Debug for PusherAppHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PusherAppHandle").field("id", &self.id()).field("stats", &self.stats()).finish()
    }
}
