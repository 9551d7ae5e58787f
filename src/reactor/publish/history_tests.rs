use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The time of an id.
fn at(id: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(id)
}

fn histories(topics: &[&str], limits: HistoryLimits, now: Instant) -> Histories {
    let mut histories = Histories::default();
    topics.iter().enumerate().for_each(|(index, topic)| histories.keep(topic, limits, at(index as u64), now));
    histories
}

fn push(histories: &mut Histories, topic: &str, id: u64, data: &str, now: Instant) {
    assert_eq!(histories.push(topic, None, data, at(id), now), Some(id));
}

/// The ids of the events after an id, and whether there is a gap.
fn replayed(histories: &mut Histories, topics: &[&str], after: u64, now: Instant) -> (Vec<u64>, bool) {
    let replay = histories.after(topics.iter().copied(), after, now).unwrap();
    (replay.events.iter().map(|event| event.id).collect(), replay.gap_to.is_some())
}

#[test]
fn ids_grow_whatever_the_clock_says() {
    let (mut histories, start) = (Histories::default(), at(1_000_000_000_000));
    assert_eq!(histories.next_id(start), 1_000_000_000_000);
    assert_eq!(histories.next_id(start), 1_000_000_000_001);
    assert_eq!(histories.next_id(start - 5 * SECOND), 1_000_000_000_002);
    assert_eq!(histories.next_id(start + SECOND), 1_000_001_000_000);
    assert_eq!(histories.next_id(SystemTime::UNIX_EPOCH - SECOND), 1_000_001_000_001);
    assert_eq!(histories.last_id(), 1_000_001_000_001);
}

#[test]
fn events_after_an_id_come_in_order_over_all_topics() {
    let now = Instant::now();
    let mut histories = histories(&["a", "b"], HistoryLimits::new(), now);
    assert_eq!(histories.push("none", None, "x", at(9), now), None);
    for (topic, id) in [("a", 11), ("b", 12), ("a", 13), ("b", 15)] {
        push(&mut histories, topic, id, "x", now);
    }
    assert_eq!(replayed(&mut histories, &["a"], 10, now), (vec![11, 13], false));
    assert_eq!(replayed(&mut histories, &["a", "b", "none"], 11, now), (vec![12, 13, 15], false));
    assert_eq!(replayed(&mut histories, &["a", "b"], 15, now), (vec![], false));
    assert_eq!(histories.after(["none"], 11, now), None);
    assert_eq!(histories.first_after("a", 11, now).map(|event| event.id), Some(13));
    assert_eq!((histories.first_after("a", 13, now), histories.first_after("none", 0, now)), (None, None));
}

#[test]
fn events_before_a_history_are_a_gap() {
    let now = Instant::now();
    let mut histories = Histories::default();
    histories.keep("a", HistoryLimits::new(), at(10), now);
    push(&mut histories, "a", 20, "x", now);
    assert_eq!(replayed(&mut histories, &["a"], 10, now), (vec![20], false));
    // For example of a process that was there before.
    let replay = histories.after(["a"], 9, now).unwrap();
    assert_eq!((replay.events.len(), replay.gap_to), (1, Some(10)));
    // Of one whose clock was ahead.
    assert_eq!(replayed(&mut histories, &["a"], 99, now), (vec![20], true));
    assert_eq!(histories.first_after("a", 99, now).map(|event| event.id), Some(20));
}

#[test]
fn count_bytes_and_age_limit_a_history() {
    let start = Instant::now();
    let limits = HistoryLimits::new().max_events(3).max_bytes(10).max_age(60 * SECOND);
    let mut histories = histories(&["a"], limits, start);
    for id in 2..=6 {
        push(&mut histories, "a", id, "x", start + id as u32 * SECOND);
    }
    let now = start + 6 * SECOND;
    assert_eq!(replayed(&mut histories, &["a"], 3, now), (vec![4, 5, 6], false));
    assert_eq!(replayed(&mut histories, &["a"], 2, now), (vec![4, 5, 6], true), "the second was forgotten");
    push(&mut histories, "a", 7, "123456789", now);
    assert_eq!(replayed(&mut histories, &["a"], 5, now), (vec![6, 7], false));
    push(&mut histories, "a", 8, "more than ten bytes", now);
    assert_eq!(replayed(&mut histories, &["a"], 7, now), (vec![], true), "one event exceeds the limit");
    assert_eq!(histories.push("a", Some("a long name"), "", at(9), now), Some(9), "names count");
    assert_eq!(replayed(&mut histories, &["a"], 8, now), (vec![], true));
    push(&mut histories, "a", 10, "x", now);
    assert_eq!(replayed(&mut histories, &["a"], 9, now + 59 * SECOND), (vec![10], false));
    assert_eq!(replayed(&mut histories, &["a"], 9, now + 60 * SECOND), (vec![], true));
}

#[test]
fn unused_history_is_forgotten_where_that_is_set_unless_someone_subscribes() {
    let start = Instant::now();
    let limits = HistoryLimits::new().forget_after(Some(60 * SECOND));
    let mut histories = histories(&["pushed", "read", "subscribed", "unused"], limits, start);
    histories.keep("always", HistoryLimits::new(), at(5), start);
    let later = start + 30 * SECOND;
    push(&mut histories, "pushed", 10, "x", later);
    histories.after(["read"], 0, later);
    histories.sweep(start + 60 * SECOND, Duration::ZERO, |topic| topic == "subscribed");
    assert!(["pushed", "read", "subscribed", "always"].iter().all(|topic| histories.is_kept(topic)));
    assert!(!histories.is_kept("unused") && histories.len() == 4);
    histories.sweep(start + 90 * SECOND, Duration::ZERO, |_| false);
    assert_eq!(histories.len(), 1);
    assert!(histories.forget("always") && !histories.forget("always") && histories.is_empty());
}
