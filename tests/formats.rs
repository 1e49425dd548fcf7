//! Every format of the report: what it says of one recording per scenario, and that nothing that
//! was seen can break out of it.
//!
//! `INSTA_UPDATE=always cargo test --test formats` writes the snapshots anew; read the difference.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod runs;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use runs::{HOSTILE, hostile, in_halves, read, render, report};
use taskdiag::compare;
use taskdiag::diagnosis::{causes, diagnose};
use taskdiag::framework::{self, Framework};
use taskdiag::report::{FORMATS, Format, Report, Style};
use taskdiag::timeline::{EventKind, Timeline, recording};

/// One recording per scenario: succeeded, A, B, C, none.
const SCENARIOS: [&str; 5] = [
    "succeeded",
    "row-rolled-back",
    "api-failed",
    "no-consumer",
    "api-unreachable",
];

struct Seen {
    name: String,
    timeline: Timeline,
    report: Report,
}

/// Every recording: read and diagnosed once for all tests.
fn all() -> &'static [Seen] {
    static ALL: LazyLock<Vec<Seen>> = LazyLock::new(|| {
        let mut names: Vec<String> = fs::read_dir(runs::folder())
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert!(names.len() > 50, "{} recordings", names.len());
        in_halves(&names, |name| {
            let timeline = read(name);
            Seen {
                name: name.clone(),
                report: report(&timeline),
                timeline,
            }
        })
    });
    &ALL
}

/// Every format of each, with all that it can hold.
fn in_all_formats() -> impl Iterator<Item = (&'static Seen, &'static str, &'static str)> {
    static TEXTS: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| {
        let render = |format: &Format, seen: &Seen| (format.render)(&seen.report, VERBOSE);
        in_halves(all(), |seen| {
            FORMATS.iter().map(|format| render(format, seen)).collect()
        })
    });
    let texts = TEXTS.iter().zip(all());
    texts.flat_map(|(texts, seen)| {
        let texts = texts.iter().zip(FORMATS);
        texts.map(move |(text, format)| (seen, format.name, text.as_str()))
    })
}

/// Its HTML is kept whole; of the other pages what is read of them.
const WHOLE_PAGE: &str = "api-failed";

/// The words of a page, a line for each row: no markup, no drawing, no raw events.
fn words_of(page: &str) -> String {
    let unread = Regex::new(r"(?s)<(style|script|svg|pre)\b.*?</(style|script|svg|pre)>").unwrap();
    let tag = Regex::new(r"<[^>]*>").unwrap();
    let mut words = unread.replace_all(page, "").replace('\n', "");
    for end in [
        "</title>",
        "</a>",
        "</h1>",
        "</h2>",
        "</h3>",
        "</p>",
        "</button>",
        "</li>",
        "</tr>",
        "</summary>",
    ] {
        let shown = if end == "</a>" { " " } else { "\n" };
        words = words.replace(end, shown);
    }
    words = words.replace("</td>", " · ").replace("</th>", " · ");
    words = tag
        .replace_all(&words, "")
        .replace("\n · \n", "\n")
        .replace(" · \n", "\n");
    for (escaped, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ] {
        words = words.replace(escaped, character);
    }
    words
}

