//! Processes at a simulated Redis, whose connections deliver commands and replies in any order among each other.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::redis::resp::{Reply, Scanner, Version},
    protocol::OwnedMessage,
};

#[path = "sharded_tests.rs"]
mod sharded;

const TOPICS: [&str; 2] = ["one", "two"];
const PROCESSES: usize = 2;
const PREFIX: &str = "p:";
const NONE: Bounds = Bounds { pending: 0, kept: 0 };
/// Payloads of publications that may be delivered to subscribers of the same process.
const EITHER: &str = "before subscribers of ";

#[derive(Debug, Clone)]
enum Step {
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Publish(usize, usize),
    /// Another program publishes.
    PublishForeign(usize),
    /// Redis executes the next command of a connection.
    Execute(usize, Role),
    /// A process reads the next reply.
    Read(usize, Role),
    /// The connections of a process are lost, or made again.
    Toggle(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Subscriber,
    Publisher,
}

/// A reply or a message of Redis.
#[derive(Debug, Clone)]
enum Sent {
    Subscribed(String),
    Unsubscribed(String),
    Message(String, String),
    Done,
    Refused,
}

struct Process {
    channels: Channels,
    commands: Commands,
    is_connected: bool,
    wanted: BTreeSet<usize>,
    /// Commands that Redis has not executed, and replies that the process has not read.
    unread: BTreeMap<Role, (VecDeque<Vec<String>>, VecDeque<Sent>)>,
    /// Channels of the connection that subscribes.
    subscribed: BTreeSet<String>,
    /// Messages delivered to subscribers, with their topics.
    delivered: Vec<(usize, String)>,
    /// Messages of others that have arrived while their topic was wanted.
    expected: Vec<(usize, String)>,
    /// Publications of which it is not known whether they come back.
    unsettled: BTreeSet<u64>,
}

struct World {
    processes: Vec<Process>,
    published: usize,
    /// Payloads repeat, so that own and foreign ones are equal.
    payloads: usize,
    /// Redis refuses every so many publications.
    refuses_every: usize,
    /// Whether Redis refuses the next publications.
    refusals: VecDeque<bool>,
    /// Publications of each process that Redis has accepted, and those of another program.
    accepted: [usize; PROCESSES + 1],
}

impl World {
    fn new(payloads: usize, refuses_every: usize) -> Self {
        let process = |_| Process {
            channels: Channels::new(PREFIX.into(), Bounds { pending: 1 << 20, ..NONE }, Vec::new(), Words::PLAIN),
            commands: Commands::default(),
            is_connected: false,
            wanted: BTreeSet::new(),
            unread: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            delivered: Vec::new(),
            expected: Vec::new(),
            unsettled: BTreeSet::new(),
        };
        World {
            processes: (0..PROCESSES).map(process).collect(),
            published: 0,
            payloads,
            refuses_every,
            refusals: VecDeque::new(),
            accepted: [0; PROCESSES + 1],
        }
    }

    fn payload(&mut self, from: &str) -> String {
        self.published += 1;
        match self.payloads {
            0 => format!("{from} {}", self.published),
            some => format!("payload {}", self.published % some),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Subscribe(process, topic) => {
                let process = &mut self.processes[process];
                if process.wanted.insert(topic) {
                    process.channels.subscribe(TOPICS[topic], &mut process.commands);
                }
            }
            Step::Unsubscribe(process, topic) => {
                let process = &mut self.processes[process];
                if process.wanted.remove(&topic) {
                    process.channels.unsubscribe(TOPICS[topic], &mut process.commands);
                }
            }
            Step::Publish(process, topic) => {
                // Without subscribers there is nobody who could get it twice: one that comes later may get it.
                let is_wanted = self.processes[process].wanted.contains(&topic);
                let payload = self.payload(&if is_wanted { process.to_string() } else { format!("{EITHER}{process}") });
                let process = &mut self.processes[process];
                let payload = Payload::from(&OwnedMessage::from(payload));
                let number = self.published as u64;
                process.unsettled.insert(number);
                process.channels.publish(TOPICS[topic], payload, number, &mut process.commands);
            }
            Step::PublishForeign(topic) => {
                let payload = self.payload("foreign");
                self.publish(None, &format!("{PREFIX}{}", TOPICS[topic]), &payload);
            }
            Step::Execute(process, role) => self.execute(process, role),
            Step::Read(process, role) => self.read(process, role),
            Step::Toggle(process) => {
                let process = &mut self.processes[process];
                process.is_connected = !process.is_connected;
                process.unread.clear();
                process.subscribed.clear();
                match process.is_connected {
                    true => _ = process.channels.connect(&mut process.commands),
                    false => {
                        process.channels.disconnect();
                        process.unsettled.clear();
                    }
                }
            }
        }
        self.processes.iter_mut().for_each(Process::send);
    }

