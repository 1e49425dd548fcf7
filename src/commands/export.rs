//! Where a report goes besides stdout: files, and an OpenTelemetry collector.

use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::cli::Export;
use crate::config::SecretUrl;
use crate::error::{Error, Result};
use crate::report::{FORMATS, Format, Report, Style};

/// What OTLP exporters wait for an answer by default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fails before the run rather than after it.
pub fn ready(export: &Export) -> Result<()> {
    for path in &export.output {
        format_of(path)?;
    }
    if let Some(url) = &export.otlp {
        endpoint(url)?;
    }
    Ok(())
}

pub fn write(report: &Report, export: &Export, verbose: bool) -> Result<()> {
    let style = Style {
        timeline: verbose,
        ..Style::PLAIN
    };
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })
    };
    for path in &export.output {
        write(path, (format_of(path)?.render)(report, style))?;
    }
    if let Some(path) = &export.otlp_file {
        write(path, trace(report))?;
    }
    Ok(())
}

/// Sends the trace, if that was asked for.
pub async fn send(report: &Report, export: &Export) -> Result<()> {
    let Some(url) = &export.otlp else {
        return Ok(());
    };
    let endpoint = endpoint(url)?;
    let failed = |seen: String| {
        Error::Could {
        action: "send the trace",
        target: SecretUrl::from_text(endpoint.as_str()).redacted(),
        seen,
        hint: "the URL is that of an OTLP/HTTP receiver (usually port 4318); --otlp-file writes the same to a file".into(),
    }
    };
    let client = crate::tls::http()
        .timeout(TIMEOUT)
        .user_agent(concat!("taskdiag/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut request = client
        .post(endpoint.clone())
        .header("content-type", "application/json")
        .body(trace(report));
    for (name, value) in headers(&std::env::var("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default()) {
        request = request.header(name, value);
    }
    let answer = request
        .send()
        .await
        .map_err(|error| failed(crate::http::no_answer(error).1))?;
    if !answer.status().is_success() {
        return Err(failed(format!("HTTP {}", answer.status().as_u16())));
    }
    Ok(())
}

fn trace(report: &Report) -> String {
    FORMATS
        .iter()
        .find(|format| format.name == "otlp")
        .map(|format| (format.render)(report, Style::PLAIN))
        .unwrap_or_default()
}

/// A base URL gets the path that the protocol fixes for traces; a full one stays as it is.
fn endpoint(text: &str) -> Result<Url> {
    let wrong = |seen: &str| Error::Usage {
        message: format!("--otlp {}: {seen}", SecretUrl::from_text(text).redacted()),
        hint: "write the URL of an OTLP/HTTP receiver, e.g. --otlp http://localhost:4318".into(),
    };
    let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("only http and https"));
    }
    if !url.path().ends_with("/v1/traces") {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

/// `name=value,name=value`, values percent-encoded: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.
fn headers(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let value =
                url::form_urlencoded::parse(format!("v={}", value.trim().replace('+', "%2B")).as_bytes())
                    .next()
                    .map(|(_, value)| value.into_owned());
            (name.trim().to_owned(), value.unwrap_or_default())
        })
        .collect()
}

/// The format a file's extension asks for.
fn format_of(path: &Path) -> Result<Format> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    FORMATS
        .iter()
        .find(|format| extension.is_some_and(|extension| format.extensions.contains(&extension)))
        .copied()
        .ok_or_else(|| Error::UnknownFormat {
            path: path.to_owned(),
            known: FORMATS
                .iter()
                .flat_map(|format| format.extensions)
                .map(|extension| format!(".{extension}"))
                .collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_gets_the_path_of_traces() {
        let path = |text: &str| endpoint(text).map(String::from).unwrap();
        assert_eq!(path("http://localhost:4318"), "http://localhost:4318/v1/traces");
        assert_eq!(path("https://tempo/otlp/"), "https://tempo/otlp/v1/traces");
        assert_eq!(path("http://c/v1/traces"), "http://c/v1/traces");
        assert!(endpoint("localhost:4318").is_err());
        assert!(endpoint("http://user:word@").is_err_and(|error| !error.to_string().contains("word")));
    }

    #[test]
    fn headers_are_read_as_exporters_read_them() {
        let read = headers("Authorization=Basic%20YQ==, x=1+1,nonsense");
        let expected = [("Authorization", "Basic YQ=="), ("x", "1+1")];
        assert_eq!(
            read,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
