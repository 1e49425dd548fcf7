//! Looks at a project and drafts its `taskdiag.toml`.
//!
//! Each finder below looks at one kind of thing and is a function from what was read to what was
//! found; `inspect` asks them all, and what speaks most surely speaks first. Nothing of the project is
//! executed, nothing is written.

mod address;
mod api;
mod compose;
mod curl;
mod database;
mod dotenv;
mod launch;
mod management;
mod openapi;
mod owner;
mod postgres;
mod program;
mod queue;
mod running;
mod secrets;
mod statuses;
mod submit;
mod survey;
mod toml;
mod unsupported;
mod walk;
mod work;
mod worker;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::SecretString;
use serde_json::Value as Json;

use crate::config::Given;
use crate::servers::{BROKER, DATABASE};
use address::{Address, AddressSources};
use launch::StartCommand;
pub use owner::Stranger;
use survey::Survey;
use unsupported::BrokerInUse;
pub use write::Draft;

/// What is wrong with a command that starts a worker, as far as its words say.
pub fn mistakes(command: &[String]) -> Vec<String> {
    let launch = StartCommand {
        words: command.to_vec(),
        place: String::new(),
        folder: String::new(),
    };
    launch.mistakes()
}

/// A variable of an environment. The value may be a secret: it is never shown.
#[derive(Clone)]
pub struct EnvVar {
    name: String,
    value: String,
    place: String,
    /// What to type so that taskdiag sees it.
    how: String,
}

impl std::fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.place)
    }
}

/// What was found, and what to tell of it.
#[derive(Default)]
pub struct InitResult {
    pub draft: Draft,
    /// What to type before `taskdiag check`, to set the variables that the file refers to.
    pub exports: Vec<String>,
    /// What was seen and could not be used, or not be read.
    pub complaints: Vec<String>,
    /// What was asked beyond the files of the project.
    pub contacted: Vec<String>,
    /// Why no draft would help here.
    pub unsupported: Option<String>,
    /// Keys whose values are no more than a guess or an example: nothing is sent with them unasked.
    pub guesses: Vec<&'static str>,
    /// Keys whose addresses nothing shows to be this project's, and why: nothing is sent there unasked. Of `api.url`
    /// only where it has this port of this machine.
    pub strangers: Vec<Stranger>,
    /// Values of the variables that the draft refers to, as the project has them. Secrets: never shown.
    pub values: BTreeMap<String, SecretString>,
}

/// What says how a request is made to the path that was found.
const OF_THE_PATH: &[&str] = &[
    "api.path",
    "api.body",
    "api.form",
    "api.files",
    "api.status_path",
    "api.status_pointer",
    "api.task_id_pointer",
    "isolate.body",
];

impl InitResult {
    /// What whoever runs it says himself stands instead of what was found.
    pub fn give(&mut self, given: &Given) {
        let mut gone: Vec<&'static str> = Vec::new();
        let path = given.get("api.submit_path").and_then(Json::as_str);
        if path.is_some_and(|path| self.draft.text("api.submit_path") != Some(path)) {
            gone.extend(OF_THE_PATH);
        }
        let bodies = ["api.body", "api.body_file", "api.form"];
        if bodies.iter().any(|key| given.contains_key(key)) {
            gone.extend(bodies);
        }
        if given.contains_key("api.files") {
            gone.extend(["api.body", "api.body_file"]);
        }
        for key in gone.iter().chain(given.keys()).copied() {
            self.draft.drop(key);
            self.guesses.retain(|guess| *guess != key);
            self.strangers.retain(|stranger| stranger.key != key);
        }
        for (key, value) in given {
            self.draft.give(key, value);
        }
    }
}

pub async fn inspect(root: &Path) -> InitResult {
    let mut result = InitResult::default();
    let survey = survey::survey(root, &mut result.complaints);
    let known = AddressSources {
        variables: &survey.variables,
        services: &survey.services,
        literals: &survey.code.urls,
        named: &unsupported::broker_variables(&survey),
        brokers: &unsupported::brokers(&survey),
        databases: survey.databases(),
        examples: &survey.examples,
    };
    result.unsupported = unsupported::unsupported(&survey);
    if result.unsupported.is_some() {
        return result;
    }
    result.draft.framework = Some(survey.framework);
    let (broker, unusable) = address::find(&BROKER, &known);
    if broker.is_none() {
        result.complaints.extend(unusable);
    }
    let other_database = unsupported::other_database(&survey);
    let (database, unusable) = match &other_database {
        // A server that is there for something else is not asked for rows.
        Some(_) if survey.databases().is_some() => (None, Vec::new()),
        _ => address::find(&DATABASE, &known),
    };
    if database.is_none() {
        result.complaints.extend(unusable);
    }
    doubts(&survey, broker.as_ref(), &mut result);
    for (key, address) in [("broker.amqp_url", &broker), ("database.url", &database)] {
        if let Some(address) = address {
            enter(&mut result.draft, key, address);
        } else {
            needed(&survey, key, &mut result);
        }
    }
    result.draft.secrets = secrets::find(&survey, [&broker, &database]);
    api::fill(&survey, &mut result).await;
    submit::fill(&survey, &mut result);
    management::fill(&survey, broker.as_ref(), &mut result).await;
    worker::fill(&survey, &mut result);
    database::fill(&survey, database.as_ref(), &mut result).await;
    let logins = [
        ("broker.amqp_url", &BROKER, broker.as_ref()),
        ("database.url", &DATABASE, database.as_ref()),
    ];
    let strangers = owner::strangers(&survey, logins, &result.draft).await;
    result.strangers.extend(strangers);
    services(&survey, &mut result.draft);
    if let (None, Some(other)) = (&database, other_database) {
        result.draft.note("database.url", other.clone());
        result.complaints.push(other);
    }
    // The first place that names a variable is the surest, as everywhere.
    for variable in survey.variables.iter().rev() {
        let value = SecretString::from(variable.value.clone());
        result.values.insert(variable.name.clone(), value);
    }
    for address in [&broker, &database].into_iter().flatten() {
        let Some(full) = &address.full else { continue };
        let url = url::Url::parse(full.expose()).ok();
        let encoded = url
            .as_ref()
            .and_then(|url| Some(SecretString::from(url.password()?)));
        for need in address.needs.iter().filter(|need| need.is_password) {
            let password = match need.variable.ends_with("_ENCODED") {
                true => encoded.clone(),
                false => full.password(),
            };
            if let Some(password) = password {
                result.values.entry(need.variable.clone()).or_insert(password);
            }
        }
    }
    for need in [&broker, &database]
        .into_iter()
        .flatten()
        .flat_map(|address| &address.needs)
    {
        if std::env::var_os(&need.variable).is_none() && !result.exports.contains(&need.how) {
            result.exports.push(need.how.clone());
        }
    }
    result
}

