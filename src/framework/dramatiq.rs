//! Dramatiq over RabbitMQ, 1.14 to 2.2: topology, messages, log lines, stacks and workers.
//!
//! Verified on 1.14.2, 1.17.1 and 2.2.1 with pika.

mod body;
mod codec;
mod copy;
mod log;
mod worker;

use super::{
    Acknowledges, ClientShape, Delays, DjangoShape, FrameMatch, Framework, Queues, SourceShape, StackShape,
    Takes,
};

pub static FRAMEWORK: Framework = Framework {
    name: "dramatiq",
    title: "Dramatiq",
    own_words: &[
        "Dramatiq",
        "dramatiq",
        "DRAMATIQ",
        ".DQ",
        ".XQ",
        "iddleware",
        "before_process_message",
        "after_process_message",
        "pika",
        "StubBroker",
        "SkipMessage",
        "set_broker",
        "set_encoder",
        "send_with_options",
        "`send()`",
        "max_age",
        "--processes",
        "`-v`",
        "WorkerThread",
        "Pipelines",
        "AsyncIO",
        "Received args",
        "Received message",
        "Pushing message",
        "Retrying message",
        "Retries exceeded",
        "Completed after",
        "Failed to process message",
    ],
    queues: Queues {
        delay: Some(".DQ"),
        dead_letter: Some(".XQ"),
        is_bookkeeping: |_, _| false,
        is_bound: false,
        keeps_for_later: |_| false,
        later_words: None,
        later: |_, _| None,
    },
    codec: codec::CODEC,
    log: log::LOG,
    stack: StackShape {
        library: "/dramatiq/",
        worker: FrameMatch {
            file: "dramatiq/worker.py",
            function: "",
        },
        consumer: Some(FrameMatch {
            file: "dramatiq/brokers/rabbitmq.py",
            function: "",
        }),
        worker_loop: FrameMatch {
            file: "dramatiq/worker.py",
            function: "process_message",
        },
        call: FrameMatch {
            file: "dramatiq/actor.py",
            function: "__call__",
        },
        loop_hooks: &[],
        before_call: FrameMatch {
            file: "dramatiq/broker.py",
            function: "emit_before",
        },
        after_call: FrameMatch {
            file: "dramatiq/broker.py",
            function: "emit_after",
        },
        hook: "before_process_message",
        boot_hooks: &["after_worker_boot", "after_process_boot", "before_worker_boot"],
        async_bridge: FrameMatch {
            file: "dramatiq/asyncio.py",
            function: "",
        },
        rethrow: None,
        lost_timeout: Some("Dramatiq 1.15 to 1.18"),
        test_broker: FrameMatch {
            file: "dramatiq/brokers/stub.py",
            function: "",
        },
        log_pipe: FrameMatch {
            file: "dramatiq/compat.py",
            function: "",
        },
        log_writer: Some(FrameMatch {
            file: "dramatiq/cli.py",
            function: "watch_logs",
        }),
    },
    worker: worker::WORKER,
    source: SourceShape {
        module: "dramatiq",
        decorator: "actor",
        send: "send()",
        method: "actor",
        objects: &["broker"],
        name_option: "actor_name",
        queue_option: "queue_name",
        is_named_by_module: false,
        application: None,
        broker_option: None,
        broker_settings: &["dramatiq_broker"],
        routing: &[],
        default_queue_settings: &[],
        examples: &[],
        default_queue: "default",
        django: Some(DjangoShape {
            app: "django_dramatiq",
            command: Some("rundramatiq"),
            table: "django_dramatiq_task",
            id_column: "id",
            statuses: ["running", "done", "failed"],
            kept_if: "if its AdminMiddleware is in use",
        }),
        other_brokers: &[
            ("PostgreSQL", &["dramatiq_pg", "PostgresBroker"]),
            ("Redis", &["RedisBroker"]),
        ],
    },
    client: ClientShape {
        library: &["/pika/"],
        raises_through: &["/dramatiq/"],
        names_exchanges: false,
        errors: &[
            "ConnectionClosed",
            "ChannelClosed",
            "AMQPConnectionError",
            "ProbableAuthenticationError",
            "StreamLostError",
            "IncompatibleProtocolError",
        ],
    },
    takes: Takes::Child,
    time_limits: &["dramatiq.middleware.time_limit.TimeLimitExceeded"],
    asks_again: &["dramatiq.errors.Retry", "dramatiq.errors.RateLimitExceeded"],
    messages_expire: false,
    unknown_result: None,
    result_tables: &[],
    acknowledges: Acknowledges::AfterRun,
    failure_is_final: false,
    control: None,
    delays: Delays::OnCompanion,
};
