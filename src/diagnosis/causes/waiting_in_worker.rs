//! The worker holds the message behind busy threads.

use crate::diagnosis::evidence::busy::{self, Busy};
use crate::diagnosis::evidence::{
    Fact, Transfer, WorkerLine, broker, control, holding, holdups, threads, workers,
};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Stand, Story};
use crate::framework::{Inspection, LogEvent};
use crate::text::counted;
use crate::timeline::{EventKind, Source};
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "waiting-in-worker",
    keeps_from: &[Stage::Received],
    owner: &[Owner::Wait],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog, Source::Process, Source::Control]],
    stand: Stand::Waits,
    page: include_str!("waiting_in_worker.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::Terminating { .. })) {
        return Answer::ruled_out("it was revoked with a signal", [told.n]);
    }
    if let Some(answer) = by_its_word(story) {
        return answer;
    }
    if let Some(back) = holding::came_back(story) {
        return Answer::ruled_out("it is back on its queue", [back]);
    }
    if let Some(answer) = control::disowned(story) {
        return Answer::ruled_out(
            format!("{} names it in none of its lists", answer.node),
            [answer.n],
        );
    }
    let Some(pushed) = story.line(|mark| matches!(mark, LogEvent::Pushed { delay: false, .. })) else {
        return match by_the_stacks(story) {
            Some(answer) => answer,
            None if story.sees(Source::WorkerLog) => Answer::NotApplicable,
            None => Answer::cannot_tell(&[Source::WorkerLog]),
        };
    };
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::Received { .. })) {
        return Answer::ruled_out("a thread received it", [told.n]);
    }
    if let Some(dead) = pushed.line.pid.and_then(|pid| threads::all_dead(story, pid)) {
        return Answer::ruled_out("no worker thread is left that could take it", dead);
    }
    if let Some(gone) = pushed.pid.and_then(|pid| story.gone(pid)) {
        return Answer::ruled_out("the process that had prefetched it is gone", [pushed.n, gone]);
    }
    let taker = story
        .deliveries()
        .last()
        .and_then(|passage| story.peer(passage.connection));
    if let Some(n) = taker.and_then(|taker| threads::free_child(story, taker.value, pushed.at_ms)) {
        return Answer::ruled_out("a child of its pool is free", [pushed.n, n]);
    }
    if let Some(n) = pushed
        .pid
        .and_then(|pid| threads::free_thread(story, pid, pushed.at_ms))
    {
        return Answer::ruled_out("a thread of its process waits for a message", [pushed.n, n]);
    }
    if let Some(n) = story.is_counted_by_none(pushed.at_ms) {
        return Answer::ruled_out("its worker counts no task that it runs", [n]);
    }
    // Behind threads of the same process: another one's have nothing to do with it.
    let mut running = workers::running_others(story);
    running.retain(|other| {
        let of = story
            .worker_lines()
            .iter()
            .find(|told| told.n == other.n)
            .and_then(|told| told.pid);
        // They are taken in turn.
        of == pushed.pid && (story.acknowledges_after_the_run() || other.n < pushed.n)
    });
    if running.is_empty() || !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![pushed.n];
    evidence.extend(running.iter().map(|other| other.n).take(6));
    let text = behind(story, &running);
    // A free thread would have taken it: all of them must be busy.
    let answer = match busy::slots(story, pushed.pid) {
        // Afterwards the messages of those that wait for their time are out of sight.
        Some((n, threads))
            if running.len() >= threads && story.post_mortem() && !story.acknowledges_after_the_run() =>
        {
            evidence.extend(n);
            Answer::possible(text, evidence).would_decide(&[Source::Control])
        }
        Some((n, threads)) if running.len() >= threads => {
            evidence.extend(n);
            let pid = pushed.pid;
            Answer::shown(text, evidence).given([
                Premise::WorkIsRunning(pid.unwrap_or(0)),
                Premise::OneProcessPerLogThread { pid },
            ])
        }
        Some((n, threads)) => {
            evidence.extend(n);
            Answer::possible(format!("{text}; but it has {threads} threads"), evidence)
        }
        None => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    };
    let most = stops_since(story, &pushed).then_some(Certainty::Likely);
    let answer = answer.at_most(most.unwrap_or(Certainty::Certain));
    // A log that tells of no end does not show that what was before it still runs: this one may, or a later one.
    let came_later = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Pushed { id, .. }) if !story.is_my_message(id));
    let mut later = story.worker_lines().iter().filter(|told| told.n > pushed.n);
    let most = match later.any(came_later) {
        _ if story.acknowledges_after_the_run() || story.tells_of_ends() => return answer,
        true => Certainty::Possible,
        false => Certainty::Likely,
    };
    answer.at_most(most).would_decide(&[Source::Control])
}

