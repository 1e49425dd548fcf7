//! What Python sources say of the application, without running them: actors, queues, the worker's
//! module, tables, statuses, routes, URLs.
//!
//! What is computed at run time stays unknown and is left out.

mod actors;
mod models;
mod names;
mod routes;
mod senders;
mod syntax;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::walk::TextFile;
use crate::framework::{self, Framework};
use names::{dotted, module_of};
use routes::{Prefixes, posted_to, prefixed};
pub use senders::SendingProgram;
use syntax::{Node, PythonFile};

/// Some 5 MB are read in a second; what lies near the root comes first.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    pub framework: &'static Framework,
    /// Its name stands in the code, and is not made from its function's.
    pub is_named: bool,
    pub name: String,
    /// The function or class that it is.
    pub function: String,
    /// Its first parameter is `self`, which is no argument.
    pub takes_self: bool,
    pub queue: QueueName,
    pub place: String,
    /// Dotted name of the module that defines it.
    pub module: String,
    pub parameters: Vec<Parameter>,
    /// What it logs first, and nothing else in the project logs.
    pub entry: Option<(String, String)>,
    /// Something outside of its own module sends to it.
    pub sent: bool,
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
    /// `POST` routes as written, without the prefix of a router.
    pub routes: Vec<(String, String)>,
    /// Programs that send tasks and end, those with a name of their own first.
    pub senders: Vec<SendingProgram>,
    /// Modules that may be the worker's, best first, each with the reason.
    pub modules: Vec<(String, String)>,
    /// Modules that make an application of a framework's, with their places.
    pub applications: Vec<(&'static Framework, String, String)>,
    /// `FastAPI()`, with its place.
    pub fastapi: Option<String>,
    /// What was not read, and why.
    pub complaint: Option<String>,
    /// The framework runs in Django, by its package for that: whoever knows the framework says so.
    pub is_django: bool,
    /// Words that say which task framework and which broker the code uses, each with its place.
    pub uses: BTreeMap<&'static str, String>,
}

/// Imports, classes and engines that init has to tell apart, besides the frameworks' own.
const TELLING: &[&str] = &["RabbitmqBroker", "mysql", "sqlite3", "pymongo", "motor"];

/// What one file says that means something only together with the others.
struct Mentions<'a> {
    file: &'a TextFile,
    /// Words of its `import` statements.
    imports: Vec<String>,
    /// Names that it sends messages with: `NAME.send()`.
    sends: Vec<String>,
    sets_broker: bool,
}

pub fn scan(python: &[TextFile], others: &[TextFile]) -> SourceFacts {
    let mut code = SourceFacts::default();
    let mut constants = BTreeMap::new();
    let mut mentions = Vec::new();
    let mut prefixes = Prefixes::default();
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
            sends: Vec::new(),
            sets_broker: false,
        };
        let nodes: Vec<Node> = source.nodes().collect();
        for node in nodes.iter().copied() {
            code.read(node);
            code.actors.extend(actors::registered(node, &nodes));
            mentioned.read(node);
            prefixes.read(node);
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
    keep_what_only_one_logs(&mut code.actors, &files);
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
    code.modules = modules(&mentions, &code.actors, python);
    prefer_what_is_sent(&mentions, &mut code.actors);
    code.senders = senders::find(&mentions, &code.actors, python);
    names::complete(&mut code, python);
    code
}

impl SourceFacts {
    /// What an import, a call or a string of settings says of the framework and what it runs on.
    fn use_of(&mut self, node: Node) {
        let text = match node.kind() {
            "import_statement" | "import_from_statement" => node.text().to_owned(),
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

    /// `app = Celery("shop")`.
    fn application(&mut self, node: Node) {
        let made = node.field("right").filter(|value| value.kind() == "call");
        let Some(class) = made.filter(|_| node.kind() == "assignment").map(Node::last_name) else {
            return;
        };
        let known = framework::ALL.iter();
        let of = known.filter(|framework| framework.source.application == Some(class));
        self.applications
            .extend(of.map(|framework| (*framework, String::new(), node.place())));
    }

    fn read(&mut self, node: Node) {
        self.use_of(node);
        self.actors.extend(actors::read(node));
        models::statuses(node, &mut self.statuses);
        self.application(node);
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
                if let Some(path) = node.children().first().copied().and_then(posted_to) {
                    self.routes.push((path, node.place()));
                }
            }
            "assignment" if self.fastapi.is_none() => {
                let value = node.field("right").filter(|value| value.kind() == "call");
                if value.is_some_and(|value| value.last_name() == "FastAPI") {
                    self.fastapi = Some(node.place());
                }
            }
            "call" | "subscript" => {
                if let Some(name) = variable(node) {
                    self.reads.entry(name).or_insert_with(|| node.place());
                }
            }
            _ => {}
        }
    }
}

/// The URL of a broker or a database.
fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let scheme = scheme.split('+').next().unwrap_or_default();
    matches!(scheme, "amqp" | "amqps" | "postgres" | "postgresql") && !text.contains(char::is_whitespace)
}

