//! What workers said of themselves over the broker, unasked and asked: versions, settings, tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::difference::{Fact, Side, Subject};
use super::facts::Facts;
use crate::diagnosis::Story;
use crate::framework::{Heartbeat, Inspection};
use crate::timeline::EventKind;

/// Of every worker that consumes the queue, as far as that is known: of several, each one's word.
#[derive(Debug, Default)]
struct WorkerFacts {
    versions: BTreeSet<String>,
    settings: BTreeMap<String, BTreeSet<String>>,
    /// With the limit of its rate, where it has one.
    registered: BTreeMap<String, BTreeSet<String>>,
    /// What is missing is as it is by default.
    all_settings: bool,
    all_registered: bool,
}

impl Facts {
    /// What workers that consume the queue said of themselves over the broker.
    pub(super) fn said_by_workers(&mut self, story: &Story<'_>) {
        let said = said(story);
        let mut put = |subject, name: &str, values: BTreeSet<String>| {
            // Several workers may differ.
            let text = values.into_iter().collect::<Vec<_>>().join(" / ");
            if !text.is_empty() {
                self.put(Side::Worker, subject, name, Fact::plain(text));
            }
        };
        put(Subject::WorkerVersion, "", said.versions);
        for (name, values) in said.settings {
            put(Subject::WorkerSetting, &name, values);
        }
        for (name, values) in said.registered {
            put(Subject::RegisteredTask, &name, values);
        }
        for (subject, is_whole) in [
            (Subject::WorkerSetting, said.all_settings),
            (Subject::RegisteredTask, said.all_registered),
        ] {
            if is_whole {
                self.complete.insert((Side::Worker, subject));
            }
        }
    }
}

fn said(story: &Story<'_>) -> WorkerFacts {
    let mut said = WorkerFacts::default();
    let mut beats: BTreeMap<&str, &Heartbeat> = BTreeMap::new();
    let mut answers: BTreeMap<&str, &Inspection> = BTreeMap::new();
    for event in &story.timeline.events {
        match &event.kind {
            EventKind::Heartbeat(beat) if !beat.offline => {
                beats.insert(&beat.node, beat);
            }
            EventKind::Inspected(answer) => {
                answers.insert(&answer.node, answer);
            }
            _ => {}
        }
    }
    let consumes = |answer: &Inspection| {
        let queues = answer.queues.as_ref();
        queues.is_none_or(|queues| queues.iter().any(|queue| queue == story.queue()))
    };
    answers.retain(|_, answer| consumes(answer));
    // Others in the vhost may be another project's.
    if !answers.is_empty() {
        beats.retain(|node, _| answers.contains_key(node));
    }
    // Of several workers some may be another's: only one that is alone speaks for the task's worker.
    if !answers.is_empty() || beats.len() == 1 {
        said.versions = beats.values().filter_map(|beat| beat.version.clone()).collect();
    }
    let answered = |method: &str| {
        let mut all = answers.values();
        !answers.is_empty() && all.all(|answer| answer.methods.iter().any(|own| own == method))
    };
    said.all_settings = answered("conf") && answered("stats");
    said.all_registered = answered("registered");
    for answer in answers.values() {
        said.add(answer);
    }
    said
}

impl WorkerFacts {
    fn add(&mut self, answer: &Inspection) {
        let pool = answer.pool.clone().map(|pool| ("pool", pool));
        let concurrency = answer.concurrency.map(|slots| ("concurrency", slots.to_string()));
        for (name, value) in pool.into_iter().chain(concurrency) {
            self.settings.entry(name.to_owned()).or_default().insert(value);
        }
        for (name, value) in &answer.settings {
            let text = match value {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            self.settings.entry(name.clone()).or_default().insert(text);
        }
        for (name, limit) in answer.registered.iter().flatten() {
            let text = match limit {
                Some(limit) => format!("at most {limit}"),
                None => "registered".to_owned(),
            };
            self.registered.entry(name.clone()).or_default().insert(text);
        }
    }
}
