//! Invariants of the messages, for any input.

use serde_json::Value;

use super::{
    api::{EventLimits, Info},
    envelope::{self, Envelope, Message},
    names,
    packet::{self, Command, MemberData, UserData},
};

/// Checks that messages and bodies are parsed or refused, and that what is sent is JSON with the same values.
pub(crate) fn check(data: &[u8]) {
    let limits = EventLimits::default();
    let _ = limits.batch(data);
    if let Ok(event) = limits.event(data) {
        assert!(event.data.len() <= limits.data_bytes && event.channels.iter().all(|name| names::is_target(name)));
        let sent = parsed(&packet::event(&event.name, Some(&event.channels[0]), &packet::quoted(&event.data), None));
        assert_eq!((&sent["event"], &sent["data"]), (&Value::from(event.name), &Value::from(event.data)));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Info::parse(text);
    match Command::parse(text) {
        Ok(Some(Command::ClientEvent { event, channel, data })) => {
            let envelope = Envelope {
                node: "a".to_owned(),
                number: 0,
                message: Message::Event(envelope::Event {
                    name: event,
                    channels: vec![channel],
                    socket_id: None,
                    user: None,
                    data: data.to_owned(),
                }),
            };
            assert_eq!(Envelope::decode(&envelope.encode()), Some(envelope));
        }
        Ok(Some(Command::Subscribe { channel, channel_data, .. })) => {
            let error = parsed(&packet::subscription_error(&channel, "AuthError", "", 401));
            assert_eq!(error["channel"], channel);
            if let Some(member) = channel_data.and_then(|data| MemberData::parse(&data)) {
                let members = parsed(&packet::presence([&member].into_iter()));
                assert_eq!(members["presence"]["ids"][0], member.user_id);
                parsed(&packet::member_added(&channel, &member));
            }
        }
        Ok(Some(Command::SignIn { user_data, .. })) => {
            let _ = UserData::parse(&user_data);
            parsed(&packet::signed_in(&user_data));
        }
        _ => {}
    }
    let _ = Envelope::decode(text);
    let _ = packet::text_of(text);
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
