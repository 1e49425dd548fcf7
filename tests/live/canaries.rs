//! Secrets wherever they may stand in a real system, counted where they can be read afterwards.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use crate::lab::{Lab, run, signal, until};
use crate::promises::guardian_of;
use crate::stack::Stack;
use crate::worker::healthy;

/// Nobody has told taskdiag of so many at most that can be read.
const READABLE: usize = 5;

/// What was hidden where. Each value is like no other.
#[derive(Default)]
struct Canaries {
    hidden: Vec<(String, String)>,
}

impl Canaries {
    fn hide(&mut self, place: impl Into<String>) -> String {
        let number = self.hidden.len();
        // Letters and digits mixed as generators do it, and none alike at its beginning.
        let value = format!("{:03x}Zk7pQ2v{:03}X9mLw4r", (number * 2654435761) % 4096, number);
        self.hidden.push((place.into(), value.clone()));
        value
    }
}

/// Names of variables, some of which only look harmless.
const VARIABLES: &[&str] = &[
    "API_TOKEN",
    "PYTHON_API_TOKEN",
    "PYTHONANYWHERE_PASSWORD",
    "LC_PASSWORD",
    "dramatiq_queue_secret",
    "ENV",
    "SENTRY_DSN",
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "STRIPE_KEY",
    "DJANGO_SECRET_KEY",
    "COLOUR",
    "HOSTNAME_OF_OTHERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "CELERY_RESULT_BACKEND",
    "PIP_INDEX_URL",
];

/// The command line of a consumer that is none of ours.
const FLAGS: &[&str] = &[
    "--password {}",
    "--password={}",
    "-p {}",
    "-p{}",
    "-u me:{}",
    "--token {}",
    "key={}",
    "{}",
    "--url amqp://u:{}@h",
    "--header=X-Auth:{}",
    "--dsn postgres://u:{}@h/x",
    "--config-json {\"password\":\"{}\"}",
];

fn log_line(log: &mut String, text: &str) {
    let _ = writeln!(
        log,
        "[2026-01-01 00:00:00,000] [PID 1] [MainThread] [ops] [ERROR] {text}"
    );
}

/// How people write a secret that the configuration holds.
fn encodings(secret: &str) -> Vec<String> {
    let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    vec![
        secret.to_owned(),
        percent.replace("%2F", "%2f"),
        percent,
        serde_json::to_string(secret).expect("JSON"),
        format!("'{}'", secret.replace('\\', "\\\\").replace('\'', "\\'")),
        STANDARD.encode(secret),
        STANDARD.encode(format!("ops:{secret}")),
    ]
}

