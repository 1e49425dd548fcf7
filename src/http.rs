//! HTTP clients, and what it means when nothing answers them.

use std::time::Duration;

use crate::config::Tls;
use crate::error::Unavailable;
use crate::timeline::NoAnswer;

/// A client that knows the private certificate authority and never follows redirects by itself.
pub fn client(tls: &Tls, timeout: Duration) -> Result<reqwest::Client, Unavailable> {
    build(builder(tls, timeout)?)
}

pub(crate) fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, Unavailable> {
    builder
        .build()
        .map_err(|error| Unavailable::new(format!("cannot set up HTTP: {error}")))
}

pub(crate) fn builder(tls: &Tls, timeout: Duration) -> Result<reqwest::ClientBuilder, Unavailable> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Unavailable::new(format!("{what}: {error}"));
    let mut builder = crate::tls::http()
        .timeout(timeout)
        .connect_timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        // A proxy of the desk must not get between a diagnosis and localhost.
        .no_proxy()
        .user_agent(concat!("taskdiag/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &tls.ca_file {
        let pem =
            std::fs::read(path).map_err(|error| wrong(&format!("cannot read {}", path.display()), &error))?;
        let certificate = reqwest::Certificate::from_pem(&pem)
            .map_err(|error| wrong(&format!("{} is not a PEM certificate", path.display()), &error))?;
        builder = builder.add_root_certificate(certificate);
    }
    if let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key) {
        let mut pem =
            std::fs::read(cert).map_err(|error| wrong(&format!("cannot read {}", cert.display()), &error))?;
        pem.extend(
            std::fs::read(key).map_err(|error| wrong(&format!("cannot read {}", key.display()), &error))?,
        );
        let identity = reqwest::Identity::from_pem(&pem).map_err(|error| {
            wrong(
                &format!("{} is not a PEM certificate with a key", cert.display()),
                &error,
            )
        })?;
        builder = builder.identity(identity);
    }
    Ok(builder)
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
    let lower = chain.to_lowercase();
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
