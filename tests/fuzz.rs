//! Whatever comes from outside is read without a panic and without end: recordings, logs, messages, the
//! configuration. (The reader of AMQP has its own, beside its code.)
//!
//! `PROPTEST_CASES=20000 cargo test --test fuzz` looks longer; `.ci/nightly` does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use taskdiag::config::Config;
use taskdiag::diagnosis;
use taskdiag::framework::{ALL, Envelope, Header, Properties};
use taskdiag::report::{FORMATS, Report, Style};
use taskdiag::timeline::recording;
use taskdiag::timeline::scrub::Scrubber;
use taskdiag::vantage::log::folder::Folder;

/// Lines of short recordings, which are cut up and put together.
static LINES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runs");
    ["succeeded", "actor-raised", "no-consumer", "row-never-written"]
        .iter()
        .filter_map(|name| fs::read_to_string(runs.join(name).join("timeline.jsonl")).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
});

/// What breaks readers: ends of things, signs of other layers, numbers at their limits.
fn splinter() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "\"",
            "\\",
            "{",
            "}",
            "[",
            "]",
            "null",
            "-1",
            "1e999",
            "18446744073709551616",
            "\u{0}",
            "\u{1b}[2K",
            "\u{202e}",
            "\u{fffe}",
            "\n",
            "\r",
            ",",
            ":",
            "::error::",
            "]]>",
            "<script>",
            "\\ud800",
            "NaN",
            "''",
        ])
        .prop_map(str::to_owned),
    ]
}

fn broken(text: &str, at: usize, length: usize, with: &str) -> String {
    let floor = |at: usize| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (from, to) = (floor(at), floor(at + length));
    format!("{}{with}{}", &text[..from], &text[to..])
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn recordings(
        picked in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        place in any::<prop::sample::Index>(),
        at in 0..400_usize,
        length in 0..40_usize,
        with in splinter(),
    ) {
        let mut lines = vec![LINES[0].clone()];
        lines.extend(picked.iter().map(|index| index.get(&LINES).clone()));
        let which = place.index(lines.len());
        lines[which] = broken(&lines[which], at, length, &with);
        if let Ok(timeline) = recording::parse(&lines.join("\n")) {
            let verdict = diagnosis::diagnose(&timeline);
            let report = Report::new(&timeline, &verdict);
            for format in FORMATS {
                let text = (format.render)(&report, Style::PLAIN);
                prop_assert!(!text.contains(['\u{1b}', '\u{202e}']), "{}", format.name);
                let obeyed = |line: &str| line.trim_start().starts_with("::stop-commands");
                prop_assert!(!text.lines().any(obeyed), "{}", format.name);
            }
        }
    }

    #[test]
    fn logs(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        words in prop::collection::vec(splinter(), 0..20),
        chunk in 1..64_usize,
    ) {
        let mut all = bytes;
        for word in &words {
            all.extend_from_slice(b"[2026-11-28 10:00:00,000] [PID 1] [Thread-4] [app] [ERROR] ");
            all.extend_from_slice(word.as_bytes());
            all.push(b'\n');
        }
        let mut folder = Folder::new(None);
        let mut lines = Vec::new();
        for part in all.chunks(chunk) {
            lines.extend(folder.feed(part));
        }
        lines.extend(folder.flush());
        for (line, _) in lines {
            for framework in ALL {
                let _ = line.log_event(framework);
            }
        }
    }

    #[test]
    fn messages(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            (0..300_usize, 0..30_usize, splinter()).prop_map(|(at, length, with)| {
                let sent = r#"{"queue_name":"default","actor_name":"act","args":[],"kwargs":{"task_id":"x"},"options":{"eta":1},"message_id":"0a1b","message_timestamp":1}"#;
                broken(sent, at, length, &with).into_bytes()
            }),
        ],
        name in splinter(),
        value in splinter(),
        encoding in prop::option::of(splinter()),
    ) {
        for framework in ALL {
            let envelope = Envelope {
                headers: vec![(name.as_str().into(), Header::Text(value.as_str().into()))],
                properties: Properties {
                    content_type: Some("application/json".into()),
                    content_encoding: encoding.as_deref().map(Into::into),
                    correlation_id: Some(value.as_str().into()),
                    reply_to: None,
                    priority: None,
                    expiration_ms: Some(i64::MAX),
                },
                body: body.as_slice().into(),
            };
            let _ = framework.decode(&envelope, true);
            let _ = framework.decode(&envelope, false);
        }
    }

    #[test]
    fn configurations(at in 0..600_usize, length in 0..20_usize, with in splinter()) {
        let text = "[api]\nurl = \"http://localhost:8000\"\nsubmit_path = \"/t\"\nbody = { a = 1 }\n\
            [broker]\namqp_url = \"amqp://u:hunter2hunter2@h:5672/v\"\nmanagement_url = \"http://h\"\nqueue = \"q\"\n\
            [database]\nurl = \"postgres://u:hunter2hunter2@h/db\"\ntable = \"t\"\nid_column = \"i\"\nstatus_column = \"s\"\n\
            [worker]\ncommand = [\"dramatiq\", \"app\"]\n[timing]\nsilence = \"2s\"\n";
        let folder = std::env::temp_dir().join(format!("taskdiag-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("taskdiag.toml");
        fs::write(&path, broken(text, at, length, &with)).expect("written");
        if let Err(error) = Config::of_file(&path) {
            prop_assert!(!error.to_string().contains("hunter2hunter2"), "{error}");
            prop_assert!(!error.hint().to_string().contains("hunter2hunter2"));
        }
    }

    /// However it is wrapped.
    #[test]
    fn secrets(before in splinter(), after in splinter(), upper in any::<bool>()) {
        let secret = "p4ss/w0rd'&\"x\\%y";
        let scrubber = Scrubber::new([secret.to_owned().into()], false);
        let mut percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if !upper {
            percent = percent.to_lowercase();
        }
        let quoted = serde_json::to_string(secret).expect("JSON");
        for form in [secret, quoted.trim_matches('"')] {
            let clean = scrubber.outside_text(&format!("{before}{form}{after}"));
            prop_assert!(!clean.contains("w0rd"), "{clean}");
        }
        // Nobody encodes letters; if somebody does, nobody reads it either.
        prop_assert!(!scrubber.outside_text(&percent).contains("w0rd"));
    }
}
