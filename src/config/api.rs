//! `[api]`: where a task is posted, and how.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value as Json;
use url::Url;

use super::broker::tls;
use super::{Layers, Tls};
use crate::bounded;
use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub struct Api {
    pub url: Url,
    pub submit_path: String,
    /// Where it is a form, names with texts.
    pub body: Json,
    pub is_form: bool,
    /// What is sent with the form.
    pub files: Vec<FormFile>,
    /// The page whose form holds the token that the form is sent with.
    pub csrf_path: Option<String>,
    pub login: Option<Login>,
    /// Values may be credentials: never shown.
    pub headers: Vec<(String, SecretString)>,
    pub task_id_pointer: Option<String>,
    pub status_path: Option<String>,
    pub status_pointer: String,
    pub timeout: Duration,
    pub tls: Tls,
}

/// A file that a form sends.
#[derive(Debug, Clone)]
pub struct FormFile {
    pub field: String,
    pub name: String,
    pub content: Vec<u8>,
}

/// A file to try with is small.
const LARGEST: u64 = 32 * bounded::MIB;

/// The request that says who we are.
#[derive(Debug, Clone)]
pub struct Login {
    pub path: String,
    /// As JSON: it holds a password.
    pub body: SecretString,
    pub is_form: bool,
    pub csrf_path: Option<String>,
    pub token_pointer: Option<String>,
    /// Values of the body that must never be shown.
    pub secrets: Vec<SecretString>,
}

pub(super) fn api(layers: &Layers) -> Result<Option<Api>> {
    let Some(url) = layers.url("api.url")? else {
        if let Some(key) = layers.first_of("api.", &["api.log", "api.log_command", "api.exec"]) {
            return Err(Error::MissingKey {
                key: "api.url",
                needed_for: match key {
                    _ if key.ends_with("command") => "starting the API",
                    _ => "the rest of [api]",
                },
                example: "[api] url = \"http://localhost:8000\"",
            });
        }
        return Ok(None);
    };
    let (body, is_form) = body(layers)?;
    let files = files(layers)?;
    let login = login(layers)?;
    let mut headers = Vec::new();
    for (name, value) in layers.table("api.headers")?.into_iter().flatten() {
        let Json::String(value) = value else {
            return Err(layers.bad(
                "api.headers",
                format!("the header {name} is not a string"),
                "write headers = { Name = \"value\" }",
            ));
        };
        let valid = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && reqwest::header::HeaderValue::from_str(&value).is_ok();
        if !valid {
            return Err(layers.bad(
                "api.headers",
                format!("{name} is not a valid HTTP header"),
                "use letters, digits and dashes in the name, no line breaks in the value",
            ));
        }
        if login.is_some() && name.eq_ignore_ascii_case("authorization") {
            return Err(layers.bad(
                "api.headers",
                "an Authorization header, and `api.login` fetches one",
                "keep one of the two",
            ));
        }
        headers.push((name, SecretString::from(value)));
    }
    let names = layers.table("api.path")?.unwrap_or_default();
    let mut used = Vec::new();
    let submit_path = layers.with_default("api.submit_path", Layers::text)?;
    let submit_path = filled(layers, "api.submit_path", &submit_path, &names, &mut used)?;
    let status_path = match layers.text("api.status_path")? {
        Some(path) => Some(filled(layers, "api.status_path", &path, &names, &mut used)?),
        None => None,
    };
    if let Some(name) = names.keys().find(|name| !used.contains(*name)) {
        return Err(layers.bad(
            "api.path",
            format!("no path holds {{{name}}}"),
            "write it into `api.submit_path`, or take it out here",
        ));
    }
    Ok(Some(Api {
        url,
        submit_path,
        body,
        is_form: is_form || !files.is_empty(),
        files,
        csrf_path: layers.text("api.csrf_path")?,
        login,
        headers,
        task_id_pointer: layers.pointer("api.task_id_pointer")?,
        status_path,
        status_pointer: layers.with_default("api.status_pointer", Layers::pointer)?,
        timeout: layers.with_default("api.timeout", Layers::duration)?,
        tls: tls(layers)?,
    }))
}

