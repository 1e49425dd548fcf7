//! Messages of protocol 2, which says in headers what they are and in the body with what, and of protocol 1,
//! which says all of it in the body.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::copy;
use crate::framework::{
    ArgumentValues, BorrowedMessage, Call, Codec, DecodeOptions, Envelope, Header, Later, Properties,
};

pub(super) const CODEC: Codec = Codec {
    read,
    not_a_message: "no `task` header, and no body of protocol 1",
    encode,
    copy: copy::copy,
};

fn read<'e>(
    envelope: &'e Envelope<'_>,
    options: &mut DecodeOptions<'_>,
) -> Result<BorrowedMessage<'e>, String> {
    if envelope.header("task").is_none() {
        return protocol_1(envelope, options);
    }
    let text = |name| envelope.header(name).and_then(Header::text);
    let number = |name| match envelope.header(name) {
        Some(Header::Other(json)) => json.as_u64(),
        _ => None,
    };
    let id = text("id").or(envelope.properties.correlation_id.as_deref());
    let mut message = BorrowedMessage {
        message_id: id.map(Cow::Borrowed),
        actor: text("task").map(Cow::Borrowed),
        eta_ms: text("eta").and_then(unix_ms),
        expires_ms: text("expires").and_then(unix_ms),
        // A copy of ours is past its last retry from the start, and is none.
        retries: number("retries").filter(|retries| (1..copy::NO_MORE_RETRIES).contains(retries)),
        // A retry is its own parent.
        parent_id: text("parent_id")
            .filter(|parent| Some(*parent) != id)
            .map(Cow::Borrowed),
        group: text("group").map(Cow::Borrowed),
        result_ignored: matches!(
            envelope.header("ignore_result"),
            Some(Header::Other(Json::Bool(true)))
        ),
        json: is_json(envelope),
        known: id.is_some(),
        ..BorrowedMessage::default()
    };
    if !options.wants_arguments() {
        return Ok(message);
    }
    match serde_json::from_slice::<(Json, Json, Json)>(&envelope.body) {
        Ok((args, kwargs, embed)) => {
            message.later = later(&embed);
            options.see_all(&args);
            options.see_all(&kwargs);
            if options.keep {
                (message.args, message.kwargs) = (Some(args), Some(kwargs));
            }
        }
        // Pickle, YAML, msgpack: what Python printed of the arguments is all there is.
        Err(_) => {
            let reprs = [text("argsrepr"), text("kwargsrepr")].into_iter().flatten();
            reprs.for_each(|repr| literals(repr).for_each(|leaf| options.see(leaf)));
        }
    }
    Ok(message)
}

fn protocol_1<'e>(
    envelope: &'e Envelope<'_>,
    options: &mut DecodeOptions<'_>,
) -> Result<BorrowedMessage<'e>, String> {
    let body: Json = serde_json::from_slice(&envelope.body).map_err(|_| {
        format!(
            "no `task` header, and {} bytes that are not JSON",
            envelope.body.len()
        )
    })?;
    let Json::Object(mut body) = body else {
        return Err("no `task` header, and JSON that is not an object".to_owned());
    };
    let text = |body: &mut Map<String, Json>, name: &str| match body.remove(name) {
        Some(Json::String(text)) => Some(text),
        _ => None,
    };
    let id =
        text(&mut body, "id").or_else(|| envelope.properties.correlation_id.as_deref().map(str::to_owned));
    let actor = text(&mut body, "task");
    let (args, kwargs) = (body.remove("args"), body.remove("kwargs"));
    args.iter()
        .chain(&kwargs)
        .for_each(|value| options.see_all(value));
    Ok(BorrowedMessage {
        known: id.is_some() && actor.is_some(),
        message_id: id.map(Cow::Owned),
        actor: actor.map(Cow::Owned),
        eta_ms: text(&mut body, "eta").as_deref().and_then(unix_ms),
        expires_ms: text(&mut body, "expires").as_deref().and_then(unix_ms),
        retries: body
            .get("retries")
            .and_then(Json::as_u64)
            .filter(|retries| *retries > 0),
        args: args.filter(|_| options.keep),
        kwargs: kwargs.filter(|_| options.keep),
        json: is_json(envelope),
        ..BorrowedMessage::default()
    })
}

