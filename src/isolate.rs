//! `diagnose --isolate`: repeats a failed run with less and less in it.
//!
//! Each step is a run of its own, with its own task, timeline and verdict. What follows from them is
//! decided in [`crate::diagnosis::isolation`].

mod broker_route;
mod clean_vhost;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::diagnosis::isolation::{self, Ending, Goal, Sent, Step, StepResult};
use crate::diagnosis::{Story, Verdict, Visibility};
use crate::error::Result;
use crate::framework::{Call, Copy, CopyOrder, unseen_id, with_task_id};
use crate::run::{Direct, Plan, observe};
use crate::timeline::isolation::Isolated;
use crate::timeline::{Ended, EventKind, Source, Timeline, recording};
use crate::vantage::dead_letters::Peek;
use crate::vantage::firehose::PublishedBodies;
use clean_vhost::CleanVhost;

/// The run that is to be explained.
pub struct Original<'a> {
    pub timeline: &'a Timeline,
    pub verdict: &'a Verdict,
    pub bodies: &'a PublishedBodies,
}

/// How the steps are carried out.
pub struct Isolator<'a> {
    pub config: &'a Config,
    /// Of the original, without what it started.
    pub plan: Plan,
    /// Recordings of the steps stand beside this one.
    pub record: Option<&'a Path>,
    /// Marks every message that is published here.
    run: String,
    complaints: Mutex<Vec<String>>,
    copies: AtomicU32,
}

