//! JUnit XML, for the test tab of a CI system: a test case per stage, the cause as the failure.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};

use super::events::describe;
use super::{Format, Report, Style, frames, words};
use crate::diagnosis::Reached;
use crate::error::exit;
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "junit",
    about: "JUnit XML: a test case per stage, the cause as the failure",
    extensions: &["xml"],
    render,
};

fn render(report: &Report, _: Style) -> String {
    let mut suite = TestSuite::new("taskdiag");
    for (name, value) in words::subject(report) {
        suite.add_property(Property::new(name, value));
    }
    suite.add_property(Property::new("started_at", report.started_at.as_str()));
    suite.add_property(Property::new("scenario", words::scenario(report)));
    suite.add_property(Property::new("outcome", report.verdict.outcome.name()));
    let owners = report.verdict.cause.iter().flat_map(|cause| &cause.owner);
    let owners: Vec<&str> = owners.map(|owner| owner.name()).collect();
    if let Some(acts) = words::owner(report) {
        suite.add_property(Property::new("owner", owners.join(" ")));
        suite.add_property(Property::new("who_acts", acts));
    }
    let blamed = words::blamed(report);
    let mut before = 0.0;
    for reached in &report.verdict.stages {
        let mut case = TestCase::new(
            reached.stage.name(),
            if Some(reached.stage) == blamed {
                failure(report, reached)
            } else if reached.reached == Some(true) {
                TestCaseStatus::success()
            } else {
                let mut status = TestCaseStatus::skipped();
                status.set_message(reached.observed.as_deref().unwrap_or("cannot be told"));
                status
            },
        );
        case.set_classname("taskdiag");
        // Sources are not exactly in step: a later stage may be seen a moment earlier.
        let took = reached.at_ms.map_or(0.0, |at| (at - before).max(0.0));
        before = reached.at_ms.unwrap_or(before).max(before);
        case.set_time(Duration::from_secs_f64(took / 1000.0));
        suite.add_test_case(case);
    }
    suite.set_time(Duration::from_secs_f64(before / 1000.0));
    let mut document = quick_junit::Report::new("taskdiag");
    document.add_test_suite(suite);
    // Neither is a character of XML; the crate leaves out the others.
    let text = document.to_string().unwrap_or_default();
    text.replace(['\u{fffe}', '\u{ffff}'], "")
}

fn failure(report: &Report, reached: &Reached) -> TestCaseStatus {
    // Not having been able to look is an error of the test, not a failure of the system.
    let kind = if report.verdict.exit_code == exit::COULD_NOT {
        NonSuccessKind::Error
    } else {
        NonSuccessKind::Failure
    };
    let mut status = TestCaseStatus::non_success(kind);
    let mut lines = vec![words::sentence(report), words::scenario_and_outcome(report)];
    lines.extend(reached.observed.clone());
    match &report.verdict.cause {
        Some(cause) => {
            status.set_type(cause.id.as_str());
            status.set_message(format!("{} ({})", cause.title, cause.certainty.name()));
            lines.push(cause.summary.clone());
            lines.extend(words::reasoning(report, Style::PLAIN));
            lines.extend(frames::of(report).iter().map(|frame| format!("    {frame}")));
            lines.push(String::new());
            lines.extend(report.in_time(&cause.evidence).into_iter().map(|event| {
                format!(
                    "#{} {} {}: {}",
                    event.n,
                    moment(event.at_ms),
                    event.source,
                    describe(event)
                )
            }));
        }
        None => {
            status.set_type("no-cause");
            status.set_message("no cause could be proved");
        }
    }
    let remedies = words::remedies(report);
    if !remedies.is_empty() {
        lines.push("\nWhat to do now:".into());
        lines.extend(remedies.iter().map(|remedy| format!("- {remedy}")));
    }
    lines.push(format!("\nMore: {}", words::more(report)));
    status.set_description(lines.join("\n"));
    status
}
