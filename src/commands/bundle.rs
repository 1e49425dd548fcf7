//! `taskdiag bundle`: one run in one file, for whoever is to look at it.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::{load, note, read_recording, warn};
use crate::cli::{Bundle, Global};
use crate::config::{Config, redacted};
use crate::diagnosis::diagnose;
use crate::error::{Error, Result, exit};
use crate::report::{FORMATS, Report, Style};
use crate::scrubber::scrubber;
use crate::timeline::place::pid_words;
use crate::timeline::scrub::Scrubber;
use crate::timeline::{EventKind, Timeline, recording};

/// Of the end of each log.
const TAIL: u64 = 64 * 1024;

pub fn run(args: &Bundle, global: &Global) -> Result<u8> {
    let timeline = read_recording(&args.run)?.masked(false);
    let verdict = diagnose(&timeline);
    let report = Report::new(&timeline, &verdict);
    let cause = verdict.cause.as_ref().map_or("unknown", |cause| &cause.id);
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("taskdiag-{cause}.tar.gz")));
    let mut files = vec![
        ("run.jsonl".to_owned(), recording::to_text(&timeline)),
        ("versions.txt".to_owned(), versions(&timeline)),
    ];
    for (name, format) in [("verdict.txt", "terminal"), ("verdict.html", "html")] {
        let format = FORMATS.iter().find(|other| other.name == format);
        files.extend(format.map(|format| (name.to_owned(), (format.render)(&report, Style::PLAIN))));
    }
    // A run can be bundled where its configuration is not.
    match load(global, &[]) {
        Ok(config) => files.extend(of_configuration(&config, global)),
        Err(error) => warn(
            &format!("the archive holds no configuration and no logs: {error}"),
            &error.hint(),
        ),
    }
    pack(&path, &files).map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    note(&[
        format!("{}: {}", path.display(), names.join(", ")),
        "secrets and task arguments are masked; log lines are your application's own words: look through it before you send it"
            .into(),
    ]);
    Ok(exit::OK)
}

/// The configuration and the ends of the logs, without what is secret in them.
fn of_configuration(config: &Config, global: &Global) -> Vec<(String, String)> {
    let scrubber = scrubber(config, false);
    let mut files = Vec::new();
    if let Some(text) = redacted::file(global.config.as_deref()) {
        files.push(("taskdiag.toml".into(), scrubber.text(&text)));
    }
    let logs = [
        ("api", &config.api_log.files),
        ("worker", &config.worker.log.files),
    ];
    for (part, paths) in logs {
        for (at, path) in paths.iter().enumerate() {
            if let Some(text) = tail(path, &scrubber) {
                files.push((format!("{part}-{}.log", at + 1), text));
            }
        }
    }
    files
}

fn tail(path: &Path, scrubber: &Scrubber) -> Option<String> {
    let mut file = crate::bounded::open(path).ok()?;
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is whole only if the file begins with it.
    let text = match length > TAIL {
        true => text.split_once('\n').map_or("", |(_, rest)| rest),
        false => &text,
    };
    let lines: Vec<String> = text.lines().map(|line| scrubber.outside_text(line)).collect();
    Some(format!("{}\n", lines.join("\n")))
}

/// What ran, as far as the run has seen it.
fn versions(timeline: &Timeline) -> String {
    let mut lines = vec![
        concat!("taskdiag ", env!("CARGO_PKG_VERSION")).to_owned(),
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    ];
    for event in &timeline.events {
        match &event.kind {
            EventKind::Broker { .. } => lines.push(serde_json::to_string(&event.kind).unwrap_or_default()),
            EventKind::Environment(environment) => {
                let interpreter = environment.interpreter.as_ref();
                let interpreter = interpreter
                    .map(|one| format!("{} {}", one.implementation, one.version.as_deref().unwrap_or("?")));
                lines.push(format!(
                    "pid {}: {}",
                    pid_words(environment.pid),
                    interpreter.unwrap_or_default()
                ));
                for distribution in environment.distributions.iter().flatten() {
                    lines.push(format!("  {} {}", distribution.name, distribution.shown()));
                }
            }
            _ => {}
        }
    }
    format!("{}\n", lines.join("\n"))
}

fn pack(path: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    let mut archive = Builder::new(GzEncoder::new(
        std::fs::File::create(path)?,
        Compression::default(),
    ));
    for (name, text) in files {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("taskdiag/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish().map(drop)
}
