//! How far the task came, and what became of it.

use super::{Depth, StageEvidence, Story, broker, control, holding, results};
use crate::diagnosis::{Outcome, Stage};
use crate::framework::{Handling, LogEvent};
use crate::timeline::{EventKind, Row, Source};

/// One moment reaches us through several sources within this time.
const ONE_MOMENT_MS: f64 = 500.0;

impl<'a> Story<'a> {
    pub(super) fn find_stages(&mut self) {
        let mut reached = StageEvidence::new();
        let mut put = |stage: Stage, at: Option<f64>, n: u32| {
            let (known, evidence) = reached.entry(stage).or_insert((at, Vec::new()));
            if let (Some(old), Some(new)) = (*known, at)
                && new < old
            {
                *known = Some(new);
            }
            if evidence.len() < 4 && !evidence.contains(&n) {
                evidence.push(n);
            }
        };
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Answered { task_id, .. } if task_id.is_some() || self.recognised().is_some() => {
                    put(Stage::Submitted, Some(event.at_ms), event.n)
                }
                // Of one that sent nothing at all no id is needed.
                EventKind::CommandEnded(end)
                    if end.code == Some(0)
                        && (end.task_id.is_some() || self.recognised().is_some() || self.sent_nothing()) =>
                {
                    put(Stage::Submitted, Some(event.at_ms), event.n)
                }
                EventKind::RowCommitted { visible_at_ms, .. } => {
                    put(Stage::Recorded, Some(*visible_at_ms), event.n)
                }
                EventKind::Row(row) if row.present => {
                    put(Stage::Recorded, Some(event.at_ms), event.n);
                    if self.timeline.setup.post_mortem {
                        put(Stage::Submitted, None, event.n);
                    }
                }
                _ => {}
            }
        }
        let queue = self.queue();
        // A queue that was deleted later held it all the same.
        let exists = |name: &str| {
            let depths = self.depths_since(name);
            depths.is_empty() || depths.iter().any(|depth| depth.exists)
        };
        for passage in &self.publishes {
            // What is sent to a classic queue while its node is down is dropped.
            let holds = exists(passage.queue) && self.dropped_by(passage).is_none();
            if (self.is_of_my_queue(passage.queue) && holds) || self.is_kept_for_later(passage) {
                put(Stage::Published, Some(passage.at_ms), passage.n);
            }
        }
        if (!self.sees(Source::Firehose) || self.firehose_in_part().is_some())
            && let Some(since) = self.submitted_at()
        {
            // With nobody to take messages away, growth right after the submission is a publish. What
            // was seen to be published for others is none of it.
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
            if let Some(depth) = after.iter().find(|depth| depth.ready > before)
                && after.iter().all(|depth| depth.consumers == 0)
            {
                put(Stage::Published, Some(depth.at_ms), depth.n);
            }
        }
        if let Some((at, n)) = holding::grew(self) {
            put(Stage::Published, Some(at), n);
        }
        let is_stuck = |depth: &Depth| {
            let full = || broker::slots(self).is_some_and(|slots| slots.counted && slots.are_taken());
            depth.ready > 0 && (depth.consumers == 0 || full()) && !broker::shrank(self)
        };
        if self.post_mortem()
            && self.held.is_empty()
            && let Some(depth) = self.depths(queue).last().filter(is_stuck)
            && depth.ready > self.looked_at_on(queue)
            && self.worker_lines.iter().all(|told| !told.line.carries_task_id)
        {
            // Nobody takes messages away and some wait: this one may be among them.
            put(Stage::Published, None, depth.n);
            self.waits_by_assumption = true;
        }
        for held in &self.held {
            put(Stage::Published, None, held.passage.n);
            // Only a consumer rejects; what expired or was dropped was never delivered.
            if held.reason == Some("rejected") {
                put(Stage::Delivered, None, held.passage.n);
                put(Stage::Settled, None, held.passage.n);
            }
            // It was delivered as often as the queue allows, and never settled.
            if held.reason == Some("delivery_limit") {
                put(Stage::Delivered, None, held.passage.n);
            }
        }
        for passage in &self.deliveries {
            let elsewhere = !self.is_of_my_queue(passage.queue);
            if passage.queue == queue || (elsewhere && self.is_by_the_watched_worker(passage)) {
                put(Stage::Delivered, Some(passage.at_ms), passage.n);
            }
        }
        for told in &self.lines {
            let at = Some(told.at_ms);
            match told.mark.and_then(LogEvent::handling) {
                Some(Handling::Delivered) => put(Stage::Delivered, at, told.n),
                Some(Handling::Received) => put(Stage::Received, at, told.n),
                // The line is written before the broker is told.
                Some(Handling::Settled) if self.acknowledgement_failed(told).is_some() => {
                    put(Stage::Received, at, told.n)
                }
                Some(Handling::Settled) => put(Stage::Settled, at, told.n),
                None => {}
            }
            if matches!(told.mark, Some(LogEvent::Succeeded { .. })) {
                put(Stage::Entered, at, told.n);
            }
        }
        // Another program may write to this log, and another actor of the task.
        let may_have_run = !self.cannot_have_run();
        for told in self.entries.iter().filter(|_| may_have_run) {
            put(Stage::Entered, Some(told.at_ms), told.n);
        }
        for raised in self.raised.iter().filter(|raised| raised.entered()) {
            put(Stage::Entered, Some(raised.at_ms), raised.n);
        }
        for (at, n) in self.own_lines().into_iter().filter(|_| may_have_run) {
            put(Stage::Entered, Some(at), n);
        }
        // Something that runs before the actor may write such a line, too.
        let not_begun = || {
            let told = results::not_stored(self);
            told.is_some_and(|told| match told.mark {
                Some(LogEvent::NotStored { error }) => results::is_of_the_start(error),
                _ => false,
            })
        };
        if may_have_run && !self.stands_before_the_actor() && !not_begun() {
            for told in self.lines.iter().filter(|told| told.is_by_the_task()) {
                put(Stage::Entered, Some(told.at_ms), told.n);
            }
        }
        for seen in [self.waited_for_the_row(), self.stands_in_the_actor()]
            .into_iter()
            .flatten()
        {
            put(Stage::Entered, Some(seen.at_ms), seen.n);
        }
        if let Some((answer, "active")) = control::holder(self) {
            put(Stage::Received, None, answer.n);
        }
        if let Some(back) = self.came_back() {
            put(Stage::Entered, Some(back.value), back.n);
        }
        if let Some(idle) = self.its_coroutine_waits() {
            put(Stage::Entered, Some(idle.at_ms), idle.n);
        }
        if let Some(inside) = self.its_thread_is_inside() {
            put(Stage::Entered, Some(inside.at_ms), inside.value);
            put(Stage::Entered, Some(inside.at_ms), inside.n);
        }
        // A status only the actor sets. `failed` may also be set by the API or by a middleware, so
        // it is no entry by itself.
        let setup = &self.timeline.setup;
        let last = self.rows.last().filter(|row| row.present);
        let is_older = last.is_some_and(|row| self.is_of_an_older_run(row));
        let is_new = self.lines().is_empty() || self.status_of_this_run().is_some();
        for row in &self.rows {
            let Some(status) = row.status.as_deref().filter(|_| !is_older) else {
                continue;
            };
            let is = |list: &[String]| list.iter().any(|word| word == status);
            // A running status that stands there although nobody can have taken the message, or while
            // the thread is still in a hook before the actor, was set by somebody else.
            // Or a hook did, which then had the message skipped.
            let by_somebody_else =
                || self.was_taken_by_nobody() || self.stands_before_the_actor() || self.was_skipped();
            if is(&setup.succeeded) || (is(&setup.running) && !by_somebody_else()) {
                put(Stage::Entered, Some(row.at_ms), row.n);
            }
            if is(&setup.succeeded) || is(&setup.failed) {
                put(Stage::Finished, Some(row.at_ms), row.n);
            }
        }
        for n in self.returned_for_good().unwrap_or_default() {
            let at = self.timeline.event(n).map(|event| event.at_ms);
            put(Stage::Entered, at, n);
            put(Stage::Finished, at, n);
        }
        if let Some([over, _]) = self.row_removed_when_done() {
            put(Stage::Finished, None, over);
        }
        if let Some(said) = self.api_final() {
            put(Stage::Finished, Some(said.at_ms), said.n);
            if self.api_succeeded().is_some() && is_new {
                put(Stage::Entered, Some(said.at_ms), said.n);
            }
        }
        // A failed status with nothing to say that the actor was not entered, after a worker had it.
        if reached.contains_key(&Stage::Finished)
            && !reached.contains_key(&Stage::Entered)
            && (reached.contains_key(&Stage::Received)
                || (reached.contains_key(&Stage::Delivered) && !self.sees(Source::WorkerLog)))
            && !self.says_not_entered()
            && !self.could_see_entry()
            && is_new
            && let Some(evidence) = reached.get(&Stage::Finished).cloned()
        {
            reached.insert(Stage::Entered, (None, evidence.1));
        }
        // What came later proves what came before, except the row, which may really be missing, and the way
        // of a message that there was none of.
        let without_message = self.is_without_message();
        let told_by_status = self.are_statuses_alone(&reached);
        for later in Stage::all().rev() {
            let Some((_, evidence)) = reached.get(&later).cloned() else {
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
                reached.entry(earlier).or_insert((None, evidence.clone()));
            }
        }
        // One moment reaches us through several sources with different delays: no stage can have
        // been reached after a later one.
        let mut bound = f64::INFINITY;
        let finished = reached.get(&Stage::Finished).and_then(|(at, _)| *at);
        for stage in Stage::all()
            .rev()
            .filter(|stage| *stage != Stage::Recorded)
            .filter(|stage| *stage != Stage::Settled || self.acknowledges_after_the_run())
        {
            if let Some((Some(at), _)) = reached.get_mut(&stage) {
                // An earlier attempt may have been settled, or the message that this one came from.
                if stage == Stage::Settled && finished.is_some_and(|finished| finished > *at + ONE_MOMENT_MS)
                {
                    continue;
                }
                *at = at.min(bound);
                bound = *at;
            }
        }
        self.reached = reached;
    }

    /// Afterwards, with nothing to show whether a message was sent for the task.
    pub fn may_have_been_sent(&self) -> bool {
        self.post_mortem()
            && !self.is_trace()
            && self.furthest().is_some_and(|stage| stage < Stage::Published)
    }

    /// A line says that this message will not run, or did not get into the actor.
    pub fn says_not_entered(&self) -> bool {
        self.raised.iter().any(|raised| !raised.entered())
            || self
                .lines
                .iter()
                .any(|told| told.mark.is_some_and(LogEvent::denies_entry))
    }

    pub fn reached(&self, stage: Stage) -> Option<&(Option<f64>, Vec<u32>)> {
        self.reached.get(&stage)
    }

    /// The furthest stage that counts for the choice of the cause.
    pub fn furthest(&self) -> Option<Stage> {
        let furthest = self
            .reached
            .keys()
            .copied()
            .filter(|stage| *stage != Stage::Settled)
            .max();
        // A failed status set by somebody else than the actor does not carry the task further.
        match furthest {
            Some(Stage::Finished) if !self.reached.contains_key(&Stage::Entered) => self
                .reached
                .keys()
                .copied()
                .filter(|stage| *stage < Stage::Entered)
                .max(),
            other => other,
        }
    }

    pub fn outcome(&self) -> Outcome {
        if self.row_succeeded().is_some()
            || self.api_succeeded().is_some()
            || self.returned_for_good().is_some()
            || self.row_removed_when_done().is_some()
        {
            return Outcome::Succeeded;
        }
        let failed_attempt = self.reached.contains_key(&Stage::Entered)
            && (self.raised.last().is_some()
                || self.is_said_to_have_failed()
                || self.died_in_actor().is_some());
        if self.row_failed().is_some() || failed_attempt {
            return Outcome::Failed;
        }
        if self.sees(Source::Database) && self.rows.iter().any(|row| row.present) {
            Outcome::Unfinished
        } else {
            Outcome::Unknown
        }
    }

    /// By more than a line in the task's name: what runs before the actor may write such a line, too.
    pub fn was_surely_entered(&self) -> bool {
        let evidence = self
            .reached(Stage::Entered)
            .map(|(_, evidence)| evidence.as_slice());
        let in_its_name = |n: &u32| {
            let mut lines = self.lines.iter();
            lines.any(|told| told.n == *n && told.is_by_the_task() && !told.line.entry)
        };
        evidence.is_some_and(|evidence| !evidence.iter().all(in_its_name))
    }

    /// Silence may end the wait: the API has answered, and no actor is at work.
    pub fn silence_counts(&self) -> bool {
        if self.answered_at().is_none() && !self.post_mortem() {
            return false;
        }
        if !self.reached.contains_key(&Stage::Entered) {
            return true;
        }
        // Nothing more comes of an attempt that is over, unless a retry is waited for.
        (self.attempt_over().is_some() || !self.raised.is_empty()) && !self.timeline.setup.wait_retries
    }

    pub fn last_activity_ms(&self) -> f64 {
        let mut last = self.last_news_ms();
        // The last look repeats the row: only a change is activity.
        let mut before: Option<&Row> = None;
        for row in &self.rows {
            if before.is_none_or(|before| {
                before.status != row.status || before.xmax != row.xmax || before.present != row.present
            }) {
                last = last.max(row.at_ms);
            }
            before = Some(row.value);
        }
        last
    }
}
