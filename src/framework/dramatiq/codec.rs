//! Messages as Dramatiq's JSON encoder writes them: there is nothing but the body to go by, as Dramatiq sets
//! no AMQP property but `delivery_mode` and `priority`.

use serde_json::json;

use super::{body, copy};
use crate::framework::{BorrowedMessage, Call, Codec, DecodeOptions, Envelope};

pub(super) const CODEC: Codec = Codec {
    read,
    not_a_message: "JSON without actor_name and message_id",
    encode,
    copy: copy::copy,
};

fn read<'e>(
    envelope: &'e Envelope<'_>,
    options: &mut DecodeOptions<'_>,
) -> Result<BorrowedMessage<'e>, String> {
    body::read(&envelope.body, options)
}

fn encode(call: &Call<'_>) -> Envelope<'static> {
    let options = call.run.map_or_else(serde_json::Map::new, copy::marks);
    let body = json!({
        "queue_name": call.queue,
        "actor_name": call.actor,
        "args": call.args,
        "kwargs": call.kwargs,
        "options": options,
        "message_id": call.message_id,
        "message_timestamp": call.now_ms,
    });
    Envelope::of_body(body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{Message, dramatiq::FRAMEWORK};

    fn decode(body: &[u8]) -> Message {
        FRAMEWORK.decode(&Envelope::of_body(body), false)
    }

    #[test]
    fn a_body_is_read_and_its_leaves_compared_as_text() {
        let body = br#"{"queue_name":"default","actor_name":"a","args":[7],"kwargs":{"x":{"y":"t_1"}},"options":{"eta":5},"message_id":"m","message_timestamp":1}"#;
        let mut message = decode(body);
        assert_eq!(message.args, None);
        assert_eq!(message.eta_ms, Some(5));
        message.learn_task_id("t");
        assert!(!message.carries_task_id);
        message.learn_task_id("7");
        assert!(message.carries_task_id);
    }

    #[test]
    fn what_is_not_a_message_says_why() {
        assert!(decode(b"\x80\x04pickle").undecodable.is_some());
        assert!(decode(b"{\"a\":1}").undecodable.is_some());
    }
}
