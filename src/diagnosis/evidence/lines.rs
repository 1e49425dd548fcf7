//! Which lines of the watched worker's log are the task's, and what they say.

use std::collections::{BTreeSet, HashMap};

use super::{Story, ThreadKey, WorkerLine};
use crate::framework::{LogEvent, Verbosity};
use crate::timeline::{EventKind, Level, LogLine, Source};

/// Its logger is the framework's, or a library's, and not the application's own.
pub(super) fn is_a_librarys(story: &Story<'_>, line: &LogLine) -> bool {
    let logger = line.logger.as_deref().unwrap_or_default();
    let framework = story.framework().log.logger;
    [framework, "pika", "asyncio", "py.warnings", "concurrent"]
        .iter()
        .any(|name| logger == *name || logger.starts_with(&format!("{name}.")))
}

impl<'a> Story<'a> {
    /// The log lines that are this task's: by id, or between "Received message" and its settling in
    /// the same process and thread.
    pub(super) fn find_lines(&mut self) {
        self.learn_ids_from_lines();
        let mut active: HashMap<ThreadKey<'a>, &'a str> = HashMap::new();
        let mut unkeyed: BTreeSet<&'a str> = BTreeSet::new();
        let mut taken: HashMap<ThreadKey<'a>, &'a str> = HashMap::new();
        let mut lines = Vec::new();
        let mut weak = BTreeSet::new();
        let mut by_thread = BTreeSet::new();
        let mut entries = Vec::new();
        let wanted = self.timeline.setup.actor.as_deref();
        let others = self.pids_of_other_programs();
        let is_another_programs = |told: &WorkerLine<'a>| told.pid.is_some_and(|pid| others.contains(&pid));
        for (at, &told) in self.worker_lines.iter().enumerate() {
            // What came before cannot be the task's, but it may still be in a thread's hands.
            let counts = self.counts(&told) && self.is_late_enough(&told);
            let key = told.thread();
            let id = told.message_id();
            if let Some(LogEvent::Received { id, actor }) = told.mark {
                // The first one: what a running actor sends on may carry the task id as well.
                if counts
                    && told.line.carries_task_id
                    && self.message_ids.is_empty()
                    && self.publishes.is_empty()
                    && wanted.is_none_or(|wanted| wanted == actor)
                {
                    self.message_ids.insert(id);
                }
                active.insert(key, id);
                unkeyed.insert(id);
                taken.insert(key, id);
            }
            // It runs what it took last, whatever the broker was told before.
            if let (Some(LogEvent::Called), Some(id)) = (told.mark, taken.get(&key)) {
                active.insert(key, id);
                unkeyed.insert(id);
            }
            // Several processes have threads of the same name: without a pid the line is the task's
            // only if nothing else is in any thread's hands.
            let in_interval = if self.shared.contains(&key) {
                false
            } else if key.1.is_none() || key.2.is_none() {
                let only_ours = unkeyed.iter().all(|id| self.message_ids.contains(id));
                !unkeyed.is_empty() && only_ours && !self.names_another_actor(&told)
            } else {
                active.get(&key).is_some_and(|id| self.message_ids.contains(id))
            };
            let mut mine = match id {
                _ if !counts => false,
                Some(id) => self.message_ids.contains(id),
                None => {
                    let carries = told.line.carries_task_id
                        && !is_another_programs(&told)
                        && !self.names_another_actor(&told)
                        && !self.is_anothers_thread(key, &active);
                    let is_anothers = self.is_of_another_process(&told) || self.goes_on_with_another(at);
                    in_interval || !is_anothers && (carries || self.is_alone(&told))
                }
            };
            let is_likely = counts && !mine && id.is_none() && self.is_probably_mine(&told);
            if is_likely || mine && !in_interval && self.may_be_of_a_child(at) {
                mine = true;
                weak.insert(told.n);
            }
            if mine && id.is_none() && in_interval {
                by_thread.insert(told.n);
            }
            if mine {
                lines.push(told);
                // A pattern that fits the framework's own lines proves nothing by them.
                if told.line.entry && told.mark.is_none() {
                    entries.push(told);
                }
            }
            if self.ends_attempt(&told) {
                // A line without an id is about what its thread has in hand.
                if let Some(id) = id.or_else(|| active.get(&key).copied()) {
                    active.retain(|_, active| *active != id);
                    unkeyed.remove(id);
                }
            }
        }
        self.lines = lines;
        self.weak = weak;
        self.by_thread = by_thread;
        self.entries = entries;
        self.candidates = self.candidates.max(self.taken_together().len());
    }

