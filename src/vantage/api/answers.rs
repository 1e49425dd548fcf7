//! Whether the API answers at all, without a submission.

use std::time::Duration;

use super::{endpoint, is_no_tls, with_headers};
use crate::config::Api;
use crate::error::Unavailable;
use crate::http;
use crate::timeline::NoAnswer;

/// HTTP, TLS included; any answer will do. Not at the path that submits: a handler that does not look at the method
/// takes any request there for a task.
pub(super) async fn answers(client: &reqwest::Client, api: &Api) -> Result<(), Unavailable> {
    let request = client.head(endpoint(api, &beside(&api.submit_path)));
    let asking = with_headers(request, api).timeout(Duration::from_secs(3)).send();
    let Err(error) = asking.await else {
        return Ok(());
    };
    let (why, seen) = http::no_answer(error);
    let host = api.url.host_str().unwrap_or_default();
    let port = api.url.port_or_known_default().unwrap_or_default();
    Err(match why {
        NoAnswer::Tls if is_no_tls(&seen) => {
            Unavailable::new(format!("{host}:{port} answers, but does not speak TLS"))
                .hint("write http:// in api.url")
        }
        NoAnswer::Tls => {
            let of_authority = seen
                .contains("CaUsedAsEndEntity")
                .then(|| http::tls_hint(&seen, true));
            Unavailable::new(format!("no TLS connection to {host}:{port}: {seen}")).hint(of_authority.flatten().unwrap_or_else(|| {
                "set broker.ca_file to the authority that signed its certificate, or correct the host in api.url".into()
            }))
        }
        NoAnswer::Timeout => Unavailable::new(format!(
            "{host}:{port} accepts connections and does not answer within 3 s"
        ))
        .hint("the API hangs, or something else listens there"),
        NoAnswer::Broken => Unavailable::new(format!("{host}:{port} does not answer HTTP: {seen}"))
            .hint("correct api.url: scheme (https?) and port"),
        NoAnswer::OwnLimit => Unavailable::new(seen).hint("raise that limit and try again"),
        NoAnswer::Connect | NoAnswer::Dns => Unavailable::new(format!(
            "nothing accepts connections at {host}:{port}: {seen}"
        ))
        .hint("start the API (`diagnose --start` does it where [api].command is set), or correct api.url"),
    })
}

/// A path that nobody serves, in the folder of the one that submits, so that it takes the same way through proxies.
fn beside(submit_path: &str) -> String {
    let path = submit_path.trim_end_matches('/');
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/taskdiag-check")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_answers_is_not_asked_where_tasks_are_made() {
        assert_eq!(beside("/api/v1/tasks/"), "/api/v1/taskdiag-check");
        assert_eq!(beside("enqueue"), "/taskdiag-check");
        assert_eq!(beside("/"), "/taskdiag-check");
    }
}
