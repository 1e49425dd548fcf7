//! Addresses that the code holds, and the variables that it reads.

use super::syntax::Node;
use crate::servers::{BROKER, DATABASE, ServerKind};

/// `RabbitmqBroker(host="mq", port=5672)`: without a user it is the library's own.
pub(super) fn address_of(call: Node) -> Option<String> {
    if call.kind() != "call" || call.last_name() != "RabbitmqBroker" {
        return None;
    }
    let other = ["url", "credentials", "parameters"];
    if other.iter().any(|name| call.argument(name).is_some()) {
        return None;
    }
    let host = call.argument("host")?.string()?;
    let port = match call.argument("port") {
        Some(port) => port.text().parse::<u16>().ok()?,
        None => BROKER.port,
    };
    Some(format!("amqp://{host}:{port}"))
}

/// The URL of a broker or a database.
pub(super) fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let of = |kind: &ServerKind| kind.scheme(scheme).is_some();
    (of(&BROKER) || of(&DATABASE)) && !text.contains(char::is_whitespace)
}

/// The variable of the environment that an expression reads.
pub(super) fn variable(node: Node) -> Option<String> {
    let (reader, name) = match node.kind() {
        "call" => (node.field("function")?, node.first_argument()?),
        _ => (node.field("value")?, node.field("subscript")?),
    };
    let reader = reader.text();
    let reads = [
        "environ",
        "environ.get",
        "getenv",
        "env",
        "env.str",
        "env.url",
        "config",
        "Env",
    ]
    .iter()
    .any(|known| reader.ends_with(known));
    name.string().filter(|name| {
        reads
            && name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    })
}