/// The variable of the environment that an expression reads.
fn variable(node: Node) -> Option<String> {
    let (reader, name) = match node.kind() {
        "call" => (node.field("function")?, node.first_argument()?),
        _ => (node.field("value")?, node.field("subscript")?),
    };
    let reader = reader.text();
    let reads = [
        "environ",
        "environ.get",
        "getenv",
        "env",
        "env.str",
        "env.url",
        "config",
    ]
    .iter()
    .any(|known| reader.ends_with(known));
    name.string().filter(|name| {
        reads
            && name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    })
}

impl Mentions<'_> {
    fn read(&mut self, node: Node) {
        match node.kind() {
            "import_statement" | "import_from_statement" => {
                let words = node.all().filter(|inner| inner.kind() == "identifier");
                self.imports.extend(words.map(|word| word.text().to_owned()));
            }
            "call" => match node.last_name() {
                "set_broker" | "RabbitmqBroker" => self.sets_broker = true,
                "send"
                | "send_with_options"
                | "message"
                | "message_with_options"
                | "delay"
                | "apply_async"
                | "delay_on_commit"
                | "apply_async_on_commit" => {
                    let actor = node
                        .field("function")
                        .and_then(|function| function.field("object"));
                    self.sends.extend(actor.map(|actor| actor.last_name().to_owned()));
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// Tests define actors and brokers of their own.
fn is_test(place: &str) -> bool {
    place.split('/').any(|part| {
        matches!(part, "tests" | "test" | "conftest.py")
            || part.starts_with("test_")
            || part.ends_with("_test.py")
    })
}

/// A line that something else may log as well says nothing of the actor. The same actor in two
/// branches of an `if` is one, and says the same twice.
fn keep_what_only_one_logs(actors: &mut [Actor], files: &[&TextFile]) {
    let mut own: BTreeMap<(String, String), usize> = BTreeMap::new();
    for actor in actors.iter() {
        if let Some((words, _)) = &actor.entry {
            *own.entry((actor.name.clone(), words.clone())).or_default() += 1;
        }
    }
    for actor in actors {
        actor.entry = actor.entry.take().filter(|(words, _)| {
            let by_itself = own.get(&(actor.name.clone(), words.clone()));
            let anywhere: usize = files
                .iter()
                .map(|file| file.text.matches(words.as_str()).count())
                .sum();
            by_itself == Some(&anywhere)
        });
    }
}

/// Modules that may be given to `dramatiq`: those that bring the broker and the actors.
fn modules(mentions: &[Mentions], actors: &[Actor], python: &[TextFile]) -> Vec<(String, String)> {
    let mut found: Vec<(u8, String, String)> = Vec::new();
    for Mentions {
        file,
        imports,
        sets_broker,
        ..
    } in mentions
    {
        let place = &file.place;
        let name = place.rsplit('/').next().unwrap_or_default();
        let defines = actors.iter().any(|actor| actor.module == module_of(place));
        let imports = actors.iter().any(|actor| {
            let last = actor.module.rsplit('.').next().unwrap_or_default();
            imports.iter().any(|word| word == last)
        });
        let (rank, why) = match (name.starts_with("worker"), defines, sets_broker) {
            (true, ..) if imports || defines => (0, "imports the actors"),
            (_, true, true) => (1, "has the broker and actors"),
            (_, true, false) => (2, "has actors"),
            _ => continue,
        };
        found.push((rank, dotted(place, python), format!("{place} {why}")));
    }
    found.sort();
    found.into_iter().map(|(_, module, why)| (module, why)).collect()
}

/// Actors that something outside of their own module sends to come first.
fn prefer_what_is_sent(mentions: &[Mentions], actors: &mut [Actor]) {
    let mut sent: Vec<&String> = Vec::new();
    for Mentions { file, sends, .. } in mentions {
        let module = module_of(&file.place);
        let own = |name: &&String| {
            actors
                .iter()
                .any(|actor| actor.name == **name && actor.module == module)
        };
        sent.extend(sends.iter().filter(|name| !own(name)));
    }
    for actor in actors.iter_mut() {
        actor.sent = sent.contains(&&actor.name);
    }
    actors.sort_by_key(|actor| !actor.sent);
}

/// The one actor that a task's message can name: the only one, or the only one that anything sends
/// to.
pub fn only<'a>(actors: &[&'a Actor]) -> Option<&'a Actor> {
    let sent: Vec<&Actor> = actors.iter().filter(|actor| actor.sent).copied().collect();
    match (actors, sent.as_slice()) {
        ([one], _) => Some(one),
        (_, [one]) => Some(one),
        _ => None,
    }
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

    #[test]
    fn urls_routes_and_variables() {
        let text = "url = os.getenv('MQ', 'amqp://a:b@h/v')\nx = environ['DB_URL']\n@router.post('/run')\ndef f(): pass\napp = FastAPI()\n";
        let code = scan(&[file("m.py", text)], &[]);
        assert_eq!(code.urls[0].1, "m.py line 1");
        assert_eq!(code.routes[0].0, "/run");
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
