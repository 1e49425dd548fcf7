//! Which stages the task reached, when, and which events show it.

use std::collections::BTreeMap;

use super::{Depth, Story, broker, control, holding, results};
use crate::diagnosis::Stage;
use crate::framework::{Handling, LogEvent};
use crate::timeline::{EventKind, Source};

/// More events add nothing for who wants to check a stage.
const MOST_EVIDENCE: usize = 4;

/// One moment reaches us through several sources within this time.
const ONE_MOMENT_MS: f64 = 500.0;

/// When each stage was reached first, where that is known, and the events that show it.
#[derive(Default)]
pub(super) struct StageEvidence(BTreeMap<Stage, (Option<f64>, Vec<u32>)>);

impl StageEvidence {
    /// This event shows that the stage was reached, by that moment at the latest.
    fn put(&mut self, stage: Stage, at: Option<f64>, n: u32) {
        let (known, evidence) = self.0.entry(stage).or_insert((at, Vec::new()));
        if let (Some(old), Some(new)) = (*known, at)
            && new < old
        {
            *known = Some(new);
        }
        if evidence.len() < MOST_EVIDENCE && !evidence.contains(&n) {
            evidence.push(n);
        }
    }

    /// What shows another stage shows this one, if nothing else does.
    fn follow_from(&mut self, stage: Stage, evidence: &[u32]) {
        self.0.entry(stage).or_insert((None, evidence.to_vec()));
    }

    pub fn get(&self, stage: Stage) -> Option<&(Option<f64>, Vec<u32>)> {
        self.0.get(&stage)
    }

    pub fn has(&self, stage: Stage) -> bool {
        self.0.contains_key(&stage)
    }

    pub fn stages(&self) -> impl Iterator<Item = Stage> {
        self.0.keys().copied()
    }
}

