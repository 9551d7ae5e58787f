//! Raw streams on which nothing moves.

use std::time::Duration;

use ws_reactor::{CloseReason, ClosedBy, Error, Stream, StreamConfig, StreamHandler, TimeoutKind};

use super::pair::{Ids, Pair};
use crate::support::played::{Log, drain};

const TIMEOUT: Duration = Duration::from_secs(8);

struct Noting {
    log: Log,
    ids: Ids,
}

impl StreamHandler for Noting {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        self.ids.borrow_mut().push(stream.id());
    }

    fn on_error(&mut self, _: &mut Stream<'_>, error: &Error) {
        assert!(matches!(error, Error::Timeout(TimeoutKind::Idle)));
        self.log.borrow_mut().push("idle".to_owned());
    }

    fn on_close(&mut self, _: &mut Stream<'_>, reason: &CloseReason) {
        assert_eq!(reason.by, ClosedBy::Timeout(TimeoutKind::Idle));
        self.log.borrow_mut().push("close".to_owned());
    }
}

fn pair(config: StreamConfig) -> Pair {
    Pair::new(config, |log, ids| Noting { log, ids })
}

fn pass(pair: &mut Pair, seconds: u64) {
    for _ in 0..seconds {
        pair.reactor.advance(Duration::from_secs(1)).unwrap();
    }
}

fn with_timeout() -> StreamConfig {
    StreamConfig::new().idle_timeout(Some(TIMEOUT))
}

#[test]
fn stream_ends_after_its_idle_timeout_and_a_byte_either_way_restarts_it() {
    let mut pair = pair(with_timeout());
    pass(&mut pair, 6);
    pair.reactor.kernel_mut().send(pair.peers[0], b"in");
    pair.reactor.settle().unwrap();
    pair.reactor.hub().write(pair.ids[1], b"out");
    pass(&mut pair, 7);
    assert!(drain(&pair.log).is_empty());
    pair.reactor.kernel_mut().send(pair.peers[0], b"in");
    pass(&mut pair, 4);
    assert_eq!(drain(&pair.log), ["idle", "close"], "the other stream, between 8 and 9 s after its output");
    pass(&mut pair, 6);
    assert_eq!(drain(&pair.log), ["idle", "close"]);
    assert_eq!((pair.reactor.hub().stats().connections, pair.reactor.hub().stats().timed_out), (0, 2));
}

#[test]
fn relayed_and_half_open_streams_have_the_idle_timeout_and_streams_without_one_have_none() {
    let mut pair = pair(with_timeout().allow_half_open(true));
    let [one, other] = pair.ids;
    assert!(pair.reactor.hub().relay(one, other));
    pass(&mut pair, 5);
    pair.reactor.kernel_mut().send(pair.peers[0], b"relayed");
    pair.reactor.kernel_mut().finish(pair.peers[0]);
    pass(&mut pair, 7);
    assert!(drain(&pair.log).is_empty());
    pass(&mut pair, 3);
    assert_eq!(drain(&pair.log), ["idle", "close", "idle", "close"]);

    let mut pair = self::pair(StreamConfig::new());
    pass(&mut pair, 100);
    assert!(drain(&pair.log).is_empty());
}
