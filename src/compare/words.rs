//! A comparison for people: the verdicts, then a table whose first row is the most telling
//! difference, then how far and how fast both came.

use comfy_table::{ContentArrangement, Table, presets};

use super::{Comparison, Difference, Pair, Run, Subject};
use crate::diagnosis::Stage;

/// `width` in columns; `all`: the last row too.
pub fn render(comparison: &Comparison, width: u16, all: bool) -> String {
    let mut parts = vec![verdicts(comparison)];
    if comparison.differences.is_empty() {
        parts.push(nothing(comparison));
    } else {
        parts.push(differences(comparison, width, all));
    }
    parts.extend(not_compared(comparison, all));
    parts.push(stages(&comparison.stages, width));
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn verdicts(comparison: &Comparison) -> String {
    let mut lines: Vec<String> = comparison
        .runs
        .iter()
        .zip(["first ", "second"])
        .map(|(run, ordinal)| format!("{ordinal}  {}  {}", run.recording, verdict(run)))
        .collect();
    lines.push(if comparison.same_verdict {
        "The verdict is the same.".into()
    } else {
        "The verdicts differ.".into()
    });
    lines.join("\n")
}

fn verdict(run: &Run) -> String {
    let scenario = run
        .scenario
        .map_or("no scenario".into(), |scenario| format!("scenario {scenario:?}"));
    let cause = match (&run.cause, run.certainty) {
        (Some(cause), Some(certainty)) => format!("{cause} ({})", certainty.name()),
        _ => "no cause shown".into(),
    };
    let stage = run.stage.map_or("no stage", Stage::name);
    format!("{scenario} · {} · {stage} · {cause}", run.outcome.name())
}

fn nothing(comparison: &Comparison) -> String {
    let mut text = String::from(
        "No difference was seen in environment, packages, interpreter, code, services or settings.",
    );
    if !comparison.same_verdict {
        text.push_str(
            "\nThen it is the code itself, data, timing, or what cannot be seen: what a process sets in its own \
             environment after its start, for example.",
        );
    }
    text
}

/// Rows shown of each kind that hardly ever matters, or of very many.
const MOST_ROWS: usize = 25;

fn differences(comparison: &Comparison, width: u16, all: bool) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.set_header(["what differs", "of", "first", "second"]);
    let shown = if all { usize::MAX } else { MOST_ROWS };
    for difference in comparison.differences.iter().take(shown) {
        table.add_row([
            difference.what(),
            parties(difference),
            difference.side(0),
            difference.side(1),
        ]);
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let left = comparison.differences.len().saturating_sub(shown);
    if left > 0 {
        lines.push(format!("… and {left} more: -v shows all of them"));
    }
    if let Some(first) = comparison.differences.first()
        && let Some(why) = &first.why
    {
        lines.push(String::new());
        lines.push(format!("{} stands first: {why}.", first.what()));
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

fn not_compared(comparison: &Comparison, all: bool) -> Option<String> {
    // Connections are opened when they are needed: not to have seen one of them is chance.
    let by_chance = |subject: Option<Subject>| {
        matches!(
            subject,
            Some(Subject::BrokerAddress | Subject::DatabaseAddress | Subject::Vhost | Subject::ConsumerHosts)
        )
    };
    let mut skipped = comparison
        .not_compared
        .iter()
        .filter(|skipped| all || !by_chance(skipped.subject))
        .peekable();
    skipped.peek()?;
    let mut lines = vec!["Not compared".to_owned()];
    for skipped in skipped {
        let what = skipped
            .subject
            .map(|subject| format!(" {}", subject.name()))
            .unwrap_or_default();
        let names = match skipped.names.len() {
            0 => String::new(),
            n if n > 8 => format!(" {} and {} more", skipped.names[..8].join(", "), n - 8),
            _ => format!(" {}", skipped.names.join(", ")),
        };
        lines.push(format!(
            "  • {}{what}{names}: {}",
            skipped.of.name(),
            skipped.reason
        ));
    }
    Some(lines.join("\n"))
}

fn stages(pairs: &[Pair], width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.set_header(["stage", "first", "second", ""]);
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

fn moment(ms: f64) -> String {
    if ms.abs() < 10_000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
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