    /// Redis publishes.
    fn publish(&mut self, publisher: Option<usize>, channel: &str, payload: &str) {
        self.accepted[publisher.unwrap_or(PROCESSES)] += 1;
        for process in self.processes.iter_mut().filter(|process| process.subscribed.contains(channel)) {
            let message = Sent::Message(channel.to_owned(), payload.to_owned());
            process.unread.entry(Role::Subscriber).or_default().1.push_back(message);
        }
    }

    fn execute(&mut self, index: usize, role: Role) {
        let process = &mut self.processes[index];
        let Some(command) = process.unread.get_mut(&role).and_then(|line| line.0.pop_front()) else { return };
        let reply = match (command[0].as_str(), role) {
            ("SUBSCRIBE", Role::Subscriber) => {
                process.subscribed.insert(command[1].clone());
                Sent::Subscribed(command[1].clone())
            }
            ("UNSUBSCRIBE", Role::Subscriber) => {
                process.subscribed.remove(&command[1]);
                Sent::Unsubscribed(command[1].clone())
            }
            ("PUBLISH", Role::Publisher) => {
                let number: usize = command[2].rsplit(' ').next().map_or(0, |number| number.parse().unwrap_or(0));
                let is_refused = self.refusals.pop_front().unwrap_or_default();
                match is_refused || self.refuses_every > 0 && number.is_multiple_of(self.refuses_every) {
                    true => Sent::Refused,
                    false => {
                        self.publish(Some(index), &command[1], &command[2]);
                        Sent::Done
                    }
                }
            }
            other => panic!("{other:?}"),
        };
        self.processes[index].unread.entry(role).or_default().1.push_back(reply);
    }

    fn read(&mut self, index: usize, role: Role) {
        let process = &mut self.processes[index];
        let Some(sent) = process.unread.get_mut(&role).and_then(|line| line.1.pop_front()) else { return };
        let (channels, commands) = (&mut process.channels, &mut process.commands);
        let news = match sent {
            Sent::Subscribed(channel) => channels.on_subscribed(channel.as_bytes(), commands),
            Sent::Unsubscribed(channel) => channels.on_unsubscribed(channel.as_bytes(), commands),
            Sent::Done => channels.on_reply(false, commands),
            Sent::Refused => {
                let news = channels.on_reply(true, commands);
                if let News::NotPublishedButReceived(topic, mark) = &news {
                    let topic = TOPICS.iter().position(|known| **known == **topic).expect("a topic");
                    process.delivered.push((topic, mark.message().expect("it is short").to_string()));
                }
                news
            }
            Sent::Message(channel, payload) => {
                let topic = TOPICS.iter().position(|topic| format!("{PREFIX}{topic}") == channel).expect("a topic");
                let is_own =
                    payload.starts_with(&format!("{index} ")) || payload.starts_with(&format!("{EITHER}{index} "));
                if process.wanted.contains(&topic) && !is_own {
                    process.expected.push((topic, payload.clone()));
                }
                let is_delivered = channels.receive(channel.as_bytes(), payload.as_bytes(), commands).is_some();
                if is_delivered && !payload.starts_with(&format!("{EITHER}{index} ")) {
                    process.delivered.push((topic, payload));
                }
                News::Nothing
            }
        };
        assert!(!matches!(news, News::Unexpected));
    }

