//! What was asked for, checked; and which queues are worth looking at closely.

use std::time::Duration;

use crate::cli::Watch;
use crate::error::{Error, Result};
use crate::framework::dramatiq::{dead_letter_queue, delay_queue};
use crate::vantage::live::Wanted;
use crate::watch::family::Family;
use crate::watch::pick::Pick;
use crate::watch::sight::Eye;
use crate::watch::state::{Limits, State};
use crate::watch::until::Condition;
use crate::watch::{Board, EyeState};

pub struct Plan {
    pub pick: Pick,
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
        let pick = if args.all { Pick::all() } else { pick(&args.queue)? };
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
            pick,
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
        if self.pick.exact().is_some_and(<[String]>::is_empty) {
            self.pick = pick(&[queue.to_owned()])?;
        }
        Ok(())
    }

    /// The queues to look at closely: those on screen, or without a screen those with something to
    /// see. Hidden ones that hold messages are asked now and then who consumes them.
    pub fn wanted(&self, board: &Board, shown: Option<&[String]>) -> Wanted {
        let mut wanted = Wanted::default();
        let families = board.families();
        let mut closely: Vec<&String> = match shown {
            Some(shown) => shown.iter().filter(|name| families.contains_key(*name)).collect(),
            None if families.len() <= CLOSELY => families.keys().collect(),
            None => families
                .iter()
                .filter(|(_, family)| is_busy(family))
                .map(|(name, _)| name)
                .take(CLOSELY)
                .collect(),
        };
        // Those that were named come first, so that they are seen first.
        if shown.is_none() {
            closely.sort_by_key(|name| !self.pick.names().contains(name));
        }
        let listless = matches!(board.eye(Eye::Management), EyeState::Closed { .. });
        for name in &closely {
            let Some(family) = families.get(*name) else {
                continue;
            };
            wanted.often.push((*name).clone());
            for (queue, companion) in [
                (delay_queue(name), &family.delay),
                (dead_letter_queue(name), &family.dead),
            ] {
                // Each look at a missing queue is a line in the broker's log: only where no list
                // can tell whether it is there.
                if companion.exists == Some(true) || (listless && self.pick.exact().is_some()) {
                    wanted.seldom.push(queue);
                }
            }
            wanted.details.push((*name).clone());
            // What becomes of delayed messages is counted there.
            if family.delay.exists == Some(true)
                && (families.len() <= FEW || family.motion.leaving_delay.saw_any())
            {
                wanted.details.push(delay_queue(name));
            }
        }
        if families.len() > closely.len() {
            let hidden = families
                .iter()
                .filter(|(name, family)| holds_ready(family) && !closely.contains(name))
                .map(|(name, _)| name.clone())
                .take(HIDDEN);
            wanted.seldom.extend(hidden);
        }
        wanted
    }
}

fn pick(words: &[String]) -> Result<Pick> {
    Pick::new(words).map_err(|seen| Error::Usage {
        message: format!("--queue {seen}"),
        hint: "a glob knows * ? [a-z] {a,b}; quote it, so that the shell leaves it alone".into(),
    })
}

fn holds_ready(family: &Family) -> bool {
    family
        .main
        .totals
        .is_some_and(|totals| totals.value.ready.is_some_and(|ready| ready > 0))
}

fn is_busy(family: &Family) -> bool {
    family.main.total().is_some_and(|total| total > 0)
        || family.motion.leaving.saw_any()
        || !family.is_accounted_for()
}

/// Looked at something, at least in the end.
pub fn could_look(board: &Board) -> bool {
    board.has_seen()
}

/// Where things stand, for the last words.
pub fn summary(board: &Board) -> String {
    let families = board.families();
    if families.is_empty() {
        return "no queue was seen".into();
    }
    // What left and is not known to be done comes first: that is why `consumed` is not met.
    let mut worst: Vec<(bool, State, &String)> = families
        .iter()
        .map(|(name, family)| (family.is_accounted_for(), board.state(name).0, name))
        .collect();
    worst.sort();
    let mut texts: Vec<String> = worst
        .iter()
        .take(3)
        .map(|(_, state, name)| format!("{name} is `{}`: {}", state.word(), board.state(name).1))
        .collect();
    if worst.len() > texts.len() {
        texts.push(format!("{} more queues", worst.len() - texts.len()));
    }
    texts.join("; ")
}

fn duration(flag: &str, text: &str) -> Result<Duration> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Error::Usage {
            message: format!("{flag} {text}: not a duration above zero"),
            hint: format!("write it with a unit, e.g. {flag} 30s"),
        })
}
