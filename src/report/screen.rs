//! The first screen of a terminal: what is wrong, who acts, where the message is, what proves it and
//! what to do, on 22 lines of 80 columns, the verdict last. `-v` shows everything else.

use unicode_width::UnicodeWidthStr;

use super::terminal::{event_line, hanging, isolated, sign};
use super::unseen;
use super::words;
use super::{Report, Style};
use crate::diagnosis::{Outcome, Scenario};
use crate::text::{flat, packed, wrapped};

/// A terminal of 24 lines keeps room for the command and the prompt.
const LINES: usize = 22;

/// What is shown, and what yields first where not everything has room.
#[derive(Clone, Copy)]
struct Budget {
    ids: bool,
    unseen: bool,
    remedies: usize,
    evidence: usize,
    /// Links of the chain beyond its two ends.
    between: bool,
    also: usize,
    /// Lines of one text.
    lines: usize,
    /// Empty lines between the parts.
    air: bool,
}

const BUDGETS: &[Budget] = &{
    const ALL: Budget = Budget {
        ids: true,
        unseen: true,
        remedies: 3,
        evidence: 4,
        between: true,
        also: 3,
        lines: 6,
        air: true,
    };
    const NO_IDS: Budget = Budget { ids: false, ..ALL };
    const SEEN: Budget = Budget {
        unseen: false,
        ..NO_IDS
    };
    const TWO_REMEDIES: Budget = Budget { remedies: 2, ..SEEN };
    const TWO_PROOFS: Budget = Budget {
        evidence: 2,
        ..TWO_REMEDIES
    };
    const ENDS: Budget = Budget {
        between: false,
        ..TWO_PROOFS
    };
    const SHORT: Budget = Budget {
        also: 1,
        lines: 3,
        air: false,
        ..ENDS
    };
    const SHORTER: Budget = Budget {
        also: 0,
        lines: 2,
        ..SHORT
    };
    const LEAST: Budget = Budget {
        remedies: 1,
        evidence: 1,
        ..SHORTER
    };
    [
        ALL,
        NO_IDS,
        SEEN,
        TWO_REMEDIES,
        TWO_PROOFS,
        ENDS,
        SHORT,
        SHORTER,
        LEAST,
    ]
};

pub(super) fn draw(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for budget in BUDGETS {
        text = drawn(report, style, *budget);
        if text.lines().count() <= LINES {
            break;
        }
    }
    text
}

fn drawn(report: &Report, style: Style, budget: Budget) -> String {
    let screen = Screen {
        report,
        style,
        budget,
    };
    let mut parts = vec![screen.head()];
    parts.push(screen.stages());
    parts.push(screen.because());
    parts.extend(screen.remedies());
    parts.extend(screen.rest());
    parts.extend(isolated(report, style));
    parts.push(screen.last_line());
    parts.join("\n")
}

struct Screen<'r> {
    report: &'r Report,
    style: Style,
    budget: Budget,
}