impl Story<'_> {
    /// First what was seen of each stage, then what follows from that.
    pub(super) fn find_stages(&mut self) {
        let mut reached = StageEvidence::default();
        self.find_submitted(&mut reached);
        self.find_recorded(&mut reached);
        self.find_published(&mut reached);
        if let Some(depth) = self.waits_afterwards() {
            reached.put(Stage::Published, None, depth.n);
            self.waits_by_assumption = true;
        }
        self.find_at_rest(&mut reached);
        self.find_delivered(&mut reached);
        self.find_handled(&mut reached);
        self.find_entered(&mut reached);
        self.find_in_rows(&mut reached);
        self.find_finished(&mut reached);
        self.infer_entered(&mut reached);
        self.infer_earlier(&mut reached);
        self.order_moments(&mut reached);
        self.reached = reached;
    }

    fn find_submitted(&self, reached: &mut StageEvidence) {
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Answered { task_id, .. } if task_id.is_some() || self.recognised().is_some() => {
                    reached.put(Stage::Submitted, Some(event.at_ms), event.n)
                }
                // Of one that sent nothing at all no id is needed.
                EventKind::CommandEnded(end)
                    if end.code == Some(0)
                        && (end.task_id.is_some() || self.recognised().is_some() || self.sent_nothing()) =>
                {
                    reached.put(Stage::Submitted, Some(event.at_ms), event.n)
                }
                EventKind::Row(row) if row.present && self.timeline.setup.post_mortem => {
                    reached.put(Stage::Submitted, None, event.n)
                }
                _ => {}
            }
        }
    }

    fn find_recorded(&self, reached: &mut StageEvidence) {
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::RowCommitted { visible_at_ms, .. } => {
                    reached.put(Stage::Recorded, Some(*visible_at_ms), event.n)
                }
                EventKind::Row(row) if row.present => {
                    reached.put(Stage::Recorded, Some(event.at_ms), event.n)
                }
                _ => {}
            }
        }
    }

    /// A publish that a queue took, or a queue that grew.
    fn find_published(&self, reached: &mut StageEvidence) {
        // A queue that was deleted later held it all the same.
        let exists = |name: &str| {
            let depths = self.depths_since(name);
            depths.is_empty() || depths.iter().any(|depth| depth.exists)
        };
        for passage in &self.publishes {
            // What is sent to a classic queue while its node is down is dropped.
            let holds = exists(passage.queue)
                && self.dropped_by(passage).is_none()
                && self.missing_when_sent(passage).is_none();
            if (self.is_of_my_queue(passage.queue) && holds) || self.is_kept_for_later(passage) {
                reached.put(Stage::Published, Some(passage.at_ms), passage.n);
            }
        }
        if let Some(depth) = self.grew_by_more_than_others() {
            reached.put(Stage::Published, Some(depth.at_ms), depth.n);
        }
        if let Some((at, n)) = holding::grew(self) {
            reached.put(Stage::Published, Some(at), n);
        }
    }

    /// Where not every publish is seen: with nobody to take messages away, growth right after the submission is
    /// a publish. What was seen to be published for others is none of it.
    pub(super) fn grew_by_more_than_others(&self) -> Option<Depth> {
        if self.sees(Source::Firehose) && self.firehose_in_part().is_none() {
            return None;
        }
        let since = self.submitted_at()?;
        let queue = self.queue();
        let before = self
            .depths(queue)
            .rfind(|depth| depth.at_ms <= since)
            .map_or(0, |depth| depth.ready);
        let others = self.timeline.events.iter().filter(|event| {
            event.at_ms >= since
                && matches!(&event.kind, EventKind::Publish { message, .. }
                    if event.kind.is_put_on(queue) && !message.carries_task_id)
        });
        let before = before + others.count() as u64;
        let after = self.depths_since(queue);
        let nobody_takes = after.iter().all(|depth| depth.consumers == 0);
        let mut grown = after.iter().filter(|depth| depth.ready > before);
        grown.next().filter(|_| nobody_takes).copied()
    }

    /// Afterwards: nobody takes messages away and some wait. The task's may be among them.
    fn waits_afterwards(&self) -> Option<Depth> {
        let queue = self.queue();
        let is_stuck = |depth: &Depth| {
            let full = || broker::slots(self).is_some_and(|slots| slots.counted && slots.are_taken());
            depth.ready > 0 && (depth.consumers == 0 || full()) && !broker::shrank(self)
        };
        if !self.post_mortem() || !self.held.is_empty() || self.is_known_to_nobody() {
            return None;
        }
        let depth = self.depths(queue).last().filter(is_stuck)?;
        let is_spoken_of = || self.worker_lines.iter().any(|told| told.line.carries_task_id);
        (depth.ready > self.looked_at_on(queue) && !is_spoken_of()).then_some(depth)
    }

    /// Copies on the delay and dead-letter queues.
    fn find_at_rest(&self, reached: &mut StageEvidence) {
        for held in &self.held {
            reached.put(Stage::Published, None, held.passage.n);
            // Only a consumer rejects; what expired or was dropped was never delivered.
            if held.reason == Some("rejected") {
                reached.put(Stage::Delivered, None, held.passage.n);
                reached.put(Stage::Settled, None, held.passage.n);
            }
            // It was delivered as often as the queue allows, and never settled.
            if held.reason == Some("delivery_limit") {
                reached.put(Stage::Delivered, None, held.passage.n);
            }
        }
    }

    fn find_delivered(&self, reached: &mut StageEvidence) {
        for passage in &self.deliveries {
            // A worker may consume other queues as well.
            let elsewhere = !self.is_of_my_queue(passage.queue);
            if passage.queue == self.queue() || (elsewhere && self.is_by_the_watched_worker(passage)) {
                reached.put(Stage::Delivered, Some(passage.at_ms), passage.n);
            }
        }
    }

    /// What the worker's own lines say of the message, and what it answers when it is asked.
    fn find_handled(&self, reached: &mut StageEvidence) {
        for told in &self.lines {
            let at = Some(told.at_ms);
            match told.mark.and_then(LogEvent::handling) {
                Some(Handling::Delivered) => reached.put(Stage::Delivered, at, told.n),
                Some(Handling::Received) => reached.put(Stage::Received, at, told.n),
                // The line is written before the broker is told.
                Some(Handling::Settled) if self.acknowledgement_failed(told).is_some() => {
                    reached.put(Stage::Received, at, told.n)
                }
                Some(Handling::Settled) => reached.put(Stage::Settled, at, told.n),
                None => {}
            }
            // A limit is counted from the start of a run.
            let is_of_a_run = matches!(
                told.mark,
                Some(LogEvent::Succeeded { .. } | LogEvent::KilledAtTimeLimit | LogEvent::TimeLimit)
            );
            // What raises it elsewhere may be a middleware.
            let is_of_a_run =
                is_of_a_run || self.master_takes() && matches!(told.mark, Some(LogEvent::Retrying { .. }));
            if is_of_a_run && told.message_id().is_some() {
                reached.put(Stage::Entered, at, told.n);
            }
        }
        if let Some((answer, "active")) = control::holder(self) {
            reached.put(Stage::Received, None, answer.n);
        }
    }

    /// What the actor itself wrote, raised, or was seen doing.
    fn find_entered(&self, reached: &mut StageEvidence) {
        let mut put = |at_ms: f64, n: u32| reached.put(Stage::Entered, Some(at_ms), n);
        // Another program may write to this log, and another actor of the task.
        let may_have_run = !self.cannot_have_run();
        for told in self.entries.iter().filter(|_| may_have_run) {
            put(told.at_ms, told.n);
        }
        for raised in self.raised.iter().filter(|raised| raised.entered()) {
            put(raised.at_ms, raised.n);
        }
        for (at, n) in self.own_lines().into_iter().filter(|_| may_have_run) {
            put(at, n);
        }
        // Something that runs before the actor may write such a line, too.
        let not_begun = || {
            let told = results::not_stored(self);
            told.is_some_and(|told| results::is_of_the_start(self, told))
        };
        if may_have_run && !self.stands_before_the_actor() && !not_begun() {
            for told in self.lines.iter().filter(|told| told.is_by_the_task()) {
                put(told.at_ms, told.n);
            }
        }
        for seen in [self.waited_for_the_row(), self.stands_in_the_actor()]
            .into_iter()
            .flatten()
        {
            put(seen.at_ms, seen.n);
        }
        if let Some(told) = results::failed_behind_its_run(self) {
            put(told.at_ms, told.n);
        }
        if let Some(ran) = self.ran_in_the_api() {
            put(ran.at_ms, ran.n);
        }
        if let Some(back) = self.came_back() {
            put(back.value, back.n);
        }
        if let Some(idle) = self.its_coroutine_waits() {
            put(idle.at_ms, idle.n);
        }
        if let Some(inside) = self.its_thread_is_inside() {
            put(inside.at_ms, inside.value);
            put(inside.at_ms, inside.n);
        }
        if !reached.has(Stage::Entered)
            && may_have_run
            && let Some((told, _)) = self.ran_between()
        {
            reached.put(Stage::Entered, Some(told.at_ms), told.n);
        }
    }

    /// A status only the actor sets. `failed` may also be set by the API or by a middleware, so it is no entry
    /// by itself.
    fn find_in_rows(&self, reached: &mut StageEvidence) {
        let setup = &self.timeline.setup;
        let last = self.rows.last().filter(|row| row.present);
        if last.is_some_and(|row| self.is_of_an_older_run(row)) {
            return;
        }
        for row in &self.rows {
            let Some(status) = row.status.as_deref() else {
                continue;
            };
            let is = |list: &[String]| list.iter().any(|word| word == status);
            // A running status that stands there although nobody can have taken the message, or while
            // the thread is still in a hook before the actor, was set by somebody else.
            // Or a hook did, which then had the message skipped.
            // A worker that died gave back what it had begun.
            let untaken = || self.was_taken_by_nobody() && self.life_ended_in_a_death().is_none();
            let by_somebody_else = || untaken() || self.stands_before_the_actor() || self.was_skipped();
            if is(&setup.succeeded) || (is(&setup.running) && !by_somebody_else()) {
                reached.put(Stage::Entered, Some(row.at_ms), row.n);
            }
            if is(&setup.succeeded) || is(&setup.failed) {
                reached.put(Stage::Finished, Some(row.at_ms), row.n);
            }
        }
    }

    /// What tells of the end other than a status in the row.
    fn find_finished(&self, reached: &mut StageEvidence) {
        for n in self.returned_for_good().unwrap_or_default() {
            let at = self.timeline.event(n).map(|event| event.at_ms);
            reached.put(Stage::Entered, at, n);
            reached.put(Stage::Finished, at, n);
        }
        if let Some([over, _]) = self.row_removed_when_done() {
            reached.put(Stage::Finished, None, over);
        }
        if let Some(said) = self.api_final() {
            reached.put(Stage::Finished, Some(said.at_ms), said.n);
            if self.api_succeeded().is_some() && self.status_is_new() {
                reached.put(Stage::Entered, Some(said.at_ms), said.n);
            }
        }
    }

    /// Nothing shows that the status was there before a worker spoke of the task.
    fn status_is_new(&self) -> bool {
        self.lines().is_empty() || self.status_of_this_run().is_some()
    }

    /// A failed status with nothing to say that the actor was not entered, after a worker had it.
    fn infer_entered(&self, reached: &mut StageEvidence) {
        let Some((_, evidence)) = reached.get(Stage::Finished).cloned() else {
            return;
        };
        if reached.has(Stage::Entered) {
            return;
        }
        let was_with_a_worker =
            reached.has(Stage::Received) || (reached.has(Stage::Delivered) && !self.sees(Source::WorkerLog));
        if was_with_a_worker && !self.says_not_entered() && !self.could_see_entry() && self.status_is_new() {
            reached.follow_from(Stage::Entered, &evidence);
        }
    }

    /// What came later proves what came before, except the row, which may really be missing, and the way
    /// of a message that there was none of.
    fn infer_earlier(&self, reached: &mut StageEvidence) {
        let without_message = self.is_without_message();
        let told_by_status = self.are_statuses_alone(reached);
        for later in Stage::all().rev() {
            let Some((_, evidence)) = reached.get(later).cloned() else {
                continue;
            };
            if matches!(
                later,
                Stage::Finished | Stage::Settled | Stage::Recorded | Stage::Submitted
            ) {
                continue;
            }
            for earlier in Stage::all()
                .filter(|stage| *stage < later && *stage != Stage::Recorded && *stage != Stage::Submitted)
                .filter(|stage| !without_message || *stage >= Stage::Entered)
                // The API may have done the work, or somebody else written the status.
                .filter(|_| later != Stage::Entered || !told_by_status)
            {
                reached.follow_from(earlier, &evidence);
            }
        }
    }

    /// One moment reaches us through several sources with different delays: no stage can have been reached
    /// after a later one.
    fn order_moments(&self, reached: &mut StageEvidence) {
        let mut bound = f64::INFINITY;
        let finished = reached.get(Stage::Finished).and_then(|(at, _)| *at);
        for stage in Stage::all()
            .rev()
            .filter(|stage| *stage != Stage::Recorded)
            .filter(|stage| *stage != Stage::Settled || self.acknowledges_after_the_run())
        {
            if let Some((Some(at), _)) = reached.0.get_mut(&stage) {
                // An earlier attempt may have been settled, or the message that this one came from.
                if stage == Stage::Settled && finished.is_some_and(|finished| finished > *at + ONE_MOMENT_MS)
                {
                    continue;
                }
                *at = at.min(bound);
                bound = *at;
            }
        }
    }
}
