//! What the code is made of: its task frameworks, its broker, its web framework.

use super::SourceFacts;
use super::syntax::Node;
use crate::framework;

/// Imports, classes and engines that init has to tell apart, besides the frameworks' own.
const TELLING: &[&str] = &[
    "RabbitmqBroker",
    "mysql",
    "sqlite3",
    "pymongo",
    "motor",
    "CsrfViewMiddleware",
];

/// Other task frameworks, by the module that is imported and the name that people call it.
const OTHER_FRAMEWORKS: &[(&str, &str)] = &[
    ("rq", "RQ"),
    ("django_rq", "RQ"),
    ("arq", "arq"),
    ("huey", "Huey"),
    ("taskiq", "Taskiq"),
    ("taskiq_aio_pika", "Taskiq"),
    ("procrastinate", "Procrastinate"),
    ("django_q", "Django Q"),
];

/// Whoever imports one of these may take tasks over HTTP.
const WEB_FRAMEWORKS: &[&str] = &[
    "fastapi",
    "flask",
    "django",
    "pyramid",
    "starlette",
    "aiohttp",
    "tornado",
    "bottle",
    "falcon",
    "sanic",
    "quart",
    "litestar",
    "webob",
    "cherrypy",
    "gradio",
    "streamlit",
    "chalice",
];

impl SourceFacts {
    /// Django asks forms for a token.
    pub fn is_behind_csrf(&self) -> bool {
        self.uses.contains_key("CsrfViewMiddleware")
    }

    /// What an import, a call or a string of settings says of the framework and what it runs on.
    pub(super) fn use_of(&mut self, node: Node) {
        let text = match node.kind() {
            "import_statement" | "import_from_statement" => {
                let module = node.text().split_whitespace().nth(1).unwrap_or_default();
                let top = module.split(['.', ',']).next().unwrap_or_default();
                if let Some((_, title)) = OTHER_FRAMEWORKS.iter().find(|(name, _)| *name == top) {
                    self.other_frameworks.entry(title).or_insert_with(|| node.place());
                }
                self.is_web |= WEB_FRAMEWORKS.contains(&top);
                node.text().to_owned()
            }
            "call" => node.last_name().to_owned(),
            "string" => match node.string() {
                Some(text) if text.len() < 80 && !text.contains(' ') => text,
                _ => return,
            },
            _ => return,
        };
        for part in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let own = framework::ALL
                .iter()
                .flat_map(|framework| framework.source.words());
            if let Some(word) = TELLING.iter().copied().chain(own).find(|word| *word == part) {
                self.uses.entry(word).or_insert_with(|| node.place());
            }
        }
    }
}