impl Screen<'_> {
    /// The verdict as a sentence, the scenario below it, who acts, and where the message is.
    fn head(&self) -> String {
        let style = self.style;
        let certainty = self
            .report
            .cause
            .as_ref()
            .map_or("", |cause| cause.certainty.name());
        let room = style.width().saturating_sub(certainty.len() + 2);
        let mut lines = wrapped(&format!("{} {}", self.sign(), words::sentence(self.report)), room);
        if let Some(first) = lines.first_mut() {
            let gap = style.width().saturating_sub(first.width() + certainty.len());
            *first = format!(
                "{}{}{certainty}",
                style.paint(self.color(), first),
                " ".repeat(gap)
            );
        }
        let below = words::scenario_and_outcome(self.report);
        let below = wrapped(&below, style.width().saturating_sub(2));
        lines.extend(below.iter().map(|line| style.dim(&format!("  {line}"))));
        for (name, text) in words::facts(self.report, self.style) {
            lines.push(self.field(name, &text));
        }
        lines.join("\n")
    }

    fn field(&self, name: &str, text: &str) -> String {
        let head = format!("  {name:<10} ");
        self.clipped(&head, text, 13)
    }

    /// Wrapped at an indent, and cut where the screen has no room for all of it.
    fn clipped(&self, head: &str, text: &str, indent: usize) -> String {
        let most = self.budget.lines;
        let text = hanging(head, text, indent, self.style);
        match text.lines().count() > most {
            false => text,
            true => {
                let kept: Vec<&str> = text.lines().take(most).collect();
                let kept = kept.join("\n");
                let whole = kept.rsplit_once(' ').map_or(kept.as_str(), |(whole, _)| whole);
                format!("{whole} …")
            }
        }
    }

    fn sign(&self) -> &'static str {
        let good = match self.report.scenario {
            _ if words::is_good(self.report) => Some(true),
            Some(_) => Some(false),
            None => None,
        };
        sign(good, self.style.ascii).0
    }

    fn color(&self) -> &'static str {
        match (self.report.scenario, self.report.outcome) {
            (Some(Scenario::A), Outcome::Succeeded) => "1;32",
            (Some(Scenario::A), _) => "1;33",
            (Some(Scenario::B) | None, _) => "1;31",
            (Some(Scenario::C), _) => "1;35",
        }
    }

    /// All on one line or two; the first that was missed with what was seen instead.
    fn stages(&self) -> String {
        let stages = &self.report.stages;
        let last = stages.iter().rposition(|stage| stage.reached == Some(true));
        let missed = words::blamed(self.report);
        let report = self.report;
        let clock = report
            .clock(0.0, self.style)
            .map(|clock| match report.setup.post_mortem {
                true => format!("looked at {clock}"),
                false => format!("from {clock}"),
            });
        let mut pieces = Vec::from_iter(clock);
        for (at, stage) in stages.iter().enumerate() {
            let beyond =
                last.is_none_or(|last| at > last) && missed.is_some_and(|missed| stage.stage > missed);
            if beyond {
                pieces.push("rest not reached".to_owned());
                break;
            }
            let time = stage
                .at_ms
                .map(|at| format!(" {}", report.moment(at, self.style)))
                .unwrap_or_default();
            let (sign, _) = sign(stage.reached, self.style.ascii);
            pieces.push(format!("{} {sign}{time}", stage.stage.name()));
        }
        let room = self.style.width().saturating_sub(2);
        let mut lines: Vec<String> = packed(&pieces, "   ", room)
            .iter()
            .map(|line| format!("  {}", self.with_signs(line)))
            .collect();
        let why = stages.iter().find(|stage| Some(stage.stage) == missed);
        if let Some((stage, why)) = why.and_then(|stage| Some((stage, stage.observed.as_ref()?))) {
            lines.push(self.clipped("  ", &format!("{}: {why}", stage.stage.name()), 4));
        }
        match self.budget.air {
            true => format!("\n{}\n", lines.join("\n")),
            false => lines.join("\n"),
        }
    }

    /// Colour takes no room, so it comes after the words have found theirs.
    fn with_signs(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for reached in [Some(true), Some(false), None] {
            let (sign, code) = sign(reached, self.style.ascii);
            line = line.replace(&format!(" {sign}"), &format!(" {}", self.style.paint(code, sign)));
        }
        line
    }

    fn because(&self) -> String {
        let Some(cause) = &self.report.cause else {
            return self.clipped(
                &format!("{} ", self.style.bold("Because")),
                &words::no_cause(self.report),
                8,
            );
        };
        let mut lines = vec![self.clipped(&format!("{} ", self.style.bold("Because")), &cause.summary, 8)];
        // The first of them prove the most; people read them in the order in which they happened.
        let most = cause.evidence.len().min(self.budget.evidence);
        let evidence = self.report.in_time(&cause.evidence[..most]);
        lines.extend(
            evidence
                .into_iter()
                .map(|event| event_line(self.report, event, self.style)),
        );
        let effects = &cause.explains;
        for (at, effect) in effects.iter().enumerate() {
            if self.budget.between || at + 1 == effects.len() {
                lines.push(self.field("Explains", &words::effect(effect)));
            }
        }
        for premise in &cause.premises {
            lines.push(self.field("Holds", premise));
        }
        lines.join("\n")
    }

    fn remedies(&self) -> Option<String> {
        let remedies = words::remedies(self.report);
        let mut lines = vec![self.style.bold("Do now")];
        for (at, remedy) in remedies.iter().take(self.budget.remedies).enumerate() {
            lines.push(self.clipped(&format!("  {}. ", at + 1), remedy, 5));
        }
        (!remedies.is_empty()).then(|| lines.join("\n"))
    }

    fn rest(&self) -> Vec<String> {
        let report = self.report;
        let mut lines = Vec::new();
        let seen = report
            .contributing
            .iter()
            .map(|other| format!("{} ({}): {}", other.id, other.certainty.name(), other.summary));
        let differences = report.environment.difference_lines();
        let differences = differences
            .iter()
            .map(|line| format!("API and worker differ: {line}"));
        let also = seen.chain(differences).chain(report.notes.iter().cloned());
        lines.extend(also.take(self.budget.also).map(|text| self.field("Also", &text)));
        if self.budget.unseen {
            let unseen = unseen::blind(report);
            lines.extend(unseen.iter().map(|source| {
                let hint = source
                    .hint
                    .as_deref()
                    .map(|hint| format!(": {hint}"))
                    .unwrap_or_default();
                self.field(
                    "Not seen",
                    &format!("{}, {}{hint}", source.name, flat(&source.reason)),
                )
            }));
        }
        if self.budget.ids {
            let ids: Vec<String> = words::subject(report)
                .iter()
                .map(|(name, value)| format!("{name} {}", flat(value)))
                .collect();
            lines.extend(
                packed(&ids, " · ", self.style.width())
                    .iter()
                    .map(|line| self.style.dim(line)),
            );
        }
        lines
    }

    /// What is read last stays on the screen: the verdict, and where more of it is.
    fn last_line(&self) -> String {
        let certain = match &self.report.cause {
            Some(cause) => format!("{} {} ({})", self.sign(), cause.id, cause.certainty.name()),
            None if words::was_stopped(self.report) => {
                format!("{} stopped by you, no cause yet", self.sign())
            }
            None => format!("{} no cause could be proved", self.sign()),
        };
        let more = format!("{} · -v shows all", words::more(self.report));
        let pieces = [self.style.paint(self.color(), &certain), self.style.dim(&more)];
        let gap = self.style.width().saturating_sub(certain.width() + more.width());
        match gap {
            0 | 1 => pieces[0].clone(),
            _ => pieces.join(&" ".repeat(gap)),
        }
    }
}
