//! Fills `[api]`: where the API answers, and how a task is submitted to it.

mod candidates;
mod routes;
mod submission;

use std::time::Duration;

use serde_json::Value as Json;

use super::launch::hidden;
use super::openapi::{self, SubmitOperation};
use super::owner::Stranger;
use super::program::API;
use super::{InitResult, Survey, running};
use crate::config::Tls;
use crate::http;
use candidates::{Candidate, candidates, configured, passes_on, ports};
use submission::{by_hand, submission};

const WITHIN: Duration = Duration::from_secs(2);

/// Where FastAPI and others serve their document.
const DOCUMENTS: &[&str] = &["/openapi.json", "/api/openapi.json", "/api/v1/openapi.json"];

pub async fn fill(survey: &Survey, result: &mut InitResult) {
    let candidates = candidates(survey);
    for served in &survey.code.server_ports {
        if let (Err(expression), None) = (&served.port, configured(survey, served)) {
            let text = format!(
                "{} takes the port from {expression}, which was not followed",
                served.place
            );
            result.draft.note("api.url", text);
        }
    }
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
        let url = format!("http://localhost:{}", best.port);
        match best.is_guess {
            true => draft.guess("api.url", url, best.place.clone()),
            false => draft.set("api.url", url, best.place.clone()),
        }
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
        None => routes::fill(survey, result),
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
        let text = format!("port {port} is in use, but not by this project ({who})");
        result.estrange(port, text);
        return ApiAnswer::Nobody;
    }
    let is_own = candidate.is_own || running::listens_from(&survey.project.root, port);
    let asked = ask(port).await;
    let ApiAnswer::Document(api, at) = &asked else {
        if !is_own && matches!(asked, ApiAnswer::Unrelated) {
            let text = format!(
                "nothing shows that what listens on port {port} is this project's: no process of this folder does, and it tells no route of this code"
            );
            result.estrange(port, text);
        }
        return asked;
    };
    let known = |path: &String| {
        survey.code.routes.iter().any(|route| {
            let route = route.path.trim_end_matches('/');
            !route.is_empty() && path.trim_end_matches('/').ends_with(route)
        })
    };
    let is_known = known(&api.submit_path) || api.also.iter().any(known);
    if is_own || is_known {
        return asked;
    }
    result.estrange(port, format!("{at} answered, but it knows no route of this code"));
    let text =
        format!("{at} answered, but it knows no route of this code: it is not taken for this project's API");
    result.draft.note("api.url", text.clone());
    result.complaints.push(text);
    ApiAnswer::Nobody
}

impl InitResult {
    fn estrange(&mut self, port: u16, why: String) {
        self.strangers.push(Stranger {
            key: "api.url",
            port,
            why,
        });
    }
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
    // What a proxy passes on is answered, and logged, behind it.
    if let Some((server, _)) = hidden(&survey.launches, &survey.services)
        && best.place.ends_with(&passes_on(server))
    {
        API.set_service(server, survey, draft);
        return;
    }
    // The place may say more, such as who publishes its port.
    let mut launches = survey.launches.iter().filter(|launch| launch.is_server());
    let Some(launch) = launches.find(|launch| best.place.ends_with(launch.place.as_str())) else {
        return;
    };
    match survey
        .services
        .iter()
        .find(|service| service.place() == launch.place)
    {
        Some(service) => API.set_service(service, survey, draft),
        None => {
            let (launch, dropped) = launch.without_shell();
            let folder = survey.folder_of_command(&launch);
            if !dropped.is_empty() {
                let text = format!("left out, since a shell fills it in: {}", dropped.join(", "));
                draft.note("api.command", text);
            }
            let is_one_of_many = ports(survey).len() > 1;
            match is_one_of_many {
                true => draft.guess("api.command", launch.bare(), launch.place.clone()),
                false => draft.set("api.command", launch.bare(), launch.place.clone()),
            }
            let (folder, is_sure) = folder.unwrap_or_default();
            survey.environment(draft, "api.python", &folder);
            if !folder.is_empty() && !launch.has_folder() {
                let from = format!("{}: what it starts is there", launch.place);
                match is_sure && !is_one_of_many {
                    true => draft.set("api.cwd", folder, from),
                    false => draft.guess("api.cwd", folder, from),
                }
            }
        }
    }
}
