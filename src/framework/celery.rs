//! Celery over RabbitMQ: topology, messages, log lines, stacks and workers.
//!
//! Verified on 5.7.0 and 5.4.0 with kombu and py-amqp. One UUID serves as task id, message id, `correlation_id`
//! and key of the result.

mod codec;
mod control;
mod copy;
mod log;
mod worker;

pub use worker::DEFAULT_BROKER;

use super::{
    Acknowledges, ClientShape, Delays, DjangoShape, FrameMatch, Framework, LaterWords, Queues, SourceShape,
    StackShape, Takes,
};

pub static FRAMEWORK: Framework = Framework {
    name: "celery",
    title: "Celery",
    own_words: &[
        "Celery",
        "celery",
        "CELERY",
        "kombu",
        "py-amqp",
        "prefork",
        "pidbox",
        "acks_late",
        "`delay()`",
        "WorkerLostError",
        "raised unexpected",
    ],
    queues: Queues {
        delay: None,
        dead_letter: None,
        is_bookkeeping,
        is_bound: true,
        keeps_for_later,
        later_words: Some(LaterWords {
            queues: "celery_delayed_N",
            exchange: "celery_delayed_delivery",
            key_prefix: "#.",
        }),
        later,
    },
    codec: codec::CODEC,
    log: log::LOG,
    stack: StackShape {
        // An application may lie in a folder of that name as well.
        library: "-packages/celery/",
        // A child's stack begins where its master forked it.
        worker: FrameMatch {
            file: "celery/worker/worker.py",
            function: "",
        },
        worker_loop: FrameMatch {
            file: "celery/app/trace.py",
            function: "trace_task",
        },
        consumer: None,
        call: FrameMatch {
            file: "celery/app/trace.py",
            function: "__protected_call__",
        },
        loop_hooks: &[
            "before_start",
            "on_success",
            "on_failure",
            "on_retry",
            "after_return",
        ],
        before_call: FrameMatch {
            file: "celery/utils/dispatch/signal.py",
            function: "send",
        },
        // Signals before and after the call are sent alike; the result is stored after it.
        after_call: FrameMatch {
            file: "celery/backends/base.py",
            function: "mark_as_done",
        },
        // Handlers of `task_prerun` have any name, and so have those of `worker_process_init`.
        hook: "",
        boot_hooks: &[],
        async_bridge: FrameMatch {
            file: "asgiref/sync.py",
            function: "__call__",
        },
        test_broker: FrameMatch {
            file: "kombu/transport/memory.py",
            function: "",
        },
        log_pipe: FrameMatch {
            file: "celery/utils/log.py",
            function: "",
        },
        log_writer: None,
        rethrow: Some(FrameMatch {
            file: "celery/result.py",
            function: "maybe_throw",
        }),
        lost_timeout: None,
    },
    worker: worker::WORKER,
    source: SourceShape {
        module: "celery",
        decorator: "shared_task",
        send: "delay()",
        method: "task",
        objects: &["app", "celery"],
        name_option: "name",
        queue_option: "queue",
        is_named_by_module: true,
        application: Some("Celery"),
        broker_option: Some("broker"),
        broker_settings: &["broker_url", "celery_broker_url", "celery_broker"],
        routing: &[
            "task_routes",
            "task_queues",
            "celery_task_routes",
            "celery_task_queues",
            "celery_routes",
            "celery_queues",
        ],
        default_queue_settings: &[
            "task_default_queue",
            "celery_task_default_queue",
            "celery_default_queue",
        ],
        examples: &["debug_task"],
        default_queue: "celery",
        django: Some(DjangoShape {
            app: "django_celery_results",
            command: None,
            table: "django_celery_results_taskresult",
            id_column: "task_id",
            statuses: ["STARTED", "SUCCESS", "FAILURE"],
            kept_if: "if it is the result backend",
        }),
        other_brokers: &[
            ("Redis", &["redis", "rediss", "sentinel", "redis+socket"]),
            ("SQS", &["sqs"]),
        ],
    },
    client: ClientShape {
        library: &["/kombu/", "/amqp/"],
        // An application may call kombu itself, for something else.
        raises_through: &["-packages/celery/"],
        names_exchanges: true,
        // py-amqp has an exception for each code of the broker's; kombu wraps what the socket says.
        errors: &[
            "\namqp.exceptions.",
            "kombu.exceptions.OperationalError",
            "celery.exceptions.QueueNotFound",
        ],
    },
    takes: Takes::Master,
    time_limits: &[
        "billiard.exceptions.TimeLimitExceeded",
        "billiard.exceptions.SoftTimeLimitExceeded",
        "celery.exceptions.TimeLimitExceeded",
        "celery.exceptions.SoftTimeLimitExceeded",
    ],
    asks_again: &["celery.exceptions.Retry"],
    messages_expire: true,
    unknown_result: Some("PENDING"),
    result_tables: &["celery_taskmeta", "django_celery_results_taskresult"],
    acknowledges: Acknowledges::BeforeRun,
    failure_is_final: true,
    delays: Delays::InWorker,
    control: Some(control::CONTROL),
};