    /// Afterwards: the messages that carry the task's id and were taken before the first of them was settled, with their
    /// actors: of any where none is configured. They are parts of one work, or stand side by side, and what became of one
    /// says nothing of the others.
    pub(super) fn taken_together(&self) -> Vec<(&'a str, &'a str)> {
        let mut taken: Vec<(&'a str, &'a str)> = Vec::new();
        if !self.post_mortem() || !self.publishes.is_empty() || !self.held.is_empty() {
            return taken;
        }
        let any = self.timeline.setup.actor.is_none();
        for told in &self.worker_lines {
            match (told.mark, taken.first()) {
                (Some(LogEvent::Received { id, actor }), first) if told.line.carries_task_id => {
                    let is_first = first.is_none() && self.message_ids.contains(id.as_str());
                    let is_beside = first.is_some_and(|(_, of)| any || of == actor);
                    let is_new = taken.iter().all(|(other, _)| other != id);
                    taken
                        .extend(((is_first || is_beside) && is_new).then_some((id.as_str(), actor.as_str())));
                }
                (_, Some((first, _))) if told.settles() && told.message_id() == Some(first) => break,
                _ => {}
            }
        }
        taken
    }

    /// A thread has one message in hand: a second one before the first is over is another process's, whose
    /// pid and thread happen to be the same. Only where the log shows how runs end.
    pub(super) fn find_shared_threads(&mut self) {
        let mut in_hand: HashMap<ThreadKey<'a>, bool> = HashMap::new();
        let mut shared = BTreeSet::new();
        let ends = self
            .worker_lines
            .iter()
            .filter(|told| told.mark.is_some_and(LogEvent::ends_run));
        let shown: BTreeSet<Option<&str>> = ends.map(|told| told.line.stream.as_deref()).collect();
        let shows_calls = super::workers::shows_calls(self);
        for told in &self.worker_lines {
            let key = told.thread();
            if key.1.is_none() || key.2.is_none() || !shows_calls || !shown.contains(&key.0) {
                continue;
            }
            match told.mark {
                // A thread takes a second one only after the first.
                Some(LogEvent::Received { .. }) => {
                    let had_one = in_hand.insert(key, true) == Some(true);
                    shared.extend(had_one.then_some(key));
                }
                Some(LogEvent::BootingUp) => in_hand.clear(),
                Some(mark) if mark.ends_run() || mark.settles() => {
                    in_hand.insert(key, false);
                }
                _ => {}
            }
        }
        self.shared = shared;
    }

    /// More than one process writes under the name of this process's threads.
    pub fn shares_its_threads(&self, pid: i32) -> Option<u32> {
        let told = self.worker_lines.iter().filter(|told| told.pid == Some(pid));
        told.filter(|told| self.shared.contains(&told.thread()))
            .map(|told| told.n)
            .next()
    }

    /// A framework or entry line without any id is the task's if the firehose shows that nothing
    /// else was delivered, before or since, that could have caused it.
    fn is_alone(&self, told: &WorkerLine<'a>) -> bool {
        if !is_about_a_message(told) || !self.sees_all(Source::Firehose) {
            return false;
        }
        if self.names_another_actor(told) || told.line.entry && self.names_another_task(told) {
            return false;
        }
        // Log lines come a little later than the fact; the delivery must have come before.
        let Some(first) = self
            .deliveries
            .iter()
            .find(|passage| passage.queue == self.queue())
        else {
            return false;
        };
        // Two sources, two delays: the log may be a little ahead of the firehose.
        let ahead = LOG_AHEAD_MS;
        if first.at_ms > self.written_at(told) + ahead
            || self.submitted_at().is_some_and(|since| told.at_ms < since)
        {
            return false;
        }
        let strangers = self.others_were_handed_out(told.at_ms + ahead);
        let busy_before = self
            .infos(self.queue())
            .find(|info| info.at_ms < first.at_ms)
            .is_none_or(|info| info.unacked != Some(0));
        // Right after a queue was declared there are no counts: then nothing can be unacked either.
        let new_queue = self
            .depths(self.queue())
            .next()
            .is_some_and(|depth| !depth.exists);
        !strangers && (!busy_before || new_queue)
    }

