//! Messages as Dramatiq's JSON encoder writes them.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::body;
use crate::framework::{ArgumentValues, Message};

/// Reads a message body. There is nothing else to go by: Dramatiq sets no AMQP property but
/// `delivery_mode` and `priority`.
pub fn decode(body: &[u8], show_args: bool) -> Message {
    let mut leaves = Vec::new();
    let mut wishes = body::Wishes {
        keep: show_args,
        leaves: Some(&mut leaves),
        ..body::Wishes::default()
    };
    let whole = || ArgumentValues(vec![String::from_utf8_lossy(body).into_owned()]);
    let read = match body::read(body, &mut wishes) {
        Ok(read) => read,
        Err(undecodable) => {
            return Message {
                undecodable: Some(undecodable),
                leaves: whole(),
                ..Message::default()
            };
        }
    };
    Message {
        message_id: read.message_id.map(Cow::into_owned),
        actor: read.actor.map(Cow::into_owned),
        queue_name: read.queue_name.map(Cow::into_owned),
        args: read.args,
        kwargs: read.kwargs,
        carries_task_id: false,
        timestamp_ms: read.timestamp_ms,
        eta_ms: read.eta_ms,
        retries: read.retries,
        max_retries: read.max_retries,
        traceback: read.traceback.map(Cow::into_owned),
        undecodable: (!read.known).then(|| NO_MESSAGE.to_owned()),
        leaves: if read.known {
            ArgumentValues(leaves)
        } else {
            whole()
        },
    }
}

/// JSON that is no message of Dramatiq's.
pub const NO_MESSAGE: &str = "JSON without actor_name and message_id";

/// A message body as Dramatiq's JSON encoder writes it, key order included.
pub fn encode(
    queue: &str,
    actor: &str,
    args: &Json,
    kwargs: &Json,
    message_id: &str,
    now_ms: i64,
) -> Vec<u8> {
    let body = serde_json::json!({
        "queue_name": queue,
        "actor_name": actor,
        "args": args,
        "kwargs": kwargs,
        "options": {},
        "message_id": message_id,
        "message_timestamp": now_ms,
    });
    body.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_and_its_leaves_compared_as_text() {
        let body = br#"{"queue_name":"default","actor_name":"a","args":[7],"kwargs":{"x":{"y":"t_1"}},"options":{"eta":5},"message_id":"m","message_timestamp":1}"#;
        let mut message = decode(body, false);
        assert_eq!(message.args, None);
        assert_eq!(message.eta_ms, Some(5));
        message.learn_task_id("t");
        assert!(!message.carries_task_id);
        message.learn_task_id("7");
        assert!(message.carries_task_id);
    }

    #[test]
    fn what_is_not_a_message_says_why() {
        assert!(decode(b"\x80\x04pickle", false).undecodable.is_some());
        assert!(decode(b"{\"a\":1}", false).undecodable.is_some());
    }
}