/// Native delayed delivery: a queue for each bit of the seconds, which stand before the key.
fn later<'k>(exchange: &str, routing_key: &'k str) -> Option<&'k str> {
    keeps_for_later(exchange).then_some(())?;
    let parts: Vec<&str> = routing_key.splitn(29, '.').collect();
    let (key, bits) = parts.split_last()?;
    (bits.len() == 28 && bits.iter().all(|bit| matches!(*bit, "0" | "1"))).then_some(*key)
}

/// `celery_delayed_27`: an exchange and a queue.
fn keeps_for_later(name: &str) -> bool {
    let level = name.strip_prefix("celery_delayed_");
    level.is_some_and(|level| level.parse::<u8>().is_ok())
}

/// Events of workers, remote control and its answers: they pass every two seconds, and none is a task.
fn is_bookkeeping(exchange: &str, queue: &str) -> bool {
    matches!(exchange, "celeryev" | "celery.pidbox" | "reply.celery.pidbox")
        || queue.starts_with("celeryev.")
        || queue.ends_with(".celery.pidbox")
        || queue.ends_with(".reply.celery.pidbox")
        || queue.starts_with("taskdiag.control.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::testing::{API, Scene, TASK, WORKER};
    use crate::diagnosis::{Stage, causes};
    use crate::framework::{ArgumentValues, Call, Message};
    use crate::timeline::{EventKind, Level, LogLine, Source};

    #[test]
    fn what_workers_tell_each_other_is_no_task() {
        assert!(is_bookkeeping("celeryev", "worker.heartbeat"));
        assert!(is_bookkeeping("", "celery@web-1.celery.pidbox"));
        assert!(is_bookkeeping("", "celeryev.7b3b"));
        assert!(!is_bookkeeping("", "celery"));
        assert!(!is_bookkeeping("celery", "celery"));
    }

    #[test]
    fn a_key_behind_the_seconds_that_it_waits() {
        let bits = "0.".repeat(22) + "1.1.1.1.0.0.";
        let key = format!("{bits}orders.new");
        assert_eq!(later("celery_delayed_27", &key), Some("orders.new"));
        assert_eq!(later("orders", &key), None);
        assert_eq!(later("celery_delayed_27", "orders.new"), None);
    }

    #[test]
    fn what_the_broker_keeps_for_later_is_delayed() {
        let message = || sent_with(&[("eta", "1970-01-01T00:30:00+00:00")], None);
        let bound_by = |keys: &[&str], key: &str| {
            let publish = EventKind::Publish {
                exchange: "celery_delayed_27".into(),
                routing_key: "0.".repeat(22) + "1.1.1.1.0.0." + key,
                routed: Some(vec!["celery_delayed_5".into()]),
                connection: API.into(),
                user: Some("lab".into()),
                message: message(),
            };
            let scene = Scene::new()
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.queue = "celery".into();
                    setup.actor = Some("shop.tasks.fulfil".into());
                })
                .depth("celery", 0, 1)
                .submitted()
                .row("PENDING")
                .see(Source::Firehose, publish)
                .depth("celery", 0, 1);
            let scene = match keys {
                [] => scene,
                keys => scene.see(
                    Source::Management,
                    EventKind::Bound {
                        queue: "celery".into(),
                        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
                    },
                ),
            };
            scene.silence()
        };
        let sent = |key: &str| bound_by(&[], key);
        let ours = sent("celery");
        assert_eq!(ours.cause(), "likely delayed", "{}", ours.summary());
        assert_eq!(reached(&ours, Stage::Published), Some(true));
        assert!(ours.summary().contains("celery_delayed"), "{}", ours.summary());
        assert_eq!(sent("orders").cause(), "possible published-to-other-queue");
        // A queue is bound by keys of any kind.
        for keys in [&["orders.#"][..], &["#.orders.#"]] {
            assert_eq!(bound_by(keys, "orders.#").cause(), "likely delayed", "{keys:?}");
        }
        assert_eq!(
            bound_by(&["orders.#"], "bills.#").cause(),
            "likely published-to-other-queue"
        );
    }

    /// Sent to nobody, it has no result, and a missing row is no reason.
    #[test]
    fn a_result_that_is_not_there_is_no_missing_row() {
        let never = |table: &str| {
            Scene::new()
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.queue = "celery".into();
                    setup.actor = Some("shop.tasks.fulfil".into());
                    setup.table = Some(table.into());
                })
                .depth("celery", 0, 1)
                .submitted()
                .no_row()
                .silence()
        };
        for table in ["celery_taskmeta", "public.django_celery_results_taskresult"] {
            assert_eq!(never(table).cause(), "likely not-published", "{table}");
        }
        assert_eq!(never("orders").cause(), "likely row-missing");
    }

    #[test]
    fn a_worker_that_was_told_of_no_broker() {
        let tries = |url: &str| {
            let line = format!("consumer: Cannot connect to {url}: [Errno 111] Connection refused.");
            sent(0, sent_with(&[], None))
                .setup(|setup| setup.broker = "rabbit:5672".into())
                .depth("celery", 1, 0)
                .log("MainProcess", Level::Error, &line)
                .depth("celery", 1, 0)
                .silence()
        };
        let default = tries("amqp://guest:***@127.0.0.1:5672//");
        assert!(
            default.cause().ends_with(" worker-cannot-connect"),
            "{}",
            default.cause()
        );
        assert!(
            default.summary().contains("tells it of a broker"),
            "{}",
            default.summary()
        );
        for url in [
            "amqp://app:***@127.0.0.1:5672//",
            "amqp://guest:***@rabbit:5672//",
        ] {
            assert!(!tries(url).summary().contains("tells it of a broker"), "{url}");
        }
    }

    /// The copy for a retry goes to the broker's queues for later: it is retried, and not lost.
    #[test]
    fn a_retry_that_the_broker_keeps() {
        let copy = |task: &str, retries: &str| {
            let mut envelope = (codec::CODEC.encode)(&Call {
                queue: "celery",
                actor: task,
                args: &json!([TASK]),
                kwargs: &json!({}),
                message_id: OURS,
                now_ms: 1,
                run: None,
            });
            for (name, value) in &mut envelope.headers {
                match &**name {
                    "eta" => *value = crate::framework::Header::Text("1970-01-01T00:30:00+00:00".into()),
                    "retries" => {
                        *value = crate::framework::Header::Other(retries.parse().expect("a number"));
                    }
                    _ => {}
                }
            }
            FRAMEWORK.decode(&envelope, false)
        };
        let run = |key: &str, message: Message| {
            let publish = EventKind::Publish {
                exchange: "celery_delayed_27".into(),
                routing_key: "0.".repeat(22) + "1.1.1.1.0.0." + key,
                routed: Some(vec!["celery_delayed_5".into()]),
                connection: WORKER.into(),
                user: Some("lab".into()),
                message,
            };
            entered()
                .child(
                    1,
                    "Task shop.tasks.fulfil[OURS] retry: Retry in 60s: Declined('no')",
                )
                .see(Source::Firehose, publish)
                .totals("celery", 0, 0, json!({}))
                .silence()
        };
        let retried = run("celery", copy("shop.tasks.fulfil", "1"));
        let verdict = retried.verdict();
        assert!(retried.cause().ends_with(" actor-raised"), "{}", retried.cause());
        assert!(
            retried.summary().contains("retry 1 comes in"),
            "{}",
            retried.summary()
        );
        assert_ne!(
            retried.answer(causes::find("retry-lost").expect("a cause")),
            "likely"
        );
        let place = verdict.message.expect("it is known where it is").place;
        assert!(place.contains("kept by the broker"), "{place}");
        // It was sent on to another queue.
        let elsewhere = run("orders", copy("shop.tasks.fulfil", "1"));
        let place = elsewhere.verdict().message.map(|message| message.place);
        assert!(!place.is_some_and(|place| place.contains("kept by the broker")));
    }

    const OURS: &str = "5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11";
    const OTHERS: &str = "11111111-7a09-4a1f-9d2c-0d5e3c0b7f11";

    fn message() -> Message {
        let envelope = (codec::CODEC.encode)(&Call {
            queue: "celery",
            actor: "shop.tasks.fulfil",
            args: &json!([TASK]),
            kwargs: &json!({}),
            message_id: OURS,
            now_ms: 1,
            run: None,
        });
        FRAMEWORK.decode(&envelope, false)
    }

    trait CeleryLog {
        fn log(self, process: &str, level: Level, text: &str) -> Self;
        fn main(self, text: &str) -> Self;
        fn child(self, number: u32, text: &str) -> Self;
        fn fails(self, number: u32, exception: &str, frames: &str) -> Self;
    }

    impl CeleryLog for Scene {
        fn log(self, process: &str, level: Level, text: &str) -> Self {
            let text = text.replace("OURS", OURS).replace("OTHERS", OTHERS);
            let (head, below) = match text.split_once('\n') {
                Some((head, below)) => (head.to_owned(), Some(below.to_owned())),
                None => (text.clone(), None),
            };
            let line = LogLine {
                level: Some(level),
                thread: Some(process.into()),
                entry: head.contains("ENTRY"),
                text: head,
                traceback: below,
                raw: ArgumentValues(vec![text]),
                ..LogLine::default()
            };
            self.see(Source::WorkerLog, EventKind::Line(line))
        }

        fn main(self, text: &str) -> Self {
            self.log("MainProcess", Level::Info, text)
        }

        fn child(self, number: u32, text: &str) -> Self {
            self.log(&format!("ForkPoolWorker-{number}"), Level::Info, text)
        }

        fn fails(self, number: u32, exception: &str, frames: &str) -> Self {
            let text = format!(
                "Task shop.tasks.fulfil[OURS] raised unexpected: {exception}\nTraceback (most recent call last):\n  File \"/v/lib/python3.11/site-packages/celery/app/trace.py\", line 564, in trace_task\n    R = retval = fun(*args, **kwargs)\n  File \"/v/lib/python3.11/site-packages/celery/app/trace.py\", line 883, in __protected_call__\n    return self.run(*args, **kwargs)\n{frames}{exception}"
            );
            self.log(&format!("ForkPoolWorker-{number}"), Level::Error, &text)
        }
    }

    fn accepted() -> Scene {
        Scene::new()
            .setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
                setup.actor = Some("shop.tasks.fulfil".into());
            })
            .log(
                "MainProcess",
                Level::Info,
                "- *** --- * --- .> concurrency: 2 (prefork)",
            )
            .main("celery@vm ready.")
            .depth("celery", 0, 1)
            .submitted()
            .row("PENDING")
            .publish_as("celery", API, message())
    }

    fn delivered() -> Scene {
        accepted()
            .see(
                Source::Firehose,
                EventKind::Deliver {
                    queue: "celery".into(),
                    connection: WORKER.into(),
                    redelivered: false,
                    message: message(),
                },
            )
            .peer(WORKER, 100)
            .process(100, 1, "python celery -A shop worker -l INFO", |_| {})
    }

    fn received() -> Scene {
        delivered().main("Task shop.tasks.fulfil[OURS] received")
    }

    fn entered() -> Scene {
        received().child(1, "shop.tasks.fulfil[OURS]: ENTRY of order task_1")
    }

    const OWN: &str = "  File \"/app/shop/tasks.py\", line 14, in fulfil\n    charge()\n";

    fn reached(scene: &Scene, stage: Stage) -> Option<bool> {
        let stages = scene.verdict().stages;
        let found = stages.iter().find(|reached| reached.stage == stage);
        found.and_then(|reached| reached.reached)
    }

    #[test]
    fn causes_are_found_for_it() {
        let done = || entered().child(1, "Task shop.tasks.fulfil[OURS] succeeded in 0.2s: None");
        let refused = delivered().log(
            "MainProcess",
            Level::Error,
            "Received unregistered task of type 'shop.tasks.fulfil'.\nThe message has been ignored and discarded.\n\n{'lang': 'py', 'task': 'shop.tasks.fulfil', 'id': 'OURS'}",
        );
        for (scene, cause) in [
            (done().row("COMPLETED").silence(), "certain succeeded"),
            (
                entered().fails(1, "ValueError: no", OWN).silence(),
                "certain actor-raised",
            ),
            (refused.silence(), "certain unknown-actor"),
            (
                entered()
                    .log(
                        "MainProcess",
                        Level::Error,
                        "Hard time limit (2s) exceeded for shop.tasks.fulfil[OURS]",
                    )
                    .silence(),
                "certain time-limit-exceeded",
            ),
            (
                received()
                    .fails(
                        1,
                        "TypeError: fulfil() missing 1 required positional argument: 'x'",
                        "",
                    )
                    .silence(),
                "certain bad-arguments",
            ),
        ] {
            assert_eq!(scene.cause(), cause, "{:?}", scene.summary());
        }
    }

    #[test]
    fn a_task_that_ends_itself_declares_nothing() {
        let ended = entered()
            .child(1, "Task shop.tasks.fulfil[OURS] ignored")
            .silence();
        assert!(
            ended.cause().ends_with(" expected-exception"),
            "{}",
            ended.cause()
        );
        assert!(!ended.summary().contains("throws"), "{}", ended.summary());
        // A rejection for good is an end as well, unless the queue has a route for dead letters.
        let rejected = entered().child(1, "Task shop.tasks.fulfil[OURS] reject requeue=False: no");
        assert_eq!(rejected.silence().cause(), "likely expected-exception");
        let unseen = ended.without(Source::Firehose);
        assert_eq!(
            unseen.answer(causes::find("expected-exception").expect("a cause")),
            "possible"
        );
        let declared = entered().child(1, "Task shop.tasks.fulfil[OURS] raised expected: Declined('no')");
        assert!(declared.silence().summary().contains("throws"));
    }

    /// `replace()` sends the other under the same id before the line is written.
    #[test]
    fn a_task_that_was_replaced_is_not_over() {
        let other = |retries| Message {
            actor: Some("shop.tasks.finish".into()),
            retries,
            ..message()
        };
        let left = |queue: &str, retries| {
            entered()
                .publish_as(queue, WORKER, other(retries))
                .child(1, "Task shop.tasks.fulfil[OURS] ignored")
                .consumers(&[("celery", WORKER, 4)])
        };
        let is = |scene: &Scene, id: &str| scene.answer(causes::find(id).expect("a cause"));
        let stuck = left("night", None).silence();
        assert_eq!(is(&stuck, "expected-exception"), "ruled out");
        assert_eq!(is(&stuck, "row-never-written"), "not applicable");
        assert_eq!(stuck.cause(), "likely follow-up-stuck", "{}", stuck.summary());
        assert!(
            stuck
                .summary()
                .contains("`shop.tasks.finish` on `night`, which nobody consumes")
        );
        // It is handed to a worker, and may be at work; and then it ignores itself.
        let goes_on = || {
            let deliver = EventKind::Deliver {
                queue: "celery".into(),
                connection: WORKER.into(),
                redelivered: false,
                message: other(None),
            };
            left("celery", None)
                .see(Source::Firehose, deliver)
                .main("Task shop.tasks.finish[OURS] received")
        };
        let running = goes_on().silence();
        assert!(!running.cause().starts_with("certain"), "{}", running.cause());
        assert_ne!(is(&running, "row-never-written"), "likely");
        let ended = goes_on()
            .child(1, "Task shop.tasks.finish[OURS] ignored")
            .silence();
        assert!(
            ended.cause().ends_with(" expected-exception"),
            "{}",
            ended.cause()
        );
        // A copy for a retry is no other task.
        assert_eq!(
            is(&left("celery", Some(1)).silence(), "expected-exception"),
            "likely"
        );
    }

    /// `Reject(requeue=True)`: the broker hands it out again at once.
    #[test]
    fn a_task_that_gives_itself_back_is_not_over() {
        let back = |scene: Scene| {
            scene
                .child(1, "Task shop.tasks.fulfil[OURS] reject requeue=True: busy")
                .main("Task shop.tasks.fulfil[OURS] received")
                .child(1, "shop.tasks.fulfil[OURS]: ENTRY of order task_1")
        };
        let is = |scene: &Scene, id: &str| scene.answer(causes::find(id).expect("a cause"));
        let once = back(entered()).silence();
        assert_eq!(is(&once, "expected-exception"), "not applicable");
        assert_eq!(is(&once, "redelivery-loop"), "likely");
        assert_eq!(is(&once, "row-never-written"), "not applicable");
        let again = back(back(back(entered()))).silence();
        assert!(again.summary().contains("3 times"), "{}", again.summary());
    }

    /// `received` is no start, and `succeeded` is one.
    #[test]
    fn received_is_no_start() {
        let waiting = received().silence();
        assert_eq!(reached(&waiting, Stage::Delivered), Some(true));
        assert_ne!(reached(&waiting, Stage::Received), Some(true));
        assert_ne!(reached(&waiting, Stage::Entered), Some(true));
        let done = received().child(1, "Task shop.tasks.fulfil[OURS] succeeded in 0.2s: None");
        assert_eq!(reached(&done.silence(), Stage::Entered), Some(true));
    }

    #[test]
    fn it_waits_behind_what_was_received_before() {
        let busy = |slots: usize| {
            (0..slots).fold(delivered(), |scene, at| {
                scene.main(&format!("Task shop.tasks.slow[{at}{}] received", &OTHERS[1..]))
            })
        };
        let behind = |slots| {
            busy(slots)
                .main("Task shop.tasks.fulfil[OURS] received")
                .silence()
        };
        assert_eq!(behind(2).cause(), "likely waiting-in-worker");
        // A child is free.
        let free = behind(1).answer(causes::find("waiting-in-worker").expect("a cause"));
        assert_eq!(free, "possible");
        // One that waits for its time runs nothing.
        let later = Message {
            message_id: Some(OTHERS.into()),
            actor: Some("shop.tasks.slow".into()),
            eta_ms: Some(4_000_000_000_000),
            ..Message::default()
        };
        let delayed = accepted()
            .publish_as("celery", API, later)
            .main("Task shop.tasks.slow[OTHERS] received")
            .main("Task shop.tasks.slow[22222222-7a09] received")
            .main("Task shop.tasks.fulfil[OURS] received")
            .silence();
        assert_ne!(delayed.cause(), "likely waiting-in-worker");
        // They come after it.
        let after = received()
            .main("Task shop.tasks.slow[OTHERS] received")
            .main("Task shop.tasks.slow[22222222-7a09] received")
            .silence();
        assert_ne!(after.cause(), "likely waiting-in-worker");
    }

    const DIED: &str = "Process 'ForkPoolWorker-1' pid:4711 exited with 'signal 9 (SIGKILL)'";

    /// The line of a death names neither task nor id.
    #[test]
    fn a_dead_child_had_the_task_only_if_it_had_spoken_of_it() {
        let died = |scene: Scene| {
            let lost = LOST.replace("JOB", "0");
            let scene = scene.log("MainProcess", Level::Error, DIED);
            scene.log("MainProcess", Level::Error, &lost).silence()
        };
        // An idle child has no job to lose.
        let idle = entered().log("MainProcess", Level::Error, DIED).silence();
        assert!(!idle.cause().contains("died"), "{}", idle.cause());
        assert!(
            died(entered()).cause().ends_with(" worker-died-in-actor"),
            "{}",
            died(entered()).cause()
        );
        let in_another = received().child(2, "shop.tasks.fulfil[OURS]: ENTRY of order task_1");
        assert!(!died(in_another).cause().contains("died"));
        // It may have had the other's.
        let two = delivered()
            .main("Task shop.tasks.slow[OTHERS] received")
            .main("Task shop.tasks.fulfil[OURS] received");
        assert!(!died(two).cause().contains("died"));
        // The other was killed at its time limit.
        let limit = received().log(
            "MainProcess",
            Level::Error,
            "Hard time limit (2s) exceeded for shop.tasks.slow[OTHERS]",
        );
        assert!(!died(limit).cause().contains("crash"));
        // It was over by then.
        let over = entered().child(1, "Task shop.tasks.fulfil[OURS] succeeded in 0.2s: None");
        assert!(!died(over.row("COMPLETED")).cause().contains("died"));
    }

    const LOST: &str = "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: JOB.')";

    /// An application may keep Celery from telling of ends, and the same child may have another task since.
    #[test]
    fn a_child_that_may_have_had_another_task() {
        let dies = |scene: Scene, job: &str| {
            let lost = LOST.replace("JOB", job);
            scene
                .log(
                    "MainProcess",
                    Level::Error,
                    "Process 'ForkPoolWorker-1' pid:4711 exited with 'signal 9 (SIGKILL)'",
                )
                .log("MainProcess", Level::Error, &lost)
                .see(
                    Source::WorkerLog,
                    EventKind::ReadWhole {
                        path: "worker.log".into(),
                    },
                )
                .silence()
        };
        let is = |scene: &Scene| scene.answer(causes::find("worker-died-in-actor").expect("a cause"));
        let alone = dies(standing_worker(entered()), "0");
        assert_eq!(
            alone.cause(),
            "certain worker-died-in-actor",
            "{}",
            alone.summary()
        );
        // It was another master's child, or two nodes write the log.
        let orphan = standing_worker(entered()).process(4711, 900, "python celery -A shop worker", |_| {});
        assert_eq!(is(&dies(orphan, "0")), "not applicable");
        let shared = standing_worker(entered()).main("w2@vm ready.");
        assert!(!dies(shared, "0").cause().contains("died"));
        let then = || standing_worker(entered()).main("Task shop.tasks.slow[OTHERS] received");
        // By the worker's count it is the other's job.
        assert_eq!(is(&dies(then(), "1")), "not applicable");
        assert!(!dies(then(), "1").cause().contains("crash"));
        let uncounted = then()
            .log(
                "MainProcess",
                Level::Error,
                "Process 'ForkPoolWorker-1' pid:4711 exited with 'signal 9 (SIGKILL)'",
            )
            .silence();
        assert_ne!(is(&uncounted), "certain");
        // The other spoke in that child since.
        let spoke = then().child(1, "shop.tasks.slow[OTHERS]: packing");
        assert_eq!(is(&dies(spoke, "7")), "not applicable");
    }

    /// The worker holds the log, and is the only one.
    fn standing_worker(scene: Scene) -> Scene {
        scene.process(100, 1, "python celery -A shop worker -l INFO", |process| {
            process.holds_log = true
        })
    }

    /// The prefix of a task's logger is there before its function is called.
    #[test]
    fn a_line_in_its_name_may_be_a_handlers() {
        let scene = standing_worker(received())
            .child(1, "shop.tasks.fulfil[OURS]: checking the licence")
            .log("MainProcess", Level::Error, DIED)
            .log("MainProcess", Level::Error, &LOST.replace("JOB", "0"))
            .silence();
        assert_eq!(scene.cause(), "likely worker-died-in-actor");
        assert!(
            scene.summary().contains("may not have begun"),
            "{}",
            scene.summary()
        );
    }

    const STARTED: &str = "/v/celery/app/trace.py:809: RuntimeWarning: Exception raised outside body: BackendStoreError('no') state:STARTED task_id:OURS:";

    #[test]
    fn what_is_stored_as_a_task_begins() {
        let scene = received()
            .child(1, "shop.tasks.fulfil[OURS]: checking the licence")
            .child(1, STARTED)
            .silence();
        assert!(scene.cause().ends_with(" result-not-stored"), "{}", scene.cause());
        assert!(scene.summary().contains("was not run"), "{}", scene.summary());
        assert_ne!(reached(&scene, Stage::Entered), Some(true));
    }

    /// Flask's documents make a class of tasks with a call of its own: the framework's has no part in it.
    #[test]
    fn a_class_of_tasks_may_have_its_own_call() {
        let frames = |function: &str| {
            format!(
                "Task shop.tasks.fulfil[OURS] raised unexpected: KeyError(1)\nTraceback (most recent call last):\n  File \"{TRACE}\", line 564, in trace_task\n    R = retval = fun(*args, **kwargs)\n  File \"/app/shop/app.py\", line 9, in {function}\n    return self.run(*args, **kwargs)\n  File \"/app/shop/tasks.py\", line 14, in fulfil\n    charge()\nKeyError: 1"
            )
        };
        let raised = |function: &str| {
            received()
                .log("ForkPoolWorker-1", Level::Error, &frames(function))
                .silence()
        };
        assert_eq!(raised("__call__").cause(), "certain actor-raised");
        assert!(raised("__call__").summary().contains("tasks.py:14"));
        assert!(!raised("before_start").cause().ends_with(" actor-raised"));
        let stands = |function: &str| {
            received()
                .process(101, 100, "python celery -A shop worker -l INFO", |_| {})
                .stack(
                    101,
                    "MainThread",
                    &[
                        ("fulfil", "/app/shop/tasks.py"),
                        (function, "/app/shop/app.py"),
                        ("trace_task", TRACE),
                    ],
                )
                .timeout()
        };
        assert_eq!(
            reached(&stands("ContextTask.__call__"), Stage::Entered),
            Some(true)
        );
        assert_ne!(reached(&stands("after_return"), Stage::Entered), Some(true));
    }

    #[test]
    fn anothers_time_limit_is_not_ours() {
        let other = entered()
            .log(
                "MainProcess",
                Level::Error,
                "Hard time limit (2s) exceeded for shop.tasks.slow[OTHERS]",
            )
            .timeout();
        assert!(!other.cause().contains("time-limit"), "{}", other.cause());
    }

    /// Without the firehose the log alone says which message is the task's.
    #[test]
    fn a_task_is_known_by_the_lines_of_its_own_logger() {
        let scene = entered().without(Source::Firehose);
        let scene = scene.fails(1, "ValueError: no", OWN).silence();
        assert_eq!(scene.verdict().task.message_id.as_deref(), Some(OURS));
        assert!(scene.cause().ends_with(" actor-raised"), "{}", scene.cause());
    }

    const TRACE: &str = "/v/lib/python3.11/site-packages/celery/app/trace.py";

    fn standing(scene: Scene, pid: i32, function: &str) -> Scene {
        scene
            .process(pid, 100, "python celery -A shop worker -l INFO", |_| {})
            .stack(
                pid,
                "MainThread",
                &[
                    ("print_label", "/app/shop/faults.py"),
                    (function, "/app/shop/tasks.py"),
                    ("__protected_call__", TRACE),
                    ("trace_task", TRACE),
                    ("workloop", "/v/lib/python3.11/site-packages/billiard/pool.py"),
                ],
            )
    }

    #[test]
    fn a_child_stands_in_the_task() {
        let whole = |scene: Scene| {
            let path = "worker.log".into();
            scene.see(Source::WorkerLog, EventKind::ReadWhole { path })
        };
        let ours = whole(standing(entered(), 101, "fulfil")).timeout();
        assert_eq!(ours.cause(), "certain actor-still-running", "{}", ours.summary());
        // A line that is lost may be of another message for the same function.
        let with_holes = standing(entered(), 101, "fulfil").timeout();
        assert_eq!(with_holes.cause(), "likely actor-still-running");
        // Without a line of its own, the stack alone shows the entry.
        let silent = standing(received(), 101, "fulfil").timeout();
        assert_eq!(reached(&silent, Stage::Entered), Some(true));
        // Another task's function, or one of two messages for ours.
        let other = standing(received(), 101, "slow").timeout();
        assert_ne!(reached(&other, Stage::Entered), Some(true));
        let two = delivered()
            .main("Task shop.tasks.fulfil[OTHERS] received")
            .main("Task shop.tasks.fulfil[OURS] received");
        let two = standing(two, 101, "fulfil").timeout();
        assert_ne!(reached(&two, Stage::Entered), Some(true));
        // Two workers write the log: the name of a child may be the other's.
        let shared = whole(standing(entered(), 101, "fulfil"))
            .process(900, 1, "python celery -A shop worker -l INFO", |process| {
                process.holds_log = true
            })
            .timeout();
        assert_eq!(shared.cause(), "likely actor-still-running");
    }

    #[test]
    fn a_child_in_a_handler_has_not_begun() {
        let stack = |scene: Scene| {
            scene
                .process(101, 100, "python celery -A shop worker -l INFO", |_| {})
                .stack(
                    101,
                    "MainThread",
                    &[
                        ("check_licence", "/app/shop/faults.py"),
                        (
                            "send",
                            "/v/lib/python3.11/site-packages/celery/utils/dispatch/signal.py",
                        ),
                        ("trace_task", TRACE),
                    ],
                )
        };
        let before = stack(received()).timeout();
        assert_eq!(before.cause(), "likely blocked-before-entry");
        assert_ne!(reached(&before, Stage::Entered), Some(true));
        let with_others = delivered()
            .main("Task shop.tasks.slow[OTHERS] received")
            .main("Task shop.tasks.fulfil[OURS] received");
        assert!(!stack(with_others).timeout().cause().starts_with("certain"));
        // The row says that it has begun: the signal may be one of those after it.
        let marked = received()
            .setup(|setup| setup.running = vec!["RUNNING".into()])
            .row("RUNNING");
        let after = stack(marked)
            .timeout()
            .answer(causes::find("blocked-before-entry").expect("a cause"));
        assert_eq!(after, "possible");
    }

    fn sent_with(headers: &[(&'static str, &str)], expiration_ms: Option<i64>) -> Message {
        let mut envelope = (codec::CODEC.encode)(&Call {
            queue: "celery",
            actor: "shop.tasks.fulfil",
            args: &json!([TASK]),
            kwargs: &json!({}),
            message_id: OURS,
            now_ms: 1,
            run: None,
        });
        envelope
            .headers
            .retain(|(name, _)| headers.iter().all(|(own, _)| name != own));
        for (name, value) in headers {
            let value = (*value).to_owned();
            envelope
                .headers
                .push(((*name).into(), crate::framework::Header::Text(value.into())));
        }
        envelope.properties.expiration_ms = expiration_ms;
        FRAMEWORK.decode(&envelope, false)
    }

    fn sent(consumers: u64, message: Message) -> Scene {
        let taken = message.clone();
        let scene = Scene::new()
            .setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
                setup.actor = Some("shop.tasks.fulfil".into());
            })
            .main("celery@vm ready.")
            .depth("celery", 0, consumers)
            .submitted()
            .row("PENDING")
            .publish_as("celery", API, message);
        match consumers {
            0 => scene,
            _ => scene.see(
                Source::Firehose,
                EventKind::Deliver {
                    queue: "celery".into(),
                    connection: WORKER.into(),
                    redelivered: false,
                    message: taken,
                },
            ),
        }
    }

    /// The scene's clock begins at 00:16:40.
    #[test]
    fn one_line_stands_for_revoked_and_for_expired() {
        const DISCARDED: &str = "Discarding revoked task: shop.tasks.fulfil[OURS]";
        let discarded = |headers: &[(&'static str, &str)]| {
            sent(1, sent_with(headers, None))
                .main("Task shop.tasks.fulfil[OURS] received")
                .main(DISCARDED)
                .silence()
        };
        assert_eq!(discarded(&[]).cause(), "certain revoked");
        let expired = discarded(&[("expires", "1970-01-01T00:16:30+00:00")]);
        assert_eq!(expired.cause(), "certain message-expired");
        let not_yet = discarded(&[("expires", "1970-01-01T01:00:00+00:00")]);
        assert_eq!(not_yet.cause(), "certain revoked");
        let unseen = discarded(&[]).without(Source::Firehose);
        assert!(!unseen.cause().starts_with("certain"), "{}", unseen.cause());
    }

    #[test]
    fn an_expired_message_leaves_the_queue_without_a_word() {
        let message = || sent_with(&[("expires", "1970-01-01T00:16:42+00:00")], Some(1000));
        let gone = sent(0, message())
            .depth("celery", 1, 0)
            .at(1500.0)
            .depth("celery", 0, 0)
            .silence();
        assert_eq!(gone.cause(), "certain message-expired", "{}", gone.summary());
        // It is still there: something is before it.
        let there = sent(0, message()).depth("celery", 1, 0).at(1500.0).silence();
        assert!(!there.cause().contains("expired"), "{}", there.cause());
        // Somebody emptied the queue before its time.
        let purged = sent(0, message())
            .depth("celery", 1, 0)
            .at(600.0)
            .depth("celery", 0, 0)
            .at(1500.0)
            .depth("celery", 0, 0)
            .silence();
        assert!(
            !purged.cause().starts_with("certain message-expired"),
            "{}",
            purged.cause()
        );
    }

    #[test]
    fn a_worker_holds_what_is_delayed() {
        let delayed = sent(1, sent_with(&[("eta", "1970-01-01T00:30:00+00:00")], None))
            .main("Task shop.tasks.fulfil[OURS] received")
            .silence();
        assert_eq!(delayed.cause(), "certain delayed", "{}", delayed.summary());
        assert!(delayed.summary().contains("in the hands of a worker"));
    }

    #[test]
    fn a_worker_that_gave_up_says_why() {
        let gave_up = |error: &str| {
            let scene = sent(0, sent_with(&[], None));
            scene
                .depth("celery", 1, 0)
                .main("                .> celery           exchange=celery(direct) key=celery")
                .log(
                    "MainProcess",
                    Level::Critical,
                    &format!("Unrecoverable error: {error}"),
                )
                .depth("celery", 1, 0)
        };
        for (error, cause) in [
            (
                "AccessRefused(403, 'ACCESS_REFUSED - …')",
                "certain worker-unrecoverable",
            ),
            (
                "PreconditionFailed(406, 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. …')",
                "certain consumer-timeout-killed-worker",
            ),
            (
                "ResourceLocked(405, \"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'celery@vm.celery.pidbox' …\")",
                "certain node-name-taken",
            ),
        ] {
            let scene = gave_up(error).silence();
            assert_eq!(scene.cause(), cause, "{}", scene.summary());
        }
        // It came back.
        let again = gave_up("AccessRefused(403)").main("celery@vm ready.").silence();
        assert!(!again.cause().contains("unrecoverable"), "{}", again.cause());
    }

    /// systemd, a container and nohup leave a master with pid 1 for a parent: that is no orphan.
    #[test]
    fn a_master_has_no_master() {
        let scene = received().silence();
        assert!(!scene.cause().contains("taken-by"), "{}", scene.summary());
        let taken = |id: &str| scene.answer(causes::find(id).expect("a cause"));
        assert_eq!(taken("taken-by-orphaned-worker"), "not applicable");
        assert_ne!(taken("taken-by-other-worker"), "certain");
    }

    #[test]
    fn without_a_database_an_acknowledgement_is_no_success() {
        let entered = || entered().without_a_database();
        let done = entered().child(1, "Task shop.tasks.fulfil[OURS] succeeded in 0.2s: None");
        assert_eq!(done.cause(), "likely succeeded");
        let running = entered().totals("celery", 0, 0, json!({})).timeout();
        assert!(!running.cause().contains("succeeded"), "{}", running.summary());
    }
}
