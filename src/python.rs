//! What Python sources say of the application, without running them: actors, queues, the worker's
//! module, tables, statuses, routes, URLs.
//!
//! What is computed at run time stays unknown and is left out.

mod actors;
mod addresses;
mod annotations;
mod body;
mod functions;
mod handlers;
mod models;
mod names;
mod prefixes;
mod routes;
mod schemas;
mod senders;
mod settings;
mod sites;
mod startable;
mod syntax;
mod uses;
mod value;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::bounded::TextFile;
use crate::framework::{self, Framework};
pub use actors::only;
use addresses::{address_of, is_address, variable};
pub use body::{BodyKind, RequestField, example, of_type};
pub use functions::Function;
pub use handlers::query;
use names::{ImportedNames, Packages, module_of};
use prefixes::Prefixes;
pub use routes::Route;
use routes::prefixed;
use schemas::Schemas;
pub use senders::SendingProgram;
pub use settings::{Databases, Settings};
pub use sites::SendingSite;
use syntax::{Node, PythonFile};
pub use value::SettingValue;

/// Some 5 MB are read in a second; what lies near the root comes first.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub framework: &'static Framework,
    /// Its name stands in the code, and is not made from its function's.
    pub is_named: bool,
    /// The expression that makes its name, if that is no text.
    pub computed: Option<String>,
    /// The name is what messages say: what is made from a module's name may be made from another.
    pub is_sure: bool,
    pub name: String,
    /// The function or class that it is.
    pub function: String,
    /// Its first parameter is `self`, which is no argument.
    pub takes_self: bool,
    pub queue: QueueName,
    /// Options that stand elsewhere, and may name a queue: `**options`.
    pub spread: Option<String>,
    pub place: String,
    /// Dotted name of the module that defines it.
    pub module: String,
    pub parameters: Vec<Parameter>,
    /// What it logs first, and nothing else in the project logs.
    pub entry: Option<(String, String)>,
    /// Something outside of its own module sends to it.
    pub sent: bool,
}

/// `app = Celery("shop")`.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    pub framework: &'static Framework,
    /// Dotted, as a worker is told of it.
    pub module: String,
    pub place: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum QueueName {
    Default,
    Named(String),
    /// An expression that could not be followed.
    Computed(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub annotation: String,
    pub has_default: bool,
    /// It stands behind `*`.
    pub by_keyword: bool,
}

/// A table as SQLAlchemy or `CREATE TABLE` declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableDefinition {
    pub name: String,
    pub columns: Vec<String>,
    pub key: Option<String>,
    pub place: String,
    /// How its columns are declared, in the order of the columns.
    pub declared: Vec<String>,
    /// Words for a status that its own class names.
    pub words: Vec<String>,
}

/// A port that the code serves on.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerPort {
    /// Or the expression that says it.
    pub port: Result<u16, String>,
    pub value: SettingValue,
    pub place: String,
}

#[derive(Debug, Default)]
pub struct SourceFacts {
    pub actors: Vec<Actor>,
    pub tables: Vec<TableDefinition>,
    /// Words that stand where a status is set, or as members of a status enum.
    pub statuses: Vec<String>,
    /// URLs in the code, each with its place.
    pub urls: Vec<(String, String)>,
    /// Variables that the code reads, each with the place where it first does.
    pub reads: BTreeMap<String, String>,
    /// Where it answers, with the prefixes of routers.
    pub routes: Vec<Route>,
    /// Programs that send tasks and end, those with a name of their own first.
    pub senders: Vec<SendingProgram>,
    /// Modules that may be the worker's, best first, each with the reason.
    pub modules: Vec<(String, String)>,
    /// Modules that make an application of a framework's, the likeliest worker's first.
    pub applications: Vec<Application>,
    /// It has routes of some web framework's, whatever their methods.
    pub is_web: bool,
    /// Functions that send tasks.
    pub sites: Vec<SendingSite>,
    /// What is read from `uvicorn.run(…, port=…)`.
    pub server_ports: Vec<ServerPort>,
    /// Programs that send tasks again and again, by place.
    pub schedulers: Vec<String>,
    /// Enums of statuses, by name.
    pub enums: BTreeMap<String, Vec<String>>,
    /// `FastAPI()`, with its place.
    pub fastapi: Option<String>,
    /// What was not read, and why.
    pub complaint: Option<String>,
    /// The framework runs in Django, by its package for that: whoever knows the framework says so.
    pub is_django: bool,
    pub settings: Settings,
    /// Other task frameworks that it imports, with their places.
    pub other_frameworks: BTreeMap<&'static str, String>,
    /// Words that say which task framework and which broker the code uses, each with its place.
    pub uses: BTreeMap<&'static str, String>,
}