/// Tasks that it carries with it: more than so many are not looked at.
const MOST_LATER: usize = 64;

/// What is sent after it: the rest of a chain, the body of a chord.
fn later(embed: &Json) -> Vec<Later> {
    let chain = embed.get("chain").and_then(Json::as_array).into_iter().flatten();
    let chord = embed.get("chord").filter(|chord| chord.is_object());
    let all = chain
        .map(|task| (task, "chain"))
        .chain(chord.map(|task| (task, "chord")));
    let are_named = |handlers: Option<&Json>| handlers.is_some_and(|handlers| !is_nothing(handlers));
    let has_own = are_named(embed.get("errbacks"));
    let read = |(task, after): (&Json, &str)| {
        let mut found = Vec::new();
        let mut options = DecodeOptions {
            leaves: Some(&mut found),
            ..DecodeOptions::default()
        };
        ["args", "kwargs"]
            .iter()
            .filter_map(|part| task.get(*part))
            .for_each(|part| options.see_all(part));
        let options = task.get("options");
        let id = options.and_then(|options| options.get("task_id"));
        let handlers = options.and_then(|options| options.get("link_error"));
        Later {
            message_id: id.and_then(Json::as_str).map(str::to_owned),
            actor: task
                .get("task")
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned(),
            after: after.to_owned(),
            carries_task_id: false,
            has_error_handler: has_own || are_named(handlers),
            leaves: ArgumentValues(found),
        }
    };
    all.take(MOST_LATER).map(read).collect()
}

/// `null`, or a list of none.
fn is_nothing(json: &Json) -> bool {
    json.is_null() || json.as_array().is_some_and(Vec::is_empty)
}

fn is_json(envelope: &Envelope<'_>) -> bool {
    envelope.properties.content_type.as_deref() == Some("application/json")
}