#[test]
fn hardly_a_canary_can_be_read() {
    let mut canaries = Canaries::default();
    let mut stack = Stack::new("canaries");
    let mut log = String::new();
    let notations = include_str!("../../src/timeline/scrub/notations.txt");
    for notation in notations.lines().filter(|line| !line.starts_with("# ")) {
        let secret = canaries.hide(format!("log: {notation}"));
        log_line(&mut log, &notation.replace("{}", &secret));
    }
    // What the configuration holds.
    let [rabbit, postgres, header] = ["rabbit", "postgres", "header"].map(|of| {
        let secret = canaries.hide(format!("configured: {of}"));
        format!("{secret}/e&'\"x")
    });
    let configured = [&rabbit, &postgres, &header];
    for text in configured.iter().flat_map(|secret| encodings(secret)) {
        log_line(&mut log, &format!("seen {text} there"));
    }
    let quoted = |secret: &str| utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let user = stack.id.clone();
    let lab = Lab::get();
    let administrator = json!({ "password": rabbit, "tags": "administrator" });
    lab.manage("PUT", &format!("users/{user}"), Some(administrator));
    let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(everything));
    let mut worker = healthy();
    for name in VARIABLES {
        worker = worker.env(name, &canaries.hide(format!("environment: {name}")));
    }
    stack.worker(worker);
    stack.api(&[]);
    let doubled = postgres.replace('\'', "''");
    stack.sql(&format!(
        "CREATE ROLE \"{user}\" LOGIN PASSWORD '{doubled}'; GRANT SELECT ON task TO \"{user}\""
    ));
    // A stranger that consumes another queue of the same vhost.
    let arguments: Vec<String> = FLAGS
        .iter()
        .flat_map(|flag| {
            let secret = canaries.hide(format!("command line: {flag}"));
            let words: Vec<String> = flag
                .splitn(2, ' ')
                .map(|word| word.replace("{}", &secret))
                .collect();
            words
        })
        .collect();
    let stranger = stack.dir.join("stranger.py");
    fs::write(
        &stranger,
        format!(
            "import pika\nc = pika.BlockingConnection(pika.URLParameters('{}'))\nch = c.channel()\nch.queue_declare('strangers')\nch.basic_consume('default.XQ', lambda *a: None)\nch.start_consuming()\n",
            stack.amqp_url("lab:lab")
        ),
    )
    .expect("written");
    let mut foreign = Command::new(stack.venv().join("bin/python"));
    foreign.arg(&stranger).args(&arguments).current_dir(&stack.dir);
    stack.start("stranger", "stranger.log", foreign);
    // Arguments of the task, at every depth.
    let mut argument = |place: &str| canaries.hide(format!("argument: {place}"));
    let body = json!({
        "task_type": "agent_task",
        "input_data": {
            "prompt": argument("prompt"), "list": [argument("list"), { "deep": argument("deep") }],
            "sentence": format!("call {} tomorrow", argument("sentence")), "password": argument("password"),
        }
    });
    stack.set("api.body", toml::Value::try_from(&body).expect("TOML"));
    stack.set(
        "api.headers",
        toml::Table::from_iter([("X-Custom".to_owned(), header.clone().into())]),
    );
    stack.set(
        "broker.amqp_url",
        stack.amqp_url(&format!("{user}:{}", quoted(&rabbit))),
    );
    stack.set(
        "broker.management_url",
        format!("http://{user}:{}@{}", quoted(&rabbit), lab.management()),
    );
    stack.set(
        "database.url",
        stack.database_url(&format!("{user}:{}", quoted(&postgres))),
    );
    let mut shown = Vec::new();
    look(&mut stack, &log, true, &mut shown);
    // An API that tells what it should not.
    let server = run(MockServer::start());
    let mut answer = |place: &str| canaries.hide(format!("answer: {place}"));
    let refusal = ResponseTemplate::new(422)
        .insert_header(
            "Location",
            format!("http://h/?token={}", answer("Location")).as_str(),
        )
        .insert_header(
            "Set-Cookie",
            format!("session={}; Path=/", answer("Set-Cookie")).as_str(),
        )
        .insert_header("X-Debug", answer("X-Debug").as_str())
        .set_body_json(json!({
            "password": answer("password"), "token": [answer("list")], "auth": { "secret": answer("deep") },
            "detail": format!("postgres://u:{}@h/db refused", answer("URL")),
            "headers": format!("Authorization: Bearer {}", answer("header")), "echo": header,
        }));
    run(Mock::given(matchers::method("POST"))
        .respond_with(refusal)
        .mount(&server));
    stack.set("api.url", server.uri());
    look(&mut stack, &log, false, &mut shown);
    stack.sql(&format!("DROP OWNED BY \"{user}\"; DROP ROLE \"{user}\""));
    lab.manage("DELETE", &format!("users/{user}"), None);

    let readable: BTreeSet<String> = canaries
        .hidden
        .iter()
        .flat_map(|(place, secret)| {
            let seen = shown.iter().filter(|(_, text)| text.contains(secret.as_str()));
            seen.map(move |(where_seen, _)| format!("{place} in {where_seen}"))
        })
        .collect();
    let places: BTreeSet<&str> = readable
        .iter()
        .filter_map(|text| Some(text.rsplit_once(" in ")?.0))
        .collect();
    eprintln!(
        "{} of {} canaries can be read: {places:#?}",
        places.len(),
        canaries.hidden.len()
    );
    assert!(canaries.hidden.len() >= 180, "{}", canaries.hidden.len());
    assert!(places.len() <= READABLE, "{readable:#?}");
    assert!(
        !places.iter().any(|place| place.starts_with("configured")),
        "{readable:#?}"
    );
    for secret in configured {
        for text in encodings(secret) {
            let place = shown.iter().find(|(_, shown)| shown.contains(&text));
            assert!(place.is_none(), "{text} in {place:?}");
        }
    }
}

