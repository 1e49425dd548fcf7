//! Where a report goes besides stdout: files, and an OpenTelemetry collector.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::bounded;
use crate::cli::Export;
use crate::config::SecretUrl;
use crate::error::{Error, Result};
use crate::report::{FORMATS, Format, Report, Style};

/// What OTLP exporters wait for an answer by default.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fails before the run rather than after it: wrong formats and addresses, and files that cannot be written.
pub fn ready(export: &Export, record: Option<&Path>) -> Result<()> {
    for path in &export.output {
        format_of(path)?;
    }
    if let Some(url) = &export.otlp {
        endpoint(url)?;
    }
    let paths = export
        .output
        .iter()
        .chain(&export.otlp_file)
        .map(PathBuf::as_path);
    for path in paths.chain(record) {
        writable(path).map_err(|source| Error::Unwritable {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// A file that was not there is not there afterwards, one that was keeps what it holds.
fn writable(path: &Path) -> std::io::Result<()> {
    match std::fs::metadata(path) {
        // A pipe or a device may wait for a reader when it is opened.
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => Ok(()),
        Ok(_) => OpenOptions::new().append(true).open(path).map(drop),
        Err(_) => {
            OpenOptions::new().write(true).create_new(true).open(path)?;
            std::fs::remove_file(path)
        }
    }
}

/// Writes the files. `printed`: what stands on stdout; a job of GitHub Actions gets its summary page, too.
pub fn write(report: &Report, printed: Format, export: &Export, style: Style) -> Result<()> {
    let style = Style {
        color: false,
        ascii: false,
        width: Style::PLAIN.width,
        ..style
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    for path in &export.output {
        let text = (format_of(path)?.render)(report, style);
        written(path, &text).map_err(failed(path))?;
    }
    if let Some(path) = &export.otlp_file {
        written(path, &trace(report)).map_err(failed(path))?;
    }
    let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|_| printed.name == "github");
    if let Some(path) = summary.map(PathBuf::from) {
        let text = rendered(report, "markdown", style);
        // Other steps' summaries stand there.
        let appended = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = appended {
            super::warn(
                &format!("cannot write the step's summary, {}: {error}", path.display()),
                "GITHUB_STEP_SUMMARY names it; the report is complete without it",
            );
        }
    }
    Ok(())
}

fn written(path: &Path, text: &str) -> std::io::Result<()> {
    bounded::create(path)?.write_all(text.as_bytes())
}

/// Sends the trace, if that was asked for. A receiver that fails is no news about the task: a warning.
pub async fn send(report: &Report, export: &Export) {
    let Some(Ok(endpoint)) = export.otlp.as_deref().map(endpoint) else {
        return;
    };
    if let Err(seen) = sent(report, &endpoint).await {
        let target = SecretUrl::from_text(endpoint.as_str()).redacted();
        super::warn(
            &format!("the trace could not be sent to {target}: {seen}"),
            "the URL is that of an OTLP/HTTP receiver (usually port 4318); --otlp-file writes the same to a file",
        );
    }
}

async fn sent(report: &Report, endpoint: &Url) -> std::result::Result<(), String> {
    let client = crate::tls::http()
        .timeout(TIMEOUT)
        .user_agent(concat!("taskdiag/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())?;
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
        .map_err(|error| crate::http::no_answer(error).1)?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(format!("HTTP {}", answer.status().as_u16())),
    }
}

fn trace(report: &Report) -> String {
    rendered(report, "otlp", Style::PLAIN)
}

fn rendered(report: &Report, format: &str, style: Style) -> String {
    FORMATS
        .iter()
        .find(|other| other.name == format)
        .map(|format| (format.render)(report, style))
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
    fn what_cannot_be_written_is_found_before_and_what_is_there_stays() {
        let folder = std::env::temp_dir().join(format!("taskdiag-export-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (old, new) = (folder.join("old.html"), folder.join("new.html"));
        std::fs::write(&old, "as it was").expect("written");
        assert!(writable(&old).is_ok() && writable(&new).is_ok());
        assert_eq!(std::fs::read_to_string(&old).expect("read"), "as it was");
        assert!(!new.exists());
        assert!(writable(&folder).is_err() && writable(&folder.join("none/x.html")).is_err());
        assert!(writable(Path::new("/dev/null")).is_ok());
        std::fs::remove_dir_all(folder).expect("removed");
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
