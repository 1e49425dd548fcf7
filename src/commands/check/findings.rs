//! What looks wrong before any task was sent, each with what to do about it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::containers;
use super::dead_letters::of_dead_letters;
use super::finding::{Finding, finding};
use super::queues::{self, Queue};
use super::workers;
use crate::config::{Config, Timing, Trace};
use crate::diagnosis::Story;
use crate::framework::{self, LogEvent};
use crate::init;
use crate::rabbitmq::rights;
use crate::text::{self, counted};
use crate::timeline::{EventKind, Process, Timeline};
use crate::units;

fn of_timing(timing: &Timing) -> Option<Finding> {
    let span = |duration: Duration| units::span(duration.as_secs_f64() * 1000.0);
    (timing.silence >= timing.timeout).then(|| {
        finding(
            format!(
                "timing.silence ({}) is not below timing.timeout ({}): every run that waits lasts to its timeout",
                span(timing.silence),
                span(timing.timeout)
            ),
            "set timing.timeout to several times timing.silence",
        )
    })
}

pub(super) fn findings(timeline: &Timeline, config: &Config, of_the_vhost: &[Queue]) -> Vec<Finding> {
    let story = Story::new(timeline);
    let mut found = of_queue(&story);
    found.extend(queues::findings(&story, of_the_vhost));
    found.extend(of_queues_that_are_down(&story));
    found.extend(of_limits(&story));
    found.extend(of_consumers(&story));
    found.extend(workers::findings(&story));
    found.extend(of_broker(timeline, config));
    found.extend(of_processes(timeline));
    found.extend(containers::findings(&story));
    found.extend(story.table_lock().map(|holder| {
        let table = timeline.setup.table.as_deref().unwrap_or("the table");
        finding(
            format!("table `{table}` is locked, and whoever wants it waits: held by {holder}"),
            "end that session if it is abandoned (`pg_terminate_backend`); what waits goes on by itself",
        )
    }));
    let refused = story.who_may_not_publish().into_iter().map(|text| {
        let vhost = &config.broker.vhost;
        finding(
            text,
            format!("let it write there, too: rabbitmqctl set_permissions -p \"{vhost}\" USER 'CONFIGURE' '(WRITE)|^amq\\.default$' 'READ', with what `rabbitmqctl list_user_permissions USER` says: it replaces all three"),
        )
    });
    found.extend(refused);
    for mistake in init::mistakes(&config.worker.command) {
        found.push(finding(
            format!("worker.command: {mistake}"),
            "correct it in taskdiag.toml and where the worker is started",
        ));
    }
    found.extend(of_timing(&config.timing));
    let told = story.worker_lines().iter().rev().find(|told| {
        matches!(
            told.mark,
            Some(
                LogEvent::ImportFailed
                    | LogEvent::UsageError
                    | LogEvent::GaveUp { .. }
                    | LogEvent::ChildDied { .. }
            )
        )
    });
    let told = told.or_else(|| story.connection_refused());
    if let Some(told) = told {
        // What ends a child stands before its master's word of it.
        let raised = story
            .worker_lines()
            .iter()
            .rev()
            .filter(|other| other.n <= told.n);
        let raised = raised
            .take(LINES_BEFORE)
            .find_map(|other| framework::exception_in(other.line.traceback.as_deref()?))
            .filter(|raised| !told.line.text.contains(raised.as_str()) && !raised.is_empty());
        let raised = raised.map_or(String::new(), |raised| {
            format!(" (before it: {})", text::excerpt(&raised))
        });
        found.push(finding(
            format!("the worker's log: {}{raised}", told.line.text),
            "read the lines around it; `taskdiag diagnose` explains what it does to a task",
        ));
    }
    found
}

/// A traceback and its master's line are no further apart.
const LINES_BEFORE: usize = 20;

/// The queue, its messages and its dead letters.
fn of_queue(story: &Story) -> Vec<Finding> {
    let queue = story.queue();
    let mut found = Vec::new();
    let depth = story.depths(queue).last();
    match (story.down(queue).last(), &depth) {
        (Some(down), _) => found.push(finding(
            format!("queue `{queue}` is down: {down}"),
            "`rabbitmq-diagnostics cluster_status` says which node is missing",
        )),
        (None, Some(depth)) if !depth.exists => found.push(finding(
            format!("queue `{queue}` does not exist"),
            "start the worker: the first worker or the first publish declares it; or correct broker.queue",
        )),
        // Nobody can say what waits in it.
        _ if bad_state(story, queue).is_some() => {}
        (None, Some(depth)) if depth.consumers == 0 => {
            let ready = counted(depth.ready, "message waits", "messages wait");
            let text = format!("queue `{queue}` has no consumer; {ready} in it");
            found.push(match workers::although(story) {
                None => finding(
                    text,
                    "start the worker, or look whether it uses another vhost, broker or queue",
                ),
                Some((although, fix)) => finding(format!("{text}, {although}"), fix),
            });
        }
        _ => {}
    }
    let unacked = story.infos(queue).last().and_then(|info| info.unacked);
    let slots: u64 = story
        .consumers()
        .into_iter()
        .flat_map(|consumers| consumers.value)
        .filter(|consumer| consumer.queue == queue)
        .map(|consumer| consumer.prefetch)
        .sum();
    if let (Some(unacked), Some(depth)) = (unacked, depth.filter(|depth| depth.consumers > 0))
        && unacked > 0
        && unacked >= slots
        && slots > 0
        && depth.ready > 0
    {
        let ready = counted(depth.ready, "message waits", "messages wait");
        let places = story.places_of_work();
        let stand = match places.is_empty() {
            true => String::new(),
            false => format!("; worker threads stand in {}", places.join(", ")),
        };
        found.push(finding(
            format!("every slot of the workers on `{queue}` is taken ({unacked} of {slots} unacked), and {ready} behind them{stand}"),
            "`taskdiag watch --until stuck` says whether anything is acknowledged, `taskdiag diagnose --task ID` what the workers do",
        ));
    }
    found.extend(of_dead_letters(story));
    found
}

