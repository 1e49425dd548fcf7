//! A framework that there is not, for the tests: other queue names than Dramatiq's, an acknowledgement before
//! the run, delays in the worker, and a message in the headers. What holds for it holds for more than one.

use std::sync::LazyLock;

use super::*;

pub static FRAMEWORK: Framework = Framework {
    name: "toy",
    title: "Toy",
    own_words: &["Toy", "toyworker"],
    queues: Queues {
        delay: None,
        dead_letter: Some("-dead"),
        is_bookkeeping: |_, _| false,
        is_bound: false,
        keeps_for_later: |_| false,
        later_words: None,
        later: |_, _| None,
    },
    codec: Codec {
        read,
        not_a_message: "no header `task`",
        encode,
        copy: |_, _| Err("a toy's message cannot be copied".into()),
    },
    log: LogShape {
        format: r"^toy\[(?P<pid>\d+)\] (?P<level>[A-Z]+): (?P<text>.*)$",
        read: |text, _, _| READER.as_ref().ok()?.read(text),
        message_of: |_, _| None,
        blocks: &[],
        tells_at: Verbosity::Debug,
        death: "died",
        lost_job: None,
        logger: "toy",
        reads: |_| None,
        by_others: |_, _| true,
        argument_masks: &[],
    },
    stack: StackShape {
        library: "/toy/",
        worker: at("toy/loop.py", ""),
        consumer: None,
        worker_loop: at("toy/loop.py", "take"),
        call: at("toy/loop.py", "run"),
        loop_hooks: &[],
        before_call: at("toy/loop.py", "prepare"),
        after_call: at("toy/loop.py", "finish"),
        hook: "before",
        boot_hooks: &["boot"],
        async_bridge: at("toy/wait.py", ""),
        rethrow: None,
        lost_timeout: None,
        test_broker: at("toy/memory.py", ""),
        log_pipe: at("toy/log.py", ""),
        log_writer: None,
    },
    worker: WorkerShape {
        programs: &["toyworker"],
        title: None,
        subcommand: None,
        start: &["toyworker", ""],
        telling_flags: &[],
        without_flags: "",
        debug_flag: "--loud",
        start_example: "[worker] command = [\"toyworker\"]",
        misuse: |_, _, _| None,
        mistakes: |_| Vec::new(),
        queues: |_| None,
        packages: &["toy"],
        package_prefix: "toy-",
        variable_prefix: "TOY_",
        broker_variable: "TOY_URL",
        default_broker: None,
        test_switches: &["TOY_MEMORY"],
        test_urls: &[],
        tuning_variables: &[],
        tuning_prefixes: &[],
    },
    source: SourceShape {
        module: "toy",
        decorator: "task",
        send: "send()",
        method: "task",
        objects: &[],
        name_option: "name",
        queue_option: "queue",
        is_named_by_module: false,
        application: None,
        broker_option: None,
        broker_settings: &[],
        routing: &[],
        default_queue_settings: &[],
        examples: &[],
        default_queue: "toys",
        django: None,
        other_brokers: &[],
    },
    client: ClientShape {
        library: &["/toynet/"],
        raises_through: &["/toy/"],
        names_exchanges: false,
        errors: &["toy.NotSent"],
    },
    takes: Takes::Child,
    time_limits: &[],
    asks_again: &[],
    messages_expire: false,
    unknown_result: None,
    result_tables: &[],
    acknowledges: Acknowledges::BeforeRun,
    failure_is_final: false,
    control: None,
    delays: Delays::InWorker,
};

const fn at(file: &'static str, function: &'static str) -> FrameMatch {
    FrameMatch { file, function }
}

static READER: LazyLock<Result<LogReader, regex::Error>> = LazyLock::new(|| {
    LogReader::new(&[
        (r"^up$", |_| LogEvent::Ready),
        (r"^listens on (\S+)", |c| LogEvent::AddingConsumer {
            queue: c[1].into(),
        }),
        (r"^took (\S+) (\S+)", |c| LogEvent::Received {
            actor: c[1].into(),
            id: c[2].into(),
        }),
        (r"^acknowledged (\S+)", |c| LogEvent::Acknowledging {
            id: c[1].into(),
        }),
        (r"^runs", |_| LogEvent::Called),
        (r"^done", |_| LogEvent::Completed),
        (r"^(\S+) failed", |c| LogEvent::Failed { actor: c[1].into() }),
        (r"^no task (\S+)", |c| LogEvent::UndefinedActor {
            actor: c[1].into(),
        }),
        (r"^process (\d+) died", |c| LogEvent::ChildDied {
            pid: c[1].parse().unwrap_or(0),
            code: -9,
        }),
    ])
});

fn read<'e>(
    envelope: &'e Envelope<'_>,
    options: &mut DecodeOptions<'_>,
) -> Result<BorrowedMessage<'e>, String> {
    let header = |name| envelope.header(name).and_then(Header::text);
    let args: Vec<serde_json::Value> =
        serde_json::from_slice(&envelope.body).map_err(|_| "not a list".to_owned())?;
    args.iter()
        .filter_map(serde_json::Value::as_str)
        .for_each(|text| options.see(text));
    Ok(BorrowedMessage {
        message_id: header("id").map(Into::into),
        actor: header("task").map(Into::into),
        eta_ms: header("eta").and_then(|at| at.parse().ok()),
        timestamp_ms: Some(1_000_000),
        args: options.keep.then(|| args.into()),
        known: header("task").is_some(),
        ..BorrowedMessage::default()
    })
}

