//! A bridge to a service on tokio. It shows a reactor in a thread of its own, a channel from its handlers to a task,
//! and replies that the task sends later, by a `Remote`, to the connection that asked.
//!
//!     cargo run --release --example tokio_bridge -- [--listen ADDR]
//!
//! The service echoes each message after a millisecond:
//!
//!     python -m websockets ws://127.0.0.1:8080
//!
//! A connection is not read while its request is at the service. So its replies come in the order of its requests,
//! the channel holds at most one request of each connection, and a client that sends faster has to wait.

mod arguments;

use std::{process::ExitCode, thread, time::Duration};

use tokio::{
    runtime,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::sleep,
};
use ws_reactor::{CloseCode, ConnectionId, Error, OwnedMessage, Reactor, Remote, RemoteError, Server, on_message};

/// A message on its way to the service.
struct Request {
    from: ConnectionId,
    message: OwnedMessage,
}

fn main() -> ExitCode {
    env_logger::init();
    let listen = ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]");
    let arguments = arguments::Arguments::read("Passes messages to a service on tokio", &[listen]);
    arguments::run(|| serve(arguments.get("--listen", "127.0.0.1:8080".to_owned())))
}

fn serve(listen: String) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
    let (requests, incoming) = unbounded_channel();
    let (ready, remote) = oneshot::channel();
    let reactor = thread::spawn(move || react(listen, requests, ready));
    // Without a remote, the reactor has not started: its error follows.
    if let Ok(remote) = remote.blocking_recv() {
        runtime.block_on(answer_all(incoming, remote));
    }
    reactor.join().expect("the reactor does not panic")?;
    Ok(())
}

/// The reactor's thread. A reactor stays in the thread that made it; its remote may go to any other.
fn react(listen: String, requests: UnboundedSender<Request>, ready: oneshot::Sender<Remote>) -> Result<(), Error> {
    let server = Server::new(move |_| {
        let requests = requests.clone();
        on_message(move |ws, message| {
            let request = Request { from: ws.id(), message: message.to_owned() };
            match requests.send(request) {
                Ok(()) => ws.pause(),
                Err(_) => {
                    ws.close(CloseCode::TRY_AGAIN_LATER, "the service has ended");
                }
            }
        })
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(listen, server)?;
    eprintln!("listening on ws://{}", listening.addr);
    // The receiver waits for nothing else.
    let _ = ready.send(reactor.remote());
    reactor.run()?;
    Ok(())
}

/// The service: each request is answered by a task of its own. It ends with the last handler's sender.
async fn answer_all(mut incoming: UnboundedReceiver<Request>, remote: Remote) {
    while let Some(request) = incoming.recv().await {
        let remote = remote.clone();
        tokio::spawn(async move {
            let from = request.from;
            if let Err(error) = answer(request, &remote).await {
                eprintln!("no answer to {from}: {error}");
            }
        });
    }
}

async fn answer(request: Request, remote: &Remote) -> Result<(), RemoteError> {
    sleep(Duration::from_millis(1)).await;
    remote.send(request.from, request.message)?;
    // The next request may come.
    remote.resume(request.from)
}
