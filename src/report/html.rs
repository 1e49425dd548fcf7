//! One page to open from a CI artifact: no network, no script but its own, readable without it.
//!
//! The template escapes whatever it is given. The page's policy names its one script and its one
//! style sheet by their digests, so that even markup that got through could not run or load anything.

use base64::Engine;
use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::events::describe;
use super::page::page;
use super::unseen;
use super::words;
use super::{Format, Report, Style};
use crate::diagnosis::evidence::plain_placeholders;
use crate::diagnosis::{Outcome, Scenario, causes};
use crate::text::{cut, flat};
use crate::timeline::place::{pid_words, place_of};
use crate::timeline::{Event, EventKind, Level, Source};
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "html",
    about: "One self-contained page with the timeline to look around in",
    extensions: &["html"],
    render,
};

const PAGE: &str = include_str!("report.html");
const CSS: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Of a traceback the innermost frames are what is looked for.
const FRAMES: usize = 6;
/// Units of the drawing, before anybody zooms. `report.js` knows them from the drawing itself.
const WIDTH: f64 = 1000.0;
const GUTTER: f64 = 96.0;
const MARGIN: f64 = 40.0;
const LANE: f64 = 26.0;
const TOP: f64 = 46.0;

fn render(report: &Report, _: Style) -> String {
    let mut page = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
    {
        page.set_syntax(syntax);
    }
    page.render_named_str("report.html", PAGE, Serde(context(report)))
        .unwrap_or_else(|error| error.to_string())
}

fn context(report: &Report) -> Json {
    let mood = match (report.verdict.scenario, report.verdict.outcome) {
        (Some(Scenario::A), Outcome::Succeeded) => "good",
        (Some(Scenario::A), _) => "warn",
        _ => "bad",
    };
    let evidence: Vec<Json> = report
        .verdict
        .cause
        .iter()
        .flat_map(|cause| report.in_time(&cause.evidence))
        .map(|event| row(report, event))
        .collect();
    let isolation = report.isolation.as_ref().map(|isolation| {
        let steps: Vec<Json> = isolation
            .steps
            .iter()
            .map(|step| json!({ "text": words::step(step), "sent": step.sent.as_ref().map(words::sent) }))
            .collect();
        json!({ "steps": steps, "conclusion": isolation.conclusion })
    });
    let stages: Vec<Json> = report
        .verdict
        .stages
        .iter()
        .map(|reached| {
            let (sign, class) = match reached.reached {
                Some(true) => ("✔", "yes"),
                Some(false) => ("✘", "no"),
                None => ("?", "unknown"),
            };
            json!({
                "sign": sign,
                "class": class,
                "name": reached.stage.name(),
                "at": reached.at_ms.map(moment),
                "text": reached.observed.as_deref().unwrap_or(reached.stage.meaning()),
                "evidence": reached.evidence,
            })
        })
        .collect();
    let rows: Vec<Json> = report.timeline.iter().map(|event| row(report, event)).collect();
    let environment = serde_json::to_string_pretty(&report.environment).unwrap_or_default();
    json!({
        "css": CSS,
        "css_digest": digest(CSS),
        "script": SCRIPT,
        "script_digest": digest(SCRIPT),
        "mood": mood,
        "sentence": words::sentence(report),
        "scenario_and_outcome": words::scenario_and_outcome(report),
        "subject": words::subject(report),
        "started_at": report.started_at,
        "started": started(&report.started_at),
        "owner": words::owner(report),
        "version": env!("CARGO_PKG_VERSION"),
        "exit_code": report.verdict.exit_code,
        "stages": stages,
        "cause": report.verdict.cause,
        "reasoning": words::reasoning(report, Style::PLAIN),
        "evidence": evidence,
        "remedies": words::remedies(report),
        "exception": report.verdict.traceback.as_ref().map(|traceback| &traceback.exception),
        "frames": report.verdict.traceback.as_ref().map(|traceback| {
            let hidden = traceback.frames.len().saturating_sub(FRAMES);
            &traceback.frames[hidden..]
        }),
        "explanation": explanation(report),
        "differences": report.environment.difference_lines(),
        "contributing": report.verdict.contributing,
        "isolation": isolation,
        "notes": report.verdict.notes,
        "ruled_out": report.verdict.ruled_out,
        "cannot_tell": report.verdict.cannot_tell,
        "blind": unseen::blind(report),
        "sources": report.sources,
        "stacks": stacks(report),
        "drawing": drawing(report),
        "rows": rows,
        "surroundings": report.environment.lines(),
        "environment": environment,
        "more": words::more(report),
    })
}

