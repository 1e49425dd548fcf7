//! The first screen of a terminal: what is wrong, who acts, where the message is, what proves it and
//! what to do, on 22 lines of 80 columns, the verdict last. `-v` shows everything else.

use std::cell::Cell;

use unicode_width::UnicodeWidthStr;

use super::budget::{BUDGETS, Budget};
use super::evidence::Table;
use super::layout::hanging;
use super::paths::{Place, only_names};
use super::terminal::sign;
use super::unseen;
use super::words;
use super::{Report, Style};
use crate::diagnosis::{Outcome, Scenario};
use crate::text::{excerpt_of, flat, packed, wrapped};

/// A terminal of 24 lines keeps room for the command and the prompt.
const LINES: usize = 22;

/// Characters of an exception: its last words often say who and what.
const EXCEPTION: usize = 320;

/// Where the text of a field begins.
const INDENT: usize = 13;

pub(super) fn draw(report: &Report, style: Style) -> String {
    let mut text = String::new();
    for budget in BUDGETS {
        text = drawn(report, style, *budget, 0);
        let lines = text.lines().count();
        if lines <= LINES {
            // What is left makes texts whole that are cut.
            return drawn(report, style, *budget, LINES - lines);
        }
    }
    text
}

fn drawn(report: &Report, style: Style, budget: Budget, spare: usize) -> String {
    let screen = Screen {
        report,
        style,
        budget,
        spare: Cell::new(spare),
    };
    let mut parts = vec![screen.head()];
    parts.push(screen.stages());
    parts.push(screen.because());
    parts.extend(screen.remedies());
    parts.extend(screen.rest());
    parts.extend(screen.isolated());
    parts.push(screen.last_line());
    parts.join("\n")
}

struct Screen<'r> {
    report: &'r Report,
    style: Style,
    budget: Budget,
    /// Lines beyond the budget that nobody has taken yet.
    spare: Cell<usize>,
}