impl<'a> Isolator<'a> {
    pub fn new(config: &'a Config, plan: &Plan, record: Option<&'a Path>) -> Self {
        Self {
            config,
            plan: Plan {
                system: None,
                bodies: None,
                peek: Peek::default(),
                ..plan.clone()
            },
            record,
            run: format!("isolate-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]),
            complaints: Mutex::default(),
            copies: AtomicU32::new(0),
        }
    }

    /// Goes from step to step until one works. `tell` hears what is done.
    pub async fn run(
        &self,
        original: &Original<'_>,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Isolated> {
        let ending = Ending::of(original.timeline, original.verdict);
        let mut tried: Vec<(Step, StepResult)> = Vec::new();
        let Some(goal) = isolation::goal(&ending) else {
            return Ok(isolation::record(&ending, &tried));
        };
        if was_interrupted(original.timeline) {
            tried.push((Step::Again, StepResult::Interrupted { sent: None }));
        }
        while let Some(step) = isolation::next(goal, &ending, &tried) {
            let number = tried.len() + 1;
            let done = self.step(step, number, goal, &ending, original, tell).await?;
            tried.push((step, done));
        }
        if let Some(id) = &original.verdict.task.id
            && tried
                .iter()
                .any(|(_, tried)| matches!(tried, StepResult::Done { .. }))
            && !tried
                .iter()
                .any(|(_, tried)| matches!(tried, StepResult::Interrupted { .. }))
        {
            tell(Step::Original.title());
            tried.push((Step::Original, self.look_back(id).await?));
        }
        Ok(isolation::record(&ending, &tried))
    }

    async fn step(
        &self,
        step: Step,
        number: usize,
        goal: Goal,
        ending: &Ending,
        original: &Original<'_>,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> Result<StepResult> {
        if let Some(why) = isolation::not_for(goal, ending, step) {
            return Ok(StepResult::Skipped(why.into()));
        }
        tell(step.title());
        match step {
            Step::Again | Step::Control => {
                self.post(number, self.config.clone(), "the configured body", original)
                    .await
            }
            Step::Direct => match self.copy(original) {
                Ok((copy, from_configuration)) => {
                    self.publish(number, self.config, copy, from_configuration).await
                }
                Err(why) => Ok(StepResult::Skipped(why)),
            },
            Step::Minimal => match self.minimal() {
                Ok(config) => self.post(number, config, "`isolate.body`", original).await,
                Err(why) => Ok(StepResult::Skipped(why)),
            },
            Step::CleanVhost => self.clean(number, original).await,
            // Comes last, after all of these.
            Step::Original => Ok(StepResult::Skipped("it comes last".into())),
        }
    }

    /// In an empty vhost, with a worker of our own.
    async fn clean(&self, number: usize, original: &Original<'_>) -> Result<StepResult> {
        let (copy, from_configuration) = match self.copy(original) {
            Ok(made) => made,
            Err(why) => return Ok(StepResult::Skipped(why)),
        };
        let mut complaints = Vec::new();
        let vhost = match CleanVhost::open(self.config, &mut complaints).await {
            Ok(vhost) => vhost,
            Err(why) => {
                self.complain(complaints);
                return Ok(match why.as_str() {
                    "interrupted" => StepResult::Interrupted { sent: None },
                    _ => StepResult::Skipped(why),
                });
            }
        };
        let done = self
            .publish(number, &vhost.config, copy, from_configuration)
            .await;
        let disturbed = vhost.disturbed().await;
        self.complain(vhost.close().await);
        match (done, disturbed) {
            (Ok(StepResult::Done { sent, .. }), Some(why)) => Ok(StepResult::Failed {
                sent: Some(sent),
                why,
            }),
            (done, _) => done,
        }
    }

    fn complain(&self, complaints: Vec<String>) {
        let mut all = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(complaints);
    }

    /// What could not be undone.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Copies of one message must not have one id.
    fn nth(&self) -> u32 {
        self.copies.fetch_add(1, Ordering::Relaxed)
    }

    fn minimal(&self) -> std::result::Result<Config, String> {
        let body = self
            .config
            .smallest_body
            .clone()
            .ok_or("`isolate.body` is not configured: [isolate] body = { } with the smallest body that the API accepts")?;
        let mut config = self.config.clone();
        match &mut config.api {
            Some(api) if api.body == body => {
                Err("`isolate.body` is what `api.body` is: nothing smaller is known".into())
            }
            Some(api) => {
                api.body = body;
                Ok(config)
            }
            None => Err("no API is configured".into()),
        }
    }

    /// The message to publish, and whether it was made from the configuration.
    fn copy(&self, original: &Original<'_>) -> std::result::Result<(Copy, bool), String> {
        let broker = &self.config.broker;
        let task = &original.verdict.task;
        let seen = task.message_id.as_ref().and_then(|id| original.bodies.get(id));
        let why = match (seen, &task.id) {
            (Some(message), Some(id)) => match (self.config.framework.codec.copy)(
                &message,
                &CopyOrder {
                    task_id: id,
                    queue: &broker.queue,
                    run: &self.run,
                    nth: self.nth(),
                    now_ms: jiff::Timestamp::now().as_millisecond(),
                },
            ) {
                Ok(copy) => return Ok((copy, false)),
                Err(why) => why,
            },
            _ => unseen(original.timeline),
        };
        let configured = ["broker.args", "broker.kwargs"]
            .iter()
            .any(|key| self.config.origins.contains_key(*key));
        match &broker.actor {
            Some(actor) if configured => Ok((self.configured_copy(actor), true)),
            _ => Err(format!(
                "{why}; with `broker.actor` and `broker.kwargs` (or `args`) configured a message could be made"
            )),
        }
    }

    /// A message made from what the configuration says.
    fn configured_copy(&self, actor: &str) -> Copy {
        let broker = &self.config.broker;
        let task_id = unseen_id();
        let message_id = uuid::Uuid::new_v4().to_string();
        let envelope = (self.config.framework.codec.encode)(&Call {
            queue: &broker.queue,
            actor,
            args: &with_task_id(&broker.args, &task_id),
            kwargs: &with_task_id(&broker.kwargs, &task_id),
            message_id: &message_id,
            now_ms: jiff::Timestamp::now().as_millisecond(),
            run: Some(&self.run),
        });
        Copy {
            task_id,
            message_id,
            actor: actor.to_owned(),
            queue: broker.queue.clone(),
            envelope,
        }
    }

    /// A run through the API.
    async fn post(
        &self,
        number: usize,
        config: Config,
        what: &str,
        original: &Original<'_>,
    ) -> Result<StepResult> {
        if config.api.is_none() {
            return Ok(StepResult::Skipped("no API is configured".into()));
        }
        let observed = observe(&config, &self.plan, &mut |_, _| {}).await?;
        let (timeline, verdict, complaints) = observed.restore().await;
        self.complain(complaints);
        self.keep(number, &timeline)?;
        let sent = Sent {
            what: format!("{what}, posted to the API"),
            task_id: verdict.task.id.clone(),
            message_id: verdict.task.message_id.clone(),
            from_configuration: false,
        };
        let id = &original.verdict.task.id;
        if id.is_some() && verdict.task.id == *id {
            return Ok(StepResult::Failed {
                sent: Some(sent),
                why: "the API answered with the original's own id: it takes the same body for the same task, so no task was repeated".into(),
            });
        }
        Ok(tried(sent, &timeline, &verdict))
    }

    /// A run with a message of our own.
    async fn publish(
        &self,
        number: usize,
        config: &Config,
        copy: Copy,
        from_configuration: bool,
    ) -> Result<StepResult> {
        let mut config = config.clone();
        // It took no part in this.
        config.api = None;
        config.submit = None;
        config.api_log = Default::default();
        config.broker.actor = Some(copy.actor.clone());
        let arguments = if from_configuration {
            "arguments from the configuration"
        } else {
            "the original's arguments"
        };
        let sent = Sent {
            what: format!(
                "a message for `{}` with {arguments} under an id of its own, published to `{}` of vhost \"{}\", marked taskdiag = \"{}\"",
                copy.actor, copy.queue, config.broker.vhost, self.run
            ),
            task_id: Some(copy.task_id.clone()),
            message_id: Some(copy.message_id.clone()),
            from_configuration,
        };
        let direct = Arc::new(Direct::new(copy));
        let plan = Plan {
            direct: Some(direct.clone()),
            ..self.plan.clone()
        };
        let observed = observe(&config, &plan, &mut |_, _| {}).await?;
        let (timeline, verdict, complaints) = observed.restore().await;
        self.complain(complaints);
        self.keep(number, &timeline)?;
        if let Some(why) = direct.failed() {
            return Ok(StepResult::Failed { sent: None, why });
        }
        Ok(tried(sent, &timeline, &verdict))
    }

    /// What has become of the original by now. Nothing is sent.
    async fn look_back(&self, task_id: &str) -> Result<StepResult> {
        let plan = Plan {
            post_mortem: Some(task_id.to_owned()),
            ..self.plan.clone()
        };
        let observed = observe(self.config, &plan, &mut |_, _| {}).await?;
        let (timeline, verdict, complaints) = observed.restore().await;
        self.complain(complaints);
        Ok(tried(Sent::default(), &timeline, &verdict))
    }

    fn keep(&self, number: usize, timeline: &Timeline) -> Result<()> {
        match self.record {
            Some(path) => recording::write(timeline, &beside(path, number)),
            None => Ok(()),
        }
    }
}

/// `RUN.jsonl` → `RUN.isolate-2.jsonl`.
fn beside(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let dot = if extension.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}.isolate-{number}{dot}{extension}"))
}

fn tried(sent: Sent, timeline: &Timeline, verdict: &Verdict) -> StepResult {
    if was_interrupted(timeline) {
        return StepResult::Interrupted { sent: Some(sent) };
    }
    StepResult::Done {
        sent,
        ending: Ending::of(timeline, verdict),
    }
}

fn was_interrupted(timeline: &Timeline) -> bool {
    timeline.events.iter().any(|event| {
        matches!(
            event.kind,
            EventKind::Ended {
                why: Ended::Interrupted
            }
        )
    })
}

/// Why the original's message cannot be copied.
fn unseen(timeline: &Timeline) -> String {
    match Story::new(timeline).visibility(Source::Firehose) {
        Visibility::Watching(_) => "the original brought no message that carries its id".into(),
        Visibility::Partial(reason) | Visibility::Blind(reason) => {
            format!("the original's message was not seen (firehose: {reason})")
        }
        Visibility::Absent => "the original's message was not seen".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_stand_beside_the_first() {
        assert_eq!(
            beside(Path::new("a/run.jsonl"), 2),
            Path::new("a/run.isolate-2.jsonl")
        );
        assert_eq!(beside(Path::new("run"), 1), Path::new("run.isolate-1"));
    }
}
