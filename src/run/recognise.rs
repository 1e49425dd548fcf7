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
        if self.timeline.setup.table.is_some() {
            let reason = "the answer names no task, and its row may have another id than its message";
            self.note(
                Source::Database,
                EventKind::Blind {
                    reason: reason.into(),
                    hint: Some("set api.task_id_pointer to where the answer has the row's id".into()),
                },
            );
        }
        self.phase.send_modify(|phase| {
            phase.task_id = Some(id);
            phase.unnamed = true;
        });
    }
}