impl Screen<'_> {
    /// The verdict as a sentence, the scenario below it, who acts, and where the message is.
    fn head(&self) -> String {
        let style = self.style;
        let certainty = self
            .report
            .verdict
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
        let below = format!(
            "Scenario {} · {}",
            words::scenario(self.report),
            self.report.verdict.outcome.name()
        );
        let below = wrapped(&below, style.width().saturating_sub(2));
        lines.extend(below.iter().map(|line| style.dim(&format!("  {line}"))));
        for (name, text) in words::facts(self.report, self.style) {
            match name {
                words::EXCEPTION => lines.extend(self.exception()),
                _ => lines.push(self.field(name, &text)),
            }
        }
        lines.join("\n")
    }

    /// What was raised, and the application's own frames, a line each: the last one is the place to look at, and
    /// is never cut.
    fn exception(&self) -> Vec<String> {
        let Some(raised) = &self.report.verdict.traceback else {
            return Vec::new();
        };
        let said = excerpt_of(&raised.exception, EXCEPTION);
        let text = format!("{said} [#{}]", raised.evidence);
        let mut lines = vec![self.field(words::EXCEPTION, &text)];
        let own: Vec<_> = raised.frames.iter().filter(|frame| frame.application).collect();
        let room = self.style.width().saturating_sub(INDENT);
        for frame in &own[own.len().saturating_sub(self.budget.frames)..] {
            let place = Place::of(frame, self.report, self.style);
            lines.push(format!("{}{}", " ".repeat(INDENT), place.fit(room)));
        }
        lines
    }

    fn field(&self, name: &str, text: &str) -> String {
        let head = format!("  {name:<10} ");
        self.clipped(&head, text, INDENT)
    }

    /// A text as it stands within the budget, or whole if what is spare makes it so.
    fn whole_or(&self, whole: String, budget: usize, cut: impl FnOnce() -> String) -> String {
        if whole.lines().count() <= budget {
            return whole;
        }
        let cut = cut();
        let more = whole.lines().count().saturating_sub(cut.lines().count());
        match self.spare.get().checked_sub(more) {
            Some(left) => {
                self.spare.set(left);
                whole
            }
            None => cut,
        }
    }

    /// A remedy; what has no room goes with the clause that it stands in, so that a whole sentence is left.
    fn remedy(&self, head: &str, text: &str, indent: usize) -> String {
        let text = super::paths::shortened(text, self.report, self.style);
        let drawn = |text: &str| hanging(head, text, indent, self.style);
        self.whole_or(drawn(&text), self.budget.lines, || {
            let fits = |clause: &str| drawn(clause).lines().count() <= self.budget.lines;
            match words::clause(&text, fits) {
                Some(clause) => drawn(clause),
                None => self.cut(&drawn(&text)),
            }
        })
    }

    /// Wrapped at an indent, and cut where the screen has no room for all of it: at the end of a clause where most of
    /// what has room stands before one.
    fn clipped(&self, head: &str, text: &str, indent: usize) -> String {
        let text = super::paths::shortened(text, self.report, self.style);
        let drawn = |text: &str| hanging(head, text, indent, self.style);
        let whole = drawn(&text);
        self.whole_or(whole.clone(), self.budget.lines, || {
            let lines = |clause: &str| drawn(clause).lines().count();
            let clause = words::clause(&text, |clause| lines(clause) <= self.budget.lines);
            match clause.filter(|clause| lines(clause) == self.budget.lines) {
                // The end of a sentence keeps its full stop.
                Some(clause) if text[clause.len()..].starts_with('.') => drawn(&text[..=clause.len()]),
                Some(clause) => drawn(clause),
                None => self.cut(&whole),
            }
        })
    }

    fn cut(&self, whole: &str) -> String {
        let kept: Vec<&str> = whole.lines().take(self.budget.lines).collect();
        let kept = kept.join("\n");
        // A sentence that is whole needs no sign that another one is missing.
        let last = kept.len() - kept.rsplit('\n').next().map_or(0, str::len);
        if let Some(end) = kept.rfind(". ").filter(|end| *end > last) {
            return kept[..=end].to_owned();
        }
        let whole = kept.rsplit_once(' ').map_or(kept.as_str(), |(whole, _)| whole);
        format!("{whole} …")
    }

    fn sign(&self) -> &'static str {
        sign(words::good(self.report), self.style.ascii).0
    }

    fn color(&self) -> &'static str {
        match (self.report.verdict.scenario, self.report.verdict.outcome) {
            (Some(Scenario::A), Outcome::Succeeded) => "1;32",
            (Some(Scenario::A), _) => "1;33",
            (Some(Scenario::B) | None, _) => "1;31",
            (Some(Scenario::C), _) => "1;35",
        }
    }

    /// All on one line or two; the first that was missed with what was seen instead.
    fn stages(&self) -> String {
        let stages = &self.report.verdict.stages;
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
            let time = report
                .reached_at(stage.at_ms, self.style)
                .map(|time| format!(" {time}"))
                .unwrap_or_default();
            let (sign, _) = sign(stage.reached, self.style.ascii);
            pieces.push(format!("{} {sign}{time}", stage.stage.name()));
        }
        let room = self.style.width().saturating_sub(2);
        let mut lines: Vec<String> = packed(&pieces, "   ", room)
            .iter()
            .map(|line| format!("  {}", self.with_signs(line)))
            .collect();
        let why = stages
            .iter()
            .find(|stage| self.budget.missed && Some(stage.stage) == missed);
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
        let Some(cause) = &self.report.verdict.cause else {
            return self.clipped(
                &format!("{} ", self.style.bold("Because")),
                &words::no_cause(self.report),
                8,
            );
        };
        let summary = words::without_place(self.report, &cause.summary);
        // Where there is no room for it twice.
        let summary = match self.budget.lines > 4 {
            true => summary,
            false => words::without_message(self.report, &summary),
        };
        let mut lines = vec![self.clipped(&format!("{} ", self.style.bold("Because")), &summary, 8)];
        // The first of them prove the most; people read them in the order in which they happened.
        let most = cause.evidence.len().min(self.budget.evidence);
        let evidence = self.report.in_time(&cause.evidence[..most]);
        let table = Table::of(self.report, &evidence, self.style);
        lines.extend(evidence.iter().map(|event| {
            let proof = self.budget.proof;
            let line = |most| table.line(event, &summary, most);
            self.whole_or(line(LINES), proof, || line(proof))
        }));
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
            let remedy = words::without_exception(self.report, remedy);
            lines.push(self.remedy(&format!("  {}. ", at + 1), remedy, 5));
        }
        (!remedies.is_empty()).then(|| lines.join("\n"))
    }

    fn rest(&self) -> Vec<String> {
        let report = self.report;
        let mut lines = Vec::new();
        let seen = report
            .verdict
            .contributing
            .iter()
            .map(|other| format!("{} ({}): {}", other.id, other.certainty.name(), other.summary));
        let differences = report.environment.difference_lines();
        let differences = differences
            .iter()
            .map(|line| format!("API and worker differ: {line}"));
        let also = seen
            .chain(differences)
            .chain(report.verdict.notes.iter().cloned());
        // The one look that would tell more comes before what is only good to know.
        let (next, also): (Vec<String>, Vec<String>) = also.partition(|text| text.starts_with(words::NEXT));
        let next = next
            .iter()
            .map(|text| ("Next", text.trim_start_matches(words::NEXT)));
        let also = next.chain(also.iter().map(|text| ("Also", text.as_str())));
        let also = also
            .take(self.budget.also)
            .map(|(name, text)| self.field(name, text));
        lines.extend(also);
        let unseen = unseen::blind(report);
        if !self.budget.unseen && self.budget.air && !unseen.is_empty() {
            let names: Vec<&str> = unseen.iter().map(|source| source.name.name()).collect();
            lines.push(self.field("Not seen", &names.join(", ")));
        }
        if self.budget.unseen {
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
        let ids = match self.budget.ids {
            true => words::subject(report),
            false => Vec::new(),
        };
        let mut below: Vec<String> = ids
            .iter()
            .map(|(name, value)| format!("{name} {}", flat(value)))
            .collect();
        if self.first_step().is_some() {
            below.extend([words::more(self.report), "-v shows all".to_owned()]);
        }
        let below = packed(&below, " · ", self.style.width());
        lines.extend(below.iter().map(|line| self.style.dim(line)));
        lines
    }

    /// What `--isolate` proved; its steps stand below `-v`.
    fn isolated(&self) -> Option<String> {
        let isolation = self.report.isolation.as_ref()?;
        let head = format!("{} ", self.style.bold("Isolated"));
        Some(hanging(&head, &isolation.conclusion, 9, self.style))
    }

    /// Where more of it stands.
    fn more(&self) -> String {
        format!("{} · -v shows all", words::more(self.report))
    }

    /// What to do first, as the last line says it.
    fn first_step(&self) -> Option<String> {
        let first = words::remedies(self.report).first()?;
        let first = words::without_exception(self.report, first);
        let short = super::paths::shortened(first, self.report, self.style);
        Some(only_names(&short))
    }

    /// What is read last stays on the screen: the verdict, and what to do.
    fn last_line(&self) -> String {
        let verdict = match &self.report.verdict.cause {
            Some(cause) => format!("{} {} ({})", self.sign(), cause.id, cause.certainty.name()),
            None if words::was_stopped(self.report) => {
                format!("{} stopped by you, no cause yet", self.sign())
            }
            None => format!("{} no cause could be proved", self.sign()),
        };
        if let Some(step) = self.first_step() {
            let room = self.style.width().saturating_sub(verdict.width() + 2);
            let line = format!("{verdict}: {}", words::in_short(&step, room));
            return self.style.paint(self.color(), &line);
        }
        let more = self.more();
        let pieces = [self.style.paint(self.color(), &verdict), self.style.dim(&more)];
        let gap = self.style.width().saturating_sub(verdict.width() + more.width());
        match gap {
            0 | 1 => pieces[0].clone(),
            _ => pieces.join(&" ".repeat(gap)),
        }
    }
}
