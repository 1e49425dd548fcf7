//! Python stacks: where a thread stands, and whose code that is.

use super::{Raised, Story};
use crate::timeline::EventKind;

/// A frame of Dramatiq's stub broker in one of these processes.
pub(in crate::diagnosis) fn stub_frame(story: &Story<'_>, pids: &[i32]) -> Option<(u32, String)> {
    story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Stacks { pid, threads } if pids.contains(pid) => threads
            .iter()
            .find(|thread| {
                thread
                    .frames
                    .iter()
                    .any(|frame| frame.file.ends_with("dramatiq/brokers/stub.py"))
            })
            .map(|thread| (event.n, thread.thread.clone())),
        _ => None,
    })
}

/// Where in the application's own code it was raised.
pub(in crate::diagnosis) fn own_place(raised: &Raised) -> String {
    raised
        .trace
        .as_ref()
        .and_then(|trace| trace.own_frames().last())
        .map(|frame| format!(" at {}:{} in {}", frame.file, frame.line, frame.function))
        .unwrap_or_default()
}

/// The innermost frame of the application's own code on a worker thread's stack. `below`: only
/// where a frame of that name is on the stack.
pub(in crate::diagnosis) fn own_frame(
    story: &Story<'_>,
    pid: Option<i32>,
    below: &str,
) -> Option<(u32, String)> {
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Stacks { pid: of, threads } if pid.is_none_or(|pid| pid == *of) => threads
                .iter()
                .filter(|thread| {
                    thread.stable
                        && thread.frames.iter().any(|frame| {
                            frame.file.contains("dramatiq/worker.py")
                                && frame.function.contains("process_message")
                        })
                })
                .filter(|thread| {
                    below.is_empty() || thread.frames.iter().any(|frame| frame.function.contains(below))
                })
                .find_map(|thread| {
                    thread
                        .frames
                        .iter()
                        .find(|frame| frame.is_application())
                        .map(|frame| {
                            (
                                event.n,
                                format!("{}:{} in {}", frame.file, frame.line, frame.function),
                            )
                        })
                }),
            _ => None,
        })
}

/// Where the main thread of a booting worker stands still: an import, or a full log pipe.
pub(in crate::diagnosis) fn boot_frame(story: &Story<'_>, pid: i32) -> Option<(u32, String)> {
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Stacks { pid: of, threads } if *of == pid => threads
                .iter()
                .filter(|thread| thread.stable)
                .find(|thread| {
                    thread
                        .frames
                        .iter()
                        .any(|frame| frame.function == "_find_and_load" || frame.function == "import_module")
                })
                .and_then(|thread| thread.frames.iter().find(|frame| !is_library(&frame.file)))
                .map(|frame| {
                    (
                        event.n,
                        format!("{}:{} in {}", frame.file, frame.line, frame.function),
                    )
                }),
            _ => None,
        })
}

/// Python's own, the framework's, or what is installed beside it.
pub(in crate::diagnosis) fn is_library(file: &str) -> bool {
    file.starts_with('<') || file.contains("/lib/python") || file.contains("/site-packages/")
}

/// The thread of this dump that stands in this frame.
pub(in crate::diagnosis) fn thread_of(story: &Story<'_>, n: u32, place: &str) -> Option<String> {
    match &story.timeline.event(n)?.kind {
        EventKind::Stacks { threads, .. } => threads
            .iter()
            .find(|thread| {
                thread.stable
                    && thread
                        .frames
                        .iter()
                        .any(|frame| format!("{}:{} in {}", frame.file, frame.line, frame.function) == place)
            })
            .map(|thread| thread.thread.clone()),
        _ => None,
    }
}

/// The event loop thread sits in something that is not the loop's own waiting.
pub(in crate::diagnosis) fn blocked_loop(story: &Story<'_>, pid: Option<i32>) -> Option<(u32, String)> {
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Stacks { pid: of, threads } if pid.is_none_or(|pid| pid == *of) => threads
                .iter()
                .filter(|thread| {
                    thread.stable
                        && thread.frames.iter().any(|frame| {
                            frame.function.contains("run_forever") || frame.function.contains("_run_once")
                        })
                })
                .filter(|thread| {
                    !thread
                        .frames
                        .first()
                        .is_some_and(|frame| frame.file.ends_with("selectors.py"))
                })
                .find_map(|thread| {
                    let frame = thread
                        .frames
                        .iter()
                        .find(|frame| !frame.file.contains("/lib/python"))
                        .or(thread.frames.first())?;
                    Some((
                        event.n,
                        format!("{}:{} in {}", frame.file, frame.line, frame.function),
                    ))
                }),
            _ => None,
        })
}
