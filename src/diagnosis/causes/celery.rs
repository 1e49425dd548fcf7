//! Causes that only a system with Celery can have.

pub(super) mod chain_broken;
pub(super) mod chain_waiting;
pub(super) mod chord_waiting;
pub(super) mod consumer_cancelled;
pub(super) mod deadlock_on_subtask;
pub(super) mod default_app;
pub(super) mod eta_blocks_worker;
pub(super) mod gave_up;
pub(super) mod pool_stuck;
pub(super) mod rate_limited;
pub(super) mod result_backend_blocks_publish;
pub(super) mod result_elsewhere;
pub(super) mod result_ignored;
pub(super) mod result_not_stored;
pub(super) mod revoked;
pub(super) mod solo_blocked;
pub(super) mod stale_code;

use crate::diagnosis::evidence::later::PredecessorState;
use crate::diagnosis::{Answer, Story};
use crate::timeline::Source;

const APPLIES_TO: &[&str] = &["celery"];

/// Ours is to be sent after others of this kind, and some of them have not ended.
fn waits_for_others(story: &Story<'_>, kind: &str) -> Answer {
    let mut before = story.predecessors();
    before.retain(|task| task.ours.after == kind);
    let Some(last) = before.last().copied() else {
        return Answer::NotApplicable;
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    // A member that was lost with its process is named by no line; that ours is done with is said by its row.
    if let Some(row) = story.row_failed().or(story.row_succeeded()) {
        return Answer::ruled_out("its own row says that it is over", [row.n]);
    }
    let states: Vec<_> = before.iter().map(|task| (task, task.state(story))).collect();
    if let Some((task, why)) = states.iter().find_map(|(task, state)| match state {
        PredecessorState::Failed(why) => Some((task, why)),
        _ => None,
    }) {
        return Answer::ruled_out(format!("`{}` failed", task.name()), [task.passage.n, why.n]);
    }
    if let Some(failed) = before.iter().find_map(|task| task.group_failed(story)) {
        return Answer::ruled_out("one of them failed", [failed.n]);
    }
    let open: Vec<_> = states
        .iter()
        .filter(|(_, state)| !matches!(state, PredecessorState::Succeeded))
        .collect();
    let [(first, state), ..] = open.as_slice() else {
        return Answer::ruled_out("what it comes after has succeeded", [last.passage.n]);
    };
    let others = match open.len() {
        1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    let text = format!(
        "`{}` is sent when `{}`{others} of its {kind} has ended, and that has not",
        first.ours.actor,
        first.name()
    );
    if let Some(flagged) = open.iter().find_map(|(task, _)| task.revoked(story)) {
        let text =
            format!("{text}; a worker was told to revoke it: unless it had begun by then, neither comes");
        return Answer::possible(text, [first.passage.n, flagged]);
    }
    // One that nobody names may be lost with its worker.
    let is_in_hand = |state: &PredecessorState| matches!(state, PredecessorState::InWorker(_));
    let all_in_hand = open.iter().all(|(_, state)| is_in_hand(state));
    let answer = match state {
        // By the worker's own word, in two answers.
        PredecessorState::InWorker(state) if all_in_hand && story.was_surely_not_sent() => {
            Answer::shown(format!("{text}: it is {state}"), [first.passage.n, state.n])
        }
        _ => Answer::likely(text, [first.passage.n]).would_decide(&[Source::Control]),
    };
    answer.comes_by_itself().naming("{other_actor}", first.name())
}

#[cfg(test)]
pub(in crate::diagnosis) mod scenes {
    //! Systems on Celery, as far as its causes need them.

    use std::ops::{Deref, DerefMut};

    use serde_json::json;

    use crate::diagnosis::testing::{API, Scene, TASK, WORKER};
    use crate::framework::{ArgumentValues, Heartbeat, HeldTask, Inspection, Later, Message};
    use crate::timeline::{EventKind, Level, LogLine, Source};

    pub const OURS: &str = "5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11";
    pub const OTHERS: &str = "11111111-7a09-4a1f-9d2c-0d5e3c0b7f11";
    pub const FIRST: &str = "22222222-7a09-4a1f-9d2c-0d5e3c0b7f11";

    #[derive(Clone)]
    pub struct CeleryScene(Scene);

    impl Deref for CeleryScene {
        type Target = Scene;
        fn deref(&self) -> &Scene {
            &self.0
        }
    }

    impl DerefMut for CeleryScene {
        fn deref_mut(&mut self) -> &mut Scene {
            &mut self.0
        }
    }

    fn ours() -> Message {
        Message {
            message_id: Some(OURS.into()),
            actor: Some("shop.tasks.fulfil".into()),
            carries_task_id: true,
            json: true,
            ..Message::default()
        }
    }

    fn said(scene: Scene, level: Level, text: &str) -> Scene {
        let line = LogLine {
            level: Some(level),
            thread: Some("MainProcess".into()),
            text: text.into(),
            raw: ArgumentValues(vec![text.to_owned()]),
            ..LogLine::default()
        };
        scene.see(Source::WorkerLog, EventKind::Line(line))
    }

    fn booted(pool: &str) -> Scene {
        let scene = Scene::new().setup(|setup| {
            setup.framework = "celery".into();
            setup.queue = "celery".into();
            setup.actor = Some("shop.tasks.fulfil".into());
        });
        let banner = format!("- *** --- * --- .> concurrency: 2 ({pool})");
        let scene = said(scene, Level::Info, &banner);
        let queues = "                .> celery           exchange=celery(direct) key=celery";
        let scene = said(scene, Level::Info, queues);
        said(scene, Level::Info, "celery@vm ready.")
            .process(100, 1, "python celery -A shop worker -l INFO", |_| {})
            .see(
                Source::Control,
                EventKind::Watching {
                    detail: "heartbeats".into(),
                },
            )
    }

    impl CeleryScene {
        pub fn in_pool(pool: &str) -> Self {
            Self(
                booted(pool)
                    .depth("celery", 0, 1)
                    .submitted()
                    .row("PENDING")
                    .publish_as("celery", API, ours()),
            )
        }

        pub fn deliver(self) -> Self {
            let deliver = EventKind::Deliver {
                queue: "celery".into(),
                connection: WORKER.into(),
                redelivered: false,
                message: ours(),
            };
            Self(
                self.0
                    .see(Source::Firehose, deliver)
                    .peer(WORKER, 100)
                    .depth("celery", 0, 1),
            )
        }

        pub fn received() -> Self {
            Self::in_pool("prefork")
                .deliver()
                .info(&format!("Task shop.tasks.fulfil[{OURS}] received"))
        }

        /// On its queue, which has so many consumers.
        pub fn waiting(consumers: u64) -> Self {
            let scene = booted("prefork")
                .depth("celery", 0, consumers)
                .submitted()
                .row("PENDING");
            Self(
                scene
                    .publish_as("celery", API, ours())
                    .depth("celery", 1, consumers)
                    .depth("celery", 1, consumers),
            )
        }

        /// Sent for another task, which ours comes after.
        pub fn after(kind: &str) -> Self {
            let first = Message {
                message_id: Some(FIRST.into()),
                actor: Some("shop.tasks.first".into()),
                json: true,
                later: vec![Later {
                    message_id: Some(OURS.into()),
                    actor: "shop.tasks.fulfil".into(),
                    after: kind.into(),
                    leaves: ArgumentValues(vec![TASK.into()]),
                    ..Later::default()
                }],
                ..Message::default()
            };
            Self(
                booted("prefork")
                    .depth("celery", 0, 1)
                    .submitted()
                    .row("PENDING")
                    .publish_as("celery", API, first),
            )
        }

        pub fn sent(self) -> Self {
            Self(self.0.publish_as("celery", WORKER, ours()))
        }

        pub fn setup_actor(self, actor: &str) -> Self {
            self.and(|scene| scene.setup(|setup| setup.actor = Some(actor.into())))
        }

        pub fn info(self, text: &str) -> Self {
            Self(said(self.0, Level::Info, text))
        }

        pub fn error(self, text: &str) -> Self {
            Self(said(self.0, Level::Error, text))
        }

        pub fn and(self, change: impl FnOnce(Scene) -> Scene) -> Self {
            Self(change(self.0))
        }

        /// An error, and what stands below it.
        pub fn refusal(self, text: &str, below: &str) -> Self {
            let line = LogLine {
                level: Some(Level::Error),
                thread: Some("MainProcess".into()),
                text: text.into(),
                traceback: Some(below.into()),
                raw: ArgumentValues(vec![text.to_owned(), below.to_owned()]),
                ..LogLine::default()
            };
            self.and(|scene| scene.see(Source::WorkerLog, EventKind::Line(line)))
        }

        pub fn unacked(self, unacked: u64) -> Self {
            self.unacked_of(0, unacked)
        }

        pub fn unacked_of(self, ready: u64, unacked: u64) -> Self {
            Self(self.0.totals("celery", ready, unacked, json!({})))
        }

        pub fn beats(self, lives: bool) -> Self {
            self.beat(100, lives)
        }

        pub fn beats_as(self, pid: i32) -> Self {
            self.beat(pid, true)
        }

        fn beat(self, pid: i32, lives: bool) -> Self {
            let beat = Heartbeat {
                node: "celery@vm".into(),
                pid: Some(pid),
                offline: !lives,
                beats: 3,
                ..Heartbeat::default()
            };
            Self(self.0.see(Source::Control, EventKind::Heartbeat(beat)))
        }

        /// It counts so many tasks that it runs.
        pub fn counts(self, active: u64, at_ms: f64) -> Self {
            let beat = Heartbeat {
                node: "celery@vm".into(),
                pid: Some(100),
                active: Some(active),
                beats: 3,
                ..Heartbeat::default()
            };
            Self(self.0.at(at_ms).see(Source::Control, EventKind::Heartbeat(beat)))
        }

        pub fn held(self, state: &str) -> Self {
            self.answers(|answer| match state {
                "active" => answer.active(FIRST),
                _ => answer.reserved(FIRST).active(OTHERS),
            })
        }

        /// The worker answers what this makes of an idle one's answer.
        pub fn answers(self, change: impl FnOnce(Inspection) -> Inspection) -> Self {
            let idle = Inspection {
                node: "celery@vm".into(),
                methods: vec!["query_task".into()],
                state: Some("unknown".into()),
                active: Some(Vec::new()),
                reserved: Some(Vec::new()),
                scheduled: Some(Vec::new()),
                queues: Some(vec!["celery".into()]),
                registered: Some([("shop.tasks.fulfil".to_owned(), None)].into()),
                pid: Some(100),
                concurrency: Some(2),
                ..Inspection::default()
            };
            let answer = Box::new(change(idle));
            Self(
                self.0
                    .at(9_900.0)
                    .see(Source::Control, EventKind::Inspected(answer)),
            )
        }

        pub fn silence(self) -> Scene {
            let path = "worker.log".into();
            // At the end.
            let last = self.0.timeline.events.last().map_or(0.0, |event| event.at_ms);
            self.0
                .at(last.max(9_980.0))
                .see(Source::WorkerLog, EventKind::ReadWhole { path })
                .silence()
        }
    }

    fn task(id: &str) -> HeldTask {
        HeldTask {
            id: id.into(),
            name: if id == OURS {
                "shop.tasks.fulfil"
            } else {
                "shop.tasks.slow"
            }
            .into(),
            ..HeldTask::default()
        }
    }

    impl Inspection {
        fn state_of(&mut self, id: &str, state: &str) {
            if id == OURS {
                self.state = Some(state.into());
            }
        }

        pub fn active(mut self, id: &str) -> Self {
            let held = HeldTask {
                acknowledged: Some(true),
                ..task(id)
            };
            self.active.get_or_insert_default().push(held);
            self.state_of(id, "active");
            self
        }

        /// And says in which child its tasks run.
        pub fn active_in(self, id: &str, pid: i32) -> Self {
            let mut answer = self.active(id);
            for task in answer.active.iter_mut().flatten() {
                task.pid = Some(pid);
            }
            answer
        }

        pub fn reserved(mut self, id: &str) -> Self {
            self.reserved.get_or_insert_default().push(task(id));
            self.state_of(id, "reserved");
            self
        }

        pub fn scheduled(mut self, id: &str) -> Self {
            self.scheduled.get_or_insert_default().push(task(id));
            self.state_of(id, "scheduled");
            self
        }

        pub fn limit(mut self, limit: &str) -> Self {
            self.registered = Some([("shop.tasks.fulfil".to_owned(), Some(limit.to_owned()))].into());
            self
        }

        pub fn consumes(mut self, queues: &[&str]) -> Self {
            self.queues = Some(queues.iter().map(|name| (*name).to_owned()).collect());
            self
        }
    }
}
