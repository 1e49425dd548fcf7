//! What an expression of the code makes, where that stands in it.

use super::syntax::Node;
use super::variable;

/// What an expression makes, as far as the code says.
#[derive(Debug, Clone, PartialEq)]
pub enum SettingValue {
    Literal(String),
    /// A text that begins so: `f"amqp://{user}…"`.
    Begins(String),
    /// A variable of the environment, and what stands for it where that is not set.
    Variable {
        name: String,
        or: Option<Box<SettingValue>>,
    },
    /// Another name of the code.
    Name(String),
    /// One behind the other: `f"amqp://{user}@{host}"`.
    Joined(Vec<SettingValue>),
    Unknown,
}

impl SettingValue {
    pub(super) fn of(node: Node) -> Self {
        let first = |node: Node| node.children().first().copied().map_or(Self::Unknown, Self::of);
        match node.kind() {
            "integer" => Self::Literal(node.text().to_owned()),
            "string" => match node.string() {
                Some(text) => Self::Literal(text),
                None => Self::of_format(node),
            },
            "concatenated_string" => Self::Joined(node.children().into_iter().map(Self::of).collect()),
            "binary_operator" => {
                let side = |name: &str| node.field(name).map_or(Self::Unknown, Self::of);
                match node.field("operator").map_or("", Node::text) {
                    "+" => Self::Joined(vec![side("left"), side("right")]),
                    // What is filled in is not read.
                    _ => match side("left") {
                        Self::Literal(text) => Self::Begins(text),
                        _ => Self::Unknown,
                    },
                }
            }
            "boolean_operator" => {
                let right = node.field("right").map(Self::of);
                match node.field("left").map_or(Self::Unknown, Self::of) {
                    Self::Variable { name, or: None } => Self::Variable {
                        name,
                        or: right.map(Box::new),
                    },
                    other => other,
                }
            }
            "conditional_expression" | "parenthesized_expression" => first(node),
            "attribute" | "identifier" => Self::Name(node.last_name().to_owned()),
            "subscript" => match (variable(node), node.field("subscript").and_then(Node::string)) {
                (Some(name), _) => Self::Variable { name, or: None },
                (None, Some(name)) => Self::Name(name),
                _ => Self::Unknown,
            },
            "call" => Self::of_call(node),
            _ => Self::Unknown,
        }
    }

    /// `f"amqp://{user}@{host}"`. What is looked up in a table, or made otherwise, ends what is known.
    fn of_format(node: Node) -> Self {
        let mut parts = Vec::new();
        for part in node.children() {
            match part.kind() {
                "string_start" | "string_end" => {}
                "string_content" => parts.push(Self::Literal(part.text().to_owned())),
                "interpolation" => {
                    parts.push(part.children().first().copied().map_or(Self::Unknown, Self::of))
                }
                _ => parts.push(Self::Unknown),
            }
        }
        Self::Joined(parts)
    }

    /// What it begins with.
    pub fn first(&self) -> &Self {
        match self {
            Self::Joined(parts) => parts.first().map_or(&Self::Unknown, Self::first),
            other => other,
        }
    }

    fn of_call(node: Node) -> Self {
        let positional = || {
            let arguments = node.field("arguments").map(Node::children).unwrap_or_default();
            arguments
                .into_iter()
                .filter(|argument| argument.kind() != "keyword_argument")
        };
        if let Some(name) = variable(node) {
            let default = node.argument("default").or_else(|| positional().nth(1));
            return Self::Variable {
                name,
                or: default.map(Self::of).map(Box::new),
            };
        }
        let object = node
            .field("function")
            .and_then(|function| function.field("object"));
        match (node.last_name(), object) {
            ("format", Some(object)) => match Self::of(object) {
                Self::Literal(text) => Self::Begins(text),
                _ => Self::Unknown,
            },
            ("get", Some(_)) => match positional().next().and_then(Node::string) {
                Some(name) => Self::Name(name),
                None => Self::Unknown,
            },
            ("Field", _) => {
                let default = node
                    .argument("default")
                    .or_else(|| positional().next())
                    .map(Self::of);
                let named = ["env", "alias", "validation_alias"];
                let named = named.iter().find_map(|key| node.argument(key)?.string());
                match named {
                    Some(name) => Self::Variable {
                        name,
                        or: default.map(Box::new),
                    },
                    None => default.unwrap_or(Self::Unknown),
                }
            }
            ("build", Some(_)) => node.argument("scheme").map_or(Self::Unknown, Self::of),
            ("str" | "SecretStr" | "AmqpDsn" | "RedisDsn", _) => {
                positional().next().map_or(Self::Unknown, Self::of)
            }
            // Libraries of settings have many words for it.
            _ => node.argument("default").map_or(Self::Unknown, Self::of),
        }
    }
}
