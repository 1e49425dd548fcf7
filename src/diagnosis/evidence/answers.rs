//! What the body of an answer says by itself.

use serde_json::Value as Json;

/// `{"ok": false}`, or an `error` that is not empty.
pub(in crate::diagnosis) fn tells_of_an_error(body: &str) -> bool {
    let Ok(Json::Object(body)) = serde_json::from_str(body) else {
        return false;
    };
    let is_given = |value: &Json| match value {
        Json::Null | Json::Bool(false) => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(list) => !list.is_empty(),
        _ => true,
    };
    let denies = |key: &str| body.get(key).and_then(Json::as_bool) == Some(false);
    ["error", "errors"]
        .iter()
        .any(|key| body.get(*key).is_some_and(is_given))
        || ["ok", "success"].iter().any(|key| denies(key))
}
