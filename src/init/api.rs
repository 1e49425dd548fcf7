//! Fills `[api]`: where the API answers, and how a task is submitted to it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::compose::Service;
use super::curl::CurlPost;
use super::launch::hidden;
use super::openapi::{self, SubmitOperation};
use super::program::API;
use super::{InitResult, Survey, running, work};
use crate::config::Tls;
use crate::http;

const WITHIN: Duration = Duration::from_secs(2);

/// Where FastAPI and others serve their document.
const DOCUMENTS: &[&str] = &["/openapi.json", "/api/openapi.json", "/api/v1/openapi.json"];

/// A port on which the API may answer.
struct Candidate {
    port: u16,
    place: String,
    /// A process of this project listens there.
    is_own: bool,
}

pub async fn fill(survey: &Survey, result: &mut InitResult) {
    let candidates = candidates(survey);
    if let Some((service, port)) = hidden(&survey.launches, &survey.services) {
        let text = format!(
            "{} listens on {port} in its container, which this machine does not reach: publish the port, or name the service that passes requests on to it",
            service.place()
        );
        result.draft.note("api.url", text);
    }
    let mut answered: Option<(Candidate, Option<(SubmitOperation, String)>)> = None;
    let mut others = Vec::new();
    for candidate in candidates {
        let asked = own(survey, &candidate, result).await;
        if let ApiAnswer::Document(_, at) = &asked {
            result.contacted.push(format!("{at} answered"));
        }
        let better = answered
            .as_ref()
            .is_none_or(|(_, document)| document.is_none() && matches!(asked, ApiAnswer::Document(..)));
        let found = match asked {
            ApiAnswer::Document(api, at) => Some((*api, at)),
            _ => None,
        };
        if better {
            if let Some((old, _)) = answered.replace((candidate, found)) {
                others.push(old);
            }
        } else {
            others.push(candidate);
        }
    }
    let draft = &mut result.draft;
    let mut document = None;
    if let Some((best, found)) = answered {
        draft.set(
            "api.url",
            format!("http://localhost:{}", best.port),
            best.place.clone(),
        );
        for other in others {
            draft.note(
                "api.url",
                format!("also seen: port {} in {}", other.port, other.place),
            );
        }
        started(survey, result, &best);
        document = found;
    }
    let document = document.or_else(|| {
        survey.project.openapi.iter().find_map(|file| {
            let parsed: Json = serde_json::from_str(&file.text)
                .ok()
                .or_else(|| serde_saphyr::from_str(&file.text).ok())?;
            Some((openapi::read(&parsed)?, file.place.clone()))
        })
    });
    by_hand(survey, document.as_ref().map(|(api, _)| api), result);
    match document {
        Some((api, place)) => submission(result, api, &place),
        None => {
            for (route, place) in survey.code.routes.iter().take(6) {
                let text = format!(
                    "seen: a POST route \"{route}\" in {place}; a router may have a prefix that was not seen"
                );
                result.draft.note("api.submit_path", text);
            }
            if !survey.code.routes.is_empty() {
                let text = "start the API and run `taskdiag init --print`: its openapi.json tells the rest";
                result.draft.note("api.submit_path", text);
            }
        }
    }
    if result.draft.has("api.url") {
        let words = ["api", "uvicorn", "gunicorn", "web", "server", "app"];
        API.set_log_named(&words, survey, &mut result.draft);
    }
}

/// What this project's API says; a stranger that listens where it would is not asked, and one that cannot be told
/// apart must know a route of this code.
async fn own(survey: &Survey, candidate: &Candidate, result: &mut InitResult) -> ApiAnswer {
    let port = candidate.port;
    if !candidate.is_own
        && let Some(who) = running::stranger(port, &survey.project.root)
    {
        let text = format!("port {port} is in use, but not by this project ({who}): it was not asked");
        result.draft.note("api.url", text.clone());
        result.complaints.push(text);
        return ApiAnswer::Nobody;
    }
    let asked = ask(port).await;
    let ApiAnswer::Document(api, at) = &asked else {
        return asked;
    };
    let known = |path: &String| {
        survey.code.routes.iter().any(|(route, _)| {
            let route = route.trim_end_matches('/');
            !route.is_empty() && path.trim_end_matches('/').ends_with(route)
        })
    };
    let is_known = known(&api.submit_path) || api.also.iter().any(known);
    if candidate.is_own || is_known {
        return asked;
    }
    let text =
        format!("{at} answered, but it knows no route of this code: it is not taken for this project's API");
    result.draft.note("api.url", text.clone());
    result.complaints.push(text);
    ApiAnswer::Nobody
}

