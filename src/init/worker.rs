//! Fills `[worker]` and what `[broker]` says of queue and actor.

use serde_json::{Value as Json, json};

use super::program::WORKER;
use super::toml::literal;
use super::{Draft, InitResult, Survey};
use crate::python::{self, Actor, Parameter, SendingSite};

pub fn fill(survey: &Survey, result: &mut InitResult) {
    running(survey, result);
    written(survey, result);
    guessed(survey, result);
    WORKER.set_log_named(&["worker", survey.framework.name], survey, &mut result.draft);
    actor(survey, result);
}

fn running(survey: &Survey, result: &mut InitResult) {
    let draft = &mut result.draft;
    for running in survey.running.iter().filter(|running| running.is_worker()) {
        let place = &running.launch.place;
        if draft.has("worker.command") {
            draft.note("worker.command", format!("also seen: {place}"));
            continue;
        }
        WORKER.set_from(running, survey, draft);
        for mistake in running.launch.mistakes() {
            draft.note("worker.command", mistake.clone());
            result.complaints.push(format!("{place}: {mistake}"));
        }
        if let Some(path) = running.import_path(&survey.project.root) {
            draft.set("worker.env", json!({ "PYTHONPATH": path }), place.clone());
        }
    }
}

fn written(survey: &Survey, result: &mut InitResult) {
    let draft = &mut result.draft;
    for launch in survey.launches.iter().filter(|launch| launch.is_worker()) {
        let service = survey
            .services
            .iter()
            .find(|service| service.place() == launch.place);
        let (launch, dropped) = launch.without_shell();
        let folder = survey.folder_of_command(&launch);
        if service.is_none() && folder.is_none() && !launch.is_django() {
            continue;
        }
        // Nothing is left to say what it runs.
        if !dropped.is_empty() && launch.modules().is_empty() && !launch.is_django() {
            let text = format!(
                "{} starts a worker with what a shell fills in: {}",
                launch.place,
                dropped.join(", ")
            );
            draft.note("worker.command", text);
            continue;
        }
        if draft.has("worker.command") {
            draft.note("worker.command", format!("also seen: {}", launch.place));
            continue;
        }
        draft.set("worker.command", launch.bare(), launch.place.clone());
        if !dropped.is_empty() {
            let text = format!("left out, since a shell fills it in: {}", dropped.join(", "));
            draft.note("worker.command", text);
        }
        for mistake in launch.mistakes() {
            draft.note("worker.command", mistake.clone());
            result.complaints.push(format!("{}: {mistake}", launch.place));
        }
        if let Some(service) = service {
            WORKER.set_service(service, survey, draft);
        }
        if let Some((folder, is_sure)) = folder {
            survey.environment(draft, "worker.python", &folder);
            if !folder.is_empty() && !launch.has_folder() {
                let from = format!("{}: what it starts is there", launch.place);
                match is_sure {
                    true => draft.set("worker.cwd", folder, from),
                    false => draft.guess("worker.cwd", folder, from),
                }
            }
        }
    }
    let worker = &survey.framework.worker;
    if let Some(Json::Array(words)) = draft.value("worker.command")
        && !words.iter().any(|word| {
            word.as_str()
                .is_some_and(|word| worker.telling_flags.contains(&word))
        })
    {
        draft.note("worker.command", worker.without_flags);
    }
}

