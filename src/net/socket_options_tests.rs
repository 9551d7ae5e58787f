//! Options of real sockets. Other systems have fewer, and their accepted sockets do not inherit them.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use super::{Bind, Endpoint, Event, Kernel, SocketOptions, System};

/// A connection over loopback: the descriptors of the accepting and of the connecting side.
fn connected(options: &SocketOptions, host: &str) -> io::Result<[socket2::Socket; 2]> {
    let mut system = System::new(8)?;
    let (mut listener, address) = system.bind(&Bind::to(format!("{host}:0")).socket(options.clone()), 1)?;
    let mut connecting = system.connect(&Endpoint::Tcp(address), options, 2)?;
    let mut events: Vec<Event> = Vec::new();
    while !(events.iter().any(|event| event.token == 1) && system.connected(&mut connecting)?) {
        system.poll(&mut events, Some(Duration::from_secs(10)))?;
    }
    let (accepted, _) = system.accept(&mut listener)?;
    Ok([accepted.duplicate()?, connecting.duplicate()?])
}

#[test]
fn both_sides_have_the_options() {
    let options = SocketOptions::new()
        .nodelay(false)
        .receive_buffer_bytes(Some(40_000))
        .send_buffer_bytes(Some(50_000))
        .unsent_bytes(60_000)
        .user_timeout(Some(Duration::from_secs(7)))
        .keepalive(Some(Duration::from_secs(70)))
        .keepalive_interval(Some(Duration::from_secs(8)))
        .keepalive_retries(Some(4))
        .incoming_cpu(Some(0))
        .priority(Some(5))
        .type_of_service(Some(0xb8));
    for (host, is_ipv6) in [("127.0.0.1", false), ("[::1]", true)] {
        if is_ipv6 && TcpListener::bind("[::1]:0").is_err() {
            continue; // A system without IPv6.
        }
        for socket in connected(&options, host).unwrap() {
            assert!(!socket.tcp_nodelay().unwrap());
            assert_eq!(socket.recv_buffer_size().unwrap(), 80_000, "the system doubles the value");
            assert_eq!(socket.send_buffer_size().unwrap(), 100_000);
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), 60_000);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(70));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(8));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
            assert_eq!(if is_ipv6 { socket.tclass_v6() } else { socket.tos_v4() }.unwrap(), 0xb8);
            assert_eq!(socket.priority().unwrap(), 5);
        }
    }
}

#[test]
fn defaults_are_nodelay_and_little_unsent_output() {
    for socket in connected(&SocketOptions::default(), "127.0.0.1").unwrap() {
        assert!(socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 512 * 1024);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}

#[test]
fn busy_polling_applies_to_both_sides_if_the_process_may() {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/busy_read").is_ok();
    let options = SocketOptions::new().busy_poll(allowed.then_some(Duration::from_micros(50)));
    match connected(&options, "127.0.0.1") {
        Ok(sockets) => {
            for socket in sockets {
                assert_eq!(socket.busy_poll().unwrap(), if allowed { 50 } else { 0 });
            }
        }
        // Without CAP_NET_ADMIN.
        Err(error) => assert!(error.to_string().starts_with("SO_BUSY_POLL: "), "{error}"),
    }
}

#[test]
fn refused_option_is_an_error_that_names_it_or_is_left_out() {
    let hour = SocketOptions::new().keepalive(Some(Duration::from_secs(100_000)));
    let elsewhere = SocketOptions::new().local_addr(Some(([192, 0, 2, 1], 0).into()));
    let nowhere = SocketOptions::new().interface(Some("no-such-device".to_owned()));
    for (options, name) in [(hour, "SO_KEEPALIVE"), (elsewhere, "the local address"), (nowhere, "SO_BINDTODEVICE")] {
        let error = connected(&options, "127.0.0.1").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
        connected(&options.lenient(true), "127.0.0.1").unwrap();
    }
}

#[test]
fn outgoing_connection_starts_at_the_chosen_address() {
    let local = SocketAddr::from(([127, 0, 0, 9], 0));
    let options = SocketOptions::new().local_addr(Some(local)).interface(Some("lo".to_owned()));
    let [accepted, _] = connected(&options, "127.0.0.1").unwrap();
    assert_eq!(accepted.peer_addr().unwrap().as_socket().map(|address| address.ip()), Some(local.ip()));
}

#[test]
fn quick_acknowledgements_are_turned_on_again_by_each_read() {
    let mut system = System::new(8).unwrap();
    let options = SocketOptions::new().quickack(true);
    let (mut listener, address) = system.bind(&Bind::to("127.0.0.1:0").socket(options.clone()), 1).unwrap();
    let mut connecting = system.connect(&Endpoint::Tcp(address), &options, 2).unwrap();
    let mut events: Vec<Event> = Vec::new();
    while !events.iter().any(|event| event.token == 1) {
        system.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    }
    let (mut accepted, _) = system.accept(&mut listener).unwrap();
    assert!(system.connected(&mut connecting).unwrap());
    for _ in 0..2 {
        let socket = accepted.duplicate().unwrap();
        socket.set_tcp_quickack(false).unwrap();
        assert_eq!(system.write(&mut connecting, &[io::IoSlice::new(b"x")]).unwrap(), 1);
        while let Err(error) = system.read(&mut accepted, &mut [0]) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        assert!(socket.tcp_quickack().unwrap());
        // The other way.
        (connecting, accepted) = (accepted, connecting);
    }
}

// regression: accepted sockets had the byte, and not the priority.
#[test]
fn priority_is_derived_from_the_type_of_service_on_both_sides() {
    // Linux: interactive.
    for socket in connected(&SocketOptions::new().type_of_service(Some(0x10)), "127.0.0.1").unwrap() {
        assert_eq!((socket.tos_v4().unwrap(), socket.priority().unwrap()), (0x10, 6));
    }
}

#[test]
fn type_of_service_applies_to_ipv4_on_a_listener_for_both_families() {
    let options = SocketOptions::new().type_of_service(Some(0xb8));
    let mut system = System::new(8).unwrap();
    let Ok((mut listener, address)) = system.bind(&Bind::to("[::]:0").socket(options.clone()), 1) else {
        return; // A system without IPv6.
    };
    let to = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let _connecting = system.connect(&Endpoint::Tcp(to), &options, 2).unwrap();
    let mut events: Vec<Event> = Vec::new();
    while !events.iter().any(|event| event.token == 1) {
        system.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    }
    let (accepted, peer) = system.accept(&mut listener).unwrap();
    assert!(peer.ip().is_some_and(|ip| ip.is_ipv4()));
    assert_eq!(accepted.duplicate().unwrap().tos_v4().unwrap(), 0xb8);
}
