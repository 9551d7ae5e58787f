//! The tests of `socket.io-client`.

use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use ws_reactor::socket_io::{Binary, Json, Recovery, Socket, SocketIo};

pub(crate) fn server() -> SocketIo {
    let io = SocketIo::new()
        .engine(|engine| {
            engine.ping_interval(Duration::from_secs(2)).allow_request(|_, hub, admission| {
                hub.add_timer(Duration::from_millis(10), |hub| admission.allow(hub));
            })
        })
        .recovery(Recovery::new());
    io.of("/").middleware(|socket| match socket.handshake().request().query_value("fail") {
        Some(_) => Err("Auth failed (main namespace)"),
        None => Ok(()),
    });
    io.of("/").on_connection(|socket| {
        answer_acks(socket);
        answer_dates(socket);
        answer_binary(socket);
    });
    io.of("/foo").on_connection(answer_id);
    io.of("/abc").on_connection(|socket| {
        let handshake = socket.handshake().to_json();
        socket.emit("handshake", &handshake);
    });
    io.of("/no").middleware(|_| Err("Auth failed (custom namespace)"));
    for name in ["/timeout_socket", "/valid", "/asd"] {
        io.of(name);
    }
    io
}

fn answer_id(socket: &mut Socket<'_>) {
    socket.on_with_ack("getId", |socket, (): (), ack| {
        let id = socket.id().to_owned();
        ack.send(socket.hub(), &id);
    });
}

fn answer_acks(socket: &mut Socket<'_>) {
    answer_id(socket);
    socket.on("hi", |socket, (): ()| socket.emit("hi", &()));
    socket.on_with_ack("echo", |socket, value: Json, ack| ack.send(socket.hub(), &value));
    socket.on_with_ack("getHandshake", |socket, (): (), ack| {
        let handshake = socket.handshake().to_json();
        ack.send(socket.hub(), &handshake);
    });
    socket.on("ack", |socket, (): ()| {
        socket.emit_with_ack("ack", &(), |socket, answer| {
            let expected = (json!(5), json!({"test": true}));
            if answer.is_ok_and(|args| args.parse::<(Value, Value)>().is_ok_and(|args| args == expected)) {
                socket.emit("got it", &());
            }
        });
    });
}

fn answer_dates(socket: &mut Socket<'_>) {
    socket.on_with_ack("getAckDate", |socket, (): (), ack| ack.send(socket.hub(), &now()));
    socket.on("getDate", |socket, (): ()| socket.emit("takeDate", &now()));
    socket.on("getDateObj", |socket, (): ()| socket.emit("takeDateObj", &json!({"date": now()})));
    socket.on("getUtf8", |socket, (): ()| {
        for text in ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"] {
            socket.emit("takeUtf8", text);
        }
    });
    socket.on("false", |socket, (): ()| socket.emit("false", &false));
}

fn answer_binary(socket: &mut Socket<'_>) {
    let bytes = || Binary::from(&b"asdfasdf"[..]);
    socket.on("doge", move |socket, (): ()| socket.emit("doge", &bytes()));
    socket.on("getbin", move |socket, (): ()| socket.emit("takebin", &bytes()));
    socket.on("buffa", |socket, _: Binary| socket.emit("buffack", &()));
    socket.on("jsonbuff", |socket, value: Json| {
        let fields = value.value();
        let is_expected = fields["hello"] == "lol" && fields["goodbye"] == "gotcha";
        if is_expected && value.binary(&fields["message"]).is_some() {
            socket.emit("jsonbuff-ack", &());
        }
    });
    struct First(Cell<bool>);
    socket.set(First(Cell::new(false)));
    socket.on("abuff1", |socket, _: Binary| {
        if let Some(first) = socket.get::<First>() {
            first.0.set(true);
        }
    });
    socket.on("abuff2", |socket, _: Json| {
        if socket.get::<First>().is_some_and(|first| first.0.get()) {
            socket.emit("abuff2-ack", &());
        }
    });
}

/// The time as ISO 8601 with milliseconds, as JavaScript writes it.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days as i64);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

/// The date of a day since 1970, by the Gregorian calendar whose years begin in March.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
