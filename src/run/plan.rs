//! What to observe, and how that is told in a recording.

use std::sync::Arc;

use super::direct::Direct;
use crate::config::{Config, LogSource};
use crate::diagnosis::Verdict;
use crate::scrubber::scrubber;
use crate::supervise::System;
use crate::timeline::{Setup, Timeline};
use crate::vantage::dead_letters::Peek;
use crate::vantage::firehose::PublishedBodies;
use crate::vantage::process;

/// Called whenever something new was seen.
pub type OnNews<'a> = dyn FnMut(&Timeline, &Verdict) + Send + 'a;

/// What to observe.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Explain this task instead of submitting one.
    pub post_mortem: Option<String>,
    pub wait_retries: bool,
    pub expect_entered: bool,
    pub show_args: bool,
    /// Which queues' messages are looked at.
    pub peek: Peek,
    /// Only arm, look once and end: `check`.
    pub look_only: bool,
    /// `--start`: what to start once everything is watched.
    pub system: Option<Arc<System>>,
    /// Publish this message instead of asking the API.
    pub direct: Option<Arc<Direct>>,
    /// Keep what is published as it is, so that a copy can be made of it.
    pub bodies: Option<Arc<PublishedBodies>>,
}

fn first_file(log: &LogSource) -> Option<String> {
    log.files.first().map(|path| path.display().to_string())
}

pub fn setup(config: &Config, plan: &Plan) -> Setup {
    let database = config.database.as_ref();
    Setup {
        framework: config.framework.name.into(),
        queue: config.broker.queue.clone(),
        vhost: config.broker.vhost.clone(),
        broker: format!("{}:{}", config.broker.amqp.host(), config.broker.amqp.port()),
        actor: config.broker.actor.clone(),
        api_url: config.api.as_ref().map(|api| {
            let mut url = api.url.clone();
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.to_string()
        }),
        task_id_pointer: match plan.direct.is_some() || config.submit.is_some() {
            // It is not guessed: we gave it, or a pattern found it.
            true => Some(String::new()),
            false => config.api.as_ref().and_then(|api| api.task_id_pointer.clone()),
        },
        entry_pattern: config
            .worker
            .entry_pattern
            .as_ref()
            .map(|pattern| pattern.as_str().to_owned()),
        worker_command: process::command::masked(config.worker.command.clone())
            .iter()
            .map(|word| scrubber(config, true).text(word))
            .collect(),
        worker_cwd: process::Configured::folder(config).map(|folder| folder.display().to_string()),
        api_log: first_file(&config.api_log),
        worker_log: first_file(&config.worker.log),
        database: database.map(|database| {
            let name = database.url.vhost();
            format!("{}:{}/{name}", database.url.host(), database.url.port())
        }),
        table: database.map(|database| database.table.clone()),
        id_column: database.map(|database| database.id_column.clone()),
        status_column: database.map(|database| database.status_column.clone()),
        running: database
            .map(|database| database.running.clone())
            .unwrap_or_default(),
        succeeded: database
            .map(|database| database.succeeded.clone())
            .unwrap_or_default(),
        failed: database
            .map(|database| database.failed.clone())
            .unwrap_or_default(),
        silence_ms: config.timing.silence.as_millis() as u64,
        timeout_ms: config.timing.timeout.as_millis() as u64,
        wait_retries: plan.wait_retries,
        post_mortem: plan.post_mortem.is_some(),
        trace: false,
        expect_entered: plan.expect_entered,
        show_args: plan.show_args,
    }
}
