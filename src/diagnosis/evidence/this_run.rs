//! What belongs to this run of the task, and not to an earlier one of the same id.

use super::{Fact, Story, WorkerLine, broker, holding, retries, stacks};
use crate::diagnosis::premises::EventId;
use crate::framework::LogEvent;
use crate::timeline::{Event, EventKind, Row, Source};

/// Two sources with different delays.
const A_MOMENT_MS: f64 = 300.0;

/// So soon after its last status a run that is over is acknowledged.
const A_TURN_MS: f64 = 50.0;

/// A UUID that is drawn or counts up: one made of a name would be the same again.
fn is_random(id: &str) -> bool {
    let digits: Vec<char> = id.chars().filter(|c| *c != '-').collect();
    let is_uuid = digits.len() == 32 && digits.iter().all(char::is_ascii_hexdigit);
    is_uuid && !matches!(digits[12], '3' | '5')
}

/// Between these two moments: it was still invisible at the first, where a look was that early.
#[derive(Debug, Clone, Copy)]
pub struct Commit {
    pub invisible_at_ms: Option<f64>,
    pub visible_at_ms: f64,
}

impl<'a> Story<'a> {
    /// It says that it failed, and said that it succeeded after the work had begun.
    pub fn succeeded_before_it_failed(&self) -> Option<Fact<&'a Row>> {
        let (failed, began) = (self.row_failed()?, self.began_at()?);
        let done = &self.timeline.setup.succeeded;
        let says_done = |row: &Row| row.status.as_ref().is_some_and(|word| done.contains(word));
        let mut looks = self
            .rows
            .iter()
            .filter(|row| row.at_ms >= began && row.n < failed.n);
        looks.rfind(|row| says_done(row)).copied()
    }

    /// When this version of the row was committed, as the database's snapshots place it.
    pub fn commits_of(&self, row: &Row) -> impl Iterator<Item = Fact<Commit>> + use<'_, 'a> {
        let wanted = row.xmin;
        self.facts(move |kind| match kind {
            EventKind::RowCommitted {
                xmin,
                invisible_at_ms,
                visible_at_ms,
            } if Some(*xmin) == wanted => Some(Commit {
                invisible_at_ms: *invisible_at_ms,
                visible_at_ms: *visible_at_ms,
            }),
            _ => None,
        })
    }
}