/// What one file says that means something only together with the others.
struct Mentions<'a> {
    file: &'a TextFile,
    /// Words of its `import` statements.
    imports: Vec<String>,
    names: ImportedNames,
    /// Names that it sends messages with: `NAME.send()`.
    sends: Vec<String>,
    sets_broker: bool,
    /// What it calls in loops that do not end by themselves; those that send at once hold `send`.
    loops: Vec<String>,
}

pub fn scan(python: &[TextFile], others: &[TextFile]) -> SourceFacts {
    let mut code = SourceFacts::default();
    let mut constants = BTreeMap::new();
    let mut mentions = Vec::new();
    let mut prefixes = Prefixes::default();
    let mut functions = Vec::new();
    let mut schemas = Schemas::default();
    let files: Vec<&TextFile> = python.iter().filter(|file| !is_test(&file.place)).collect();
    let began = Instant::now();
    let Some(mut parser) = syntax::parser() else {
        return code;
    };
    for file in &files {
        if began.elapsed() > WITHIN {
            code.complaint = Some("the project is large: not all of its Python was read".into());
            break;
        }
        let source = PythonFile::parse(&mut parser, file);
        let mut mentioned = Mentions {
            file,
            imports: Vec::new(),
            names: ImportedNames::default(),
            sends: Vec::new(),
            sets_broker: false,
            loops: Vec::new(),
        };
        let nodes: Vec<Node> = source.nodes().collect();
        for node in nodes.iter().copied() {
            code.read(node);
            code.actors.extend(actors::registered(node, &nodes));
            mentioned.read(node);
            mentioned.names.read(node);
            prefixes.read(node);
            schemas.read(node);
            code.sites.extend(sites::site(node));
            functions.extend(Function::of(node));
            if let Some((left, right)) = node.sides()
                && node.kind() == "assignment"
                && left.kind() == "identifier"
                && let Some(value) = right.constant()
            {
                constants.entry(left.text().to_owned()).or_insert(value);
            }
        }
        mentions.push(mentioned);
        // SQL stands in strings.
        models::created(file, &mut code.tables);
    }
    for file in others {
        models::created(file, &mut code.tables);
    }
    for actor in &mut code.actors {
        actor.queue.follow(&constants);
    }
    actors::keep_what_only_one_logs(&mut code.actors, &files);
    let mut known: Vec<(String, String)> = Vec::new();
    code.actors.retain(|actor| {
        let id = (actor.module.clone(), actor.name.clone());
        let new = !known.contains(&id);
        known.push(id);
        new
    });
    code.statuses.sort();
    code.statuses.dedup();
    code.routes = prefixed(code.routes, &prefixes);
    code.settings.follow_databases();
    let packages = Packages::new(python, &mentions);
    code.modules = startable::modules(&mentions, &code.actors, &packages);
    code.sites = sites::of_actors(code.sites, &code.actors);
    routes::lead(&mut code.sites, &code.routes, &functions);
    for site in &mut code.sites {
        if let (Some(handler), Some((_, path))) = (&mut site.handler, &site.route) {
            handlers::complete(handler, path, &schemas, code.fastapi.is_some());
        }
    }
    sites::prefer_what_is_sent(&mentions, &code.sites, &mut code.actors);
    let senders = senders::find(&mentions, &code.actors, &code.sites, python, &packages);
    (code.senders, code.schedulers) = senders;
    startable::rank_applications(&mentions, &code.actors, &mut code.applications);
    names::complete(&mut code, &packages);
    code
}

