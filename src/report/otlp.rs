//! The run as one OpenTelemetry trace, in OTLP's JSON encoding: a span per stage, the cause as
//! status. Jaeger, Tempo and any collector take it at `/v1/traces`.
//!
//! Names after the semantic conventions for messaging (RabbitMQ), HTTP and database spans. Ids are
//! made from the run itself: exporting it twice gives the same trace.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::events::describe;
use super::words;
use super::{Format, Report, Style};
use crate::diagnosis::{Reached, Stage};
use crate::text::{cut, flat};
use crate::timeline::{Event, EventKind};
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "otlp",
    about: "OpenTelemetry trace, as OTLP in JSON",
    extensions: &["otlp"],
    render,
};

/// Numbers of the protocol: <https://github.com/open-telemetry/opentelemetry-proto>.
const INTERNAL: u8 = 1;
const CLIENT: u8 = 3;
const PRODUCER: u8 = 4;
const CONSUMER: u8 = 5;
const OK: u8 = 1;
const ERROR: u8 = 2;

/// Characters of one event's text.
const TEXT: usize = 1000;

/// One line, as collectors' file receivers read it.
fn render(report: &Report, _: Style) -> String {
    let trace = Trace::new(report);
    let mut spans = vec![trace.root()];
    spans.extend(trace.stages());
    let resource = attributes(&[
        ("service.name", json!("taskdiag")),
        ("service.version", json!(env!("CARGO_PKG_VERSION"))),
    ]);
    let document = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{
            "scope": { "name": "taskdiag", "version": env!("CARGO_PKG_VERSION") },
            "spans": spans,
        }],
    }] });
    format!("{document}\n")
}

struct Trace<'a> {
    report: &'a Report,
    id: String,
    root: String,
    /// Unix milliseconds at which the run's clock was zero.
    zero_ms: f64,
    end_ms: f64,
}

impl<'a> Trace<'a> {
    fn new(report: &'a Report) -> Self {
        let task = report.verdict.task.id.as_deref().unwrap_or_default();
        let id = hex(&format!("{} {task}", report.started_at), 16);
        let root = hex(&format!("{id} run"), 8);
        let end_ms = report.timeline.last().map_or(0.0, |event| event.at_ms).max(0.0);
        Self {
            report,
            root,
            id,
            zero_ms: report.zero_ms,
            end_ms,
        }
    }

    fn root(&self) -> Json {
        let report = self.report;
        let mut facts = vec![
            ("taskdiag.scenario", json!(words::scenario(report))),
            ("taskdiag.outcome", json!(report.verdict.outcome.name())),
            ("taskdiag.exit_code", json!(report.verdict.exit_code)),
        ];
        if let Some(task) = &report.verdict.task.id {
            facts.push(("taskdiag.task.id", json!(task)));
        }
        if let Some(actor) = &report.verdict.task.actor {
            facts.push(("taskdiag.actor", json!(actor)));
        }
        if let Some(cause) = &report.verdict.cause {
            facts.push(("taskdiag.cause.id", json!(cause.id)));
            facts.push(("taskdiag.cause.certainty", json!(cause.certainty.name())));
        }
        facts.extend(self.messaging());
        let mut span = self.span(&self.root, None, "task", INTERNAL, (0.0, self.end_ms), &facts);
        span["status"] = self.status();
        span
    }

    /// Those that were reached, each from the one before it; and the one that the cause kept the
    /// task from, until the end of the run. What cannot be told has no span.
    fn stages(&self) -> Vec<Json> {
        let blamed = words::blamed(self.report);
        let mut reached: Vec<(&Reached, f64)> = self
            .report
            .verdict
            .stages
            .iter()
            .filter(|reached| reached.reached == Some(true))
            .filter_map(|reached| Some((reached, reached.at_ms?)))
            .collect();
        reached.sort_by(|one, other| one.1.total_cmp(&other.1));
        let mut spans = Vec::new();
        let mut before = 0.0_f64;
        for (stage, at) in reached {
            let from = before.min(at);
            before = at;
            if Some(stage.stage) != blamed {
                spans.push(self.stage(stage, (from, at)));
            }
        }
        let missing = self
            .report
            .verdict
            .stages
            .iter()
            .find(|stage| Some(stage.stage) == blamed);
        if let Some(missing) = missing {
            let until = missing.at_ms.unwrap_or(self.end_ms);
            let mut span = self.stage(missing, (before.min(until), until));
            span["status"] = self.status();
            if let Some(cause) = &self.report.verdict.cause {
                if let Some(list) = span["attributes"].as_array_mut() {
                    list.extend(attributes(&[("error.type", json!(cause.id))]));
                }
                span["events"] = cause
                    .evidence
                    .iter()
                    .filter_map(|n| self.report.event(*n))
                    .map(|event| self.event(event))
                    .collect();
            }
            spans.push(span);
        }
        spans
    }

    fn queue(&self) -> &str {
        let report = self.report;
        let queue = report.verdict.task.queue.as_deref();
        queue.unwrap_or(&report.setup.queue)
    }

