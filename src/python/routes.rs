//! Where an application answers: its paths, with the prefixes of their routers, and the functions behind them.

use super::functions::Function;
use super::names::module_of;
use super::sites::SendingSite;
use super::syntax::Node;

/// A path that the application answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// `POST`; `ANY` where the code does not say, and any might do.
    pub method: &'static str,
    /// A name in it stands in braces, whatever the web framework writes.
    pub path: String,
    pub place: String,
    /// The function that answers, or the class whose method does.
    handler: String,
    /// `bp` of `@bp.route("/path")`: what may have a prefix.
    router: String,
    /// The handler stands below it, in the same file.
    is_decorator: bool,
}

/// A view that looks at the method itself, if at all.
const ANY: &str = "ANY";

/// How many routers stand one in another.
const DEEPEST: usize = 4;

/// Classes of whole applications: what hangs on one has no prefix.
const APPLICATIONS: &[&str] = &["FastAPI", "Flask", "Quart", "Starlette", "Sanic", "Bottle"];

/// Methods of classes that answer a `POST`.
const POSTS: &[&str] = &["post", "create", "perform_create", "form_valid"];

/// The routes that a node declares.
pub fn routes_of(node: Node) -> Vec<Route> {
    match node.kind() {
        "decorated_definition" => decorated(node),
        "call" => registered(node).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn decorated(node: Node) -> Vec<Route> {
    let name = node.field("definition").and_then(|inner| inner.field("name"));
    let Some(handler) = name else { return Vec::new() };
    let decorators = node.children().into_iter();
    decorators
        .filter(|child| child.kind() == "decorator")
        .filter_map(|decorator| {
            let call = *decorator.children().first()?;
            let (method, path) = of_decorator(call)?;
            let router = call.field("function")?.field("object");
            Some(Route {
                method,
                path: in_braces(&path),
                place: decorator.place(),
                handler: handler.text().to_owned(),
                router: router.map_or("", Node::last_name).to_owned(),
                is_decorator: true,
            })
        })
        .collect()
}

/// `@router.post("/path")`, `@app.route("/path", methods=["PUT"])`.
pub(super) fn of_decorator(call: Node) -> Option<(&'static str, String)> {
    let method = match call.last_name() {
        "get" => "GET",
        "post" => "POST",
        "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "route" => method_of(call.argument("methods"))?,
        _ => return None,
    };
    let path = call.first_argument()?.string()?;
    (path.is_empty() || path.starts_with('/')).then_some((method, path))
}

/// Of a list of methods the one that submits, if it has one.
fn method_of(methods: Option<Node>) -> Option<&'static str> {
    let Some(methods) = methods.map(Node::text) else {
        return Some("GET");
    };
    let known = ["POST", "PUT", "PATCH", "DELETE", "GET"];
    known.into_iter().find(|method| methods.contains(method))
}

/// `add_url_rule("/path", view_func=view)`, `add_resource(Jobs, "/path")`, Django's `path("path", views.view)`, and
/// `register("path", JobViewSet)`.
fn registered(call: Node) -> Option<Route> {
    let arguments = call.field("arguments")?.children();
    let places: Vec<Node> = arguments
        .into_iter()
        .filter(|argument| argument.kind() != "keyword_argument")
        .collect();
    let first = *places.first()?;
    let object = call.field("function")?.field("object");
    let (path, view, methods) = match (call.last_name(), object) {
        ("add_url_rule", Some(_)) => {
            let view = call.argument("view_func").or(places.get(2).copied())?;
            (first.string()?, view, call.argument("methods"))
        }
        ("Route", _) => (first.string()?, *places.get(1)?, call.argument("methods")),
        ("add_post", Some(_)) => (first.string()?, *places.get(1)?, None),
        ("add_resource", Some(_)) => (places.get(1)?.string()?, first, None),
        ("path", None) => (first.string()?, *places.get(1)?, None),
        ("re_path", None) => {
            let pattern = first.string()?;
            let plain = pattern.trim_start_matches('^').trim_end_matches('$').to_owned();
            let is_plain = !plain.contains(['(', '[', '\\', '*', '+', '?']);
            (is_plain.then_some(plain)?, *places.get(1)?, None)
        }
        ("register", Some(_)) => {
            let path = first.string()?;
            (format!("{}/", path.trim_end_matches('/')), *places.get(1)?, None)
        }
        _ => return None,
    };
    let is_class = view.kind() == "call" && view.last_name() == "as_view";
    let handler = match is_class {
        true => view.field("function")?.field("object")?.last_name(),
        // What includes other routes is none.
        false if view.kind() == "call" => return None,
        false => view.last_name(),
    };
    let method = match methods {
        Some(_) => method_of(methods)?,
        None if matches!(call.last_name(), "add_url_rule" | "Route") && !is_class => "GET",
        None => ANY,
    };
    (!handler.is_empty()).then(|| Route {
        method,
        path: in_braces(&path),
        place: call.place(),
        handler: handler.to_owned(),
        router: object.map_or("", Node::last_name).to_owned(),
        is_decorator: false,
    })
}

/// `/jobs/<int:job>` and `/jobs/{job:path}` → `/jobs/{job}`.
fn in_braces(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(at) = rest.find(['<', '{']) {
        let (before, name) = rest.split_at(at);
        let is_of_flask = name.starts_with('<');
        let Some((name, behind)) = name[1..].split_once(['>', '}']) else {
            break;
        };
        let name = match is_of_flask {
            true => name.rsplit(':').next(),
            false => name.split(':').next(),
        };
        out.push_str(&format!("{before}{{{}}}", name.unwrap_or_default()));
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Prefixes of routers: their own, and those with which they are included.
#[derive(Default)]
pub struct Prefixes {
    /// `APIRouter(prefix="/x")`, `Blueprint("jobs", __name__, url_prefix="/x")`.
    own: Vec<Router>,
    included: Vec<Included>,
    applications: Vec<Router>,
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
        let Some((left, right)) = node.sides().filter(|(_, right)| right.kind() == "call") else {
            return;
        };
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

    /// What stands before the paths of a router.
    fn before(&self, file: &str, router: &str, deep: usize) -> String {
        let is_it = |known: &&Router| known.file == file && known.name == router;
        if deep > DEEPEST || self.applications.iter().any(|known| is_it(&known)) {
            return String::new();
        }
        let own = self.own.iter().find(is_it);
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
            return own.to_owned();
        };
        let above = self.before(&included.file, &included.into, deep + 1);
        match (included.replaces, included.prefix.is_empty()) {
            (true, false) => joined(&above, &included.prefix),
            _ => joined(&joined(&above, &included.prefix), own),
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

fn joined(before: &str, path: &str) -> String {
    match (before.trim_end_matches('/'), path) {
        (_, "") => before.to_owned(),
        ("", path) => path.to_owned(),
        (before, path) => format!("{before}/{}", path.trim_start_matches('/')),
    }
}

/// The routes as they are asked for: with the prefixes of their routers.
pub fn prefixed(mut routes: Vec<Route>, prefixes: &Prefixes) -> Vec<Route> {
    for route in &mut routes {
        let before = prefixes.before(file_of(&route.place), &route.router, 0);
        let path = joined(&before, &route.path);
        route.path = format!("/{}", path.trim_start_matches('/'));
    }
    routes
}

fn file_of(place: &str) -> &str {
    place.split(" line ").next().unwrap_or_default()
}

impl Route {
    /// It may be asked by `POST`.
    pub fn is_post(&self) -> bool {
        self.method == "POST"
    }

    fn answers(&self, function: &Function) -> bool {
        match &function.class {
            _ if self.is_decorator => self.handler == function.name && file_of(&self.place) == function.file,
            Some(class) => self.handler == *class && POSTS.contains(&function.name.as_str()),
            None => self.handler == function.name && !(self.method == ANY && function.only_gets),
        }
    }
}

/// Which route leads to a function that sends: its own, or that of a function that calls it; and what is read there of
/// the request.
pub(super) fn lead(sites: &mut [SendingSite], routes: &[Route], functions: &[Function]) {
    let near = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let route_of = |function: &Function| {
        let answering = routes.iter().filter(|route| route.answers(function));
        answering.max_by_key(|route| (route.is_post(), near(&route.place, &function.file)))
    };
    for site in sites {
        let is_own = |function: &&Function| {
            function.name == site.function
                && function.class == site.class
                && function.file == file_of(&site.place)
        };
        let with_route = |function| Some((function, route_of(function)?));
        let mut calling = functions
            .iter()
            .filter(|function| function.calls.contains(&site.function))
            .filter_map(with_route);
        let own = functions.iter().find(is_own).and_then(with_route);
        // Of several that call it nothing says which is the one.
        let found = own.or_else(|| calling.next().filter(|_| calling.next().is_none()));
        let Some((handler, route)) = found else { continue };
        let method = if route.method == ANY { "POST" } else { route.method };
        site.route = Some((method, route.path.clone()));
        site.handler = Some(handler.clone());
        site.status = status(&route.path, routes, functions);
    }
}

/// `GET /jobs/{job}` beside `POST /jobs`.
fn status(path: &str, routes: &[Route], functions: &[Function]) -> Option<(String, Option<String>)> {
    let base = path.trim_end_matches('/');
    let (above, route) = routes.iter().find_map(|route| {
        let (before, rest) = route.path.strip_prefix(base)?.split_once('{')?;
        let (_, after) = rest.split_once('}')?;
        let is_below = before == "/" && matches!(after, "" | "/" | "/status" | "/status/");
        (is_below && route.method == "GET").then(|| (format!("{base}/{{task_id}}{after}"), route))
    })?;
    let told = functions.iter().find(|function| route.answers(function));
    let pointer = ["/status", "/state"].iter().find_map(|end| {
        let mut answers = told?.answers.iter();
        answers.find(|pointer| pointer.ends_with(end)).cloned()
    });
    Some((above, pointer))
}

#[cfg(test)]
mod tests {
    use crate::bounded::TextFile;
    use crate::python::{SendingSite, scan};

    const JOBS: (&str, &str) = (
        "shop/jobs.py",
        "import dramatiq\n@dramatiq.actor\ndef bill(order, copies: int): ...\n",
    );

    fn sites(files: &[(&str, &str)]) -> Vec<SendingSite> {
        let files = [&[JOBS], files].concat();
        let files: Vec<TextFile> = files
            .iter()
            .map(|(place, text)| TextFile {
                place: (*place).into(),
                text: (*text).into(),
            })
            .collect();
        scan(&files, &[]).sites
    }

    fn route(files: &[(&str, &str)]) -> (&'static str, String) {
        let found = sites(files);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].route.clone().unwrap_or(("", String::new()))
    }

    #[test]
    fn flask_has_blueprints() {
        let view = "bp = Blueprint('jobs', __name__, url_prefix='/own')\n@bp.route('/jobs/<int:shop>', methods=['GET', 'POST'])\ndef create(shop):\n    bill.send(shop)\n";
        assert_eq!(
            route(&[("shop/views.py", view)]),
            ("POST", "/own/jobs/{shop}".to_owned())
        );
        // The prefix of the registration stands instead of the blueprint's own; others are none of its.
        let app = "from shop import views\napp = Flask(__name__)\napp.register_blueprint(other.bp, url_prefix='/other')\napp.register_blueprint(views.bp, url_prefix='/v1')\n";
        assert_eq!(
            route(&[("shop/views.py", view), ("shop/app.py", app)]).1,
            "/v1/jobs/{shop}"
        );
        let only_other = "app = Flask(__name__)\napp.register_blueprint(other.bp, url_prefix='/other')\n";
        assert_eq!(
            route(&[("shop/views.py", view), ("shop/app.py", only_other)]).1,
            "/own/jobs/{shop}"
        );
        let on_the_app = "app = Flask(__name__)\napp.register_blueprint(other.bp, url_prefix='/other')\n@app.post('/jobs')\ndef create():\n    bill.send(1)\n";
        assert_eq!(route(&[("shop/app.py", on_the_app)]).1, "/jobs");
        let rule = "def create():\n    bill.send(1)\napp = Flask(__name__)\napp.add_url_rule('/rule', view_func=create, methods=['POST'])\n";
        assert_eq!(route(&[("shop/app.py", rule)]), ("POST", "/rule".to_owned()));
        let class = "class Jobs(MethodView):\n    def get(self): ...\n    def post(self):\n        bill.send(1)\napp.add_url_rule('/class', view_func=Jobs.as_view('jobs'))\n";
        assert_eq!(route(&[("shop/app.py", class)]), ("POST", "/class".to_owned()));
        let resource = "class Jobs(Resource):\n    def post(self):\n        bill.send(1)\napi.add_resource(Jobs, '/resource')\n";
        assert_eq!(route(&[("shop/app.py", resource)]).1, "/resource");
    }

    #[test]
    fn what_tells_of_a_task_stands_beside() {
        let view = "app = Flask(__name__)\n@app.post('/jobs')\ndef create():\n    bill.send(1)\n@app.get('/jobs/<int:job>')\ndef show(job):\n    return jsonify(id=job, state=look(job))\n@app.delete('/jobs/<int:job>')\ndef remove(job): ...\n";
        let found = sites(&[("shop/app.py", view)]);
        assert_eq!(
            found[0].status,
            Some(("/jobs/{task_id}".to_owned(), Some("/state".to_owned())))
        );
        let none = "app = Flask(__name__)\n@app.post('/jobs')\ndef create():\n    bill.send(1)\n@app.get('/jobs/<int:job>/log')\ndef show(job): ...\n";
        assert_eq!(sites(&[("shop/app.py", none)])[0].status, None);
    }

    #[test]
    fn django_names_its_views_elsewhere() {
        let above = (
            "site/urls.py",
            "urlpatterns = [path('api/', include('shop.urls'))]\n",
        );
        let urls = (
            "shop/urls.py",
            "urlpatterns = [path('bill/<int:order>/', views.create)]\n",
        );
        let view = "def create(request, order):\n    bill.send(order)\n";
        assert_eq!(
            route(&[above, urls, ("shop/views.py", view)]),
            ("POST", "/api/bill/{order}/".to_owned())
        );
        let gets = "@require_GET\ndef create(request, order):\n    bill.send(order)\n";
        assert_eq!(route(&[above, urls, ("shop/views.py", gets)]).0, "");
        let set = "class Bills(ViewSet):\n    def list(self, request): ...\n    def create(self, request):\n        bill.send(1)\n";
        let router = "router = DefaultRouter()\nrouter.register('bills', Bills)\nurlpatterns = [path('v2/', include(router.urls))]\n";
        assert_eq!(
            route(&[("shop/views.py", set), ("shop/urls.py", router)]).1,
            "/v2/bills/"
        );
    }

    #[test]
    fn a_route_leads_to_what_its_function_calls() {
        let service = ("shop/service.py", "def start(order):\n    bill.send(order)\n");
        let view = (
            "shop/app.py",
            "app = FastAPI()\n@app.post('/jobs')\ndef create(order: Order):\n    return start(order)\n",
        );
        assert_eq!(route(&[service, view]), ("POST", "/jobs".to_owned()));
        let other = (
            "shop/app.py",
            "@app.post('/jobs')\ndef create():\n    return stop()\n",
        );
        assert_eq!(route(&[service, other]).0, "");
    }

    #[test]
    fn routers_stand_in_routers() {
        let main = (
            "shop/main.py",
            "app = FastAPI()\napp.include_router(api_router, prefix='/api')\n",
        );
        let api = (
            "shop/api.py",
            "api_router = APIRouter()\napi_router.include_router(orders.router, prefix='/orders')\n",
        );
        let orders = (
            "shop/orders.py",
            "router = APIRouter()\n@router.post('')\ndef create():\n    bill.send(1)\n",
        );
        assert_eq!(route(&[main, api, orders]).1, "/api/orders");
    }
}
