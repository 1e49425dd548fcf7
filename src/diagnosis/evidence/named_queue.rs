//! Whose queue an error in the worker's log is about.

use super::Story;
use super::connections::{is_conflict, is_missing_queue, is_refused_consumer};
use crate::framework::LogEvent;

/// The broker's words name a queue of another vhost: one log may have the lines of several services.
fn is_of_another_vhost(story: &Story<'_>, error: &str) -> bool {
    let named = error
        .split_once(" in vhost '")
        .and_then(|(_, rest)| rest.split_once('\''));
    named.is_some_and(|(vhost, _)| vhost != story.timeline.setup.vhost)
}

/// The consumer of our queue had this error. Where the log does not say whose it was, a refusal of
/// a queue names it; a broken connection hits all of them.
pub(in crate::diagnosis) fn names_our_queue(story: &Story<'_>, consumer: Option<&str>, error: &str) -> bool {
    if is_of_another_vhost(story, error) {
        return false;
    }
    match consumer {
        Some(name) => story.is_of_my_queue(name),
        None if is_conflict(error) || is_missing_queue(error) || is_refused_consumer(error) => {
            let mut named = error.split(['\'', '"']);
            named.any(|part| {
                story.is_of_my_queue(part) || is_conflict(error) && is_taken_with_ours(story, part)
            })
        }
        None => true,
    }
}

/// One worker consumes this queue and ours, by its banner: on what ends the one it takes neither.
fn is_taken_with_ours(story: &Story<'_>, queue: &str) -> bool {
    let lines = story.worker_lines().iter().rev();
    let of_one_life = lines.take_while(|told| !matches!(told.mark, Some(LogEvent::BootingUp)));
    let taken: Vec<&str> = of_one_life
        .filter_map(|told| match told.mark {
            Some(LogEvent::AddingConsumer { queue }) => Some(queue.as_str()),
            _ => None,
        })
        .collect();
    story.master_takes() && taken.contains(&queue) && taken.iter().any(|name| story.is_of_my_queue(name))
}
