//! Every notation in which a secret was ever seen in a log, and what only looks like one.

use secrecy::SecretString;

use super::Scrubber;

/// Stands for the secret.
const X: &str = "Zk7pQ2vX9mLw4r";

/// `{}` is the secret.
const NOTATIONS: &[&str] = &[
    // assignments
    "password={}",
    "password = {}",
    "password: {}",
    "password => {}",
    "password -> {}",
    "password := {}",
    "pass={}",
    "pw={}",
    "pwd={}",
    "passwd={}",
    "passphrase={}",
    "passcode={}",
    "secret={}",
    "client_secret={}",
    "token={}",
    "access_token={}",
    "api_key={}",
    "API-KEY: {}",
    "DB_PASS={}",
    "DJANGO_SECRET_KEY={}",
    "session={}",
    "sessionid={}",
    "session_id: {}",
    "jwt={}",
    "jwt: {}",
    "creds={}",
    "credential={}",
    "credentials: {}",
    "otp={}",
    "otp: {}",
    "pin: {}",
    "signature={}",
    "hmac={}",
    "hmac: {}",
    "password=b'{}'",
    "password='{}'",
    "password=\"{}\"",
    "password%3D{}",
    "password={}&user=u",
    "Passwort: {}",
    "contraseña={}",
    "mot de passe: {}",
    "senha={}",
    // JSON, JSON in JSON, Python
    "{\"password\":\"{}\"}",
    "{\"password\": \"{}\", \"a\": 1}",
    "{\\\"password\\\":\\\"{}\\\"}",
    "\"{\\\"token\\\": \\\"{}\\\"}\"",
    "{'password': '{}'}",
    "{'pass': '{}'}",
    "{'pw': '{}', 'a': 1}",
    "{'session': '{}'}",
    "{'X-Auth': '{}'}",
    "{\"x-auth-token\": [\"{}\"]}",
    "{'secret': ('{}',)}",
    "Password('{}')",
    "SecretStr('{}')",
    "api_token=SecretStr('{}')",
    "PlainCredentials('guest', '{}')",
    "auth=('u', '{}')",
    "auth=HTTPBasicAuth('u', '{}')",
    "credentials=('guest', '{}')",
    // sentences
    "password {}",
    "password is {}",
    "the password is {}.",
    "token {} was refused",
    "Password for user: {}",
    "using api key {} now",
    // markup and SQL
    "<password>{}</password>",
    "<ns:secret>{}</ns:secret>",
    "ALTER ROLE ops PASSWORD '{}'",
    "CREATE USER u IDENTIFIED BY '{}'",
    // URLs
    "amqp://u:{}@h:5672/v",
    "amqp://u:a/{}@h",
    "postgresql+asyncpg://u:{}@h/db",
    "redis://:{}@h:6379/0",
    "https://{}@github.com/x",
    "connect to u:{}@h:5672",
    "http://h/x?sig={}&a=1",
    "http://h/x?key={}",
    "http://h/cb?code={}&state=1",
    "http://h/x?X-Amz-Signature={}",
    "http://h/x?token={}",
    // headers
    "Authorization: Bearer {}",
    "Authorization: Basic {}",
    "authorization: Token {}",
    "Authorization: Digest username=\"u\", realm=\"r\", response=\"{}\"",
    "Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={}",
    "Proxy-Authorization: Basic {}",
    "{'Authorization': 'Bearer {}', 'x': 1}",
    "Cookie: a=1; session={}",
    "Set-Cookie: id={}; Path=/",
    "X-Api-Key: {}",
    "X-Auth-Token: {}",
    "Bearer {}",
    // command lines
    "dramatiq --password {} app",
    "tool --api-token={}",
    "curl -s -u me:{} http://h",
    "mysql -u me -p{}",
    "sshpass -p {} ssh h",
    // connection strings
    "Endpoint=sb://x/;SharedAccessKeyName=a;SharedAccessKey={}{}=",
    "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={}{}==",
    "Server=h;Uid=u;Pwd={};",
];

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
    // A container's id, as engines print it.
    "4fa3ca1b4c1b",
];

fn scrub(text: &str) -> String {
    Scrubber::new([SecretString::from("correct horse/battery")], false).outside_text(text)
}

#[test]
fn no_notation_shows_a_secret() {
    let mut seen = Vec::new();
    for notation in NOTATIONS {
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
            body: format!("{}{secret}", "x".repeat(at)),
            location: None,
            candidates: Vec::new(),
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
