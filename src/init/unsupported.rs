//! What a project is built on, where taskdiag cannot follow it: one sentence instead of a draft that cannot work.

use std::collections::BTreeMap;

use super::Survey;
use super::compose::Service;
use crate::framework;
use crate::python::SettingValue;
use crate::servers::BROKER;
use crate::timeline::scrub::printable;

/// Which broker the framework uses, as far as the project says.
pub enum BrokerInUse {
    RabbitMq {
        /// Another one that is given as the broker, too: its title and where.
        beside: Option<(&'static str, String)>,
    },
    /// Its title, and where that is said.
    Other(&'static str, String),
    /// Where a broker is named that could not be followed, if there is such a place.
    Unknown(Option<String>),
}

/// An application says its broker by a URL, others by a class. What else the code imports or connects to may be a cache.
pub fn broker(survey: &Survey) -> BrokerInUse {
    let source = &survey.framework.source;
    let uses = &survey.code.uses;
    if source.application.is_none() {
        let mut others = source.other_brokers.iter();
        let other = others.find_map(|(title, words)| {
            let place = words.iter().find_map(|word| uses.get(*word))?;
            Some((*title, place.clone()))
        });
        return match other {
            _ if uses.contains_key("RabbitmqBroker") => BrokerInUse::RabbitMq { beside: None },
            Some((title, place)) => BrokerInUse::Other(title, place),
            None => BrokerInUse::Unknown(None),
        };
    }
    let (schemes, unread) = schemes(survey);
    let is_rabbitmq = schemes.iter().any(|(scheme, _)| BROKER.scheme(scheme).is_some());
    let other = schemes.iter().find_map(|(scheme, place)| {
        let mut others = source.other_brokers.iter();
        let (title, _) = others.find(|(_, known)| known.contains(&scheme.as_str()))?;
        Some((*title, place.clone()))
    });
    match other {
        beside if is_rabbitmq => BrokerInUse::RabbitMq { beside },
        Some((title, place)) => BrokerInUse::Other(title, place),
        None => BrokerInUse::Unknown(unread),
    }
}

/// The schemes of all that is given as the broker, each with its place; and what could not be followed.
fn schemes(survey: &Survey) -> (Vec<(String, String)>, Option<String>) {
    let told = |name: &str| {
        let own = survey.variables.iter().find(|variable| variable.name == name);
        let own = own.map(|variable| (variable.value.clone(), format!("{} ({name})", variable.place)));
        let services = survey.services.iter().filter_map(|service| {
            let setting = service.get(name)?;
            Some((setting.value.clone(), format!("{} ({name})", service.place())))
        });
        own.into_iter()
            .chain(services)
            .find(|(value, _)| !value.is_empty())
    };
    let settings = &survey.code.settings;
    let mut found = Vec::new();
    let mut unread = None;
    let own = settings.brokers.iter();
    for broker in own.filter(|broker| broker.framework == survey.framework) {
        let known = settings.schemes(&broker.value, &broker.place, &told);
        match known.is_empty() {
            false => found.extend(known),
            true if unread.is_none() => {
                let words: Vec<&str> = broker.text.split_whitespace().collect();
                let text: String = words.join(" ").chars().take(60).collect();
                unread = Some(format!("{}: {}", broker.place, printable(&text)));
            }
            true => {}
        }
    }
    // What is read by other means than this code has the same names.
    let names = survey.framework.source.broker_settings;
    let mut variables: Vec<&str> = survey
        .variables
        .iter()
        .map(|variable| variable.name.as_str())
        .collect();
    let environments = survey.services.iter().flat_map(|service| &service.environment);
    variables.extend(environments.map(|setting| setting.name.as_str()));
    for name in variables {
        if names.contains(&name.to_lowercase().as_str())
            && let Some((value, place)) = told(name)
            && let Some((scheme, _)) = value.split_once("://")
        {
            found.push((scheme.to_lowercase(), place));
        }
    }
    (found, unread)
}

/// The variables that the code reads its broker from.
pub fn broker_variables(survey: &Survey) -> Vec<String> {
    let settings = &survey.code.settings;
    let own = settings.brokers.iter();
    own.filter(|broker| broker.framework == survey.framework)
        .flat_map(|broker| settings.variables(&broker.value))
        .collect()
}

/// What the code gives as the broker, as far as names can be followed, with where.
pub fn brokers(survey: &Survey) -> Vec<(SettingValue, String)> {
    let settings = &survey.code.settings;
    let own = settings.brokers.iter();
    own.filter(|broker| broker.framework == survey.framework)
        .map(|broker| {
            (
                settings.resolved(&broker.value, &broker.place),
                broker.place.clone(),
            )
        })
        .collect()
}

/// Files at the root of a project in another language.
const OF_OTHER_LANGUAGES: &[&str] = &[
    "package.json",
    "go.mod",
    "Cargo.toml",
    "pom.xml",
    "build.gradle",
    "Gemfile",
    "composer.json",
    "mix.exs",
];

/// Why no draft would help here; `None` where one does, or where the folder says nothing at all.
pub fn unsupported(survey: &Survey) -> Option<String> {
    let uses = &survey.code.uses;
    let source = &survey.framework.source;
    let title = survey.framework.title;
    if let BrokerInUse::Other(broker, place) = broker(survey) {
        return Some(format!(
            "this project's {title} uses {broker} as its broker ({place}); taskdiag knows {title} on RabbitMQ only"
        ));
    }
    let runs = survey.running.iter().any(|running| running.is_worker())
        || survey.launches.iter().any(|launch| launch.is_worker());
    if runs || !survey.code.actors.is_empty() || uses.contains_key(source.module) || survey.code.is_django {
        return None;
    }
    if survey.project.python.is_empty() {
        let root = &survey.project.root;
        let other = OF_OTHER_LANGUAGES.iter().find(|name| root.join(name).is_file())?;
        return Some(format!(
            "there is no Python in this folder ({other} is another language's), and nothing starts a worker"
        ));
    }
    if let Some((name, place)) = survey.code.other_frameworks.first_key_value() {
        let titles: Vec<&str> = framework::ALL.iter().map(|framework| framework.title).collect();
        return Some(format!(
            "this project's tasks are those of {name} ({place}); taskdiag knows {} only",
            titles.join(" and ")
        ));
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
    let databases = || survey.code.settings.databases.iter();
    let engines = databases().filter_map(|of| Some((of.engine()?.to_owned(), of.place.clone())));
    let engines: Vec<(String, String)> = engines
        .map(|(engine, place)| (engine.replace("djongo", "mongodb"), place))
        .collect();
    let is_postgres = |engine: &str| {
        ["postg", "psql", "timescale"]
            .iter()
            .any(|word| engine.contains(word))
    };
    // Settings of several kinds, or a server beside them: what the rows are in is not clear.
    if engines.iter().any(|(engine, _)| is_postgres(engine)) {
        return None;
    }
    if engines.is_empty() && survey.services.iter().any(Service::is_postgres) {
        return None;
    }
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
    let seen: Vec<(String, String)> = match engines.is_empty() {
        true => variables.chain(images).chain(code).collect(),
        false => engines,
    };
    KINDS.iter().find_map(|(name, words)| {
        let (_, place) = seen.iter().find(|(word, _)| words.contains(&word.as_str()))?;
        Some(format!(
            "the tasks' rows seem to be in {name} ({place}): taskdiag reads PostgreSQL only, so leave [database] out; it follows the task through broker, log and processes"
        ))
    })
}
