//! A configuration file as somebody else may read it.

use std::path::Path;

use toml::{Table, Value};

use super::SecretUrl;

/// Tables whose values are the user's own data: of these only the names are shown.
const PRIVATE: &[&str] = &[
    "headers", "env", "body", "form", "login", "path", "args", "kwargs",
];

/// The file that a command would use, without comments and without passwords.
pub fn file(named: Option<&Path>) -> Option<String> {
    let path = super::Layers::locate(named).ok()??;
    let table: Table = crate::bounded::text(&path, crate::bounded::SETTINGS)
        .ok()?
        .parse()
        .ok()?;
    Some(text(table))
}

fn text(mut table: Table) -> String {
    for (name, value) in &mut table {
        redact(name, value, false);
    }
    toml::to_string(&table).unwrap_or_default()
}

fn redact(name: &str, value: &mut Value, is_private: bool) {
    let is_private = is_private || PRIVATE.contains(&name);
    match value {
        Value::Table(table) => {
            for (name, value) in table.iter_mut() {
                redact(name, value, is_private);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(name, item, is_private)),
        // A variable's name is what helps, and no secret.
        Value::String(text) if text.starts_with("${") && !text[1..].contains('$') => {}
        Value::String(text) if is_private => *text = "***".into(),
        Value::String(text) if text.contains("://") => *text = SecretUrl::from_text(text).redacted(),
        _ if is_private => *value = Value::String("***".into()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_and_values_that_are_private_do_not() {
        let file = "# mine\n[api]\nurl = \"http://u:hidden@h:1\"\nbody = { a = { b = \"hidden\", n = 7 } }\nheaders = { Authorization = \"${TOKEN}\", X = \"hidden\" }\n[broker]\nqueue = \"default\"\nargs = [\"hidden\"]\n[worker]\nenv = { KEY = \"hidden\" }\n";
        let text = text(file.parse().expect("TOML"));
        assert!(!text.contains("hidden") && !text.contains('7'), "{text}");
        for kept in ["queue = \"default\"", "${TOKEN}", "KEY = \"***\"", "h:1"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
