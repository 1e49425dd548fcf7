//! A copy of a task's message that can be told from it: with ids of its own, and marked as ours.

use serde_json::{Value as Json, json};

use crate::framework::{Copy, CopyOrder, Envelope, fresh_id, replace_id};

/// Options of what has happened to the original, or would set other things going after it.
const NOT_COPIED: &[&str] = &[
    "retries",
    "traceback",
    "requeue_timestamp",
    "eta",
    "pipe_target",
    "on_success",
    "on_failure",
    "group_completion_uuid",
    "group_completion_callbacks",
    "redis_message_id",
];

/// What dramatiq does not know in `options` it passes over; `max_retries` keeps a copy that fails from coming
/// back for days.
pub(super) fn marks(run: &str) -> serde_json::Map<String, Json> {
    [
        ("taskdiag".to_owned(), json!(run)),
        ("max_retries".to_owned(), json!(0)),
    ]
    .into_iter()
    .collect()
}

/// The same message under another task id and message id.
pub(super) fn copy(original: &Envelope<'_>, order: &CopyOrder<'_>) -> Result<Copy, String> {
    let mut message: Json = serde_json::from_slice(&original.body)
        .map_err(|_| "the original's message is not JSON".to_owned())?;
    let fresh = fresh_id(order.task_id, order.nth);
    let mut replaced = 0;
    for part in ["args", "kwargs"] {
        if let Some(value) = message.get_mut(part) {
            replaced += replace_id(value, order.task_id, &fresh);
        }
    }
    if replaced == 0 {
        return Err(
            "the task's id does not stand in the message's arguments, so a copy could not be told from it"
                .into(),
        );
    }
    let actor = message
        .get("actor_name")
        .and_then(Json::as_str)
        .ok_or("the original's message names no actor")?
        .to_owned();
    let mut options = message
        .get("options")
        .and_then(Json::as_object)
        .cloned()
        .unwrap_or_default();
    options.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    options.extend(marks(order.run));
    let message_id = uuid::Uuid::new_v4().to_string();
    message["queue_name"] = json!(order.queue);
    message["options"] = Json::Object(options);
    message["message_id"] = json!(message_id);
    message["message_timestamp"] = json!(order.now_ms);
    Ok(Copy {
        task_id: fresh,
        message_id,
        actor,
        queue: order.queue.to_owned(),
        envelope: Envelope::of_body(message.to_string().into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original(args: Json, kwargs: Json, options: Json) -> Vec<u8> {
        json!({"queue_name": "default.DQ", "actor_name": "a", "args": args, "kwargs": kwargs, "options": options,
            "message_id": "m", "message_timestamp": 1})
        .to_string()
        .into_bytes()
    }

    fn copy(body: &[u8], task_id: &str, queue: &str, run: &str, nth: u32) -> Result<Copy, String> {
        let order = CopyOrder {
            task_id,
            queue,
            run,
            nth,
            now_ms: 1,
        };
        super::copy(&Envelope::of_body(body), &order)
    }

    fn read(copy: &Copy) -> Json {
        serde_json::from_slice(&copy.envelope.body).expect("JSON")
    }

    #[test]
    fn everything_but_the_ids_is_the_same() {
        let id = "task_f644aaaabbbbccccddddeeeeffff0000";
        let body = original(
            json!([id, 3, {"deep": [id], "text": "not task_x"}]),
            json!({"n": 1}),
            json!({"retries": 2, "traceback": "t", "eta": 5, "broker_priority": 4, "pipe_target": {}}),
        );
        let copy = copy(&body, id, "default", "run-1", 0).expect("a copy");
        let message = read(&copy);
        assert_ne!(copy.task_id, id);
        assert!(
            copy.task_id.starts_with("task_") && copy.task_id.len() == id.len(),
            "{}",
            copy.task_id
        );
        assert_eq!(
            message["args"],
            json!([copy.task_id, 3, {"deep": [copy.task_id], "text": "not task_x"}])
        );
        assert_eq!(message["kwargs"], json!({"n": 1}));
        assert_eq!(message["queue_name"], "default");
        assert_eq!(
            message["options"],
            json!({"broker_priority": 4, "taskdiag": "run-1", "max_retries": 0})
        );
        assert_ne!(message["message_id"], "m");
    }

    #[test]
    fn ids_of_every_kind() {
        let body = original(json!([41, "41"]), json!({}), json!({}));
        let made = copy(&body, "41", "q", "r", 0).expect("a copy");
        assert_eq!(read(&made)["args"], json!([1_000_000_041, "1000000041"]));
        let uuid = "8b6e9f0e-96f6-4a0f-9c0e-1f0b6d1f2a3b";
        let body = original(json!([]), json!({"id": uuid.to_uppercase()}), json!({}));
        let copy = copy(&body, uuid, "q", "r", 0).expect("a copy");
        assert!(uuid::Uuid::try_parse(&copy.task_id).is_ok());
        assert_eq!(fresh_id("2000000000", 0), "2147483646");
        assert_eq!(fresh_id("41", 1), "1000000042");
        assert_eq!(fresh_id("2000000000", 1), "2147483645");
        assert_eq!(fresh_id("3000000000", 0), "4000000000");
        assert!(fresh_id("short", 0).starts_with("taskdiag-"));
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_copied() {
        assert!(copy(b"\x80\x04", "x", "q", "r", 0).is_err());
        assert!(copy(&original(json!([1]), json!({}), json!({})), "x", "q", "r", 0).is_err());
        assert!(copy(b"{\"args\": [\"x\"]}", "x", "q", "r", 0).is_err());
    }
}