/// A run, with all that it shows to anybody; then everything else that shows something.
fn look(stack: &mut Stack, log: &str, everything: bool, shown: &mut Vec<(String, String)>) {
    let folder = stack.dir.clone();
    let append = |file: &str| {
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(folder.join(file))
            .expect("the log");
        file.write_all(log.as_bytes()).expect("written");
    };
    let page = |extension: &str| folder.join(format!("canaries.{extension}"));
    let extensions = ["txt", "json", "md", "xml", "mmd", "html"];
    let mut arguments = vec![
        "-v".to_owned(),
        "--otlp-file".to_owned(),
        page("otlp").display().to_string(),
    ];
    for extension in extensions {
        arguments.extend(["--output".to_owned(), page(extension).display().to_string()]);
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    append("worker.log");
    append("api.log");
    let trace = stack
        .taskdiag("trace")
        .args(["--for", "12s", "--config"])
        .arg(stack.write_config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("taskdiag starts");
    let mut running = stack.start_diagnose_with(&words, &[("TASKDIAG_LOG", "trace")]);
    until("a guardian stands by", || {
        running.has_ended() || guardian_of(&running).is_some()
    });
    for pid in [Some(running.pid()), guardian_of(&running)].into_iter().flatten() {
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            shown.push((
                format!("{file} of {pid}"),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    append("worker.log");
    append("api.log");
    let verdict = running.finish_quietly(stack);
    for (place, text) in [
        ("stdout", &verdict.stdout),
        ("stderr", &verdict.stderr),
        ("report", &verdict.text),
    ] {
        shown.push((place.into(), text.clone()));
    }
    let recording = fs::read_to_string(&verdict.recording).expect("a recording");
    assert!(
        recording.contains("seen ***"),
        "the log was read:\n{}",
        verdict.explain()
    );
    shown.push(("recording".into(), recording));
    for extension in extensions.into_iter().chain(["otlp"]) {
        let text = fs::read_to_string(page(extension)).expect("a report");
        assert!(!text.is_empty());
        shown.push((extension.into(), text));
    }
    signal("INT", trace.id());
    let traced = trace.wait_with_output();
    if !everything {
        return;
    }
    for format in ["github", "slack"] {
        let output = stack
            .taskdiag("report")
            .arg(&verdict.recording)
            .args(["--format", format])
            .output();
        shown.push((
            format.into(),
            String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned(),
        ));
    }
    let compared = stack
        .taskdiag("compare")
        .arg(&verdict.recording)
        .arg(&verdict.recording)
        .output();
    let checked = stack
        .taskdiag("check")
        .arg("--config")
        .arg(stack.write_config())
        .output();
    let bundle = stack.dir.join("canaries.tar.gz");
    let bundled = stack
        .taskdiag("bundle")
        .arg(&verdict.recording)
        .arg("-o")
        .arg(&bundle)
        .output();
    let unpacked = Command::new("tar").arg("-xzOf").arg(&bundle).output();
    for (place, output) in [
        ("compare", compared),
        ("check", checked),
        ("bundle", bundled),
        ("bundle's files", unpacked),
        ("trace", traced),
    ] {
        let output = output.expect("it runs");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        shown.push((place.into(), text));
    }
}
