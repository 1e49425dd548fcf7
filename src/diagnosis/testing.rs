//! Timelines for the tests of causes, told as a story: a scene is set with every source watching,
//! things happen ten milliseconds apart, and the observation ends.
//!
//! The cast: task `task_1`, message `m-1` for actor `act` on queue `default`; the API is pid 50, the
//! watched worker is master 100 with child 101. Another worker is pid 900.

#![allow(clippy::new_without_default)]

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

use super::{Answer, Cause, Certainty, Story, Verdict, ask, diagnose};
use crate::framework::{ArgumentValues, Message};
use crate::timeline::{
    ClosedChannel, CommandEnd, Connection, Consumer, Container, Ended, Event, EventKind, Frame, Level,
    LogLine, NoAnswer, Permission, Process, Role, Setup, Source, Stack, Timeline, Xmax,
};

pub const TASK: &str = "task_1";
/// Whatever else explains why: it did raise, and the answer does lack an id.
const ALWAYS_TRUE: &[&str] = &["actor-raised", "api-answer-unrecognised"];

pub const API: &str = "127.0.0.1:40050 -> 127.0.0.1:5672";
pub const WORKER: &str = "127.0.0.1:40101 -> 127.0.0.1:5672";
pub const OTHER: &str = "127.0.0.1:40900 -> 127.0.0.1:5672";
/// What precedes the application's own frames in every traceback of a Dramatiq actor.
pub const CALL: &str = "Traceback (most recent call last):\n  File \"/v/site-packages/dramatiq/worker.py\", line 5, in process_message\n    res = actor(*message.args, **message.kwargs)\n  File \"/v/site-packages/dramatiq/actor.py\", line 9, in __call__\n    return self.fn(*args, **kwargs)\n";

#[derive(Clone)]
pub struct Scene {
    pub timeline: Timeline,
    now: f64,
    /// Lines written from now on stood in the log before the run; its age in seconds.
    before: Option<u64>,
}

impl Scene {
    /// Every source watches; nothing has been submitted.
    pub fn new() -> Self {
        let setup = Setup {
            framework: "dramatiq".into(),
            queue: "default".into(),
            vhost: "/".into(),
            broker: "127.0.0.1:5672".into(),
            actor: Some("act".into()),
            api_url: Some("http://127.0.0.1:8000".into()),
            task_id_pointer: Some("/task_id".into()),
            entry_pattern: Some("ENTRY".into()),
            worker_command: Vec::new(),
            worker_cwd: None,
            api_log: None,
            worker_log: None,
            database: None,
            table: Some("task".into()),
            id_column: Some("task_id".into()),
            status_column: Some("status".into()),
            running: vec!["RUNNING".into()],
            succeeded: vec!["COMPLETED".into()],
            failed: vec!["FAILED".into()],
            silence_ms: 10_000,
            timeout_ms: 60_000,
            wait_retries: false,
            post_mortem: false,
            trace: false,
            expect_entered: false,
            show_args: false,
        };
        let mut scene = Self {
            timeline: Timeline::new(setup, "1970-01-01T00:16:40.000Z".into()),
            now: -1000.0,
            before: None,
        };
        for source in Source::all() {
            scene = scene.see(source, EventKind::Watching { detail: "".into() });
        }
        scene.see(
            Source::Database,
            EventKind::DatabaseServer {
                version: "15.18".into(),
                referencing: Vec::new(),
                reads_all_stats: true,
                in_recovery: Some(false),
            },
        )
    }

    /// Every source watches, and the API has accepted the task.
    pub fn accepted() -> Self {
        Self::new().submitted()
    }

