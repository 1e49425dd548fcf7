//! Which routes the API says it has, once it knows none at the path that was asked.

use std::time::Duration;

use serde_json::Value as Json;

use super::{endpoint, with_headers};
use crate::config::Api;
use crate::http;

/// Where FastAPI and others serve their document.
const DOCUMENTS: &[&str] = &["/openapi.json", "/api/openapi.json", "/api/v1/openapi.json"];

/// As many as a reader looks through.
const MOST: usize = 5;

/// The paths that take a POST, the likeliest first; none where the API has no document of them.
pub(super) async fn posts(client: &reqwest::Client, api: &Api) -> Vec<String> {
    for path in DOCUMENTS {
        let request = with_headers(client.get(endpoint(api, path)), api);
        let Ok(response) = request.timeout(Duration::from_secs(2)).send().await else {
            return Vec::new();
        };
        if !response.status().is_success() {
            continue;
        }
        let Ok(body) = http::body(response, http::ANSWER).await else {
            continue;
        };
        let document: Option<Json> = serde_json::from_slice(&body).ok();
        let found = document.map(|document| named(&document, &api.submit_path));
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return found;
        }
    }
    Vec::new()
}

/// What stands in a document, beginning with what resembles the path that was asked; nothing where that is among it:
/// then the refusal is the handler's own.
fn named(document: &Json, asked: &str) -> Vec<String> {
    let server = document.pointer("/servers/0/url").and_then(Json::as_str);
    let prefix = server.filter(|url| url.starts_with('/')).unwrap_or_default();
    let paths = document.get("paths").and_then(Json::as_object);
    let mut found: Vec<String> = paths
        .into_iter()
        .flatten()
        .filter(|(_, item)| item.get("post").is_some())
        .map(|(path, _)| format!("{}{path}", prefix.trim_end_matches('/')))
        .collect();
    let path = asked.split(['?', '#']).next().unwrap_or_default();
    if found.iter().any(|known| is_of(known, path)) {
        return Vec::new();
    }
    let words = |path: &str| -> Vec<String> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts
            .map(|part| part.trim_end_matches('s').to_lowercase())
            .collect()
    };
    let asked = words(asked);
    found.sort_by_key(|path| {
        let common = words(path).iter().filter(|word| asked.contains(word)).count();
        std::cmp::Reverse(common)
    });
    found.truncate(MOST);
    found
}

/// Whether a path is one of this template: `/jobs/{id}`.
fn is_of(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(part, given)| part == given || (part.starts_with('{') && !given.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::named;

    #[test]
    fn what_takes_a_post_the_likeliest_first() {
        let document = json!({ "servers": [{ "url": "/root/" }], "paths": {
            "/login": { "post": {} },
            "/api/v1/tasks/": { "get": {}, "post": {} },
            "/api/v1/tasks/{id}": { "get": {} },
        }});
        assert_eq!(
            named(&document, "/api/v1/task"),
            ["/root/api/v1/tasks/", "/root/login"]
        );
        // What the handler itself does not find is no wrong path.
        assert!(named(&document, "/root/api/v1/tasks/").is_empty());
        let of_a_course = json!({ "paths": { "/courses/{id}/jobs": { "post": {} } } });
        assert!(named(&of_a_course, "/courses/7/jobs?dry=1").is_empty());
        assert!(named(&json!({ "openapi": "3.1.0" }), "/x").is_empty());
    }
}