fn guessed(survey: &Survey, result: &mut InitResult) {
    let worker = &survey.framework.worker;
    let modules = may_start(survey);
    let draft = &mut result.draft;
    // A command may stand where it was not read: a guess must not take its place.
    let unread = survey.services.iter().find_map(|service| {
        let extends = service.unread.as_ref().filter(|_| service.command.is_empty())?;
        Some((service.place(), extends))
    });
    if let (false, Some((place, extends))) = (draft.has("worker.command"), unread) {
        let text = format!("{place} extends {extends}, which was not read: the command may stand there");
        draft.note("worker.command", text);
        if let Some((module, _)) = modules.first() {
            draft.suggest("worker.command", json!(worker.start_with(module)));
        }
        return;
    }
    let django = survey.framework.source.django.as_ref();
    let package = django.filter(|_| survey.code.is_django && !draft.has("worker.command"));
    if let Some((package, name)) = package.and_then(|package| Some((package, package.command?))) {
        // The framework's own program would lack Django's setup.
        let command = ["python", "manage.py", name];
        let place = format!(
            "{} is among the code's apps: no command for it was read",
            package.app
        );
        draft.guess("worker.command", json!(command), place);
        if let Some(folder) = survey.folder_of_manage("").filter(|folder| !folder.is_empty()) {
            draft.guess("worker.cwd", folder, "manage.py is there");
        }
    }
    for (module, why) in modules.iter().take(6) {
        if draft.has("worker.command") {
            break;
        }
        draft.guess(
            "worker.command",
            json!(worker.start_with(module)),
            format!("{why}: no command for it was read"),
        );
        let own = survey
            .project
            .python
            .iter()
            .find(|file| why.starts_with(file.place.as_str()));
        let path = format!("{}.py", module.replace('.', "/"));
        let own = own.and_then(|file| {
            let place = file.place.as_str();
            let package = path.trim_end_matches(".py");
            let before = place
                .find(package)
                .filter(|at| *at == 0 || place[..*at].ends_with('/'))?;
            Some(place[..before].trim_end_matches('/'))
        });
        if let Some(folder) = survey.folder_of(module, own.unwrap_or_default()) {
            survey.environment(draft, "worker.python", &folder);
            if !folder.is_empty() {
                draft.guess("worker.cwd", folder, "the module is there");
            }
        }
    }
}

/// What a worker may be started with, best first, each with the reason.
fn may_start(survey: &Survey) -> Vec<(String, String)> {
    if survey.framework.source.application.is_none() {
        return survey.code.modules.clone();
    }
    let made = survey.code.applications.iter();
    // A module that is called as the framework is hides it.
    made.filter(|application| application.module != survey.framework.source.module)
        .map(|application| (application.module.clone(), application.place.clone()))
        .collect()
}

fn actor(survey: &Survey, result: &mut InitResult) {
    let draft = &mut result.draft;
    let actors = &survey.code.actors;
    // Of several applications in one folder the worker's own comes first.
    let package = draft
        .value("worker.command")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .rfind(|word| survey.folder_of(word, "").is_some())
        .and_then(|module| module.split('.').next())
        .map(str::to_owned);
    let own = |actor: &&Actor| {
        let module = package.as_deref().unwrap_or_default();
        actor.module.split('.').any(|part| part == module)
    };
    let mut ordered: Vec<&Actor> = actors.iter().filter(own).collect();
    let all: Vec<&Actor> = actors.iter().collect();
    // What nothing sends is not meant while something else is sent.
    let any_sent = all.iter().any(|actor| actor.sent);
    let chosen = python::only(&all).or_else(|| {
        let of_worker = python::only(&ordered);
        of_worker.filter(|actor| actor.sent || !any_sent)
    });
    // Where the code does not say which one is meant, it is the one that the drafted route sends.
    let by_route = match chosen {
        Some(_) => None,
        None => sent_by_the_route(survey, draft.text("api.submit_path")),
    };
    ordered.extend(actors.iter().filter(|actor| !own(actor)));
    ordered.sort_by_key(|actor| Some(*actor) != by_route);
    let is_sure = chosen.is_some();
    let is_guess = by_route.is_some() || survey.code.complaint.is_some();
    let chosen = chosen.or(by_route);
    for actor in ordered.iter().copied().take(12) {
        if chosen != Some(actor) {
            draft.note(
                "broker.actor",
                format!("also seen: {} ({})", actor.name, actor.place),
            );
        }
    }
    super::queue::fill(survey, chosen, is_sure, &ordered, result);
    let draft = &mut result.draft;
    let Some(actor) = chosen else {
        return;
    };
    if let Some(expression) = &actor.computed {
        let option = survey.framework.source.name_option;
        let text = format!("computed: {option}={expression} in {}", actor.place);
        draft.need("broker.actor", text);
        return;
    }
    // A worker that is started there finds the module by that name.
    let cwd = draft
        .text("worker.cwd")
        .map_or_else(String::new, |cwd| format!("{cwd}/"));
    let module = actor.name.strip_suffix(&format!(".{}", actor.function));
    let path = module.map(|module| format!("{cwd}{}.py", module.replace('.', "/")));
    let is_started = draft.has("worker.command") && !draft.is_guess("worker.command");
    let is_there = path.is_some_and(|path| actor.place.starts_with(&format!("{path} line ")));
    if actor.is_sure || (is_started && is_there) {
        let name = literal(&actor.name);
        match is_guess {
            false => draft.set("broker.actor", name, actor.place.clone()),
            // Another one is sent elsewhere, or may stand in what was not read.
            true => draft.guess("broker.actor", name, actor.place.clone()),
        }
    } else {
        draft.suggest("broker.actor", literal(&actor.name));
        draft.note(
            "broker.actor",
            format!(
                "{}: it is called after its module, and by which name that is imported is not clear",
                actor.place
            ),
        );
    }
    told_by(actor, draft);
}

