//! Lines that name no message, and lines of other services: whether the task's can be meant.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::LOG_AHEAD_MS;
use super::{Fact, Story, Transfer, WorkerLine, connections, programs, workers};
use crate::diagnosis::premises::{Premise, State, is_common};
use crate::framework::LogEvent;
use crate::timeline::{Event, EventKind, Process, Source};

impl<'a> Story<'a> {
    /// Lines of another service's worker that writes to the same log: not where it had the task in hand, nor where ours
    /// was not seen, which may be started by another name.
    pub(super) fn forget_other_services(&mut self) {
        let pids: BTreeSet<i32> = self.worker_lines.iter().filter_map(|told| told.pid).collect();
        let (known, unseen): (BTreeSet<i32>, BTreeSet<i32>) = pids
            .into_iter()
            .partition(|pid| self.process_in_life(*pid).is_some());
        let elsewhere = self.pids_of_another_vhost(&known);
        let others: BTreeSet<i32> = known
            .iter()
            .copied()
            .filter(|pid| elsewhere.contains(pid) || self.runs_for_another_service(*pid))
            .collect();
        // One that had the task is the task's worker, whatever the configuration names.
        if others.is_empty() || others.iter().any(|pid| self.speaks_of_the_task(*pid)) {
            return;
        }
        // What ended meanwhile, and what names no pid, is of the service whose stream it is.
        let mut streams: BTreeMap<&str, bool> = BTreeMap::new();
        for told in &self.worker_lines {
            if let (Some(stream), Some(pid)) = (told.line.stream.as_deref(), told.pid)
                && !unseen.contains(&pid)
            {
                *streams.entry(stream).or_insert(true) &= others.contains(&pid);
            }
        }
        let is_anothers = |told: &WorkerLine<'_>| {
            let stream = told.line.stream.as_deref();
            told.pid.is_some_and(|pid| others.contains(&pid))
                || stream.is_some_and(|stream| streams.get(stream) == Some(&true))
                    && !told.line.carries_task_id
        };
        let is_running = || {
            self.looks_at_processes().any(|process| {
                programs::is_its_worker(self, &process) && !self.runs_for_another_service(process.pid)
            })
        };
        // By its own stream of the log: what has no name before it may be an earlier life of the same.
        let speaks = || {
            self.worker_lines.iter().any(|told| {
                let is_a_workers = told.worker_life().is_some() || told.adds_consumer_of(self.queue());
                told.line.stream.is_some() && is_a_workers && !is_anothers(told)
            })
        };
        if is_running() || speaks() {
            let kept = self.worker_lines.iter().filter(|told| !is_anothers(told));
            self.worker_lines = kept.copied().collect();
        }
    }

    /// Of these those that serve another vhost, beside a worker that consumes our queue: without one the watched worker may
    /// be what is on the wrong vhost.
    pub(super) fn pids_of_another_vhost(&self, pids: &BTreeSet<i32>) -> BTreeSet<i32> {
        let listed = self.consumers().into_iter().flat_map(|listed| listed.value);
        let mut ours = listed.filter(|consumer| self.is_of_my_queue(&consumer.queue));
        let is_ours = |process: Fact<&Process>, connection: &str| {
            programs::is_its_worker(self, &process) && connections::is_socket_of(&process, connection)
        };
        if !ours.any(|consumer| {
            self.all_processes()
                .any(|process| is_ours(process, &consumer.connection))
        }) {
            return BTreeSet::new();
        }
        let elsewhere = |pid: &i32| connections::serves_another_vhost(self, *pid);
        pids.iter().copied().filter(elsewhere).collect()
    }

    /// By its lines it had a message of the task's.
    fn speaks_of_the_task(&self, pid: i32) -> bool {
        let mut own = self.worker_lines.iter().filter(|told| told.pid == Some(pid));
        own.any(|told| self.is_of_the_task(told))
    }

    /// It names a message of the task's, or the task.
    pub(super) fn is_of_the_task(&self, told: &WorkerLine<'_>) -> bool {
        let id = told.message_id();
        told.line.carries_task_id && !self.task_id().is_some_and(is_common)
            || id.is_some_and(|id| self.message_ids.contains(id))
    }

    /// It may be about the task, for what it says itself: of when, and of whom.
    pub(in crate::diagnosis) fn may_be_about_it(&self, told: &WorkerLine<'_>) -> bool {
        self.counts(told) && !self.is_of_another_process(told)
    }

    /// The process that wrote it was handed no message of the task, and another worker was: the line is about that
    /// process's own. Several workers may write to one log, one of them for another vhost.
    pub(in crate::diagnosis) fn is_of_another_process(&self, told: &WorkerLine<'_>) -> bool {
        let line = told.line;
        if leaves_it_open(told) && (self.reads_another_queue(told) || self.precedes_the_message(told)) {
            return true;
        }
        let Some(pid) = told.pid.filter(|_| leaves_it_open(told) || line.entry) else {
            return false;
        };
        // Another service's worker may take it, too: then that is seen.
        let mut peers = self
            .deliveries
            .iter()
            .filter_map(|passage| self.client_of(passage.connection));
        if self.runs_for_another_service(pid) && !peers.any(|client| client == pid) {
            return true;
        }
        // What the API sends to another vhost is taken there.
        let mut apis = self.api_processes().into_iter();
        if connections::serves_another_vhost(self, pid)
            && !apis.any(|api| connections::serves_another_vhost(self, api.pid))
        {
            return true;
        }
        // By the log itself another one has it.
        let named = self.worker_lines.iter().filter(|told| {
            let id = told.message_id();
            id.is_some_and(|id| self.message_ids.contains(id)) && told.line.stream == line.stream
        });
        let mut writers = named.filter_map(|told| told.pid).peekable();
        if writers.peek().is_some() && writers.all(|writer| writer != pid) {
            return true;
        }
        // The queue of its delayed messages may be another's to read.
        let own = self
            .deliveries
            .iter()
            .filter(|passage| passage.queue == self.queue());
        let takers = own.map(|passage| self.worker_behind(passage));
        let Some(takers) = takers.collect::<Option<Vec<i32>>>() else {
            return false;
        };
        !takers.is_empty()
            && !takers.contains(&pid)
            && matches!(self.state(&Premise::SamePidSpace), State::Proved(_))
    }

    /// By its logger's name the thread reads a queue to which no message of the task was sent.
    fn reads_another_queue(&self, told: &WorkerLine<'_>) -> bool {
        let logger = told.line.logger.as_deref();
        let Some(queue) = logger.and_then(self.framework().log.reads) else {
            return false;
        };
        let mut ours = self.publishes.iter().chain(&self.deliveries);
        !self.is_of_my_queue(&queue) && !ours.any(|passage| passage.queue == queue)
    }

    /// Another id of the same make stands in it, as `task_9f` beside `task_3e`. What has digits only, as a UUID, may
    /// be anything's.
    pub(super) fn names_another_task(&self, told: &WorkerLine<'_>) -> bool {
        let make = |id: &str| id.replace(|c: char| c.is_ascii_hexdigit(), "0");
        let task = self.task_id().unwrap_or_default();
        let is_sign = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-'));
        let is_another = |word: &str| word != task && make(word) == make(task);
        make(task).contains(char::is_alphabetic) && told.line.text.split(is_sign).any(is_another)
    }

    /// A worker's process, and no relay before it.
    fn worker_behind(&self, passage: &Transfer<'_>) -> Option<i32> {
        let pid = self.client_of(passage.connection)?;
        let process = self.process(pid)?;
        workers::is_worker(&process).then_some(pid)
    }

    /// The process at the client's end, as it was looked for, or by the sockets that it was seen with.
    pub(super) fn client_of(&self, connection: &str) -> Option<i32> {
        let peer = self.peer(connection).map(|peer| peer.value);
        let mut processes = self.all_processes();
        let holds = |process: &Fact<&Process>| connections::is_socket_of(process, connection);
        peer.or_else(|| processes.find(holds).map(|process| process.pid))
    }

    /// It holds the task's id and names no message, and nobody saw which messages were sent: another one of the task's
    /// actor may hold the id as well.
    pub(super) fn may_be_of_another(&self, told: &WorkerLine<'_>) -> bool {
        let is_known = self.post_mortem() || self.is_trace() || self.sees_all(Source::Firehose);
        !is_known && leaves_it_open(told) && !self.by_thread.contains(&told.n)
    }

    /// The next line of its thread says what becomes of a message, and that is none of the task's: it was about that one
    /// already. An actor that sends messages to itself gives them the id of the first.
    pub(super) fn goes_on_with_another(&self, at: usize) -> bool {
        let next = self.goes_on_with(at);
        next.is_some_and(|id| {
            !self.publishes.is_empty() && !self.message_ids.is_empty() && !self.message_ids.contains(id)
        })
    }

    /// The message that the next line of its thread puts off or gives up.
    fn goes_on_with(&self, at: usize) -> Option<&'a str> {
        let told = &self.worker_lines[at];
        let key = told.thread();
        let is_known = leaves_it_open(told) && key.1.is_some() && key.2.is_some();
        let next = self.worker_lines[at + 1..]
            .iter()
            .find(|next| is_known && next.thread() == key)?;
        match next.mark {
            Some(
                LogEvent::Retrying { id, .. } | LogEvent::RetriesExceeded { id } | LogEvent::Aborting { id },
            ) => Some(id.as_str()),
            _ => None,
        }
    }

    /// It holds the task's id, and so does another message of the task's actor that was handed out by then: an actor that sends
    /// messages to itself gives them the id of the first. Nothing says which of them it is about.
    pub(super) fn may_be_of_a_child(&self, at: usize) -> bool {
        let told = &self.worker_lines[at];
        let actors = self.actors();
        let is_a_child = |event: &Event| match &event.kind {
            EventKind::Deliver { message, .. } => {
                let is_ours = |id: &str| self.message_ids.contains(id);
                message.carries_task_id
                    && message
                        .actor
                        .as_deref()
                        .is_some_and(|actor| actors.contains(actor))
                    && !message.message_id.as_deref().is_none_or(is_ours)
                    && event.at_ms <= told.at_ms + LOG_AHEAD_MS
            }
            _ => false,
        };
        leaves_it_open(told)
            && told.line.carries_task_id
            && !self.post_mortem()
            && !self.message_ids.is_empty()
            && !self
                .goes_on_with(at)
                .is_some_and(|id| self.message_ids.contains(id))
            && self.timeline.events.iter().any(is_a_child)
    }

    /// Others were handed out of the task's queue by then, or out of another one to the process that has the task's, for all
    /// that is known.
    pub(in crate::diagnosis) fn others_were_handed_out(&self, until: f64) -> bool {
        let taker = |connection: &str| self.client_of(connection);
        let own: Vec<i32> = self
            .deliveries
            .iter()
            .filter_map(|passage| taker(passage.connection))
            .collect();
        let on_another = |event: &Event| match &event.kind {
            EventKind::Deliver {
                queue, connection, ..
            } => {
                let may_be_near = || taker(connection).is_none_or(|taker| own.contains(&taker));
                event.at_ms <= until && !self.is_of_my_queue(queue) && may_be_near()
            }
            _ => false,
        };
        self.deliveries_of_others(self.queue()).any(|at| at <= until)
            || self.timeline.events.iter().any(on_another)
    }
}

