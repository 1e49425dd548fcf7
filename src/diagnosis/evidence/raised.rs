//! Attempts that raised.

use super::{Story, results};
use crate::framework::{LogEvent, StackShape, Traceback, class_of, is_one_of, raises_one_of};

/// One attempt that raised, from the log or from the copy on the delay queue.
#[derive(Debug, Clone)]
pub struct Raised {
    pub n: u32,
    pub at_ms: f64,
    pub trace: Option<Traceback>,
    pub actor: String,
    /// The whole traceback, chain included.
    text: String,
    /// No entry was seen although it would have been, and only what may be wrapped around the actor is on the stack.
    wrapper: bool,
    /// No entry was seen, and nothing on the stack is named as the actor.
    unnamed: bool,
}

impl Raised {
    /// The actor's own code is on the stack.
    pub fn entered(&self) -> bool {
        self.trace
            .as_ref()
            .is_some_and(|trace| !trace.is_bad_call(&self.actor) && !trace.own_frames().is_empty())
            && !self.wrapper
    }

    /// The call itself failed: its arguments do not fit.
    pub fn is_bad_call(&self) -> bool {
        self.trace
            .as_ref()
            .is_some_and(|trace| trace.is_bad_call(&self.actor))
    }

    /// Something that is wrapped around the actor raised, as far as can be seen.
    pub fn in_a_wrapper(&self) -> bool {
        self.wrapper
    }

    /// Whether what raised is the actor, or something around it, cannot be told.
    pub fn is_doubtful(&self) -> bool {
        self.unnamed && !self.wrapper
    }

    /// It, or another exception of its chain, is of one of these classes.
    pub fn is_one_of(&self, classes: &[&str]) -> bool {
        let last = self.trace.as_ref().map(|trace| class_of(&trace.exception));
        last.is_some_and(|class| is_one_of(class, classes)) || raises_one_of(&self.text, classes)
    }

    /// Another task raised it, for whose result this one waited.
    pub fn is_rethrown(&self, shape: &StackShape) -> bool {
        let is_place = |line: &str| {
            let quoted = line.trim_start().strip_prefix("File \"")?;
            let (file, rest) = quoted.split_once('"')?;
            let function = rest.rsplit_once(", in ")?.1;
            Some(shape.rethrow.as_ref()?.fits(file, function.trim_end()))
        };
        self.text.lines().any(|line| is_place(line) == Some(true))
    }

    pub fn exception(&self) -> String {
        self.trace
            .as_ref()
            .map(|trace| trace.exception.clone())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "an exception".into())
    }
}

impl Story<'_> {
    pub(super) fn find_raised(&mut self) {
        let mut raised: Vec<Raised> = self
            .lines
            .iter()
            .filter_map(|told| match told.mark {
                Some(LogEvent::Failed { actor }) => Some(Raised {
                    n: told.n,
                    at_ms: told.at_ms,
                    trace: told
                        .line
                        .traceback
                        .as_deref()
                        .and_then(|text| self.framework().traceback(text)),
                    actor: actor.clone(),
                    text: told.line.traceback.clone().unwrap_or_default(),
                    wrapper: false,
                    unnamed: false,
                }),
                _ => None,
            })
            .collect();
        if let Some((told, text, trace)) = results::raised_by_the_body(self) {
            raised.push(Raised {
                n: told.n,
                at_ms: told.at_ms,
                trace: Some(trace),
                actor: self.actors().into_iter().next().unwrap_or_default().to_owned(),
                text: text.to_owned(),
                wrapper: false,
                unnamed: false,
            });
        }
        for passage in self
            .publishes
            .iter()
            .chain(self.held.iter().map(|held| &held.passage))
        {
            if let (Some(text), Some(actor)) = (&passage.message.traceback, &passage.message.actor) {
                raised.push(Raised {
                    n: passage.n,
                    at_ms: passage.at_ms,
                    trace: self.framework().traceback(text),
                    actor: actor.clone(),
                    text: text.clone(),
                    wrapper: false,
                    unnamed: false,
                });
            }
        }
        raised.retain(|raised| !self.is_of_an_earlier_attempt(raised.at_ms));
        raised.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        let unseen = self.timeline.setup.entry_pattern.is_some() && self.entries.is_empty();
        let not_entered = unseen && self.could_see_entry();
        for raised in raised.iter_mut().filter(|_| unseen) {
            let Some(trace) = &raised.trace else { continue };
            raised.wrapper = not_entered && trace.only_wrappers(&raised.actor);
            raised.unnamed = !trace.names(&raised.actor);
        }
        self.raised = raised;
    }

    /// The limit was that of another task, for whose result this one waited: its own is told of in a line.
    pub(in crate::diagnosis) fn is_limit_of_another(&self, raised: &Raised) -> bool {
        let own = self.line(|mark| matches!(mark, LogEvent::TimeLimit | LogEvent::KilledAtTimeLimit));
        raised.is_rethrown(&self.framework().stack) && own.is_none()
    }

    /// Attempts that raised, in order.
    pub fn raised(&self) -> &[Raised] {
        &self.raised
    }
}
