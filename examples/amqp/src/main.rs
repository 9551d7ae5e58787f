//! A bridge between RabbitMQ and WebSockets.
//!
//!     cargo run --manifest-path examples/amqp/Cargo.toml -- [--listen ADDR] [--broker URL] [--exchange NAME]
//!
//! A WebSocket on `/KEY` gets the messages of the topic exchange with the routing key KEY, and its own messages are
//! published there. The client of RabbitMQ runs on tokio in a thread of its own:
//!
//! - A delivery is acknowledged once the loop has published it. At most `--prefetch` are on their way, so a burst waits
//!   at the broker.
//! - While the broker is away, WebSockets stay open. 1,024 of their messages wait for it, and each further one is
//!   answered with `not sent`.

#[path = "../../arguments/mod.rs"]
mod arguments;

use std::{error::Error, process::ExitCode, thread, time::Duration};

use amqprs::{
    BasicProperties,
    channel::{
        BasicAckArguments, BasicConsumeArguments, BasicPublishArguments, BasicQosArguments, ExchangeDeclareArguments,
        QueueBindArguments, QueueDeclareArguments,
    },
    connection::{Connection, OpenConnectionArguments},
};
use tokio::{sync::mpsc, time};
use ws_reactor::{Handler, Handshake, Message, OwnedMessage, Reactor, Remote, Server, WebSocket};

type Failure = Box<dyn Error + Send + Sync>;

/// A message for the broker: the routing key and the data.
type Outgoing = (String, Vec<u8>);

/// Messages that may wait for the broker. Further ones are refused.
const WAITING: usize = 1024;

struct Guest {
    key: String,
    broker: mpsc::Sender<Outgoing>,
}

impl Handler for Guest {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        ws.subscribe(&self.key);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        if self.broker.try_send((self.key.clone(), message.as_bytes().to_vec())).is_err() {
            ws.send("not sent: the broker is away or slow");
        }
    }
}

/// The broker, and what the bridge declares there.
struct Broker {
    url: OpenConnectionArguments,
    exchange: String,
    prefetch: u16,
}

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:8080]"),
        ("--broker URL", "amqp://user:password@host:port/vhost [default: amqp://guest:guest@127.0.0.1:5672]"),
        ("--exchange NAME", "Topic exchange, declared if it is missing [default: events]"),
        ("--prefetch NUMBER", "Deliveries that are not acknowledged [default: 200]"),
    ];
    let arguments = arguments::Arguments::read("A bridge between RabbitMQ and WebSockets", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let url = arguments.get("--broker", "amqp://guest:guest@127.0.0.1:5672".to_owned());
    let broker = Broker {
        url: OpenConnectionArguments::try_from(url.as_str()).map_err(|error| format!("--broker: {error}"))?,
        exchange: arguments.get("--exchange", "events".to_owned()),
        prefetch: arguments.get("--prefetch", 200),
    };
    let (to_broker, outgoing) = mpsc::channel(WAITING);
    let server = Server::new(move |handshake| Guest {
        key: handshake.path().trim_start_matches('/').replace('/', "."),
        broker: to_broker.clone(),
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:8080".to_owned()), server)?;
    let remote = reactor.remote();
    thread::spawn(move || run(&broker, outgoing, &remote));
    eprintln!("listening on ws://{}", listening.addr);
    Ok(reactor.run()?)
}

/// Connects to the broker, again and again, until the reactor has ended.
fn run(broker: &Broker, mut outgoing: mpsc::Receiver<Outgoing>, remote: &Remote) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        loop {
            match bridge(broker, &mut outgoing, remote).await {
                Ok(()) => return,
                Err(error) => eprintln!("broker: {error}"),
            }
            time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// Passes messages on in both directions while the connection to the broker lasts. `Ok` if the reactor has ended.
async fn bridge(broker: &Broker, outgoing: &mut mpsc::Receiver<Outgoing>, remote: &Remote) -> Result<(), Failure> {
    let connection = Connection::open(&broker.url).await?;
    let channel = connection.open_channel(None).await?;
    let exchange = &broker.exchange;
    channel.exchange_declare(ExchangeDeclareArguments::new(exchange, "topic").durable(true).finish()).await?;
    let queue = QueueDeclareArguments::default().exclusive(true).auto_delete(true).finish();
    let (queue, ..) = channel.queue_declare(queue).await?.ok_or("the broker names no queue")?;
    channel.queue_bind(QueueBindArguments::new(&queue, exchange, "#")).await?;
    channel.basic_qos(BasicQosArguments::new(0, broker.prefetch, false)).await?;
    let (_, mut incoming) = channel.basic_consume_rx(BasicConsumeArguments::new(&queue, "")).await?;
    eprintln!("connected to the broker");
    let (published, mut to_acknowledge) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            delivery = incoming.recv() => {
                let delivery = delivery.ok_or("the connection ended")?;
                let (Some(deliver), Some(data)) = (delivery.deliver, delivery.content) else { continue };
                let (key, tag, published) = (deliver.routing_key().clone(), deliver.delivery_tag(), published.clone());
                // Text stays text: a browser gets a string.
                let message = match String::from_utf8(data) {
                    Ok(text) => OwnedMessage::from(text),
                    Err(error) => OwnedMessage::from(error.into_bytes()),
                };
                let publish = remote.run(move |hub| {
                    hub.publish(&key, &message);
                    // An error says that this connection has ended, and with it the delivery.
                    _ = published.send(tag);
                });
                match publish {
                    Ok(()) => {}
                    Err(ws_reactor::RemoteError::Closed) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            Some(tag) = to_acknowledge.recv() => channel.basic_ack(BasicAckArguments::new(tag, false)).await?,
            message = outgoing.recv() => {
                let Some((key, data)) = message else { return Ok(()) };
                let to = BasicPublishArguments::new(exchange, &key);
                channel.basic_publish(BasicProperties::default(), data, to).await?;
            }
        }
    }
}
