//! What was asked for, checked; and which queues are worth looking at closely.

use std::time::Duration;

use crate::cli::Watch;
use crate::commands::duration;
use crate::error::{Error, Result};
use crate::framework::Role;
use crate::vantage::live::Wanted;
use crate::watch::group::QueueGroup;
use crate::watch::observation::Probe;
use crate::watch::selector::QueueSelector;
use crate::watch::state::{Limits, State};
use crate::watch::until::Condition;
use crate::watch::{Connectivity, QueueModel};

pub struct Plan {
    pub selector: QueueSelector,
    pub limits: Limits,
    pub until: Vec<Condition>,
    pub fail_on: Vec<Condition>,
    pub duration: Option<Duration>,
    pub every: Duration,
}

/// Without a table nobody says which rows he looks at: so many are looked at closely.
const CLOSELY: usize = 50;

/// Queues that hold messages and are not on screen are asked for their consumers one after the
/// other; so many at most take part.
const HIDDEN: usize = 1000;

/// Of so few queues the delay queue's statistics are read before it has anything.
const FEW: usize = 5;

impl Plan {
    /// What is wrong with the command line is said before any configuration is looked for.
    pub fn new(args: &Watch) -> Result<Self> {
        let selector = if args.all {
            QueueSelector::all()
        } else {
            select(&args.queue)?
        };
        let conditions = |flag: &str, texts: &[String]| {
            texts
                .iter()
                .map(|text| {
                    text.parse::<Condition>().map_err(|seen| Error::Usage {
                        message: format!("{flag} {text}: {seen}"),
                        hint: format!("e.g. {flag} empty, {flag} 'ready>100,consumers=0'"),
                    })
                })
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            selector,
            limits: Limits {
                held: duration("--stuck-after", &args.stuck_after)?,
                ..Limits::default()
            },
            until: conditions("--until", &args.until)?,
            fail_on: conditions("--fail-on", &args.fail_on)?,
            duration: args
                .duration
                .as_ref()
                .map(|text| duration("--for", text))
                .transpose()?,
            every: duration("--interval", &args.interval)?,
        })
    }

    /// Without --queue and --all: the queue of the configuration.
    pub fn default_queue(&mut self, queue: &str) -> Result<()> {
        if self.selector.exact().is_some_and(<[String]>::is_empty) {
            self.selector = select(&[queue.to_owned()])?;
        }
        Ok(())
    }

    /// The queues to look at closely: those on screen, or without a screen those with something to
    /// see. Hidden ones that hold messages are asked now and then who consumes them.
    pub fn wanted(&self, model: &QueueModel, shown: Option<&[String]>) -> Wanted {
        let mut wanted = Wanted::default();
        let groups = model.groups();
        let mut closely: Vec<&String> = match shown {
            Some(shown) => shown.iter().filter(|name| groups.contains_key(*name)).collect(),
            None if groups.len() <= CLOSELY => groups.keys().collect(),
            None => groups
                .iter()
                .filter(|(_, group)| is_busy(group))
                .map(|(name, _)| name)
                .take(CLOSELY)
                .collect(),
        };
        // Those that were named come first, so that they are seen first.
        if shown.is_none() {
            closely.sort_by_key(|name| !self.selector.names().contains(name));
        }
        let listless = matches!(model.connectivity(Probe::Management), Connectivity::Closed { .. });
        for name in &closely {
            let Some(group) = groups.get(*name) else {
                continue;
            };
            wanted.often.push((*name).clone());
            let queues = self.selector.queues();
            let companions = [Role::Delay, Role::DeadLetter].map(|role| (queues.companion(name, role), role));
            for (queue, role) in companions {
                let (Some(queue), companion) = (queue, group.queue(role)) else {
                    continue;
                };
                // Each look at a missing queue is a line in the broker's log: only where no list
                // can tell whether it is there.
                if companion.exists == Some(true) || (listless && self.selector.exact().is_some()) {
                    wanted.seldom.push(queue);
                }
            }
            wanted.details.push((*name).clone());
            // What becomes of delayed messages is counted there.
            if group.delay.exists == Some(true) && (groups.len() <= FEW || group.delay_ledger.saw_any()) {
                wanted.details.extend(queues.delay(name));
            }
        }
        if groups.len() > closely.len() {
            let hidden = groups
                .iter()
                .filter(|(name, group)| holds_ready(group) && !closely.contains(name))
                .map(|(name, _)| name.clone())
                .take(HIDDEN);
            wanted.seldom.extend(hidden);
        }
        wanted.details.extend(model.workers().mailboxes(model.now()));
        wanted
    }
}

fn select(words: &[String]) -> Result<QueueSelector> {
    QueueSelector::new(words).map_err(|seen| Error::Usage {
        message: format!("--queue {seen}"),
        hint: "a glob knows * ? [a-z] {a,b}; quote it, so that the shell leaves it alone".into(),
    })
}

fn holds_ready(group: &QueueGroup) -> bool {
    group
        .main
        .totals
        .latest()
        .is_some_and(|totals| totals.value.ready.is_some_and(|ready| ready > 0))
}

fn is_busy(group: &QueueGroup) -> bool {
    group.main.total().is_some_and(|total| total > 0) || group.ledger.saw_any() || !group.is_accounted_for()
}

/// Looked at something, at least in the end.
pub fn could_look(model: &QueueModel) -> bool {
    model.has_seen()
}

/// Where things stand, for the last words.
pub fn summary(model: &QueueModel) -> String {
    let groups = model.groups();
    if groups.is_empty() {
        return "no queue was seen".into();
    }
    // What left and is not known to be done comes first: that is why `consumed` is not met.
    let mut worst: Vec<(bool, State, &String)> = groups
        .iter()
        .map(|(name, group)| (group.is_accounted_for(), model.state(name).0, name))
        .collect();
    worst.sort();
    let mut texts: Vec<String> = worst
        .iter()
        .take(3)
        .map(|(_, state, name)| format!("{name} is `{}`: {}", state.word(), model.state(name).1))
        .collect();
    if worst.len() > texts.len() {
        texts.push(format!("{} more queues", worst.len() - texts.len()));
    }
    texts.join("; ")
}
