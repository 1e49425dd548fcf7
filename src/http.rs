//! HTTP clients, and what it means when nothing answers them.

use std::time::Duration;

use crate::bounded;
use crate::config::Tls;
use crate::error::Unavailable;
use crate::timeline::NoAnswer;

/// A client that knows the private certificate authority and never follows redirects by itself.
pub fn client(tls: &Tls, timeout: Duration) -> Result<reqwest::Client, Unavailable> {
    build(builder(tls, timeout)?)
}

pub(crate) fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Unavailable> {
    builder.build().map_err(|error| {
        let (_, chain) = no_answer(error);
        Unavailable::new(format!("cannot set up HTTP: {chain}"))
            .hint("do `broker.client_cert` and `broker.client_key` belong together?")
    })
}

pub(crate) fn builder(tls: &Tls, timeout: Duration) -> Result<reqwest::ClientBuilder, Unavailable> {
    let builder = crate::tls::http()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        // A proxy of the desk must not get between a diagnosis and localhost.
        .no_proxy()
        .user_agent(concat!("taskdiag/", env!("CARGO_PKG_VERSION")));
    if tls.is_empty() {
        return Ok(builder);
    }
    let mut config = crate::tls::client_config(tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(builder.tls_backend_preconfigured(config))
}

/// Sorts a transport error, and says it without the URL (which may hold credentials).
pub fn no_answer(error: reqwest::Error) -> (NoAnswer, String) {
    let error = error.without_url();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        let text = inner.to_string();
        if !chain.contains(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        source = inner.source();
    }
    if chain.contains("UnknownIssuer") && !crate::tls::has_roots() {
        chain.push_str(" (no CA certificates were found: install ca-certificates, or set ca_file)");
    }
    let lower = chain.to_lowercase();
    if let Some(seen) = crate::limits::behind(&error) {
        return (NoAnswer::OwnLimit, format!("{seen}: {chain}"));
    }
    let why = if error.is_timeout() && !error.is_connect() {
        NoAnswer::Timeout
    } else if lower.contains("dns error") || lower.contains("lookup address") {
        NoAnswer::Dns
    } else if lower.contains("certificate")
        || lower.contains("tls")
        || lower.contains("handshake")
        // What a port answers that does not speak TLS.
        || lower.contains("corrupt message")
    {
        NoAnswer::Tls
    } else if error.is_connect() {
        NoAnswer::Connect
    } else {
        NoAnswer::Broken
    };
    (why, chain)
}

/// What to do about an error of TLS, or of TLS meeting what is none.
pub fn tls_hint(error: &str, speaks_tls: bool) -> Option<String> {
    let lower = error.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["corrupt message", "invalidcontenttype", "wrong version number"]) {
        return Some(
            "that port does not speak TLS: use amqp:// (5672) or http:// (15672), or the port for TLS".into(),
        );
    }
    if !speaks_tls {
        return says(&[
            "connection aborted",
            "connection reset",
            "unexpected eof",
            "broken pipe",
            "incomplete message",
        ])
        .then(|| {
            "whoever listens there hung up: is it the right port (AMQP 5672, management API 15672), or does it expect TLS (amqps:// on 5671, https:// on 15671)?"
                .into()
        });
    }
    let hint = if says(&["unknownissuer", "unknown issuer"]) {
        "set `broker.ca_file` to the certificate of the authority that signed the broker's, or to the broker's own if it is self-signed"
    } else if says(&["causedasendentity"]) {
        "it is the certificate of an authority, as `openssl req -x509` makes one, and not one of those in `broker.ca_file`: set `broker.ca_file` to that very certificate"
    } else if says(&["notvalidforname", "not valid for name"]) {
        "use one of the names that the certificate is for as the host in the URL; one without any (openssl x509 -noout -ext subjectAltName) serves nobody, since the name in its subject no longer counts"
    } else if says(&["expired"]) && !says(&["alert"]) {
        "the broker's certificate has expired: renew it (or correct this machine's clock)"
    } else if says(&[
        "alert",
        "certificaterequired",
        "certificate required",
        "handshakefailure",
        "handshake failure",
    ]) {
        "the broker refuses our side: it may want a client certificate, a current one (`broker.client_cert` and `broker.client_key`)"
    } else if says(&["keymismatch", "inconsistentkeys"]) {
        "`broker.client_key` does not belong to `broker.client_cert`"
    } else if says(&["certificate", "tls", "handshake"]) {
        "look at the certificates: `broker.ca_file`, `broker.client_cert`, `broker.client_key`"
    } else {
        return None;
    };
    Some(hint.into())
}

/// An answer of the API, of which a status and an id are needed.
pub const ANSWER: u64 = 2 * bounded::MIB;
/// An answer of the management API that is kept as JSON, which takes many times its length.
pub const OBJECT: u64 = 16 * bounded::MIB;
/// A list of the management API: ten thousand queues are about 10 MiB.
pub const LIST: u64 = 64 * bounded::MIB;

/// Why a body could not be read.
#[derive(Debug)]
pub enum NoBody {
    TooLong(String),
    Broken(reqwest::Error),
}

impl From<NoBody> for String {
    fn from(trouble: NoBody) -> Self {
        match trouble {
            NoBody::TooLong(text) => text,
            NoBody::Broken(error) => no_answer(error).1,
        }
    }
}

/// All of a body, chunk by chunk, unless it is longer than `most`.
pub async fn body(mut response: reqwest::Response, most: u64) -> std::result::Result<Vec<u8>, NoBody> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(NoBody::Broken)? {
        if (bytes.len() + chunk.len()) as u64 > most {
            return Err(NoBody::TooLong(format!(
                "the answer is longer than {} MiB",
                most / bounded::MIB
            )));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Percent-encodes one path segment, e.g. the vhost `/` for the management API.
pub fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
