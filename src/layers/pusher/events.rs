//! Events of an app for the application: by webhooks, or by a function.

use super::packet::quoted;

/// An event of an app: the content of a webhook.
///
/// Each one is reported once, by one process, however many processes share the app.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PusherEvent {
    /// A channel has its first subscription.
    ChannelOccupied {
        /// Name of the channel.
        channel: String,
    },
    /// A channel has lost its last subscription.
    ChannelVacated {
        /// Name of the channel.
        channel: String,
    },
    /// A user has the first subscription to a presence channel.
    MemberAdded {
        /// Name of the channel.
        channel: String,
        /// Id of the user.
        user_id: String,
    },
    /// A user has lost the last subscription to a presence channel.
    MemberRemoved {
        /// Name of the channel.
        channel: String,
        /// Id of the user.
        user_id: String,
    },
    /// A client has sent an event.
    ClientEvent {
        /// Name of the channel.
        channel: String,
        /// Name of the event. Begins with `client-`.
        event: String,
        /// Data of the event: text, or the JSON text of any other value.
        data: String,
        /// Connection of the client.
        socket_id: String,
        /// User of the client, in a presence channel.
        user_id: Option<String>,
    },
    /// A client has subscribed to a cache channel that has no event.
    CacheMiss {
        /// Name of the channel.
        channel: String,
    },
}

impl PusherEvent {
    /// The event as the webhook's JSON.
    pub(super) fn json(&self) -> String {
        let of = |name: &str, channel: &str| format!(r#""name":"{name}","channel":{}"#, quoted(channel));
        let fields = match self {
            PusherEvent::ChannelOccupied { channel } => of("channel_occupied", channel),
            PusherEvent::ChannelVacated { channel } => of("channel_vacated", channel),
            PusherEvent::MemberAdded { channel, user_id } => {
                format!(r#"{},"user_id":{}"#, of("member_added", channel), quoted(user_id))
            }
            PusherEvent::MemberRemoved { channel, user_id } => {
                format!(r#"{},"user_id":{}"#, of("member_removed", channel), quoted(user_id))
            }
            PusherEvent::ClientEvent { channel, event, data, socket_id, user_id } => {
                let (begin, event, data) = (of("client_event", channel), quoted(event), quoted(data));
                let user = user_id.as_ref().map(|id| format!(r#","user_id":{}"#, quoted(id))).unwrap_or_default();
                format!(r#"{begin},"event":{event},"data":{data},"socket_id":"{socket_id}"{user}"#)
            }
            PusherEvent::CacheMiss { channel } => of("cache_miss", channel),
        };
        format!("{{{fields}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_json_of_webhooks() {
        let (channel, user_id) = ("presence-a".to_owned(), "u\"".to_owned());
        let added = PusherEvent::MemberAdded { channel: channel.clone(), user_id: user_id.clone() };
        assert_eq!(added.json(), r#"{"name":"member_added","channel":"presence-a","user_id":"u\""}"#);
        let client = PusherEvent::ClientEvent {
            channel,
            event: "client-x".to_owned(),
            data: r#"{"a":1}"#.to_owned(),
            socket_id: "1.2".to_owned(),
            user_id: Some(user_id),
        };
        let expected = concat!(
            r#"{"name":"client_event","channel":"presence-a","event":"client-x","data":"{\"a\":1}","#,
            r#""socket_id":"1.2","user_id":"u\""}"#
        );
        assert_eq!(client.json(), expected);
    }
}