fn must_be_as_before(name: &str, text: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn each_format_of_one_run_of_each_scenario() {
    for name in SCENARIOS {
        let report = report(&read(name));
        // JSON Lines are the recording itself, as another test says.
        for format in FORMATS.iter().filter(|format| format.name != "jsonl") {
            let out = (format.render)(&report, Style::PLAIN);
            match format.name {
                "html" if name != WHOLE_PAGE => must_be_as_before(&format!("{name}.page"), &words_of(&out)),
                format => must_be_as_before(&format!("{name}.{format}"), &out),
            }
        }
    }
}

/// Whoever runs one framework is told nothing of another: no word of it, no remedy, and no cause that only it
/// can have.
#[test]
fn no_report_speaks_of_another_framework() {
    let anothers = |own: &Framework| {
        let others = framework::ALL.iter().filter(|other| other.name != own.name);
        let words = others.flat_map(|other| other.own_words).copied();
        // An id of one word is a word of English as well.
        let strange = causes::ALL.iter().filter(|cause| !cause.is_one_of(own));
        let ids = strange.map(|cause| cause.id).filter(|id| id.contains('-'));
        let words: Vec<String> = words.chain(ids).map(regex::escape).collect();
        Regex::new(&words.join("|")).unwrap()
    };
    let strange: Vec<(&str, Regex)> = framework::ALL
        .iter()
        .map(|own| (own.name, anothers(own)))
        .collect();
    let mut found = Vec::new();
    for (seen, format, text) in in_all_formats() {
        let own = seen.timeline.framework().name;
        let (_, strange) = strange.iter().find(|(name, _)| *name == own).unwrap();
        // The recorder empties this variable for every system that it starts.
        let text = text.replace("DRAMATIQ_TESTING", "");
        for word in strange.find_iter(&text) {
            let from = text.floor_char_boundary(word.start().saturating_sub(60));
            let to = text.ceil_char_boundary((word.start() + 60).min(text.len()));
            let (name, word) = (&seen.name, word.as_str());
            found.push(format!("{name}, {format}: `{word}` in {:?}", &text[from..to]));
        }
    }
    assert!(found.is_empty(), "{} places\n{}", found.len(), found.join("\n"));
}

#[test]
fn an_extension_asks_for_one_format() {
    let mut seen: Vec<&str> = FORMATS
        .iter()
        .flat_map(|format| format.extensions)
        .copied()
        .collect();
    seen.sort_unstable();
    let all = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

const VERBOSE: Style = Style {
    timeline: true,
    ..Style::PLAIN
};

#[test]
fn each_line_of_github_is_one_annotation_of_ours() {
    for text in HOSTILE {
        let out = render(&hostile(text), "github", VERBOSE);
        for line in out.lines() {
            let ours = ["::error title=", "::warning title=", "::notice title="];
            assert!(ours.iter().any(|start| line.starts_with(start)), "{line}");
            assert!(!line.starts_with("::error title=forged"), "{line}");
        }
    }
}

#[test]
fn junit_stays_xml_and_has_a_case_per_stage() {
    for text in HOSTILE {
        let out = render(&hostile(text), "junit", VERBOSE);
        let read = quick_junit::Report::deserialize_from_str(&out).unwrap();
        let names: Vec<&str> = read.test_suites[0]
            .test_cases
            .iter()
            .map(|case| case.name.as_str())
            .collect();
        let stages = [
            "submitted",
            "recorded",
            "published",
            "delivered",
            "received",
            "entered",
            "finished",
            "settled",
        ];
        assert_eq!(names, stages);
    }
}

/// The exit code and the JUnit file tell a CI system the same.
#[test]
fn junit_fails_exactly_when_the_exit_code_does() {
    for Seen { name, report, .. } in all() {
        let out = render(report, "junit", Style::PLAIN);
        let read = quick_junit::Report::deserialize_from_str(&out).unwrap();
        let suite = &read.test_suites[0];
        let expected = match report.verdict.exit_code {
            0 => (0, 0),
            30 => (0, 1),
            _ => (1, 0),
        };
        assert_eq!((suite.failures, suite.errors), expected, "{name}");
        assert_eq!(suite.tests, 8, "{name}");
    }
}

/// The grammar of the lines we write; the real parser's opinion is asked in `docs/reports.md`'s way.
#[test]
fn mermaid_has_only_statements_of_ours() {
    let place = "(User|API|PostgreSQL|RabbitMQ|Worker)";
    let label = "([^#;%<>{}$\\n]|#\\d+;)+";
    let statement = Regex::new(&format!(
        "^    (actor User|participant {place}( as [A-Z][a-z]+( [a-z]+)?)?|{place}(->>|-->>|-x){place}: {label}|Note over {place}(,{place})?: {label})$"
    ))
    .unwrap();
    let check = |name: &str, text: &str| {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("sequenceDiagram"));
        for line in lines {
            assert!(statement.is_match(line), "{name}: {line}");
        }
        assert!(!text.contains("forged;"), "{text}");
    };
    for seen in all() {
        check(&seen.name, &render(&seen.report, "mermaid", Style::PLAIN));
    }
    for text in HOSTILE {
        check(text, &render(&hostile(text), "mermaid", Style::PLAIN));
    }
}

#[test]
fn markdown_mentions_links_and_builds_nothing_from_what_was_seen() {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    const OURS: [&str; 4] = ["<details><summary>", "</details>", "<!-- -->", "</summary>"];
    let row = Regex::new(r"^\| ([✔✘?]|`#\d+`) \|").unwrap();
    let bar = Regex::new(r"(^|[^\\])\|").unwrap();
    for text in HOSTILE {
        let out = render(&hostile(text), "markdown", VERBOSE);
        let mut in_code = false;
        for event in Parser::new_ext(&out, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
            match event {
                Event::Start(Tag::CodeBlock(_)) => in_code = true,
                Event::End(pulldown_cmark::TagEnd::CodeBlock) => in_code = false,
                Event::Html(html) | Event::InlineHtml(html) => {
                    assert!(
                        OURS.iter().any(|tag| html.trim_start().starts_with(tag)),
                        "{html}"
                    );
                    assert!(!html.contains("forged") && !html.contains("alert"), "{html}");
                }
                Event::Start(Tag::Link { .. } | Tag::Image { .. }) => panic!("a link from {text}"),
                Event::Start(Tag::Heading { level, .. }) => assert!(level as usize > 1, "{text}"),
                Event::Text(piece) if !in_code => {
                    for forbidden in ["@forged", "#7", "https://"] {
                        assert!(!piece.contains(forbidden), "{forbidden} in {piece}");
                    }
                }
                _ => {}
            }
        }
        // Cells end where ours do.
        for line in out.lines().filter(|line| row.is_match(line)) {
            assert_eq!(bar.find_iter(line).count(), 5, "{line}");
        }
    }
}

#[test]
fn ascii_is_ascii() {
    let style = Style {
        ascii: true,
        color: true,
        ..VERBOSE
    };
    for Seen { name, report, .. } in all() {
        let out = render(report, "terminal", style);
        assert!(out.is_ascii(), "{name}: {out}");
    }
    for text in HOSTILE {
        assert!(render(&hostile(text), "terminal", style).is_ascii());
    }
}

/// Neither do a foreign recording's texts reach a terminal with their control characters, nor reorder
/// ours.
#[test]
fn nothing_that_was_seen_controls_a_terminal() {
    let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    for text in HOSTILE {
        let report = hostile(text);
        for format in FORMATS {
            let out = (format.render)(&report, VERBOSE);
            assert!(out.chars().all(harmless), "{}: {out}", format.name);
        }
    }
}

/// Nor do those of two foreign recordings in a comparison.
#[test]
fn a_comparison_controls_no_terminal() {
    let mut seen = read("succeeded");
    let verdict = diagnose(&seen);
    for text in HOSTILE {
        let report = hostile(text);
        let mut other = Timeline::new(report.setup.clone(), report.started_at.clone());
        for event in report.timeline {
            if matches!(event.kind, EventKind::Environment(_)) {
                let mut plain = event.clone();
                if let EventKind::Environment(environment) = &mut plain.kind {
                    environment.variables = Some(Default::default());
                }
                seen.push(plain);
            }
            other.push(event);
        }
        let other_verdict = diagnose(&other);
        let comparison = compare::compare([("one", &seen, &verdict), ("other", &other, &other_verdict)]);
        assert!(comparison.differences.len() >= 3, "{comparison:#?}");
        let out = compare::render(&comparison, 100, true);
        let harmless = |c: char| c == '\n' || !(c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        assert!(out.chars().all(harmless), "{out}");
        assert!(!out.lines().any(|line| line.starts_with("::error")), "{out}");
    }
}

#[test]
fn without_colour_there_is_no_escape() {
    for (seen, format, text) in in_all_formats() {
        assert!(!text.contains('\u{1b}'), "{} {format}", seen.name);
    }
}

/// At the width of an old terminal nothing is wider, the verdict fits its screen, and stands last.
#[test]
fn the_terminal_report_fits_the_width() {
    for Seen { name, report, .. } in all() {
        for (width, height) in [(60, 30), (80, 22), (120, 22)] {
            let style = Style {
                width,
                ..Style::PLAIN
            };
            let out = render(report, "terminal", style);
            for line in out.lines() {
                let wide = unicode_width::UnicodeWidthStr::width(line);
                assert!(wide <= width.into(), "{name} at {width}: {wide}: {line}");
            }
            let lines = out.lines().count();
            assert!(lines <= height, "{name} at {width}: {lines} lines\n{out}");
            let verdict = report
                .verdict
                .cause
                .as_ref()
                .map_or("no cause", |cause| &cause.id);
            let last = out.lines().last().expect("a line");
            assert!(last.contains(verdict), "{name} at {width}: {last}");
        }
    }
}

/// Words that stand where a run had nothing to fill in.
const UNFILLED: [&str; 16] = [
    "QUEUE",
    "VHOST",
    "ACTOR",
    "TASK_ID",
    "MESSAGE_ID",
    "ID_COLUMN",
    "STATUS_COLUMN",
    "WORKER_PID",
    "WORKER_LOG",
    "API_LOG",
    "FRAME",
    "PID",
    "MIGRATION_PID",
    "USER",
    "APP",
    "DUE",
];

/// What went wrong in the recordings: its name, the report, and the first screen at 80 columns.
fn failures() -> impl Iterator<Item = (&'static str, &'static Report, String)> {
    let style = Style {
        width: 80,
        ..Style::PLAIN
    };
    all().iter().filter_map(move |Seen { name, report, .. }| {
        let out = (report.verdict.exit_code != 0).then(|| render(report, "terminal", style))?;
        Some((name.as_str(), report, out))
    })
}

/// On the first screen of whatever went wrong stand who has to act and what to do first, with this run's own names.
#[test]
fn every_report_says_who_acts_and_what_to_do_first() {
    let unfilled = Regex::new(&format!(r"\b({})\b", UNFILLED.join("|"))).unwrap();
    let mut found = Vec::new();
    for (name, report, out) in failures() {
        if !out.contains("\n  Who acts ") {
            found.push(format!("{name}: nobody has to act"));
        }
        let (_, actions) = out.split_once("\nDo now\n").unwrap_or_default();
        let first = actions.split("\n  2. ").next().unwrap_or_default();
        if !first.starts_with("  1. ") {
            found.push(format!("{name}: nothing to do"));
        }
        let remedies = report.verdict.cause.iter().flat_map(|cause| &cause.remedies);
        for remedy in remedies.filter(|remedy| unfilled.is_match(remedy)) {
            found.push(format!("{name}: {remedy}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// As one line of words: where a line breaks says nothing.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At 80 columns: what has no room is left out, but never the place to look at, what is lost, or what to do.
#[test]
fn the_first_screen_keeps_what_matters_most() {
    let does_harm = Regex::new(r"(?i)\b(kill|pg_terminate_backend|terminate|purge|purge_queue)\b").unwrap();
    let mut found = Vec::new();
    for (name, report, out) in failures() {
        let flat = on_one_line(&out);
        let mut frames = report.verdict.traceback.iter().flat_map(|raised| &raised.frames);
        if let Some(frame) = frames.rfind(|frame| frame.application) {
            let file = frame.file.rsplit('/').next().unwrap_or_default();
            let place = format!("{file}:{}", frame.line);
            if !out.lines().any(|line| line.contains(&place)) {
                found.push(format!("{name}: {place} is cut"));
            }
        }
        let impact = report.verdict.impact.as_ref().expect("it failed");
        if !flat.contains(&format!("Impact {}", impact.sentence)) {
            found.push(format!("{name}: {} is cut", impact.sentence));
        }
        let remedies = &report
            .verdict
            .cause
            .as_ref()
            .map_or(Vec::new(), |cause| cause.remedies.clone());
        for remedy in remedies.iter().filter(|remedy| remedy.starts_with("For ")) {
            found.push(format!("{name}: another case's: {remedy}"));
        }
        if let Some(first) = remedies.first() {
            // What goes on is not ended.
            let harm = first.replace("kill -CONT", "");
            if does_harm.is_match(&harm) || first.starts_with("If ") {
                found.push(format!("{name}: first of all: {first}"));
            }
            let last = out.lines().last().unwrap_or_default();
            if !last.contains("): ") {
                found.push(format!("{name}: no sentence: {last}"));
            }
        }
        if report.verdict.cause.is_some() && !flat.contains("taskdiag explain ") {
            found.push(format!("{name}: no way to its page"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_jsonl_report_is_the_recording() {
    for Seen {
        name,
        timeline,
        report,
    } in all()
    {
        let out = render(report, "jsonl", Style::PLAIN);
        assert_eq!(out, recording::to_text(timeline), "{name}");
        assert_eq!(recording::parse(&out).unwrap().events, timeline.events, "{name}");
    }
}

/// `fixtures/record` submits this prompt with every task.
#[test]
fn task_arguments_are_in_no_format() {
    let script =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/record.d/stack.py")).unwrap();
    const PROMPT: &str = "why did it never run";
    assert!(script.contains(PROMPT));
    for (seen, format, text) in in_all_formats() {
        assert!(!text.contains(PROMPT), "{} {format}", seen.name);
    }
}
