//! A server of socketioxide: fan-out PORT

use std::time::Duration;

use socketioxide::{
    SocketIo,
    extract::{Data, SocketRef},
};

fn main() {
    let port = std::env::args().nth(1).expect("a port");
    // One thread, as the others have.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (layer, io) = SocketIo::builder().ping_interval(Duration::from_secs(60)).build_layer();
        io.ns("/", async |socket: SocketRef| {
            socket.on("broadcast", async |io: SocketIo, Data(text): Data<String>| {
                io.emit("message", &text).await.expect("it is sent");
            });
        });
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.expect("a free port");
        axum::serve(listener, axum::Router::new().layer(layer)).await.expect("the server runs");
    });
}