    fn stage(&self, reached: &Reached, times: (f64, f64)) -> Json {
        let report = self.report;
        let queue = self.queue();
        let operation = |name: &'static str, kind: &'static str| {
            vec![
                ("messaging.operation.name", json!(name)),
                ("messaging.operation.type", json!(kind)),
            ]
        };
        let (name, kind, mut facts) = match reached.stage {
            Stage::Submitted => (self.request(), CLIENT, self.http()),
            Stage::Recorded | Stage::Finished => {
                let mut facts = vec![("db.system.name", json!("postgresql"))];
                if let Some(table) = &report.setup.table {
                    facts.push(("db.collection.name", json!(table)));
                }
                (reached.stage.name().to_owned(), INTERNAL, facts)
            }
            Stage::Published => (format!("publish {queue}"), PRODUCER, operation("publish", "send")),
            Stage::Delivered => (
                format!("deliver {queue}"),
                CONSUMER,
                operation("deliver", "receive"),
            ),
            Stage::Received => (
                format!("receive {queue}"),
                CONSUMER,
                operation("receive", "receive"),
            ),
            Stage::Entered => (
                format!("process {queue}"),
                CONSUMER,
                operation("process", "process"),
            ),
            Stage::Settled => (format!("settle {queue}"), CLIENT, operation("settle", "settle")),
        };
        facts.push(("taskdiag.stage", json!(reached.stage.name())));
        let text = reached.observed.as_deref().unwrap_or(reached.stage.meaning());
        facts.push(("taskdiag.observed", json!(text)));
        if facts.iter().any(|(name, _)| name.starts_with("messaging.")) {
            facts.extend(self.messaging());
        }
        let id = hex(&format!("{} {}", self.id, reached.stage.name()), 8);
        self.span(&id, Some(&self.root), &name, kind, times, &facts)
    }

    fn messaging(&self) -> Vec<(&'static str, Json)> {
        let report = self.report;
        let queue = self.queue();
        let mut facts = vec![
            ("messaging.system", json!("rabbitmq")),
            ("messaging.destination.name", json!(queue)),
            ("messaging.rabbitmq.destination.routing_key", json!(queue)),
        ];
        if let Some(id) = &report.verdict.task.message_id {
            facts.push(("messaging.message.id", json!(id)));
        }
        if let Some((host, port)) = report.setup.broker.rsplit_once(':') {
            facts.push(("server.address", json!(host)));
            if let Ok(port) = port.parse::<u16>() {
                facts.push(("server.port", json!(port)));
            }
        }
        facts
    }

    fn request(&self) -> String {
        self.report
            .timeline
            .iter()
            .find_map(|event| match &event.kind {
                EventKind::Submitting { method, .. } => Some(method.clone()),
                _ => None,
            })
            .unwrap_or_else(|| "submitted".into())
    }

    fn http(&self) -> Vec<(&'static str, Json)> {
        let mut facts = Vec::new();
        for event in &self.report.timeline {
            match &event.kind {
                EventKind::Submitting { method, url } if method == "RUN" => {
                    facts.push(("process.command_line", json!(url)));
                }
                EventKind::CommandEnded(end) => {
                    let code = end.code.map(|code| ("process.exit.code", json!(code)));
                    facts.extend(code);
                }
                EventKind::Submitting { method, url } => {
                    facts.push(("http.request.method", json!(method)));
                    facts.push(("url.full", json!(url)));
                }
                EventKind::Answered { status, .. } => {
                    facts.push(("http.response.status_code", json!(status)));
                }
                _ => {}
            }
        }
        facts
    }

    fn event(&self, event: &Event) -> Json {
        json!({
            "name": event.source.name(),
            "timeUnixNano": self.nanoseconds(event.at_ms),
            "attributes": attributes(&[
                ("taskdiag.event.n", json!(event.n)),
                ("taskdiag.event.at", json!(moment(event.at_ms))),
                ("taskdiag.event.text", json!(cut(&flat(&describe(event)), TEXT))),
            ]),
        })
    }

    fn status(&self) -> Json {
        if words::is_good(self.report) {
            return json!({ "code": OK });
        }
        let message = match &self.report.verdict.cause {
            Some(cause) => format!("{} ({}): {}", cause.id, cause.certainty.name(), cause.summary),
            None => "no cause could be proved".into(),
        };
        json!({ "code": ERROR, "message": message })
    }

    fn span(
        &self,
        id: &str,
        parent: Option<&str>,
        name: &str,
        kind: u8,
        (from, to): (f64, f64),
        facts: &[(&str, Json)],
    ) -> Json {
        json!({
            "traceId": self.id,
            "spanId": id,
            "parentSpanId": parent.unwrap_or_default(),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": self.nanoseconds(from),
            "endTimeUnixNano": self.nanoseconds(to),
            "attributes": attributes(facts),
        })
    }

    /// As text: JSON's numbers are too short for them.
    fn nanoseconds(&self, at_ms: f64) -> String {
        // Microseconds are exact in a double until the year 2255.
        let micros = ((self.zero_ms + at_ms) * 1000.0).round().max(0.0) as u64;
        format!("{micros}000")
    }
}

fn attributes(facts: &[(&str, Json)]) -> Vec<Json> {
    facts
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Json::Number(number) => json!({ "intValue": number.to_string() }),
                Json::String(text) => json!({ "stringValue": text }),
                other => json!({ "stringValue": other.to_string() }),
            };
            json!({ "key": key, "value": value })
        })
        .collect()
}

/// The first bytes of a digest, in hexadecimal.
fn hex(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(bytes)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
