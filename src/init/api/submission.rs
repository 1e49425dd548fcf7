//! How a task is submitted: by hand, as the project's documents have it, or as the API's own document says.

use serde_json::{Value as Json, json};

use super::super::curl::CurlPost;
use super::super::openapi::SubmitOperation;
use super::super::toml::escaped;
use super::super::{InitResult, Survey, work};

/// What people post by hand is what starts the right work: it goes before an example of the schema, where the two
/// agree on the path or nothing else is known.
pub fn by_hand(survey: &Survey, api: Option<&SubmitOperation>, result: &mut InitResult) {
    let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
    let fits = |post: &&CurlPost| match api {
        Some(api) => same(&post.path, &api.submit_path),
        None => post.port.is_some() && work::is_work(&post.path),
    };
    let mut posts: Vec<&CurlPost> = survey.posts.iter().filter(fits).collect();
    posts.sort_by_key(|post| post.body.is_none());
    let Some(post) = posts.first() else { return };
    let draft = &mut result.draft;
    let place = format!("{}, a curl command", post.place);
    if api.is_none() {
        draft.set("api.submit_path", post.path.clone(), place.clone());
    }
    if let Some(body) = &post.body {
        draft.set("api.body", escaped(body), place);
    }
}

/// What the API's document says, which stands at this place.
pub fn submission(result: &mut InitResult, api: SubmitOperation, place: &str) {
    let draft = &mut result.draft;
    let mut submit_path = api.submit_path.clone();
    if !api.query.is_empty() && !draft.has("api.submit_path") {
        let names: Vec<&str> = api.query.iter().map(|(name, _)| name.as_str()).collect();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&api.query)
            .finish();
        submit_path = format!("{submit_path}?{query}");
        result.guesses.push("api.submit_path");
        let text = format!(
            "made up from the schema, so check that it starts the right work: {} behind the `?`",
            names.join(", ")
        );
        draft.note("api.submit_path", text);
    }
    match api.also.is_empty() && api.query.is_empty() {
        true => draft.set("api.submit_path", submit_path, place),
        // It looks like the one, and others do as well.
        false => {
            if !draft.has("api.submit_path") {
                result.guesses.push("api.submit_path");
            }
            draft.guess("api.submit_path", submit_path, place);
        }
    }
    for other in &api.also {
        draft.note("api.submit_path", format!("also seen: {other}"));
    }
    if !api.path.is_empty() {
        let names: Vec<&str> = api.path.keys().map(String::as_str).collect();
        draft.note(
            "api.path",
            format!(
                "made up: what stands there has to exist, so look it up: {}",
                names.join(", ")
            ),
        );
        result.guesses.push("api.path");
        draft.set("api.path", Json::Object(api.path), place);
    }
    if let Some(path) = &api.token_path {
        draft.suggest(
            "api.login",
            json!({
                "path": path,
                "form": { "username": "${API_USER}", "password": "${API_PASSWORD}" },
                "token_pointer": "/access_token",
            }),
        );
        draft.need(
            "api.login",
            format!("needed: {place} asks for {}", api.security.join(", ")),
        );
    }
    body(result, api.is_form, api.body, &api.made_up, place);
    files(result, &api.files, &format!("needed: {place} asks for"));
    let draft = &mut result.draft;
    if let Some(smallest) = api.smallest {
        draft.set(
            "isolate.body",
            escaped(&smallest),
            format!("{place}, the fields that are required"),
        );
    }
    if let Some(pointer) = api.task_id_pointer {
        draft.set(
            "api.task_id_pointer",
            pointer,
            format!("{place}, the schema of the answer"),
        );
    }
    if let Some(path) = api.status_path {
        draft.set("api.status_path", path, place);
    }
    if let Some(pointer) = api.status_pointer {
        draft.set(
            "api.status_pointer",
            pointer,
            format!("{place}, the schema of the answer"),
        );
    }
    if !api.security.is_empty() && api.token_path.is_none() {
        draft.need(
            "api.headers",
            format!("needed: {place} asks for {}", api.security.join(", ")),
        );
    }
}

fn body(result: &mut InitResult, is_form: bool, body: Option<Json>, made_up: &[String], place: &str) {
    let draft = &mut result.draft;
    let body_key = if is_form { "api.form" } else { "api.body" };
    if let Some(body) = body {
        let is_new = !["api.body", "api.form"].iter().any(|key| draft.has(key));
        if is_new {
            result.guesses.push(body_key);
        }
        if is_new {
            draft.set(
                body_key,
                escaped(&body),
                format!("{place}, the fields that are required"),
            );
        }
        let made_up: Vec<&str> = made_up
            .iter()
            .map(String::as_str)
            .filter(|name| !name.is_empty())
            .collect();
        if is_new && !made_up.is_empty() {
            draft.note(
                body_key,
                format!(
                    "made up from the schema, so check that it starts the right work: {}",
                    made_up.join(", ")
                ),
            );
        }
    }
}

/// Files that a form sends: which ones somebody has to say.
pub(super) fn files(result: &mut InitResult, names: &[String], why: &str) {
    if names.is_empty() {
        return;
    }
    let draft = &mut result.draft;
    let files = names.iter().map(|name| (name.clone(), json!("sample.bin")));
    draft.suggest("api.files", Json::Object(files.collect()));
    draft.need("api.files", format!("{why} a file as {}", names.join(", ")));
    draft.spare("api.body");
}
