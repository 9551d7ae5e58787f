//! Tests of the roster.

use super::*;

struct World {
    roster: Roster,
    numbers: HashMap<String, u64>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        World { roster: Roster::default(), numbers: HashMap::new(), now: Instant::now() }
    }

    fn next(&mut self, node: &str) -> u64 {
        let number = self.numbers.entry(node.to_owned()).or_default();
        *number += 1;
        *number - 1
    }

    fn apply(&mut self, node: &str, change: &Change) -> Vec<Effect> {
        let number = self.next(node);
        let outcome = self.roster.on_message(node, number, Some(change), self.now);
        assert!(!outcome.asks);
        outcome.effects
    }
}

const WHOLE: Position = Position { is_first: true, is_last: true };

fn member(user: &str) -> MemberData {
    MemberData { user_id: user.to_owned(), user_info: None }
}

fn join(channel: &str, user: Option<&str>) -> Change {
    Change::Join { channel: channel.to_owned(), member: user.map(member) }
}

fn leave(channel: &str, user: Option<&str>) -> Change {
    Change::Leave { channel: channel.to_owned(), user: user.map(str::to_owned) }
}

fn occupied(channel: &str) -> Effect {
    Effect::Occupied { channel: channel.to_owned() }
}

fn vacated(channel: &str) -> Effect {
    Effect::Vacated { channel: channel.to_owned() }
}

fn count(channel: &str) -> Effect {
    Effect::Count { channel: channel.to_owned() }
}

fn added(channel: &str, user: &str) -> Effect {
    Effect::MemberAdded { channel: channel.to_owned(), member: member(user) }
}

fn removed(channel: &str, user: &str) -> Effect {
    Effect::MemberRemoved { channel: channel.to_owned(), user: user.to_owned() }
}

#[test]
fn first_and_last_subscription_of_all_nodes_count() {
    let mut world = World::new();
    assert_eq!(world.apply("a", &join("c", None)), [occupied("c"), count("c")]);
    assert_eq!(world.apply("b", &join("c", None)), [count("c")]);
    assert_eq!(world.roster.channel("c").unwrap().subscriptions, 2);
    assert_eq!(world.apply("a", &leave("c", None)), [count("c")]);
    assert_eq!(world.apply("a", &leave("c", None)), [], "a node ends only what it has");
    assert_eq!(world.apply("b", &leave("c", None)), [vacated("c")]);
    assert_eq!(world.roster.channels().count(), 0);
}

#[test]
fn user_is_a_member_from_the_first_to_the_last_connection() {
    let mut world = World::new();
    assert_eq!(world.apply("a", &join("p", Some("u"))), [occupied("p"), added("p", "u"), count("p")]);
    assert_eq!(world.apply("b", &join("p", Some("u"))), [count("p")]);
    assert_eq!(world.apply("b", &join("p", Some("v"))), [added("p", "v"), count("p")]);
    let channel = world.roster.channel("p").unwrap();
    assert_eq!((channel.user_count(), channel.subscriptions), (2, 3));
    assert_eq!(world.apply("a", &leave("p", Some("u"))), [count("p")]);
    assert_eq!(world.apply("b", &leave("p", Some("u"))), [removed("p", "u"), count("p")]);
    assert_eq!(world.apply("b", &leave("p", Some("v"))), [removed("p", "v"), vacated("p")]);
}

#[test]
fn users_are_online_with_any_connection() {
    let mut world = World::new();
    let (on, off) = (Change::SignIn { user: "u".to_owned() }, Change::SignOut { user: "u".to_owned() });
    assert_eq!(world.apply("a", &on), [Effect::Online { user: "u".to_owned() }]);
    assert_eq!(world.apply("b", &on), []);
    assert_eq!(world.apply("a", &off), []);
    assert!(world.roster.is_online("u"));
    assert_eq!(world.apply("b", &off), [Effect::Offline { user: "u".to_owned() }]);
}

#[test]
fn silent_node_ends_once_with_its_holdings() {
    let mut world = World::new();
    world.apply("a", &join("p", Some("u")));
    world.apply("b", &join("p", Some("u")));
    world.apply("b", &join("p", Some("v")));
    world.now += LEASE + Duration::from_secs(1);
    let number = world.next("a");
    world.roster.on_message("a", number, None, world.now);
    assert_eq!(world.roster.expired("a", world.now), ["b"]);
    assert_eq!(world.roster.end("b"), [removed("p", "v"), count("p")]);
    assert_eq!(world.roster.end("b"), []);
    assert!(world.roster.is_alone("a"));
}

