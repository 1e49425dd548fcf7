//! The application's HTTP API: the submission, and what it says of the task afterwards.

mod answers;
mod form;
mod routes;
mod session;

use std::time::{Duration, Instant};

use reqwest::header::LOCATION;
use secrecy::ExposeSecret;
use serde_json::Value as Json;

use super::{Phases, Tap, Watched};
use crate::config::{Api, Config};
use crate::error::{Result, Unavailable};
use crate::http::{self, NoBody};
use crate::timeline::{EventKind, NoAnswer};
use crate::vantage::process::command::masked;
use answers::answers;
pub use session::Opened;
use session::Session;

/// Names under which APIs answer a task id, most usual first.
const USUAL: &[&str] = &[
    "/task_id",
    "/taskId",
    "/id",
    "/data/task_id",
    "/data/id",
    "/task/id",
    "/task/task_id",
    "/job_id",
    "/jobId",
    "/result/task_id",
    "/result/id",
    "/uuid",
];

/// How a submission went.
#[derive(Debug, Clone)]
pub enum Submission {
    Answered {
        status: u16,
        latency_ms: f64,
        task_id: Option<String>,
        body: String,
        location: Option<String>,
        candidates: Vec<String>,
        /// After a 404 or 405: the paths that take a POST, as the API's own document has them.
        routes: Vec<String>,
    },
    NotAnswered {
        why: NoAnswer,
        error: String,
        latency_ms: f64,
    },
}

/// What a port answers that does not speak TLS is no record of TLS.
pub fn is_no_tls(seen: &str) -> bool {
    seen.to_lowercase().contains("corrupt message")
}

/// Reports whether the API answers at all, then the task's status as the API has it.
pub async fn watch(
    config: &Config,
    look_only: bool,
    post_mortem: bool,
    tap: Tap,
    mut phases: Phases,
) -> Watched {
    let Some(api) = &config.api else {
        if let (Some(submit), false) = (&config.submit, post_mortem) {
            tap.watching(format!(
                "runs {}",
                masked(submit.program.command.clone()).join(" ")
            ));
            phases.ending().await;
            tap.looked();
            return Ok(());
        }
        return Err(
            Unavailable::new("no API is configured").hint("add [api] url and submit_path to taskdiag.toml")
        );
    };
    let client = http::client(&api.tls, api.timeout)?;
    if look_only {
        answers(&client, api).await?;
        session::try_out(api).await?;
    }
    match (&api.status_path, post_mortem) {
        (None, true) => {
            return Err(
                Unavailable::new("no status_path is configured, and nothing is submitted")
                    .hint("add [api] status_path = \"/api/v1/tasks/{task_id}\""),
            );
        }
        (None, false) if config.submit.is_none() => {
            tap.watching(format!("POST {}", endpoint(api, &api.submit_path)))
        }
        (None, false) => tap.watching("runs submit.command"),
        (Some(path), _) if config.submit.is_some() => {
            tap.watching(format!("runs submit.command, GET {path}"))
        }
        (Some(path), _) => tap.watching(format!("POST {}, GET {path}", endpoint(api, &api.submit_path))),
    }
    let mut session = None;
    let mut last = None;
    let mut silent = false;
    let mut asked_final = false;
    loop {
        let phase = phases.now();
        if phase.stop {
            return Ok(());
        }
        if let (Some(path), Some(task_id), false) = (&api.status_path, &phase.task_id, phase.unnamed) {
            let asked = tap.now_ms();
            if session.is_none() {
                // Once: a login that fails is not tried each second.
                session = Some(match session::open(api, false).await {
                    Ok(Opened::Ready(session)) => session,
                    Ok(Opened::NotAnswered(..)) => Session::default(),
                    Err(error) => {
                        tap.partial(error.to_string());
                        Session::default()
                    }
                });
            }
            let seen = match &session {
                Some(session) => status(&client, api, session, path, task_id).await,
                None => None,
            };
            // Whoever compares with what it said last has to know that it says nothing more.
            if seen.is_none() != silent {
                silent = seen.is_none();
                match silent {
                    true => tap.partial(format!("GET {path} is not answered")),
                    false => tap.watching(format!("GET {path} is answered again")),
                }
            }
            let latency_ms = Some(((tap.now_ms() - asked) * 1000.0).round() / 1000.0);
            // What the API says once the row is final is told even if it is nothing new.
            let news = seen != last || (phase.row_final && !asked_final);
            asked_final |= phase.row_final;
            if seen.is_some() && news {
                if let Some((http_status, value)) = seen.clone() {
                    tap.see(EventKind::ApiStatus {
                        http_status,
                        latency_ms,
                        value,
                    });
                }
                last = seen;
            }
        }
        if phase.last_look {
            tap.looked();
            return Ok(());
        }
        let every = if phase.lively { 200 } else { 1000 };
        phases.pause(Duration::from_millis(every)).await;
    }
}

