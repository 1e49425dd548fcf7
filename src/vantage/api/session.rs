//! What comes before a request: a login, and the page whose form holds a token.
//!
//! Tokens and cookies live here only, and are taken out of every answer that is shown.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::{RequestBuilder, Response};
use secrecy::ExposeSecret;
use serde_json::Value as Json;

use super::{as_text, form, join, with_headers};
use crate::config::{Api, Login};
use crate::error::{Error, Result, Unavailable};
use crate::http;
use crate::timeline::NoAnswer;
use crate::vantage::Watched;

/// Names under which APIs answer a token, most usual first.
const USUAL: &[&str] = &[
    "/access_token",
    "/token",
    "/access",
    "/key",
    "/jwt",
    "/accessToken",
    "/data/access_token",
    "/data/token",
];

/// A session needs a few cookies; a server that sets more does not fill memory.
const MOST_COOKIES: usize = 50;
const LONGEST_COOKIE: usize = 4096;

/// Who we are to the API.
#[derive(Default)]
pub struct Session {
    bearer: Option<String>,
    cookies: BTreeMap<String, String>,
    csrf: Option<Csrf>,
}

struct Csrf {
    /// The form's field that holds it; `None` where only a header or a cookie does.
    field: Option<String>,
    token: String,
    page: String,
}

/// How far it came.
pub enum Opened {
    Ready(Session),
    /// Nothing answered: the task's own request would not be answered either.
    NotAnswered(NoAnswer, String),
}

/// Logs in, and fetches the page with the token of the form, as far as either is configured.
pub async fn open(api: &Api, with_form: bool) -> Result<Opened> {
    let mut session = Session::default();
    if api.login.is_none() && !(with_form && api.csrf_path.is_some()) {
        return Ok(Opened::Ready(session));
    }
    let client = match http::client(&api.tls, api.timeout) {
        Ok(client) => client,
        // The submission has the same trouble, and says it.
        Err(_) => return Ok(Opened::Ready(session)),
    };
    let mut steps = Steps {
        client,
        api,
        session: &mut session,
    };
    if let Some(login) = &api.login
        && let Some((why, text)) = steps.log_in(login).await?
    {
        return Ok(Opened::NotAnswered(why, text));
    }
    if let (true, Some(path)) = (with_form, &api.csrf_path)
        && let Some((why, text)) = steps.fetch_token(path, "api.csrf_path").await?
    {
        return Ok(Opened::NotAnswered(why, text));
    }
    Ok(Opened::Ready(session))
}

/// Whether the task's request could be made: what comes before it, for a look that sends no task.
pub async fn try_out(api: &Api) -> Watched {
    match open(api, true).await {
        Ok(Opened::Ready(_)) => Ok(()),
        Ok(Opened::NotAnswered(_, text)) => Err(Unavailable::new(text)),
        Err(error) => Err(Unavailable::new(error.to_string()).hint(error.hint())),
    }
}

