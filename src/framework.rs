//! What a task framework is to us: a message codec, names of companion queues, and log lines.
//!
//! Only Dramatiq so far. Everything the rest of taskdiag knows of a framework goes through here.

pub mod dramatiq;
mod ids;
mod log_event;
mod message;
mod traceback;

pub use dramatiq::read_line;
pub use ids::{WantedId, contains_token, is_same_id, spellings};
pub use log_event::LogEvent;
pub use message::{ArgumentValues, Message};
pub use traceback::{Traceback, TracebackFrame};