    /// Accepted, recorded as PENDING, and sent to the worker's queue, which has its consumer.
    pub fn published() -> Self {
        Self::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 0, 1)
    }

    /// And delivered to the watched worker, which logs at DEBUG.
    pub fn delivered() -> Self {
        Self::new()
            .worker_booted()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 0, 1)
            .deliver(WORKER)
            .peer(WORKER, 101)
            .pushed("m-1")
    }

    /// A watched worker whose log is not at DEBUG, and what else was there before the task was submitted.
    pub fn quiet(before: impl FnOnce(Self) -> Self) -> Self {
        let worker = Self::new()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[WORKER]);
        before(worker)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
    }

    /// Delivered to another connection than the watched worker's, which runs beside it.
    pub fn sent_to_another() -> Self {
        Self::new()
            .worker_booted()
            .depth("default", 0, 2)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(OTHER)
            .depth("default", 0, 2)
    }

    /// And a thread of the worker has taken it.
    pub fn received() -> Self {
        Self::delivered().debug(
            "dramatiq.worker.WorkerThread",
            "Received message act('task_1') with id 'm-1'.",
        )
    }

    /// And the framework has called the actor.
    pub fn called() -> Self {
        Self::received().debug("app.act", "Received args=('task_1',) kwargs={}.")
    }

    /// And the actor's own code ran.
    pub fn entered() -> Self {
        Self::called().info("app", "ACTOR ENTRY task_id=task_1")
    }

    pub fn setup(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        change(&mut self.timeline.setup);
        self
    }

    /// What happens next happens at this time.
    pub fn at(mut self, ms: f64) -> Self {
        self.now = ms;
        self
    }

    pub fn see(mut self, source: Source, kind: EventKind) -> Self {
        self.now += 10.0;
        let mut event = Event {
            n: 0,
            at_ms: self.now,
            source,
            stated: None,
            kind,
        };
        event.learn_task_id(TASK, &self.timeline.setup.nouns());
        self.timeline.push(event);
        self
    }

    // -- sources

    pub fn blind(self, source: Source) -> Self {
        self.see(
            source,
            EventKind::Blind {
                reason: "cannot".into(),
                hint: None,
            },
        )
    }

    pub fn partial(self, source: Source) -> Self {
        self.see(
            source,
            EventKind::Partial {
                reason: "in part".into(),
            },
        )
    }

    // -- the API

    pub fn submitted(self) -> Self {
        let mut scene = self.at(-10.0).submitting();
        scene.now = 0.0;
        scene.answered(202, Some(TASK), "{\"task_id\":\"task_1\"}")
    }

    /// The API has made an id that the request did not hold.
    pub fn with_a_new_id(mut self) -> Self {
        for event in &mut self.timeline.events {
            if let EventKind::Answered { new_id, .. } = &mut event.kind {
                *new_id = true;
            }
        }
        self
    }

    /// None is configured.
    pub fn without_a_database(mut self) -> Self {
        let mut less = Timeline::new(self.timeline.setup.clone(), self.timeline.started_at.clone());
        less.setup.table = None;
        for event in self.timeline.events {
            if !matches!(event.kind, EventKind::Row(_) | EventKind::RowCommitted { .. }) {
                less.push(event);
            }
        }
        self.timeline = less;
        self.without(Source::Database)
    }

    /// Nothing is submitted: the task is there already.
    pub fn given(mut self) -> Self {
        self.timeline.setup.post_mortem = true;
        let task_id = TASK.to_owned();
        self.see(Source::Api, EventKind::Given { task_id })
    }

    pub fn submitting(self) -> Self {
        self.see(
            Source::Api,
            EventKind::Submitting {
                method: "POST".into(),
                url: "http://127.0.0.1:8000/tasks".into(),
            },
        )
    }

    pub fn answered(self, status: u16, task_id: Option<&str>, body: &str) -> Self {
        self.see(
            Source::Api,
            EventKind::Answered {
                status,
                latency_ms: 10.0,
                task_id: task_id.map(str::to_owned),
                new_id: false,
                body: body.into(),
                location: None,
                candidates: Vec::new(),
                routes: Vec::new(),
            },
        )
    }

    /// A command was to send the task, and ended so.
    pub fn run_by_command(code: Option<i32>, task_id: Option<&str>, printed: &str) -> Self {
        let started = EventKind::Submitting {
            method: "RUN".into(),
            url: "python manage.py send_report".into(),
        };
        let ended = EventKind::CommandEnded(CommandEnd {
            code,
            latency_ms: 10.0,
            task_id: task_id.map(str::to_owned),
            printed: printed.into(),
        });
        Self::new().see(Source::Api, started).see(Source::Api, ended)
    }

    /// Submitted, answered without an id, and recognised by its message.
    pub fn unnamed() -> Self {
        let task_id = "m-1".to_owned();
        let mut scene = Self::new()
            .at(-10.0)
            .submitting()
            .publish("default")
            .answered(200, None, "ok");
        scene.timeline.learn_task_id(&task_id);
        scene.see(Source::Firehose, EventKind::Recognised { task_id })
    }

    /// No line has the task's id, but where it is the message's.
    pub fn by_message_ids_only(mut self) -> Self {
        for event in &mut self.timeline.events {
            if let EventKind::Line(line) = &mut event.kind {
                line.carries_task_id = false;
            }
        }
        self
    }

    /// Submitted, and refused by an HTTP error.
    pub fn refused(status: u16, body: &str) -> Self {
        Self::new().at(-10.0).submitting().answered(status, None, body)
    }

    /// Submitted, and no HTTP answer came.
    pub fn not_answered(why: NoAnswer) -> Self {
        Self::new().no_answer(why)
    }

    pub fn no_answer(self, why: NoAnswer) -> Self {
        self.at(-10.0).submitting().see(
            Source::Api,
            EventKind::NotAnswered {
                why,
                error: "no".into(),
                latency_ms: 10_000.0,
            },
        )
    }

    pub fn api_says(self, status: &str) -> Self {
        let kind = json!({ "kind": "api_status", "http_status": 200, "value": status, "latency_ms": 5.0 });
        self.see(Source::Api, value(kind))
    }

    pub fn api_knows_nothing(self) -> Self {
        let kind = json!({ "kind": "api_status", "http_status": 404, "latency_ms": 5.0 });
        self.see(Source::Api, value(kind))
    }

    pub fn api_log(self, text: &str, traceback: &str) -> Self {
        let line = LogLine {
            level: Some(Level::Error),
            text: text.into(),
            traceback: Some(traceback.into()),
            raw: ArgumentValues(vec![text.to_owned()]),
            ..LogLine::default()
        };
        self.see(Source::ApiLog, EventKind::Line(line))
    }

    /// The actor's entry line in the API's log, written by this process.
    pub fn api_entry(self, pid: i32) -> Self {
        let line = LogLine {
            pid: Some(pid),
            ..read("app: ACTOR ENTRY task_id=task_1")
        };
        self.see(Source::ApiLog, EventKind::Line(line))
    }

    /// A request as the API's access log has it: `POST /tasks`, which is how the task is submitted, or another.
    pub fn api_served(self, request: &str, status: u16) -> Self {
        let line = LogLine {
            level: Some(Level::Info),
            text: format!("127.0.0.1:40000 - \"{request} HTTP/1.1\" {status}"),
            ..LogLine::default()
        };
        self.see(Source::ApiLog, EventKind::Line(line))
    }

    // -- the row

    pub fn row(self, status: &str) -> Self {
        self.row_with(status, Xmax::None)
    }

    pub fn row_with(self, status: &str, xmax_state: Xmax) -> Self {
        let xmax = if xmax_state == Xmax::None { 0 } else { 705 };
        let asked = self.now + 9.0;
        self.see(
            Source::Database,
            EventKind::Row(value(json!({
                "present": true, "status": status, "xmin": 700, "xmax": xmax, "xmax_state": xmax_state,
                "asked_at_ms": asked,
            }))),
        )
    }

    pub fn no_row(self) -> Self {
        let asked = self.now + 9.0;
        let kind = json!({ "kind": "row", "present": false, "asked_at_ms": asked });
        self.see(Source::Database, value(kind))
    }

    pub fn committed(self, invisible_at_ms: f64, visible_at_ms: f64) -> Self {
        self.see(
            Source::Database,
            EventKind::RowCommitted {
                xmin: 700,
                invisible_at_ms: Some(invisible_at_ms),
                visible_at_ms,
            },
        )
    }

    // -- messages

    pub fn message(id: &str) -> Message {
        Message {
            message_id: Some(id.into()),
            actor: Some("act".into()),
            queue_name: Some("default".into()),
            timestamp_ms: Some(1_000_000),
            leaves: if id.starts_with("m-") {
                ArgumentValues(vec![TASK.into()])
            } else {
                ArgumentValues::default()
            },
            ..Message::default()
        }
    }

    /// The API sends this task's message to a queue.
    pub fn publish(self, queue: &str) -> Self {
        self.publish_as(queue, API, Self::message("m-1"))
    }

    pub fn publish_as(self, queue: &str, connection: &str, message: Message) -> Self {
        self.see(
            Source::Firehose,
            EventKind::Publish {
                exchange: String::new(),
                routing_key: queue.into(),
                routed: None,
                connection: connection.into(),
                user: None,
                message,
            },
        )
    }

    /// Its message goes from `default` to whoever is at this connection.
    /// Through an exchange of the application's, which leads to these queues.
    pub fn publish_by(self, exchange: &str, key: &str, queues: &[&str]) -> Self {
        let publish = EventKind::Publish {
            exchange: exchange.into(),
            routing_key: key.into(),
            routed: Some(queues.iter().map(|queue| (*queue).to_owned()).collect()),
            connection: API.into(),
            user: None,
            message: Self::message("m-1"),
        };
        self.see(Source::Firehose, publish)
    }

    pub fn deliver(self, connection: &str) -> Self {
        self.deliver_as("m-1", connection, false)
    }

    pub fn deliver_as(self, id: &str, connection: &str, redelivered: bool) -> Self {
        self.see(
            Source::Firehose,
            EventKind::Deliver {
                queue: "default".into(),
                connection: connection.into(),
                redelivered,
                message: Self::message(id),
            },
        )
    }

    pub fn dead_letter(self, queue: &str, reason: &str) -> Self {
        self.see(
            Source::DeadLetters,
            EventKind::DeadLetter {
                queue: queue.into(),
                reason: Some(reason.into()),
                from_queue: Some("default".into()),
                message: Self::message("m-1"),
            },
        )
    }

    /// `--peek-main` saw this message on the queue itself.
    pub fn looked_at(self, queue: &str, id: &str) -> Self {
        self.lies_on(queue, Self::message(id))
    }

    pub fn lies_on(self, queue: &str, message: Message) -> Self {
        self.see(
            Source::DeadLetters,
            EventKind::DeadLetter {
                queue: queue.into(),
                reason: None,
                from_queue: None,
                message,
            },
        )
    }

    // -- the broker

    pub fn depth(self, queue: &str, ready: u64, consumers: u64) -> Self {
        self.see(
            Source::Queue,
            EventKind::Depth {
                queue: queue.into(),
                exists: true,
                ready,
                consumers,
                samples: 1,
                down: None,
            },
        )
    }

    pub fn no_queue(self, queue: &str) -> Self {
        self.see(
            Source::Queue,
            EventKind::Depth {
                queue: queue.into(),
                exists: false,
                ready: 0,
                consumers: 0,
                samples: 1,
                down: None,
            },
        )
    }

    /// Its home node is down.
    pub fn queue_down(self, queue: &str) -> Self {
        self.see(
            Source::Queue,
            EventKind::Depth {
                queue: queue.into(),
                exists: true,
                ready: 0,
                consumers: 0,
                samples: 1,
                down: Some("its home node b@y is down or inaccessible".into()),
            },
        )
    }

    /// What the management API says of the queue: `arguments` as a JSON object.
    pub fn totals(self, queue: &str, ready: u64, unacked: u64, arguments: Json) -> Self {
        self.totals_in_state("running", queue, ready, unacked, arguments)
    }

    pub fn totals_in_state(
        self,
        state: &str,
        queue: &str,
        ready: u64,
        unacked: u64,
        arguments: Json,
    ) -> Self {
        let arguments = match arguments {
            Json::Object(map) => map,
            _ => Map::new(),
        };
        self.see(
            Source::Management,
            EventKind::QueueInfo {
                queue: queue.into(),
                state: Some(state.into()),
                queue_type: Some("classic".into()),
                arguments,
                policy: None,
                policy_definition: Map::new(),
                policy_unknown: false,
                ready: Some(ready),
                unacked: Some(unacked),
                members: None,
                online: None,
            },
        )
    }

    /// A quorum queue with these arguments.
    pub fn quorum(self, queue: &str, arguments: Json) -> Self {
        let mut scene = self.totals(queue, 0, 0, arguments);
        if let Some(event) = scene.timeline.events.last_mut()
            && let EventKind::QueueInfo { queue_type, .. } = &mut event.kind
        {
            *queue_type = Some("quorum".into());
        }
        scene
    }

    /// A quorum queue with so many of its members online.
    pub fn members(self, queue: &str, online: u64, members: u64) -> Self {
        self.see(
            Source::Management,
            EventKind::QueueInfo {
                queue: queue.into(),
                state: Some("running".into()),
                queue_type: Some("quorum".into()),
                arguments: Map::new(),
                policy: None,
                policy_definition: Map::new(),
                policy_unknown: false,
                ready: Some(0),
                unacked: Some(0),
                members: Some(members),
                online: Some(online),
            },
        )
    }

    /// Consumers as queue, connection, prefetch.
    pub fn consumers(self, list: &[(&str, &str, u64)]) -> Self {
        let consumers = list
            .iter()
            .map(|(queue, connection, prefetch)| Consumer {
                queue: (*queue).into(),
                tag: "ctag".into(),
                connection: (*connection).into(),
                user: "guest".into(),
                prefetch: *prefetch,
                active: Some(true),
            })
            .collect();
        self.see(Source::Management, EventKind::Consumers { consumers })
    }

    /// Connections as name, vhost, state; all are pika's.
    pub fn connections(self, list: &[(&str, &str, &str)]) -> Self {
        self.connections_of("Pika Python Client Library", list)
    }

    pub fn connections_of(self, product: &str, list: &[(&str, &str, &str)]) -> Self {
        let connections = list
            .iter()
            .map(|(name, vhost, state)| Connection {
                name: (*name).into(),
                user: "guest".into(),
                vhost: (*vhost).into(),
                state: (*state).into(),
                product: product.into(),
                connected_at_ms: None,
            })
            .collect();
        self.see(Source::Management, EventKind::Connections { connections })
    }

    /// Connections to `/` with their users.
    pub fn users(self, list: &[(&str, &str)]) -> Self {
        let connections = list
            .iter()
            .map(|(name, user)| Connection {
                name: (*name).into(),
                user: (*user).into(),
                vhost: "/".into(),
                state: "running".into(),
                product: "py-amqp".into(),
                connected_at_ms: None,
            })
            .collect();
        self.see(Source::Management, EventKind::Connections { connections })
    }

    /// Users of the vhost with their write patterns; they may configure and read everything.
    pub fn permissions(self, list: &[(&str, &str)]) -> Self {
        let permissions = list
            .iter()
            .map(|(user, write)| Permission {
                user: (*user).into(),
                configure: ".*".into(),
                write: (*write).into(),
                read: ".*".into(),
            })
            .collect();
        self.see(Source::Management, EventKind::Permissions { permissions })
    }

    /// The broker closed the first channel of each of these connections, and its client has not noticed.
    pub fn closed_channels(self, connections: &[&str]) -> Self {
        self.closed_channels_as(connections, "guest")
    }

    pub fn closed_channels_as(self, connections: &[&str], user: &str) -> Self {
        let channels = connections
            .iter()
            .map(|connection| ClosedChannel {
                connection: (*connection).into(),
                number: 1,
                user: user.into(),
            })
            .collect();
        self.see(Source::Management, EventKind::ClosedChannels { channels })
    }

    pub fn alarm(self) -> Self {
        self.see(
            Source::Management,
            EventKind::Alarm {
                node: "rabbit@host".into(),
                alarm: "memory".into(),
            },
        )
    }

    // -- processes

    pub fn peer(self, connection: &str, pid: i32) -> Self {
        self.see(
            Source::Process,
            EventKind::Peer {
                connection: connection.into(),
                pid,
            },
        )
    }

    pub fn process(self, pid: i32, ppid: i32, command: &str, change: impl FnOnce(&mut Process)) -> Self {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let parent = if ppid == 1 { "/sbin/init" } else { command };
        let mut process: Process = value(json!({
            "pid": pid, "ppid": ppid, "state": "S", "command": words(command),
            "parent_command": words(parent), "cwd": "/app", "sockets_seen": true, "pipe_write": 0,
            // The watched worker has its log open, as any that writes to a file of this machine.
            "holds_log": matches!(pid, 100 | 101),
        }));
        change(&mut process);
        self.see(Source::Process, EventKind::Process(process))
    }

    /// The API's process with these connections.
    pub fn api_process(self, sockets: &[&str]) -> Self {
        self.see(Source::Process, EventKind::ApiProcess { pid: 50 })
            .process(50, 1, "python uvicorn main:app", |process| {
                process.sockets = sockets.iter().map(|socket| (*socket).to_owned()).collect();
            })
    }

    /// The watched worker's container `shop-worker-1`, as its engine describes it.
    pub fn worker_container(self, id: &str, state: &str, change: impl FnOnce(&mut Container)) -> Self {
        let mut container = Container {
            id: id.into(),
            name: "shop-worker-1".into(),
            image: "shop".into(),
            project: Some("shop".into()),
            service: Some("worker".into()),
            number: Some(1),
            roles: vec![Role::WorkerLog],
            state: state.into(),
            command: vec!["/entry.sh".into(), "dramatiq".into(), "app".into()],
            ..Container::default()
        };
        change(&mut container);
        self.see(Source::Containers, EventKind::Container(Box::new(container)))
    }

    pub fn worker_process(self, sockets: &[&str]) -> Self {
        self.process(101, 100, "python dramatiq -v app --threads 2", |process| {
            process.sockets = sockets.iter().map(|socket| (*socket).to_owned()).collect();
        })
    }

    /// Another worker, whose lines do not stand in the watched log.
    pub fn other_worker(self) -> Self {
        self.process(900, 899, "python dramatiq other", |_| {})
            .peer(OTHER, 900)
    }

    /// The way into the worker's place fails with these words.
    pub fn place_says(self, said: &str) -> Self {
        self.see(
            Source::Process,
            EventKind::PlaceUnreachable {
                part: "worker".into(),
                reason: said.into(),
                said: Some(said.into()),
                exit: Some(1),
                hint: None,
            },
        )
    }

    /// `--start` started this part.
    pub fn started(self, part: &str, pid: i32) -> Self {
        let started = json!({"kind": "started", "part": part, "pid": pid, "command": [part], "cwd": "/app"});
        self.see(Source::Process, value(started))
    }

    pub fn ready(self, part: &str, pid: i32) -> Self {
        let ready = json!({"kind": "ready", "part": part, "pid": pid, "after_ms": 1000.0});
        self.see(Source::Process, value(ready))
    }

    pub fn not_ready(self, part: &str, pid: i32, reason: &str) -> Self {
        let failed =
            json!({"kind": "not_ready", "part": part, "pid": pid, "after_ms": 1000.0, "reason": reason});
        self.see(Source::Process, value(failed))
    }

    /// What was started has ended.
    pub fn exited(self, pid: i32, code: i32) -> Self {
        let exit = Some(code);
        self.see(Source::Process, EventKind::Gone { pid, exit })
    }

    pub fn gone(self, pid: i32) -> Self {
        self.see(Source::Process, EventKind::Gone { pid, exit: None })
    }

    /// One thread's frames, innermost first, as function and file.
    pub fn stack(self, pid: i32, thread: &str, frames: &[(&str, &str)]) -> Self {
        self.stacks(pid, &[(thread, frames)])
    }

    /// One dump of several threads, none of which moves.
    pub fn stacks(self, pid: i32, threads: &[(&str, &[(&str, &str)])]) -> Self {
        let frame = |(function, file): &(&str, &str)| Frame {
            function: (*function).into(),
            file: (*file).into(),
            line: 1,
            task: None,
        };
        let stack = |(thread, frames): &(&str, &[(&str, &str)])| Stack {
            thread: (*thread).into(),
            stable: true,
            frames: frames.iter().map(frame).collect(),
        };
        let threads = threads.iter().map(stack).collect();
        self.see(Source::Process, EventKind::Stacks { pid, threads })
    }

    // -- the worker's log

    /// Lines from now on stood in the log before the run, whose last change is so many seconds old.
    pub fn from_before(mut self, age_s: u64) -> Self {
        self.before = Some(age_s);
        self
    }

    pub fn from_now_on(mut self) -> Self {
        self.before = None;
        self
    }

    /// `[PID 1] [Thread-4] [logger] [LEVEL] text`: Dramatiq's format without its time. A traceback
    /// may follow on lines of its own.
    pub fn line(self, text: &str) -> Self {
        let mut line = read(text);
        line.before = self.before.is_some();
        line.age_s = self.before;
        self.see(Source::WorkerLog, EventKind::Line(line))
    }

    /// A line of another format: no pid, thread or logger.
    pub fn plain(self, level: Option<Level>, text: &str) -> Self {
        let mut line = read(text);
        line.level = level;
        line.before = self.before.is_some();
        line.age_s = self.before;
        self.see(Source::WorkerLog, EventKind::Line(line))
    }

    pub fn debug(self, logger: &str, text: &str) -> Self {
        self.line(&format!("[PID 101] [Thread-4] [{logger}] [DEBUG] {text}"))
    }

    pub fn info(self, logger: &str, text: &str) -> Self {
        self.line(&format!("[PID 101] [Thread-4] [{logger}] [INFO] {text}"))
    }

    pub fn warning(self, logger: &str, text: &str) -> Self {
        self.line(&format!("[PID 101] [Thread-4] [{logger}] [WARNING] {text}"))
    }

    pub fn error(self, logger: &str, text: &str) -> Self {
        self.line(&format!("[PID 101] [Thread-4] [{logger}] [ERROR] {text}"))
    }

    pub fn critical(self, logger: &str, text: &str) -> Self {
        self.line(&format!("[PID 101] [Thread-4] [{logger}] [CRITICAL] {text}"))
    }

    /// The watched worker runs, logs at DEBUG, and consumes `default`.
    pub fn worker_booted(self) -> Self {
        self.from_before(5)
            .debug("dramatiq.WorkerProcess(0)", "Loading broker...")
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'default'.",
            )
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .line("[PID 100] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
            .from_now_on()
            .worker_process(&[WORKER])
    }

    pub fn pushed(self, id: &str) -> Self {
        self.line(&format!(
            "[PID 101] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [DEBUG] Pushing message '{id}' onto work queue."
        ))
    }

    pub fn completed(self) -> Self {
        self.debug("app.act", "Completed after 1.00ms.")
    }

    pub fn acked(self, id: &str) -> Self {
        self.debug(
            "dramatiq.worker.ConsumerThread(default)",
            &format!("Acknowledging message '{id}'."),
        )
    }

    pub fn rejected(self, id: &str) -> Self {
        self.debug(
            "dramatiq.worker.ConsumerThread(default)",
            &format!("Rejecting message '{id}'."),
        )
    }

    /// The actor raised in its own code; the log's ERROR line with its traceback.
    pub fn raised(self, exception: &str) -> Self {
        self.error(
            "dramatiq.worker.WorkerThread",
            &format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 3, in act\n{exception}"
            ),
        )
    }

    pub fn retrying(self) -> Self {
        self.info(
            "dramatiq.middleware.retries.Retries",
            "Retrying message 'm-1' in 15000 milliseconds.",
        )
    }

    /// And the copy for it is published.
    pub fn retried(self) -> Self {
        let mut copy = Self::message("m-1");
        copy.retries = Some(1);
        copy.eta_ms = Some(1_015_000);
        self.retrying().publish_as("default.DQ", WORKER, copy)
    }

    /// The worker at the other connection has run it, and its retry carries the traceback.
    pub fn retried_by_the_other(self) -> Self {
        let mut copy = Self::message("m-1");
        copy.retries = Some(1);
        copy.eta_ms = Some(1_015_000);
        copy.traceback = Some(format!(
            "{CALL}  File \"/app/tasks.py\", line 3, in act\nValueError: no\n"
        ));
        self.publish_as("default.DQ", OTHER, copy)
    }

    // -- the end

    pub fn silence(self) -> Self {
        self.end(Ended::Silence)
    }

    pub fn timeout(self) -> Self {
        self.end(Ended::Timeout)
    }

    /// Silence that ends now, and not at ten seconds.
    pub fn end_now(self) -> Self {
        let why = Ended::Silence;
        self.see(Source::Run, EventKind::Ended { why })
    }

    pub fn end(self, why: Ended) -> Self {
        let last = self.now;
        self.at(last.max(10_000.0))
            .see(Source::Run, EventKind::Ended { why })
    }

    /// Nothing that is waited for changes what would be said at its end.
    pub fn lasts(&self) -> bool {
        crate::diagnosis::would_last(&self.timeline)
    }

    pub fn verdict(&self) -> Verdict {
        diagnose(&self.timeline)
    }

    /// What the verdict's cause says in one sentence; nothing without one.
    pub fn summary(&self) -> String {
        self.verdict()
            .cause
            .map(|cause| cause.summary)
            .unwrap_or_default()
    }

    /// The verdict's cause, as `certain no-consumer`; `none` where it has none. Whatever scene is
    /// asked: without one or two of its sources, or cut off anywhere, no other cause is certain.
    pub fn cause(&self) -> String {
        let whole = self.verdict().cause;
        let links = whole.iter().flat_map(|whole| &whole.explains);
        let effects: Vec<String> = links.map(|link| link.id.clone()).collect();
        let same = |less: &Timeline, how: &str, also_true: &[&str]| {
            let Some(less) = diagnose(less).cause else { return };
            assert!(
                less.certainty < Certainty::Certain
                    || whole.as_ref().is_some_and(|whole| whole.id == less.id)
                    // What it explains is true as well, and is said by itself where the reason is not seen.
                    || effects.contains(&less.id)
                    || also_true.contains(&less.id.as_str()),
                "{how}: certain {}, and not {:?}",
                less.id,
                whole.as_ref().map(|whole| &whole.id)
            );
        };
        for first in Source::all() {
            let less = self.timeline.without(first);
            same(&less, &format!("without {first}"), ALWAYS_TRUE);
            if !self.timeline.heard(first) {
                continue;
            }
            for second in Source::all().filter(|second| *second > first && self.timeline.heard(*second)) {
                let how = format!("without {first} and {second}");
                same(&less.without(second), &how, ALWAYS_TRUE);
            }
        }
        for len in 0..self.timeline.events.len() {
            // True until something else is seen.
            let for_now = [ALWAYS_TRUE, &["delayed", "time-limit-exceeded"]].concat();
            same(
                &self.timeline.prefix(len),
                &format!("after {len} events"),
                &for_now,
            );
        }
        whole.map_or_else(
            || "none".into(),
            |cause| format!("{} {}", cause.certainty.name(), cause.id),
        )
    }

    /// What one cause says of it: its certainty, `ruled out`, `cannot tell` or `not applicable`.
    pub fn answer(&self, cause: &Cause) -> &'static str {
        match ask(cause, &Story::new(&self.timeline)) {
            Answer::Matched(matched) => matched.certainty.name(),
            Answer::RuledOut { .. } => "ruled out",
            Answer::NotApplicable => "not applicable",
            Answer::CannotTell { .. } => "cannot tell",
        }
    }

    /// The same scene with this source blind from the start.
    pub fn without(&self, source: Source) -> Self {
        Self {
            timeline: self.timeline.without(source),
            ..self.clone()
        }
    }
}

