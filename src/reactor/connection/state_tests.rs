//! Tests of the state of a connection.

use super::*;

const PHASES: [Phase; 6] =
    [Phase::Open, Phase::Closing, Phase::Draining, Phase::Lingering, Phase::AwaitingEof, Phase::Closed];

const EVENTS: [(&str, Event); 12] = [
    ("CloseSent", Event::CloseSent),
    ("LastSent", Event::LastSent),
    ("CloseReceived, we end", Event::CloseReceived { peer_ends: false }),
    ("CloseReceived, peer ends", Event::CloseReceived { peer_ends: true }),
    ("SlowReader", Event::SlowReader),
    ("EndOfInput", Event::EndOfInput { unsent: false, raw: false }),
    ("EndOfInput, unsent", Event::EndOfInput { unsent: true, raw: false }),
    ("EndOfInput, unsent, raw", Event::EndOfInput { unsent: true, raw: true }),
    ("Written", Event::Written { unread: false }),
    ("Written, unread", Event::Written { unread: true }),
    ("HalfWritten", Event::HalfWritten),
    ("Ended", Event::Ended),
];

fn in_phase(phase: Phase) -> State {
    State { phase, ..State::connected() }
}

/// Cells of the table in the documentation of this file: by event, then by phase.
fn documented() -> Vec<(String, Vec<String>)> {
    let rows = include_str!("state.rs").lines().filter_map(|line| line.strip_prefix("//! |")).take(EVENTS.len() + 2);
    rows.skip(2)
        .map(|row| {
            let mut cells = row.split('|').map(|cell| cell.trim().to_owned());
            let event = cells.next().unwrap_or_default();
            (event, cells.take(PHASES.len()).collect())
        })
        .collect()
}

#[test]
fn every_event_in_every_phase_has_the_outcome_of_the_documented_table() {
    let table = documented();
    assert_eq!(table.len(), EVENTS.len());
    for ((name, event), (documented_name, cells)) in EVENTS.iter().zip(table) {
        assert_eq!(*name, documented_name);
        for (phase, cell) in PHASES.iter().zip(cells) {
            let mut state = in_phase(*phase);
            let effect = state.on(*event);
            let outcome = match effect {
                Effect::Nothing => "-".to_owned(),
                Effect::ShutDown if state.phase == *phase => "=".to_owned(),
                _ => format!("{:?}", state.phase),
            };
            assert_eq!(outcome, cell, "{name} in {phase:?}");
            assert_eq!(effect == Effect::Remove, state.is_closed() && *phase != Phase::Closed, "{name}, {phase:?}");
            assert_eq!(effect == Effect::ShutDown, state.shut, "{name} in {phase:?}");
            let begins = matches!(phase, Phase::Open | Phase::Closing) && !state.is_open() && !state.is_closed();
            let keeps_reason = matches!(event, Event::SlowReader)
                || matches!(event, Event::EndOfInput { .. }) && *phase == Phase::Closing;
            assert_eq!(effect == Effect::BeginClosing, begins && !keeps_reason && state.phase != *phase);
        }
    }
}

#[test]
fn output_is_shut_down_once() {
    let mut state = in_phase(Phase::Lingering);
    assert!(state.ends_when_written());
    assert_eq!(state.on(Event::Written { unread: false }), Effect::ShutDown);
    assert!(state.is_shut() && !state.ends_when_written());
    assert_eq!(state.on(Event::Written { unread: false }), Effect::Nothing);
}

#[test]
fn stream_open_in_one_direction_ends_with_the_other() {
    let mut state = State::connected();
    assert!(state.end_input() && !state.end_input() && !state.may_read(|| true) && !state.ends_when_written());
    assert!(!state.end_output(), "both sides have ended");
    let mut state = State::connected();
    assert!(state.end_output() && state.is_output_ended() && state.may_read(|| false) && state.ends_when_written());
    assert_eq!(state.on(Event::HalfWritten), Effect::ShutDown);
    assert!(state.is_open() && !state.ends_when_written() && !state.end_input());
    assert_eq!(state.on(Event::HalfWritten), Effect::Nothing);
}

#[test]
fn every_phase_is_reachable_from_open_and_can_end() {
    let mut reached = vec![Phase::Open];
    let mut index = 0;
    while let Some(phase) = reached.get(index).copied() {
        index += 1;
        for (_, event) in EVENTS {
            let mut state = in_phase(phase);
            state.on(event);
            assert!(phase == Phase::Open || !state.is_open(), "{event:?} opens {phase:?} again");
            if !reached.contains(&state.phase()) {
                reached.push(state.phase());
            }
        }
        assert_eq!(in_phase(phase).on(Event::Ended) == Effect::Remove, phase != Phase::Closed);
    }
    assert_eq!(reached.len(), PHASES.len(), "{reached:?}");
}

#[test]
fn closing_connection_is_read_even_if_it_is_paused() {
    let never = || false;
    let mut state = State::connected();
    assert!(state.may_read(never));
    state.pause();
    assert!(!state.may_read(never) && !state.may_read(|| true));
    for (phase, read) in PHASES.into_iter().zip([false, true, false, true, true, false]) {
        assert_eq!(State { phase, ..state }.may_read(never), read, "{phase:?}");
    }
    assert!(state.resume() && !state.resume());
    assert!(state.may_read(never) && state.is_reread_due());
}

#[test]
fn output_above_its_mark_stops_reading_unless_the_output_rule_allows_it() {
    let mut state = State::connected();
    state.await_drain();
    assert!(state.is_held_by_output() && !state.may_read(|| false) && state.may_read(|| true));
    state.pause();
    assert!(!state.is_held_by_output() && !state.may_read(|| true));
    state.resume();
    assert!(state.on_drained() && !state.on_drained());
    assert!(state.may_read(|| false));
}
