//! Fills `[worker]` and what `[broker]` says of queue and actor.

use serde_json::{Value as Json, json};

use super::program::WORKER;
use super::python::{self, Actor, Parameter, QueueName};
use super::write::literal;
use super::{InitResult, Survey};

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
        let folder = launch
            .modules()
            .iter()
            .find_map(|module| survey.folder_of(module, &launch.folder));
        if service.is_none() && folder.is_none() && !launch.is_django() {
            continue;
        }
        if draft.has("worker.command") {
            draft.note("worker.command", format!("also seen: {}", launch.place));
            continue;
        }
        draft.set("worker.command", launch.bare(), launch.place.clone());
        for mistake in launch.mistakes() {
            draft.note("worker.command", mistake.clone());
            result.complaints.push(format!("{}: {mistake}", launch.place));
        }
        if let Some(service) = service {
            WORKER.set_service(service, survey, draft);
        }
        if let Some(folder) = folder {
            survey.environment(draft, "worker.python", &folder);
            if !folder.is_empty() {
                draft.set(
                    "worker.cwd",
                    folder,
                    format!("{}: the module is there", launch.place),
                );
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
            "{} is among the code's apps: a guess, no command was seen",
            package.app
        );
        draft.set("worker.command", json!(command), &place);
    }
    for (module, why) in modules.iter().take(6) {
        if draft.has("worker.command") {
            break;
        }
        draft.set(
            "worker.command",
            json!(worker.start_with(module)),
            format!("{why}: a guess, no command was seen"),
        );
        if let Some(folder) = survey.folder_of(module, "") {
            survey.environment(draft, "worker.python", &folder);
            if !folder.is_empty() {
                draft.set("worker.cwd", folder, "the module is there".to_owned());
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
    made.map(|(_, module, place)| (module.clone(), place.clone()))
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
    let chosen = python::only(&ordered).or_else(|| python::only(&actors.iter().collect::<Vec<_>>()));
    ordered.extend(actors.iter().filter(|actor| !own(actor)));
    for actor in ordered.iter().copied().take(12) {
        if chosen != Some(actor) {
            draft.note(
                "broker.actor",
                format!("also seen: {} ({})", actor.name, actor.place),
            );
        }
    }
    let mut queues: Vec<(&QueueName, &Actor)> = Vec::new();
    for actor in chosen.into_iter().chain(ordered) {
        if queues.iter().all(|(queue, _)| **queue != actor.queue) {
            queues.push((&actor.queue, actor));
        }
    }
    for (queue, actor) in queues {
        let place = format!("{} (actor {})", actor.place, actor.name);
        match queue {
            QueueName::Named(name) if !draft.has("broker.queue") => {
                draft.set("broker.queue", literal(name), place);
            }
            QueueName::Named(name) => draft.note("broker.queue", format!("also seen: {name} in {place}")),
            QueueName::Default if !draft.has("broker.queue") => {
                draft.set(
                    "broker.queue",
                    survey.framework.source.default_queue,
                    format!(
                        "{place}: no {}, so {}'s default",
                        survey.framework.source.queue_option, survey.framework.title
                    ),
                );
            }
            QueueName::Default => draft.note("broker.queue", format!("also seen: default in {place}")),
            QueueName::Computed(expression) => {
                draft.note(
                    "broker.queue",
                    format!(
                        "computed: {}={expression} in {place}",
                        survey.framework.source.queue_option
                    ),
                );
            }
        }
    }
    let Some(actor) = chosen else {
        return;
    };
    draft.set("broker.actor", literal(&actor.name), actor.place.clone());
    if let Some(kwargs) = arguments(&actor.parameters) {
        draft.set(
            "broker.kwargs",
            kwargs,
            format!("{}, its parameters; the values are made up", actor.place),
        );
    }
    if let Some((words, place)) = &actor.entry {
        draft.set(
            "worker.entry_pattern",
            literal(&regex::escape(words)),
            format!("{place}, the first thing that the actor logs"),
        );
    }
}

/// Arguments that fit the parameters; `None` where a fresh id cannot stand for one.
fn arguments(parameters: &[Parameter]) -> Option<Json> {
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
        map.insert(parameter.name.clone(), value);
    }
    map.values()
        .any(|value| value == "{task_id}")
        .then_some(Json::Object(map))
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
        assert_eq!(arguments(&all), Some(json!({"task_id": "{task_id}", "data": {}})));
        assert_eq!(arguments(&[parameter("job_id", "int", false)]), None);
        assert_eq!(arguments(&[parameter("name", "str", false)]), None);
    }
}
