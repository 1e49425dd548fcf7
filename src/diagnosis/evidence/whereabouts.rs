//! Where the task's message is now, as far as a look after its last event shows it.

use super::{Story, Transfer, broker, vanished};
use crate::diagnosis::verdict::Whereabouts;
use crate::diagnosis::{Outcome, Stage};
use crate::framework::LogEvent;
use crate::timeline::Source;

impl<'a> Story<'a> {
    /// Only from an observation of the message itself; `None`: nothing says where it is.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        if self.is_ambiguous() {
            return None;
        }
        self.at_rest()
            .or_else(|| self.settled_message())
            .or_else(|| self.copied())
            .or_else(|| self.in_hand())
            .or_else(|| self.in_line())
            .or_else(|| self.removed())
    }

    fn place(&self, text: String, since_ms: Option<f64>, lost: Option<bool>) -> Option<Whereabouts> {
        Some(Whereabouts {
            place: text,
            since: since_ms.and_then(|at| self.timeline.wall_clock(at)),
            lost,
        })
    }

    /// Found on a companion queue, by a look into it.
    fn at_rest(&self) -> Option<Whereabouts> {
        let held = self.held().last()?;
        let queue = held.passage.queue;
        let text = match held.reason {
            // It runs again only if somebody moves it.
            Some(reason) => {
                return self.place(format!("on `{queue}`, dead-lettered: {reason}"), None, None);
            }
            None => match held.passage.message.eta_ms {
                Some(eta) => format!("on `{queue}`, due at {}", self.due(eta)),
                None => format!("on `{queue}`"),
            },
        };
        self.place(text, None, Some(false))
    }

    /// Acknowledged or rejected: the broker holds it no more, or as a dead letter.
    fn settled_message(&self) -> Option<Whereabouts> {
        let settled = self.attempt_over().filter(|told| told.settles());
        let at_ms = match &settled {
            Some(told) => told.at_ms,
            None => {
                let drained = broker::drained(self)?;
                self.timeline.event(drained)?.at_ms
            }
        };
        let copied = |passage: &Transfer<'_>| passage.at_ms <= at_ms && passage.message.is_retry();
        let again = |passage: &Transfer<'_>| passage.at_ms > at_ms;
        if self.publishes().iter().any(copied) || self.deliveries().any(again) {
            return None;
        }
        if self.dead_letters_grew() {
            let dead = self.dead_letter_queue()?;
            return self.place(format!("on `{dead}`, dead-lettered: rejected"), Some(at_ms), None);
        }
        if settled.is_some_and(|told| matches!(told.mark, Some(LogEvent::Rejecting { .. }))) {
            return None;
        }
        let lost = match self.outcome() {
            Outcome::Succeeded => Some(false),
            // It ran, and may have done its work.
            Outcome::Unfinished | Outcome::Unknown if self.reached(Stage::Entered).is_some() => None,
            // A copy for a retry would have been seen.
            _ => broker::saw_every_publish(self).then_some(true),
        };
        let text = "acknowledged, and no longer at the broker";
        self.place(text.into(), Some(at_ms), lost)
    }

    /// What was sent on for a retry, or to wait for its time.
    fn copied(&self) -> Option<Whereabouts> {
        let delay = self.delay_queue()?;
        let copy = self.publishes().iter().rfind(|passage| passage.queue == delay)?;
        let moved = self
            .publishes()
            .iter()
            .any(|passage| passage.queue == self.queue() && passage.at_ms > copy.at_ms);
        if moved {
            return None;
        }
        let due = copy
            .message
            .eta_ms
            .map_or_else(String::new, |eta| format!(", due at {}", self.due(eta)));
        let taken = self
            .deliveries_from(&delay)
            .find(|passage| passage.at_ms >= copy.at_ms);
        match taken {
            Some(passage) => {
                let who = self.holder(passage);
                self.place(
                    format!("held from `{delay}` by {who}{due}"),
                    Some(passage.at_ms),
                    Some(false),
                )
            }
            None => {
                let waits = self
                    .depths(&delay)
                    .last()
                    .is_some_and(|depth| depth.at_ms >= copy.at_ms && depth.ready > 0);
                let text = format!("on `{delay}`{due}");
                waits
                    .then(|| self.place(text, Some(copy.at_ms), Some(false)))
                    .flatten()
            }
        }
    }

    /// Handed to a consumer that the broker still waits for.
    fn in_hand(&self) -> Option<Whereabouts> {
        let passage = self.deliveries().last()?;
        if self.reached(Stage::Settled).is_some() {
            return None;
        }
        let held = self.infos(self.queue()).last().is_some_and(|info| {
            info.counted_ms > passage.at_ms && info.unacked.is_some_and(|unacked| unacked > 0)
        });
        let text = format!(
            "delivered from `{}` to {}, which has not acknowledged it",
            passage.queue,
            self.holder(passage)
        );
        held.then(|| self.place(text, Some(passage.at_ms), Some(false)))
            .flatten()
    }

    /// Published and taken by nobody.
    fn in_line(&self) -> Option<Whereabouts> {
        let passage = self.publishes().last()?;
        if !self.sees_all(Source::Firehose) || self.deliveries_from(passage.queue).next().is_some() {
            return None;
        }
        let last = self.depths(passage.queue).last()?;
        let text = format!("ready on `{}`, one of {}", passage.queue, last.ready);
        let there = last.exists && last.ready > 0 && last.at_ms > passage.at_ms;
        // A limit or a time to live may have taken it, and another one be what is counted.
        let kept = last.ready == 1 || !broker::may_lose_messages(self);
        (there && kept)
            .then(|| self.place(text, Some(passage.at_ms), Some(false)))
            .flatten()
    }

    /// It waited, and the queue was emptied.
    fn removed(&self) -> Option<Whereabouts> {
        let vanished =
            vanished::vanished(self).filter(|_| self.closed() && self.sees_all(Source::Firehose))?;
        let lost = (vanished.waited.is_some() && vanished.nobody_consumed).then_some(true);
        let text = format!("gone from `{}`, which was emptied", self.queue());
        self.place(text, Some(vanished.gone.at_ms), lost)
    }

    fn deliveries_from<'s>(&'s self, queue: &'s str) -> impl Iterator<Item = &'s Transfer<'a>> {
        self.deliveries
            .iter()
            .filter(move |passage| passage.queue == queue)
    }

    fn holder(&self, passage: &Transfer<'_>) -> String {
        match self.peer(passage.connection) {
            Some((_, pid)) => format!("pid {pid}"),
            None => passage.connection.to_owned(),
        }
    }

    fn due(&self, eta_ms: i64) -> String {
        jiff::Timestamp::from_millisecond(eta_ms)
            .map_or_else(|_| "?".into(), |at| at.strftime("%H:%M:%S UTC").to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::diagnosis::testing::{API, Scene, WORKER};

    fn now(scene: &Scene) -> Option<(String, Option<bool>)> {
        let message = scene.verdict().message?;
        Some((message.place, message.lost))
    }

    fn told(text: &str, lost: Option<bool>) -> Option<(String, Option<bool>)> {
        Some((text.into(), lost))
    }

    #[test]
    fn in_line_only_while_a_look_after_the_publish_counts_it() {
        let sent = Scene::accepted().row("PENDING").publish("default");
        assert_eq!(now(&sent), None);
        let limited = json!({ "x-max-length": 9 });
        let waits = sent
            .clone()
            .totals("default", 3, 0, json!({}))
            .depth("default", 3, 0);
        assert_eq!(now(&waits), told("ready on `default`, one of 3", Some(false)));
        // A limit may have dropped it, and three others wait.
        let dropped = sent.totals("default", 3, 0, limited).depth("default", 3, 0);
        assert_eq!(now(&dropped), None);
        assert_eq!(now(&waits.depth("default", 0, 0)), None);
    }

    #[test]
    fn in_hand_only_while_a_look_after_the_delivery_counts_it() {
        let taken = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER);
        assert_eq!(now(&taken), None);
        let held = taken.peer(WORKER, 7).totals("default", 0, 1, json!({}));
        let text = "delivered from `default` to pid 7, which has not acknowledged it";
        assert_eq!(now(&held), told(text, Some(false)));
        // An earlier look says nothing of now.
        let mut later = held;
        later = later.depth("default", 2, 1).totals("default", 2, 0, json!({}));
        assert_eq!(now(&later), None);
    }

    #[test]
    fn acknowledged_is_gone_and_lost_unless_it_succeeded_or_comes_again() {
        let text = "acknowledged, and no longer at the broker";
        let raised = Scene::entered().raised("ValueError: no").acked("m-1");
        assert_eq!(now(&raised), told(text, Some(true)));
        assert_eq!(
            now(&raised.clone().without(crate::timeline::Source::Firehose)),
            told(text, None)
        );
        assert_eq!(now(&raised.clone().row("COMPLETED")), told(text, Some(false)));
        // Delivered once more since.
        assert_eq!(now(&raised.deliver_as("m-1", WORKER, true)), None);
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        copy.eta_ms = Some(1_015_000);
        let retried = Scene::entered()
            .raised("ValueError: no")
            .publish_as("default.DQ", WORKER, copy)
            .acked("m-1");
        assert_eq!(now(&retried), None);
        let waits = retried.depth("default.DQ", 1, 1);
        let text = "on `default.DQ`, due at 00:16:55 UTC";
        assert_eq!(now(&waits), told(text, Some(false)));
    }

    #[test]
    fn of_two_messages_nothing_is_said() {
        let mut other = Scene::message("m-2");
        other.actor = Some("audit".into());
        let two = Scene::accepted()
            .publish_as("default", API, other)
            .publish("default")
            .totals("default", 2, 0, json!({}))
            .depth("default", 2, 0);
        assert_eq!(now(&two), None);
    }
}
