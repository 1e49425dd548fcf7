//! `taskdiag check`: can every vantage point see? What looks wrong already?

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::{load, print_text, print_words, style};
use crate::cli::{Check, Global, Plain};
use crate::diagnosis::Story;
use crate::error::{Error, Result, Unavailable, exit};
use crate::framework::LogEvent;
use crate::guardian::left_behind::{self, LeftBehind};
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::rabbitmq::nodes;
use crate::rabbitmq::tracing::Tracing;
use crate::report::{SourceState, sources};
use crate::run::{Plan, observe};
use crate::timeline::{EventKind, Source, Timeline};

pub async fn run(args: &Check, global: &Global) -> Result<u8> {
    let config = load(global, &[])?;
    let plan = Plan {
        look_only: true,
        ..Plan::default()
    };
    let observed = observe(&config, &plan, &mut |_, _| {}).await?;
    let sources = sources(&observed.timeline);
    // What is not configured cannot be expected to see; the firehose is for runs that submit.
    let wanted = |source: &SourceState| match source.name {
        Source::Api => config.api.is_some(),
        Source::ApiLog => config.api_log.is_configured(),
        Source::Database => config.database.is_some(),
        Source::WorkerLog => config.worker.log.is_configured(),
        Source::Firehose | Source::DeadLetters | Source::Process | Source::Run => false,
        Source::Management | Source::Queue => true,
    };
    let blind = sources
        .iter()
        .any(|source| source.state == "blind" && wanted(source));
    let findings = findings(&observed.timeline);
    let mut left = left_behind::vhosts(&config.broker).await.unwrap_or_default();
    left.extend(left_behind::folders(&std::env::temp_dir()));
    let text = match args.format {
        Plain::Json => {
            let report = json!({ "schema": "taskdiag.check.v1", "sources": sources, "findings": findings, "left_behind": left, "ok": !blind });
            let text = serde_json::to_string_pretty(&report).unwrap_or_default();
            format!("{}\n", crate::timeline::scrub::printable_json(text))
        }
        Plain::Terminal => terminal(&sources, &findings, &wanted, global) + &left_words(&left),
    };
    match args.format {
        Plain::Json => print_text(&text)?,
        Plain::Terminal => print_words(&text, global)?,
    }
    if args.restore_tracing {
        restore(&config, &observed.timeline).await?;
    }
    observed.restore().await;
    Ok(if blind { exit::COULD_NOT } else { exit::OK })
}

async fn restore(config: &crate::config::Config, timeline: &Timeline) -> Result<()> {
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
            hint: format!("rabbitmqctl trace_off -p {vhost}"),
        }),
    }
}

/// What looks wrong before any task was sent.
fn findings(timeline: &Timeline) -> Vec<String> {
    let story = Story::new(timeline);
    let queue = story.queue();
    let mut findings = Vec::new();
    match story.depths(queue).last() {
        _ if story.down(queue).next().is_some() => {
            let why = story.down(queue).last().map_or("", |(.., why)| why);
            findings.push(format!("queue `{queue}` is down: {why}"));
        }
        Some(depth) if !depth.exists => findings.push(format!(
            "queue `{queue}` does not exist: it is declared by the first publish or the first worker"
        )),
        Some(depth) if depth.consumers == 0 => findings.push(format!(
            "queue `{queue}` has no consumer ({} messages ready)",
            depth.ready
        )),
        _ => {}
    }
    let dead = story.dead_letter_queue().unwrap_or_default();
    if let Some(depth) = story.depths(&dead).last().filter(|depth| depth.ready > 0) {
        findings.push(format!("{} dead letters on `{dead}`", depth.ready));
    }
    for event in &timeline.events {
        match &event.kind {
            EventKind::Alarm { node, alarm } => findings.push(format!("{node} has a {alarm} alarm: publishers are blocked")),
            EventKind::TracingOn { readers: 0 } => findings.push(format!(
                "vhost \"{}\" traces every message and nobody reads it: taskdiag check --restore-tracing switches it off",
                timeline.setup.vhost
            )),
            EventKind::QueueInfo { queue, state: Some(state), .. } if !matches!(state.as_str(), "running" | "idle" | "flow") => {
                findings.push(format!("queue `{queue}` is in state {state}"));
            }
            _ => {}
        }
    }
    if let Some(told) = story.worker_lines().iter().rev().find(|told| {
        matches!(
            told.mark,
            Some(LogEvent::ImportFailed | LogEvent::UsageError | LogEvent::ChildDied { .. })
        )
    }) {
        findings.push(format!("the worker's log: {}", told.line.text));
    }
    findings
}

fn terminal(
    sources: &[SourceState],
    findings: &[String],
    wanted: &dyn Fn(&SourceState) -> bool,
    global: &Global,
) -> String {
    let style = style(global, false);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width);
    for source in sources {
        let sign = match (source.state, global.ascii, wanted(source)) {
            ("watching", false, _) => "✔",
            ("watching", true, _) => "ok",
            ("partial", _, _) => "~",
            (_, _, false) => "-",
            (_, false, true) => "✘",
            (_, true, true) => "x",
        };
        let hint = source
            .hint
            .as_deref()
            .map(|hint| format!("\n→ {hint}"))
            .unwrap_or_default();
        let state = match source.state {
            "watching" => "sees",
            "partial" => "sees in part",
            other => other,
        };
        table.add_row([
            sign.to_owned(),
            source.name.name().to_owned(),
            state.to_owned(),
            format!("{}{hint}", source.reason),
        ]);
    }
    let mut text: String = table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    text.push('\n');
    if findings.is_empty() {
        text.push_str("Nothing looks wrong already.\n");
    } else {
        text.push_str("What looks wrong already:\n");
        for finding in findings {
            text.push_str(&format!("  {} {finding}\n", if global.ascii { "-" } else { "•" }));
        }
    }
    text
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
