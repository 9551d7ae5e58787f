//! Invariants of the packets, for any input.

use std::rc::Rc;

use super::{
    args::{Args, Received},
    binary::Json,
    packet::{self, Assembler, Header, Kind, Malformed},
    payload::Payload,
};
use crate::{
    buffer::Bytes,
    layers::engine_io::{parse_body, write_body},
};

/// Checks that what clients send is read or refused, and that what is written of it is read again as the same.
pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(packets) = parse_body(text) {
        let written = write_body(&packets);
        assert_eq!(parse_body(&written).map(|again| write_body(&again)), Some(written));
    }
    let Ok(header) = Header::parse(text, 10) else { return };
    if header.namespace.contains(',') {
        panic!("a namespace ends at its comma: {text:?}");
    }
    let mut assembler = Assembler::default();
    let is_whole = assembler.on_text(text, &header).expect("nothing came before");
    assert_eq!(is_whole, header.attachments == 0);
    for number in 1..=header.attachments {
        let whole = assembler.on_attachment(b"x").expect("it is due");
        assert_eq!(whole.is_some(), number == header.attachments);
    }
    assert_eq!(assembler.on_attachment(b"x").err(), Some(Malformed::Order));
    if matches!(header.kind, Kind::Event | Kind::BinaryEvent) {
        check_event(&header);
    }
}

fn check_event(header: &Header<'_>) {
    let attachments: Vec<Bytes> = vec![Bytes::from_static(b"x"); header.attachments];
    let Some(payload) = Payload::from_parts(header.payload, attachments.clone()) else { return };
    let (Some(event), Some(args)) = (payload.event(), payload.to_args()) else { return };
    // Sent on, the event is the same.
    let Ok(again) = Payload::new(Some(&event), &args) else { return };
    assert_eq!(again.event(), Some(event));
    // Without arguments there is nothing that could name an attachment.
    assert!(args.is_empty() || again.attachments() == attachments, "{:?}", header.payload);
    let read: Args = again.to_args().expect("it was written here");
    assert_eq!((0..args.len()).map(|index| args.json(index)).collect::<Vec<_>>(), {
        (0..read.len()).map(|index| read.json(index)).collect::<Vec<_>>()
    });
    let items = packet::items(header.payload).expect("it is an array");
    let received = Received { items: &items, attachments: &Rc::from(attachments) };
    // A value that is not nested too deeply is written with as many binary values as it has placeholders of its own.
    if let Ok(value) = received.parse::<Json>() {
        let _ = Payload::new(Some("e"), &value);
    }
    let _ = received.parse::<(String, Option<u64>)>();
}