/// What the management API last said of the queue, if it does not work in that state. `live` is the metadata's own word,
/// which is all there is where statistics are switched off.
fn bad_state<'a>(story: &Story<'a>, queue: &str) -> Option<&'a str> {
    let state = story.infos(queue).last()?.state?;
    (!matches!(state, "running" | "idle" | "flow" | "live")).then_some(state)
}

/// Each that did not say so itself.
fn of_queues_that_are_down(story: &Story) -> Vec<Finding> {
    let companions = [story.delay_queue(), story.dead_letter_queue()];
    let names = std::iter::once(story.queue().to_owned()).chain(companions.into_iter().flatten());
    let unsaid = names.filter(|queue| queue != story.queue() || story.down(queue).next_back().is_none());
    let found = unsaid.filter_map(|queue| {
        let state = bad_state(story, &queue)?;
        Some(finding(
            format!("queue `{queue}` is in state {state}"),
            "`rabbitmq-diagnostics cluster_status` says which node is missing",
        ))
    });
    found.collect()
}

/// What takes messages from a queue that nobody consumes: it is full, or they expire.
fn of_limits(story: &Story) -> Vec<Finding> {
    let fix = "rabbitmqctl -q list_policies and the queue's arguments say who set it; a worker that consumes makes room";
    let found = story.loses_messages().into_iter();
    found.map(|text| finding(text, fix)).collect()
}

/// More than one program takes this queue's messages.
fn of_consumers(story: &Story) -> Vec<Finding> {
    let queue = story.queue();
    let (mut programs, mut found) = (BTreeSet::new(), Vec::new());
    for consumer in story
        .consumers()
        .into_iter()
        .flat_map(|consumers| consumers.value)
    {
        if consumer.queue != queue {
            continue;
        }
        let process = story
            .peer(&consumer.connection)
            .and_then(|peer| story.process(peer.value));
        let Some(process) = process else { continue };
        programs.insert(process.command.join(" "));
        if is_orphan(&process, story.master_takes()) {
            found.push(finding(
                format!(
                    "pid {} (`{}`) consumes `{queue}`, and its master is gone: its parent is pid {}",
                    process.pid,
                    process.command.join(" "),
                    process.ppid
                ),
                format!(
                    "see whether it is meant to run; if not, `kill {}` gives its messages back to the queue",
                    process.pid
                ),
            ));
        }
    }
    if programs.len() > 1 {
        let programs: Vec<String> = programs.iter().map(|words| format!("`{words}`")).collect();
        found.push(finding(
            format!("{} programs consume `{queue}`: {}", programs.len(), programs.join(", ")),
            "if they are not replicas of one worker, a task may go to the wrong one: stop one, or give it a queue of its own",
        ));
    }
    found
}

/// A child of a worker's master without its master: one that Python started with `spawn_main`, or, where the master
/// takes no messages itself, any process of a worker that does. (A master may well be a child of init: systemd's, a
/// container's.)
fn is_orphan(process: &Process, master_takes: bool) -> bool {
    let is_worker = |command: &[String]| {
        command.iter().take(4).any(|word| {
            let name = word.rsplit('/').next().unwrap_or(word);
            framework::is_worker_program(name)
        })
    };
    let parent = process.parent_command.as_deref().unwrap_or_default();
    let is_spawned = process.command.iter().any(|word| word.contains("spawn_main"));
    let is_child = is_spawned || (!master_takes && is_worker(&process.command));
    process.ppid == 1 && !parent.is_empty() && !is_worker(parent) && is_child
}