/// What it has not begun when it stops goes back to the queue.
fn stops_since(story: &Story<'_>, pushed: &WorkerLine<'_>) -> bool {
    let mut lines = story.worker_lines().iter().filter(|told| told.n > pushed.n);
    lines.any(|told| {
        let is_its = told.line.stream == pushed.line.stream && (told.pid.is_none() || told.pid == pushed.pid);
        is_its && matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown))
    })
}

/// What it waits behind, and for how long that has run.
fn behind(story: &Story<'_>, running: &[Fact<&str>]) -> String {
    let end = story.timeline.events.last().map_or(0.0, |event| event.at_ms);
    let tasks: Vec<String> = running
        .iter()
        .take(4)
        .map(|actor| match end - actor.at_ms {
            ran if ran >= 1000.0 => format!("{actor} (for {})", units::span(ran)),
            _ => actor.value.to_owned(),
        })
        .collect();
    let more = match running.len() - tasks.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let many = running.len() as u64;
    // Where no line says when one begins, some of them wait as well.
    let word = match story.acknowledges_after_the_run() {
        true => counted(many, "task that runs", "tasks that run"),
        false => counted(many, "task that it got before", "tasks that it got before"),
    };
    format!(
        "it waits inside the worker behind {word}: {}{more}",
        tasks.join(", ")
    )
}

/// The worker was asked, and holds the task for a pool that runs as many others as it can.
fn by_its_word(story: &Story<'_>) -> Option<Answer> {
    let (answer, state) = control::holder(story).filter(|_| story.closed())?;
    if state != "reserved" || control::is_full(&answer) != Some(true) {
        return None;
    }
    let running = answer.active.iter().flatten();
    let names: Vec<&str> = running.map(|task| task.name.as_str()).collect();
    let text = format!(
        "{} holds it, and runs as many others as it can: {}",
        answer.node,
        names.join(", ")
    );
    let ours = answer
        .reserved
        .iter()
        .flatten()
        .find(|task| story.is_my_message(&task.id));
    let limit = ours
        .zip(answer.registered.as_ref())
        .and_then(|(task, all)| all.get(&task.name)?.as_ref());
    // A limit of its rate may be what keeps it back as well.
    Some(match limit {
        None => Answer::shown(text, [answer.n]),
        Some(limit) => Answer::likely(format!("{text}; and it may run {limit} times only"), [answer.n]),
    })
}

/// The log says nothing of what a worker has in hand: its threads do.
fn by_the_stacks(story: &Story<'_>) -> Option<Answer> {
    if !story.closed() || story.reached(Stage::Received).is_some() || story.reached(Stage::Entered).is_some()
    {
        return None;
    }
    if story.post_mortem() {
        return afterwards(story);
    }
    let passage = story.deliveries().last()?;
    let Fact { n, value: pid, .. } = story.peer(passage.connection)?;
    if broker::drained(story).is_some() || story.gone(pid).is_some() || story.debug_log() {
        return None;
    }
    let Some(busy) = busy::busy(story, pid, passage.at_ms) else {
        return by_the_count(
            story,
            passage,
            Fact {
                n,
                at_ms: passage.at_ms,
                value: pid,
            },
        );
    };
    let text = format!(
        "pid {pid} has it, and is at work on {}, as many as it can be: one stands in {}",
        counted(busy.running as u64, "other", "others"),
        busy.place
    );
    let mut evidence = vec![passage.n, n];
    evidence.extend(&busy.evidence);
    // As many were in hand before it came, and nothing else was handed out since.
    let before = story
        .infos(story.queue())
        .rfind(|info| info.at_ms <= passage.at_ms)
        .filter(|_| story.acknowledges_after_the_run() && !story.others_were_delivered())
        .and_then(|info| info.unacked.map(|count| (info.n, count)));
    match before {
        Some((n, count)) if count >= all_running(story, passage.at_ms) => {
            evidence.push(n);
            Some(Answer::likely(text, evidence))
        }
        _ if busy.runs_others() => Some(Answer::likely(text, evidence)),
        // A function may be called otherwise than its actor.
        Some((_, 1..)) | None if !busy.may_run_ours() => Some(Answer::possible(text, evidence)),
        _ => None,
    }
}

