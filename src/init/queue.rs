//! Fills `broker.queue`: the actor's own, or the default where nothing sends its tasks elsewhere.

use std::collections::BTreeSet;

use super::toml::literal;
use super::write::Draft;
use super::{InitResult, Survey};
use crate::python::{Actor, QueueName};

/// `ordered` are all actors, the likeliest first; `chosen` is the one that is meant, `is_sure` if that is clear.
pub fn fill(
    survey: &Survey,
    chosen: Option<&Actor>,
    is_sure: bool,
    ordered: &[&Actor],
    result: &mut InitResult,
) {
    let draft = &mut result.draft;
    let mut queues: Vec<(&QueueName, &Actor)> = Vec::new();
    for actor in chosen.into_iter().chain(ordered.iter().copied()) {
        if queues.iter().all(|(queue, _)| **queue != actor.queue) {
            queues.push((&actor.queue, actor));
        }
    }
    let source = &survey.framework.source;
    let is_one_of_several = !is_sure && queues.len() > 1;
    for (number, (queue, actor)) in queues.into_iter().enumerate() {
        let place = format!("{} (actor {})", actor.place, actor.name);
        match queue {
            QueueName::Named(name) if !draft.has("broker.queue") && is_one_of_several => {
                draft.guess("broker.queue", literal(name), place);
            }
            QueueName::Named(name) if !draft.has("broker.queue") => {
                draft.set("broker.queue", literal(name), place);
            }
            QueueName::Named(name) => draft.note("broker.queue", format!("also seen: {name} in {place}")),
            QueueName::Default if number == 0 => default(survey, draft, actor, &place),
            QueueName::Default => draft.note(
                "broker.queue",
                format!("also seen: no {} in {place}", source.queue_option),
            ),
            QueueName::Computed(expression) => {
                let text = format!("computed: {}={expression} in {place}", source.queue_option);
                match number {
                    0 => draft.need("broker.queue", text),
                    _ => draft.note("broker.queue", text),
                }
            }
        }
    }
    let is_used = survey.code.uses.contains_key(source.module) || served(survey).is_some();
    if ordered.is_empty() && is_used {
        draft.need(
            "broker.queue",
            "no task of this project was read, and so no queue",
        );
    }
    unserved(survey, draft, &mut result.complaints);
}

/// Of an actor that names no queue.
fn default(survey: &Survey, draft: &mut Draft, actor: &Actor, place: &str) {
    let source = &survey.framework.source;
    let title = survey.framework.title;
    let settings = &survey.code.settings;
    let mut defaults = settings
        .default_queues
        .iter()
        .filter(|(of, ..)| *of == survey.framework);
    if let Some((_, name, at)) = defaults.next() {
        match (name, defaults.next()) {
            (Some(name), None) => draft.set("broker.queue", literal(name), at.as_str()),
            _ => draft.need("broker.queue", format!("{at} sets the default queue")),
        }
        return;
    }
    let mut routing = settings.routing.iter();
    let routed = routing.find(|(of, _)| *of == survey.framework);
    let served = served(survey);
    let is_served = served
        .as_ref()
        .is_none_or(|served| served.contains(source.default_queue));
    match (routed, served) {
        // The only queue that any worker takes tasks from.
        (_, Some(served)) if served.len() == 1 && !is_served => {
            let only = served.into_iter().next().unwrap_or_default();
            draft.set(
                "broker.queue",
                literal(&only),
                "the only queue that the worker's command names",
            );
        }
        (Some((_, at)), _) => draft.need(
            "broker.queue",
            format!("{at} sends tasks to other queues than the default"),
        ),
        (None, Some(served)) if !is_served => {
            let names: Vec<String> = served.into_iter().collect();
            draft.need(
                "broker.queue",
                format!(
                    "one of those that the workers' commands name: {}",
                    names.join(", ")
                ),
            );
        }
        _ => {
            let from = format!("{place}: no {}, so {title}'s default", source.queue_option);
            if let Some(spread) = &actor.spread {
                let text = format!("{} may name another one: {spread}", actor.place);
                draft.note("broker.queue", text);
            }
            match survey.code.complaint.as_ref().or(actor.spread.as_ref()) {
                None => draft.set("broker.queue", source.default_queue, from),
                Some(_) => draft.guess("broker.queue", source.default_queue, from),
            }
        }
    }
}

/// The queues that the workers' commands name; `None` if some worker takes tasks from all of them.
fn served(survey: &Survey) -> Option<BTreeSet<String>> {
    let worker = &survey.framework.worker;
    let running = survey.running.iter().map(|running| &running.launch);
    let mut found = BTreeSet::new();
    let mut any = false;
    for launch in running.chain(&survey.launches) {
        if launch.is_worker() && worker.is_started_by(&launch.words) {
            any = true;
            found.extend((worker.queues)(&launch.words)?);
        }
    }
    any.then_some(found)
}

/// No worker's command names the queue that was found.
fn unserved(survey: &Survey, draft: &mut Draft, complaints: &mut Vec<String>) {
    let Some(queue) = draft.text("broker.queue") else {
        return;
    };
    if let Some(served) = served(survey).filter(|served| !served.contains(queue)) {
        let names: Vec<String> = served.into_iter().collect();
        let text = format!(
            "the workers' commands name the queues {}, and not `{queue}`",
            names.join(", ")
        );
        draft.note("broker.queue", text.clone());
        complaints.push(text);
    }
}
