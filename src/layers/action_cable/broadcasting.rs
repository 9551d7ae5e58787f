//! Names of streams, as Rails makes them of a channel and a model.

/// The name of the stream of a channel for something: that of Rails' `broadcasting_for`, `stream_for` and
/// `broadcast_to`. The parts are joined by colons. That of a model is its `to_gid_param`.
///
/// ```
/// use ws_reactor::action_cable::broadcasting_for;
///
/// assert_eq!(broadcasting_for("ChatChannel", ["Z2lkOi8vYXBwL1Jvb20vMQ"]), "chat:Z2lkOi8vYXBwL1Jvb20vMQ");
/// assert_eq!(broadcasting_for("FooChats::BarAppearancesChannel", ["1", "2"]), "foo_chats:bar_appearances:1:2");
/// ```
pub fn broadcasting_for<P: AsRef<str>>(channel: &str, parts: impl IntoIterator<Item = P>) -> String {
    let name = channel.strip_suffix("Channel").unwrap_or(channel).replace("::", ":");
    let mut stream = underscored(&name);
    for part in parts {
        stream.push(':');
        stream.push_str(part.as_ref());
    }
    stream
}

/// Rails' `underscore`, where the name is that of a class.
fn underscored(name: &str) -> String {
    let characters: Vec<char> = name.chars().collect();
    let mut text = String::with_capacity(name.len() + 4);
    for (index, character) in characters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| characters[before]);
        let is_last_of_capitals = characters.get(index + 1).is_some_and(char::is_ascii_lowercase);
        let begins_a_word = character.is_ascii_uppercase()
            && before.is_some_and(|before| match before {
                'a'..='z' | '0'..='9' => true,
                'A'..='Z' => is_last_of_capitals,
                _ => false,
            });
        if begins_a_word {
            text.push('_');
        }
        text.push(if *character == '-' { '_' } else { character.to_ascii_lowercase() });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The results of `ActionCable::Channel::Naming` in Rails 6.1.
    #[test]
    fn names_of_channels_are_those_of_rails() {
        let cases = [
            ("ChatChannel", "chat"),
            ("Chats::AppearancesChannel", "chats:appearances"),
            ("FooChats::BarAppearancesChannel", "foo_chats:bar_appearances"),
            ("HTMLPageChannel", "html_page"),
            ("Room2LobbyChannel", "room2_lobby"),
            ("X9YChannel", "x9_y"),
            ("APIChannel", "api"),
            ("ChannelChannel", "channel"),
            ("Chat", "chat"),
        ];
        for (class, name) in cases {
            assert_eq!(broadcasting_for(class, [] as [&str; 0]), name, "{class}");
        }
    }
}