    /// Executes and reads everything.
    fn settle(&mut self) {
        for _ in 0..4 {
            for process in 0..PROCESSES {
                for role in [Role::Publisher, Role::Subscriber] {
                    for _ in 0..1000 {
                        self.take(&Step::Execute(process, role));
                        self.take(&Step::Read(process, role));
                    }
                }
            }
        }
    }
}

impl Process {
    /// Passes the commands to the connections.
    fn send(&mut self) {
        for number in self.commands.settled.drain(..) {
            self.unsettled.remove(&number);
        }
        let buffers =
            [(Role::Subscriber, &mut self.commands.subscriber), (Role::Publisher, &mut self.commands.publisher)];
        for (role, buffer) in buffers {
            let mut begin = 0;
            while let Ok(Some(length)) = Scanner::default().end(&buffer[begin..]) {
                let reply = Reply::decode(&buffer[begin..begin + length], Version::Resp2).expect("a command");
                let words = reply
                    .items()
                    .iter()
                    .map(|word| String::from_utf8_lossy(word.as_bytes().expect("a word")).into_owned());
                self.unread.entry(role).or_default().0.push_back(words.collect());
                begin += length;
            }
            buffer.clear();
        }
    }
}

#[test]
fn own_message_that_waits_for_unsubscribe_is_not_delivered_to_a_later_subscriber() {
    let mut world = World::new(0, 0);
    let on = Step::Subscribe(0, 0);
    let answered = [Step::Execute(0, Role::Subscriber), Step::Read(0, Role::Subscriber)];
    let off_on_off = [Step::Unsubscribe(0, 0), on.clone(), Step::Publish(0, 0), Step::Unsubscribe(0, 0)];
    run(&mut world, &[&[on.clone()][..], &answered, &off_on_off, &answered, &[on], &answered].concat());
    assert!(world.processes[0].delivered.is_empty() && world.accepted[0] == 1);
}

fn steps(with_losses: bool) -> impl Strategy<Value = Vec<Step>> {
    let process = 0..PROCESSES;
    let topic = 0..TOPICS.len();
    let role = || prop_oneof![Just(Role::Subscriber), Just(Role::Publisher)];
    let step = prop_oneof![
        2 => (process.clone(), topic.clone()).prop_map(|(process, topic)| Step::Subscribe(process, topic)),
        1 => (process.clone(), topic.clone()).prop_map(|(process, topic)| Step::Unsubscribe(process, topic)),
        4 => (process.clone(), topic.clone()).prop_map(|(process, topic)| Step::Publish(process, topic)),
        1 => topic.prop_map(Step::PublishForeign),
        8 => (process.clone(), role()).prop_map(|(process, role)| Step::Execute(process, role)),
        8 => (process.clone(), role()).prop_map(|(process, role)| Step::Read(process, role)),
        u32::from(with_losses) => process.prop_map(Step::Toggle),
    ];
    proptest::collection::vec(step, 1..200)
}

fn run(world: &mut World, steps: &[Step]) {
    (0..PROCESSES).for_each(|process| world.take(&Step::Toggle(process)));
    steps.iter().for_each(|step| world.take(step));
    for process in 0..PROCESSES {
        if !world.processes[process].is_connected {
            world.take(&Step::Toggle(process));
        }
    }
    world.settle();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    /// Each process delivers what others have published and what arrives while its topic has subscribers, once and in
    /// order, and never what it has published itself. In the end exactly the channels with subscribers are subscribed.
    #[test]
    fn messages_of_others_are_delivered_once_and_own_ones_never(
        steps in steps(true),
        refuses_every in prop_oneof![Just(0_usize), Just(3)],
    ) {
        let mut world = World::new(0, refuses_every);
        run(&mut world, &steps);
        for process in &world.processes {
            prop_assert_eq!(&process.delivered, &process.expected);
            let channel = |topic: &usize| format!("{PREFIX}{}", TOPICS[*topic]);
            let wanted: BTreeSet<String> = process.wanted.iter().map(channel).collect();
            prop_assert_eq!(&process.subscribed, &wanted);
            prop_assert_eq!(process.channels.pending_bytes, 0);
            prop_assert!(process.unsettled.is_empty());
            prop_assert_eq!(process.channels.channels.len(), wanted.len());
            prop_assert!(process.channels.requests.is_empty() && process.channels.publications.is_empty());
        }
    }

    /// Where own and foreign payloads are equal, their numbers are right.
    #[test]
    fn equal_payloads_of_others_are_counted_exactly(publishers in proptest::collection::vec(0..=PROCESSES, 1..60),
        turns in proptest::collection::vec((0..PROCESSES, any::<bool>()), 0..120),
        refused in proptest::collection::vec(any::<bool>(), 60)) {
        let mut world = World::new(1, 0);
        let everything: Vec<Step> = (0..PROCESSES).map(|process| Step::Subscribe(process, 0)).collect();
        run(&mut world, &everything);
        world.refusals = refused.into();
        let mut turns = turns.into_iter();
        for publisher in &publishers {
            match *publisher {
                PROCESSES => world.take(&Step::PublishForeign(0)),
                process => world.take(&Step::Publish(process, 0)),
            }
            for (process, executes) in turns.by_ref().take(2) {
                let step = if executes { Step::Execute } else { Step::Read };
                [Role::Subscriber, Role::Publisher].iter().for_each(|role| world.take(&step(process, *role)));
            }
        }
        world.settle();
        for (index, process) in world.processes.iter().enumerate() {
            let of_others: usize = world.accepted.iter().sum::<usize>() - world.accepted[index];
            prop_assert_eq!(process.delivered.len(), of_others);
        }
    }
}

#[test]
fn publication_waits_for_its_channel_and_the_end_of_a_channel_for_its_publications() {
    let mut world = World::new(0, 0);
    run(&mut world, &[]);
    let words = |world: &World, role| {
        let commands = world.processes[0].unread.get(&role).map(|line| line.0.clone()).unwrap_or_default();
        commands.into_iter().map(|words| words.join(" ")).collect::<Vec<_>>()
    };
    world.take(&Step::Subscribe(0, 0));
    world.take(&Step::Publish(0, 0));
    assert_eq!(
        (words(&world, Role::Subscriber), words(&world, Role::Publisher).len()),
        (vec!["SUBSCRIBE p:one".to_owned()], 0)
    );
    world.take(&Step::Execute(0, Role::Subscriber));
    world.take(&Step::Read(0, Role::Subscriber));
    assert_eq!(words(&world, Role::Publisher), ["PUBLISH p:one 0 1"]);
    world.take(&Step::Unsubscribe(0, 0));
    assert!(words(&world, Role::Subscriber).is_empty(), "the publication has not come back");
    world.take(&Step::Execute(0, Role::Publisher));
    world.take(&Step::Read(0, Role::Subscriber));
    assert_eq!(words(&world, Role::Subscriber), ["UNSUBSCRIBE p:one"]);
}

#[test]
fn what_waits_is_bounded_and_what_is_lost_is_counted() {
    let (mut channels, mut commands) =
        (Channels::new("".into(), Bounds { pending: 1000, ..NONE }, Vec::new(), Words::PLAIN), Commands::default());
    let payload = || Payload::from(&OwnedMessage::from("x".repeat(300)));
    assert_eq!(channels.publish("t", payload(), 0, &mut commands), Outcome::Lost, "not connected");
    channels.connect(&mut commands);
    channels.subscribe("t", &mut commands);
    let outcomes = [(); 3].map(|()| channels.publish("t", payload(), 0, &mut commands));
    assert_eq!(outcomes, [Outcome::Queued, Outcome::Queued, Outcome::Lost]);
    assert!(matches!(channels.on_subscribed(b"t", &mut commands), News::Live(topic) if &*topic == "t"));
    assert_eq!(channels.publish("t", payload(), 0, &mut commands), Outcome::Queued, "what is written holds little");
    assert_eq!(channels.disconnect(), 3);
    assert_eq!(channels.wanted().count(), 1);
}

#[test]
fn channel_that_is_refused_publishes_without_waiting() {
    let (mut channels, mut commands) =
        (Channels::new("".into(), Bounds { pending: 1000, ..NONE }, Vec::new(), Words::PLAIN), Commands::default());
    channels.connect(&mut commands);
    channels.subscribe("t", &mut commands);
    let payload = || Payload::from(&OwnedMessage::from("x"));
    channels.publish("t", payload(), 0, &mut commands);
    assert!(commands.publisher.is_empty());
    assert!(matches!(channels.on_refused(None, &mut commands), News::Refused(topic) if &*topic == "t"));
    assert_eq!(commands.publisher, b"*3\r\n$7\r\nPUBLISH\r\n$1\r\nt\r\n$1\r\nx\r\n");
    assert!(matches!(channels.on_reply(false, &mut commands), News::Nothing));
    assert!(matches!(channels.on_reply(false, &mut commands), News::Unexpected));
    channels.unsubscribe("t", &mut commands);
    assert!(channels.channels.is_empty());
}

#[test]
fn publications_are_kept_while_redis_is_away_up_to_a_bound_and_none_is_written_twice() {
    let bounds = Bounds { pending: 10_000, kept: 1000 };
    let (mut channels, mut commands) =
        (Channels::new("".into(), bounds, Vec::new(), Words::PLAIN), Commands::default());
    let payload = |text: &str| Payload::from(&OwnedMessage::from(format!("{text:>300}")));
    let outcomes = ["a", "b", "c"].map(|text| channels.publish("t", payload(text), 0, &mut commands));
    assert_eq!(outcomes, [Outcome::Queued, Outcome::Queued, Outcome::Lost]);
    assert_eq!(channels.connect(&mut commands), 0);
    let written = |commands: &mut Commands| {
        let text = String::from_utf8(mem::take(&mut commands.publisher)).expect("text");
        ["a", "b", "d", "e"].into_iter().filter(|name| text.contains(&format!(" {name}\r\n"))).collect::<String>()
    };
    assert_eq!(written(&mut commands), "ab");
    // One waits for its channel, and is kept when the connection is lost. The others may have been executed.
    channels.subscribe("t", &mut commands);
    channels.publish("t", payload("d"), 0, &mut commands);
    assert_eq!((channels.disconnect(), written(&mut commands)), (2, String::new()));
    channels.publish("t", payload("e"), 0, &mut commands);
    assert_eq!(channels.connect(&mut commands), 0);
    assert!(matches!(channels.on_subscribed(b"t", &mut commands), News::Live(topic) if &*topic == "t"));
    assert_eq!(written(&mut commands), "de");
}

/// Channels that are subscribed.
fn subscribed(words: Words, topics: &[&str]) -> (Channels, Commands) {
    let bounds = Bounds { pending: 10_000, ..NONE };
    let (mut channels, mut commands) = (Channels::new("".into(), bounds, Vec::new(), words), Commands::default());
    channels.connect(&mut commands);
    for topic in topics {
        channels.subscribe(topic, &mut commands);
        assert!(matches!(channels.on_subscribed(topic.as_bytes(), &mut commands), News::Live(_)));
    }
    (channels, commands)
}

fn text(text: &str) -> Payload {
    Payload::from(&OwnedMessage::from(text))
}

#[test]
fn publication_that_an_equal_one_was_taken_for_is_settled_with_the_refusal() {
    let (mut channels, mut commands) = subscribed(Words::PLAIN, &["t"]);
    channels.publish("t", text("x"), 1, &mut commands);
    channels.publish("t", text("x"), 2, &mut commands);
    // The second one comes back, because Redis has refused the first one.
    assert!(channels.receive(b"t", b"x", &mut commands).is_none());
    assert!(matches!(channels.on_reply(true, &mut commands), News::NotPublished));
    commands.settled.sort_unstable();
    commands.settled.dedup();
    assert_eq!(commands.settled, [1, 2]);
}
