//! A form as a browser sends it: names with texts, and files in parts of their own.

use reqwest::RequestBuilder;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value as Json;

use crate::config::FormFile;

/// Names and texts of a form.
pub(super) fn fields(form: &Json) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = form.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// The request with the form: with files it is `multipart/form-data`.
pub(super) fn send(
    request: RequestBuilder,
    fields: &[(String, String)],
    files: &[FormFile],
) -> RequestBuilder {
    if !files.is_empty() {
        let boundary = format!("taskdiag-{}", uuid::Uuid::new_v4().simple());
        return request
            .header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .body(parts(fields, files, &boundary));
    }
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(fields);
    request
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(text.finish())
}

/// RFC 7578, names escaped as browsers do.
fn parts(fields: &[(String, String)], files: &[FormFile], boundary: &str) -> Vec<u8> {
    let quoted = |name: &str| {
        let name = name.replace('"', "%22");
        format!("\"{}\"", name.replace('\r', "%0D").replace('\n', "%0A"))
    };
    let mut body = Vec::new();
    let mut part = |head: String, content: &[u8]| {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    for (name, text) in fields {
        part(format!("name={}", quoted(name)), text.as_bytes());
    }
    for file in files {
        let (field, name) = (quoted(&file.field), quoted(&file.name));
        let head = format!("name={field}; filename={name}\r\nContent-Type: application/octet-stream");
        part(head, &file.content);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_part_of_its_own() {
        let fields = [("title".to_owned(), "a b".to_owned())];
        let file = FormFile {
            field: "document".into(),
            name: "x\"y.pdf".into(),
            content: b"%PDF\r\n".to_vec(),
        };
        let body = String::from_utf8(parts(&fields, &[file], "b")).expect("text");
        assert_eq!(
            body,
            "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na b\r\n\
             --b\r\nContent-Disposition: form-data; name=\"document\"; filename=\"x%22y.pdf\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n%PDF\r\n\r\n--b--\r\n"
        );
    }
}
