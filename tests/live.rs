//! Breaks one thing on a real RabbitMQ, PostgreSQL and Dramatiq, runs the real binary, and checks
//! what it says. Each expectation was written down from what was broken.
//!
//! `RECORD_RUNS=1 cargo test --test live` keeps the recordings in `fixtures/runs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "live/attacks.rs"]
mod attacks;
#[path = "live/billing.rs"]
mod billing;
#[path = "live/blind.rs"]
mod blind;
#[path = "live/canaries.rs"]
mod canaries;
#[path = "live/celery.rs"]
mod celery;
#[path = "live/celery_causes.rs"]
mod celery_causes;
#[path = "live/celery_code.rs"]
mod celery_code;
#[path = "live/celery_commands.rs"]
mod celery_commands;
#[path = "live/celery_common.rs"]
mod celery_common;
#[path = "live/celery_control.rs"]
mod celery_control;
#[path = "live/celery_healthy.rs"]
mod celery_healthy;
#[path = "live/celery_places.rs"]
mod celery_places;
#[path = "live/celery_tools.rs"]
mod celery_tools;
#[path = "live/cluster.rs"]
mod cluster;
#[path = "live/command.rs"]
mod command;
#[path = "live/commands.rs"]
mod commands;
#[path = "live/containers.rs"]
mod containers;
#[path = "live/deaths.rs"]
mod deaths;
#[path = "live/delivered.rs"]
mod delivered;
#[path = "live/down.rs"]
mod down;
#[path = "live/engine.rs"]
mod engine;
#[path = "live/entered.rs"]
mod entered;
#[path = "live/environment.rs"]
mod environment;
#[path = "live/exec.rs"]
mod exec;
#[path = "live/finished.rs"]
mod finished;
#[path = "live/init.rs"]
mod init;
#[path = "live/isolate.rs"]
mod isolate;
#[path = "live/lab.rs"]
mod lab;
#[path = "live/limits.rs"]
mod limits;
#[path = "live/nodes.rs"]
mod nodes;
#[path = "live/places.rs"]
mod places;
#[path = "live/podman.rs"]
mod podman;
#[path = "live/promises.rs"]
mod promises;
#[path = "live/proxy.rs"]
mod proxy;
#[path = "live/published.rs"]
mod published;
#[path = "live/scratch.rs"]
mod scratch;
#[path = "live/shapes.rs"]
mod shapes;
#[path = "live/stack.rs"]
mod stack;
#[path = "live/standby.rs"]
mod standby;
#[path = "live/start.rs"]
mod start;
#[path = "live/submitted.rs"]
mod submitted;
#[path = "live/succeeded.rs"]
mod succeeded;
#[path = "live/system.rs"]
mod system;
#[path = "live/tls.rs"]
mod tls;
#[path = "live/trace.rs"]
mod trace;
#[path = "live/verdict.rs"]
mod verdict;
#[path = "live/watch.rs"]
mod watch;
#[path = "live/ways.rs"]
mod ways;
#[path = "live/worker.rs"]
mod worker;
