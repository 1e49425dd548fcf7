//! What a project is built on, where taskdiag cannot follow it: one sentence instead of a draft that cannot work.

use std::collections::BTreeMap;

use super::Survey;
use crate::framework;

/// Why no draft would help here; `None` where one does, or where the folder says nothing at all.
pub fn unsupported(survey: &Survey, has_rabbitmq: bool) -> Option<String> {
    let uses = &survey.code.uses;
    let place = |words: &[&str]| words.iter().find_map(|word| uses.get(*word));
    let source = &survey.framework.source;
    let title = survey.framework.title;
    // An application names its broker by a URL, others by a class.
    let is_rabbitmq = match source.application {
        Some(_) => has_rabbitmq,
        None => uses.contains_key("RabbitmqBroker"),
    };
    for (broker, words) in source.other_brokers {
        if let (Some(place), false) = (place(words), is_rabbitmq) {
            return Some(format!(
                "this project's {title} uses {broker} as its broker ({place}); taskdiag knows {title} on RabbitMQ only"
            ));
        }
    }
    let runs = survey.running.iter().any(|running| running.is_worker())
        || survey.launches.iter().any(|launch| launch.is_worker());
    if runs
        || !survey.code.actors.is_empty()
        || uses.contains_key(source.module)
        || survey.code.is_django
        || survey.project.python.is_empty()
    {
        return None;
    }
    named_elsewhere(survey).is_none().then(|| {
        let titles: Vec<&str> = framework::ALL.iter().map(|framework| framework.title).collect();
        format!(
            "no task framework is used in this folder: its Python imports neither {}, and nothing starts a worker",
            titles.join(" nor ")
        )
    })
}

/// A dependency is enough for a draft: the code may lie elsewhere.
fn named_elsewhere(survey: &Survey) -> Option<String> {
    line_with(survey, |line| {
        let line = line.to_lowercase();
        framework::ALL
            .iter()
            .any(|framework| line.contains(framework.name))
    })
}

fn line_with(survey: &Survey, is_it: impl Fn(&str) -> bool) -> Option<String> {
    survey.project.others.iter().find_map(|file| {
        let at = file.text.lines().position(&is_it)?;
        Some(format!("{} line {}", file.place, at + 1))
    })
}

/// Where the rows seem to be, if not in PostgreSQL.
pub fn other_database(survey: &Survey) -> Option<String> {
    const KINDS: &[(&str, &[&str])] = &[
        ("MySQL", &["mysql", "mariadb"]),
        ("MongoDB", &["mongodb", "mongo"]),
        ("SQLite", &["sqlite", "sqlite3"]),
    ];
    let variables = survey.variables.iter().filter_map(|variable| {
        let scheme = variable.value.split_once("://")?.0.split('+').next()?.to_owned();
        Some((scheme, variable.place.clone()))
    });
    let images = survey.services.iter().filter_map(|service| {
        let image = service.image.as_deref()?.to_lowercase();
        let name = image.rsplit('/').next()?.split(':').next()?.to_owned();
        Some((name, service.place()))
    });
    let code: BTreeMap<&str, &str> = [
        ("mysql", "mysql"),
        ("pymongo", "mongodb"),
        ("motor", "mongodb"),
        ("sqlite3", "sqlite3"),
    ]
    .into();
    let code = code
        .into_iter()
        .filter_map(|(word, kind)| Some((kind.to_owned(), survey.code.uses.get(word)?.clone())));
    let seen: Vec<(String, String)> = variables.chain(images).chain(code).collect();
    KINDS.iter().find_map(|(name, words)| {
        let (_, place) = seen.iter().find(|(word, _)| words.contains(&word.as_str()))?;
        Some(format!(
            "the tasks' rows seem to be in {name} ({place}): taskdiag reads PostgreSQL only, so leave [database] out; it follows the task through broker, log and processes"
        ))
    })
}
