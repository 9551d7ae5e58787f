//! Sharded channels, which Redis may unsubscribe when their slot moves.

use super::*;

#[test]
fn only_a_sharded_channel_may_be_unsubscribed_by_redis() {
    for (words, is_expected) in [(Words::PLAIN, false), (Words::SHARDED, true)] {
        let bounds = Bounds { pending: 10_000, ..NONE };
        let (mut channels, mut commands) = (Channels::new("".into(), bounds, Vec::new(), words), Commands::default());
        channels.connect(&mut commands);
        channels.subscribe("t", &mut commands);
        assert!(matches!(channels.on_subscribed(b"t", &mut commands), News::Live(_)));
        channels.publish("t", Payload::from(&OwnedMessage::from("x")), 7, &mut commands);
        let news = channels.on_unsubscribed(b"t", &mut commands);
        assert_eq!(matches!(news, News::Moved(_)), is_expected);
        assert_eq!((commands.settled.contains(&7), matches!(news, News::Unexpected)), (is_expected, !is_expected));
    }
}

#[test]
fn publication_whose_slot_has_moved_is_settled_once_and_is_none_of_others() {
    let (mut channels, mut commands) = subscribed(Words::SHARDED, &["t"]);
    channels.publish("t", text("x"), 1, &mut commands);
    assert!(matches!(channels.on_unsubscribed(b"t", &mut commands), News::Moved(_)));
    assert_eq!(mem::take(&mut commands.settled), [1]);
    assert!(matches!(channels.on_reply(true, &mut commands), News::NotPublished));
    assert_eq!((commands.settled.len(), channels.pending_bytes), (0, 0));
}

#[test]
fn channel_may_move_while_another_or_the_same_is_being_unsubscribed() {
    let (mut channels, mut commands) = subscribed(Words::SHARDED, &["a", "b"]);
    channels.unsubscribe("b", &mut commands);
    assert!(matches!(channels.on_unsubscribed(b"a", &mut commands), News::Moved(_)));
    assert!(matches!(channels.on_unsubscribed(b"b", &mut commands), News::Nothing));
    // The answer to the command comes behind that of Redis itself: again, or as an error, while another command waits.
    assert!(matches!(channels.on_unsubscribed(b"b", &mut commands), News::Nothing));
    channels.subscribe("c", &mut commands);
    assert!(matches!(channels.on_refused(Some(slot_of(b"b")), &mut commands), News::Nothing));
    assert!(matches!(channels.on_subscribed(b"c", &mut commands), News::Live(_)));
    channels.subscribe("d", &mut commands);
    assert!(matches!(channels.on_refused(Some(slot_of(b"d")), &mut commands), News::Refused(_)));
}