/// Alarms, tracing, rights.
fn of_broker(timeline: &Timeline, config: &Config) -> Vec<Finding> {
    let vhost = &timeline.setup.vhost;
    let mut found = Vec::new();
    for event in &timeline.events {
        match &event.kind {
            EventKind::Alarm { node, alarm } => found.push(finding(
                format!("{node} has a {alarm} alarm: publishers are blocked"),
                match alarm.contains("disk") {
                    true => "free disk space on that node, or lower disk_free_limit",
                    false => "let consumers drain the queues, or raise vm_memory_high_watermark",
                },
            )),
            EventKind::TracingOn { readers: 0 } => found.push(finding(
                format!("vhost `{vhost}` traces every message, and nobody reads it"),
                format!("`taskdiag check --restore-tracing` switches it off; while a cluster has no majority, only `rabbitmqctl trace_off -p {vhost}` at each node does"),
            )),
            // Only an administrator may change a vhost, and tracing is a part of it.
            EventKind::Broker { user, tags, .. }
                if config.broker.trace != Trace::Off && !tags.iter().any(|tag| tag == "administrator") =>
            {
                found.push(finding(
                    format!("message tracing is not allowed for user `{user}`, who is no administrator: verdicts of `diagnose` are weaker"),
                    format!("`rabbitmqctl set_user_tags {user} administrator`, or set broker.trace = \"off\" to live without it"),
                ));
            }
            _ => {}
        }
    }
    found.extend(of_tracing(timeline, config));
    found
}

/// An administrator may switch tracing on, and needs permissions like anybody to read what it yields.
fn of_tracing(timeline: &Timeline, config: &Config) -> Option<Finding> {
    if config.broker.trace == Trace::Off {
        return None;
    }
    let own = config.broker.amqp.username();
    let mut events = timeline.events.iter().rev();
    let permissions = events.find_map(|event| match &event.kind {
        EventKind::Permissions { permissions } => Some(permissions),
        _ => None,
    })?;
    let own = permissions.iter().find(|permission| permission.user == own)?;
    let lacks = own.lacks_for_tracing()?;
    let needed = "configure and write on `^taskdiag\\.`, read on `^(amq\\.rabbitmq\\.trace$|taskdiag\\.)`";
    (!lacks.is_empty()).then(|| {
        finding(
            format!(
                "message tracing cannot be read by user `{}`, who may not {}: verdicts of `diagnose` are weaker",
                own.user,
                lacks.join(", nor ")
            ),
            rights::lacks_permission(&own.user, &timeline.setup.vhost, needed),
        )
    })
}

/// What a process cannot get out of by itself.
fn of_processes(timeline: &Timeline) -> Vec<Finding> {
    let mut last: std::collections::BTreeMap<i32, &Process> = Default::default();
    for event in &timeline.events {
        if let EventKind::Process(process) = &event.kind {
            last.insert(process.pid, process);
        }
    }
    let mut found = Vec::new();
    for process in last.values() {
        let name = process.command.join(" ");
        if process.pipe_write.is_some_and(|threads| threads > 0) {
            found.push(finding(
                format!(
                    "pid {} (`{name}`) waits to write to a pipe that nobody reads",
                    process.pid
                ),
                "read what it prints (its supervisor, `docker logs`), or let it write to a file",
            ));
        }
        if process.frozen {
            found.push(finding(
                format!(
                    "pid {} (`{name}`) is frozen by its control group, as by `docker pause`",
                    process.pid
                ),
                "`docker unpause` lets its container go on; find out who paused it",
            ));
        }
        if matches!(process.state, 'T' | 't') {
            found.push(finding(
                format!("pid {} (`{name}`) is stopped", process.pid),
                format!(
                    "find out who stopped it; `kill -CONT {}` lets it go on",
                    process.pid
                ),
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_without_its_master_is_an_orphan() {
        let of = |ppid: i32, command: &str, parent: &str, master_takes: bool| {
            let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
            let process = serde_json::json!({
                "pid": 42, "ppid": ppid, "state": "S", "command": words(command), "parent_command": words(parent),
            });
            is_orphan(&serde_json::from_value(process).expect("a process"), master_takes)
        };
        let spawned = "/usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main()";
        let forked = "/v/bin/python /v/bin/dramatiq shop.jobs -p1";
        assert!(of(1, spawned, "/sbin/init", true));
        assert!(of(1, forked, "/sbin/init", false));
        // Celery's master consumes; the child of a container's first process has its master.
        assert!(!of(
            1,
            "/v/bin/python /v/bin/celery -A shop worker",
            "/sbin/init",
            true
        ));
        assert!(!of(1, forked, forked, false));
        assert!(!of(4242, forked, forked, false));
        assert!(!of(1, "/usr/bin/python3 server.py", "/sbin/init", false));
    }

    #[test]
    fn a_silence_that_never_ends_a_run_is_pointed_out() {
        let timing = |silence, timeout| Timing {
            silence: Duration::from_secs(silence),
            timeout: Duration::from_secs(timeout),
        };
        let found = of_timing(&timing(90, 30)).expect("a finding");
        assert!(
            found.text.contains("is not below timing.timeout (30"),
            "{}",
            found.text
        );
        assert!(of_timing(&timing(10, 60)).is_none());
    }
}
