//! `taskdiag check`: tests every connection and permission, and lists problems that are visible now.

mod containers;
mod dead_letters;
mod finding;
mod findings;
mod places;
mod queues;
mod workers;

use std::time::{Duration, Instant};

use serde_json::json;
use strum::VariantArray;

use super::{load, print_text, print_words, style};
use crate::cli::{Check, Global, Plain};
use crate::config::Config;
use crate::diagnosis::Verdict;
use crate::error::{Error, Result, Unavailable, exit};
use crate::guardian::left_behind::{self, LeftBehind};
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::rabbitmq::nodes;
use crate::rabbitmq::tracing::Tracing;
use crate::report::{SourceState, Style, hanging, sources};
use crate::run::{Observed, Plan, observe};
use crate::text::counted;
use crate::timeline::{Ended, EventKind, Source, Tier, Timeline};
use crate::vantage::dead_letters::Peek;
use crate::vantage::exec;
use finding::Finding;
use findings::findings;

/// Between two looks of `--wait`.
const AGAIN: Duration = Duration::from_millis(500);

/// What one look showed.
struct CheckResult {
    observed: Observed,
    sources: Vec<SourceState>,
    /// Sources that are configured and cannot see.
    blind: Vec<Source>,
    findings: Vec<Finding>,
    places: Vec<places::PlaceResult>,
}

pub async fn run(args: &Check, global: &Global) -> Result<u8> {
    let config = load(global, &[])?;
    let wait = args
        .wait
        .as_deref()
        .map(|text| super::duration("--wait", text))
        .transpose()?;
    let until = wait.map(|wait| Instant::now() + wait);
    if args.peek {
        super::warn_of_peek();
    }
    let mut look = look(&config, args.peek).await?;
    let mut is_stopped = look.is_stopped();
    let is_whole = !is_stopped;
    while until.is_some_and(|until| Instant::now() < until) && !look.is_fine() && !is_stopped {
        look.observed.restore().await;
        tokio::time::sleep(AGAIN).await;
        let next = self::look(&config, args.peek).await?;
        is_stopped = next.is_stopped();
        look = match is_stopped {
            // A look that was broken off has seen less than the one before.
            true => CheckResult {
                observed: next.observed,
                ..look
            },
            false => next,
        };
    }
    let mut left = left_behind::vhosts(&config.broker).await.unwrap_or_default();
    left.extend(left_behind::folders(&std::env::temp_dir()));
    match args.format {
        Plain::Json => {
            let texts: Vec<&str> = look
                .findings
                .iter()
                .map(|finding| finding.text.as_str())
                .collect();
            let report = json!({ "schema": "taskdiag.check.v1", "sources": look.sources, "findings": texts, "problems": look.findings, "left_behind": left, "places": places::report(&look.places, &config), "ok": look.sees_all() && !is_stopped });
            let text = serde_json::to_string_pretty(&report).unwrap_or_default();
            print_text(&format!("{}\n", crate::timeline::scrub::printable_json(text)))?;
        }
        Plain::Terminal => {
            let style = style(global, false);
            let text = look.words(&config, style)
                + &left_words(&left)
                + &look.last_line(is_stopped.then_some(is_whole), style);
            print_words(&text, global)?;
        }
    }
    if args.restore_tracing {
        restore(&config, &look.observed.timeline).await?;
    }
    let code = match () {
        () if is_stopped => exit::STOPPED,
        () if !look.sees_all() => exit::COULD_NOT,
        () if args.strict && !look.findings.is_empty() => exit::FAILED,
        () => exit::OK,
    };
    look.observed.restore().await;
    Ok(code)
}

