//! Which processes of a place take part, and what is news of them.

use super::answer::View;
use crate::framework;
use crate::timeline::Process;

/// Worker processes, masters and children.
pub(super) fn workers(view: &View) -> impl Iterator<Item = i32> {
    let named = |command: &[String]| command.iter().any(|word| framework::is_worker_named_in(word));
    let is_worker = move |process: &&Process| {
        is_python(process)
            && (named(&process.command) || process.parent_command.as_deref().is_some_and(named))
    };
    view.processes.iter().filter(is_worker).map(|process| process.pid)
}

pub(super) fn is_python(process: &Process) -> bool {
    let mut words = process.command.iter().take(2);
    words.any(|word| framework::is_python_program(word))
}

/// Whether it says more than what was told last: a process that waits and one that runs are alike. Connections come
/// and go; they are told at the last look.
pub(super) fn is_news(last: Option<&Process>, now: &Process, is_last_look: bool) -> bool {
    let odd = |state: char| !matches!(state, 'R' | 'S' | 'I');
    let Some(last) = last else { return true };
    let mut alike = now.clone();
    if !odd(last.state) && !odd(now.state) {
        alike.state = last.state;
    }
    if !is_last_look && last.sockets_seen == now.sockets_seen {
        alike.sockets.clone_from(&last.sockets);
    }
    *last != alike
}
