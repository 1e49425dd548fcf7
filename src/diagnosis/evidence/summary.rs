//! The task as it is told: its names, and each stage with what shows it.

use super::Story;
use crate::diagnosis::{Reached, Stage, Task};
use crate::framework::LogEvent;

impl Story<'_> {
    pub fn task(&self) -> Task {
        let publish = self
            .publishes
            .first()
            .or(self.deliveries.first())
            .or(self.held.first().map(|held| &held.passage));
        Task {
            id: self.task_id.map(str::to_owned),
            message_id: publish
                .and_then(|passage| passage.message.message_id.clone())
                .or_else(|| self.message_ids.iter().next().map(|id| (*id).to_owned())),
            actor: publish
                .and_then(|passage| passage.message.actor.clone())
                .or_else(|| {
                    self.lines.iter().find_map(|told| match told.mark {
                        Some(LogEvent::Received { actor, .. } | LogEvent::Failed { actor }) => {
                            Some(actor.clone())
                        }
                        _ => told.subject.map(|subject| subject.task.to_owned()),
                    })
                }),
            queue: publish
                .map(|passage| match self.kept_for_later() {
                    Some(_) => self.queue().to_owned(),
                    None => passage.queue.to_owned(),
                })
                .or_else(|| Some(self.queue().to_owned())),
        }
    }

    pub fn stages(&self) -> Vec<Reached> {
        Stage::all()
            .map(|stage| match self.reached.get(stage) {
                Some((_, evidence)) if stage == Stage::Published && self.waits_by_assumption => Reached {
                    stage,
                    reached: None,
                    at_ms: None,
                    evidence: evidence.clone(),
                    observed: Some(format!(
                        "cannot tell: messages wait on `{}`, and this one may be among them or never have been sent",
                        self.queue()
                    )),
                },
                Some((at_ms, evidence)) => Reached {
                    stage,
                    reached: Some(true),
                    at_ms: *at_ms,
                    evidence: evidence.clone(),
                    observed: match stage {
                        Stage::Submitted if self.timeline.is_by_command() => {
                            Some("the command ended with exit code 0".to_owned())
                        }
                        Stage::Settled => evidence.first().and_then(|n| self.settled_as(*n)),
                        _ => None,
                    },
                },
                None => {
                    let (reached, observed) = self.missing(stage);
                    Reached {
                        stage,
                        reached,
                        at_ms: None,
                        evidence: Vec::new(),
                        observed: Some(observed),
                    }
                }
            })
            .collect()
    }

    /// What the broker was told of the message, and what comes of it.
    fn settled_as(&self, n: u32) -> Option<String> {
        if let Some(held) = self.held.iter().find(|held| held.passage.n == n) {
            return Some(format!("rejected, a dead letter in `{}`", held.passage.queue));
        }
        let told = self.lines().iter().find(|told| told.n == n)?;
        match told.mark? {
            LogEvent::Rejecting { .. } => Some("rejected".into()),
            LogEvent::Acknowledging { .. } => {
                let copy = self
                    .publishes()
                    .iter()
                    .rfind(|passage| passage.at_ms <= told.at_ms && passage.message.is_retry());
                Some(
                    match copy.and_then(|copy| Some((copy.message.retries?, copy.queue))) {
                        Some((retry, queue)) => format!("acknowledged, retry {retry} was sent to `{queue}`"),
                        None => "acknowledged".into(),
                    },
                )
            }
            _ => None,
        }
    }
}
