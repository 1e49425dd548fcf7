//! What the body of an answer says by itself.

use serde_json::Value as Json;

/// `{"ok": false}`, `{"status": "fail"}`, or an `error` that is not empty.
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
    const FAILED: &[&str] = &["fail", "failed", "failure", "error", "rejected", "denied"];
    let says_failed = |word: &str| FAILED.contains(&word.to_lowercase().as_str());
    let denies = |key: &str| body.get(key).and_then(Json::as_bool) == Some(false);
    ["error", "errors"]
        .iter()
        .any(|key| body.get(*key).is_some_and(is_given))
        || ["ok", "success"].iter().any(|key| denies(key))
        || body.get("status").and_then(Json::as_str).is_some_and(says_failed)
}
