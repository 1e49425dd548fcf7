//! taskdiag: "My task was accepted. Why did it never run?"
//!
//! One direction, pure core:
//!
//! ```text
//! config ──▶ vantage points ──▶ timeline ──▶ diagnosis ──▶ report
//!            (the only I/O)     (JSON Lines)  (pure)        (pure)
//! ```
//!
//! In reading order: [`cli`] is what can be said on the command line; [`config`] turns file,
//! environment and flags into one [`config::Config`]; [`vantage`] watches every source at once and
//! yields a [`timeline::Timeline`]; [`diagnosis`] turns that into a [`diagnosis::Verdict`] by
//! asking each cause of the catalogue; [`compare`] says what differs between two runs, or between the
//! API and the worker of one; [`report`] arranges it all for its readers.
//! [`trace`] writes the events of the firehose as they pass.
//! [`framework`] is what is known of Dramatiq and of Celery; `rabbitmq` speaks to the broker; `run` is one diagnosis
//! from submission to end; `supervise` starts the system for `--start`,
//! and [`guardian`] undoes what was done.
//! `init` drafts a configuration from a project; `isolate` repeats a failed run with less and less.

mod bounded;
mod child;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod config;
pub mod diagnosis;
mod disk;
pub mod error;
mod expand;
pub mod framework;
pub mod guardian;
mod hooks;
mod http;
mod init;
mod interrupt;
mod isolate;
mod limits;
mod links;
mod procfs;
mod python;
mod rabbitmq;
pub mod report;
mod run;
mod scrubber;
mod servers;
mod submit;
mod supervise;
mod text;
pub mod timeline;
pub mod tls;
pub mod trace;
mod units;
pub mod vantage;
pub mod watch;