fn enter(draft: &mut Draft, key: &'static str, address: &Address) {
    match address.is_guess {
        true => draft.guess(
            key,
            address.text.clone(),
            format!("{}: what its image sets up", address.place),
        ),
        false => draft.set(key, address.text.clone(), address.place.clone()),
    }
    for place in &address.also {
        draft.note(key, format!("also seen: {place}"));
    }
    for need in &address.needs {
        draft.note(key, format!("set {} first: {}", need.variable, need.how));
    }
}

/// An address that was not found: the variable that the code takes it from, if it says so. The broker's own default is
/// somebody's broker, too: until the variable is set `check` asks nobody.
fn needed(survey: &Survey, key: &'static str, result: &mut InitResult) {
    let read = survey.read_by_name(key);
    if let Some((name, place)) = read {
        let example = survey.examples.iter().find(|example| example.name == *name);
        let example = example.map_or_else(String::new, |example| {
            format!("; {} has an example", example.place)
        });
        let text = format!("{place} reads {name}, which is set nowhere here{example}");
        result.draft.note(key, text);
        result.draft.suggest(key, format!("${{{name}}}"));
    }
    if key == "broker.amqp_url" {
        let variable = read.map_or("RABBITMQ_URL", |(name, _)| name.as_str());
        result.draft.demand(key, variable);
        let how = format!("export {variable}='amqp://USER:PASSWORD@HOST:5672/VHOST'    # where RabbitMQ is");
        result.exports.push(how);
    }
}

/// Why the broker that was found may not be the one that is used.
fn doubts(survey: &Survey, broker: Option<&Address>, result: &mut InitResult) {
    let title = survey.framework.title;
    let doubt = match unsupported::broker(survey) {
        BrokerInUse::RabbitMq {
            beside: Some((other, place)),
        } => Some(format!(
            "{other} is given as {title}'s broker as well ({place}): where that is the one, taskdiag cannot follow its tasks"
        )),
        BrokerInUse::Unknown(Some(place)) => Some(format!(
            "which broker {title} uses could not be read ({place}): check that it is RabbitMQ"
        )),
        _ => None,
    };
    if let Some(doubt) = doubt {
        result.draft.note("broker.amqp_url", doubt.clone());
        result.complaints.push(doubt);
    }
    if let Some(doubt) = broker.and_then(|broker| broker.doubt.clone()) {
        result.draft.note("broker.amqp_url", doubt.clone());
        result.complaints.push(doubt);
    }
}

/// A host's name that means this machine.
fn is_here(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let loopback = host.parse::<std::net::IpAddr>();
    host == "localhost" || loopback.is_ok_and(|address| address.is_loopback())
}

/// What `--start` may bring up: the servers only, since it starts the rest itself.
fn services(survey: &Survey, draft: &mut Draft) {
    let servers = survey
        .services
        .iter()
        .filter(|service| service.is_postgres() || service.is_rabbitmq());
    let mut names = Vec::new();
    let mut compose = None;
    for service in servers {
        let words = service.compose(&survey.project.compose);
        // One command knows the services of its files only.
        if *compose.get_or_insert_with(|| words.clone()) == words {
            names.push(service.name.as_str());
        }
    }
    let Some(compose) = compose else { return };
    let command = |words: &[&str]| -> Vec<String> {
        compose
            .iter()
            .map(String::as_str)
            .chain(words.iter().copied())
            .chain(names.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    draft.suggest("services.up", command(&["up", "-d", "--wait"]));
    draft.suggest("services.down", command(&["stop"]));
}

/// A path as it stands in the file: below the root relative to it.
fn relative(root: &Path, path: &Path) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    path.strip_prefix(&root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}
