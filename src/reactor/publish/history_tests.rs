use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The time of an id.
fn at(id: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(id)
}

fn histories(topics: &[&str], limits: HistoryLimits, now: Instant) -> Histories {
    let mut histories = Histories::default();
    for (index, topic) in topics.iter().enumerate() {
        histories.keep(topic, limits, at(index as u64), now, true);
    }
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
    let (now, start) = (Instant::now(), 1_000_000_000_000);
    for mut histories in [Histories::default(), Histories::in_group(Arc::default())] {
        histories.keep("one", HistoryLimits::new(), at(0), now, true);
        let ids = [start, start, start - 5000, start + 1].map(|id| histories.push("one", None, "data", at(id), now));
        assert_eq!(ids, [0, 1, 2, 3].map(|more| Some(start + more)));
        let before_1970 = SystemTime::UNIX_EPOCH - SECOND;
        assert_eq!(histories.push("one", None, "data", before_1970, now), Some(start + 4));
        assert_eq!(histories.last_id(), start + 4);
    }
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
    histories.keep("a", HistoryLimits::new(), at(10), now, true);
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
    histories.keep("always", HistoryLimits::new(), at(5), start, true);
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

/// The histories of the reactor that gives the ids, and of one that follows it.
fn group() -> (Histories, Histories) {
    let last = Arc::<AtomicU64>::default();
    (Histories::in_group(Arc::clone(&last)), Histories::in_group(last))
}

#[test]
fn copy_begins_where_the_sequencer_says() {
    let ((mut sequencer, mut copy), now, limits) = (group(), Instant::now(), HistoryLimits::new());
    let (missing_to, is_change) = sequencer.keep("one", limits, at(10), now, true);
    assert!(is_change && !sequencer.keep("one", limits, at(11), now, true).1);
    push(&mut sequencer, "one", 20, "first", now);
    // The copy asks later than the first event, which is on its way.
    assert!(copy.ask_to_keep("one", limits, at(30), now));
    assert_eq!(replayed(&mut copy, &["one"], 19, now), (vec![], true));
    assert!(copy.is_behind(20) && !copy.is_foreign(20));
    copy.keep_copy("one", limits, missing_to, false, now);
    copy.store("one", 20, None, "first", now);
    assert_eq!(replayed(&mut copy, &["one"], 19, now), (vec![20], false));
    assert!(!copy.is_behind(20));
}

#[test]
fn copy_that_was_asked_for_meanwhile_survives_the_end_of_the_one_before() {
    let ((_, mut copy), now, limits) = (group(), Instant::now(), HistoryLimits::new());
    copy.keep_copy("one", limits, 5, false, now);
    copy.store("one", 7, None, "old", now);
    assert!(!copy.ask_to_keep("one", limits, at(8), now), "nothing has changed");
    let other = limits.max_events(7);
    assert!(copy.ask_to_keep("one", other, at(8), now));
    copy.forget_copy("one", at(9));
    assert_eq!(replayed(&mut copy, &["one"], 6, now), (vec![], true));
    copy.keep_copy("one", other, 10, true, now);
    assert_eq!(replayed(&mut copy, &["one"], 10, now), (vec![], false));
    copy.forget_copy("one", at(11));
    assert!(!copy.is_kept("one"));
}

#[test]
fn copy_that_was_not_used_for_a_while_is_asked_for_again() {
    let ((_, mut copy), start) = (group(), Instant::now());
    let limits = HistoryLimits::new().forget_after(Some(600 * SECOND));
    copy.keep_copy("one", limits, 5, false, start);
    let asks = [59, 60, 179].map(|seconds| copy.ask_to_keep("one", limits, at(6), start + seconds * SECOND));
    assert_eq!(asks, [false, false, true]);
}

#[test]
fn events_that_did_not_arrive_are_a_gap() {
    let ((_, mut copy), now) = (group(), Instant::now());
    copy.keep_copy("one", HistoryLimits::new(), 5, false, now);
    copy.store("one", 6, None, "first", now);
    copy.miss("one", 9);
    copy.store("one", 10, None, "last", now);
    assert_eq!(replayed(&mut copy, &["one"], 6, now), (vec![10], true));
    assert_eq!(replayed(&mut copy, &["one"], 9, now), (vec![10], false));
}
