//! An AMQP table as it came from the wire, read without copying.
//!
//! lapin builds a tree of every header of every event, which costs more than all the rest that `trace` does
//! with one. Types and lengths: RabbitMQ's amqp-0-9-1 errata, "Field types".

use std::borrow::Cow;

/// The fields of a table, in the order in which they were sent. Ends early where the bytes make no sense.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a>(Bytes<'a>);

/// The values of an array.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a>(Bytes<'a>);

#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Text(&'a [u8]),
    Flag(bool),
    Number(i64),
    Table(Fields<'a>),
    List(Values<'a>),
    /// What no header of the firehose has.
    Other,
}

impl<'a> Fields<'a> {
    /// The bytes of a table, behind its length.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Bytes(bytes))
    }

    pub fn get(mut self, name: &str) -> Option<Value<'a>> {
        self.find(|(key, _)| *key == name.as_bytes())
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.0.byte()?;
        let name = self.0.take(length.into())?;
        Some((name, self.0.value()?))
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.value()
    }
}

impl<'a> Value<'a> {
    pub fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(String::from_utf8_lossy(text)),
            _ => None,
        }
    }

    pub fn list(self) -> Values<'a> {
        match self {
            Self::List(values) => values,
            _ => Values::default(),
        }
    }

    pub fn table(self) -> Option<Fields<'a>> {
        match self {
            Self::Table(fields) => Some(fields),
            _ => None,
        }
    }
}

/// What is left to be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    /// A big-endian number of up to eight bytes.
    pub fn number(&mut self, length: usize) -> Option<u64> {
        let bytes = self.take(length)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        )
    }

    /// A text behind one byte of length.
    pub fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    /// Bytes behind four bytes of length.
    pub fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number(4)?;
        self.take(usize::try_from(length).ok()?)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.byte()? {
            b'S' | b'x' => Value::Text(self.long()?),
            b't' => Value::Flag(self.number(1)? != 0),
            b'B' => Value::Number(self.number(1)? as i64),
            b'b' => Value::Number(i64::from(self.number(1)? as i8)),
            b's' => Value::Number(i64::from(self.number(2)? as i16)),
            b'u' => Value::Number(self.number(2)? as i64),
            b'I' => Value::Number(i64::from(self.number(4)? as i32)),
            b'i' => Value::Number(self.number(4)? as i64),
            b'l' | b'L' | b'T' => Value::Number(self.number(8)? as i64),
            b'F' => Value::Table(Fields::new(self.long()?)),
            b'A' => Value::List(Values(Bytes(self.long()?))),
            b'V' => Value::Other,
            b'f' => self.skip(4)?,
            b'd' => self.skip(8)?,
            b'D' => self.skip(5)?,
            _ => return None,
        })
    }

    fn skip(&mut self, length: usize) -> Option<Value<'a>> {
        self.take(length).map(|_| Value::Other)
    }
}
