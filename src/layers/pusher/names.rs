//! Names of channels, and the kinds of channels by their prefixes. Pure.

/// Most characters of the name of a channel.
pub(super) const MAX_CHANNEL_NAME: usize = 164;

/// Begins the name of the channel of a user: that of `sendToUser`.
pub(super) const USER_PREFIX: &str = "#server-to-user-";

/// Kinds of channels, by the clients that may subscribe to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Public,
    Private,
    /// Private, with data that only its clients can read.
    Encrypted,
    /// Private, with a list of its members.
    Presence,
}

impl Access {
    pub(super) fn of(channel: &str) -> Self {
        match channel {
            _ if channel.starts_with("private-encrypted-") => Access::Encrypted,
            _ if channel.starts_with("private-") => Access::Private,
            _ if channel.starts_with("presence-") => Access::Presence,
            _ => Access::Public,
        }
    }

    /// Returns `true` if a subscription needs a signature.
    pub(super) fn needs_signature(self) -> bool {
        self != Access::Public
    }

    /// Returns `true` if subscribers may send events.
    pub(super) fn takes_client_events(self) -> bool {
        matches!(self, Access::Private | Access::Presence)
    }
}

/// Returns `true` if the last event of a channel is kept for new subscribers.
pub(super) fn is_cache(channel: &str) -> bool {
    let rest = ["private-encrypted-", "private-", "presence-"].iter().find_map(|prefix| channel.strip_prefix(prefix));
    rest.unwrap_or(channel).starts_with("cache-")
}

/// Returns `true` if clients may subscribe to a channel of this name.
pub(super) fn is_channel(name: &str) -> bool {
    (1..=MAX_CHANNEL_NAME).contains(&name.len()) && name.bytes().all(is_name_octet)
}

/// Returns `true` if events may be sent to a channel of this name: also to that of a user.
pub(super) fn is_target(name: &str) -> bool {
    name.strip_prefix(USER_PREFIX).map_or_else(|| is_channel(name), |user| !user.is_empty())
}

fn is_name_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"_-=@,.;".contains(&octet)
}

/// Returns `true` for an id of a connection: two numbers and a dot.
pub(super) fn is_socket_id(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_digit());
    text.split_once('.').is_some_and(|(first, second)| is_number(first) && is_number(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_is_the_kind_of_a_channel() {
        for (channel, access) in [
            ("news", Access::Public),
            ("cache-news", Access::Public),
            ("privateer", Access::Public),
            ("private-a", Access::Private),
            ("private-cache-a", Access::Private),
            ("private-encrypted-a", Access::Encrypted),
            ("private-encrypted-cache-a", Access::Encrypted),
            ("presence-a", Access::Presence),
        ] {
            assert_eq!(Access::of(channel), access, "{channel}");
        }
    }

    #[test]
    fn cache_channels_have_it_behind_their_prefix() {
        for name in ["cache-a", "private-cache-a", "private-encrypted-cache-a", "presence-cache-a"] {
            assert!(is_cache(name), "{name}");
        }
        for name in ["a", "private-a", "a-cache-b", "private-a-cache-b", "cache"] {
            assert!(!is_cache(name), "{name}");
        }
    }

    #[test]
    fn names_have_their_characters_and_length() {
        for name in ["a", "A_b-=@,.;9", &"x".repeat(164)] {
            assert!(is_channel(name), "{name}");
        }
        for name in ["", "a b", "a/b", "é", "#a", &"x".repeat(165)] {
            assert!(!is_channel(name), "{name}");
        }
        assert!(is_target("#server-to-user-1") && !is_target("#server-to-user-") && !is_target("#other"));
    }

    #[test]
    fn socket_ids_are_two_numbers() {
        assert!(is_socket_id("1.2") && is_socket_id("123456.7890123"));
        for text in ["", "1", "1.", ".1", "1.2.3", "a.b", "-1.2", "1.2\n"] {
            assert!(!is_socket_id(text), "{text:?}");
        }
    }
}
