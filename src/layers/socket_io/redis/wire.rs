//! Messages of `@socket.io/redis-adapter`, to and from values. Pure.

use std::rc::Rc;

use serde_json::{Value, json};

use super::super::{
    adapter::RemoteSocket,
    args::Args,
    broadcast::Flags,
    msgpack::{Packed, field, packed},
    payload::Payload,
    target::Target,
};

/// Kinds of requests and responses.
pub(super) mod kind {
    pub(in super::super) const SOCKETS: u64 = 0;
    pub(in super::super) const ALL_ROOMS: u64 = 1;
    pub(in super::super) const JOIN: u64 = 2;
    pub(in super::super) const LEAVE: u64 = 3;
    pub(in super::super) const DISCONNECT: u64 = 4;
    pub(in super::super) const FETCH: u64 = 5;
    pub(in super::super) const SERVER_EMIT: u64 = 6;
    pub(in super::super) const BROADCAST: u64 = 7;
    pub(in super::super) const CLIENT_COUNT: u64 = 8;
    pub(in super::super) const ACK: u64 = 9;
}

/// A map with names as keys.
pub(super) fn map<const N: usize>(entries: [(&str, Packed); N]) -> Packed {
    Packed::Map(entries.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// Rooms and flags of a broadcast.
pub(super) fn options(target: &Target, flags: Flags, timeout: Option<u64>) -> Packed {
    let mut of_flags = Vec::new();
    if flags.volatile {
        of_flags.push(("volatile".into(), true.into()));
    }
    if !flags.compress {
        of_flags.push(("compress".into(), false.into()));
    }
    of_flags.extend(timeout.map(|timeout| ("timeout".into(), timeout.into())));
    let [rooms, except] = [&target.rooms, &target.except].map(|rooms| names_packed(rooms));
    map([("rooms", rooms), ("except", except), ("flags", Packed::Map(of_flags))])
}

/// Reads rooms and flags, and the time-out of acks in milliseconds.
pub(super) fn read_options(options: &Packed) -> (Target, Flags, Option<u64>) {
    let names = |name| field(options, name).map(read_names).unwrap_or_default();
    let flag = |name| field(options, "flags").and_then(|flags| field(flags, name));
    let flags = Flags {
        volatile: flag("volatile").and_then(Packed::as_bool) == Some(true),
        compress: flag("compress").and_then(Packed::as_bool) != Some(false),
    };
    (Target { rooms: names("rooms"), except: names("except") }, flags, flag("timeout").and_then(Packed::as_u64))
}

/// Names of rooms.
pub(super) fn names_packed(rooms: &[Rc<str>]) -> Packed {
    Packed::Array(rooms.iter().map(|room| (**room).into()).collect())
}

/// Reads names of rooms.
pub(super) fn read_names(list: &Packed) -> Vec<Rc<str>> {
    list.as_array().into_iter().flatten().map(|room| name_of(room).into()).collect()
}

/// The first argument of an answer.
pub(super) fn first_of(args: &Args) -> Packed {
    let packed = Payload::new(None, args).ok().and_then(|payload| packed(&payload));
    packed.and_then(|args| args.as_array().and_then(|args| args.first().cloned())).unwrap_or(Packed::Nil)
}

/// The name of a room, which may be a number in JavaScript.
fn name_of(room: &Packed) -> String {
    room.as_str().map_or_else(|| room.to_string(), str::to_owned)
}

/// Rooms of a request in JSON.
pub(super) fn target_json(target: &Target) -> Value {
    let names = |rooms: &[Rc<str>]| Value::from(rooms.iter().map(|room| &**room).collect::<Vec<_>>());
    json!({"rooms": names(&target.rooms), "except": names(&target.except)})
}

/// Reads the rooms of a request.
pub(super) fn read_target(options: &Value) -> Target {
    Target { rooms: names(&options["rooms"]), except: names(&options["except"]) }
}

/// Names of rooms in JSON.
pub(super) fn names(list: &Value) -> Vec<Rc<str>> {
    let name = |room: &Value| room.as_str().map_or_else(|| room.to_string(), str::to_owned).into();
    list.as_array().into_iter().flatten().map(name).collect()
}

/// A socket in the answer to a request.
pub(super) fn socket_json(socket: &RemoteSocket) -> Value {
    json!({"id": socket.id, "handshake": socket.handshake, "rooms": socket.rooms, "data": socket.data})
}

/// Reads a socket of another server.
pub(super) fn read_socket(value: &Value) -> Option<RemoteSocket> {
    Some(RemoteSocket {
        id: value["id"].as_str()?.to_owned(),
        rooms: names(&value["rooms"]).iter().map(ToString::to_string).collect(),
        data: value["data"].clone(),
        handshake: value["handshake"].clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::msgpack::{pack, unpack},
        *,
    };

    #[test]
    fn broadcast_is_that_of_nodes_adapter() {
        // Captured from @socket.io/redis-adapter 8.3: io.to("r").emit("e", 1), uid "AbCdEf".
        let target = Target { rooms: vec!["r".into()], except: Vec::new() };
        let options = options(&target, Flags::default(), None);
        let packet =
            map([("type", 2.into()), ("data", Packed::Array(vec!["e".into(), 1.into()])), ("nsp", "/".into())]);
        let bytes = pack(&Packed::Array(vec!["AbCdEf".into(), packet, options]));
        let expected = b"\x93\xa6AbCdEf\x83\xa4type\x02\xa4data\x92\xa1e\x01\xa3nsp\xa1/\x83\xa5rooms\x91\xa1r\xa6except\x90\xa5flags\x80";
        assert_eq!(bytes, expected);
        let (read, flags, timeout) = read_options(&unpack(&bytes).unwrap().as_array().unwrap()[2]);
        assert_eq!((read, flags, timeout), (target, Flags::default(), None));
    }
}
