//! What the code says of where tasks are submitted, if no document of the API does: its routes, what is read of their
//! requests, and what they send.

use serde_json::{Map, Value as Json, json};

use super::super::toml::escaped;
use super::super::{InitResult, Survey, openapi, work};
use super::submission;
use crate::python::{Actor, BodyKind, Function, RequestField, SendingSite, example};

pub fn fill(survey: &Survey, result: &mut InitResult) {
    let code = &survey.code;
    let chosen = code.actors.first().filter(|actor| actor.sent);
    let (mut posts, others): (Vec<_>, Vec<_>) = code.sites.iter().partition(|site| site.is_posted());
    let is_told = result.draft.has("api.submit_path");
    // That sends the actor which is followed, at a path that sounds like it.
    posts.sort_by_key(|site| {
        let sends_it = chosen.is_some_and(|actor| actor.function == site.sends);
        let path = site.route.as_ref().map_or("", |(_, path)| path.as_str());
        (
            work::ends_work(path),
            !sends_it,
            path.contains('{'),
            !work::is_work(path),
        )
    });
    if let (Some(site), false) = (posts.first(), is_told) {
        posted(survey, result, site);
    }
    let drafted = result.draft.text("api.submit_path").map(str::to_owned);
    let routes = code.routes.iter().filter(|route| route.is_post());
    for route in routes
        .filter(|route| {
            let asked = drafted.as_deref().unwrap_or_default();
            asked.split('?').next() != Some(route.path.as_str())
        })
        .take(6)
    {
        let text = format!("seen: a POST route \"{}\" in {}", route.path, route.said());
        result.draft.note("api.submit_path", text);
    }
    let mut said = 0;
    for site in others.iter().take(6) {
        let what = match &site.route {
            Some((method, path)) => format!("{method} {path} ({})", site.place),
            None => format!("`{}` ({})", site.function, site.place),
        };
        let text = format!("{what} sends `{}`", site.sends);
        // taskdiag sends POSTs: whoever has another way must be told so at once.
        if site.route.is_some() && posts.is_empty() && said < 2 && chosen.is_some() {
            said += 1;
            result.complaints.push(format!(
                "{text}: taskdiag submits by POST, so name a command that asks for it in [submit], or follow one that was sent: `taskdiag diagnose --task ID`"
            ));
        }
        result.draft.note("api.submit_path", format!("seen: {text}"));
    }
    if code.fastapi.is_some() && code.routes.iter().any(|route| route.is_post()) {
        let text = "start the API and run `taskdiag init --print`: its openapi.json tells the rest";
        result.draft.note("api.submit_path", text);
    }
}

/// A route that sends a task by POST.
fn posted(survey: &Survey, result: &mut InitResult, site: &SendingSite) {
    let (Some((_, path)), Some(handler)) = (&site.route, &site.handler) else {
        return;
    };
    result.guesses.push("api.submit_path");
    let from = format!("{}, which leads to `{}`", site.route_place, site.sends);
    let draft = &mut result.draft;
    if handler.query.is_empty() {
        draft.guess("api.submit_path", path.clone(), from.clone());
    } else {
        let names: Vec<String> = handler.query.iter().map(|field| field.path.join(".")).collect();
        let text = format!(
            "made up, so check that it starts the right work: {} behind the `?`, which `{}` takes",
            names.join(", "),
            handler.name
        );
        draft.note("api.submit_path", text);
        let whole = format!("{path}?{}", crate::python::query(&handler.query));
        draft.guess("api.submit_path", whole, from.clone());
    }
    if let Some((path, pointer)) = &site.status {
        draft.guess("api.status_path", path.clone(), "the code's route beside it");
        if let Some(pointer) = pointer {
            draft.guess(
                "api.status_pointer",
                pointer.clone(),
                "the field that this route answers",
            );
        }
    }
    // At the top the usual names are tried.
    let is_id = |pointer: &&String| {
        let name = pointer.rsplit('/').next().unwrap_or_default();
        pointer.matches('/').count() > 1 && openapi::is_task_id(name)
    };
    if let Some(pointer) = handler.answers.iter().find(is_id) {
        draft.guess(
            "api.task_id_pointer",
            pointer.clone(),
            format!("{}, `{}`: the field that it answers", handler.file, handler.name),
        );
    }
    let names: Map<String, Json> = path
        .split('{')
        .skip(1)
        .filter_map(|part| Some((part.split_once('}')?.0.to_owned(), json!("1"))))
        .collect();
    if !names.is_empty() {
        draft.note(
            "api.path",
            "made up: what stands there has to exist, so look it up",
        );
        draft.guess("api.path", Json::Object(names), from);
        result.guesses.push("api.path");
    }
    if survey.code.is_behind_csrf() && !handler.is_csrf_exempt {
        result.draft.note(
            "api.submit_path",
            "Django answers 403 to a form without its token: name the page that shows the form in `csrf_path`, or mark the view `csrf_exempt`",
        );
    }
    let mut actors = survey.code.actors.iter();
    let actor = actors.find(|actor| actor.function == site.sends);
    body(survey, result, handler, actor);
}

/// The body as the handler reads it.
fn body(survey: &Survey, result: &mut InitResult, handler: &Function, actor: Option<&Actor>) {
    let draft = &mut result.draft;
    if ["api.body", "api.form"].iter().any(|key| draft.has(key)) {
        return;
    }
    let place = format!("{}, `{}`", handler.file, handler.name);
    let is_given = survey.code.fastapi.is_some() && !handler.unread.is_empty();
    let needed: Vec<&RequestField> = handler.body.iter().filter(|field| !field.has_default).collect();
    let (files, fields): (Vec<_>, Vec<_>) =
        needed.into_iter().partition(|field| field.kind == BodyKind::File);
    let names: Vec<String> = files.iter().map(|field| field.path.join(".")).collect();
    submission::files(result, &names, &format!("needed: {place} reads"));
    let draft = &mut result.draft;
    if handler.reads_more || is_given {
        draft.note(
            "api.body",
            format!("{place} takes the body as a whole: what it has to hold was not followed"),
        );
    }
    if fields.is_empty() {
        if !handler.reads_more && !is_given {
            draft.note("api.body", format!("{place}: the route takes none"));
            draft.spare("api.body");
        }
        return;
    }
    let is_form = !files.is_empty() || fields.iter().all(|field| field.kind == BodyKind::Form);
    let key = if is_form { "api.form" } else { "api.body" };
    // Named as the actor's parameter it is what that takes.
    let typed = |name: &str| {
        let mut parameters = actor?.parameters.iter();
        let parameter = parameters.find(|parameter| parameter.name == name)?;
        crate::python::of_type(&parameter.annotation)
    };
    let (mut body, made_up) = example(&fields, typed);
    if is_form && let Some(fields) = body.as_object_mut() {
        // Of a form each value is a text.
        for value in fields.values_mut().filter(|value| !value.is_string()) {
            *value = json!(value.to_string());
        }
    }
    if !made_up.is_empty() {
        let text = format!(
            "made up, so check that it starts the right work: {}",
            made_up.join(", ")
        );
        draft.note(key, text);
    }
    draft.guess(key, escaped(&body), format!("{place}, which reads it"));
    result.guesses.push(key);
}
