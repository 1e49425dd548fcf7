//! `curl` lines in documents and scripts: how people submit a task by hand.

use serde_json::Value as Json;

use super::launch;
use crate::bounded::TextFile;

/// A request that posts JSON.
#[derive(Debug, PartialEq)]
pub struct CurlPost {
    pub path: String,
    /// Port of this machine that it goes to.
    pub port: Option<u16>,
    pub body: Option<Json>,
    pub place: String,
}

/// Every `curl` of a text that posts.
pub fn find(file: &TextFile) -> Vec<CurlPost> {
    let mut found = Vec::new();
    let lines: Vec<&str> = file.text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let first = at;
        at += 1;
        let Some(start) = lines[first].find("curl ") else {
            continue;
        };
        let mut command = lines[first][start..].to_owned();
        // It goes on behind a backslash, and a body in quotes over lines of its own.
        while at < lines.len() && at - first < 40 {
            let goes_on = command.trim_end().ends_with('\\');
            let is_open = shell_words::split(&command).is_err();
            if !goes_on && !is_open {
                break;
            }
            if goes_on {
                command.truncate(command.trim_end().len() - 1);
            }
            command.push('\n');
            command.push_str(lines[at]);
            at += 1;
        }
        let command = command.split('`').next().unwrap_or_default();
        let place = format!("{} line {}", file.place, first + 1);
        found.extend(read(&launch::words(command), place));
    }
    found
}

fn read(words: &[String], place: String) -> Option<CurlPost> {
    let (mut url, mut body, mut posts) = (None, None, false);
    let mut words = words.iter().skip(1);
    while let Some(word) = words.next() {
        let (flag, glued) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        match flag {
            "-X" | "--request" => posts |= glued.or_else(|| words.next().cloned())? == "POST",
            "-XPOST" => posts = true,
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--json" => {
                posts = true;
                body = Some(glued.or_else(|| words.next().cloned())?);
            }
            "-H" | "--header" | "-u" | "--user" | "-o" | "--output" | "-m" | "--max-time" => {
                let _ = glued.or_else(|| words.next().cloned());
            }
            _ if url.is_none() && !word.starts_with('-') => url = address(word),
            _ => {}
        }
    }
    let url = url.filter(|_| posts)?;
    Some(CurlPost {
        path: url.path().to_owned(),
        port: url.port_or_known_default().filter(|_| is_here(&url)),
        // What has gaps to be filled in is no body.
        body: body
            .and_then(|body| serde_json::from_str(&body).ok())
            .filter(Json::is_object),
        place,
    })
}

fn address(word: &str) -> Option<url::Url> {
    let word = word.trim_matches(['"', '\'']);
    let whole = match word.contains("://") {
        true => word.to_owned(),
        false if word.contains(':') || word.contains('/') => format!("http://{word}"),
        false => return None,
    };
    let url = url::Url::parse(&whole).ok()?;
    // A variable in it is no path, and brackets are to be filled in.
    let is_whole = !url.path().contains(['$', '<', '{', '%']) && matches!(url.scheme(), "http" | "https");
    is_whole.then_some(url)
}

fn is_here(url: &url::Url) -> bool {
    matches!(
        url.host_str(),
        Some("localhost" | "127.0.0.1" | "0.0.0.0" | "[::1]")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn only(text: &str) -> Option<CurlPost> {
        let file = TextFile {
            place: "README.md".into(),
            text: text.into(),
        };
        find(&file).into_iter().next()
    }

    #[test]
    fn a_post_over_several_lines() {
        let text = "Then:\n\n    curl -X POST http://localhost:8000/api/v1/tasks/ \\\n      -H 'Content-Type: application/json' \\\n      -d '{\"task_type\": \"agent_task\",\n           \"input_data\": {\"prompt\": \"x\"}}'\n";
        let post = only(text).expect("a request");
        assert_eq!((post.path.as_str(), post.port), ("/api/v1/tasks/", Some(8000)));
        assert_eq!(
            post.body,
            Some(json!({"task_type": "agent_task", "input_data": {"prompt": "x"}}))
        );
        assert_eq!(post.place, "README.md line 3");
    }

    #[test]
    fn what_posts_nothing_or_elsewhere_is_told_apart() {
        assert_eq!(only("curl http://localhost:8000/health"), None);
        assert_eq!(only("curl -X POST http://localhost:8000/tasks/<id>/retry"), None);
        let elsewhere = only("`curl -d '{\"a\": 1}' https://api.example.com/v1/jobs`").expect("a request");
        assert_eq!((elsewhere.port, elsewhere.path.as_str()), (None, "/v1/jobs"));
        let gaps = only("curl -d '{\"a\": <your id>}' localhost:8000/jobs").expect("a request");
        assert_eq!((gaps.body, gaps.port), (None, Some(8000)));
    }
}
