//! A worker in the lines of a watch: what it says of itself, and which queues it consumes.

use schemars::JsonSchema;
use serde::Serialize;

use super::QueueModel;
use super::group::QueueGroup;
use super::lines::milliseconds;
use super::workers::{Life, WorkerKey};

/// What a worker says of itself, unasked.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkerRow {
    /// Its name.
    pub worker: String,
    /// Its main process, where it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub life: Life,
    /// Since its last word.
    pub age_ms: f64,
    /// Tasks that it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<u64>,
    /// Tasks that it has ever begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<u64>,
    /// From one heartbeat to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// The load of its machine, over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<f64>,
    /// Watched queues that it is known to consume.
    pub queues: Vec<String>,
    /// The same for people.
    pub text: String,
}

/// A worker, as it is now.
pub fn of(model: &QueueModel, key: &WorkerKey) -> Option<WorkerRow> {
    let worker = model.workers().get(key)?;
    let consumes = |group: &QueueGroup| {
        let mut who = group.who().into_iter().flatten();
        who.any(|consumer| {
            let behind = model.workers().behind(consumer);
            behind.is_some_and(|(found, _)| found == key)
        })
    };
    let queues = model.groups().iter().filter(|(_, group)| consumes(group));
    let beat = &worker.beat;
    Some(WorkerRow {
        worker: beat.node.clone(),
        pid: beat.pid,
        version: beat.version.clone(),
        life: worker.life,
        age_ms: milliseconds(model.now().saturating_sub(worker.at)),
        active: beat.active,
        taken: beat.processed,
        every_ms: beat.every_ms,
        load: beat.load.clone(),
        queues: queues.map(|(name, _)| name.clone()).collect(),
        text: worker.words(model.now()),
    })
}
