//! Movement of bytes between the reactor and the far ends.

use std::{
    io,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use super::{Line, PeerId, Sim};
use crate::net::kernel::Readiness;

/// Longest time for which faults keep back bytes that have arrived, or room. At most twice as long if the clock moves
/// in small steps.
const MOMENT: Duration = Duration::from_secs(1);

impl Sim {
    /// Moves the clock ahead. Bytes under way arrive meanwhile, and the reactor handles nothing: its process is stopped
    /// or busy elsewhere.
    ///
    /// The reactor sees the events and due timers of that time in its next turn. To let peers answer during a long
    /// stop, advance in small parts, with their [`received`](Self::received) and [`send`](Self::send) between. To
    /// advance and run the reactor use [`Reactor::advance`](crate::Reactor::advance).
    pub fn advance(&mut self, by: Duration) {
        let end = self.elapsed + by;
        self.carry_all();
        self.age(by);
        while let Some(next) = self.next_elapsed().filter(|next| *next <= end) {
            self.elapsed = next;
            self.carry_all();
        }
        self.elapsed = end;
    }

    /// Ends the faults of a moment for what has been there for [`MOMENT`].
    fn age(&mut self, by: Duration) {
        if by >= MOMENT || self.elapsed >= self.aged + MOMENT {
            self.aged = self.elapsed;
            self.peers.iter_mut().for_each(|peer| peer.age(by >= MOMENT));
        }
    }

    /// The next time at which a byte arrives over a [slow line](Self::slow_line). `None` if no such byte is under way.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.next_elapsed().map(|elapsed| self.start + elapsed)
    }

    fn next_elapsed(&self) -> Option<Duration> {
        let lines = self.peers.iter().flat_map(|peer| [&peer.inward, &peer.outward]);
        lines.filter_map(Line::next_arrival).min()
    }

    /// Returns `true` if no events and no bytes are in flight, apart from bytes that arrive over a slow line
    /// [later](Self::next_arrival). Connections that wait to be accepted do not count once their event was reported.
    pub fn is_quiet(&self) -> bool {
        self.news.is_empty()
            && !self.woken.0.load(Ordering::Acquire)
            && (0..self.peers.len()).all(|peer| self.has_passed_on(peer) && self.is_peer_quiet(peer))
    }

    fn is_peer_quiet(&self, index: usize) -> bool {
        let peer = &self.peers[index];
        peer.waits_for_accept() || peer.is_quiet(self.room_beyond(index), self.elapsed)
    }

    pub(super) fn report(&mut self, peer: usize, news: Readiness) {
        if let Some(token) = self.peers[peer].token.filter(|_| !self.peers[peer].closed.get()) {
            self.news.add(token, news);
        }
    }

    /// Moves bytes in flight, with faults.
    pub(super) fn step(&mut self) {
        for index in 0..self.peers.len() {
            if self.peers[index].waits_for_accept() {
                continue;
            }
            if !self.peers[index].closed.get() && self.random.one_in(self.faults.reset) {
                const BREAKS: [io::ErrorKind; 3] =
                    [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable];
                let why = BREAKS[self.random.below(BREAKS.len())];
                self.break_off(index, why);
            }
            self.carry(index, Self::piece);
        }
        if self.random.one_in(self.faults.spurious) && !self.peers.is_empty() {
            let index = self.random.below(self.peers.len());
            if let Some(token) = self.peers[index].token {
                // The token may belong to another source by now.
                let writable = self.random.one_in(2);
                self.news.add(token, Readiness { readable: true, writable, ..Readiness::default() });
            }
        }
    }

    fn carry_all(&mut self) {
        for index in 0..self.peers.len() {
            if !self.peers[index].waits_for_accept() {
                self.carry(index, |_, length| length);
            }
        }
    }

    /// Delivers the bytes of one connection that arrive now, or the parts of them that `piece` chooses.
    pub(super) fn carry(&mut self, index: usize, mut piece: impl FnMut(&mut Self, usize) -> usize) {
        if self.peers[index].is_idle() {
            return;
        }
        let (now, room) = (self.elapsed, self.room_beyond(index));
        let (mut arriving, mut taken) = self.peers[index].due(room, now);
        // Bytes of a slow line arrive in pieces anyway.
        if !self.peers[index].inward.is_limited() {
            arriving = piece(self, arriving);
        }
        if !self.peers[index].outward.is_limited() {
            taken = piece(self, taken);
        }
        let news = self.peers[index].carry(arriving, taken, room);
        self.report(index, news);
        if let Some(other) = self.peers[index].other {
            self.pass_on(index, other);
        }
    }

    /// Bytes that the system of the far end takes now.
    fn room_beyond(&self, index: usize) -> usize {
        let peer = &self.peers[index];
        match peer.other.map(|other| &self.peers[other]) {
            Some(other) if peer.reading => other.room().saturating_sub(other.in_flight.len()),
            _ if peer.reading => usize::MAX,
            _ => peer.buffers.peer_bytes.saturating_sub(peer.unread.len()),
        }
    }

    /// Returns `true` if the other end of an internal connection has received everything from this end.
    fn has_passed_on(&self, index: usize) -> bool {
        let peer = &self.peers[index];
        let Some(other) = peer.other.map(|other| &self.peers[other]) else { return true };
        other.closed.get()
            || other.is_broken()
            || peer.received.is_empty() && !peer.is_broken() && (!peer.has_ended() || other.finishing)
    }

    /// Passes the bytes received by one end of an internal connection to the other end.
    fn pass_on(&mut self, from: usize, to: usize) {
        let peer = &mut self.peers[from];
        let received = std::mem::take(&mut peer.received);
        let (ended, broken) = (peer.has_ended(), peer.is_broken());
        self.peers[to].in_flight.extend(received);
        self.peers[to].finishing |= ended;
        if broken && !self.peers[to].is_broken() {
            self.reset(PeerId(to));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::IoSlice, net::SocketAddr};

    use super::*;
    use crate::net::{
        Kernel,
        bind::Bind,
        kernel::Event,
        sim::{Buffers, SimStream},
    };

    const TOKEN: usize = 7;

    /// A connection, accepted and registered.
    fn connected() -> (Sim, PeerId, SimStream) {
        let mut sim = Sim::new();
        let addr: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let (mut listener, _) = sim.bind(&Bind::from(addr), 0).unwrap();
        let peer = sim.connect(addr).unwrap();
        let (mut stream, _) = sim.accept(&mut listener).unwrap();
        sim.register(&mut stream, TOKEN).unwrap();
        poll(&mut sim);
        (sim, peer, stream)
    }

    /// The readiness of the connection that a poll reports.
    fn poll(sim: &mut Sim) -> Option<Readiness> {
        let mut events = Vec::new();
        sim.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.into_iter().find(|Event { token, .. }| *token == TOKEN).map(|event| event.readiness)
    }

    fn write(sim: &mut Sim, stream: &mut SimStream, bytes: usize) -> Result<usize, io::ErrorKind> {
        sim.write(stream, &[IoSlice::new(&vec![0; bytes])]).map_err(|error| error.kind())
    }

    fn read(sim: &mut Sim, stream: &mut SimStream, most: usize) -> Result<usize, io::ErrorKind> {
        sim.read(stream, &mut vec![0; most]).map_err(|error| error.kind())
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn bytes_of_a_slow_line_arrive_at_the_reactor_in_steps() {
        let (mut sim, peer, mut stream) = connected();
        sim.slow_line(peer, 10_000);
        sim.send(peer, &[0; 250]);
        sim.finish(peer);
        assert_eq!(poll(&mut sim), None);
        assert_eq!(read(&mut sim, &mut stream, 1000), Err(io::ErrorKind::WouldBlock));
        assert!(sim.is_quiet(), "bytes under way are quiet until they arrive");
        let start = sim.now();
        for (by, arrived, next) in [(9, None, Some(10)), (1, Some(100), Some(20)), (15, Some(100), Some(30))] {
            sim.advance(millis(by));
            assert_eq!(poll(&mut sim).map(|news| (news.readable, news.hangup)), arrived.map(|_| (true, false)));
            assert_eq!(read(&mut sim, &mut stream, 1000).ok(), arrived);
            assert_eq!(sim.next_arrival(), next.map(|at| start + millis(at)));
        }
        sim.advance(millis(5));
        assert_eq!(poll(&mut sim).map(|news| (news.readable, news.hangup)), Some((true, true)));
        assert_eq!(read(&mut sim, &mut stream, 1000), Ok(50));
        assert_eq!((read(&mut sim, &mut stream, 1000), sim.next_arrival()), (Ok(0), None));
    }

    #[test]
    fn bytes_of_a_slow_line_reach_the_peer_in_steps() {
        let (mut sim, peer, mut stream) = connected();
        sim.slow_line(peer, 10_000);
        assert_eq!(write(&mut sim, &mut stream, 250), Ok(250));
        drop(stream);
        for received in [0, 100, 100, 50] {
            assert_eq!(sim.received(peer).len(), received);
            assert!(!sim.is_ended(peer) || received == 50);
            sim.advance(millis(10));
        }
        assert!(sim.is_ended(peer));
    }

    #[test]
    fn bytes_under_way_arrive_while_the_process_is_stopped() {
        let (mut sim, peer, mut stream) = connected();
        sim.slow_line(peer, 10_000);
        sim.send(peer, &[0; 1000]);
        write(&mut sim, &mut stream, 1000).unwrap();
        sim.advance(millis(60_000));
        assert_eq!((sim.received(peer).len(), read(&mut sim, &mut stream, 2000)), (1000, Ok(1000)));
        // The time of the stop is no credit for later bytes.
        sim.send(peer, &[0; 1000]);
        sim.advance(millis(10));
        assert_eq!(read(&mut sim, &mut stream, 2000), Ok(100));
    }

    #[test]
    fn full_receive_buffer_keeps_bytes_with_the_peer() {
        let (mut sim, peer, mut stream) = connected();
        sim.set_buffers(peer, Buffers { receive_bytes: 1000, ..Buffers::default() });
        sim.send(peer, &[0; 2500]);
        for arrived in [1000, 1000, 500] {
            assert!(poll(&mut sim).is_some_and(|news| news.readable));
            assert!(sim.is_quiet());
            assert_eq!(read(&mut sim, &mut stream, 5000), Ok(arrived));
        }
    }

    #[test]
    fn room_is_reported_when_a_third_of_the_send_buffer_is_free() {
        let (mut sim, peer, mut stream) = connected();
        sim.slow_line(peer, 10_000);
        sim.set_buffers(peer, Buffers { send_bytes: 900, ..Buffers::default() });
        assert_eq!(write(&mut sim, &mut stream, 1000), Ok(900));
        assert_eq!(write(&mut sim, &mut stream, 100), Err(io::ErrorKind::WouldBlock));
        for reported in [false, false, true] {
            assert_eq!(poll(&mut sim), None);
            sim.advance(millis(10));
            assert_eq!(poll(&mut sim).is_some_and(|news| news.writable), reported);
        }
        assert_eq!(write(&mut sim, &mut stream, 1000), Ok(300));
    }

    #[test]
    fn system_of_a_peer_that_does_not_read_takes_bytes_up_to_its_buffer() {
        let (mut sim, peer, mut stream) = connected();
        sim.set_buffers(peer, Buffers { send_bytes: 900, peer_bytes: 500, ..Buffers::default() });
        sim.stop_reading(peer);
        assert_eq!(write(&mut sim, &mut stream, 900), Ok(900));
        poll(&mut sim);
        assert_eq!((sim.received(peer).len(), write(&mut sim, &mut stream, 900)), (0, Ok(500)));
        sim.release(peer);
        poll(&mut sim);
        assert_eq!(sim.received(peer).len(), 1400);
    }
}
