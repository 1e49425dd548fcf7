//! What processes were given, and by which setting a worker may use another database than the API.

use super::{Fact, Story};
use crate::timeline::EventKind;
use crate::timeline::environment::{Environment, Variable};

impl<'a> Story<'a> {
    /// What a process runs in, its own or that of the one it is like.
    pub fn environment(&self, pid: i32) -> Option<Fact<&'a Environment>> {
        let like = self.timeline.events.iter().find_map(|event| match &event.kind {
            EventKind::SameEnvironment { pid: of, like, .. } if *of == pid => Some(*like),
            _ => None,
        });
        self.facts(move |kind| match kind {
            EventKind::Environment(found) if [Some(pid), like].contains(&Some(found.pid)) => Some(&**found),
            _ => None,
        })
        .next()
    }
}

/// A setting of this process names another database than the API's does, and none names the same.
pub(in crate::diagnosis) fn another_database<'a>(story: &Story<'a>, pid: i32) -> Option<Fact<&'a str>> {
    let worker = story.environment(pid)?;
    let mut apis = story.api_processes().into_iter();
    let api = apis.find_map(|process| story.environment(process.pid))?;
    if worker.key != api.key {
        return None;
    }
    let compared: Vec<(&str, bool)> = settings(api.value)
        .filter(|(name, _)| is_database_variable(name))
        .filter_map(|(name, value)| Some((name, is_another(name, value, setting(worker.value, name)?)?)))
        .collect();
    let (name, _) = compared.first()?;
    let all = compared.iter().all(|(_, another)| *another);
    all.then(|| worker.with(*name))
}

/// A setting of this kind names one and the same thing for both processes, and none another.
fn names_the_same(story: &Story<'_>, pids: [i32; 2], is_meant: impl Fn(&str) -> bool) -> bool {
    let [Some(one), Some(other)] = pids.map(|pid| story.environment(pid)) else {
        return false;
    };
    let pairs = settings(one.value)
        .filter(|(name, _)| is_meant(name))
        .filter_map(|(name, value)| is_another(name, value, setting(other.value, name)?));
    let compared: Vec<bool> = pairs.collect();
    one.key == other.key && !compared.is_empty() && compared.iter().all(|another| !another)
}

/// By its settings the worker has the API's database.
pub(in crate::diagnosis) fn name_one_database(story: &Story<'_>, worker: i32) -> bool {
    let apis = story.api_processes();
    apis.iter()
        .any(|api| names_the_same(story, [api.pid, worker], is_database_variable))
}

/// By its settings this process of the API has the vhost of a worker.
pub(in crate::diagnosis) fn name_one_broker(story: &Story<'_>, api: i32) -> bool {
    let workers = super::workers::live_workers(story);
    workers
        .iter()
        .any(|worker| names_the_same(story, [api, worker.pid], is_broker_variable))
}

fn is_broker_variable(name: &str) -> bool {
    let upper = name.to_uppercase();
    let words = ["RABBIT", "AMQP", "BROKER"];
    !is_tuning(&upper) && words.iter().any(|word| upper.contains(word))
}

/// What the process has in its environment, and what a library may have read from a file.
fn settings(environment: &Environment) -> impl Iterator<Item = (&str, &Variable)> {
    let read = environment.dotenv.iter().filter(|file| !file.changed_since);
    let own = environment.variables.iter().flatten();
    own.chain(read.flat_map(|file| &file.variables))
        .map(|(name, value)| (name.as_str(), value))
}

fn setting<'e>(environment: &'e Environment, name: &str) -> Option<&'e Variable> {
    let mut found = settings(environment).filter(|(other, _)| *other == name);
    found.next().map(|(_, value)| value)
}

/// Whether the two name different databases; nothing where they name none. Another host may be a pool before the same one.
fn is_another(name: &str, one: &Variable, other: &Variable) -> Option<bool> {
    let (Variable::Masked(one), Variable::Masked(other)) = (one, other) else {
        return None;
    };
    if let Some((one, other)) = one.parts.get("path").zip(other.parts.get("path")) {
        return Some(one != other);
    }
    let is_its_name = ["DATABASE", "DATABASE_NAME", "DB", "DB_NAME"]
        .iter()
        .any(|word| name.to_uppercase().ends_with(word));
    is_its_name.then(|| one.value != other.value)
}

/// How something is used, not what is used.
pub fn is_tuning(upper: &str) -> bool {
    const WORDS: &[&str] = &[
        "POOL",
        "SIZE",
        "TIMEOUT",
        "ECHO",
        "PREFETCH",
        "RETRIES",
        "THREADS",
        "PROCESSES",
        "DELAY",
        "TTL",
        "LOG",
        "LEVEL",
        "MAX",
        "MIN",
        "HEARTBEAT",
        "OVERFLOW",
        "RECYCLE",
        "DEBUG",
        "PROMETHEUS",
    ];
    upper.split('_').any(|word| WORDS.contains(&word))
}

pub fn is_database_variable(name: &str) -> bool {
    let upper = name.to_uppercase();
    // A broker's address is a DSN to some.
    let is_anothers = ["RABBIT", "AMQP", "BROKER", "VHOST", "REDIS"]
        .iter()
        .any(|word| upper.contains(word));
    if is_tuning(&upper) || is_anothers {
        return false;
    }
    ["DATABASE", "POSTGRES", "SQLALCHEMY", "PGBOUNCER"]
        .iter()
        .any(|word| upper.contains(word))
        || upper
            .split('_')
            .any(|word| matches!(word, "DB" | "DSN" | "SQL" | "PG" | "PGSQL" | "PSQL"))
        || [
            "PGHOST",
            "PGPORT",
            "PGDATABASE",
            "PGUSER",
            "PGPASSWORD",
            "PGOPTIONS",
            "PGSERVICE",
        ]
        .contains(&upper.as_str())
}
