//! Processes that the kernel killed for memory, as a container's engine tells of it.

use super::{Fact, Story, WorkerLine};
use crate::timeline::Container;
use crate::units;

/// Both are told late, the engine's word by a look each second.
pub(in crate::diagnosis) const WORD_OF_A_KILL_MS: f64 = 1500.0;

/// In the container whose log tells of the death.
pub(in crate::diagnosis) fn killed_with(story: &Story<'_>, told: &WorkerLine<'_>) -> Option<Fact<String>> {
    let container = story.container_of_stream(told.line.stream.as_deref())?;
    killed_in(story, &container, told.at_ms)
}

/// In the container that the process ran in.
pub(in crate::diagnosis) fn killed_in_its_container(
    story: &Story<'_>,
    pid: i32,
    died_at: f64,
) -> Option<Fact<String>> {
    let process = story.process(pid)?;
    let id = process.container.as_ref()?;
    let container = story.containers().find(|container| container.id == *id)?;
    killed_in(story, &container, died_at)
}

fn killed_in(story: &Story<'_>, container: &Container, died_at: f64) -> Option<Fact<String>> {
    let killed = story.killed_for_memory(container, died_at + WORD_OF_A_KILL_MS)?;
    let limit = container
        .memory_limit
        .map_or(String::new(), |limit| format!(" (limit {})", units::bytes(limit)));
    let name = &container.name;
    // A helper that was killed earlier is another process.
    let apart = died_at - killed.at_ms;
    let text = match apart > WORD_OF_A_KILL_MS {
        true => format!(
            "the kernel killed some process of container {name} for memory{limit}, {} before that was said",
            units::span(apart)
        ),
        false => format!("the kernel killed a process of container {name} for memory{limit}"),
    };
    Some(killed.with(text))
}
