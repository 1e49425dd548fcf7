//! Where an application answers: its paths, with the prefixes of their routers, and the functions behind them.

use super::functions::Function;
use super::prefixes::{Prefixes, joined};
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
    /// Its prefix was seen, or it hangs on the application itself.
    is_whole: bool,
    /// `@action` of a class that a router registers: below the paths of that.
    of_class: Option<String>,
}

/// A view that looks at the method itself, if at all.
const ANY: &str = "ANY";

/// Methods of classes that answer a `POST`.
const POSTS: &[&str] = &["post", "create", "perform_create", "form_valid"];

/// The routes that a node declares.
pub fn routes_of(node: Node) -> Vec<Route> {
    match node.kind() {
        "decorated_definition" => match action(node) {
            Some(action) => vec![action],
            None => decorated(node),
        },
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
                is_whole: false,
                of_class: None,
            })
        })
        .collect()
}

/// `@action(detail=True, methods=["post"])` of Django REST framework.
fn action(node: Node) -> Option<Route> {
    let class = node.enclosing("class_definition")?.field("name")?;
    let name = node.field("definition")?.field("name")?;
    let decorators = node.children().into_iter();
    let calls = decorators.filter_map(|decorator| decorator.children().first().copied());
    let call = calls
        .into_iter()
        .find(|call| call.kind() == "call" && call.last_name() == "action")?;
    let methods = call.argument("methods").map_or("", Node::text).to_uppercase();
    let known = ["POST", "PUT", "PATCH", "DELETE", "GET"];
    let method = known.into_iter().find(|method| methods.contains(method));
    let path = call.argument("url_path").and_then(Node::string);
    let is_of_one = call
        .argument("detail")
        .is_some_and(|detail| detail.kind() == "true");
    Some(Route {
        method: method.unwrap_or("GET"),
        path: format!(
            "{}{}/",
            if is_of_one { "{pk}/" } else { "" },
            path.unwrap_or_else(|| name.text().to_owned())
        ),
        place: call.place(),
        handler: name.text().to_owned(),
        router: String::new(),
        is_decorator: false,
        is_whole: false,
        of_class: Some(class.text().to_owned()),
    })
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
        is_whole: false,
        of_class: None,
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

/// The routes as they are asked for: with the prefixes of their routers.
pub fn prefixed(routes: Vec<Route>, prefixes: &Prefixes) -> Vec<Route> {
    let (actions, mut routes): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|route| route.of_class.is_some());
    for route in &mut routes {
        let file = file_of(&route.place);
        let before = prefixes.before(file, &route.router, 0);
        route.is_whole = before.is_whole;
        let path = joined(&before.prefix, &route.path);
        route.path = format!("/{}", path.trim_start_matches('/'));
    }
    for action in actions {
        let class = action.of_class.as_deref();
        let registered = |route: &&Route| !route.is_decorator && Some(route.handler.as_str()) == class;
        let below = |route: &Route| Route {
            path: joined(&route.path, &action.path),
            is_whole: route.is_whole,
            ..action.clone()
        };
        let found: Vec<Route> = routes.iter().filter(registered).map(below).collect();
        routes.extend(found);
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

    /// Where it stands, and whether that is all of its path.
    pub fn said(&self) -> String {
        match self.is_whole {
            true => self.place.clone(),
            false => format!("{}; a router may have a prefix that was not seen", self.place),
        }
    }

    fn answers(&self, function: &Function) -> bool {
        match &function.class {
            class if self.of_class.is_some() => {
                *class == self.of_class
                    && self.handler == function.name
                    && file_of(&self.place) == function.file
            }
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
        site.route_place = route.said();
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
    fn actions_stand_below_their_class() {
        let set = "class Bills(ModelViewSet):\n    @action(detail=False, methods=['post'])\n    def start(self, request):\n        bill.send(1)\n    @action(detail=True)\n    def log(self, request, pk=None): ...\n";
        let router = (
            "shop/urls.py",
            "router = DefaultRouter()\nrouter.register(r'bills', Bills)\nurlpatterns = [path('api/', include(router.urls))]\n",
        );
        let view = ("shop/views.py", set);
        assert_eq!(route(&[view, router]), ("POST", "/api/bills/start/".to_owned()));
        let of_one = set.replace("detail=False", "detail=True, url_path='run'");
        assert_eq!(
            route(&[("shop/views.py", &of_one), router]).1,
            "/api/bills/{pk}/run/"
        );
        let gets = set.replace(", methods=['post']", "");
        assert_eq!(route(&[("shop/views.py", &gets), router]).0, "GET");
        // Nobody registers it.
        assert_eq!(route(&[view]).0, "");
    }

    #[test]
    fn a_prefix_of_nothing_was_seen_too() {
        let urls = ("shop/urls.py", "urlpatterns = [path('bill/', views.create)]\n");
        let view = ("shop/views.py", "def create(request):\n    bill.send(1)\n");
        let above = ("site/urls.py", "urlpatterns = [path('', include('shop.urls'))]\n");
        let settings = ("site/settings.py", "ROOT_URLCONF = 'site.urls'\n");
        let said = |files: &[(&str, &str)]| sites(files)[0].route_place.clone();
        assert_eq!(said(&[urls, view, above, settings]), "shop/urls.py line 1");
        // Whoever includes that may have a prefix.
        assert!(said(&[urls, view, above]).contains("was not seen"));
        let given = (
            "shop/main.py",
            "def add(app):\n    app.include_router(orders.router)\n",
        );
        let orders = (
            "shop/orders.py",
            "router = APIRouter()\n@router.post('/orders')\ndef create():\n    bill.send(1)\n",
        );
        assert_eq!(said(&[given, orders]), "shop/orders.py line 2");
        assert!(said(&[orders]).contains("was not seen"));
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
