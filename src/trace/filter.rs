//! Which events are asked for. One of each kind of filter must fit, and all kinds.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;

use super::{EventDetails, TraceKind};
use crate::framework::{Queues, WantedId};

#[derive(Debug, Default)]
pub struct Filter {
    queues: Vec<Name>,
    actors: Vec<Name>,
    tasks: Vec<WantedId>,
    patterns: Vec<Regex>,
}

/// A name as it stands, or with `*`, `?` and `[…]`.
#[derive(Debug)]
enum Name {
    Plain(String),
    Glob(GlobMatcher),
}

impl Name {
    fn new(text: &str) -> Result<Self, String> {
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(Name::Plain(text.to_owned()));
        }
        GlobBuilder::new(text)
            .literal_separator(false)
            .build()
            .map(|glob| Name::Glob(glob.compile_matcher()))
            .map_err(|error| error.to_string())
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Name::Plain(wanted) => wanted == name,
            Name::Glob(glob) => glob.is_match(name),
        }
    }

    /// A plain name means the queue with its delay and dead-letter queue.
    fn is_queue(&self, queue: &str, queues: &Queues) -> bool {
        self.is(queue) || matches!(self, Name::Plain(wanted) if wanted == queues.base(queue))
    }
}

impl Filter {
    /// Fails with the option that is wrong and why.
    pub fn new(
        queues: &[String],
        actors: &[String],
        tasks: &[String],
        patterns: &[String],
    ) -> Result<Self, (&'static str, String)> {
        let names = |option, texts: &[String]| {
            texts
                .iter()
                .map(|text| Name::new(text).map_err(|error| (option, format!("{text}: {error}"))))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            queues: names("--queue", queues)?,
            actors: names("--actor", actors)?,
            tasks: tasks.iter().map(|task| WantedId::new(task)).collect(),
            patterns: patterns
                .iter()
                .map(|pattern| {
                    Regex::new(pattern).map_err(|error| {
                        // Its last line says what is wrong; those before draw it.
                        let text = error.to_string();
                        let last = text.lines().next_back().unwrap_or_default();
                        (
                            "--grep",
                            format!("{pattern}: {}", last.trim_start_matches("error: ")),
                        )
                    })
                })
                .collect::<Result<_, _>>()?,
        })
    }

    /// Binding keys for all that can pass: of plain queue names only their deliveries.
    pub fn binding_keys(&self, queues: &Queues) -> Vec<String> {
        let mut keys = vec!["publish.#".to_owned()];
        let plain: Option<Vec<&String>> = self
            .queues
            .iter()
            .map(|name| match name {
                Name::Plain(name) if name.len() < 240 => Some(name),
                _ => None,
            })
            .collect();
        match plain.filter(|names| !names.is_empty()) {
            None => keys.push("deliver.#".to_owned()),
            Some(names) => {
                for name in names {
                    let family = queues.family(name).into_iter();
                    keys.extend(family.map(|(_, queue)| format!("deliver.{queue}")));
                }
            }
        }
        keys
    }

    /// Ids to look for among the arguments.
    pub fn ids(&self) -> &[WantedId] {
        &self.tasks
    }

    pub fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// One of the patterns stands in the text that would be shown.
    pub fn matches(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(text))
    }

    /// All but the patterns. `found`: one of the ids is among the arguments.
    pub fn passes(&self, seen: &EventDetails<'_, '_>, found: bool) -> bool {
        self.passes_queue(seen) && self.passes_actor(seen) && self.passes_task(seen, found)
    }

    fn passes_queue(&self, seen: &EventDetails<'_, '_>) -> bool {
        if self.queues.is_empty() {
            return true;
        }
        let wanted = |queue: &str| {
            self.queues
                .iter()
                .any(|name| name.is_queue(queue, &seen.framework.queues))
        };
        match &seen.event.kind {
            TraceKind::Deliver { queue, .. } => wanted(queue),
            // A message that was routed nowhere is asked for by its key.
            TraceKind::Publish { queues, .. } => {
                wanted(seen.queue) || queues.iter().any(|queue| wanted(queue))
            }
        }
    }

    fn passes_actor(&self, seen: &EventDetails<'_, '_>) -> bool {
        self.actors.is_empty()
            || seen
                .message
                .as_ref()
                .ok()
                .and_then(|message| message.actor.as_deref())
                .is_some_and(|actor| self.actors.iter().any(|name| name.is(actor)))
    }

    fn passes_task(&self, seen: &EventDetails<'_, '_>, found: bool) -> bool {
        if self.tasks.is_empty() || found {
            return true;
        }
        match &seen.message {
            Ok(message) if message.known => message
                .message_id
                .as_deref()
                .is_some_and(|id| self.tasks.iter().any(|task| task.is(id))),
            _ => {
                let text = String::from_utf8_lossy(&seen.event.envelope.body);
                self.tasks.iter().any(|task| task.is_in(&text))
            }
        }
    }
}