/// As many as it can run were in its hands before this one came, and none of them has been acknowledged since.
fn by_the_count(story: &Story<'_>, passage: &Transfer<'_>, taker: Fact<i32>) -> Option<Answer> {
    // What waits for its time in the worker's own hands is held, too, and runs not.
    let is_worked_on = story.acknowledges_after_the_run() && story.framework().queues.delay.is_some();
    let is_alone = story.depths(story.queue()).last()?.consumers == 1;
    let before = story
        .infos(story.queue())
        .rfind(|info| info.counted_ms < passage.at_ms)?;
    let after = story
        .infos(story.queue())
        .last()
        .filter(|info| info.counted_ms > passage.at_ms)?;
    let handed_out = || {
        let handed = story.facts(|kind| match kind {
            EventKind::Deliver { queue, .. } if queue == story.queue() => Some(()),
            _ => None,
        });
        handed.filter(|delivery| delivery.at_ms > before.counted_ms)
    };
    let at_first = before.unacked?
        + handed_out()
            .filter(|delivery| delivery.at_ms < passage.at_ms)
            .count() as u64;
    let (_, threads) = busy::slots(story, Some(taker.value))?;
    let none_ended = after.unacked? == before.unacked? + handed_out().count() as u64;
    let is_full = at_first >= threads as u64 && none_ended && story.sees_all(Source::Firehose);
    (is_worked_on && is_alone && is_full).then(|| {
        let text = format!(
            "pid {} had {} in hand when it came, runs {threads} at once, and has acknowledged none of them since",
            taker.value,
            counted(at_first, "other", "others"),
        );
        Answer::likely(text, [passage.n, taker.n, before.n, after.n]).would_decide(&[Source::Process])
    })
}

/// All processes that consume the queue.
fn all_running(story: &Story<'_>, since: f64) -> u64 {
    let consumers = holdups::consumers(story);
    let running = consumers
        .iter()
        .filter_map(|(_, pid)| busy::busy(story, *pid, since));
    running.map(|busy| busy.running as u64).sum()
}

/// More is held than can be run, and nothing of the task has begun.
fn afterwards(story: &Story<'_>) -> Option<Answer> {
    story.reached(Stage::Recorded)?;
    if holding::falls(story).is_some()
        || story.row_failed().is_some()
        || story.reached(Stage::Finished).is_some()
    {
        return None;
    }
    let consumers = holdups::consumers(story);
    let busy: Vec<Busy> = consumers
        .iter()
        .map(|(_, pid)| busy::busy(story, *pid, f64::MIN))
        .collect::<Option<_>>()?;
    let info = story.infos(story.queue()).last()?;
    let running: usize = busy.iter().map(|busy| busy.running).sum();
    // What is acknowledged as it is begun is not counted.
    let at_work = if story.acknowledges_after_the_run() {
        running
    } else {
        0
    };
    let waiting = info.unacked?.saturating_sub(at_work as u64);
    let first = busy.first().filter(|_| waiting > 0)?;
    let text = format!(
        "the workers run {}, as many as they can, and hold {waiting} more: one stands in {}",
        counted(running as u64, "task", "tasks"),
        first.place
    );
    let mut evidence = vec![info.n];
    evidence.extend(busy.iter().flat_map(|busy| &busy.evidence));
    // It may be the one that runs, where no status says that it has begun.
    let begun = story.timeline.setup.running.is_empty() && busy.iter().any(Busy::may_run_ours);
    // A task may be set to be acknowledged after its run: then those that run are counted as well.
    let may_be_those = at_work == 0 && waiting <= running as u64 && !says_acknowledged(story);
    let most = if begun || may_be_those {
        Certainty::Possible
    } else {
        Certainty::Certain
    };
    Some(Answer::matched(most, text, evidence).given([Premise::IsAmongTheWaiting]))
}