impl Story<'_> {
    /// What the row says is of an older run: it was so before the submission, it is final while nobody can have
    /// taken this run's message, or while this run went another way and nothing shows that it wrote that.
    pub(super) fn is_of_an_older_run(&self, row: &Row) -> bool {
        let waits = || {
            let was_sent = || !self.publishes().is_empty() || self.grew_by_more_than_others().is_some();
            !self.post_mortem()
                && was_sent()
                && self.deliveries().next().is_none()
                && self.lines().is_empty()
                && self.was_taken_by_nobody()
        };
        let went_another_way = || self.status_of_this_run().is_none() && self.went_another_way(row);
        self.older_row().is_some() || (self.says_it_is_over(row) && (waits() || went_another_way()))
    }

    /// The actor was not called, is still at work, or failed where the row says that it succeeded.
    fn went_another_way(&self, row: &Row) -> bool {
        let succeeded = &self.timeline.setup.succeeded;
        let says_success = row
            .status
            .as_ref()
            .is_some_and(|status| succeeded.contains(status));
        let begins = |told: &&WorkerLine<'_>| {
            told.line.entry || matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called))
        };
        let began = self.lines().iter().rfind(begins);
        let fails = |told: &WorkerLine<'_>| {
            told.mark.is_some_and(LogEvent::fails_attempt) && began.is_none_or(|began| told.n > began.n)
        };
        let failed = self.died_in_actor().is_some()
            || self.lines().iter().any(fails)
            || self
                .raised()
                .last()
                .is_some_and(|raised| began.is_none_or(|told| told.n < raised.n));
        let is_inside = || {
            self.its_thread_is_inside().is_some()
                || self.stands_in_the_actor().is_some()
                || began
                    .filter(|_| self.attempt_over().is_none())
                    .and_then(|told| stacks::at_work(self, told.pid?))
                    .is_some()
        };
        let is_held = || {
            self.deliveries()
                .last()
                .is_some_and(|passage| self.is_held(passage))
        };
        (says_success && failed) || self.was_skipped() || is_inside() || is_held()
    }

    /// What shows that a final status came in this run: it was another one since the submission, or the row's version came
    /// while the actor ran, which returned.
    pub(in crate::diagnosis) fn status_of_this_run(&self) -> Option<Vec<u32>> {
        // Afterwards it is the task's last word, unless a message of it may wait, or its last run says otherwise.
        if self.post_mortem() {
            let last = self.rows().iter().rfind(|row| row.present);
            let is_other = last.is_some_and(|row| self.went_another_way(row));
            let may_wait = self.waits_by_assumption || !self.held.is_empty() || self.empty_queue().is_none();
            // A worker that tells of each message has nothing of this one: somebody else may have written that.
            let tells = self.sees(Source::WorkerLog) && self.debug_log();
            let by_another = tells && self.is_told_by_status_alone() && !self.row_is_a_result();
            return (!may_wait && !is_other && !by_another).then(Vec::new);
        }
        let before = self
            .rows()
            .iter()
            .find(|row| row.present && !self.says_it_is_over(row))
            .map(|row| row.n);
        // That there was none proves it where no older one can come back: its id is the message's own.
        let absent = || {
            let absent = self.rows().iter().find(|row| !row.present)?;
            let is_new = self.row_is_a_result() || !self.rows_come_back();
            is_new.then_some(absent.n)
        };
        let told = || {
            self.find(|event| match &event.kind {
                EventKind::ApiStatus {
                    value: Some(word), ..
                } if !self.is_final(word) => Some(event.n),
                _ => None,
            })
        };
        let returned = || {
            let returned = self.returned_cleanly()?;
            self.is_written_meanwhile(returned.at_ms).then_some(returned.n)
        };
        let is_new = || self.result_of_a_new_message();
        before
            .or_else(told)
            .or_else(absent)
            .or_else(returned)
            .or_else(is_new)
            .map(|n| vec![n])
            .or_else(|| self.row_of_a_new_task())
    }

    /// By the last look nothing waits on the task's queue, and nobody holds a message of it.
    pub(in crate::diagnosis) fn empty_queue(&self) -> Option<EventId> {
        let last = self.infos(self.queue()).next_back()?;
        (last.ready == Some(0) && last.unacked == Some(0)).then_some(last.n)
    }

    /// The row is its message's result, by an id that was made at random for this run: none was sent with it before.
    fn result_of_a_new_message(&self) -> Option<u32> {
        let id = self
            .task_id()
            .filter(|id| is_random(id) && self.is_my_message(id))?;
        let sent = self.publishes().first().filter(|sent| !sent.message.is_retry())?;
        let since = self.submitted_at()?;
        let is_ours = sent.message.message_id.as_deref() == Some(id) && sent.at_ms >= since;
        (is_ours && self.row_may_be_a_result() && self.sees_all(Source::Firehose)).then_some(sent.n)
    }

    /// This run went another way than the row's first word says, which came out of nothing: somebody may have put an
    /// older row back.
    fn rows_come_back(&self) -> bool {
        let last = self.rows().iter().rfind(|row| row.present);
        last.is_some_and(|row| self.went_another_way(row))
    }

    /// Events of this run show that the final status is its own: what cannot be seen afterwards takes nothing back.
    pub(in crate::diagnosis) fn saw_this_run_write(&self) -> bool {
        !self.post_mortem() && self.status_of_this_run().is_some()
    }

    /// The API made the task's id for this request, and the version of the row that is seen came after it: there
    /// was no earlier task of this id, and what the row says was said of this one.
    fn row_of_a_new_task(&self) -> Option<Vec<u32>> {
        let made = self.find(|event| match &event.kind {
            EventKind::Answered {
                task_id: Some(id),
                new_id: true,
                ..
            } if is_random(id) && !self.rows_come_back() => Some(event.n),
            _ => None,
        })?;
        let (since, last) = (self.submitted_at()?, self.last_row()?);
        let mut commits = self.commits_of(&last);
        let later = commits.find(|commit| commit.invisible_at_ms.is_some_and(|at| at >= since))?;
        Some(vec![made, later.n])
    }

    /// The broker counts the message as acknowledged, and the log has no line since it was handed out: what it says
    /// comes late.
    pub(super) fn log_is_behind(&self) -> bool {
        let Some(passage) = self.deliveries().last() else {
            return false;
        };
        let is_later = |told: &WorkerLine<'_>| !told.line.before && told.at_ms >= passage.at_ms;
        broker::drained(self).is_some() && !self.worker_lines().iter().any(is_later)
    }

    /// The message went to a process that does not write the watched log.
    pub(super) fn taken_by_another(&self) -> bool {
        self.deliveries().any(|passage| {
            self.peer(passage.connection)
                .is_some_and(|peer| self.is_watched(peer.value) == Some(false))
        })
    }

    /// A worker whose log is not watched has taken and acknowledged it: it may well have run there.
    pub(in crate::diagnosis) fn was_settled_elsewhere(&self) -> bool {
        self.taken_by_another() && broker::drained(self).is_some() && !self.dead_letters_grew()
    }

    /// Nobody can have taken the message: none was delivered, or there was no consumer.
    pub(super) fn was_taken_by_nobody(&self) -> bool {
        // A trace may have begun after the delivery.
        let undelivered = self.sees_all(Source::Firehose)
            && self.deliveries().next().is_none()
            && !(self.is_trace() && self.publishes.is_empty());
        let depths = self.depths_since(self.queue());
        let nobody = !depths.is_empty()
            && depths.iter().all(|depth| depth.consumers == 0)
            && self.deliveries().next().is_none();
        // Afterwards whoever had taken it may be gone: only what waits was taken by nobody.
        let is_left = || depths.last().is_some_and(|depth| depth.ready > 0);
        // It came back from a worker that told of it.
        let told_of = |told: &WorkerLine<'_>| told.mark.is_some_and(|mark| mark.handling().is_some());
        let was_had = || self.lines.iter().any(told_of);
        (undelivered || nobody && (!self.post_mortem() || is_left())) && !was_had()
    }

    /// A message waits that may be the task's, and nobody takes any: whatever the row says, nothing shows that it ran.
    pub(in crate::diagnosis) fn waits_untaken(&self) -> bool {
        self.waits_by_assumption && self.lines().is_empty() && self.was_taken_by_nobody()
    }

    /// Afterwards: the application may send the task again, by an id that it chose or while the row is back where it was
    /// before the work, and a message waits that nobody takes.
    pub(in crate::diagnosis) fn may_wait_again(&self) -> bool {
        let is_chosen = self.keeps_results() && self.task_id().is_some_and(|id| !is_random(id));
        let waits = self.depths(self.queue()).last();
        let waits = waits.is_some_and(|depth| depth.ready > 0 && depth.consumers == 0);
        self.post_mortem() && (is_chosen || self.is_back_before_the_work()) && waits
    }

    /// No worker can have run it, whatever a log says: it was handed to nobody, and nothing at all was handed out from
    /// its queue.
    pub(super) fn cannot_have_run(&self) -> bool {
        let Some(since) = self
            .submitted_at()
            .filter(|_| !self.post_mortem() && !self.is_trace())
        else {
            return false;
        };
        let from_its_queue = |event: &Event| {
            event.at_ms >= since
                && matches!(&event.kind, EventKind::Deliver { queue, .. } if self.is_of_my_queue(queue))
        };
        self.deliveries().next().is_none()
            && self.lines.iter().all(|told| told.mark.is_none())
            && self.was_taken_by_nobody()
            && !self.timeline.events.iter().any(from_its_queue)
    }

    /// The last line by which the actor returned.
    pub(super) fn last_return(&self) -> Option<&WorkerLine<'_>> {
        let is_return = |told: &&WorkerLine<'_>| {
            matches!(told.mark, Some(LogEvent::Completed | LogEvent::Succeeded { .. }))
        };
        self.lines().iter().rfind(is_return)
    }

    /// The worker says that the actor returned, and of nothing that speaks against it.
    fn returned_cleanly(&self) -> Option<&WorkerLine<'_>> {
        let is_clean = self.raised().is_empty() && !self.says_not_entered();
        self.last_return().filter(|_| is_clean)
    }

    /// Whoever set the final status, this run has come to its end: nothing changes it any more.
    pub(in crate::diagnosis) fn status_stays(&self) -> bool {
        self.status_of_this_run().is_some() || (!self.post_mortem() && self.returned_cleanly().is_some())
    }

    /// Its attempt was not over at that moment, or a retry of it was to come. In words, and what shows it.
    pub(in crate::diagnosis) fn goes_on_since(&self, at_ms: f64) -> Option<(&'static str, Vec<EventId>)> {
        if let Some(shown) = holding::is_at_it_since(self, at_ms) {
            let words = "the actor has not returned, by the stack of its thread";
            return Some((words, shown.to_vec()));
        }
        if let Some(comes) = retries::comes_after(self, at_ms) {
            return Some(("its retry had not run by then", vec![comes]));
        }
        let is_over = self.attempt_over().is_some() || self.call_has_returned();
        let held =
            holding::is_held_since(self, at_ms + A_TURN_MS).filter(|_| !self.post_mortem() && !is_over)?;
        Some(("its message is not acknowledged", vec![held]))
    }

    /// The version of the row that is seen came between the actor's begin and its end.
    fn is_written_meanwhile(&self, returned_ms: f64) -> bool {
        let (Some(began), Some(last)) = (self.began_at(), self.last_row()) else {
            return false;
        };
        self.commits_of(&last).any(|commit| {
            let is_later = commit.invisible_at_ms.is_some_and(|at| at >= began);
            is_later && commit.visible_at_ms <= returned_ms + A_MOMENT_MS
        })
    }

    /// The thread that took the message, by the log, stands in the application's code below the framework's call of
    /// an actor. The stack, and the line by which it took the message.
    pub(super) fn its_thread_is_inside(&self) -> Option<Fact<EventId>> {
        let shape = &self.framework().stack;
        let is_taken = |told: &&WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Received { .. }));
        let took = self.lines().iter().rfind(is_taken)?;
        let ends = |told: &WorkerLine<'_>| {
            told.n > took.n && (matches!(told.mark, Some(LogEvent::Completed)) || self.ends_attempt(told))
        };
        if self.lines().iter().any(ends) {
            return None;
        }
        let thread = took.line.thread.as_deref()?;
        let dump = self
            .stacks()
            .dumps()
            .rev()
            .find(|dump| Some(dump.pid) == took.pid)?;
        let is_inside = dump
            .threads()
            .any(|stack| stack.name() == thread && stack.is_in_a_task(shape));
        (is_inside && (dump.at_ms > took.at_ms || took.line.before))
            .then_some(Fact::new(dump.n, dump.at_ms, took.n))
    }

    /// Its thread waits for its coroutine, and the loop has nothing left to begin: the coroutine waits for something.
    pub(super) fn its_coroutine_waits(&self) -> Option<Fact<()>> {
        let called = self.line(|mark| matches!(mark, LogEvent::Called))?;
        let (bridge, thread) = (
            self.framework().stack.async_bridge,
            called.line.thread.as_deref()?,
        );
        let idle = stacks::idle_loop(self, called.pid)?;
        let at_ms = self.timeline.event(idle)?.at_ms;
        let waits = self
            .stacks()
            .of_event(idle)
            .any(|stack| stack.name() == thread && stack.is_still() && stack.has(bridge));
        (waits && at_ms > called.at_ms && self.attempt_over().is_none()).then_some(Fact::new(idle, at_ms, ()))
    }

    /// A line denies that the message was run, no call was seen, and nothing was raised.
    pub(in crate::diagnosis) fn was_skipped(&self) -> bool {
        let called = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Called));
        self.raised().is_empty() && !self.lines().iter().any(called) && self.says_not_entered()
    }

    /// The framework called the actor, the call came back with nothing returned, and its message was acknowledged
    /// without a word of an error: its function was entered. Where a line of the function's own is looked for, that decides. The line
    /// of its return, and when it was called.
    pub(super) fn came_back(&self) -> Option<Fact<f64>> {
        if self.timeline.setup.entry_pattern.is_some() || !self.raised().is_empty() || self.says_not_entered()
        {
            return None;
        }
        let over = self.attempt_over()?;
        let is = |wanted: fn(&LogEvent) -> bool| {
            let mut lines = self.lines().iter();
            lines.find(move |told: &&WorkerLine<'_>| told.mark.is_some_and(wanted))
        };
        let called = is(|mark| matches!(mark, LogEvent::Called))?;
        let back = is(|mark| matches!(mark, LogEvent::Completed))?;
        let returned_something = is(|mark| matches!(mark, LogEvent::ReturnedValue { .. })).is_some();
        let acknowledged = matches!(over.mark, Some(LogEvent::Acknowledging { .. }));
        (acknowledged && !returned_something && called.n < back.n).then_some(Fact::new(
            back.n,
            back.at_ms,
            called.at_ms,
        ))
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{Scene, WORKER};

    /// A task that was done last week is asked for again: its row says so still.
    #[test]
    fn a_status_that_stands_there_before_anybody_took_the_message_is_old() {
        for status in ["COMPLETED", "FAILED"] {
            let waits = Scene::new()
                .depth("default", 0, 0)
                .submitted()
                .row(status)
                .publish("default")
                .depth("default", 1, 0)
                .silence();
            assert!(
                waits.cause().ends_with("no-consumer"),
                "{status}: {}",
                waits.cause()
            );
        }
    }

    /// Afterwards whoever had taken it may have gone: a worker that shuts down consumes nothing.
    #[test]
    fn a_running_status_counts_where_nothing_waits_any_more() {
        use crate::diagnosis::Stage;
        use crate::timeline::Source;
        let entered = |ready: u64| {
            let scene = Scene::new().given().blind(Source::Firehose);
            let scene = scene.row("RUNNING").depth("default", ready, 0);
            let stages = scene.end(crate::timeline::Ended::Looked).verdict().stages;
            let mut found = stages.iter().filter(|reached| reached.stage == Stage::Entered);
            found.next().and_then(|reached| reached.reached)
        };
        assert_eq!(entered(0), Some(true));
        assert_ne!(entered(1), Some(true));
    }

    /// The last run of a task whose id the application chose is over, and a message waits that nobody takes.
    #[test]
    fn what_is_over_may_wait_again_under_its_id() {
        use crate::timeline::{Ended, EventKind, Level, Source};
        let looked = |ready: u64, consumers: u64| {
            let id = "rcpt:daily";
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
                setup.table = Some("celery_taskmeta".into());
                setup.post_mortem = true;
                setup.failed = vec!["FAILURE".into()];
            });
            let scene = scene.see(Source::Api, EventKind::Given { task_id: id.into() });
            let text = format!(
                "Task print/receipt[{id}] raised unexpected: OSError('jam')\nTraceback (most recent call last):\n  File \"/v/lib/python3.11/site-packages/celery/app/trace.py\", line 883, in __protected_call__\n    return self.run(*args, **kwargs)\n  File \"/app/printing.py\", line 24, in receipt\nOSError: jam"
            );
            let scene = scene
                .from_before(5)
                .plain(Some(Level::Error), &text)
                .from_now_on();
            scene
                .row("FAILURE")
                .depth("celery", ready, consumers)
                .end(Ended::Looked)
                .cause()
        };
        assert_eq!(looked(0, 1), "likely actor-raised");
        assert_eq!(looked(1, 1), "likely actor-raised", "it is taken");
        assert_eq!(looked(1, 0), "possible actor-raised");
    }

    /// It said nothing and wrote nothing: a thread of its own may do both later.
    #[test]
    fn an_actor_that_only_returned_was_entered() {
        let returned = Scene::called()
            .setup(|setup| setup.entry_pattern = None)
            .completed()
            .acked("m-1")
            .row("PENDING")
            .silence();
        assert_eq!(returned.cause(), "likely row-never-written");
    }

    /// Last week it succeeded; the API touched the row when it was asked for again.
    #[test]
    fn a_status_that_this_run_cannot_have_written_is_an_older_ones() {
        let received = "Received message act('task_1') with id 'm-1'.";
        let again = || {
            Scene::new()
                .worker_booted()
                .submitted()
                .row("COMPLETED")
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 101)
                .debug("dramatiq.worker.WorkerThread", received)
                .debug("app.act", "Received args=('task_1',) kwargs={}.")
                .info("app", "ACTOR ENTRY task_id=task_1")
        };
        let failed = again().raised("ValueError: no").rejected("m-1");
        assert_eq!(failed.clone().silence().cause(), "certain actor-raised");
        assert_ne!(failed.silence().verdict().exit_code, 0);
        let frames = [
            ("crunch", "/app/core.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let hangs = again().at(3000.0).stack(101, "Thread-4", &frames);
        assert_eq!(hangs.clone().silence().cause(), "certain actor-still-running");
        assert_ne!(hangs.verdict().exit_code, 0);
        // The same status, set by this run: what the actor does after that is another matter.
        let changed = Scene::entered().row("PENDING").row("COMPLETED").completed();
        let after = changed.at(3000.0).stack(101, "Thread-4", &frames);
        assert_eq!(after.silence().cause(), "certain succeeded");
        // It failed once and then did better.
        let retried = Scene::entered().raised("ValueError: no").retried().acked("m-1");
        let again = retried.at(2000.0).debug("dramatiq.worker.WorkerThread", received);
        let better = again.row("COMPLETED").completed().acked("m-1");
        assert_eq!(better.silence().verdict().exit_code, 0);
    }

    /// The worker is paused, or skips it, or it waits in a thread's hands: nobody of this run wrote the status.
    #[test]
    fn a_status_is_not_of_a_run_that_has_not_come_to_its_end() {
        let again = || {
            let scene = Scene::new()
                .worker_booted()
                .totals("default", 0, 0, serde_json::json!({}))
                .submitted()
                .row("COMPLETED")
                .publish("default");
            scene.deliver(WORKER).peer(WORKER, 101)
        };
        let held = again()
            .at(3000.0)
            .totals("default", 0, 1, serde_json::json!({}))
            .silence();
        assert_ne!(held.verdict().exit_code, 0, "{}", held.cause());
        let done = again()
            .at(3000.0)
            .totals("default", 0, 0, serde_json::json!({}))
            .silence();
        assert_eq!(done.cause(), "likely succeeded");
    }

    /// It returned, and wrote nothing: the version with the status is from before it began.
    #[test]
    fn a_return_proves_a_status_only_of_a_version_from_meanwhile() {
        let returned = |invisible: f64, visible: f64| {
            let scene = Scene::new()
                .worker_booted()
                .at(50.0)
                .submitted()
                .publish("default")
                .at(100.0);
            let scene = scene.deliver(WORKER).peer(WORKER, 101).debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            );
            let scene = scene.at(900.0).completed().acked("m-1").row("COMPLETED");
            scene.committed(invisible, visible).silence().cause()
        };
        assert_eq!(returned(500.0, 600.0), "certain succeeded");
        assert_eq!(returned(80.0, 95.0), "likely succeeded");
    }

    /// Another program writes a line that fits the pattern, with the task's id, to the log that both share.
    #[test]
    fn what_nobody_was_handed_did_not_run_whatever_a_log_says() {
        let line = "[PID 4242] [MainThread] [notifier.feed] [INFO] ACTOR ENTRY task_id=task_1";
        let waits = |queue: &str| {
            let scene = Scene::new().depth("default", 0, 0).submitted().row("PENDING");
            scene.publish(queue).line(line).depth("default", 1, 0).silence()
        };
        let scene = waits("default");
        assert_eq!(scene.verdict().scenario, Some(crate::diagnosis::Scenario::C));
        assert!(scene.cause().ends_with("no-consumer"), "{}", scene.cause());
        // It was handed out, and a coroutine or a thread of its own may say so.
        let taken = Scene::received().line(&line.replace("4242", "101")).silence();
        assert_eq!(taken.verdict().scenario, Some(crate::diagnosis::Scenario::A));
    }

    /// The worker hangs in a hook before the actor, and another program's line looks like the actor's.
    #[test]
    fn a_line_of_another_program_is_no_entry() {
        let said = |pid: &str| {
            let line = format!("[PID {pid}] [MainThread] [notifier.feed] [INFO] ACTOR ENTRY task_id=task_1");
            let scene = Scene::received().worker_process(&[WORKER]).line(&line);
            scene.silence().verdict().scenario
        };
        assert_ne!(said("4242"), Some(crate::diagnosis::Scenario::A));
        assert_eq!(said("101"), Some(crate::diagnosis::Scenario::A));
    }

    /// So quick that the first row that is seen is final already, and no line says that the actor returned.
    #[test]
    fn the_first_row_of_a_new_task_is_of_this_run() {
        let first = |invisible: f64, is_new: bool, id: &str| {
            let scene = Scene::new()
                .depth("default", 0, 1)
                .at(50.0)
                .submitting()
                .answered(202, Some(id), "{}");
            let scene = if is_new { scene.with_a_new_id() } else { scene };
            let scene = scene.publish("default").deliver(WORKER).row("COMPLETED");
            scene.committed(invisible, invisible + 200.0)
        };
        let uuid = "abdacd06-2e24-4122-9bb2-f35e3cb19f45";
        let new = first(65.0, true, uuid);
        assert_eq!(new.cause(), "certain succeeded");
        assert!(new.verdict().terminal, "nothing is waited for");
        // The row was so before; somebody else chose the id; a number or a name may come again.
        for other in [
            first(55.0, true, uuid),
            first(65.0, false, uuid),
            first(65.0, true, "task_1"),
            first(65.0, true, "21f7f8de-8051-5b89-8680-0195ef798b6a"),
        ] {
            assert_eq!(other.cause(), "likely succeeded");
            assert!(!other.verdict().terminal);
        }
    }

    #[test]
    fn a_final_status_alone_is_not_known_to_be_of_this_run() {
        let found = || {
            Scene::new()
                .depth("default", 0, 1)
                .submitted()
                .publish("default")
                .deliver(WORKER)
        };
        let alone = found().row("COMPLETED");
        assert_eq!(alone.cause(), "likely succeeded");
        assert!(!alone.verdict().terminal, "the worker may yet set another one");
        let changed = found().row("PENDING").row("COMPLETED");
        assert_eq!(changed.cause(), "certain succeeded");
        assert!(changed.verdict().terminal);
    }

    /// An archived row that was put back says how its own run ended.
    #[test]
    fn a_row_that_comes_back_with_a_final_status_says_nothing_of_this_run() {
        let received = "Received message act('task_1') with id 'm-1'.";
        let back = || {
            Scene::new()
                .worker_booted()
                .submitted()
                .no_row()
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 101)
                .debug("dramatiq.worker.WorkerThread", received)
                .debug("app.act", "Received args=('task_1',) kwargs={}.")
                .row("COMPLETED")
        };
        assert_eq!(back().silence().verdict().exit_code, 0);
        let failed = back().raised("ValueError: no").rejected("m-1");
        assert_ne!(failed.silence().verdict().exit_code, 0);
    }

    /// Where it was acknowledged by a worker whose log is not watched, it may have run.
    #[test]
    fn what_another_worker_settled_is_not_said_not_to_have_run() {
        let taken = |held: u64| {
            Scene::sent_to_another()
                .other_worker()
                .at(3000.0)
                .totals("default", 0, held, serde_json::json!({}))
                .silence()
                .verdict()
                .scenario
        };
        assert_eq!(taken(0), None);
        assert_eq!(taken(1), Some(crate::diagnosis::Scenario::C));
    }
}
