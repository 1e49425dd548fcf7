//! A comparison for people: the verdicts, then a table whose first row is the most telling
//! difference, then how far and how fast both came.

use super::facts::INCOMPLETE;
use super::{ComparedRun, Comparison, Difference, Pair, Side, Subject, rank};
use crate::diagnosis::Outcome;
use crate::text::{counted, flat, wrapped};
use crate::units::moment;

/// `width` in columns; `all`: the last row too.
pub fn render(comparison: &Comparison, width: u16, all: bool) -> String {
    let mut parts = vec![verdicts(comparison, width)];
    if comparison.differences.is_empty() {
        parts.push(nothing(comparison, width));
    } else {
        parts.push(differences(comparison, width, all));
    }
    parts.extend(not_compared(comparison, width, all));
    parts.push(stages(&comparison.stages, width));
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn verdicts(comparison: &Comparison, width: u16) -> String {
    let mut lines: Vec<String> = comparison
        .runs
        .iter()
        .zip(["first ", "second"])
        .map(|(run, ordinal)| {
            let text = format!("{}: {}", run.recording, verdict(run));
            format!(
                "{ordinal}  {}",
                indented(&text, width.saturating_sub(8), "        ")
            )
        })
        .collect();
    lines.push(if comparison.same_verdict {
        "The verdict is the same.".into()
    } else {
        "The verdicts differ.".into()
    });
    let [first, second] = &comparison.runs;
    if first.isolated != second.isolated {
        for (run, ordinal) in comparison.runs.iter().zip(["first ", "second"]) {
            let text = run.isolated.as_deref().unwrap_or("--isolate was not used");
            let text = indented(&format!("isolated: {text}"), width.saturating_sub(8), "        ");
            lines.push(format!("{ordinal}  {text}"));
        }
    }
    lines.join("\n")
}

fn verdict(run: &ComparedRun) -> String {
    let mut parts = vec![match run.scenario {
        Some(scenario) => format!("scenario {scenario:?}"),
        None => "no scenario".into(),
    }];
    parts.push(format!("outcome {}", run.outcome.name()));
    if run.outcome != Outcome::Succeeded {
        parts.push(match run.stage {
            Some(stage) => format!("came as far as {}", stage.name()),
            None => "no stage reached".into(),
        });
    }
    parts.push(match (&run.cause, run.certainty) {
        (Some(cause), Some(certainty)) => format!("cause {cause} ({})", certainty.name()),
        _ => "no cause shown".into(),
    });
    parts.join(", ")
}

fn nothing(comparison: &Comparison, width: u16) -> String {
    let not_all = comparison
        .not_compared
        .iter()
        .any(|skipped| !by_chance(skipped.subject));
    let mut text = String::from(if not_all {
        "No difference was seen in what could be compared; below is what could not."
    } else {
        "No difference was seen in environment, packages, interpreter, code folder, services or settings. Not recorded, \
         so not compared: the code itself, and what was submitted."
    });
    let cut = comparison
        .not_compared
        .iter()
        .any(|skipped| skipped.reason.ends_with(INCOMPLETE));
    if !comparison.same_verdict && cut {
        text.push_str(" The verdicts may differ for no other reason than that a recording is incomplete.");
    } else if !comparison.same_verdict {
        text.push_str(
            " What made the verdicts differ is something else: that, other data, timing, or what a process has set in \
             its own environment after its start.",
        );
    }
    wrapped(&text, usize::from(width)).join("\n")
}

/// Connections are opened when they are needed: not to have seen one of them is chance.
fn by_chance(subject: Option<Subject>) -> bool {
    matches!(
        subject,
        Some(Subject::BrokerAddress | Subject::DatabaseAddress | Subject::Vhost | Subject::ConsumerHosts)
    )
}

/// Rows shown of each kind that hardly ever matters, or of very many.
const MOST_ROWS: usize = 25;

/// So many packages that differ are shown one by one.
const FEW_PACKAGES: usize = 5;

fn differences(comparison: &Comparison, width: u16, all: bool) -> String {
    let mut table = crate::text::table(width, ["what differs", "of", "first", "second"]);
    let shown = if all { usize::MAX } else { MOST_ROWS };
    // Of the many packages of two environments those that may explain something are worth a row.
    let is_plain = |difference: &Difference| {
        // What carries the message or the row is shown even where the verdicts are the same.
        let is_package = difference.subject == Subject::Package && difference.why.is_none();
        is_package && !rank::is_driver(&difference.name)
    };
    let plain = comparison.differences.iter().filter(|one| is_plain(one)).count();
    let folded = if all || plain <= FEW_PACKAGES { 0 } else { plain };
    let rows = comparison
        .differences
        .iter()
        .filter(|difference| folded == 0 || !is_plain(difference));
    for difference in rows.take(shown) {
        table.add_row([
            flat(&difference.what()),
            parties(difference),
            flat(&difference.side(0)),
            flat(&difference.side(1)),
        ]);
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    if folded > 0 {
        let packages = counted(folded as u64, "other package differs", "other packages differ");
        lines.push(format!(" {packages} (-v shows all)"));
    }
    let left = (comparison.differences.len() - folded).saturating_sub(shown);
    if left > 0 {
        lines.push(format!("… and {left} more: -v shows all of them"));
    }
    if let Some(first) = comparison.differences.first()
        && let Some(why) = &first.why
    {
        lines.push(String::new());
        lines.push(format!("Most telling: {} ({why})", first.what()));
    }
    lines.join("\n")
}

pub fn parties(difference: &Difference) -> String {
    difference
        .of
        .iter()
        .map(|party| party.name())
        .collect::<Vec<_>>()
        .join(" and ")
}

fn not_compared(comparison: &Comparison, width: u16, all: bool) -> Option<String> {
    let mut skipped = comparison
        .not_compared
        .iter()
        .filter(|skipped| all || !by_chance(skipped.subject))
        .peekable();
    skipped.peek()?;
    // A line for each reason of each party: the subjects, of those with names how many.
    let mut lines: Vec<((Side, &str), Vec<String>)> = Vec::new();
    for skipped in skipped {
        let subject = skipped.subject.map(|subject| match skipped.names.as_slice() {
            [] => subject.name().to_owned(),
            [name] => format!("{} {name}", subject.name()),
            names if all => format!("{} {}", subject.name(), names.join(", ")),
            names if subject == Subject::Queue => format!("{} queue settings", names.len()),
            names => format!("{} {subject}s", names.len(), subject = subject.name()),
        });
        let key = (skipped.of, skipped.reason.as_str());
        match lines.iter_mut().find(|(known, _)| *known == key) {
            Some((_, subjects)) => subjects.extend(subject),
            None => lines.push((key, subject.into_iter().collect())),
        }
    }
    let lines: Vec<String> = lines
        .into_iter()
        .map(|((party, reason), subjects)| {
            let text = if subjects.is_empty() {
                format!("{}: {reason}", party.name())
            } else {
                format!("{}: {}: {reason}", party.name(), subjects.join(", "))
            };
            format!("  • {}", indented(&text, width.saturating_sub(4), "    "))
        })
        .collect();
    Some(format!("Not compared\n{}", lines.join("\n")))
}

/// Lines of words, all but the first indented.
fn indented(text: &str, width: u16, indent: &str) -> String {
    wrapped(text, usize::from(width)).join(&format!("\n{indent}"))
}

fn stages(pairs: &[Pair], width: u16) -> String {
    let mut table = crate::text::table(width, ["stage", "first", "second", ""]);
    for pair in pairs {
        let times = [0, 1].map(|index| match (pair.reached[index], pair.at_ms[index]) {
            (Some(true), Some(at)) => moment(at),
            (Some(true), None) => "reached".into(),
            (Some(false), _) => "not reached".into(),
            (None, _) => "?".into(),
        });
        let [one, other] = times;
        table.add_row([pair.stage.name().to_owned(), one, other, change(pair)]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Only what is more than two runs of the same system differ by.
fn change(pair: &Pair) -> String {
    match pair.at_ms {
        [Some(one), Some(other)]
            if (other - one).abs() >= 100.0 && (other > one * 2.0 || one > other * 2.0) =>
        {
            let later = moment((other - one).abs());
            if other > one {
                format!("{later} later")
            } else {
                format!("{later} earlier")
            }
        }
        _ => String::new(),
    }
}