    /// The same without the firehose: the log shows no other message since the submission, and one
    /// came to its end. Never more than likely.
    fn is_probably_mine(&self, told: &WorkerLine<'a>) -> bool {
        let since = self.answered_at().or(self.submitted_at());
        if !is_about_a_message(told)
            || self.sees_all(Source::Firehose)
            || !since.is_some_and(|since| self.written_at(told) >= since - 50.0)
        {
            return false;
        }
        // What was waiting or under way before may be what the line is about.
        let first = self.infos(self.queue()).next();
        let idle = first.map(|info| (info.ready.unwrap_or(0), info.unacked.unwrap_or(0)));
        let entries = self
            .worker_lines
            .iter()
            .filter(|other| other.line.entry && !other.line.before)
            .count();
        if idle.is_some_and(|idle| idle != (0, 0)) || (told.line.entry && (idle.is_none() || entries != 1)) {
            return false;
        }
        let another = self.worker_lines.iter().any(|other| {
            !other.line.before
                && other.at_ms <= told.at_ms
                && other
                    .message_id()
                    .is_some_and(|id| !self.message_ids.contains(id))
        });
        // Two such lines of different actors are about two messages.
        let named = told.task_name();
        let several = self.worker_lines.iter().any(|other| {
            !other.line.before
                && is_about_a_message(other)
                && other
                    .task_name()
                    .is_some_and(|actor| named.is_some_and(|named| actor != named))
        });
        // An actor that is not the configured one: only where a message was rejected meanwhile.
        let wanted = self.timeline.setup.actor.as_deref();
        let other_actor = named.zip(wanted).is_some_and(|(named, wanted)| named != wanted);
        let rejected = self.one_dead_letter_more();
        !another && !several && (!other_actor || rejected)
    }

    /// Whether a claim rests on a line that is only probably the task's.
    pub fn is_weak(&self, evidence: &[u32]) -> bool {
        evidence.iter().any(|n| self.weak.contains(n))
    }

    /// The application's own lines between the framework's call and its completion.
    pub(super) fn own_lines(&self) -> Vec<(f64, u32)> {
        let mut called: HashMap<ThreadKey<'a>, bool> = HashMap::new();
        let mut own = Vec::new();
        for told in &self.lines {
            let key = told.thread();
            if key.1.is_none() || key.2.is_none() {
                continue;
            }
            match told.mark {
                Some(LogEvent::Called) => {
                    called.insert(key, true);
                }
                Some(LogEvent::Completed) => {
                    called.insert(key, false);
                }
                None if called.get(&key) == Some(&true)
                    && told.line.logger.is_some()
                    && !is_a_librarys(self, told.line) =>
                {
                    own.push((told.at_ms, told.n));
                }
                _ => {}
            }
        }
        own
    }

    /// All lines of the watched worker's log since its boot.
    pub fn worker_lines(&self) -> &[WorkerLine<'a>] {
        &self.worker_lines
    }

    /// A line that may be about this task: in a live run only what was written during it.
    pub fn counts(&self, told: &WorkerLine<'_>) -> bool {
        !told.line.before || self.post_mortem() && !self.is_from_earlier(told)
    }

    /// By its own date it was written days before anything that names the task, in whatever zone.
    fn is_from_earlier(&self, told: &WorkerLine<'_>) -> bool {
        let Some(own) = day(told.stated).filter(|_| !told.line.carries_task_id) else {
            return false;
        };
        let of_the_task = self.timeline.events.iter().filter_map(|event| match &event.kind {
            EventKind::Line(line) if line.carries_task_id => day(event.stated.as_deref()),
            _ => None,
        });
        of_the_task
            .min()
            .is_some_and(|first| first.duration_since(own).as_hours() >= 48)
    }