impl Session {
    /// The request with all that shows who sends it.
    pub fn sign(&self, request: RequestBuilder, api: &Api) -> RequestBuilder {
        let mut request = with_headers(request, api);
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token);
        }
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(reqwest::header::COOKIE, cookies.join("; "));
        }
        request
    }

    /// The same, for one that changes something: with the token of the form.
    pub fn post(&self, request: RequestBuilder, api: &Api) -> RequestBuilder {
        let request = self.sign(request, api);
        match &self.csrf {
            Some(csrf) => request
                .header("X-CSRFToken", &csrf.token)
                .header("X-CSRF-Token", &csrf.token)
                .header(reqwest::header::REFERER, &csrf.page),
            None => request,
        }
    }

    /// The body: the form with its token, or JSON.
    pub fn with_body(&self, request: RequestBuilder, api: &Api) -> RequestBuilder {
        if !api.is_form {
            return request.json(&api.body);
        }
        let mut fields = form::fields(&api.body);
        if let Some((name, token)) = self.token_field()
            && fields.iter().all(|(known, _)| *known != name)
        {
            fields.push((name, token));
        }
        form::send(request, &fields, &api.files)
    }

    fn token_field(&self) -> Option<(String, String)> {
        let csrf = self.csrf.as_ref()?;
        Some((csrf.field.clone()?, csrf.token.clone()))
    }

    /// An answer without what this session must keep to itself.
    pub fn hide(&self, text: String) -> String {
        let own = self.cookies.values().chain(&self.bearer);
        let csrf = self.csrf.as_ref().map(|csrf| &csrf.token);
        own.chain(csrf)
            .filter(|secret| secret.len() >= 8)
            .fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }

    fn keep_cookies(&mut self, response: &Response) {
        for cookie in response.headers().get_all(SET_COOKIE) {
            let Some((name, value)) = cookie
                .to_str()
                .ok()
                .and_then(|text| text.split(';').next()?.split_once('='))
            else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            if value.is_empty() || value == "\"\"" {
                self.cookies.remove(name);
            } else if name.len() + value.len() <= LONGEST_COOKIE && self.cookies.len() < MOST_COOKIES {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

struct Steps<'a> {
    client: reqwest::Client,
    api: &'a Api,
    session: &'a mut Session,
}

type NoReply = Option<(NoAnswer, String)>;

impl Steps<'_> {
    async fn log_in(&mut self, login: &Login) -> Result<NoReply> {
        let api = self.api;
        if let Some(path) = &login.csrf_path
            && let Some(silence) = self.fetch_token(path, "api.login").await?
        {
            return Ok(Some(silence));
        }
        let before: Vec<String> = self.session.cookies.values().cloned().collect();
        let request = self.session.post(self.client.post(join(api, &login.path)), api);
        let body: Json = serde_json::from_str(login.body.expose_secret()).unwrap_or_default();
        let request = match login.is_form {
            true => {
                let mut fields = form::fields(&body);
                fields.extend(self.session.token_field());
                form::send(request, &fields, &[])
            }
            false => request.json(&body),
        };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Some(http::no_answer(error))),
        };
        // The token of the login's form was for that form.
        self.session.csrf = None;
        self.session.keep_cookies(&response);
        let status = response.status();
        let text = http::body(response, http::ANSWER).await.unwrap_or_default();
        if !(status.is_success() || status.is_redirection()) {
            return Err(self.failed(
                "log in",
                &login.path,
                format!("HTTP {status}: {}", self.excerpt(&text)),
                "correct `api.login`: its path, the user and the password",
            ));
        }
        let answer: Json = serde_json::from_slice(&text).unwrap_or_default();
        self.session.bearer = match &login.token_pointer {
            Some(pointer) => answer.pointer(pointer).and_then(as_text),
            None => USUAL
                .iter()
                .find_map(|pointer| answer.pointer(pointer).and_then(as_text)),
        };
        let is_in = match &login.token_pointer {
            Some(_) => self.session.bearer.is_some(),
            None => {
                let mut cookies = self.session.cookies.iter();
                let is_new = |(name, value): (&String, &String)| !is_token(name) && !before.contains(value);
                self.session.bearer.is_some() || cookies.any(is_new)
            }
        };
        if is_in {
            return Ok(None);
        }
        let place = login.token_pointer.as_deref().map_or_else(
            || "no token under the usual names, and set no cookie".to_owned(),
            |pointer| format!("no token at {pointer}"),
        );
        Err(self.failed(
            "log in",
            &login.path,
            format!("HTTP {status} answered {place}"),
            "set token_pointer in `api.login` to where the token stands, or correct the user and the password",
        ))
    }

    async fn fetch_token(&mut self, path: &str, key: &str) -> Result<NoReply> {
        let page = join(self.api, path);
        let request = self.session.sign(self.client.get(&page), self.api);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Some(http::no_answer(error))),
        };
        self.session.keep_cookies(&response);
        let status = response.status();
        if !status.is_success() {
            let location = response
                .headers()
                .get(LOCATION)
                .and_then(|value| value.to_str().ok());
            let seen = match location {
                Some(location) => format!("HTTP {status}, it redirects to {location}"),
                None => format!("HTTP {status}"),
            };
            let hint = match location {
                Some(_) => {
                    "the page may want a login first: add login = { path = \"…\" } to [api]".to_owned()
                }
                None => format!("correct `{key}`: it names the page with the form"),
            };
            return Err(self.failed("fetch the form's token", path, seen, &hint));
        }
        let text = http::body(response, http::ANSWER).await.unwrap_or_default();
        let found = token_in(&String::from_utf8_lossy(&text)).or_else(|| {
            let cookie = ["csrftoken", "XSRF-TOKEN", "csrf_token"]
                .iter()
                .find_map(|name| self.session.cookies.get(*name))?;
            Some((Some("csrfmiddlewaretoken".to_owned()), cookie.clone()))
        });
        let Some((field, token)) = found else {
            return Err(self.failed(
                "fetch the form's token",
                path,
                format!("HTTP {status}: the page holds no CSRF token"),
                &format!(
                    "`{key}` names the page with the form; leave it out where the form has no such token"
                ),
            ));
        };
        self.session.csrf = Some(Csrf { field, token, page });
        Ok(None)
    }

    fn failed(&self, action: &'static str, path: &str, seen: String, hint: &str) -> Error {
        Error::Could {
            action,
            target: path.to_owned(),
            seen: self.session.hide(seen),
            hint: hint.to_owned(),
        }
    }

    /// A page says little in its first characters.
    fn excerpt(&self, body: &[u8]) -> String {
        let text = String::from_utf8_lossy(body);
        match text.trim_start().starts_with('<') {
            true => "a page".into(),
            false => crate::text::excerpt(&text),
        }
    }
}

