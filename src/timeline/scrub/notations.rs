//! Every notation in which a secret was ever seen in a log, and what only looks like one.

use secrecy::SecretString;

use super::Scrubber;

/// Stands for the secret.
const X: &str = "Zk7pQ2vX9mLw4r";

/// `{}` is the secret. A file, as the live tests write all of them into a log.
const NOTATIONS: &str = include_str!("notations.txt");

fn notations() -> impl Iterator<Item = &'static str> {
    NOTATIONS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
}

/// Tokens that are known by their shape alone. Each is put together, so that no scanner of this repository
/// takes it for a leaked one.
fn shapes() -> Vec<String> {
    let letters = "Zk7pQ2vX9mLw4rAbC3dEf5GhJ6kLm8NpQ1rS2tUvWxYz0aB";
    let hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let capitals = "ZK7PQ2VX9MLW4RABC3DEF5GHJ6KLM8NPQ1RS2TUVWXYZ0AB";
    [
        ("AKIA", &capitals[..16]),
        ("ASIA", &capitals[..16]),
        ("ghp_", &letters[..36]),
        ("github_pat_", &letters[..40]),
        ("glpat-", &letters[..20]),
        ("sk_live_", &letters[..24]),
        ("rk_live_", &letters[..24]),
        ("sk-proj-", &letters[..40]),
        ("sk-ant-", &letters[..40]),
        ("AIza", &letters[..35]),
        ("npm_", &letters[..36]),
        ("hf_", &letters[..34]),
        ("xoxb-", &letters[..24]),
        ("xapp-", &letters[..24]),
        ("SK", &hex[..32]),
        ("dop_v1_", &hex[..64]),
        ("pypi-", &letters[..40]),
        ("dapi", &hex[..32]),
        ("AGE-SECRET-KEY-1", &capitals[..40]),
        ("pscale_tkn_", &letters[..40]),
        ("dp.pt.", &letters[..43]),
        ("duffel_live_", &letters[..43]),
        ("pul-", &hex[..40]),
        ("PMAK-0123456789abcdef01234567-", &hex[..34]),
        ("ntn_", "01234567890Zk7pQ2vX9mLw4rAbC3dEf5GhJ6kLm8NpQ1r"),
        ("LTAI", &letters[..20]),
        ("hvs.", &letters[..24]),
        (
            "https://hooks.slack.com/services/",
            "T00000000/B00000000/Zk7pQ2vX9mLw4r",
        ),
        ("https://discord.com/api/webhooks/1234567890/", &letters[..40]),
        ("SG.", "Zk7pQ2vX9mLw4rAbC3dEf5.Zk7pQ2vX9mLw4rAbC3dEf5GhJ6kLm8Np"),
        ("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxIn0.Zk7pQ2vX9mLw4r"),
    ]
    .iter()
    .map(|(prefix, rest)| format!("{prefix}{rest}"))
    .collect()
}

