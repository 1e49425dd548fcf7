//! A task that the API's answer does not name.

use super::follow::Run;
use crate::timeline::{EventKind, Source};

impl Run {
    /// Where the answer names no task, the only message that was sent meanwhile does.
    pub(super) fn recognise(&mut self) {
        let [id] = self.timeline.sent_meanwhile()[..] else {
            return;
        };
        let id = id.to_owned();
        self.timeline.learn_task_id(&id);
        self.note(Source::Firehose, EventKind::Recognised { task_id: id.clone() });
        if !self.timeline.is_by_command() {
            self.row_is_unknown();
        }
        self.phase.send_modify(|phase| {
            phase.task_id = Some(id);
            phase.unnamed = true;
        });
    }

    /// No id is known by which the task's row could be found.
    pub(super) fn row_is_unknown(&mut self) {
        if self.timeline.setup.table.is_none() {
            return;
        }
        let (what, hint) = match self.timeline.is_by_command() {
            true => (
                "the command",
                "set submit.task_id_pattern to what finds the row's id in what it prints",
            ),
            false => (
                "the answer",
                "set api.task_id_pointer to where the answer has the row's id",
            ),
        };
        let reason = format!("{what} names no task, and its row may have another id than its message");
        self.note(
            Source::Database,
            EventKind::Blind {
                reason,
                hint: Some(hint.into()),
            },
        );
    }
}
