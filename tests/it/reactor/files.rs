//! Files on raw streams.

use std::{
    any::Any,
    cell::RefCell,
    fs::File,
    io::{ErrorKind, Seek, SeekFrom, Write},
    rc::Rc,
    time::Duration,
};

use ws_reactor::{
    ConnectionId, FileSent, Reactor, ReactorConfig, Stream, StreamHandler,
    net::sim::{PeerId, Sim},
};

/// The ends of files: bytes and error.
type Ends = Rc<RefCell<Vec<(u64, Option<ErrorKind>)>>>;

/// Notes the ends of files.
struct Noting(Ends);

impl StreamHandler for Noting {
    fn on_event(&mut self, _: &mut Stream<'_>, event: &dyn Any) {
        let FileSent { bytes, error, .. } = event.downcast_ref().unwrap();
        self.0.borrow_mut().push((*bytes, error.as_ref().map(std::io::Error::kind)));
    }
}

struct Setup {
    reactor: Reactor<Sim>,
    peer: PeerId,
    id: ConnectionId,
    ends: Ends,
}

impl Setup {
    fn new() -> Self {
        let ends = Ends::default();
        let noted = Rc::clone(&ends);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let addr = reactor.listen_stream("10.0.0.1:80", move |_| Noting(Rc::clone(&noted))).unwrap().addr;
        let peer = reactor.kernel_mut().connect(addr).unwrap();
        reactor.settle().unwrap();
        let id = reactor.hub().connections().next().unwrap();
        Setup { reactor, peer, id, ends }
    }

    fn send(&mut self, file: &File, bytes: Option<u64>) -> Result<(), ErrorKind> {
        let file = file.try_clone().unwrap();
        self.reactor.hub().send_file(self.id, file, bytes).map_err(|error| error.kind())
    }

    fn received(&mut self) -> Vec<u8> {
        self.reactor.settle().unwrap();
        self.reactor.kernel_mut().received(self.peer)
    }
}

/// A file without a name.
fn file(content: &[u8]) -> File {
    let path = std::env::temp_dir().join(format!("ws-reactor-{:?}", std::thread::current().id()));
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 7 + index / 1000) as u8).collect()
}

#[test]
fn whole_file_or_a_part_of_it_arrives_and_its_end_is_reported() {
    let mut setup = Setup::new();
    let content = content(1_000_000);
    let mut file = file(&content);
    setup.send(&file, None).unwrap();
    assert_eq!(setup.send(&file, None), Err(ErrorKind::ResourceBusy));
    assert!(setup.received() == content);
    file.seek(SeekFrom::Start(1000)).unwrap();
    setup.send(&file, Some(70_000)).unwrap();
    assert!(setup.received() == content[1000..71_000]);
    setup.send(&file, Some(0)).unwrap();
    file.seek(SeekFrom::Start(999_999)).unwrap();
    setup.send(&file, Some(2)).unwrap();
    assert_eq!(setup.received(), content[999_999..]);
    let end = Some(ErrorKind::UnexpectedEof);
    assert_eq!(setup.ends.take(), [(1_000_000, None), (70_000, None), (0, None), (1, end)]);
}

#[test]
fn file_waits_for_a_peer_that_does_not_read_and_takes_one_slice_per_turn() {
    let mut setup = Setup::new();
    let content = content(1_000_000);
    let file = file(&content);
    setup.reactor.kernel_mut().hold(setup.peer, 10_000);
    setup.send(&file, None).unwrap();
    for _ in 0..100 {
        setup.reactor.advance(Duration::from_millis(1)).unwrap();
        assert!(setup.reactor.hub().buffered(setup.id) <= 64 * 1024);
    }
    setup.reactor.kernel_mut().release(setup.peer);
    let mut received = Vec::new();
    let mut turns = 0;
    while received.len() < content.len() {
        setup.reactor.turn(Some(Duration::ZERO)).unwrap();
        received.append(&mut setup.reactor.kernel_mut().received(setup.peer));
        turns += 1;
        assert!(turns < 1000, "{} bytes", received.len());
    }
    assert!(received == content);
    assert!(turns >= 15, "{turns} turns");
    setup.reactor.settle().unwrap();
    assert_eq!(setup.ends.take(), [(1_000_000, None)]);
}

#[test]
fn file_ends_with_its_stream_and_what_is_no_file_or_no_stream_is_refused() {
    let mut setup = Setup::new();
    let directory = File::open(std::env::temp_dir()).unwrap();
    assert_eq!(setup.send(&directory, None), Err(ErrorKind::InvalidInput));
    let file = file(&content(1_000_000));
    setup.reactor.kernel_mut().hold(setup.peer, 10_000);
    setup.send(&file, None).unwrap();
    setup.reactor.settle().unwrap();
    setup.reactor.kernel_mut().reset(setup.peer);
    setup.reactor.settle().unwrap();
    assert_eq!(setup.send(&file, None), Err(ErrorKind::NotConnected));
    assert!(setup.ends.take().is_empty());
    let (mut socket, id) = crate::support::idle_socket();
    assert_eq!(socket.hub().send_file(id, file, None).unwrap_err().kind(), ErrorKind::NotConnected);
}
