//! What an API says when it refuses a request, and what it says of its routes.

use super::Story;
use super::api::Response;
use crate::text;
use crate::timeline::EventKind;

/// A refusal in the API's own words, or where a redirect points.
pub(in crate::diagnosis) fn rejection(story: &Story<'_>, response: Response<'_>) -> String {
    let Response { status, body } = response;
    let location = story.find(|event| match &event.kind {
        EventKind::Answered {
            location: Some(location),
            ..
        } => Some(location.as_str()),
        _ => None,
    });
    if let (300..400, Some(location)) = (status, location)
        && is_a_login(location)
    {
        return format!(
            "the API redirects to {location} with HTTP {status}: it wants a login (set `api.login`, or `api.headers` with a token)"
        );
    }
    if let (300..400, Some(location)) = (status, location) {
        return format!(
            "the API redirects to {location} with HTTP {status}, which drops method and body: set api.submit_path to that path"
        );
    }
    let complaints: Vec<String> = complaints(body)
        .into_iter()
        .map(|(field, says)| format!("`{field}`: {says}"))
        .collect();
    if !complaints.is_empty() {
        return format!(
            "the API refused the request with HTTP {status}: {}",
            text::excerpt(&complaints.join("; "))
        );
    }
    let detail = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| {
            ["detail", "message", "error", "title"].iter().find_map(|key| {
                body.get(key).map(|value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            })
        });
    // Whether the path is wrong only who sees it can tell.
    let asked = match (status, asked_path(story)) {
        (404 | 405, Some(path)) => format!("POST {path}"),
        _ => "the request".to_owned(),
    };
    format!(
        "the API refused {asked} with HTTP {status}: {}",
        text::excerpt(detail.as_deref().unwrap_or(body))
    )
}

/// The path that the task was posted to.
fn asked_path<'a>(story: &Story<'a>) -> Option<&'a str> {
    story.find(|event| match &event.kind {
        EventKind::Submitting { url, .. } => {
            let behind = url.split_once("://")?.1;
            Some(&behind[behind.find('/')?..])
        }
        _ => None,
    })
}

/// What FastAPI and those like it complain of: fields of the body, and what is wrong with each.
fn complaints(body: &str) -> Vec<(String, String)> {
    let parsed = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
    let all = parsed.get("detail").and_then(serde_json::Value::as_array);
    let complaint = |one: &serde_json::Value| {
        let path = one.get("loc")?.as_array()?.iter().map(|part| match part {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let path: Vec<String> = path.collect();
        // What is not of the body is of the query, say.
        let field = match path.split_first() {
            Some((first, rest)) if first == "body" => rest.join("."),
            _ => path.join("."),
        };
        let says = one.get("msg")?.as_str()?.to_owned();
        (!field.is_empty()).then_some((field, says))
    };
    all.into_iter().flatten().filter_map(complaint).collect()
}

/// Where FastAPI looks besides the body.
const OUTSIDE: &[&str] = &["query.", "path.", "header.", "cookie."];

/// The fields of the body that the answer complains of, in code.
pub(in crate::diagnosis) fn fields(body: &str) -> Vec<String> {
    let complaints = complaints(body).into_iter();
    let of_the_body = complaints.filter(|(field, _)| !OUTSIDE.iter().any(|part| field.starts_with(part)));
    let named = of_the_body.map(|(field, _)| format!("`{field}`"));
    named.take(4).collect()
}

/// The paths that take a POST, as the API's own document has them, once it knew none at the path that was asked.
pub(in crate::diagnosis) fn routes<'a>(story: &Story<'a>) -> &'a [String] {
    let found = story.find(|event| match &event.kind {
        EventKind::Answered { routes, .. } => Some(routes.as_slice()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// Where a redirect leads whoever is not logged in.
fn is_a_login(location: &str) -> bool {
    let location = location.to_lowercase();
    let parts = || location.split(['/', '?', '&', '=', '.', '-', '_']);
    parts().any(|part| matches!(part, "login" | "signin" | "sso" | "auth" | "oauth" | "oauth2"))
}