    /// This task's lines.
    pub fn lines(&self) -> &[WorkerLine<'a>] {
        &self.lines
    }

    /// This task's first line with such a mark.
    pub fn line(&self, pick: impl Fn(&LogEvent) -> bool) -> Option<WorkerLine<'a>> {
        self.lines
            .iter()
            .copied()
            .find(|told| told.mark.is_some_and(&pick))
    }

    /// The worker tells of each message that it takes, as most do at DEBUG: only then does it say
    /// anything that it does not.
    pub fn debug_log(&self) -> bool {
        let enough = match self.framework().log.tells_at {
            Verbosity::Debug => Level::Debug,
            Verbosity::Info => Level::Info,
        };
        !self.log_was_cut()
            && self.worker_lines.iter().any(|told| {
                told.line.level.is_some_and(|level| level <= enough)
                    && (told.mark.is_some()
                        || told
                            .line
                            .logger
                            .as_deref()
                            .is_some_and(|name| name.starts_with(self.framework().log.logger)))
            })
    }

    /// The attempt in hand is over: settled, or handed to a retry.
    pub fn attempt_over(&self) -> Option<WorkerLine<'a>> {
        self.lines
            .iter()
            .rev()
            .copied()
            .find(|told| self.ends_attempt(told) && !self.goes_on_after(told))
    }

    /// A line from before the run whose file was written to only just before it: the log ended
    /// with it minutes ago, not yesterday.
    pub fn ended_recently(&self, told: &WorkerLine<'_>) -> bool {
        told.line.age_s.is_some_and(|age| age < 600) && told.at_ms > -600_000.0
    }

    /// Entry lines were written since the submission that cannot be told to be anybody's.
    pub fn entries_of_somebody(&self) -> bool {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.worker_lines.iter().any(|told| {
            told.line.entry
                && !told.line.before
                && told.at_ms >= since
                && self.entries.iter().all(|mine| mine.n != told.n)
                && !self.is_anothers(told)
        })
    }

    /// The thread that wrote the line had another message in hand.
    fn is_anothers(&self, told: &WorkerLine<'a>) -> bool {
        if told.line.pid.is_none() && told.line.thread.is_none() {
            return false;
        }
        let same = |other: &&WorkerLine<'a>| other.at_ms <= told.at_ms && other.thread() == told.thread();
        let last = self
            .worker_lines
            .iter()
            .filter(same)
            .rfind(|other| matches!(other.mark, Some(LogEvent::Received { .. })));
        last.and_then(|other| other.message_id())
            .is_some_and(|id| !self.message_ids.contains(id))
    }
}

/// A line that is about some message without saying which.
fn is_about_a_message(told: &WorkerLine<'_>) -> bool {
    told.line.entry || told.mark.is_some_and(LogEvent::leaves_the_message_open)
}

/// `2026-11-28 03:00:05,239`, or with slashes: its day.
fn day(stated: Option<&str>) -> Option<jiff::civil::Date> {
    stated?.get(..10)?.replace('/', "-").parse().ok()
}

/// How far a log line may reach us before the delivery it follows.
pub(super) const LOG_AHEAD_MS: f64 = 500.0;

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::Scene;

    /// A group's messages carry one id: one is done, and another is retried.
    #[test]
    fn messages_that_were_taken_together_are_told_apart_by_nothing() {
        let looked = |actor: Option<&str>, second: &str| {
            Scene::new()
                .setup(|setup| setup.actor = actor.map(str::to_owned))
                .given()
                .from_before(5)
                .line("[PID 101] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message act('task_1') with id 'm-1'.")
                .line(&format!("[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message {second}('task_1') with id 'm-2'."))
                .info("app", "ACTOR ENTRY task_id=task_1")
                .completed()
                .acked("m-1")
                .row("PENDING")
                .end(crate::timeline::Ended::Looked)
                .verdict()
        };
        assert!(looked(Some("act"), "act").message.is_none());
        assert!(looked(None, "announce").message.is_none());
        // Another actor's is another step.
        assert!(looked(Some("act"), "announce").message.is_some());
    }
}