/// What is posted, and whether as a form.
fn body(layers: &Layers) -> Result<(Json, bool)> {
    let file = layers.path("api.body_file")?;
    for form in ["api.form", "api.files"] {
        for key in ["api.body", "api.body_file"] {
            if layers.value(form).is_some() && layers.value(key).is_some() {
                return Err(layers.bad(
                    key,
                    format!("both it and `{form}` are set"),
                    "keep one of the two",
                ));
            }
        }
    }
    if let Some(form) = layers.table("api.form")? {
        return Ok((Json::Object(form), true));
    }
    let body = match file {
        Some(_) if layers.value("api.body").is_some() => {
            return Err(layers.bad(
                "api.body_file",
                "both `api.body` and `api.body_file` are set",
                "keep one of the two",
            ));
        }
        Some(path) => {
            let text = bounded::text(&path, bounded::SETTINGS).map_err(|source| {
                layers.bad(
                    "api.body_file",
                    format!("cannot read {}: {source}", path.display()),
                    "name a readable file with the JSON to post",
                )
            })?;
            serde_json::from_str(&text).map_err(|source| {
                layers.bad(
                    "api.body_file",
                    format!("{} is not JSON: {source}", path.display()),
                    "correct the file",
                )
            })?
        }
        None => layers.json("api.body").unwrap_or_default(),
    };
    Ok((body, false))
}

/// `{ document = "sample.pdf" }`: fields with paths.
fn files(layers: &Layers) -> Result<Vec<FormFile>> {
    const KEY: &str = "api.files";
    let mut files = Vec::new();
    for (field, path) in layers.table(KEY)?.into_iter().flatten() {
        let Json::String(path) = path else {
            return Err(layers.bad(
                KEY,
                format!("the file of {field} is not a path"),
                "write files = { document = \"sample.pdf\" }",
            ));
        };
        let path = layers.base().join(path);
        let content = bounded::file(&path, LARGEST).map_err(|source| {
            layers.bad(
                KEY,
                format!("cannot read {}: {source}", path.display()),
                "name a readable file to send",
            )
        })?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.push(FormFile { field, name, content });
    }
    Ok(files)
}

/// `{name}` is what `api.path` says; `{task_id}` of the status is known later.
fn filled(
    layers: &Layers,
    key: &str,
    path: &str,
    names: &serde_json::Map<String, Json>,
    used: &mut Vec<String>,
) -> Result<String> {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        match names.get(name) {
            Some(value) => {
                used.push(name.to_owned());
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                out.push_str(&crate::http::segment(&text));
            }
            None if name == "task_id" && key == "api.status_path" => out.push_str("{task_id}"),
            None => {
                return Err(layers.bad(
                    key,
                    format!("holds {{{name}}}, and `api.path` does not say what that is"),
                    &format!("add path = {{ {name} = \"…\" }} to [api]"),
                ));
            }
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// `{ path, body or form, csrf_path, token_pointer }`
fn login(layers: &Layers) -> Result<Option<Login>> {
    const KEY: &str = "api.login";
    const HINT: &str =
        "write login = { path = \"/token\", form = { username = \"…\", password = \"${API_PASSWORD}\" } }";
    let bad = |seen: String| layers.bad(KEY, seen, HINT);
    let Some(login) = layers.json(KEY) else {
        return Ok(None);
    };
    let Json::Object(login) = login else {
        return Err(bad("is not a table".into()));
    };
    let known = ["path", "body", "form", "csrf_path", "token_pointer"];
    if let Some(name) = login.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(bad(format!("holds `{name}`; it takes {}", known.join(", "))));
    }
    let text = |name: &str| match login.get(name) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(format!("`{name}` is not a string"))),
    };
    let path = text("path")?.ok_or_else(|| bad("has no `path`".into()))?;
    let (body, is_form) = match (login.get("body"), login.get("form")) {
        (Some(body), None) => (body, false),
        (None, Some(form @ Json::Object(_))) => (form, true),
        (None, Some(_)) => return Err(bad("`form` is not a table".into())),
        _ => return Err(bad("has to have one of `body` and `form`".into())),
    };
    let token_pointer = text("token_pointer")?;
    if let Some(pointer) = token_pointer.as_ref().filter(|pointer| !pointer.starts_with('/')) {
        return Err(bad(format!(
            "`token_pointer` is \"{pointer}\", which is not a JSON Pointer such as \"/access_token\""
        )));
    }
    let mut secrets = Vec::new();
    collect_secrets("", body, &mut secrets);
    Ok(Some(Login {
        path,
        body: body.to_string().into(),
        is_form,
        csrf_path: text("csrf_path")?,
        token_pointer,
        secrets,
    }))
}

