//! The broker's own ideas: its management API, AMQP connections, passive declares, nodes, tracing.
//!
//! Nothing here knows of tasks, of runs or of what watches them.

pub mod amqp;
pub mod declare;
pub mod management;
pub mod nodes;
pub mod protocol;
pub mod rights;
pub mod tracing;
pub mod wire;
