//! A copy of a task's message that can be told from it.

use serde_json::{Value as Json, json};

use crate::framework::{Copy, CopyOrder, Envelope, Header, fresh_id, is_same_id, replace_id};

type Headers = Vec<(std::borrow::Cow<'static, str>, Header<'static>)>;

/// More attempts than any task allows: a copy that fails must not come back for days.
pub(super) const NO_MORE_RETRIES: u64 = 1_000_000;

/// What Celery does not know in the headers it hands on.
pub(super) fn marks(run: &str) -> Headers {
    vec![
        ("taskdiag".into(), Header::Text(run.to_owned().into())),
        ("retries".into(), Header::Other(json!(NO_MORE_RETRIES))),
    ]
}

/// Of what has happened to the original, or would set other things going after it.
const NOT_COPIED: &[&str] = &[
    "id",
    "root_id",
    "parent_id",
    "eta",
    "expires",
    "retries",
    "group",
    "group_index",
    "argsrepr",
    "kwargsrepr",
];

/// The same message under another task id and message id.
pub(super) fn copy(original: &Envelope<'_>, order: &CopyOrder<'_>) -> Result<Copy, String> {
    let header = |name: &str| original.header(name).and_then(Header::text);
    let actor = header("task")
        .ok_or("the original's message has no `task` header: protocol 1 is not copied")?
        .to_owned();
    let (mut args, mut kwargs, _): (Json, Json, serde::de::IgnoredAny) =
        serde_json::from_slice(&original.body)
            .map_err(|_| "the original's arguments are not JSON".to_owned())?;
    let message_id = uuid::Uuid::new_v4().to_string();
    // The id of the message may be the task's own: then the copy's is, too.
    let is_the_messages = header("id").is_some_and(|id| is_same_id(id, order.task_id));
    let fresh = match is_the_messages {
        true => message_id.clone(),
        false => fresh_id(order.task_id, order.nth),
    };
    let replaced =
        replace_id(&mut args, order.task_id, &fresh) + replace_id(&mut kwargs, order.task_id, &fresh);
    if replaced == 0 && !is_the_messages {
        return Err(
            "the task's id does not stand in the message's arguments, so a copy could not be told from it"
                .into(),
        );
    }
    let mut envelope = original.clone().into_owned();
    envelope
        .headers
        .retain(|(name, _)| !NOT_COPIED.contains(&&**name) && name != "taskdiag");
    let text = |name: &'static str, value: &str| (name.into(), Header::Text(value.to_owned().into()));
    envelope.headers.extend([
        text("id", &message_id),
        text("root_id", &message_id),
        text("argsrepr", "()"),
        text("kwargsrepr", "{}"),
    ]);
    envelope.headers.extend(marks(order.run));
    envelope.properties.correlation_id = Some(message_id.clone().into());
    envelope.properties.reply_to = None;
    let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": null});
    envelope.body = json!([args, kwargs, embed]).to_string().into_bytes().into();
    Ok(Copy {
        task_id: fresh,
        message_id,
        actor,
        queue: order.queue.to_owned(),
        envelope,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::celery::FRAMEWORK;
    use crate::framework::{Call, celery};

    const ID: &str = "5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11";

    fn copied(task_id: &str) -> Result<Copy, String> {
        let original = (celery::FRAMEWORK.codec.encode)(&Call {
            queue: "celery",
            actor: "a.b",
            args: &json!(["order-4711"]),
            kwargs: &json!({}),
            message_id: ID,
            now_ms: 1,
            run: None,
        });
        let order = CopyOrder {
            task_id,
            queue: "elsewhere",
            run: "run-1",
            nth: 0,
            now_ms: 1,
        };
        copy(&original, &order)
    }

    #[test]
    fn a_copy_has_ids_of_its_own() {
        let own = copied("order-4711").expect("a copy");
        let read = FRAMEWORK.decode(&own.envelope, true);
        assert_eq!(read.args, Some(json!([own.task_id])));
        assert_eq!(read.message_id.as_deref(), Some(own.message_id.as_str()));
        assert!(own.message_id != ID && own.task_id != "order-4711");
        // It is the first attempt, though the worker is to take it for the last.
        assert!(!read.is_retry());
        let result = copied(ID).expect("a copy");
        assert_eq!(result.task_id, result.message_id);
        assert!(copied("another").is_err());
    }
}