impl SourceFacts {
    /// `app = Celery("shop")`.
    fn application(&mut self, node: Node) {
        let made = node.field("right").filter(|value| value.kind() == "call");
        let Some(class) = made.filter(|_| node.kind() == "assignment").map(Node::last_name) else {
            return;
        };
        let known = framework::ALL.iter();
        let of = known.filter(|framework| framework.source.application == Some(class));
        // One of a function's own only sends: no worker finds it.
        if node.enclosing("function_definition").is_some() {
            return;
        }
        self.applications.extend(of.map(|framework| Application {
            framework,
            module: String::new(),
            place: node.place(),
        }));
    }

    /// `uvicorn.run(app, port=8000)`.
    fn served(&mut self, call: Node) {
        let is_uvicorn = call
            .field("function")
            .is_some_and(|function| function.text() == "uvicorn.run");
        if let (true, Some(port)) = (is_uvicorn, call.argument("port")) {
            let text = port.string().unwrap_or_else(|| port.text().to_owned());
            self.server_ports.push(ServerPort {
                port: text.parse().map_err(|_| text),
                value: SettingValue::of(port),
                place: call.place(),
            });
        }
    }

    fn read(&mut self, node: Node) {
        self.use_of(node);
        self.actors.extend(actors::read(node));
        models::statuses(node, &mut self.statuses);
        self.enums.extend(models::enum_of(node));
        self.application(node);
        self.settings.read(node);
        self.routes.extend(routes::routes_of(node));
        match node.kind() {
            "class_definition" => self
                .tables
                .extend(models::mapped(node).or_else(|| models::of_django(node))),
            "string" => {
                if let Some(url) = node.string().filter(|text| is_address(text)) {
                    self.urls.push((url, node.place()));
                }
            }
            "decorator" => {
                let called = node.children().first().copied();
                self.is_web |= called.and_then(routes::of_decorator).is_some();
            }
            "assignment" if self.fastapi.is_none() => {
                let value = node.field("right").filter(|value| value.kind() == "call");
                if value.is_some_and(|value| value.last_name() == "FastAPI") {
                    self.fastapi = Some(node.place());
                }
            }
            "call" | "subscript" => {
                self.served(node);
                if let Some(url) = address_of(node) {
                    self.urls.push((url, node.place()));
                }
                if let Some(name) = variable(node) {
                    self.reads.entry(name).or_insert_with(|| node.place());
                }
            }
            _ => {}
        }
    }
}

impl Mentions<'_> {
    fn read(&mut self, node: Node) {
        match node.kind() {
            "import_statement" | "import_from_statement" => {
                let words = node.all().filter(|inner| inner.kind() == "identifier");
                self.imports.extend(words.map(|word| word.text().to_owned()));
            }
            "while_statement" => {
                let condition = node.field("condition").map_or("", Node::text);
                if matches!(condition, "True" | "1") {
                    let calls = node.all().filter(|inner| inner.kind() == "call");
                    self.loops.extend(calls.map(|call| call.last_name().to_owned()));
                }
            }
            "call" => match node.last_name() {
                "set_broker" | "RabbitmqBroker" => self.sets_broker = true,
                _ => self.sends.extend(sites::sent_by(node)),
            },
            _ => {}
        }
    }
}

