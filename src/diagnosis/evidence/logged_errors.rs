//! What the application logged as an error of this task, and went on.

use super::{Story, WorkerLine};
use crate::diagnosis::Answer;
use crate::framework::LogEvent;
use crate::text::excerpt;
use crate::timeline::Level;

/// A traceback that the last attempt's run logged. What an earlier attempt logged, and raised, was not swallowed.
pub(in crate::diagnosis) fn with_a_traceback<'s, 'a>(story: &'s Story<'a>) -> Option<&'s WorkerLine<'a>> {
    let begins = |mark: &LogEvent| {
        matches!(
            mark,
            LogEvent::Received { .. } | LogEvent::Failed { .. } | LogEvent::Retrying { .. }
        )
    };
    let lines = story.lines();
    let earlier = lines
        .iter()
        .rposition(|told| told.mark.is_some_and(begins))
        .map_or(0, |at| at + 1);
    lines[earlier..].iter().find(|told| {
        // What a thread of the application's own ended in has no level: it is printed.
        let is_error =
            told.line.level >= Some(Level::Error) || (told.line.level.is_none() && told.line.carries_task_id);
        is_error && told.mark.is_none() && told.line.traceback.is_some() && may_be_its(story, told)
    })
}

/// … or any other error that its run logged: of a hook after the actor, or one whose traceback was left out; else its
/// last warning.
pub(in crate::diagnosis) fn of_its_run<'s, 'a>(story: &'s Story<'a>) -> Option<&'s WorkerLine<'a>> {
    let is_own = |mark: Option<&LogEvent>| matches!(mark, None | Some(LogEvent::HookFailed { .. }));
    let last = |least: Level| {
        story.lines().iter().rfind(|told| {
            // How it says that it was entered may be written at any level.
            let is_grave = told.line.level >= Some(least) && !told.line.entry;
            is_grave && is_own(told.mark) && may_be_its(story, told)
        })
    };
    with_a_traceback(story)
        .or_else(|| last(Level::Error))
        .or_else(|| last(Level::Warning))
}

/// To stand at the end of a sentence.
pub(in crate::diagnosis) fn words(told: &WorkerLine<'_>) -> String {
    let what = match told.line.level == Some(Level::Warning) {
        true => "logged",
        false => "logged an error and went on:",
    };
    format!("; its run {what} \"{}\"", excerpt(&told.line.text))
}

/// … or after an answer, which then rests on that line, too.
pub(in crate::diagnosis) fn added_to(story: &Story<'_>, answer: Answer) -> Answer {
    match of_its_run(story) {
        Some(told) => answer.followed_by(&words(told)).resting_on([told.n]),
        None => answer,
    }
}

/// By the process that has the message, as far as that is known: another program that writes to this log may know the
/// id as well.
pub(in crate::diagnosis) fn is_by_its_process(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let took = story.line(|mark| matches!(mark, LogEvent::Received { .. }));
    let is_its = took.is_some_and(|took| took.pid.is_some() && took.pid == told.pid);
    is_its || told.is_by_the_task()
}

/// It names the task, or is written as the process writes that has the message. Another program that writes to the same
/// log, a web server for one, names no pid, or another one.
fn may_be_its(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let mut lines = story.lines().iter();
    let of_the_process = lines.find(|line| {
        let takes = matches!(line.mark, Some(LogEvent::Received { .. }));
        line.n < told.n && (takes || line.line.entry)
    });
    told.line.carries_task_id
        || told.is_by_the_task()
        || of_the_process.is_none_or(|line| line.pid.is_none() || line.pid == told.pid)
}
