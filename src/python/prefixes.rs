//! What stands before the paths of a router: its own prefix, and those with which it is included.

use super::names::module_of;
use super::syntax::Node;

/// How many routers stand one in another.
const DEEPEST: usize = 4;

/// Classes of whole applications: what hangs on one has no prefix.
const APPLICATIONS: &[&str] = &["FastAPI", "Flask", "Quart", "Starlette", "Sanic", "Bottle"];

/// Prefixes of routers: their own, and those with which they are included.
#[derive(Default)]
pub struct Prefixes {
    /// `APIRouter(prefix="/x")`, `Blueprint("jobs", __name__, url_prefix="/x")`.
    own: Vec<Router>,
    included: Vec<Included>,
    applications: Vec<Router>,
    /// `ROOT_URLCONF = "site.urls"`.
    roots: Vec<String>,
}

/// What stands before the paths of a router.
pub(super) struct Before {
    pub prefix: String,
    /// It was followed up to the application.
    pub is_whole: bool,
}

struct Router {
    file: String,
    name: String,
    prefix: String,
}

/// `include_router(tasks.router, prefix="/x")`, `register_blueprint(bp, url_prefix="/x")`, `path("x/", include("a.urls"))`.
struct Included {
    file: String,
    /// What it is included into.
    into: String,
    /// The words of what is included.
    words: Vec<String>,
    /// Of Django's: the module.
    module: Option<String>,
    prefix: String,
    /// Flask: the prefix stands instead of the blueprint's own.
    replaces: bool,
}

impl Prefixes {
    pub fn read(&mut self, node: Node) {
        match node.kind() {
            "assignment" => self.made(node),
            "call" => self.included.extend(included(node)),
            _ => {}
        }
    }

    fn made(&mut self, node: Node) {
        let Some((left, right)) = node.sides() else { return };
        if left.text() == "ROOT_URLCONF" {
            self.roots.extend(right.string());
        }
        if right.kind() != "call" {
            return;
        }
        let prefix = |key: &str| right.argument(key).and_then(Node::string);
        let router = |prefix: String| Router {
            file: node.file().place.clone(),
            name: left.last_name().to_owned(),
            prefix,
        };
        match right.last_name() {
            "APIRouter" => self.own.extend(prefix("prefix").map(router)),
            "Blueprint" | "APIBlueprint" => self.own.extend(prefix("url_prefix").map(router)),
            name if APPLICATIONS.contains(&name) => self.applications.push(router(String::new())),
            _ => {}
        }
    }

    fn is_application(&self, file: &str, name: &str) -> bool {
        let module = module_of(file);
        let is_root = |root: &String| module == *root || module.ends_with(&format!(".{root}"));
        let mut known = self.applications.iter();
        known.any(|known| known.file == file && known.name == name)
            || (name.is_empty() && self.roots.iter().any(is_root))
    }

    /// What stands before the paths of a router.
    pub fn before(&self, file: &str, router: &str, deep: usize) -> Before {
        let is_application = self.is_application(file, router);
        if deep > DEEPEST || is_application {
            return Before {
                prefix: String::new(),
                is_whole: is_application,
            };
        }
        let mut own = self.own.iter();
        let own = own.find(|known| known.file == file && known.name == router);
        let own = own.map_or("", |own| own.prefix.as_str());
        // What is included into it says nothing of what stands before it.
        let others = || {
            let all = self.included.iter();
            all.filter(move |included| included.file != file || included.into != router)
        };
        let named = others().find(|included| included.is_of(file, router));
        let mut with_prefix = others().filter(|included| !included.prefix.is_empty());
        // One prefix for all is that of all.
        let only = match (with_prefix.next(), with_prefix.next()) {
            (Some(one), None) => Some(one).filter(|one| one.module.is_none() && !one.replaces),
            _ => None,
        };
        let Some(included) = named.or(only) else {
            return Before {
                prefix: own.to_owned(),
                is_whole: !own.is_empty(),
            };
        };
        let above = self.before(&included.file, &included.into, deep + 1);
        let prefix = match (included.replaces, included.prefix.is_empty()) {
            (true, false) => joined(&above.prefix, &included.prefix),
            _ => joined(&joined(&above.prefix, &included.prefix), own),
        };
        // What a function is given under this name is the application.
        let is_app = matches!(included.into.as_str(), "app" | "application");
        Before {
            is_whole: above.is_whole || is_app || !prefix.is_empty(),
            prefix,
        }
    }
}

fn included(call: Node) -> Option<Included> {
    let text = |key: &str| call.argument(key).and_then(Node::string).unwrap_or_default();
    let words = |node: Node| -> Vec<String> { node.text().split('.').map(str::to_owned).collect() };
    let object = call.field("function")?.field("object");
    let included = Included {
        file: call.file().place.clone(),
        into: object.map_or("", Node::last_name).to_owned(),
        words: Vec::new(),
        module: None,
        prefix: String::new(),
        replaces: false,
    };
    match call.last_name() {
        "include_router" => Some(Included {
            words: words(call.first_argument()?),
            prefix: text("prefix"),
            ..included
        }),
        "register_blueprint" => Some(Included {
            words: words(call.first_argument()?),
            prefix: text("url_prefix"),
            replaces: true,
            ..included
        }),
        "path" | "re_path" if object.is_none() => {
            let arguments = call.field("arguments")?.children();
            let inner = arguments.get(1).filter(|view| view.last_name() == "include")?;
            let what = inner.first_argument()?;
            let module = what.all().find_map(Node::string);
            Some(Included {
                words: match module {
                    Some(_) => Vec::new(),
                    // `router.urls`
                    None => words(what.field("object")?),
                },
                module,
                prefix: arguments.first()?.string()?.trim_start_matches('^').to_owned(),
                ..included
            })
        }
        _ => None,
    }
}

impl Included {
    fn is_of(&self, file: &str, router: &str) -> bool {
        let module = module_of(file);
        if let Some(included) = &self.module {
            return module == *included || module.ends_with(&format!(".{included}"));
        }
        let stem = module.rsplit('.').next().unwrap_or_default();
        // `router` and `bp` are what every file calls it.
        let is_same_file = self.file == file;
        let is_telling = is_same_file || !["router", "bp", "blueprint", "api", "app", ""].contains(&router);
        self.words.iter().any(|word| {
            let bare = ["_router", "_bp", "_blueprint"]
                .iter()
                .find_map(|end| word.strip_suffix(end));
            word == stem || bare == Some(stem) || (is_telling && word == router)
        })
    }
}

pub fn joined(before: &str, path: &str) -> String {
    match (before.trim_end_matches('/'), path) {
        (_, "") => before.to_owned(),
        ("", path) => path.to_owned(),
        (before, path) => format!("{before}/{}", path.trim_start_matches('/')),
    }
}
