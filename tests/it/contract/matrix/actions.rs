//! The calls of every action.

use super::*;

/// Acts by the methods of [`WebSocket`] where it has them, else by those of [`Hub`].
pub(super) fn act_on(ws: &mut WebSocket<'_>, scenario: &Scenario) {
    match scenario.action {
        Action::SendToSelf => scenario.result(ws.send("to self")),
        Action::CloseSelf => {
            scenario.result(ws.send("last words"));
            scenario.result(ws.close(CloseCode::NORMAL, ""));
            scenario.result(ws.send("too late"));
            scenario.result(ws.close(CloseCode::NORMAL, ""));
        }
        Action::Publish => {
            scenario.published(ws.publish("news", "to all"));
            scenario.published(ws.publish_to_others("news", "to others"));
            scenario.published(ws.publish("no subscribers", "to nobody"));
        }
        Action::Subscribe => (0..2).for_each(|_| scenario.result(ws.subscribe("fresh"))),
        Action::Unsubscribe => (0..2).for_each(|_| scenario.result(ws.unsubscribe("news"))),
        Action::SetOwnTimer => drop(ws.set_timer(DELAY)),
        Action::CancelOwnTimer => {
            let timer = ws.set_timer(DELAY);
            (0..2).for_each(|_| scenario.result(ws.cancel_timer(timer)));
        }
        _ => act(ws.hub(), scenario),
    }
}

pub(super) fn act(hub: &mut Hub, scenario: &Scenario) {
    let (actor, other, stale) = (scenario.id("/actor"), scenario.id("/other"), scenario.id("/stale"));
    match scenario.action {
        Action::SendToSelf => scenario.result(hub.send(actor, "to self")),
        Action::SendToOther => scenario.result(hub.send(other, "to other")),
        Action::CloseSelf | Action::CloseOther => {
            let id = if scenario.action == Action::CloseSelf { actor } else { other };
            scenario.result(hub.send(id, "last words"));
            scenario.result(hub.close(id, CloseCode::NORMAL, ""));
            scenario.result(hub.send(id, "too late"));
            scenario.result(hub.close(id, CloseCode::NORMAL, ""));
        }
        Action::TerminateSelf | Action::TerminateOther => {
            let id = if scenario.action == Action::TerminateSelf { actor } else { other };
            if id == other {
                scenario.result(hub.send(id, "lost"));
            }
            (0..2).for_each(|_| scenario.result(hub.terminate(id)));
            scenario.result(hub.send(id, "too late"));
        }
        Action::Publish => {
            scenario.published(hub.publish("news", "to all"));
            scenario.published(hub.publish_to_others(actor, "news", "to others"));
            scenario.published(hub.publish("no subscribers", "to nobody"));
        }
        Action::Subscribe => (0..2).for_each(|_| scenario.result(hub.subscribe(actor, "fresh"))),
        Action::Unsubscribe => (0..2).for_each(|_| scenario.result(hub.unsubscribe(actor, "news"))),
        // `Hub` has no timers of a connection.
        Action::SetOwnTimer | Action::CancelOwnTimer => {}
        Action::AddTimer => {
            let inside = scenario.clone();
            let timer = hub.add_timer(DELAY, move |hub| {
                let cancelled = hub.cancel_timer(inside.timer());
                inside.record("loop", format!("timer, cancelled in itself: {cancelled}"));
            });
            scenario.set_timer(timer);
        }
        Action::CancelTimer => {
            let inside = scenario.clone();
            let timer = hub.add_timer(DELAY, move |_| inside.record("loop", "cancelled, and called"));
            (0..2).for_each(|_| scenario.result(hub.cancel_timer(timer)));
        }
        Action::CancelPeriodicInItself => {
            let (inside, mut calls) = (scenario.clone(), 0);
            let timer = hub.add_periodic_timer(DELAY, move |hub| {
                inside.record("loop", "periodic");
                calls += 1;
                if calls == 2 {
                    inside.record("loop", format!("cancelled in itself: {}", hub.cancel_timer(inside.timer())));
                    inside.record("loop", format!("again: {}", hub.cancel_timer(inside.timer())));
                }
            });
            scenario.set_timer(timer);
        }
        Action::NextTick => {
            let inside = scenario.clone();
            hub.next_tick(move |hub| {
                inside.record("loop", "tick");
                hub.next_tick(move |_| inside.record("loop", "tick of a tick"));
            });
        }
        Action::Pause => scenario.result(hub.pause(actor)),
        Action::PauseAndResume => {
            scenario.result(hub.pause(actor));
            scenario.result(hub.resume(actor));
        }
        Action::Stop => {
            hub.stop();
            scenario.result(hub.send(other, "farewell"));
        }
        Action::Shutdown => {
            hub.shutdown(Duration::from_secs(60));
            scenario.result(hub.send(other, "farewell"));
        }
        Action::SendToStale => {
            scenario.result(hub.send(stale, "to a stale id"));
            scenario.result(hub.close(stale, CloseCode::NORMAL, ""));
            scenario.result(hub.terminate(stale));
            scenario.result(hub.subscribe(stale, "fresh"));
            scenario.result(hub.pause(stale));
            scenario.result(hub.unsubscribe(stale, "news"));
        }
        Action::Panic => panic!("{INTENDED_PANIC}"),
    }
}