/// To the second, as people write it.
fn started(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => at.to_owned(),
    }
}

/// The cause's page with this run's names, as a terminal would show it.
fn explanation(report: &Report) -> Option<String> {
    let cause = causes::find(&report.verdict.cause.as_ref()?.id)?;
    let text = plain_placeholders(&cause.page_for(report.setup.framework()));
    let (_, body) = text.split_once('\n')?;
    Some(page(body.trim_start(), Style::PLAIN))
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!(
        "sha256-{}",
        base64::engine::general_purpose::STANDARD.encode(digest)
    )
}

fn row(report: &Report, event: &Event) -> Json {
    json!({
        "n": event.n,
        "at": moment(event.at_ms),
        "source": event.source.name(),
        "text": cut(&flat(&describe(event)), 400),
        "class": class(report, event),
        // Of a task of the past everything was before.
        "is_before": event.at_ms < 0.0 && !report.setup.post_mortem && class(report, event) != "proof",
        "raw": serde_json::to_string_pretty(event).unwrap_or_default(),
    })
}

/// What a reader's eye should find.
fn class(report: &Report, event: &Event) -> &'static str {
    let proves = report
        .verdict
        .cause
        .as_ref()
        .is_some_and(|cause| cause.evidence.contains(&event.n));
    match &event.kind {
        _ if proves => "proof",
        EventKind::Line(line) if line.level >= Some(Level::Warning) => "alarm",
        EventKind::Alarm { .. }
        | EventKind::Gone { .. }
        | EventKind::NotReady { .. }
        | EventKind::NotAnswered { .. } => "alarm",
        EventKind::Blind { .. } | EventKind::Partial { .. } => "blind",
        _ => "plain",
    }
}

fn stacks(report: &Report) -> Vec<Json> {
    report
        .timeline
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Stacks { pid, threads } => Some(json!({
                "n": event.n,
                "at": moment(event.at_ms),
                "pid": place_of(*pid).map_or(json!(pid), |_| json!(pid_words(*pid))),
                "threads": threads,
            })),
            _ => None,
        })
        .collect()
}

/// Lanes, dots and ticks. Time is drawn so that everything can be seen at once: the gap between
/// two neighbours grows with the logarithm of its length, so order is kept and silence is short.
fn drawing(report: &Report) -> Json {
    let sources: Vec<Source> = Source::all()
        .chain([Source::Run])
        .filter(|source| report.timeline.iter().any(|event| event.source == *source))
        .collect();
    let scale = Scale::new(report);
    let lane = |source: Source| {
        let index = sources.iter().position(|lane| *lane == source).unwrap_or(0);
        TOP + LANE * (index as f64 + 0.5)
    };
    // What proves the cause is drawn last, above its neighbours.
    let (proof, rest): (Vec<&Event>, Vec<&Event>) = report
        .timeline
        .iter()
        .partition(|event| class(report, event) == "proof");
    let dots: Vec<Json> = rest
        .into_iter()
        .chain(proof)
        .map(|event| {
            json!({
                "n": event.n,
                "x": scale.x(event.at_ms),
                "y": lane(event.source),
                "class": class(report, event),
                "label": format!(
                    "#{} {} {}: {}",
                    event.n,
                    moment(event.at_ms),
                    event.source,
                    cut(&flat(&describe(event)), 160)
                ),
            })
        })
        .collect();
    let lanes: Vec<Json> = sources
        .iter()
        .map(|source| json!({ "name": source.name(), "y": lane(*source) }))
        .collect();
    let marks: Vec<(f64, String)> = report
        .verdict
        .stages
        .iter()
        .filter(|reached| reached.reached == Some(true))
        .filter_map(|reached| Some((reached.at_ms?, reached.stage.name().to_owned())))
        .collect();
    let times: Vec<(f64, String)> = scale.round().map(|at| (at, round_label(at))).collect();
    let bottom = TOP + LANE * sources.len() as f64;
    json!({
        "width": WIDTH,
        "height": bottom + 26.0,
        "gutter": GUTTER,
        "margin": MARGIN,
        "top": TOP,
        "bottom": bottom,
        "lane": LANE,
        "lanes": lanes,
        "dots": dots,
        "stages": ticks(&scale, marks, 62.0),
        "times": ticks(&scale, times, 78.0),
    })
}

