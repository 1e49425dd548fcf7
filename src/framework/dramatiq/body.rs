//! A message body read in one pass, without a tree: texts are borrowed, arguments are looked at as
//! they pass and kept only where somebody wants them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::framework::{BorrowedMessage, DecodeOptions, FollowUp};

/// Reads a body; the error says what it is instead.
pub fn read<'a>(body: &'a [u8], options: &mut DecodeOptions<'_>) -> Result<BorrowedMessage<'a>, String> {
    let mut input = serde_json::Deserializer::from_slice(body);
    let not_json = |error: serde_json::Error| no_json(body, &error);
    let found = Outer(options).deserialize(&mut input).map_err(not_json)?;
    input.end().map_err(not_json)?;
    found.ok_or_else(|| "JSON, but not an object".to_owned())
}

/// What it is instead, as far as its beginning and its end tell.
fn no_json(body: &[u8], error: &serde_json::Error) -> String {
    let bytes = body.len();
    match body {
        [] => "an empty body".to_owned(),
        [0x1f, 0x8b, ..] => format!("{bytes} bytes that are not JSON: gzip"),
        [0xef, 0xbb, 0xbf, ..] => {
            format!("{bytes} bytes that are not JSON: they begin with a byte order mark")
        }
        [b'{' | b'[', ..] if error.is_eof() => format!("{bytes} bytes of JSON that breaks off"),
        _ => format!("{bytes} bytes that are not JSON"),
    }
}

/// Any value: what it is as a number or a text, and nothing where it is something else.
#[derive(Default)]
struct Lenient<'a> {
    text: Option<Cow<'a, str>>,
    signed: Option<i64>,
    unsigned: Option<u64>,
}

struct LenientVisitor;

impl<'de> Visitor<'de> for LenientVisitor {
    type Value = Lenient<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Lenient {
            text: Some(Cow::Borrowed(text)),
            ..Lenient::default()
        })
    }
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Lenient {
            text: Some(Cow::Owned(text.to_owned())),
            ..Lenient::default()
        })
    }
    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Lenient {
            signed: Some(number),
            ..Lenient::default()
        })
    }
    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Lenient {
            signed: i64::try_from(number).ok(),
            unsigned: Some(number),
            ..Lenient::default()
        })
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Lenient::default())
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Lenient::default())
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient::default())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Lenient::default())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Lenient::default())
    }
}

impl<'de> serde::Deserialize<'de> for Lenient<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor)
    }
}

/// A key, borrowed unless it holds an escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Lenient::deserialize(deserializer).map(|key| Key(key.text.unwrap_or_default()))
    }
}

struct Outer<'o, 'w>(&'o mut DecodeOptions<'w>);

impl<'de> DeserializeSeed<'de> for Outer<'_, '_> {
    type Value = Option<BorrowedMessage<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Outer<'_, '_> {
    type Value = Option<BorrowedMessage<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut body = BorrowedMessage::default();
        let (mut has_actor, mut has_id) = (false, false);
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "message_id" => {
                    has_id = true;
                    body.message_id = map.next_value::<Lenient<'de>>()?.text;
                }
                "actor_name" => {
                    has_actor = true;
                    body.actor = map.next_value::<Lenient<'de>>()?.text;
                }
                "queue_name" => body.queue_name = map.next_value::<Lenient<'de>>()?.text,
                "message_timestamp" => body.timestamp_ms = map.next_value::<Lenient<'de>>()?.signed,
                "args" => body.args = arguments(&mut map, self.0)?,
                "kwargs" => body.kwargs = arguments(&mut map, self.0)?,
                "options" => map.next_value_seed(Options(&mut body))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        body.known = has_actor && has_id;
        Ok(Some(body))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

fn arguments<'de, A: MapAccess<'de>>(
    map: &mut A,
    options: &mut DecodeOptions<'_>,
) -> Result<Option<Json>, A::Error> {
    if options.keep {
        let value: Json = map.next_value()?;
        options.see_all(&value);
        return Ok(Some(value));
    }
    if options.ids.is_empty() && options.leaves.is_none() {
        map.next_value::<IgnoredAny>()?;
    } else {
        map.next_value_seed(Leaf(options))?;
    }
    Ok(None)
}

/// One value of the arguments, whatever it is.
struct Leaf<'o, 'w>(&'o mut DecodeOptions<'w>);

impl<'de> DeserializeSeed<'de> for Leaf<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaf<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }
    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.see(text);
        Ok(())
    }
    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.see(&number.to_string());
        Ok(())
    }
    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.0.see(&number.to_string());
        Ok(())
    }
    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.see(&Json::from(number).to_string());
        Ok(())
    }
    fn visit_bool<E>(self, is: bool) -> Result<(), E> {
        self.0.see(if is { "true" } else { "false" });
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Leaf(&mut *self.0))?.is_some() {}
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Leaf(&mut *self.0))?;
        }
        Ok(())
    }
}

