//! Values as they stand in a draft.

use serde_json::Value as Json;

/// A value on one line of TOML. (The `toml` crate breaks texts and tables into several.)
pub fn toml(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".into(),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) if number.is_u64() && number.as_i64().is_none() => quoted(&number.to_string()),
        Json::Number(number) => number.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) if map.is_empty() => "{ }".into(),
        Json::Object(map) => {
            let plain = |name: &str| {
                !name.is_empty()
                    && name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            };
            let pairs: Vec<String> = map
                .iter()
                .map(|(name, value)| {
                    let name = if plain(name) { name.clone() } else { quoted(name) };
                    format!("{name} = {}", toml(value))
                })
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A `${` that is to stay one.
pub fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// The same in every text of a value.
pub fn escaped(value: &Json) -> Json {
    match value {
        Json::String(text) => Json::String(literal(text)),
        Json::Array(items) => items.iter().map(escaped).collect(),
        Json::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), escaped(value)))
            .collect(),
        other => other.clone(),
    }
}