async fn status(
    client: &reqwest::Client,
    api: &Api,
    session: &Session,
    path: &str,
    task_id: &str,
) -> Option<(u16, Option<String>)> {
    let url = join(api, &path.replace("{task_id}", &http::segment(task_id)));
    let response = session.sign(client.get(url), api).send().await.ok()?;
    let status = response.status().as_u16();
    let body = http::body(response, http::ANSWER).await.ok()?;
    let body: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    Some((status, body.pointer(&api.status_pointer).and_then(as_text)))
}

fn endpoint(api: &Api, path: &str) -> String {
    let mut url = api.url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    join_url(&url, path)
}

fn join(api: &Api, path: &str) -> String {
    join_url(&api.url, path)
}

fn join_url(base: &url::Url, path: &str) -> String {
    format!(
        "{}/{}",
        base.as_str().trim_end_matches('/'),
        path.trim_start_matches('/')
    )
}

fn with_headers(mut request: reqwest::RequestBuilder, api: &Api) -> reqwest::RequestBuilder {
    for (name, value) in &api.headers {
        request = request.header(name, value.expose_secret());
    }
    request
}

/// Logs in where that is configured, posts the task, and reports both the leaving request and the answer.
pub async fn submit(api: &Api, opened: Opened, tap: &Tap) {
    tap.see(EventKind::Submitting {
        method: "POST".into(),
        url: endpoint(api, &api.submit_path),
    });
    tap.see(match post(api, opened).await {
        Submission::Answered {
            status,
            latency_ms,
            task_id,
            body,
            location,
            candidates,
            routes,
        } => EventKind::Answered {
            status,
            latency_ms,
            new_id: task_id.as_ref().is_some_and(|id| !is_in_the_request(api, id)),
            task_id,
            body,
            location,
            candidates,
            routes,
        },
        Submission::NotAnswered {
            why,
            error,
            latency_ms,
        } => EventKind::NotAnswered {
            why,
            error,
            latency_ms,
        },
    });
}

/// The caller named the task himself, and may have done so before.
fn is_in_the_request(api: &Api, id: &str) -> bool {
    let headers = api.headers.iter().map(|(_, value)| value.expose_secret());
    let mut texts = headers.chain([api.url.as_str(), api.submit_path.as_str()]);
    texts.any(|text| text.contains(id)) || api.body.to_string().contains(id)
}

/// Whatever has to come before the submission.
pub async fn open(api: &Api) -> Result<Opened> {
    session::open(api, true).await
}

/// Logs in and posts the task once.
pub async fn submit_once(api: &Api) -> Result<Submission> {
    Ok(post(api, open(api).await?).await)
}

