//! The lives of the workers that write to one log, from banner to banner.

use super::{Story, WorkerLine};
use crate::framework::LogEvent;

/// The line, by its place in the log, lies behind the banner of a worker that names its queues, and not this task's.
pub(in crate::diagnosis) fn is_anothers(story: &Story<'_>, at: usize) -> bool {
    let lines = story.worker_lines();
    let stream = lines[at].line.stream.as_deref();
    let own = |told: &&WorkerLine<'_>| told.line.stream.as_deref() == stream;
    let boots = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::BootingUp));
    let before = lines[..=at].iter().rev().filter(own);
    let since: Vec<&WorkerLine<'_>> = before.take_while(|told| !boots(told)).collect();
    // A line of the banner itself comes before its queues.
    let ahead = lines[at + 1..].iter().filter(own).take_while(|told| !boots(told));
    let queues = |told: &&WorkerLine<'_>| match told.mark {
        Some(LogEvent::AddingConsumer { queue }) => Some(story.is_of_my_queue(queue)),
        _ => None,
    };
    let mut named = since.iter().filter_map(queues).peekable();
    let mut named_ahead = ahead.filter_map(|told| queues(&told)).peekable();
    match named.peek() {
        Some(_) => !named.any(|is_ours| is_ours),
        None => named_ahead.peek().is_some() && !named_ahead.any(|is_ours| is_ours),
    }
}