#[test]
fn node_with_a_missing_message_is_asked_once_for_its_holdings() {
    let mut world = World::new();
    world.apply("a", &join("p", Some("u")));
    world.apply("a", &join("p", Some("v")));
    world.next("a");
    let number = world.next("a");
    let outcome = world.roster.on_message("a", number, Some(&join("p", Some("w"))), world.now);
    assert_eq!(outcome, Outcome { effects: Vec::new(), asks: true });
    let number = world.next("a");
    let outcome = world.roster.on_message("a", number, Some(&leave("p", Some("w"))), world.now);
    assert_eq!(outcome, Outcome::default(), "it was asked");
    let mut holdings = Holdings::default();
    [join("p", Some("v")), join("p", Some("x"))].iter().for_each(|change| _ = holdings.apply(change));
    let number = world.next("a");
    let Outcome { effects, asks } = world.roster.on_part("a", number, holdings, WHOLE, world.now);
    assert!(!asks);
    assert_eq!(effects, [added("p", "x"), removed("p", "u")]);
    assert_eq!(world.apply("a", &leave("p", Some("x"))), [removed("p", "x"), count("p")]);
}

#[test]
fn node_that_has_started_earlier_is_asked() {
    let mut world = World::new();
    let outcome = world.roster.on_message("old", 17, Some(&join("c", None)), world.now);
    assert_eq!(outcome, Outcome { effects: Vec::new(), asks: true });
    assert_eq!(world.roster.channel("c"), None);
}

#[test]
fn question_is_repeated_while_the_holdings_do_not_arrive() {
    let mut world = World::new();
    world.apply("a", &join("c", None));
    world.next("a");
    let asks = |world: &mut World, seconds| {
        world.now += Duration::from_secs(seconds);
        let number = world.next("a");
        world.roster.on_message("a", number, None, world.now).asks
    };
    assert_eq!(
        [asks(&mut world, 0), asks(&mut world, 4), asks(&mut world, 1), asks(&mut world, 4)],
        [true, false, true, false]
    );
}

#[test]
fn holdings_in_parts_count_with_the_changes_between() {
    let mut world = World::new();
    world.apply("a", &join("p", Some("u")));
    let part = |changes: &[Change]| {
        let mut holdings = Holdings::default();
        changes.iter().for_each(|change| _ = holdings.apply(change));
        holdings
    };
    let (first, last) = (Position { is_first: true, is_last: false }, Position { is_first: false, is_last: true });
    let (one, other) = (part(&[join("p", Some("u"))]), part(&[join("q", None)]));
    // A message is lost.
    world.next("a");
    let number = world.next("a");
    assert_eq!(world.roster.on_part("a", number, one.clone(), first, world.now), Outcome::default());
    let number = world.next("a");
    let outcome = world.roster.on_message("a", number, Some(&join("p", Some("v"))), world.now);
    assert_eq!(outcome, Outcome::default());
    let number = world.next("a");
    let effects = world.roster.on_part("a", number, other.clone(), last, world.now).effects;
    assert_eq!(effects, [added("p", "v"), count("p"), occupied("q"), count("q")]);
    // A part is lost.
    let number = world.next("a");
    world.roster.on_part("a", number, one, first, world.now);
    world.next("a");
    let number = world.next("a");
    assert_eq!(world.roster.on_part("a", number, other, last, world.now), Outcome { effects: Vec::new(), asks: true });
    assert_eq!(world.roster.channel("p").unwrap().user_count(), 2);
}

#[test]
fn holdings_that_are_known_have_no_effects() {
    let mut world = World::new();
    let mut holdings = Holdings::default();
    for change in [join("p", Some("u")), join("c", None), Change::SignIn { user: "u".to_owned() }] {
        world.apply("a", &change);
        holdings.apply(&change);
    }
    let number = world.next("a");
    assert_eq!(world.roster.on_part("a", number, holdings, WHOLE, world.now), Outcome::default());
    let online = Effect::Offline { user: "u".to_owned() };
    assert_eq!(world.roster.end("a"), [vacated("c"), removed("p", "u"), vacated("p"), online]);
    assert!(world.roster.is_alone("x"));
}