/// `-5 s`, `200 ms`, `1 min`
fn round_label(at_ms: f64) -> String {
    match at_ms.abs() {
        0.0 => "0".into(),
        size if size < 1000.0 => format!("{at_ms:.0} ms"),
        size if size < 60_000.0 => format!("{:.0} s", at_ms / 1000.0),
        _ => format!("{:.0} min", at_ms / 60_000.0),
    }
}

/// Labels; those too near to the one before are left to a reader who zooms in.
fn ticks(scale: &Scale, mut at: Vec<(f64, String)>, apart: f64) -> Vec<Json> {
    at.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut last = f64::NEG_INFINITY;
    at.into_iter()
        .map(|(ms, label)| {
            let x = scale.x(ms);
            let shown = x - last >= apart;
            if shown {
                last = x;
            }
            json!({ "x": x, "label": label, "shown": shown, "apart": apart })
        })
        .collect()
}

struct Scale {
    /// Every moment at which something was seen, ascending.
    times: Vec<f64>,
    /// Its distance from the first, in steps of the logarithmic gaps.
    steps: Vec<f64>,
}

impl Scale {
    fn new(report: &Report) -> Self {
        let mut times: Vec<f64> = report
            .timeline
            .iter()
            .map(|event| event.at_ms)
            .chain(report.verdict.stages.iter().filter_map(|reached| reached.at_ms))
            .collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        let mut steps = Vec::with_capacity(times.len());
        let mut step = 0.0;
        let mut before = times.first().copied().unwrap_or(0.0);
        for at in &times {
            step += (1.0 + at - before).ln();
            before = *at;
            steps.push(step);
        }
        Self { times, steps }
    }

    /// Round times between the first and the last moment: a reader counts by them.
    fn round(&self) -> impl Iterator<Item = f64> {
        const STEPS: [f64; 12] = [
            100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0, 30_000.0, 60_000.0, 120_000.0,
            300_000.0,
        ];
        let first = self.times.first().copied().unwrap_or(0.0);
        let last = self.times.last().copied().unwrap_or(0.0);
        let before = STEPS.iter().rev().map(|step| -step);
        let all = before.chain([0.0]).chain(STEPS);
        all.filter(move |at| (first..=last).contains(at))
    }

    /// Between two moments as after the first of them.
    fn x(&self, at_ms: f64) -> f64 {
        let index = self.times.partition_point(|at| *at < at_ms);
        let all = self.steps.last().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
        let after = |index: usize| self.steps[index] + (1.0 + at_ms - self.times[index]).ln();
        let step = match (self.times.get(index), index.checked_sub(1)) {
            (Some(at), Some(before)) if *at > at_ms => after(before),
            (Some(_), _) => self.steps[index],
            (None, _) => all,
        };
        let part = step / all;
        let x = GUTTER + MARGIN + part * (WIDTH - GUTTER - 2.0 * MARGIN);
        (x * 100.0).round() / 100.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_times_in_their_order() {
        let times: Vec<f64> = vec![-825.4, 0.0, 162.9, 4300.0];
        let mut steps: Vec<f64> = vec![0.0];
        for two in times.windows(2) {
            let last = steps[steps.len() - 1];
            steps.push(last + (1.0 + two[1] - two[0]).ln());
        }
        let scale = Scale { times, steps };
        let labels: Vec<String> = scale.round().map(round_label).collect();
        assert_eq!(
            labels,
            [
                "-500 ms", "-200 ms", "-100 ms", "0", "100 ms", "200 ms", "500 ms", "1 s", "2 s"
            ]
        );
        let places: Vec<f64> = scale.round().map(|at| scale.x(at)).collect();
        assert!(places.windows(2).all(|two| two[0] < two[1]), "{places:?}");
        assert!(scale.x(4300.0) > scale.x(2000.0) && scale.x(0.0) < scale.x(100.0));
    }

    #[test]
    fn a_digest_is_what_a_policy_names() {
        // printf '' | openssl dgst -sha256 -binary | base64
        assert_eq!(digest(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