/// The next message of a pipeline lies whole in the options of the one before it.
fn follow_up(target: &Json) -> Option<FollowUp> {
    let text = |name: &str| target.get(name)?.as_str().map(str::to_owned);
    Some(FollowUp {
        message_id: text("message_id")?,
        actor: text("actor_name")?,
        queue: text("queue_name")?,
    })
}

struct Options<'o, 'de>(&'o mut BorrowedMessage<'de>);

impl<'de> DeserializeSeed<'de> for Options<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Options<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("options")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "eta" => self.0.eta_ms = map.next_value::<Lenient<'de>>()?.signed,
                "retries" => self.0.retries = map.next_value::<Lenient<'de>>()?.unsigned,
                "max_retries" => self.0.max_retries = map.next_value::<Lenient<'de>>()?.unsigned,
                "traceback" => self.0.traceback = map.next_value::<Lenient<'de>>()?.text,
                "pipe_target" => self.0.follow_up = follow_up(&map.next_value::<Json>()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::WantedId;

    #[test]
    fn the_next_message_of_a_pipeline_is_known_by_its_options() {
        let next = |options: &str| {
            let body = format!(r#"{{"actor_name":"a","message_id":"m","options":{options}}}"#);
            let read = read(body.as_bytes(), &mut DecodeOptions::default()).expect("a body");
            read.follow_up
                .map(|next| (next.actor, next.queue, next.message_id))
        };
        let target = r#"{"pipe_target":{"actor_name":"b","queue_name":"q","message_id":"n","options":{}}}"#;
        assert_eq!(next(target), Some(("b".into(), "q".into(), "n".into())));
        assert_eq!(next(r#"{"pipe_target":null}"#), None);
        assert_eq!(next(r#"{"pipe_target":[7]}"#), None);
    }

    #[test]
    fn texts_are_borrowed_and_arguments_only_looked_at() {
        let body = br#"{"queue_name":"q","actor_name":"a","args":[7,{"x":["t_1",null,1.5,true]}],"kwargs":{},"options":{"eta":5,"retries":2,"other":{"deep":[1]}},"message_id":"m","message_timestamp":1,"more":[{}]}"#;
        let ids = [WantedId::new("t_1")];
        let mut options = DecodeOptions {
            ids: &ids,
            ..DecodeOptions::default()
        };
        let read = read(body, &mut options).expect("a body");
        assert!(matches!(read.actor, Some(Cow::Borrowed("a"))));
        assert_eq!((read.eta_ms, read.retries, read.known), (Some(5), Some(2), true));
        assert!(options.found && read.args.is_none());
        let mut leaves = Vec::new();
        let mut options = DecodeOptions {
            leaves: Some(&mut leaves),
            ..DecodeOptions::default()
        };
        super::read(body, &mut options).expect("a body");
        assert_eq!(leaves, ["7", "t_1", "1.5", "true"]);
    }

    #[test]
    fn odd_types_are_no_error() {
        let body = br#"{"actor_name":7,"message_id":{"a":[1]},"options":[1,"x"],"args":"text","message_timestamp":"soon"}"#;
        let read = read(body, &mut DecodeOptions::default()).expect("an object");
        assert!(read.known && read.actor.is_none() && read.timestamp_ms.is_none());
        for not in [
            &b"7"[..],
            b"[1]",
            b"\"x\"",
            b"null",
            b"",
            b"{\"a\":1} x",
            b"\x80\x04",
        ] {
            assert!(super::read(not, &mut DecodeOptions::default()).is_err());
        }
    }

    #[test]
    fn what_is_no_json_is_told_without_the_parsers_words() {
        for (body, said) in [
            (&b""[..], "an empty body"),
            (b"\x1f\x8b\x08\0", "4 bytes that are not JSON: gzip"),
            (
                b"\xef\xbb\xbf{}",
                "5 bytes that are not JSON: they begin with a byte order mark",
            ),
            (b"{\"actor_name\": \"s", "17 bytes of JSON that breaks off"),
            (b"\x80\x04pickle", "8 bytes that are not JSON"),
            (b"{} {}", "5 bytes that are not JSON"),
            (b"[1]", "JSON, but not an object"),
        ] {
            let read = read(body, &mut DecodeOptions::default());
            assert_eq!(read.err().as_deref(), Some(said));
        }
    }
}
