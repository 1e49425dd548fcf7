//! Dramatiq over RabbitMQ, 1.14 to 2.2: topology, message body and log lines.
//!
//! Verified on 1.14.2, 1.17.1 and 2.2.1 with pika.

pub mod body;
mod codec;
mod log;
mod queues;

pub use codec::{NO_MESSAGE, decode, encode};
pub use log::read_line;
pub use queues::{base_queue, dead_letter_queue, delay_queue};
