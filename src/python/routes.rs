//! Where an application takes `POST`s: its routes, with the prefixes of their routers.

use std::collections::BTreeMap;

use super::module_of;
use super::syntax::Node;

/// Prefixes of FastAPI's routers: their own, and those with which they are included.
#[derive(Default)]
pub struct Prefixes {
    /// By file: `APIRouter(prefix="/x")`.
    own: BTreeMap<String, String>,
    /// By the words of what is included: `include_router(tasks.router, prefix="/api/v1")`.
    included: Vec<(Vec<String>, String)>,
}

impl Prefixes {
    pub fn read(&mut self, node: Node) {
        if node.kind() != "call" {
            return;
        }
        let prefix = || node.argument("prefix").and_then(Node::string);
        match node.last_name() {
            "APIRouter" => {
                if let Some(prefix) = prefix() {
                    self.own.insert(node.file().place.clone(), prefix);
                }
            }
            "include_router" => {
                if let (Some(prefix), Some(router)) = (prefix(), node.first_argument()) {
                    let words = router.text().split('.').map(str::to_owned).collect();
                    self.included.push((words, prefix));
                }
            }
            _ => {}
        }
    }

    /// What stands before a route of this file.
    fn before(&self, file: &str) -> String {
        let own = self.own.get(file).cloned().unwrap_or_default();
        let stem = module_of(file);
        let stem = stem.rsplit('.').next().unwrap_or_default();
        let named = self.included.iter().find(|(words, _)| {
            words
                .iter()
                .any(|word| word == stem || word.strip_suffix("_router") == Some(stem))
        });
        // One prefix for all is that of all.
        let only = match self.included.as_slice() {
            [one] => Some(one),
            _ => None,
        };
        let included = named.or(only).map_or("", |(_, prefix)| prefix);
        format!("{included}{own}")
    }
}

pub fn prefixed(routes: Vec<(String, String)>, prefixes: &Prefixes) -> Vec<(String, String)> {
    routes
        .into_iter()
        .map(|(path, place)| {
            let file = place.split(" line ").next().unwrap_or_default();
            (format!("{}{path}", prefixes.before(file)), place)
        })
        .collect()
}

/// The path of `@router.post("/path")` or `@app.route("/path", methods=["POST"])`.
pub fn posted_to(decorator: Node) -> Option<String> {
    let posts = match decorator.last_name() {
        "post" => true,
        "route" => decorator.argument("methods")?.text().contains("POST"),
        _ => false,
    };
    posts.then(|| decorator.first_argument()?.string()).flatten()
}