/// All that is sent to log in, but names of users and the words of the protocol.
fn collect_secrets(name: &str, value: &Json, secrets: &mut Vec<SecretString>) {
    const OPEN: [&str; 8] = [
        "username",
        "user",
        "email",
        "login",
        "grant_type",
        "scope",
        "client_id",
        "next",
    ];
    match value {
        Json::String(text) if !OPEN.contains(&name) && !text.is_empty() => secrets.push(text.clone().into()),
        Json::Object(map) => map
            .iter()
            .for_each(|(name, value)| collect_secrets(name, value, secrets)),
        Json::Array(items) => items
            .iter()
            .for_each(|value| collect_secrets(name, value, secrets)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &str) -> Result<Api> {
        let layers = Layers::from_text(&format!("[api]\nurl = \"http://h\"\n{keys}"))?;
        Ok(api(&layers)?.expect("an API"))
    }

    #[test]
    fn names_in_paths_are_filled_in_or_named() {
        let both = "submit_path = \"/c/{course}/jobs\"\nstatus_path = \"/c/{course}/jobs/{task_id}\"\npath = { course = 7 }";
        let api = read(both).expect("it is right");
        assert_eq!(api.submit_path, "/c/7/jobs");
        assert_eq!(api.status_path.as_deref(), Some("/c/7/jobs/{task_id}"));
        for (keys, seen) in [
            (
                "submit_path = \"/c/{course}/jobs\"",
                "{course}, and `api.path` does not say",
            ),
            (
                "submit_path = \"/jobs\"\npath = { course = \"7\" }",
                "no path holds {course}",
            ),
            ("submit_path = \"/jobs/{task_id}\"", "{task_id}"),
        ] {
            let error = read(keys).expect_err("it is wrong").to_string();
            assert!(error.contains(seen), "{error}");
        }
        assert_eq!(read("submit_path = \"/a{\"").expect("no name").submit_path, "/a{");
    }

    #[test]
    fn a_form_and_a_body_are_two_things() {
        let api = read("form = { title = \"x\" }").expect("it is right");
        assert!(api.is_form);
        let error = read("form = { title = \"x\" }\nbody = { }")
            .expect_err("both")
            .to_string();
        assert!(error.contains("api.form"), "{error}");
        let error = read("files = { document = \"no-such-file\" }")
            .expect_err("no file")
            .to_string();
        assert!(error.contains("no-such-file"), "{error}");
        let error = read("files = { document = \"x\" }\nbody = { }")
            .expect_err("both")
            .to_string();
        assert!(error.contains("api.files"), "{error}");
    }

    #[test]
    fn a_login_is_checked_before_anything_is_sent() {
        let right = "login = { path = \"/t\", form = { username = \"lab\", password = \"hunter22\", extra = [\"k\"] }, token_pointer = \"/x\" }";
        let login = read(right).expect("it is right").login.expect("a login");
        assert!(login.is_form);
        assert_eq!(login.secrets.len(), 2, "all but the name");
        for (keys, seen) in [
            ("login = \"/t\"", "is not a table"),
            ("login = { form = { } }", "has no `path`"),
            ("login = { path = \"/t\" }", "one of `body` and `form`"),
            (
                "login = { path = \"/t\", body = { }, form = { } }",
                "one of `body` and `form`",
            ),
            (
                "login = { path = \"/t\", body = { }, pointer = \"/x\" }",
                "holds `pointer`",
            ),
            (
                "login = { path = \"/t\", body = { }, token_pointer = \"x\" }",
                "not a JSON Pointer",
            ),
            (
                "login = { path = \"/t\", body = { } }\nheaders = { authorization = \"Bearer x\" }",
                "keep one",
            ),
        ] {
            let error = read(keys).expect_err("it is wrong");
            let text = format!("{error} {}", error.hint());
            assert!(text.contains(seen), "{text}");
        }
    }
}