/// Tests define actors and brokers of their own.
fn is_test(place: &str) -> bool {
    place.split('/').any(|part| {
        matches!(
            part,
            "tests" | "test" | "testing" | "conftest.py" | "tests.py" | "test.py" | "testing.py"
        ) || part.starts_with("test_")
            || part.ends_with("_test.py")
            || part.ends_with("_testing.py")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: &str, text: &str) -> TextFile {
        TextFile {
            place: place.into(),
            text: text.into(),
        }
    }

    #[test]
    fn an_actor_with_everything() {
        let text = r#"
"""@dramatiq.actor
def not_this(): pass"""
import dramatiq  # @dramatiq.actor
QUEUE = os.environ.get("APP_QUEUE", "agents")

@dramatiq.actor(
    queue_name=settings.QUEUE,  # )
    max_retries=3,
)
async def run_agent(task_id: str, data: dict[str, int], *, deep: bool = False) -> dict[str, Any]:
    """Runs."""
    started = time.time()
    logger.info("agent started for %s", task_id)
"#;
        let code = scan(&[file("app/tasks.py", text)], &[]);
        assert_eq!(code.actors.len(), 1, "{:?}", code.actors);
        let actor = &code.actors[0];
        assert_eq!(actor.name, "run_agent");
        assert_eq!(actor.queue, QueueName::Named("agents".into()));
        assert_eq!(actor.place, "app/tasks.py line 7");
        let names: Vec<_> = actor
            .parameters
            .iter()
            .map(|p| (p.name.as_str(), p.has_default))
            .collect();
        assert_eq!(names, [("task_id", false), ("data", false), ("deep", true)]);
        assert_eq!(
            actor.entry,
            Some(("agent started for".into(), "app/tasks.py line 14".into()))
        );
    }

    #[test]
    fn actors_of_several_shapes() {
        let text = "@actor\ndef plain(x): pass\n\n@dramatiq.actor(actor_name='real.name', queue_name=compute())\n@other\ndef hidden(): pass\n\nclass Report(dramatiq.GenericActor):\n    class Meta:\n        queue_name = 'reports'\n\nclass Other:\n    queue_name = 'no'\n";
        let code = scan(
            &[
                file("jobs.py", text),
                file("tests/test_x.py", "@actor\ndef t(): pass\n"),
            ],
            &[],
        );
        let found: Vec<_> = code
            .actors
            .iter()
            .map(|a| (a.name.as_str(), a.queue.clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("plain", QueueName::Default),
                ("real.name", QueueName::Computed("compute".into())),
                ("Report", QueueName::Named("reports".into())),
            ]
        );
    }

    #[test]
    fn an_entry_line_must_be_the_first_and_only_one() {
        let twice = "@actor\ndef a():\n    log.info('work begins now')\n\ndef b():\n    log.info('work begins now')\n";
        assert_eq!(scan(&[file("a.py", twice)], &[]).actors[0].entry, None);
        let guarded = "@actor\ndef a():\n    if x:\n        log.info('work begins now')\n";
        assert_eq!(scan(&[file("a.py", guarded)], &[]).actors[0].entry, None);
        let short = "@actor\ndef a():\n    log.info('%s', x)\n";
        assert_eq!(scan(&[file("a.py", short)], &[]).actors[0].entry, None);
    }

    #[test]
    fn the_workers_module_is_the_one_that_imports_the_actors() {
        let code = scan(
            &[
                file("worker/src/app/__init__.py", ""),
                file("worker/src/app/jobs.py", "@dramatiq.actor\ndef a(): pass\n"),
                file(
                    "worker/src/app/worker.py",
                    "from app import broker\nfrom app.jobs import a\n",
                ),
            ],
            &[],
        );
        assert_eq!(code.modules[0].0, "app.worker");
        assert_eq!(code.modules[1].0, "app.jobs");
    }

    #[test]
    fn tables_and_statuses() {
        let text = r#"
class Status(str, Enum):
    QUEUED = "queued"
    DONE = "done"

class Job(Base):
    __tablename__ = "jobs"
    job_id: Mapped[str] = mapped_column(String, primary_key=True)
    status: Mapped[Status] = mapped_column()
    note: Mapped[str]

SQL = """CREATE TABLE IF NOT EXISTS billing.runs (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 4) PRIMARY KEY, state text CHECK (state IN ('a', 'b')),
    CONSTRAINT x CHECK (id > 1))"""
job.status = "RUNNING"
"#;
        let code = scan(&[file("m.py", text)], &[]);
        assert_eq!(code.statuses, ["DONE", "QUEUED", "RUNNING", "done", "queued"]);
        let jobs = &code.tables[0];
        assert_eq!(
            (jobs.name.as_str(), jobs.key.as_deref()),
            ("jobs", Some("job_id"))
        );
        assert_eq!(jobs.columns, ["job_id", "status", "note"]);
        let runs = &code.tables[1];
        assert_eq!(
            (runs.name.as_str(), runs.key.as_deref()),
            ("billing.runs", Some("id"))
        );
        assert_eq!(runs.columns, ["id", "state"]);
    }

    /// Without an ORM the words stand in statements, or beside them.
    #[test]
    fn statuses_in_sql() {
        let text = r#"
db.execute("UPDATE jobs SET state = 'running', note = 'x' WHERE id = %s", (id,))
db.execute("UPDATE jobs SET note = %s, state=%s WHERE id = %s", ("a", "done", id))
db.execute("SELECT * FROM jobs WHERE kind = %s", ("report",))
"#;
        let code = scan(&[file("m.py", text)], &[]);
        assert_eq!(code.statuses, ["done", "running"]);
    }

    #[test]
    fn a_broker_that_is_named_by_its_host() {
        for (call, url) in [
            (
                "RabbitmqBroker(host='127.0.0.1', port=5673)",
                Some("amqp://127.0.0.1:5673"),
            ),
            ("RabbitmqBroker(host='mq')", Some("amqp://mq:5672")),
            ("RabbitmqBroker(host=HOST, port=5672)", None),
            ("RabbitmqBroker(host='mq', credentials=own)", None),
        ] {
            let code = scan(&[file("m.py", &format!("broker = {call}\n"))], &[]);
            let urls: Vec<&str> = code.urls.iter().map(|(url, _)| url.as_str()).collect();
            assert_eq!(urls, url.into_iter().collect::<Vec<_>>(), "{call}");
        }
    }

    #[test]
    fn urls_routes_and_variables() {
        let text = "url = os.getenv('MQ', 'amqp://a:b@h/v')\nx = environ['DB_URL']\n@router.post('/run')\ndef f(): pass\napp = FastAPI()\n";
        let code = scan(&[file("m.py", text)], &[]);
        assert_eq!(code.urls[0].1, "m.py line 1");
        assert_eq!(code.routes[0].path, "/run");
        assert!(code.reads.contains_key("MQ") && code.reads.contains_key("DB_URL"));
        assert_eq!(code.fastapi.as_deref(), Some("m.py line 5"));
    }

    #[test]
    fn what_is_around_a_syntax_error_is_read() {
        let text = "def broken(:\n    x = = 3\n\n@dramatiq.actor(queue_name='q')\ndef a(x): pass\n\nprint 'old'\nclass S(Enum:\n\n@actor\nasync def b(): ...\n";
        let code = scan(&[file("m.py", text)], &[]);
        let found: Vec<_> = code
            .actors
            .iter()
            .map(|actor| (actor.name.as_str(), actor.place.as_str()))
            .collect();
        assert_eq!(found, [("a", "m.py line 4"), ("b", "m.py line 10")]);
    }

    /// The words are a pattern for lines of the log, so another text that holds them is in the way.
    #[test]
    fn an_entry_line_is_no_part_of_another() {
        let text = "@actor\ndef a():\n    log.info('work begins now')\n";
        let other = "log.info('no work begins now, since nobody asked')\n";
        let code = scan(&[file("a.py", text), file("b.py", other)], &[]);
        assert_eq!(code.actors[0].entry, None);
    }

    #[test]
    fn nothing_panics() {
        for text in [
            "@actor(",
            "@actor\n",
            "@actor(x='",
            "'''",
            "\"",
            "é'é\"\"\"é",
            "@dramatiq.actor(a=(1,[2)\ndef f(: pass",
            "CREATE TABLE x (",
            "CREATE TABLE é (a 'é",
            "@actor\ndef f(é='\\\n'):\n    log.info('%",
        ] {
            let _ = scan(&[file("m.py", text)], &[file("m.sql", text)]);
        }
    }
}