/// Posts the task once. A redirect is followed where it keeps method and body (307, 308, same
/// origin only: the headers may be credentials); any other is an answer.
async fn post(api: &Api, opened: Opened) -> Submission {
    let began = Instant::now();
    let latency_ms = || (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let not_answered = |why, error| Submission::NotAnswered {
        why,
        error,
        latency_ms: latency_ms(),
    };
    let session = match opened {
        Opened::Ready(session) => session,
        Opened::NotAnswered(why, error) => return not_answered(why, error),
    };
    let client = match http::client(&api.tls, api.timeout) {
        Ok(client) => client,
        Err(blindness) => {
            let why = crate::limits::reached().map_or(NoAnswer::Tls, |_| NoAnswer::OwnLimit);
            return not_answered(why, blindness.reason);
        }
    };
    let mut url = join(api, &api.submit_path);
    for _ in 0..4 {
        let request = session.with_body(session.post(client.post(&url), api), api);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let (why, text) = http::no_answer(error);
                return not_answered(why, text);
            }
        };
        let status = response.status().as_u16();
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        if let (307 | 308, Some(target)) = (status, &location)
            && let Ok(next) = response.url().join(target)
            && next.origin() == response.url().origin()
        {
            url = next.to_string();
            continue;
        }
        let body = match http::body(response, http::ANSWER).await {
            Ok(body) => String::from_utf8_lossy(&body).into_owned(),
            Err(NoBody::TooLong(text)) => return not_answered(NoAnswer::Broken, text),
            Err(NoBody::Broken(error)) => {
                let (why, text) = http::no_answer(error);
                return not_answered(why, text);
            }
        };
        let parsed: Json = serde_json::from_str(&body).unwrap_or(Json::Null);
        let ok = (200..300).contains(&status);
        let task_id = if ok {
            find_task_id(&parsed, api.task_id_pointer.as_deref())
        } else {
            None
        };
        let latency_ms = latency_ms();
        let routes = match status {
            404 | 405 => routes::posts(&client, api).await,
            _ => Vec::new(),
        };
        return Submission::Answered {
            status,
            latency_ms,
            routes,
            candidates: if ok && task_id.is_none() {
                candidates(&parsed)
            } else {
                Vec::new()
            },
            task_id,
            body: session.hide(body),
            location: location.map(|location| session.hide(location)),
        };
    }
    not_answered(NoAnswer::Broken, "more than 4 redirects".into())
}

fn as_text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The id at the pointer, or under one of the usual names.
fn find_task_id(body: &Json, pointer: Option<&str>) -> Option<String> {
    match pointer {
        Some(pointer) => body.pointer(pointer).and_then(as_text),
        None => USUAL
            .iter()
            .filter(|pointer| !is_of_the_call(body, pointer))
            .find_map(|pointer| body.pointer(pointer).and_then(as_text)),
    }
}

/// JSON-RPC's own id is the number of the call, which the client has chosen.
fn is_of_the_call(body: &Json, pointer: &str) -> bool {
    pointer == "/id" && body.get("jsonrpc").is_some()
}

/// Pointers to what might be the id: a leaf whose name ends in `id`.
fn candidates(body: &Json) -> Vec<String> {
    fn walk(value: &Json, at: &str, found: &mut Vec<String>) {
        match value {
            Json::Object(map) => {
                for (name, inner) in map {
                    let here = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                    if as_text(inner).is_some() && name.to_lowercase().ends_with("id") {
                        found.push(here.clone());
                    }
                    walk(inner, &here, found);
                }
            }
            Json::Array(items) => {
                for (index, inner) in items.iter().take(3).enumerate() {
                    walk(inner, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(body, "", &mut found);
    found.retain(|pointer| !is_of_the_call(body, pointer));
    found.truncate(5);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_id_is_found_where_apis_put_it() {
        assert_eq!(
            find_task_id(&json!({"data": {"id": 7}}), None).as_deref(),
            Some("7")
        );
        assert_eq!(find_task_id(&json!({"task_id": "a"}), Some("/job")), None);
        assert_eq!(find_task_id(&json!({"status": "ok"}), None), None);
        let called = json!({"jsonrpc": "2.0", "id": 1, "result": {"ticket": "a", "requestId": 3}});
        assert_eq!(find_task_id(&called, None), None);
        assert_eq!(candidates(&called), ["/result/requestId"]);
        let named = json!({"jsonrpc": "2.0", "id": 1, "result": {"id": "a"}});
        assert_eq!(find_task_id(&named, None).as_deref(), Some("a"));
    }

    #[test]
    fn a_pointer_is_suggested() {
        assert_eq!(
            candidates(&json!({"meta": {"requestId": "x"}})),
            ["/meta/requestId"]
        );
    }
}