/// What reads much the same, and has to stay as it is.
const HARMLESS: &[&str] = &[
    "password authentication failed for user \"ops\"",
    "the token was refused",
    "token=None",
    "{'password': None, 'token': null}",
    "secret is missing",
    "wrong user or password",
    "TypeError: act() got an unexpected keyword argument 'password'",
    "the session is closed",
    "session: closed",
    "session=<sqlalchemy.orm.session.Session object at 0x7f3a2c1d>",
    "signature: (task_id, prompt)",
    "auth: failed",
    "pin: broken",
    "Received message act(…) with id '0a1b2c3d-4e5f-6789-abcd-ef0123456789'.",
    "GET http://h/tasks/0a1b2c3d-4e5f-6789-abcd-ef0123456789?page=2",
    "http://localhost:8000/x",
    "amqp://h1:5672,amqp://h2:5672",
    "postgres://h:5432/db?application_name=a@b",
    "mail to a@b.example, see http://h/x",
    "celery@worker-1.example ready",
    "PWD=/srv/app",
    "OLDPWD=/srv/2026-app1",
    "File \"/srv/app/token.py\", line 3, in token",
    "app.auth.token2session: loaded",
    "jinja2.exceptions.TemplateNotFound: pass.html",
    "ConnectionError: [Errno 111] connect to 127.0.0.1:5672",
    "dramatiq --processes 2 --threads 4 app",
    "queue default.DQ, consumer ctag1.0a1b2c",
    "bypass=1 compass=2",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 is deployed",
    "image sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "at 2026-11-29T09:00:00.123456+00:00 it was done",
    "task_id=task_0109f611418943c39a75dbc1bb8d4874",
    "message_id=0a1b2c3d-4e5f-6789-abcd-ef0123456789 retries=3",
    "api key is missing",
    "the secret key is not configured",
    "access key: denied",
    "KeyError: 'token'",
    "File \"/v/lib/python3.12/site-packages/jwt/api_jwt.py\", line 210, in decode",
    "jwt.exceptions.ExpiredSignatureError: Signature has expired",
    "redis.exceptions.AuthenticationError: invalid password",
    "(psycopg2.OperationalError) password authentication failed for user \"ops\"",
    "(403) 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN'",
    "app.sessions.v2.store_4f3a9c: loaded 12 of 30",
    "module app.auth.oauth2_tokens has no attribute refresh",
    "una parola: ciao",
    // A container's id, as engines print it.
    "4fa3ca1b4c1b",
];

fn scrub(text: &str) -> String {
    Scrubber::new([SecretString::from("correct horse/battery")], false).outside_text(text)
}

#[test]
fn no_notation_shows_a_secret() {
    let mut seen = Vec::new();
    for notation in notations() {
        let text = notation.replace("{}", X);
        let clean = scrub(&format!("12:00 INFO {text}"));
        if clean.contains(X) || !clean.contains("***") {
            seen.push(format!("{text}  →  {clean}"));
        }
    }
    assert!(seen.is_empty(), "{} shown:\n{}", seen.len(), seen.join("\n"));
}

#[test]
fn no_token_is_shown_wherever_it_stands() {
    for token in shapes() {
        for text in [format!("using {token} now"), format!("x={token}"), token.clone()] {
            let clean = scrub(&text);
            let end = &token[token.len() - 12..];
            assert!(!clean.contains(end), "{clean}");
        }
    }
}

#[test]
fn what_only_looks_like_one_stays() {
    for harmless in HARMLESS {
        assert_eq!(&scrub(harmless), harmless);
    }
}

#[test]
fn a_configured_secret_goes_in_every_encoding() {
    for text in [
        "correct horse/battery",
        "correct%20horse%2Fbattery",
        "correct%20horse%2fbattery",
        "correct+horse%2Fbattery",
        "amqp://u:correct%20horse/battery@h",
        "xY29ycmVjdCBob3JzZS9iYXR0ZXJ5x",
    ] {
        let clean = scrub(text);
        assert!(
            !clean.contains("battery") && !clean.contains("b3JzZS9iY"),
            "{clean}"
        );
    }
}

/// Wherever a limit cuts it.
#[test]
fn what_is_cut_is_masked_before() {
    use crate::timeline::EventKind;
    let secret = "correct horse/battery";
    let scrubber = Scrubber::new([SecretString::from(secret)], false);
    for at in 1900..2010 {
        let kind = EventKind::Answered {
            status: 200,
            latency_ms: 1.0,
            task_id: None,
            new_id: false,
            body: format!("{}{secret}", "x".repeat(at)),
            location: None,
            candidates: Vec::new(),
            routes: Vec::new(),
        };
        let EventKind::Answered { body, .. } = scrubber.event(kind) else {
            panic!("another event");
        };
        assert!(
            !body.contains("corr") && body.chars().count() <= 2000,
            "{at}: {body}"
        );
    }
    for kept in 4..secret.len() {
        let text = format!("{}{}", "x".repeat(super::LINE + 10), &secret[..kept]);
        let clean = scrubber.outside_start(&text, usize::MAX);
        assert!(!clean.contains("corr"), "{kept}");
    }
}