/// The field and the value of a form's token, or a header's from `<meta>`.
fn token_in(page: &str) -> Option<(Option<String>, String)> {
    static TAG: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?is)<(input|meta)\b[^>]{0,2000}>").ok());
    let tags = TAG.as_ref()?.find_iter(page).map(|tag| tag.as_str());
    let mut meta = None;
    for tag in tags {
        let Some(name) = attribute(tag, "name").filter(|name| is_token(name)) else {
            continue;
        };
        if let Some(value) = attribute(tag, "value").filter(|value| !value.is_empty()) {
            return Some((Some(name), value));
        }
        if let (None, Some(content)) = (&meta, attribute(tag, "content")) {
            meta = Some((None, content));
        }
    }
    meta
}

/// Django, Flask-WTF, Rails, Laravel, ASP.NET, Starlette's packages.
fn is_token(name: &str) -> bool {
    let lower = name.to_lowercase();
    lower.contains("csrf")
        || lower.contains("xsrf")
        || matches!(
            lower.as_str(),
            "authenticity_token" | "_token" | "__requestverificationtoken"
        )
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    static ATTRIBUTE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?i)\s([a-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))"#).ok());
    let found = ATTRIBUTE
        .as_ref()?
        .captures_iter(tag)
        .find(|found| found[1].eq_ignore_ascii_case(name))?;
    let value = (2..=4).find_map(|group| found.get(group))?.as_str();
    let plain = [
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    Some(
        plain
            .iter()
            .fold(value.to_owned(), |text, (entity, c)| text.replace(entity, c)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::{body_string, body_string_contains, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::super::{Submission, submit_once};
    use super::*;
    use crate::config::Config;

    fn api(server: &MockServer, keys: &str) -> Api {
        let text = format!("[api]\nurl = \"{}\"\n{keys}", server.uri());
        Config::from_text(&text)
            .expect("a configuration")
            .api
            .expect("an API")
    }

    async fn answered(api: &Api) -> (u16, Option<String>, String) {
        match submit_once(api).await.expect("access") {
            Submission::Answered {
                status,
                task_id,
                body,
                ..
            } => (status, task_id, body),
            Submission::NotAnswered { error, .. } => panic!("{error}"),
        }
    }

    /// Only the right request is answered well: everything else is 404.
    #[tokio::test]
    async fn names_in_the_path_are_filled_in() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/courses/7%2F8/joke-requests"))
            .respond_with(ResponseTemplate::new(202).set_body_json(json!({ "id": 5 })))
            .mount(&server)
            .await;
        let api = api(
            &server,
            "submit_path = \"/courses/{course}/joke-requests\"\npath = { course = \"7/8\" }",
        );
        assert_eq!(answered(&api).await.1.as_deref(), Some("5"));
    }

    #[tokio::test]
    async fn a_login_gives_the_bearer_token() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/token"))
            .and(body_string("password=s3cr3t-word&username=lab"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(json!({ "access_token": "tok-123456789" })),
            )
            .mount(&server)
            .await;
        Mock::given(method("POST"))
            .and(path("/tasks"))
            .and(header("authorization", "Bearer tok-123456789"))
            // An answer that repeats the token.
            .respond_with(
                ResponseTemplate::new(202).set_body_json(json!({ "task_id": "t1", "as": "tok-123456789" })),
            )
            .mount(&server)
            .await;
        let keys = "submit_path = \"/tasks\"\nlogin = { path = \"/token\", form = { username = \"lab\", password = \"s3cr3t-word\" } }";
        let (status, task_id, body) = answered(&api(&server, keys)).await;
        assert_eq!((status, task_id.as_deref()), (202, Some("t1")));
        assert!(!body.contains("tok-123456789"), "{body}");

        // The same for what the API says of the task.
        let Ok(Opened::Ready(session)) = open(&api(&server, keys), false).await else {
            panic!("no session");
        };
        assert_eq!(session.bearer.as_deref(), Some("tok-123456789"));
        assert!(try_out(&api(&server, keys)).await.is_ok());
    }

    #[tokio::test]
    async fn a_login_that_fails_says_why_and_no_password() {
        let server = MockServer::start().await;
        Mock::given(path("/token"))
            .respond_with(ResponseTemplate::new(401).set_body_json(json!({ "detail": "bad credentials" })))
            .mount(&server)
            .await;
        Mock::given(path("/page"))
            .respond_with(ResponseTemplate::new(200).set_body_string("<html>Please log in</html>"))
            .mount(&server)
            .await;
        for (keys, seen) in [
            (
                "path = \"/token\", body = { user = \"lab\", password = \"hunter22\" }",
                "HTTP 401 Unauthorized: {\"detail\":\"bad credentials\"}",
            ),
            (
                "path = \"/page\", form = { user = \"lab\", password = \"hunter22\" }",
                "no token under the usual names, and set no cookie",
            ),
            (
                "path = \"/page\", body = { password = \"hunter22\" }, token_pointer = \"/t\"",
                "no token at /t",
            ),
        ] {
            let api = api(&server, &format!("login = {{ {keys} }}"));
            let unavailable = try_out(&api).await.expect_err("no access");
            assert!(unavailable.reason.contains(seen), "{}", unavailable.reason);
            assert!(unavailable.hint.is_some_and(|hint| hint.contains("api.login")));
            let error = submit_once(&api).await.expect_err("no access").to_string();
            assert!(error.contains(seen), "{error}");
            assert!(
                !error.contains("hunter22") && !format!("{api:?}").contains("hunter22"),
                "{error}"
            );
        }
        // Nobody there at all is the API's trouble, and a verdict.
        drop(server);
        let gone = Config::from_text(
            "[api]\nurl = \"http://127.0.0.1:9\"\nlogin = { path = \"/token\", body = { } }",
        );
        let api = gone.expect("a configuration").api.expect("an API");
        let submission = submit_once(&api).await.expect("a verdict");
        assert!(matches!(
            submission,
            Submission::NotAnswered {
                why: NoAnswer::Connect,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn a_file_goes_with_the_form() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/upload"))
            .and(body_string_contains("name=\"title\"\r\n\r\nx\r\n"))
            .and(body_string_contains("name=\"document\"; filename=\"Cargo.toml\""))
            .and(body_string_contains("name = \"taskdiag\""))
            .respond_with(ResponseTemplate::new(202).set_body_json(json!({ "id": 5 })))
            .mount(&server)
            .await;
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let keys = format!(
            "submit_path = \"/upload\"\nform = {{ title = \"x\" }}\nfiles = {{ document = \"{file}\" }}"
        );
        assert_eq!(answered(&api(&server, &keys)).await.1.as_deref(), Some("5"));
    }

    /// As Django wants it: the page's token, its cookie, and the session of a login by form.
    #[tokio::test]
    async fn a_form_is_posted_with_the_token_of_its_page() {
        let server = MockServer::start().await;
        let page = |token: &str| {
            format!(
                "<form method=post><input type=\"hidden\" name='csrfmiddlewaretoken' value=\"{token}\"><input name=title></form>"
            )
        };
        Mock::given(method("GET"))
            .and(path("/login"))
            .respond_with(
                ResponseTemplate::new(200)
                    .set_body_string(page("login-token-1"))
                    .insert_header("set-cookie", "csrftoken=cookie-one-1; Path=/"),
            )
            .mount(&server)
            .await;
        Mock::given(method("POST"))
            .and(path("/login"))
            .and(body_string(
                "password=pw&username=lab&csrfmiddlewaretoken=login-token-1",
            ))
            .and(header("cookie", "csrftoken=cookie-one-1"))
            .respond_with(
                ResponseTemplate::new(302)
                    .insert_header("location", "/")
                    .insert_header("set-cookie", "sessionid=session-77; HttpOnly"),
            )
            .mount(&server)
            .await;
        Mock::given(method("GET"))
            .and(path("/new"))
            .and(header("cookie", "csrftoken=cookie-one-1; sessionid=session-77"))
            .respond_with(ResponseTemplate::new(200).set_body_string(page("page-token&amp;2")))
            .mount(&server)
            .await;
        Mock::given(method("POST"))
            .and(path("/new"))
            .and(body_string("title=taskdiag+1&csrfmiddlewaretoken=page-token%262"))
            .and(header("cookie", "csrftoken=cookie-one-1; sessionid=session-77"))
            .and(header("x-csrftoken", "page-token&2"))
            .respond_with(ResponseTemplate::new(302).insert_header("location", "/done"))
            .mount(&server)
            .await;
        let keys = "submit_path = \"/new\"\nform = { title = \"taskdiag 1\" }\ncsrf_path = \"/new\"\n\
            login = { path = \"/login\", csrf_path = \"/login\", form = { username = \"lab\", password = \"pw\" } }";
        assert_eq!(answered(&api(&server, keys)).await.0, 302);

        // Without the login the page is not there.
        let keys = "submit_path = \"/new\"\nform = { title = \"x\" }\ncsrf_path = \"/new\"";
        let error = submit_once(&api(&server, keys))
            .await
            .expect_err("no page")
            .to_string();
        assert!(error.contains("/new") && error.contains("HTTP 404"), "{error}");
    }

    #[test]
    fn tokens_are_found_where_frameworks_put_them() {
        for (page, found) in [
            (
                "<input id=\"c\" name=\"csrf_token\" type=\"hidden\" value=\"IjE.x\">",
                Some((Some("csrf_token"), "IjE.x")),
            ),
            (
                "<INPUT type=hidden value='a&#x27;b' name='authenticity_token'/>",
                Some((Some("authenticity_token"), "a'b")),
            ),
            ("<meta name=\"csrf-token\" content=\"m1\">", Some((None, "m1"))),
            (
                "<meta name=\"csrf-token\" content=\"m1\"><input name=_token value=f1>",
                Some((Some("_token"), "f1")),
            ),
            ("<input name=title value=x>", None),
            ("", None),
        ] {
            let expected = found
                .map(|(field, token): (Option<&str>, &str)| (field.map(str::to_owned), token.to_owned()));
            assert_eq!(token_in(page), expected, "{page}");
        }
    }
}