/// By their worker's word what runs there is acknowledged.
fn says_acknowledged(story: &Story<'_>) -> bool {
    let answers: Vec<_> = control::answers(story).collect();
    let is_early = |answer: &Fact<&Inspection>| {
        let active = answer.active.as_deref().unwrap_or_default();
        !active.is_empty() && active.iter().all(|task| task.acknowledged == Some(true))
    };
    !answers.is_empty() && answers.iter().all(is_early)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it got before waits as well: for its time, or for the limit of its rate.
    #[test]
    fn a_worker_that_runs_nothing_is_a_near_miss() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OTHERS};
        let other = format!("Task shop.tasks.slow[{OTHERS}] received");
        let counts = |active: u64| {
            let scene = CeleryScene::in_pool("prefork")
                .info(&other)
                .info(&other.replace('1', "3"));
            let ours = format!(
                "Task shop.tasks.fulfil[{}] received",
                crate::diagnosis::causes::celery::scenes::OURS
            );
            scene.deliver().info(&ours).counts(active, 4_000.0).silence()
        };
        assert_eq!(counts(0).answer(&CAUSE), "ruled out");
        assert_ne!(counts(2).answer(&CAUSE), "ruled out");
    }
    use crate::diagnosis::testing::{Scene, WORKER};

    /// A log without DEBUG and no stacks: what the broker counts is left.
    #[test]
    fn what_was_in_hand_before_fills_the_worker() {
        let counted = |before: u64, after: u64, consumers: u64| {
            Scene::new()
                .process(100, 1, "python dramatiq -p 1 -t 2 app", |_| {})
                .process(101, 100, "python dramatiq -p 1 -t 2 app", |_| {})
                .depth("default", 0, consumers)
                .totals("default", 0, before, serde_json::json!({}))
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 101)
                .totals("default", 0, after, serde_json::json!({}))
                .depth("default", 0, consumers)
                .silence()
        };
        assert_eq!(counted(2, 3, 1).cause(), "likely waiting-in-worker");
        // A thread is free, one has become free, or another worker has them.
        assert_ne!(counted(1, 2, 1).answer(&CAUSE), "likely");
        assert_ne!(counted(2, 2, 1).answer(&CAUSE), "likely");
        assert_ne!(counted(2, 3, 2).answer(&CAUSE), "likely");
    }

    /// Prefetched by the watched worker, which has two threads; so many of them are busy.
    fn behind(pids: &[i32]) -> Scene {
        behind_and(pids, |scene| scene)
    }

    fn behind_and(pids: &[i32], more: impl FnOnce(Scene) -> Scene) -> Scene {
        let mut scene = Scene::new().worker_booted().depth("default", 0, 1);
        for (at, pid) in pids.iter().enumerate() {
            scene = scene.line(&format!(
                "[PID {pid}] [Thread-{at}] [dramatiq.worker.WorkerThread] [DEBUG] Received message slow() with id 'other-{at}'."
            ));
        }
        more(scene)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .pushed("m-1")
            .depth("default", 0, 1)
    }

    /// Two handlers of one logger, whose format has no milliseconds.
    #[test]
    fn a_line_that_is_written_twice_is_one_task() {
        let received = "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message slow() with id 'other-0'.";
        let running = |scene: Scene| {
            let story = crate::diagnosis::Story::new(&scene.timeline);
            workers::running_others(&story).len()
        };
        let once = behind(&[]).line(received);
        assert_eq!(running(once.clone()), 1);
        assert_eq!(running(once.line(received)), 1);
    }

    const AT_WORK: &[(&str, &str)] = &[
        ("crunch", "/app/core.py"),
        ("__call__", "/v/site-packages/dramatiq/actor.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
    ];

    #[test]
    fn all_threads_are_busy() {
        let busy = behind(&[101, 101]).stack(101, "Thread-0", AT_WORK);
        let busy = busy.silence();
        assert_eq!(busy.cause(), "certain waiting-in-worker");
        let summary = busy
            .verdict()
            .cause
            .map(|cause| cause.summary)
            .unwrap_or_default();
        assert!(
            summary.starts_with("it waits inside the worker behind 2 tasks that run: slow (for "),
            "{summary}"
        );
        // Received and not acknowledged is not running: the threads may be dead.
        assert_eq!(behind(&[101, 101]).silence().cause(), "likely waiting-in-worker");
        assert_eq!(behind(&[101, 101]).answer(&CAUSE), "not applicable");
    }

    /// A scheduler that writes to the same log boots meanwhile: the worker that has the others lives.
    #[test]
    fn the_boot_of_another_ends_nothing_of_one_that_lives() {
        let boots = |scene: Scene| {
            scene.line("[PID 900] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
        };
        assert_eq!(behind_and(&[101, 101], boots).silence().answer(&CAUSE), "likely");
        // What another process had is over with its worker.
        assert_eq!(
            behind_and(&[102, 102], boots).silence().answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn a_free_thread_or_another_process_is_a_near_miss() {
        assert_eq!(behind(&[101]).silence().answer(&CAUSE), "possible");
        assert_eq!(behind(&[102, 102]).silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn received_excludes_it() {
        assert_eq!(Scene::received().silence().answer(&CAUSE), "ruled out");
        let blind = behind(&[101, 101]).silence();
        assert_eq!(blind.without(Source::Process).answer(&CAUSE), "likely");
        assert_eq!(blind.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn a_process_that_is_gone_is_a_near_miss() {
        let scene = behind(&[101, 101]).gone(101).timeout();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    /// A quiet log, and so many unacknowledged before this one came, of two threads those that stand in this.
    fn quiet(unacked: u64, threads: usize, function: &'static str) -> Scene {
        let frames: [(&str, &str); 3] = [(function, "/app/core.py"), AT_WORK[1], AT_WORK[2]];
        let names = ["Thread-4", "Thread-5"];
        let stacks: Vec<(&str, &[(&str, &str)])> =
            names[..threads].iter().map(|name| (*name, &frames[..])).collect();
        Scene::quiet(|scene| scene.totals("default", 0, unacked, serde_json::json!({})))
            .process(101, 100, "/v/bin/dramatiq -t 2 app.worker", |_| ())
            .stacks(101, &stacks)
    }

    #[test]
    fn the_stacks_show_it_where_the_log_does_not() {
        let scene = quiet(2, 2, "crunch").silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
        let cause = scene.verdict().cause.expect("a cause");
        assert_eq!(
            (cause.id.as_str(), cause.certainty),
            ("actor-still-running", Certainty::Likely)
        );
        assert_eq!(cause.explains[0].id, "waiting-in-worker");
        // Others of the same actor, which were in hand before it.
        assert_eq!(quiet(2, 2, "act").silence().answer(&CAUSE), "likely");
    }

    #[test]
    fn where_a_thread_may_have_it_the_stacks_are_a_near_miss() {
        assert_eq!(quiet(2, 1, "crunch").silence().answer(&CAUSE), "not applicable");
        // Nothing was in hand before: one of these threads has it.
        assert_eq!(quiet(0, 2, "crunch").silence().answer(&CAUSE), "not applicable");
        assert_eq!(quiet(1, 2, "act").silence().answer(&CAUSE), "not applicable");
        assert_eq!(quiet(1, 2, "crunch").silence().answer(&CAUSE), "possible");
        assert_eq!(
            quiet(2, 2, "crunch").gone(101).silence().answer(&CAUSE),
            "not applicable"
        );
        let settled = quiet(2, 2, "crunch").totals("default", 0, 0, serde_json::json!({}));
        assert_eq!(settled.silence().answer(&CAUSE), "not applicable");
    }

    /// Looked for afterwards: more is held than runs.
    #[test]
    fn afterwards_it_may_be_what_waits() {
        let at_work: [(&str, &[(&str, &str)]); 2] = [("Thread-4", AT_WORK), ("Thread-5", AT_WORK)];
        let scene = |unacked: u64| {
            Scene::new()
                .given()
                .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
                .row("PENDING")
                .consumers(&[("default", WORKER, 4)])
                .peer(WORKER, 101)
                .process(101, 100, "/v/bin/dramatiq -t 2 app.worker", |_| ())
                .totals("default", 0, unacked, serde_json::json!({}))
                .stacks(101, &at_work)
                .end(crate::timeline::Ended::Looked)
        };
        let verdict = scene(3).verdict();
        let cause = verdict.cause.expect("a cause");
        assert_eq!(
            (cause.id.as_str(), cause.certainty),
            ("actor-still-running", Certainty::Likely)
        );
        assert_eq!(cause.explains[0].id, "waiting-in-worker");
        assert_eq!(scene(2).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_worker_that_was_asked_says_so_itself() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let full = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS).active("a").active("b"));
        assert_eq!(full.silence().cause(), "certain waiting-in-worker");
        let limited = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS).active("a").active("b").limit("1/h"));
        assert_eq!(limited.silence().answer(&CAUSE), "likely");
        let free = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS));
        assert_ne!(free.silence().answer(&CAUSE), "certain");
    }

    /// A logger at WARNING tells of no end: what came before it may be over, and so may it.
    #[test]
    fn a_log_without_ends_and_an_answer_without_it() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OTHERS, OURS};
        let behind = || {
            CeleryScene::in_pool("prefork")
                .info("Task shop.tasks.slow[66666666-7a09-4a1f-9d2c-0d5e3c0b7f11] received")
                .info("Task shop.tasks.slow[77777777-7a09-4a1f-9d2c-0d5e3c0b7f11] received")
                .deliver()
                .info(&format!("Task shop.tasks.fulfil[{OURS}] received"))
        };
        let later = behind().info(&format!("Task shop.tasks.slow[{OTHERS}] received"));
        assert_eq!(later.silence().answer(&CAUSE), "possible");
        assert_eq!(behind().silence().answer(&CAUSE), "likely");
        let unnamed = behind().answers(|answer| answer.active("a").active("b"));
        assert_eq!(unnamed.silence().answer(&CAUSE), "ruled out");
    }

    /// The lines of an end were lost.
    #[test]
    fn a_thread_that_waits_for_a_message_is_free() {
        const WAITS: &[(&str, &str)] = &[
            ("Queue.get", "/usr/lib/python3.11/queue.py"),
            ("WorkerThread.run", "/v/site-packages/dramatiq/worker.py"),
        ];
        let seen = |second: &'static [(&'static str, &'static str)]| {
            behind(&[101, 101])
                .stacks(101, &[("Thread-0", AT_WORK), ("Thread-1", second)])
                .silence()
        };
        assert_eq!(seen(WAITS).answer(&CAUSE), "ruled out");
        assert_eq!(seen(AT_WORK).answer(&CAUSE), "likely");
    }

    /// With `acks_late` those that run are unacknowledged as well.
    #[test]
    fn as_many_as_run_may_be_those_that_run() {
        use crate::framework::HeldTask;
        let told = |acknowledged: Option<bool>| Inspection {
            active: Some(vec![HeldTask {
                acknowledged,
                ..HeldTask::default()
            }]),
            ..Inspection::default()
        };
        let says = |acknowledged: Option<bool>| {
            let scene = Scene::new().see(
                Source::Control,
                EventKind::Inspected(Box::new(told(acknowledged))),
            );
            says_acknowledged(&Story::new(&scene.timeline))
        };
        assert!(says(Some(true)));
        assert!(!says(Some(false)) && !says(None));
        assert!(!says_acknowledged(&Story::new(&Scene::new().timeline)));
    }
}
