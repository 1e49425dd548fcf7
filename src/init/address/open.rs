//! An address that is made of variables which nothing sets: they are kept, so that it is right once they are set. An
//! image's or a library's default in their place would be an address that nobody uses.

use url::Url;

use crate::servers::ServerKind;

/// The variables, in the order of the words that stand for them while the address is taken apart.
#[derive(Debug, Default)]
pub struct OpenVariables {
    names: Vec<String>,
    /// The port that stands for one.
    port: Option<(u16, String)>,
}

/// A port that nobody publishes.
const STAND_IN: u16 = 2;

impl OpenVariables {
    /// A text in which a word stands for each `${NAME}`.
    pub fn put(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, behind)) = after.split_once('}') else {
                break;
            };
            out.push_str(before);
            out.push_str(&word(self.number(name)));
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    fn number(&mut self, name: &str) -> usize {
        let known = self.names.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// A URL that may hold such variables. A port that is one is left out: the usual one is meant in a container.
    pub fn url(&mut self, kind: &ServerKind, text: &str) -> Option<Url> {
        let put = self.put(text);
        kind.parse(&put).or_else(|| {
            let mut ports = (0..self.names.len()).map(|number| format!(":{}", word(number)));
            let port =
                ports.find(|port| put.contains(&format!("{port}/")) || put.ends_with(port.as_str()))?;
            kind.parse(&put.replacen(&port, "", 1))
        })
    }

    /// A number that stands for the port which this variable will hold.
    pub fn port(&mut self, variable: &str) -> u16 {
        self.port = Some((STAND_IN, variable.to_owned()));
        self.number(variable);
        STAND_IN
    }

    pub fn is_any(&self) -> bool {
        !self.names.is_empty()
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text is, or holds, a word that stands for a variable.
    pub fn holds(&self, text: &str) -> bool {
        (0..self.names.len()).any(|number| text.contains(&word(number)))
    }

    /// The variables in the places of the words, if there are any.
    pub fn back(&self, text: &str) -> Option<String> {
        let port = self.port.as_ref();
        let with_port = port.is_some_and(|(port, _)| text.contains(&format!("@localhost:{port}")));
        let bare_port = port.is_some_and(|(port, _)| text.contains(&format!("//localhost:{port}")));
        if !self.holds(text) && !with_port && !bare_port {
            return None;
        }
        let mut text = text.to_owned();
        for (number, name) in self.names.iter().enumerate() {
            text = text.replace(&word(number), &format!("${{{name}}}"));
        }
        if let Some((port, variable)) = port {
            text = text.replacen(
                &format!("localhost:{port}"),
                &format!("localhost:${{{variable}}}"),
                1,
            );
        }
        Some(text)
    }
}

/// It passes every part of a URL unchanged.
fn word(number: usize) -> String {
    format!("taskdiag-open-{number}-variable")
}