/// A value of the timeline with everything optional left out.
/// The master has lost this child.
pub fn died(scene: Scene, pid: i32) -> Scene {
    scene.line(&format!(
        "[PID 100] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID {pid} exited unexpectedly (code -9). Shutting down..."
    ))
}

/// Sent with a delay of so many milliseconds.
pub fn delayed(ms: i64) -> Scene {
    let mut message = Scene::message("m-1");
    message.eta_ms = message.timestamp_ms.map(|at| at + ms);
    Scene::accepted()
        .row("PENDING")
        .publish_as("default.DQ", API, message)
}

fn value<T: DeserializeOwned>(fields: Json) -> T {
    serde_json::from_value(fields).expect("the fields that are needed")
}

fn read(text: &str) -> LogLine {
    let (head, traceback) = match text.split_once('\n') {
        Some((head, _)) if head.starts_with("Traceback") => (head, Some(text.to_owned())),
        Some((head, rest)) => (head, Some(rest.to_owned())),
        None => (text, None),
    };
    let parts: Vec<&str> = head.splitn(5, ' ').collect();
    let bare = |part: &str| part.trim_matches(['[', ']']).to_owned();
    let mut line = match (head.strip_prefix("[PID "), parts.as_slice()) {
        (Some(rest), [_, _, thread, logger, rest_of]) => {
            let (level, text) = rest_of.split_once(' ').expect("a level and a text");
            LogLine {
                level: Some(level_of(level)),
                logger: Some(bare(logger)),
                pid: rest.split(']').next().and_then(|pid| pid.parse().ok()),
                thread: Some(bare(thread)),
                text: text.to_owned(),
                ..LogLine::default()
            }
        }
        _ => LogLine {
            text: head.to_owned(),
            ..LogLine::default()
        },
    };
    line.traceback = traceback;
    line.entry = head.contains("ENTRY");
    line.raw = ArgumentValues(vec![text.to_owned()]);
    line
}

fn level_of(word: &str) -> Level {
    match word.trim_matches(['[', ']']) {
        "DEBUG" => Level::Debug,
        "INFO" => Level::Info,
        "WARNING" => Level::Warning,
        "CRITICAL" => Level::Critical,
        _ => Level::Error,
    }
}

#[test]
fn a_line_is_taken_apart() {
    let line =
        read("[PID 101] [Thread-4] [app.x] [ERROR] Some text [here]\nTraceback (most recent call last):");
    assert_eq!(
        (
            line.pid,
            line.thread.as_deref(),
            line.logger.as_deref(),
            line.level
        ),
        (Some(101), Some("Thread-4"), Some("app.x"), Some(Level::Error))
    );
    assert_eq!(line.text, "Some text [here]");
    assert!(line.traceback.is_some());
}