async fn look(config: &Config, peek: bool) -> Result<CheckResult> {
    let plan = Plan {
        look_only: true,
        peek: Peek {
            companions: peek,
            main: false,
        },
        ..Plan::default()
    };
    let places = tokio::spawn(places::look(exec::places(config)));
    let of_the_vhost = queues::list(config);
    let mut nothing = |_: &Timeline, _: &Verdict| {};
    let (observed, of_the_vhost) = tokio::join!(observe(config, &plan, &mut nothing), of_the_vhost);
    if observed.as_ref().is_ok_and(is_stopped) {
        places.abort();
    }
    let observed = observed?;
    let places = places.await.unwrap_or_default();
    let sources = sources(&observed.timeline);
    let blind = sources
        .iter()
        .filter(|source| source.state == "blind" && is_wanted(source.name, config))
        .map(|source| source.name)
        .collect();
    let findings = findings(&observed.timeline, config, &of_the_vhost);
    Ok(CheckResult {
        observed,
        sources,
        blind,
        findings,
        places,
    })
}

/// What is not configured cannot be expected to see; the firehose is for runs that submit.
fn is_wanted(source: Source, config: &Config) -> bool {
    match source {
        Source::Api => config.api.is_some() || config.submit.is_some(),
        Source::ApiLog => config.api_log.is_configured(),
        Source::Database => config.database.is_some(),
        Source::WorkerLog => config.worker.log.is_configured(),
        Source::Management | Source::Queue => true,
        _ => false,
    }
}

impl CheckResult {
    fn is_fine(&self) -> bool {
        self.sees_all() && self.findings.is_empty()
    }

    /// Whatever is configured to see does.
    fn sees_all(&self) -> bool {
        self.blind.is_empty() && places::blind(&self.places).is_empty()
    }

    fn is_stopped(&self) -> bool {
        is_stopped(&self.observed)
    }

    fn words(&self, config: &Config, style: Style) -> String {
        let mut lines = Vec::new();
        for tier in Tier::VARIANTS {
            let sources: Vec<&SourceState> = self
                .sources
                .iter()
                .filter(|source| source.name.tier() == *tier)
                .collect();
            if sources.is_empty() {
                continue;
            }
            lines.push(<&str>::from(tier).to_owned());
            for source in sources {
                let is_wanted = is_wanted(source.name, config);
                let (text, hint) = words_of(source);
                lines.extend(row(
                    source.state,
                    is_wanted,
                    source.name,
                    &text,
                    hint.as_deref(),
                    style,
                ));
                let places = match source.name {
                    Source::Process => places::lines(&self.places, config),
                    _ => Vec::new(),
                };
                for line in places {
                    let state = if line.sees { "watching" } else { "blind" };
                    lines.extend(row(
                        state,
                        true,
                        source.name,
                        &line.text,
                        line.hint.as_deref(),
                        style,
                    ));
                }
            }
        }
        if !self.findings.is_empty() {
            lines.push("\nVisible now".into());
            for finding in &self.findings {
                let sign = if style.ascii { "  - " } else { "  • " };
                lines.push(hanging(sign, &finding.text, 4, style));
                lines.push(hanging("    → ", &finding.fix, 6, style));
            }
        }
        format!("{}\n", lines.join("\n"))
    }

    /// What is read last: how it stands, with counts.
    fn last_line(&self, stopped_after_a_look: Option<bool>, style: Style) -> String {
        let text = match stopped_after_a_look {
            None => self.in_short(),
            Some(true) => format!("Stopped by you. The last look: {}", self.in_short()),
            Some(false) => "Stopped by you before everything was looked at.".to_owned(),
        };
        format!("\n{}\n", hanging("", &text, 0, style))
    }

    fn in_short(&self) -> String {
        let mut names: Vec<String> = self.blind.iter().map(|source| source.name().to_owned()).collect();
        names.extend(places::blind(&self.places));
        let all = (self.sources.len() + self.places.len()) as u64;
        let problems = counted(self.findings.len() as u64, "problem is", "problems are");
        match (names.is_empty(), self.findings.is_empty()) {
            (true, true) => "No problems found.".to_owned(),
            (true, false) => format!("All sources see; {problems} visible."),
            (false, is_fine) => {
                let blind = format!(
                    "{} of {} cannot see ({}).",
                    names.len(),
                    counted(all, "source", "sources"),
                    names.join(", ")
                );
                match is_fine {
                    true => format!("{blind} Nothing else looks wrong."),
                    false => format!("{blind} Besides, {problems} visible."),
                }
            }
        }
    }
}

