//! Packets in MessagePack.

use rmpv::Value;
use ws_reactor::socket_io::{Binary, Json};

use super::*;

fn packed(entries: &[(&str, Value)]) -> Vec<u8> {
    let entries = entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &Value::Map(entries)).unwrap();
    bytes
}

fn unpacked(bytes: &[u8]) -> Vec<(String, Value)> {
    let value = rmpv::decode::read_value(&mut &bytes[..]).unwrap();
    let entries = value.as_map().unwrap().iter();
    entries.map(|(name, value)| (name.as_str().unwrap().to_owned(), value.clone())).collect()
}

#[test]
fn packets_are_messagepack_and_binary_values_are_part_of_them() {
    let io = SocketIo::new().msgpack();
    io.of("/").on_connection(|socket| {
        socket.on_with_ack("echo", |socket, (value, bytes): (Json, Binary), ack| {
            socket.emit("back", &(&value, &bytes));
            ack.send(socket.hub(), &bytes);
        });
    });
    let (mut world, _) = World::of(io);
    let ws = world.open("/socket.io/");
    world.send_binary(ws, &packed(&[("type", 0.into()), ("nsp", "/unknown".into())]));
    let error = unpacked(&world.frames(ws)[0]);
    assert_eq!((&error[0].1, &error[1].1), (&Value::from(4), &Value::from("/unknown")));
    world.send_binary(ws, &packed(&[("type", 0.into()), ("nsp", "/".into()), ("data", Value::Map(Vec::new()))]));
    let answer = unpacked(&world.frames(ws)[0]);
    assert_eq!((&answer[0].1, &*answer[2].0), (&Value::from(0), "data"));
    let value = Value::Map(vec![("a".into(), Value::Array(vec![1.into(), Value::Nil, 1.5.into()]))]);
    let bytes = Value::Binary(vec![1, 2]);
    let data = Value::Array(vec!["echo".into(), value.clone(), bytes.clone()]);
    world.send_binary(ws, &packed(&[("type", 2.into()), ("nsp", "/".into()), ("data", data), ("id", 7.into())]));
    let frames = world.frames(ws);
    let event = unpacked(&frames[0]);
    assert_eq!(event[2], ("data".to_owned(), Value::Array(vec!["back".into(), value, bytes.clone()])));
    let ack = unpacked(&frames[1]);
    assert_eq!(ack[2..], [("data".to_owned(), Value::Array(vec![bytes])), ("id".to_owned(), 7.into())]);
}

#[test]
fn message_that_is_no_packet_closes_the_client() {
    let deep = vec![0x91; 50_000];
    let event = |data: Value| packed(&[("type", 2.into()), ("nsp", "/".into()), ("data", data)]);
    for message in [&b""[..], b"\x93", &packed(&[("type", 9.into())]), &event(Value::Nil), &event(1.into()), &deep] {
        let io = SocketIo::new().msgpack();
        io.of("/");
        let (mut world, handle) = World::of(io);
        let ws = world.open("/socket.io/");
        world.send_binary(ws, &packed(&[("type", 0.into()), ("nsp", "/".into())]));
        world.frames(ws);
        world.send_binary(ws, message);
        assert_eq!(world.frames(ws), [1000_u16.to_be_bytes()], "{}", message.escape_ascii());
        assert_eq!(handle.of("/").socket_count(), 0);
    }
}