fn leaves_it_open(told: &WorkerLine<'_>) -> bool {
    told.message_id().is_none() && told.mark.is_some_and(LogEvent::leaves_the_message_open)
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{CALL, Scene, WORKER};
    use crate::framework::Message;
    use crate::timeline::{EventKind, Level, Source};

    /// Handed to pid 101, whose log is quiet, on an idle queue.
    fn handed() -> Scene {
        Scene::quiet(|scene| scene.totals("default", 0, 0, serde_json::json!({})))
    }

    fn failed(pid: i32, arguments: &str) -> String {
        format!(
            "[PID {pid}] [Thread-6] [dramatiq.worker.WorkerThread] [ERROR] Failed to process message act({arguments}) with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 3, in act\nValueError: no"
        )
    }

    /// A worker of another vhost writes to the same log, and has no peer in this one.
    #[test]
    fn what_another_process_writes_is_not_of_the_only_delivery() {
        for arguments in ["x", "'task_1'"] {
            let by = |pid: i32| handed().line(&failed(pid, arguments));
            assert_eq!(by(101).cause(), "certain actor-raised");
            assert!(!by(900).cause().ends_with("actor-raised"), "{}", by(900).cause());
        }
    }

    /// Another service's worker refuses a message of its own queue, and nobody knows yet who has ours.
    #[test]
    fn what_another_service_refuses_is_not_ours() {
        let refused = |module: &str, taker: Option<i32>| {
            let configured = vec!["dramatiq".into(), "app".into()];
            let scene = Scene::new()
                .setup(|setup| setup.worker_command = configured)
                .totals("default", 0, 0, serde_json::json!({}))
                .process(101, 1, &format!("python dramatiq {module}"), |_| {})
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER);
            let scene = match taker {
                Some(pid) => scene.peer(WORKER, pid),
                None => scene,
            };
            let line = "[PID 101] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [ERROR] Received message for undefined actor 'act'. Moving it to the DLQ.";
            let cause = scene.line(line).verdict().cause;
            cause.map(|cause| cause.id).unwrap_or_default()
        };
        assert_eq!(refused("app", None), "unknown-actor");
        assert_ne!(refused("mail", None), "unknown-actor");
        assert_eq!(refused("mail", Some(101)), "unknown-actor");
    }

    /// The consumer's logger is named by its queue.
    #[test]
    fn what_comes_from_another_queue_is_not_ours() {
        let refused = |queue: &str| {
            handed()
                .line(&format!("[PID 101] [Thread-2] [dramatiq.worker.ConsumerThread({queue})] [ERROR] Received message for undefined actor 'act'. Moving it to the DLQ."))
                .cause()
        };
        assert_eq!(refused("default"), "certain unknown-actor");
        assert!(!refused("mail").ends_with("unknown-actor"), "{}", refused("mail"));
    }

    /// The same code for another vhost, in the same log: known by the socket that has ours, by its connections, or by when it
    /// wrote.
    #[test]
    fn what_the_same_code_refuses_for_another_vhost_is_not_ours() {
        const THERE: &str = "127.0.0.1:50900 -> 127.0.0.1:5672";
        let command = "python dramatiq app";
        let seen = |connections: bool, sockets: bool| {
            let scene = Scene::new()
                .api_process(&[])
                .totals("default", 0, 0, serde_json::json!({}));
            let scene = match connections {
                true => scene.connections(&[(WORKER, "/", "running"), (THERE, "staging", "running")]),
                false => scene,
            };
            let with = |scene: Scene, pid: i32, socket: &str| {
                scene.process(pid, 1, command, |process| {
                    process.sockets = [socket.to_owned()].into();
                    process.holds_log = true;
                })
            };
            let scene = match sockets {
                true => with(with(scene, 101, WORKER), 900, THERE),
                false => scene.process(101, 1, command, |_| {}),
            };
            scene.submitted().row("PENDING").publish("default")
        };
        let refused = |scene: Scene, pid: i32, stated: &str| {
            let line = "[Thread-2] [dramatiq.worker.ConsumerThread(default)] [ERROR] Received message for undefined actor 'act'. Moving it to the DLQ.";
            let mut scene = scene.line(&format!("[PID {pid}] {line}"));
            if let Some(last) = scene.timeline.events.last_mut() {
                last.stated = Some(stated.into());
            }
            scene.cause().ends_with("unknown-actor")
        };
        const THEN: &str = "1970-01-01 02:16:40,200";
        let taken = |connections: bool| seen(connections, true).deliver(WORKER);
        assert!(refused(taken(true), 101, THEN));
        assert!(!refused(taken(true), 900, THEN));
        // Nobody was seen to take it.
        assert!(!refused(seen(true, true), 900, THEN));
        assert!(!refused(seen(false, true).deliver(WORKER), 900, THEN));
        assert!(refused(seen(false, true).deliver(WORKER), 101, THEN));
        // Within the seconds that a log may be late.
        assert!(refused(
            seen(false, false).deliver(WORKER),
            101,
            "1970-01-01 02:16:40"
        ));
        assert!(!refused(
            seen(false, false).deliver(WORKER),
            101,
            "1970-01-01 02:16:39,600"
        ));
    }

    /// It died, and lines of its stream have no pid: they are of the service whose stream it is.
    #[test]
    fn another_services_stream_is_forgotten_where_ours_is_seen() {
        let run = |ours: &str| {
            let scene = Scene::new()
                .setup(|setup| setup.worker_command = vec!["dramatiq".into(), "app".into()])
                .process(101, 1, ours, |_| {})
                .process(900, 1, "python dramatiq mail", |_| {})
                .submitted()
                .row("PENDING")
                .publish("default");
            let mut scene = scene
                .line("[PID 900] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
                .line("[PID 901] [MainThread] [dramatiq.worker.Worker] [INFO] Worker has been shut down.")
                .line("[PID 101] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Worker process is ready for action.");
            let mut streams = ["mail", "mail", "app"].iter();
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind {
                    line.stream = streams.next().map(|stream| (*stream).to_owned());
                }
            }
            scene.timeline
        };
        let lines = |ours: &str| crate::diagnosis::Story::new(&run(ours)).worker_lines().len();
        assert_eq!(lines("python dramatiq app"), 1);
        // It was seen no more, and has a stream of its own.
        assert_eq!(lines("python /srv/start.py"), 1);
    }

    /// Ours was not seen: it may be started by another name.
    #[test]
    fn what_may_be_our_own_is_kept() {
        let scene = Scene::new()
            .setup(|setup| setup.worker_command = vec!["dramatiq".into(), "app".into()])
            .process(900, 1, "python dramatiq shop.tasks", |_| {})
            .submitted()
            .row("PENDING")
            .publish("default")
            .line("[PID 900] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Worker process is ready for action.");
        let lines = |scene: &Scene| crate::diagnosis::Story::new(&scene.timeline).worker_lines().len();
        assert_eq!(lines(&scene), 1);
        let seen = scene.process(101, 1, "python dramatiq app", |_| {});
        assert_eq!(lines(&seen), 0);
    }

    /// Nobody was seen at the end of the connection; the log says who took the message.
    #[test]
    fn what_another_process_took_is_not_failed_by_this_one() {
        let by = |pid: i32| {
            let received = "Received message act('task_1') with id 'm-1'.";
            Scene::new()
                .totals("default", 0, 0, serde_json::json!({}))
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
                .line(&format!(
                    "[PID 101] [Thread-6] [dramatiq.worker.WorkerThread] [DEBUG] {received}"
                ))
                .line(&failed(pid, "x"))
        };
        assert!(by(101).cause().ends_with("actor-raised"));
        assert!(!by(900).cause().ends_with("actor-raised"), "{}", by(900).cause());
    }

    /// Two services write to one log without pids, and one of them has its messages out of our sight.
    #[test]
    fn a_line_without_a_pid_may_be_another_services() {
        let failed = "Failed to process message act(x) with unhandled exception.";
        let text = format!("{failed}\n{CALL}  File \"/app/tasks.py\", line 3, in act\nValueError: no");
        let by_one = without_pids(handed()).plain(Some(Level::Error), &text);
        assert_eq!(by_one.cause(), "certain actor-raised");
        let mail =
            |scene: Scene| scene.process(900, 1, "python dramatiq mail", |process| process.holds_log = true);
        let by_two = mail(without_pids(handed())).plain(Some(Level::Error), &text);
        assert_eq!(by_two.cause(), "likely actor-raised");
        // The log is the other one's alone.
        let mut by_the_other = by_two;
        for event in &mut by_the_other.timeline.events {
            if let EventKind::Process(process) = &mut event.kind {
                process.holds_log = process.pid == 900;
            }
        }
        assert!(!by_the_other.cause().ends_with("actor-raised"));
    }

    /// The other service logs at INFO: that it took a message is not said.
    #[test]
    fn what_names_another_actor_is_not_ours_while_ours_runs() {
        let failed = |actor: &str| {
            let received = "Received message act('task_1') with id 'm-1'.";
            without_pids(handed())
                .plain(Some(Level::Debug), received)
                .plain(Some(Level::Error), &format!("Failed to process message {actor}(x) with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 3, in {actor}\nValueError: no"))
                .cause()
        };
        assert_eq!(failed("act"), "certain actor-raised");
        assert!(
            !failed("charge").ends_with("actor-raised"),
            "{}",
            failed("charge")
        );
    }

    fn without_pids(mut scene: Scene) -> Scene {
        for event in &mut scene.timeline.events {
            if let EventKind::Line(line) = &mut event.kind {
                (line.pid, line.thread) = (None, None);
            }
        }
        scene
    }

    /// Both services were made from one template, and say the same when they begin.
    #[test]
    fn what_begins_with_another_tasks_id_is_not_ours() {
        let begins = |text: &str| without_pids(handed()).plain(Some(Level::Info), text);
        let entered = |text: &str| begins(text).verdict().stage >= Some(crate::diagnosis::Stage::Entered);
        assert!(entered("ENTRY"));
        assert!(entered("ENTRY for customer cust_1"));
        assert!(!entered("ENTRY task_2"));
        let by = |pid: i32| handed().line(&format!("[PID {pid}] [Thread-6] [app] [INFO] ENTRY"));
        let entered = |scene: Scene| scene.verdict().stage >= Some(crate::diagnosis::Stage::Entered);
        assert!(entered(by(101)));
        assert!(!entered(by(900)));
    }

    /// Whose pids the log has is not known.
    #[test]
    fn a_pid_of_a_container_is_a_near_miss() {
        let scene = handed().line(&failed(7, "'task_1'"));
        let unknown = |mut scene: Scene| {
            for event in &mut scene.timeline.events {
                if let EventKind::Process(process) = &mut event.kind {
                    process.holds_log = false;
                }
            }
            scene
        };
        assert!(unknown(scene).cause().ends_with("actor-raised"));
    }

    /// The actor sends itself one message for each part of the work, and each holds the id of the whole.
    #[test]
    fn what_goes_on_with_another_message_is_about_that_one() {
        let then = |id: &str| {
            let scene = handed().line(&failed(101, "'task_1'"));
            scene.line(&format!(
                "[PID 101] [Thread-6] [dramatiq.middleware.retries.Retries] [INFO] Retrying message '{id}' in 15000 milliseconds."
            ))
        };
        assert_eq!(then("m-1").cause(), "certain actor-raised");
        assert!(
            !then("m-2").cause().ends_with("actor-raised"),
            "{}",
            then("m-2").cause()
        );
    }

    /// One process consumes two queues.
    #[test]
    fn a_message_on_another_queue_may_be_meant() {
        let beside = |connection: &str, pid: i32| {
            let message = Message {
                message_id: Some("x-1".into()),
                ..Message::default()
            };
            let handed_out = EventKind::Deliver {
                queue: "emails".into(),
                connection: connection.into(),
                redelivered: false,
                message,
            };
            let scene = handed().see(Source::Firehose, handed_out).peer(connection, pid);
            let logger = "dramatiq.brokers.rabbitmq._RabbitmqConsumer";
            scene.error(logger, "Failed to decode message.").silence()
        };
        let elsewhere = "127.0.0.1:40901 -> 127.0.0.1:5672";
        assert_eq!(beside(elsewhere, 900).cause(), "certain decode-error");
        let here = "127.0.0.1:40102 -> 127.0.0.1:5672";
        assert!(!beside(here, 101).cause().ends_with("decode-error"));
        assert!(!beside(WORKER, 101).cause().ends_with("decode-error"));
    }

    /// A worker at WARNING does not say which message is to be retried.
    #[test]
    fn a_child_that_carries_the_id_fails() {
        let own = Message {
            message_id: Some("m-2".into()),
            ..Scene::message("m-1")
        };
        let sent = |handed: bool| {
            let scene = handed_out().publish_as("default", WORKER, own.clone());
            match handed {
                true => scene.deliver_as("m-2", WORKER, false),
                false => scene,
            }
        };
        fn handed_out() -> Scene {
            handed().info("app", "ACTOR ENTRY task_id=task_1")
        }
        let failed = failed(101, "'task_1'");
        let either = sent(true).line(&failed).silence();
        assert_ne!(either.cause(), "certain actor-raised");
        assert_ne!(either.verdict().outcome, crate::diagnosis::Outcome::Failed);
        // The next line of the thread says which.
        let retried = "[PID 101] [Thread-6] [dramatiq.middleware.retries.Retries] [INFO] Retrying message 'm-1' in 15000 milliseconds.";
        for certain in [
            sent(false).line(&failed),
            sent(true).line(&failed).line(retried),
            handed_out().line(&failed),
        ] {
            assert_eq!(certain.cause(), "certain actor-raised");
        }
    }
}
