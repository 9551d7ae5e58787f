//! Connection state recovery.

use ws_reactor::socket_io::Recovery;

use super::*;

struct Recovering {
    world: World,
    handle: SocketIoHandle,
    log: Log,
}

impl Recovering {
    fn new(recovery: Recovery) -> Self {
        let io = SocketIo::new().recovery(recovery);
        let log = Log::default();
        let noted = Rc::clone(&log);
        let decided = Rc::clone(&log);
        io.of("/").middleware(move |socket| {
            decided.borrow_mut().push("middleware".to_owned());
            match socket.handshake().auth()["bad"] == true {
                true => Err("bad"),
                false => Ok(()),
            }
        });
        io.of("/").on_connection(move |socket| {
            noted.borrow_mut().push(format!("connection {} {}", socket.recovered(), socket.data()));
            if !socket.recovered() {
                socket.join("room");
                socket.set_data(serde_json::json!({"n": 1}));
            }
            socket.on("kick", |socket, (): ()| socket.disconnect(false));
        });
        let (world, handle) = World::of(io);
        Recovering { world, handle, log }
    }

    /// Joins. Returns the packets, the id and the recovery id.
    fn join(&mut self, auth: &str) -> (Ws, Vec<String>, String, String) {
        let ws = self.world.open("/socket.io/");
        self.world.send(ws, &format!("40{auth}"));
        let texts = self.world.texts(ws);
        let answer = texts.iter().find_map(|text| text.strip_prefix("40")).unwrap_or_else(|| panic!("{texts:?}"));
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        let field = |name: &str| answer[name].as_str().unwrap().to_owned();
        let (sid, pid) = (field("sid"), field("pid"));
        (ws, texts, sid, pid)
    }

    /// Emits to a room. Returns the offset.
    fn emit(&mut self, room: &str, ws: Option<Ws>, text: &str) -> String {
        let all = self.handle.of("/");
        all.to(self.world.reactor.hub(), room).emit("e", text);
        self.world.settle();
        let Some(ws) = ws else { return String::new() };
        let packet: Vec<String> =
            serde_json::from_str(self.world.texts(ws).pop().unwrap().strip_prefix("42").unwrap()).unwrap();
        assert_eq!(packet[..2], ["e", text]);
        packet[2].clone()
    }

    fn rejoin(&mut self, pid: &str, offset: &str) -> (Ws, Vec<String>, String, String) {
        self.join(&format!("{{\"pid\":\"{pid}\",\"offset\":\"{offset}\"}}"))
    }
}

#[test]
fn client_that_was_cut_gets_its_socket_and_what_it_has_missed() {
    let mut server = Recovering::new(Recovery::new());
    let (ws, _, sid, pid) = server.join("");
    assert_ne!(sid, pid);
    let offset = server.emit("room", Some(ws), "seen");
    server.world.cut(ws.0);
    server.emit("room", None, "missed");
    server.emit("other", None, "not for it");
    server.emit(&sid, None, "alone");
    server.log.take();
    let (ws, texts, again, pid_again) = server.rejoin(&pid, &offset);
    assert_eq!((again, pid_again), (sid.clone(), pid.clone()));
    assert_eq!(texts.len(), 3);
    assert!(texts[0].starts_with("42[\"e\",\"missed\",") && texts[1].starts_with("42[\"e\",\"alone\","), "{texts:?}");
    assert!(texts[2].starts_with("40{"), "missed events come ahead of the answer");
    assert_eq!(server.log.take(), ["connection true {\"n\":1}"], "without middleware");
    server.emit("room", Some(ws), "on");
    // The id of a session that is in use gives a new socket.
    let (_, _, other, other_pid) = server.rejoin(&pid, &offset);
    assert!(other != sid && other_pid != pid);
    assert_eq!(server.handle.of("/").socket_count(), 2);
}

/// How a client goes.
type Act = dyn Fn(&mut Recovering, Ws);

#[test]
fn client_that_was_sent_away_or_comes_too_late_gets_a_new_socket() {
    let acts: [&Act; 4] = [
        &|server, ws| {
            let all = server.handle.of("/");
            all.all(server.world.reactor.hub()).disconnect_sockets(true);
            server.world.settle();
            server.world.cut(ws.0);
        },
        &|server, ws| server.world.send(ws, "41"),
        &|server, ws| server.world.send(ws, "42[\"kick\"]"),
        &|server, ws| {
            server.world.cut(ws.0);
            server.world.sleep(Duration::from_secs(11));
        },
    ];
    for act in acts {
        let mut server = Recovering::new(Recovery::new().max_disconnection(Duration::from_secs(10)));
        let (ws, _, sid, pid) = server.join("");
        let offset = server.emit("room", Some(ws), "seen");
        act(&mut server, ws);
        let (_, texts, again, _) = server.rejoin(&pid, &offset);
        assert!(texts.len() == 1 && again != sid, "{texts:?}");
    }
}

#[test]
fn middleware_decides_on_recovered_sockets_if_it_shall() {
    let mut server = Recovering::new(Recovery::new().skip_middleware(false));
    let (ws, _, _, pid) = server.join("");
    let offset = server.emit("room", Some(ws), "seen");
    server.world.cut(ws.0);
    server.emit("room", None, "secret");
    server.log.take();
    let ws = server.world.open("/socket.io/");
    server.world.send(ws, &format!("40{{\"pid\":\"{pid}\",\"offset\":\"{offset}\",\"bad\":true}}"));
    assert_eq!(server.world.texts(ws), ["44{\"message\":\"bad\"}"], "nothing is sent to a client that is refused");
    assert_eq!(server.log.take(), ["middleware"]);
    assert_eq!(server.handle.of("/").rooms().len(), 0);
}

#[test]
fn events_with_acks_and_volatile_ones_have_no_offset() {
    let mut server = Recovering::new(Recovery::new());
    let (ws, ..) = server.join("");
    let all = server.handle.of("/");
    all.all(server.world.reactor.hub()).volatile().emit("v", &());
    all.all(server.world.reactor.hub()).emit_with_ack("a", &(), |_, _| ());
    server.world.settle();
    assert_eq!(server.world.texts(ws), ["42[\"v\"]", "420[\"a\"]"]);
}

#[test]
fn gap_in_what_is_kept_gives_a_new_socket() {
    let mut server = Recovering::new(Recovery::new().max_bytes(10_000));
    let (ws, _, sid, pid) = server.join("");
    let offset = server.emit("room", Some(ws), "seen");
    server.world.cut(ws.0);
    (0..20).for_each(|_| _ = server.emit("room", None, &"x".repeat(1000)));
    let (_, texts, again, _) = server.rejoin(&pid, &offset);
    assert!(texts.len() == 1 && again != sid);
}

#[test]
fn namespace_of_a_pattern_stays_while_a_client_may_come_back() {
    let io = SocketIo::new().recovery(Recovery::new().max_disconnection(Duration::from_secs(10)));
    io.of_pattern("/dyn-*");
    let (mut world, handle) = World::of(io);
    let (ws, _) = world.join("/dyn-1", "");
    world.cut(ws.0);
    assert_eq!(handle.namespaces(), ["/dyn-1"]);
    world.sleep(Duration::from_secs(21));
    assert!(handle.namespaces().is_empty());
}