/// Celery writes times with their offset; one without is in a zone that only the application knows.
fn unix_ms(time: &str) -> Option<i64> {
    time.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

/// The texts and numbers that stand in the repr of Python's containers. The last may be cut off.
fn literals(repr: &str) -> impl Iterator<Item = &str> {
    let mut rest = repr;
    std::iter::from_fn(move || {
        loop {
            let start = rest.find(|c: char| c == '\'' || c == '"' || c.is_ascii_digit())?;
            let from = &rest[start..];
            let quote = from.chars().next()?;
            if quote.is_ascii_digit() {
                let end = from
                    .find(|c: char| !c.is_alphanumeric() && c != '.')
                    .unwrap_or(from.len());
                // A digit of a name is no number.
                let alone = !rest[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                rest = &from[end..];
                if alone {
                    return Some(&from[..end]);
                }
                continue;
            }
            let inside = &from[1..];
            let end = inside.find(quote)?;
            rest = &inside[end + 1..];
            return Some(&inside[..end]);
        }
    })
}

fn encode(call: &Call<'_>) -> Envelope<'static> {
    let body = json!([
        call.args,
        call.kwargs,
        {"callbacks": null, "errbacks": null, "chain": null, "chord": null}
    ]);
    let mut headers = headers(call.actor, call.message_id);
    if let Some(run) = call.run {
        headers.extend(copy::marks(run));
    }
    Envelope {
        headers,
        properties: Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            correlation_id: Some(call.message_id.to_owned().into()),
            ..Properties::default()
        },
        body: body.to_string().into_bytes().into(),
    }
}

fn headers(actor: &str, id: &str) -> Vec<(Cow<'static, str>, Header<'static>)> {
    let text = |name: &'static str, value: &str| (name.into(), Header::Text(value.to_owned().into()));
    let other = |name: &'static str, value: Json| (name.into(), Header::Other(value));
    vec![
        text("lang", "py"),
        text("task", actor),
        text("id", id),
        text("root_id", id),
        other("parent_id", Json::Null),
        other("group", Json::Null),
        other("shadow", Json::Null),
        other("eta", Json::Null),
        other("expires", Json::Null),
        other("retries", json!(0)),
        other("timelimit", json!([null, null])),
        text("argsrepr", "()"),
        text("kwargsrepr", "{}"),
        text("origin", "taskdiag"),
        other("ignore_result", json!(false)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{Message, celery::FRAMEWORK};

    const ID: &str = "5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11";

    fn call(run: Option<&str>) -> Envelope<'static> {
        encode(&Call {
            queue: "celery",
            actor: "shop.tasks.fulfil",
            args: &json!(["order-4711", {"deep": [7]}]),
            kwargs: &json!({"who": "x"}),
            message_id: ID,
            now_ms: 1,
            run,
        })
    }

    fn knows(envelope: &Envelope<'_>, id: &str) -> bool {
        let mut message = FRAMEWORK.decode(envelope, false);
        message.learn_task_id(id);
        message.carries_task_id
    }

    #[test]
    fn what_is_written_is_read() {
        let message = FRAMEWORK.decode(&call(None), true);
        assert_eq!(message.message_id.as_deref(), Some(ID));
        assert_eq!(message.actor.as_deref(), Some("shop.tasks.fulfil"));
        assert_eq!(message.args, Some(json!(["order-4711", {"deep": [7]}])));
        assert_eq!(message.undecodable, None);
        assert!(!message.is_retry() && !message.is_delayed());
    }

    #[test]
    fn the_id_is_the_messages_own_or_an_argument() {
        for id in [ID, "order-4711", "7", "x"] {
            assert!(knows(&call(None), id), "{id}");
        }
        assert!(!knows(&call(None), "4711"));
    }

    /// Links of a chain carry the arguments of others in the embed.
    #[test]
    fn what_comes_after_the_task_is_not_its_own() {
        let mut envelope = call(None);
        envelope.body = json!([[1], {}, {"chain": [{"task": "next", "args": ["order-4711"]}]}])
            .to_string()
            .into_bytes()
            .into();
        assert!(!knows(&envelope, "order-4711"));
    }

    #[test]
    fn times_of_a_retry() {
        let mut envelope = call(None);
        for (name, value) in &mut envelope.headers {
            match &**name {
                "eta" => *value = Header::Text("2025-11-28T09:00:10.500000+00:00".into()),
                "expires" => *value = Header::Text("2025-11-28T03:00:00-06:00".into()),
                "retries" => *value = Header::Other(json!(2)),
                _ => {}
            }
        }
        let message = FRAMEWORK.decode(&envelope, false);
        assert_eq!(message.eta_ms, Some(1_764_320_410_500));
        assert_eq!(message.expires_ms, Some(1_764_320_400_000));
        assert_eq!(message.retries, Some(2));
        assert!(message.is_retry() && message.is_delayed());
    }

    #[test]
    fn a_pickled_body_is_known_by_its_headers() {
        let mut envelope = call(None);
        envelope.body = b"\x80\x04pickle".as_slice().into();
        for (name, value) in &mut envelope.headers {
            if name == "argsrepr" {
                *value = Header::Text(
                    "('order-4711', UUID('0b5ef0a4-0000-4000-8000-000000000000'), 42, job_8)".into(),
                );
            }
        }
        let message = FRAMEWORK.decode(&envelope, true);
        assert_eq!(
            (message.undecodable.as_deref(), message.args.as_ref()),
            (None, None)
        );
        for id in ["order-4711", "0b5ef0a4-0000-4000-8000-000000000000", "42", ID] {
            assert!(knows(&envelope, id), "{id}");
        }
        assert!(!knows(&envelope, "8"));
    }

    #[test]
    fn protocol_1_has_all_in_its_body() {
        let body = json!({"task": "a.b", "id": ID, "args": ["order-4711"], "kwargs": {}, "retries": 1,
            "eta": "2025-11-28T09:00:10.500000+00:00", "expires": null});
        let message = FRAMEWORK.decode(&Envelope::of_body(body.to_string().into_bytes()), false);
        assert_eq!(message.actor.as_deref(), Some("a.b"));
        assert_eq!((message.retries, message.eta_ms.is_some()), (Some(1), true));
        assert!(knows(
            &Envelope::of_body(body.to_string().into_bytes()),
            "order-4711"
        ));
    }

    #[test]
    fn others_messages_say_why_they_are_none() {
        for body in [b"\x80".as_slice(), b"[1]", b"{\"task\": 1}", b"{}"] {
            let message: Message = FRAMEWORK.decode(&Envelope::of_body(body), false);
            assert!(message.undecodable.is_some(), "{body:?}");
        }
    }
}
