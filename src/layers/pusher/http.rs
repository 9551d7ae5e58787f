//! The HTTP API: signed requests of other programs.

use std::{
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};

use super::{
    Apps,
    answers::{Answer, Read},
    api::{Info, Trigger, TriggerError, channel_of_path},
    app::App,
    names::Access,
    signature::SignedRequest,
};
use crate::{
    http::{Request, StatusCode},
    reactor::Hub,
    server::Reply,
    websocket::Routes,
};

/// Bytes of a body beside the data of its events.
const BODY_BYTES: usize = 64 * 1024;

/// Most bytes of JSON for a byte of text: of a control character.
const ESCAPED: usize = 6;

/// The answer to a request.
enum Outcome {
    /// A value, when the message with this number has come back.
    Published(u64, Value),
    /// A value that is read when a message has come back: all earlier changes are known then.
    Read(Read),
}

impl Outcome {
    fn read(app: &Rc<App>, read: impl FnOnce(&App, &Hub) -> Value + 'static) -> Self {
        let app = Rc::clone(app);
        Outcome::Read(Box::new(move |hub| read(&app, hub)))
    }
}

type Answered = Result<Outcome, TriggerError>;

/// Adds the routes of the API.
pub(super) fn mount(apps: &Rc<Apps>, routes: Routes) -> Routes {
    let most =
        apps.all().map(|app| app.options.events.data_bytes.saturating_mul(app.options.events.batch * ESCAPED)).max();
    let on = |respond: fn(&Rc<App>, &Request, &mut Hub) -> Answered| {
        let apps = Rc::clone(apps);
        move |request: &Request, hub: &mut Hub| authorized(&apps, request, hub, respond)
    };
    let api = Routes::new()
        .max_body_bytes(most.unwrap_or_default().saturating_add(BODY_BYTES) as u64)
        .post("/events", on(trigger))
        .post("/batch_events", on(trigger_batch))
        .get("/channels", on(channels))
        .get("/channels/{channel}", on(channel))
        .get("/channels/{channel}/users", on(users))
        .post("/users/{user}/terminate_connections", on(terminate));
    routes.scope("/apps/{id}", api)
}

/// Answers a request if its signature is right.
fn authorized(
    apps: &Apps,
    request: &Request,
    hub: &mut Hub,
    respond: fn(&Rc<App>, &Request, &mut Hub) -> Answered,
) -> Reply {
    let Some(app) = apps.by_id(request.param("id")) else {
        return Reply::text(StatusCode::NOT_FOUND, "no app has this id");
    };
    let query: Vec<(String, String)> =
        request.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    let (method, path, body) = (request.method().as_str(), request.path(), &**request.body());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if let Err(error) = (SignedRequest { method, path, query: &query, body }).check(&app.options.credentials, now) {
        return Reply::text(StatusCode::UNAUTHORIZED, error.reason());
    }
    app.start(hub);
    match respond(app, request, hub) {
        Ok(Outcome::Published(number, value)) => {
            let (reply, responder) = Reply::later();
            app.answers.borrow_mut().push(number, Answer::Published(responder, value));
            reply
        }
        Ok(Outcome::Read(read)) => match app.publish_mark(hub) {
            Some(number) => {
                let (reply, responder) = Reply::later();
                app.answers.borrow_mut().push(number, Answer::Read(responder, read));
                reply
            }
            None => Reply::json(&read(hub)),
        },
        Err(error) => Reply::text(error.status, &error.to_string()),
    }
}

/// Refuses a request that would not reach all nodes.
fn refuse_if_cut_off(app: &App, hub: &Hub) -> Result<(), TriggerError> {
    if app.is_cut_off(hub) { Err(TriggerError::busy()) } else { Ok(()) }
}

fn trigger(app: &Rc<App>, request: &Request, hub: &mut Hub) -> Answered {
    let event = app.options.events.event(request.body())?;
    refuse_if_cut_off(app, hub)?;
    let attributes = attributes(app, hub, &event);
    let number = app.trigger(hub, event)?;
    Ok(Outcome::Published(number, attributes.map_or_else(|| json!({}), |channels| json!({"channels": channels}))))
}

fn trigger_batch(app: &Rc<App>, request: &Request, hub: &mut Hub) -> Answered {
    let events = app.options.events.batch(request.body())?;
    refuse_if_cut_off(app, hub)?;
    let (mut answers, mut last) = (Vec::new(), None);
    for event in events {
        // An event of a batch has one channel.
        let mut channels = attributes(app, hub, &event);
        let first = channels.as_mut().and_then(|channels| Some(channels.values_mut().next()?.take()));
        answers.push(first);
        last = Some(app.trigger(hub, event)?);
    }
    let value = match answers.iter().all(Option::is_none) {
        true => json!({}),
        false => {
            let batch: Vec<Value> = answers.into_iter().map(|answer| answer.unwrap_or_else(|| json!({}))).collect();
            json!({"batch": batch})
        }
    };
    Ok(match last {
        Some(number) => Outcome::Published(number, value),
        None => Outcome::read(app, |_, _| value),
    })
}

/// The attributes of the channels of an event, if its `info` asks for any.
fn attributes(app: &App, hub: &Hub, event: &Trigger) -> Option<Map<String, Value>> {
    let attributes = |name: &String| (name.clone(), Value::from(app.attributes(hub, name, event.info)));
    (event.info != Info::default()).then(|| event.channels.iter().map(attributes).collect())
}

/// The parameter `info` of the query.
fn info(request: &Request) -> Result<Info, TriggerError> {
    request.query_value("info").map(|info| Info::parse(&info)).transpose().map(Option::unwrap_or_default)
}

fn channels(app: &Rc<App>, request: &Request, _: &mut Hub) -> Answered {
    let (info, prefix) = (info(request)?, request.query_value("filter_by_prefix").unwrap_or_default());
    if info.user_count && Access::of(&prefix) != Access::Presence {
        return Err(TriggerError::bad("user_count needs filter_by_prefix with presence-"));
    }
    let prefix = prefix.into_owned();
    Ok(Outcome::read(app, move |app, hub| {
        let roster = app.roster.borrow();
        let occupied = roster.channels().filter(|(name, _)| name.starts_with(&prefix));
        let channels: Map<String, Value> =
            occupied.map(|(name, _)| (name.to_owned(), app.attributes(hub, name, info).into())).collect();
        json!({"channels": channels})
    }))
}

fn channel(app: &Rc<App>, request: &Request, _: &mut Hub) -> Answered {
    let (name, info) = (channel_of_path(request.param("channel"))?.to_owned(), info(request)?);
    Ok(Outcome::read(app, move |app, hub| {
        let mut attributes = app.attributes(hub, &name, info);
        attributes.insert("occupied".to_owned(), app.roster.borrow().channel(&name).is_some().into());
        attributes.into()
    }))
}

fn users(app: &Rc<App>, request: &Request, _: &mut Hub) -> Answered {
    let name = channel_of_path(request.param("channel"))?.to_owned();
    if Access::of(&name) != Access::Presence {
        return Err(TriggerError::bad("only presence channels have users"));
    }
    Ok(Outcome::read(app, move |app, _| {
        let users: Vec<Value> = app.users(&name).into_iter().map(|id| json!({"id": id})).collect();
        json!({"users": users})
    }))
}

fn terminate(app: &Rc<App>, request: &Request, hub: &mut Hub) -> Answered {
    refuse_if_cut_off(app, hub)?;
    let number = app.terminate(hub, request.param("user"))?;
    Ok(Outcome::Published(number, json!({})))
}
