//! The simulated system as seen by the reactor.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice},
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::net::{
    bind::Bind,
    connected_socket::ConnectedSocket,
    endpoint::Endpoint,
    kernel::{Event, Kernel, Randomness, Readiness, Wake, sealed::Sealed},
    sim::{Listener, Peer, PeerId, Random, Sim, SimListener, SimStream, faults::SHORTAGES},
    socket_options::SocketOptions,
};
use crate::peer_addr::PeerAddr;

const EMFILE: i32 = 24;

impl Sealed for Sim {}

impl Kernel for Sim {
    type Stream = SimStream;
    type Listener = SimListener;

    const SHORT_READ_DRAINS: bool = true;

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.timeout = timeout;
        self.leap();
        if self.random.one_in(self.faults.busy) {
            // Interrupted by a signal: the next call reports the events.
            return Ok(());
        }
        self.step();
        self.woken.0.store(false, Ordering::Release);
        events.extend(self.news.take(self.events_per_poll, &mut self.random));
        if let Some(late) = &mut self.late {
            let every = Readiness { readable: true, writable: true, hangup: true, failed: true };
            let again = std::mem::replace(late, events.clone());
            events.splice(0..0, again.into_iter().map(|event| Event { readiness: every, ..event }));
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    fn running_clock(&self) -> Option<fn() -> Instant> {
        None
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.woken) as Arc<dyn Wake>
    }

    fn random(&mut self) -> Randomness {
        let mut random = Random::new(self.random.clone().number());
        Box::new(move |bytes| bytes.fill_with(|| random.number() as u8))
    }

    fn bind(&mut self, bind: &Bind, token: usize) -> io::Result<(SimListener, SocketAddr)> {
        let addr: SocketAddr = bind.address().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        if self.listeners.iter().any(|listener| listener.addr == addr && !listener.closed.get()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let closed = Rc::new(Cell::new(false));
        self.listeners.push(Listener { addr, token, waiting: VecDeque::new(), closed: Rc::clone(&closed) });
        Ok((SimListener { index: self.listeners.len() - 1, closed }, addr))
    }

    fn accept(&mut self, listener: &mut SimListener) -> io::Result<(SimStream, PeerAddr)> {
        if self.listeners[listener.index].waiting.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.is_without_descriptors() {
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        if self.random.one_in(self.faults.accept) {
            // These concern one connection, which the next accept may return; the others concern the system.
            const ONE: [i32; 5] = [4, 103, 1, 113, 71]; // EINTR, ECONNABORTED, EPERM, EHOSTUNREACH, EPROTO
            let chosen = self.random.below(ONE.len() + SHORTAGES.len());
            let code = ONE.get(chosen).or_else(|| SHORTAGES.get(chosen - ONE.len()));
            return Err(io::Error::from_raw_os_error(code.copied().unwrap_or_default()));
        }
        let id = self.listeners[listener.index].waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let peer = &mut self.peers[id.0];
        Ok((peer.stream(), peer.addr.into()))
    }

    fn adopt(&mut self, _: ConnectedSocket) -> io::Result<(SimStream, PeerAddr)> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a simulated system has no sockets"))
    }

    fn connect(&mut self, to: &Endpoint, _: &SocketOptions, token: usize) -> io::Result<SimStream> {
        let Endpoint::Tcp(to) = *to else { return Err(io::ErrorKind::NotFound.into()) };
        self.shortage()?;
        let id = PeerId(self.peers.len());
        let mut peer = Peer::new(id);
        (peer.addr, peer.token) = (to, Some(token));
        let stream = peer.stream();
        self.peers.push(peer);
        match self.listeners.iter().position(|listener| listener.addr == to && !listener.closed.get()) {
            Some(index) => {
                // Bytes written by one end are passed to the other.
                let other = PeerId(self.peers.len());
                let mut peer = Peer::new(other);
                peer.other = Some(id.0);
                self.peers.push(peer);
                self.peers[id.0].other = Some(other.0);
                self.listeners[index].waiting.push_back(other);
                let token = self.listeners[index].token;
                self.news.add(token, Readiness { readable: true, ..Readiness::default() });
            }
            None if self.silent.contains(&to) => return Ok(stream),
            None if self.played.contains(&to) => self.dialed.push_back((id, to)),
            None => self.peers[id.0].refused = true,
        }
        self.report(id.0, Readiness { writable: true, ..Readiness::default() });
        Ok(stream)
    }

    fn connected(&mut self, stream: &mut SimStream) -> io::Result<bool> {
        let peer = &self.peers[stream.peer.0];
        match peer.refused {
            true => Err(io::ErrorKind::ConnectionRefused.into()),
            false => Ok(!self.silent.contains(&peer.addr)),
        }
    }

    fn reregister(&mut self, stream: &mut SimStream, token: usize) -> io::Result<()> {
        let index = stream.peer.0;
        self.peers[index].token = Some(token);
        let peer = &self.peers[index];
        let (broken, readable) = (peer.is_broken(), peer.is_broken() || peer.is_readable());
        self.report(index, Readiness { readable, writable: true, hangup: broken, failed: broken });
        Ok(())
    }

    fn register(&mut self, stream: &mut SimStream, token: usize) -> io::Result<()> {
        self.shortage()?;
        self.peers[stream.peer.0].token = Some(token);
        let broken = self.peers[stream.peer.0].is_broken();
        self.report(stream.peer.0, Readiness { readable: broken, writable: true, hangup: broken, failed: broken });
        Ok(())
    }

    /// Not needed: only busy polling calls it, which needs a running clock.
    fn deregister(&mut self, _: &mut SimStream) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read(&mut self, stream: &mut SimStream, buffer: &mut [u8]) -> io::Result<usize> {
        let index = stream.peer.0;
        if let Some(kind) = self.fault_of_moment(index, Peer::has_lasting_input) {
            self.report(index, Readiness { readable: true, ..Readiness::default() });
            return Err(kind.into());
        }
        let piece = self.piece(self.peers[index].arrived.len().saturating_sub(1)).saturating_add(1);
        let (read, more) = self.peers[index].read(buffer, piece)?;
        if more {
            self.report(index, Readiness { readable: true, ..Readiness::default() });
        }
        Ok(read)
    }

    fn write(&mut self, stream: &mut SimStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let index = stream.peer.0;
        if self.peers[index].shut {
            // The reactor has ended its side.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if let Some(kind) = self.fault_of_moment(index, Peer::has_lasting_room) {
            self.peers[index].blocked |= kind == io::ErrorKind::WouldBlock;
            return Err(kind.into());
        }
        self.shortage()?;
        let piece = self.piece(offered);
        self.peers[index].write(slices, offered, piece)
    }

    fn shutdown_write(&mut self, stream: &mut SimStream) -> io::Result<()> {
        self.peers[stream.peer.0].shut = true;
        Ok(())
    }
}