/// What the actor itself says: its arguments, and what it logs first.
fn told_by(actor: &Actor, draft: &mut Draft) {
    match arguments(&actor.parameters) {
        Some((kwargs, true)) => draft.set(
            "broker.kwargs",
            kwargs,
            format!("{}, its parameters; the values are made up", actor.place),
        ),
        Some((kwargs, false)) => {
            draft.suggest("broker.kwargs", kwargs);
            draft.note(
                "broker.kwargs",
                format!("{}: of which type the id is stands nowhere there", actor.place),
            );
        }
        None => {}
    }
    if let Some((words, place)) = &actor.entry {
        draft.set(
            "worker.entry_pattern",
            literal(&regex::escape(words)),
            format!("{place}, the first thing that the actor logs"),
        );
    }
}

/// The only actor that the route at this path sends.
fn sent_by_the_route<'a>(survey: &'a Survey, path: Option<&str>) -> Option<&'a Actor> {
    let path = path?.split('?').next()?;
    let leads = |site: &&SendingSite| site.route.as_ref().is_some_and(|(_, route)| route == path);
    let mut sites = survey.code.sites.iter().filter(leads);
    let first = sites.next()?;
    let mut actors = survey
        .code
        .actors
        .iter()
        .filter(|actor| actor.function == first.sends);
    let actor = actors.next().filter(|_| actors.next().is_none())?;
    sites.all(|site| site.sends == first.sends).then_some(actor)
}

/// Arguments that fit the parameters, and whether the types of ids are known; `None` where a fresh id cannot stand for
/// one.
fn arguments(parameters: &[Parameter]) -> Option<(Json, bool)> {
    let mut is_typed = true;
    let mut map = serde_json::Map::new();
    let is_id = |name: &str| matches!(name, "task_id" | "job_id" | "id" | "taskid" | "run_id" | "uuid");
    for parameter in parameters.iter().filter(|parameter| !parameter.has_default) {
        let kind = parameter
            .annotation
            .split(['[', '|', ' '])
            .next()
            .unwrap_or_default();
        let value = match kind {
            "int" if is_id(&parameter.name) => return None,
            _ if is_id(&parameter.name) => json!("{task_id}"),
            "int" => json!(1),
            "float" => json!(1.0),
            "bool" => json!(false),
            "dict" | "Dict" | "Mapping" => json!({}),
            "list" | "List" | "Sequence" | "tuple" => json!([]),
            _ => json!("taskdiag"),
        };
        is_typed &= !is_id(&parameter.name) || !kind.is_empty();
        map.insert(parameter.name.clone(), value);
    }
    map.values()
        .any(|value| value == "{task_id}")
        .then_some((Json::Object(map), is_typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_fit_the_parameters() {
        let parameter = |name: &str, annotation: &str, has_default| Parameter {
            by_keyword: false,
            name: name.into(),
            annotation: annotation.into(),
            has_default,
        };
        let all = [
            parameter("task_id", "str", false),
            parameter("data", "dict[str, Any]", false),
            parameter("deep", "bool", true),
        ];
        let fitting = json!({"task_id": "{task_id}", "data": {}});
        assert_eq!(arguments(&all), Some((fitting, true)));
        // It may be a number, and then a text would be poison.
        let plain = arguments(&[parameter("job_id", "", false)]);
        assert_eq!(plain, Some((json!({"job_id": "{task_id}"}), false)));
        assert_eq!(arguments(&[parameter("job_id", "int", false)]), None);
        assert_eq!(arguments(&[parameter("name", "str", false)]), None);
    }
}