fn is_stopped(observed: &Observed) -> bool {
    let ended = EventKind::Ended {
        why: Ended::Interrupted,
    };
    observed.timeline.events.iter().any(|event| event.kind == ended)
}

/// A source's line, and below it what would let it see more.
fn row(
    state: &str,
    is_wanted: bool,
    source: Source,
    text: &str,
    hint: Option<&str>,
    style: Style,
) -> Vec<String> {
    let sign = match (state, style.ascii, is_wanted) {
        ("watching", false, _) => "✔",
        ("watching", true, _) => "[ok]",
        ("partial", false, _) => "~",
        ("partial", true, _) => "[~]",
        (_, false, false) => "-",
        (_, true, false) => "[--]",
        (_, false, true) => "✘",
        (_, true, true) => "[FAIL]",
    };
    let head = format!("  {sign} {:<13} ", source.name());
    let indent = crate::text::width(&head);
    let mut lines = vec![hanging(&head, text, indent, style)];
    lines.extend(hint.map(|hint| {
        let pad = " ".repeat(indent);
        hanging(&format!("{pad}→ "), hint, indent + 2, style)
    }));
    lines
}

/// What a source says of itself; two are not used by this command, and that is no fault.
fn words_of(source: &SourceState) -> (String, Option<String>) {
    match source.name {
        Source::Firehose if source.reason.starts_with("not used: ") => {
            let text = "message tracing: not used by `check`, which looks at what it needs; `diagnose` switches it on for its own task";
            (text.into(), None)
        }
        Source::DeadLetters if source.reason.starts_with("counted only") => {
            let text = "counted only (reading them marks them as redelivered)";
            let hint = "`taskdiag check --peek` says for which actors, and why";
            (text.into(), Some(hint.into()))
        }
        _ => (source.reason.clone(), source.hint.clone()),
    }
}

async fn restore(config: &Config, timeline: &Timeline) -> Result<()> {
    let left_on = timeline
        .events
        .iter()
        .any(|event| matches!(event.kind, EventKind::TracingOn { readers: 0 }));
    let vhost = &config.broker.vhost;
    let restored = async {
        let management = Management::new(&config.broker)?;
        let now = management.get(&format!("vhosts/{}", segment(vhost))).await?;
        let nodes = nodes::of(&config.broker, &management, &now).await?;
        if left_on {
            Tracing::set(&management, vhost, &nodes.here, false).await?;
        }
        Ok::<_, Unavailable>(nodes)
    };
    match restored.await {
        Ok(nodes) => {
            let here = match nodes.others.as_slice() {
                [] => String::new(),
                _ => format!(" at node {}", nodes.here),
            };
            let mut text = match left_on {
                true => format!("tracing of vhost \"{vhost}\" is switched off{here}\n"),
                false => format!(
                    "tracing of vhost \"{vhost}\" is off{here}, or somebody reads it: nothing to restore\n"
                ),
            };
            // Each node traces for itself, and only the one that answers was asked.
            for other in &nodes.others {
                text.push_str(&format!(
                    "node {other} was not asked; to be sure: rabbitmqctl -n {other} trace_off -p {vhost}\n"
                ));
            }
            print_text(&text)
        }
        Err(blindness) => Err(Error::Could {
            action: "switch tracing off",
            target: config.broker.management.redacted(),
            seen: blindness.reason,
            hint: format!(
                "on the host of the node that answers, also without a majority of the cluster's nodes: rabbitmqctl trace_off -p {vhost}"
            ),
        }),
    }
}

/// What nobody will remove by himself. It is named with its command, and not removed: whether a run
/// on another machine needs it cannot be seen from here, and a vhost does not come back.
fn left_words(left: &[LeftBehind]) -> String {
    if left.is_empty() {
        return String::new();
    }
    let mut text =
        String::from("\nLeft behind by a taskdiag that was killed; nothing of it is removed by check:\n");
    for one in left {
        text.push_str(&format!(
            "  • {} {}\n    {}\n    → {}\n",
            one.kind, one.name, one.seen, one.remove
        ));
    }
    text
}
