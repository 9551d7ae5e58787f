//! The suites of the two protocols.

use std::time::Duration;

use ws_reactor::{
    Cors, Message, Routes,
    engine_io::{EngineIo, EngineIoHandler, EngineSession},
    socket_io::{Args, SocketIo},
};

fn options(engine: EngineIo) -> EngineIo {
    let any = Cors::origins(["*"]).expect("the pattern is valid");
    engine.ping_interval(Duration::from_millis(300)).ping_timeout(Duration::from_millis(200)).cors(any)
}

/// Sends each message back.
struct Echo;

impl EngineIoHandler for Echo {
    fn on_message(&mut self, session: &mut EngineSession<'_>, message: Message<'_>) {
        session.send(message);
    }
}

pub(crate) fn engine(routes: Routes) -> Routes {
    options(EngineIo::new()).mount(routes, |_| Echo)
}

pub(crate) fn socket() -> SocketIo {
    let io = SocketIo::new().engine(options).connect_timeout(Duration::from_secs(1));
    for name in ["/", "/custom"] {
        io.of(name).on_connection(|socket| {
            let auth = socket.handshake().auth().clone();
            socket.emit("auth", &auth);
            socket.on("message", |socket, args: Args| socket.emit("message-back", &args));
            socket.on_with_ack("message-with-ack", |socket, args: Args, ack| ack.send(socket.hub(), &args));
            socket.on("emit-with-ack", |socket, args: Args| {
                socket.emit_with_ack("emit-with-ack", &args, |socket, answer| {
                    if let Ok(answer) = answer {
                        socket.emit("emit-with-ack-back", &answer);
                    }
                });
            });
        });
    }
    io
}

/// Emits to all what a client has broadcast.
pub(crate) fn fan_out() -> SocketIo {
    let io = SocketIo::new().engine(|engine| engine.ping_interval(Duration::from_secs(60)));
    let all = io.of("/");
    io.of("/").on_connection(move |socket| {
        let all = all.clone();
        socket.on("broadcast", move |socket, text: String| all.emit(socket.hub(), "message", &text));
    });
    io
}
