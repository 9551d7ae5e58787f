//! A backplane of a user's own, by public verbs only: processes of one machine send each other datagrams.

use std::net::SocketAddr;

use ws_reactor::{
    Backplane, Bind, BlockingSocket, Callbacks, Datagram, DatagramConfig, DatagramHandler, Hub, OwnedMessage,
    PublishedMessage, ReactorGroup, Server, SourceId,
};

use super::running::Running;

/// Sends what is published to all other processes: the length of the topic, the topic, and the text.
struct Datagrams {
    own: SocketAddr,
    socket: Option<SourceId>,
    others: Vec<SocketAddr>,
}

impl Backplane for Datagrams {
    fn start(&mut self, hub: &mut Hub) {
        let (id, _) = hub.open_datagram(self.own, DatagramConfig::new(), Receiver).expect("the address is free");
        self.socket = Some(id);
    }

    fn publish(&mut self, hub: &mut Hub, published: PublishedMessage<'_>) {
        let (Some(socket), OwnedMessage::Text(text)) = (self.socket, published.message) else { return };
        let length = u8::try_from(published.topic.len()).expect("the topics of this test are short");
        let datagram = [&[length], published.topic.as_bytes(), text.as_bytes()].concat();
        for other in &self.others {
            hub.send_datagram(socket, &datagram, Some(*other));
        }
    }
}

struct Receiver;

impl DatagramHandler for Receiver {
    fn on_datagram(&mut self, socket: &mut Datagram<'_>, data: &[u8], _: SocketAddr) {
        let Some((length, rest)) = data.split_first() else { return };
        let (topic, text) = rest.split_at(usize::from(*length).min(rest.len()));
        if let (Ok(topic), Ok(text)) = (str::from_utf8(topic), str::from_utf8(text)) {
            socket.hub().deliver(topic, text);
        }
    }
}

/// A process: a group of two reactors, whose clients say what is published.
fn process(own: SocketAddr, other: SocketAddr) -> Running {
    let set_up = move |reactor: &mut ws_reactor::Reactor| {
        reactor.hub().set_backplane(Datagrams { own, socket: None, others: vec![other] });
        let server = Server::new(|_| {
            Callbacks::new()
                .on_open(|ws, _| {
                    ws.subscribe("all");
                })
                .on_message(|ws, message| {
                    ws.publish("all", message);
                })
        });
        Ok(reactor.listen(Bind::to("127.0.0.1:0").in_turn(true), server)?.addr)
    };
    Running::start(ReactorGroup::new(2).unwrap(), set_up)
}

#[test]
fn processes_are_joined_by_datagrams() {
    // Addresses that are free now.
    let free = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (first, second) = (free(), free());
    let [first, second] = [first, second].map(|socket| socket.local_addr().unwrap());
    let processes = [process(first, second), process(second, first)];
    let mut clients: Vec<BlockingSocket> = processes
        .iter()
        .flat_map(|process| {
            let connect = |_| BlockingSocket::connect(&format!("ws://{}/", process.set_up[0])).unwrap();
            (0..2).map(connect).collect::<Vec<_>>()
        })
        .collect();
    processes.iter().for_each(Running::settle);
    for sender in 0..clients.len() {
        for number in 0..20 {
            clients[sender].send(format!("{sender} {number}")).unwrap();
            for client in &mut clients {
                let message = client.receive().unwrap();
                assert_eq!(message.as_text(), Some(&*format!("{sender} {number}")));
            }
        }
    }
    for process in processes {
        process.stop();
    }
}