fn candidates(survey: &Survey) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |port: u16, place: String, is_own: bool| {
        if found.iter().all(|known| known.port != port) {
            found.push(Candidate { port, place, is_own });
        }
    };
    let mut servers: Vec<_> = survey
        .running
        .iter()
        .filter(|running| running.is_server())
        .collect();
    servers.sort_by_key(|running| !running.launch.is_server());
    for running in servers {
        for port in &running.ports {
            add(
                *port,
                format!("{}, which listens there", running.launch.place),
                true,
            );
        }
    }
    for launch in survey.launches.iter().filter(|launch| launch.is_server()) {
        let Some(port) = launch.port() else { continue };
        match survey
            .services
            .iter()
            .find(|service| service.place() == launch.place)
        {
            Some(service) => {
                if let Some(port) = service.published(port) {
                    add(port, launch.place.clone(), false);
                }
            }
            None => add(port, launch.place.clone(), false),
        }
    }
    for post in &survey.posts {
        if let Some(port) = post.port {
            add(port, format!("{}, a curl command", post.place), false);
        }
    }
    let hidden = hidden(&survey.launches, &survey.services);
    if let Some((server, _)) = hidden {
        let is_other = |service: &&Service| service.name != server.name && !service.is_store();
        for other in survey.services.iter().filter(is_other) {
            let place = format!("{}, which may pass on to service {}", other.place(), server.name);
            other
                .ports
                .iter()
                .for_each(|port| add(port.published, place.clone(), false));
        }
    }
    if found.is_empty()
        && hidden.is_none()
        && let Some(place) = &survey.code.fastapi
    {
        found.push(Candidate {
            port: 8000,
            place: format!("{place} (FastAPI), uvicorn's default port"),
            is_own: false,
        });
    }
    found.truncate(6);
    found
}

enum ApiAnswer {
    Document(Box<SubmitOperation>, String),
    /// It answers, and tells nothing of tasks.
    Unrelated,
    Nobody,
}

async fn ask(port: u16) -> ApiAnswer {
    let Ok(client) = http::client(&Tls::default(), WITHIN) else {
        return ApiAnswer::Nobody;
    };
    let mut answer = ApiAnswer::Nobody;
    for path in DOCUMENTS {
        let url = format!("http://localhost:{port}{path}");
        let Ok(response) = client.get(&url).send().await else {
            return answer;
        };
        let document: Option<Json> = match response.status().is_success() {
            // A page of many megabytes is no such document.
            true => {
                let body = http::body(response, 8 << 20).await;
                body.ok().and_then(|body| serde_json::from_slice(&body).ok())
            }
            false => None,
        };
        if let Some(api) = document.as_ref().and_then(openapi::read) {
            return ApiAnswer::Document(Box::new(api), url);
        }
        answer = ApiAnswer::Unrelated;
    }
    answer
}

/// What people post by hand is what starts the right work: it goes before an example of the schema, where the two
/// agree on the path or nothing else is known.
fn by_hand(survey: &Survey, api: Option<&SubmitOperation>, result: &mut InitResult) {
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

fn submission(result: &mut InitResult, api: SubmitOperation, place: &str) {
    let draft = &mut result.draft;
    draft.set("api.submit_path", api.submit_path.clone(), place);
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
        draft.note(
            "api.login",
            format!("needed: {place} asks for {}", api.security.join(", ")),
        );
    }
    let body_key = if api.is_form { "api.form" } else { "api.body" };
    if let Some(body) = api.body {
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
        let made_up: Vec<&str> = api
            .made_up
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
        draft.note(
            "api.headers",
            format!("needed: {place} asks for {}", api.security.join(", ")),
        );
    }
}

/// A `${` in an example is text, not a variable.
fn escaped(value: &Json) -> Json {
    match value {
        Json::String(text) => json!(super::write::literal(text)),
        Json::Array(items) => items.iter().map(escaped).collect(),
        Json::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), escaped(value)))
            .collect(),
        other => other.clone(),
    }
}

/// How the API that was chosen is started.
fn started(survey: &Survey, result: &mut InitResult, best: &Candidate) {
    let draft = &mut result.draft;
    if let Some(running) = survey
        .running
        .iter()
        .find(|running| running.is_server() && running.ports.contains(&best.port))
    {
        API.set_from(running, survey, draft);
        return;
    }
    let Some(launch) = survey.launches.iter().find(|launch| launch.place == best.place) else {
        return;
    };
    match survey
        .services
        .iter()
        .find(|service| service.place() == launch.place)
    {
        Some(service) => API.set_service(service, survey, draft),
        None => {
            draft.set("api.command", launch.bare(), launch.place.clone());
            survey.environment(draft, "api.python", &launch.folder);
            if !launch.folder.is_empty() {
                draft.set("api.cwd", launch.folder.clone(), launch.place.clone());
            }
        }
    }
}