fn encode(call: &Call<'_>) -> Envelope<'static> {
    let header = |name: &'static str, value: &str| (name.into(), Header::Text(value.to_owned().into()));
    Envelope {
        headers: vec![header("task", call.actor), header("id", call.message_id)],
        ..Envelope::of_body(call.args.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::testing::{API, Scene, TASK, WORKER};
    use crate::diagnosis::{Stage, diagnose};
    use crate::timeline::recording;

    fn message(delay_ms: Option<i64>) -> Message {
        let mut envelope = encode(&Call {
            queue: "default",
            actor: "act",
            args: &json!([TASK]),
            kwargs: &json!({}),
            message_id: "m-1",
            now_ms: 1,
            run: None,
        });
        let due = delay_ms.map(|delay| (1_000_000 + delay).to_string());
        envelope
            .headers
            .extend(due.map(|due| ("eta".into(), Header::Text(due.into()))));
        FRAMEWORK.decode(&envelope, false)
    }

    fn accepted(consumers: u64) -> Scene {
        Scene::new()
            .setup(|setup| setup.framework = "toy".into())
            .depth("default", 0, consumers)
            .submitted()
            .row("PENDING")
    }

    fn published(consumers: u64) -> Scene {
        accepted(consumers)
            .publish_as("default", API, message(None))
            .depth("default", u64::from(consumers == 0), consumers)
    }

    /// Acknowledged at once, and then the task's function runs.
    fn entered() -> Scene {
        published(1)
            .deliver(WORKER)
            .peer(WORKER, 101)
            .worker_process(&[WORKER])
            .debug("toy", "took act m-1")
            .debug("toy", "acknowledged m-1")
            .debug("toy", "runs")
            .info("app", "ACTOR ENTRY task_id=task_1")
            .totals("default", 0, 0, json!({}))
    }

    fn raised() -> Scene {
        entered().error(
            "toy",
            "act failed\nTraceback (most recent call last):\n  File \"/v/toy/loop.py\", line 1, in run\n  File \"/app/tasks.py\", line 3, in act\nValueError: no",
        )
    }

    #[test]
    fn a_message_in_headers_is_the_tasks() {
        let message = message(None);
        assert_eq!(message.actor.as_deref(), Some("act"));
        let mut message = message;
        message.learn_task_id(TASK);
        assert!(message.carries_task_id);
        let none = FRAMEWORK.decode(&Envelope::of_body(b"[1]".as_slice()), false);
        assert_eq!(none.undecodable.as_deref(), Some("no header `task`"));
    }

    #[test]
    fn causes_are_found_for_it() {
        let undefined = published(1)
            .deliver(WORKER)
            .peer(WORKER, 101)
            .debug("toy", "no task act");
        let delayed = accepted(1)
            .publish_as("default", API, message(Some(60_000)))
            .totals("default", 0, 1, json!({}));
        let done = entered().debug("toy", "done").row("COMPLETED").silence();
        for (scene, cause) in [
            (published(0).silence(), "likely no-consumer"),
            (undefined.silence(), "certain unknown-actor"),
            (raised().silence(), "certain actor-raised"),
            // Without a stack that it still works is assumed.
            (entered().timeout(), "likely actor-still-running"),
            (delayed, "certain delayed"),
            (done, "certain succeeded"),
            (
                published(1).dead_letter("default-dead", "expired").silence(),
                "certain message-expired",
            ),
        ] {
            assert_eq!(scene.cause(), cause, "{:?}", scene.summary());
        }
    }

    /// What is acknowledged may not even have begun.
    #[test]
    fn an_early_acknowledgement_ends_nothing() {
        let scene = entered();
        let at = |stage: Stage| {
            let stages = scene.verdict().stages;
            stages
                .iter()
                .find(|reached| reached.stage == stage)
                .and_then(|reached| reached.at_ms)
        };
        assert!(
            at(Stage::Settled) < at(Stage::Entered),
            "it was acknowledged first"
        );
        let died = entered()
            .line("[PID 100] [MainThread] [toy] [CRITICAL] process 101 died")
            .silence();
        assert_eq!(died.cause(), "certain worker-died-in-actor");
    }

    #[test]
    fn a_recording_of_it_says_the_same() {
        let scene = raised().silence();
        let read = recording::parse(&recording::to_text(&scene.timeline)).expect("a recording");
        assert_eq!(read.framework().name, "toy");
        assert_eq!(diagnose(&read).cause, scene.verdict().cause);
    }

    /// Causes that only another framework can have are not asked.
    #[test]
    fn what_it_cannot_have_is_not_said() {
        let acknowledged = raised().silence().verdict();
        let said = |id: &str| acknowledged.contributing.iter().any(|named| named.id == id);
        assert!(!said("retries-missing"));
    }
}
