//! `taskdiag init` on projects of several shapes, with no service at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use alone::{alone, taskdiag, without_environment};

mod alone;

struct Project(PathBuf);

impl Project {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("taskdiag-init-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (path, text) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> Output {
        let mut command = alone(env!("CARGO_BIN_EXE_taskdiag"));
        without_environment(&mut command);
        command
            .args(arguments)
            .current_dir(&self.0)
            .envs(env.iter().copied())
            .output()
            .unwrap()
    }

    /// Drafts; the file, and what was said of it.
    fn init(&self) -> (String, String) {
        let output = self.run(&["init"], &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}{error}");
        (fs::read_to_string(self.0.join("taskdiag.toml")).unwrap(), said)
    }

    /// The file is accepted once the variables are set: `check` finds nobody, and says so.
    fn loads(&self, env: &[(&str, &str)]) {
        let mut env = env.to_vec();
        let text = fs::read_to_string(self.0.join("taskdiag.toml")).unwrap();
        // Where no broker was found the file waits for one, and nobody's default is asked in its place.
        if text.contains("\namqp_url = \"${RABBITMQ_URL}\"")
            && env.iter().all(|(name, _)| *name != "RABBITMQ_URL")
        {
            let unset = self.run(&["check"], &env);
            let said = String::from_utf8_lossy(&unset.stderr);
            assert!(said.contains("RABBITMQ_URL"), "{said}");
            env.push(("RABBITMQ_URL", "amqp://127.0.0.1:1"));
        }
        let output = self.run(&["check"], &env);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(30), "{said}");
        assert!(said.is_empty(), "{said}");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn has(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            text.lines().any(|known| known == *line),
            "{line} is not in\n{text}"
        );
    }
}

/// API and worker in folders of their own, Compose at the top, passwords in `.env`.
#[test]
fn a_monorepo() {
    let project = Project::new(
        "monorepo",
        &[
            (
                "compose.yaml",
                r#"
services:
  db:
    image: postgres:16
    environment: { POSTGRES_USER: shop, POSTGRES_PASSWORD: "${DB_PASSWORD}", POSTGRES_DB: shop }
    ports: ["1:5432"]
  broker:
    image: rabbitmq:4-management
    environment: { RABBITMQ_DEFAULT_USER: shop, RABBITMQ_DEFAULT_PASS: "${MQ_PASSWORD:-s3cret-of-mq}", RABBITMQ_DEFAULT_VHOST: shop }
    ports: ["2:5672", "3:15672"]
  api:
    build: api
    command: sh -c "alembic upgrade head && uvicorn shop_api.main:app --host 0.0.0.0 --port 8080"
    environment: { DATABASE_URL: "postgresql+asyncpg://shop:${DB_PASSWORD}@db/shop" }
    ports: ["4:8080"]
  jobs:
    build: worker
    command: dramatiq shop_worker.main
"#,
            ),
            (".env", "DB_PASSWORD=hunter2-of-db\n"),
            (".gitignore", ".env\n"),
            (
                "api/shop_api/main.py",
                "from fastapi import FastAPI\napp = FastAPI()\n@app.post('/orders/run')\ndef run(): ...\n",
            ),
            ("api/shop_api/__init__.py", ""),
            ("worker/shop_worker/__init__.py", ""),
            (
                "worker/shop_worker/main.py",
                "import dramatiq\n@dramatiq.actor(queue_name='orders')\ndef run_order(order_id: int):\n    log.info('order run begins: %s', order_id)\n",
            ),
            (
                "api/shop_api/models.py",
                "class Run(Base):\n    __tablename__ = 'order_runs'\n    id: Mapped[int] = mapped_column(primary_key=True)\n    state: Mapped[str] = mapped_column()\n    error: Mapped[str]\n\nclass RunState(str, Enum):\n    QUEUED = 'queued'\n    WORKING = 'working'\n    DONE = 'done'\n    BROKEN = 'broken'\n",
            ),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:4\"",
            "amqp_url = \"amqp://shop:${MQ_PASSWORD}@localhost:2/shop\"",
            "management_url = \"http://localhost:3\"",
            "url = \"postgresql://shop:${DB_PASSWORD}@localhost:1/shop\"",
            "table = \"order_runs\"",
            "id_column = \"id\"",
            "status_column = \"state\"",
            "running = [\"WORKING\", \"working\"]",
            "error_column = \"error\"",
            "queue = \"orders\"",
            "actor = \"run_order\"",
            "entry_pattern = \"order run begins:\"",
            "command = [\"dramatiq\", \"shop_worker.main\"]",
            "log_command = [\"docker\", \"compose\", \"logs\", \"-f\", \"jobs\"]",
            "exec = [\"docker\", \"compose\", \"exec\", \"-T\", \"jobs\"]",
        ],
    );
    for secret in ["hunter2", "s3cret"] {
        assert!(
            !text.contains(secret) && !said.contains(secret),
            "{secret}\n{text}\n{said}"
        );
    }
    assert!(said.contains("set -a; . ./.env; set +a"), "{said}");
    project.loads(&[("DB_PASSWORD", "x"), ("MQ_PASSWORD", "y")]);
}

/// No Compose, no `.env`: commands in a Procfile, defaults in the code.
#[test]
fn a_procfile_and_defaults_in_the_code() {
    let project = Project::new(
        "procfile",
        &[
            (
                "Procfile",
                "web: gunicorn -b 127.0.0.1:5 app.web:app\nworker: dramatiq -v app.jobs --processes 2\n",
            ),
            (
                "app/jobs.py",
                "import os, dramatiq\nbroker = RabbitmqBroker(url=os.environ.get('AMQP_URL', 'amqp://me:very-secret@localhost:6/dev'))\nDB = os.environ['DATABASE_URL']\n@dramatiq.actor\ndef a(x): ...\n@dramatiq.actor\ndef b(x): ...\n",
            ),
            ("app/__init__.py", ""),
            ("log/worker.log", "line\n"),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:5\"",
            "amqp_url = \"amqp://me:${RABBITMQ_PASSWORD}@localhost:6/dev\"",
            "# url = \"${DATABASE_URL}\"    # PostgreSQL; only read",
            "# app/jobs.py line 3 reads DATABASE_URL, which is set nowhere here",
            "command = [\"dramatiq\", \"-v\", \"app.jobs\", \"--processes\", \"2\"]",
            "log = [\"log/worker.log\"]",
            "# also seen: a (app/jobs.py line 4)",
        ],
    );
    assert!(
        !text.contains("very-secret") && !said.contains("very-secret"),
        "{text}"
    );
    assert!(said.contains("export RABBITMQ_PASSWORD='…'"), "{said}");
    project.loads(&[("RABBITMQ_PASSWORD", "x")]);
}

#[test]
fn rubbish_is_passed_over() {
    let project = Project::new(
        "rubbish",
        &[
            ("docker-compose.yml", "services:\n\t: [}"),
            (".env", "\u{0}\u{1}=\n"),
            ("openapi.json", "{\"paths\": [1"),
            ("a\nb.py", "@dramatiq.actor\ndef odd(x): ...\n"),
            ("huge.sql", &"CREATE TABLE x (status text);\n".repeat(30_000)),
        ],
    );
    std::os::unix::fs::symlink(&project.0, project.0.join("loop")).unwrap();
    let (text, said) = project.init();
    has(&text, &["actor = \"odd\""]);
    assert!(said.contains("docker-compose.yml is not valid YAML"), "{said}");
    assert!(said.contains("huge.sql is too large"), "{said}");
    project.loads(&[]);
}

#[test]
fn what_is_there_is_never_overwritten() {
    let project = Project::new("kept", &[("taskdiag.toml", "mine\n")]);
    let output = project.run(&["init"], &[]);
    assert_eq!(output.status.code(), Some(30));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exists already"));
    assert_eq!(
        fs::read_to_string(project.0.join("taskdiag.toml")).unwrap(),
        "mine\n"
    );
    let other = project.run(&["init", "--config", "other.toml"], &[]);
    assert_eq!(other.status.code(), Some(0));
    assert!(Path::new(&project.0).join("other.toml").is_file());
}

/// Sourced, the password would be another one, the second variable not set, and a command executed.
#[test]
fn what_a_shell_would_change_is_not_sourced() {
    let project = Project::new(
        "dotenv",
        &[(
            ".env",
            "RABBITMQ_URL=amqp://usr:pa$$word9@127.0.0.1:1/v\nDATABASE_URL=postgresql://app:pw1234@127.0.0.1:1/shop?sslmode=disable&connect_timeout=2\nX=$(touch ran)\n",
        )],
    );
    let (text, said) = project.init();
    for shown in [&text, &said] {
        assert!(!shown.contains("set -a"), "{shown}");
        assert!(!shown.contains("pw1234") && !shown.contains("word9"), "{shown}");
    }
    let told: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("export DATABASE_URL="))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
    let output = Command::new("sh")
        .args(["-c", &format!("{}; printf %s \"$DATABASE_URL\"", told[0])])
        .current_dir(&project.0)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "postgresql://app:pw1234@127.0.0.1:1/shop?sslmode=disable&connect_timeout=2"
    );
    assert!(!project.0.join("ran").exists());
}

/// Compose finds neither file by itself, and a command stands in a file with any name.
#[test]
fn compose_files_in_odd_places() {
    let api = "  api:\n    build: .\n    command: uvicorn shop.web:app --port 1\n    ports: ['9:1']\n";
    let code = "import dramatiq\n@dramatiq.actor\ndef act(x): ...\n";
    let worker = "services:\n  worker:\n    command: [dramatiq, shop.tasks, -Q, emails]\n";
    let extends = "  w1:\n    extends: {file: base.yml, service: worker}\n";
    let compose = format!("services:\n{api}{extends}");
    let project = Project::new(
        "odd-compose",
        &[
            ("deploy/compose.prod.yaml", &compose),
            ("deploy/base.yml", worker),
            ("src/tasks.py", code),
        ],
    );
    let (text, _) = project.init();
    has(
        &text,
        &[
            "command = [\"dramatiq\", \"shop.tasks\", \"-Q\", \"emails\"]",
            "log_command = [\"docker\", \"compose\", \"-f\", \"deploy/compose.prod.yaml\", \"logs\", \"-f\", \"api\"]",
            "log_command = [\"docker\", \"compose\", \"-f\", \"deploy/compose.prod.yaml\", \"logs\", \"-f\", \"w1\"]",
            "exec = [\"docker\", \"compose\", \"-f\", \"deploy/compose.prod.yaml\", \"exec\", \"-T\", \"api\"]",
            "exec = [\"docker\", \"compose\", \"-f\", \"deploy/compose.prod.yaml\", \"exec\", \"-T\", \"w1\"]",
        ],
    );
    // Without the file nothing is known of the command: what the code suggests is an example.
    let outside = compose.replace("base.yml", "../../base.yml");
    let project = Project::new(
        "unread-compose",
        &[("deploy/compose.prod.yaml", &outside), ("src/tasks.py", code)],
    );
    let (text, said) = project.init();
    let unread =
        "deploy/compose.prod.yaml, service w1 extends service worker of ../../base.yml, which was not read";
    assert!(text.contains(unread) && said.contains(unread), "{text}\n{said}");
    assert!(
        text.contains("\n# command = [\"dramatiq\", \"-v\", \"tasks\"]"),
        "{text}"
    );
    assert!(
        !text
            .lines()
            .any(|line| line.starts_with("command = [\"dramatiq\"")),
        "{text}"
    );
}

/// The server's port is not published, and a proxy's is: no default of the server's is made up.
#[test]
fn an_api_behind_a_proxy_of_the_same_compose_file() {
    let web = "  web:\n    build: .\n    command: [uvicorn, 'shop.web:app', --port, '8300']\n";
    let gate = "  gate:\n    image: shopgate:1\n    ports: ['127.0.0.1:1:8080']\n";
    let store = "  store:\n    image: postgres:16\n    ports: ['127.0.0.1:2:5432']\n";
    let code = "from fastapi import FastAPI\napp = FastAPI()\n@app.post('/orders')\ndef order(): ...\n";
    let act = "import dramatiq\n@dramatiq.actor\ndef act(x): ...\n";
    let drafted = |name: &str, services: &str| {
        let compose = format!("services:\n{services}");
        let files = [
            ("compose.yml", compose.as_str()),
            ("shop/web.py", code),
            ("shop/tasks.py", act),
        ];
        Project::new(name, &files).init().0
    };
    let hidden = "compose.yml, service web listens on 8300 in its container";
    let text = drafted("behind-a-proxy", &format!("{web}{gate}{store}"));
    has(
        &text,
        &[
            "url = \"http://localhost:1\"",
            "log_command = [\"docker\", \"compose\", \"logs\", \"-f\", \"web\"]",
            "exec = [\"docker\", \"compose\", \"exec\", \"-T\", \"web\"]",
        ],
    );
    assert!(
        text.contains(hidden) && text.contains("may pass on to service web"),
        "{text}"
    );
    let text = drafted("behind-nothing", &format!("{web}{store}"));
    assert!(text.contains(hidden), "{text}");
    assert!(
        !text.lines().any(|line| line.starts_with("url = \"http:")),
        "{text}"
    );
}

#[test]
fn a_setting_that_would_be_ignored_is_refused() {
    let project = Project::new("set", &[]);
    let output = project.run(&["init", "--set", "api.url=http://127.0.0.1:9"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--set") && said.contains("hint:"), "{said}");
    assert!(!project.0.join("taskdiag.toml").exists());
}

/// What init says where it cannot help: one sentence, and no file.
fn refused(name: &str, files: &[(&str, &str)]) -> String {
    let project = Project::new(name, files);
    let output = project.run(&["init"], &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(30), "{said}");
    assert!(!project.0.join("taskdiag.toml").exists());
    said
}

#[test]
fn what_cannot_be_followed_is_said_at_once() {
    let redis = refused(
        "redis",
        &[
            (
                "settings.py",
                "INSTALLED_APPS = ['django_dramatiq']\nDRAMATIQ_BROKER = {'BROKER': 'dramatiq.brokers.redis.RedisBroker'}\n",
            ),
            ("Procfile", "worker: python manage.py rundramatiq\n"),
        ],
    );
    assert!(
        redis.contains("Redis") && redis.contains("settings.py line 2"),
        "{redis}"
    );
    let postgres = refused(
        "dramatiq-pg",
        &[(
            "tasks.py",
            "import dramatiq\nfrom dramatiq_pg import PostgresBroker\n@dramatiq.actor\ndef a(): ...\n",
        )],
    );
    assert!(postgres.contains("PostgreSQL as its broker"), "{postgres}");
    let none = refused(
        "no-framework",
        &[("app.py", "from flask import Flask\napp = Flask(__name__)\n")],
    );
    assert!(none.contains("no task framework"), "{none}");
}

/// Both brokers are imported where one is for tests: that is no reason to refuse.
#[test]
fn a_second_broker_in_the_code_is_none_of_the_project() {
    let project = Project::new(
        "two-brokers",
        &[(
            "tasks.py",
            "import dramatiq\nfrom dramatiq.brokers.redis import RedisBroker\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\nbroker = RabbitmqBroker(url='amqp://localhost:6')\n@dramatiq.actor\ndef a(): ...\n",
        )],
    );
    project.init();
}

/// FastAPI with a generic actor, a router with prefixes, and the request by hand in the README.
#[test]
fn a_request_by_hand_and_routers_with_prefixes() {
    let project = Project::new(
        "by-hand",
        &[
            (
                "README.md",
                "Send one:\n\n```sh\ncurl -X POST http://localhost:7/api/v1/tasks/ \\\n  -H 'Content-Type: application/json' \\\n  -d '{\"task_type\": \"agent_task\",\n       \"input_data\": {\"prompt\": \"x\"}}'\n```\n",
            ),
            (
                "app/main.py",
                "from fastapi import FastAPI\nfrom app import tasks\napp = FastAPI()\napp.include_router(tasks.router, prefix='/api/v1')\n",
            ),
            (
                "app/tasks.py",
                "from fastapi import APIRouter\nrouter = APIRouter(prefix='/tasks')\n@router.post('/')\ndef create(): ...\n",
            ),
            ("app/__init__.py", ""),
            (
                "app/worker.py",
                "import dramatiq\nasync def run(task_id, data):\n    logger.critical(f'!!!!!! ACTOR ENTRY POINT REACHED for {task_id}')\nrun_actor = dramatiq.actor(run, actor_name='execute_agent_task', queue_name='agents')\n",
            ),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "submit_path = \"/api/v1/tasks/\"",
            "body = { task_type = \"agent_task\", input_data = { prompt = \"x\" } }",
            "actor = \"execute_agent_task\"",
            "queue = \"agents\"",
            "url = \"http://localhost:7\"",
        ],
    );
    assert!(text.contains("README.md line 4, a curl command"), "{text}");
    assert!(text.contains("ACTOR ENTRY POINT REACHED"), "{text}");
    assert!(
        said.contains("Still needed (1)") && said.contains("broker.amqp_url"),
        "{said}"
    );
}

/// A Poetry project: dependencies are no commands. `-v 2` and a comma between queues are misread by the worker.
#[test]
fn poetry_and_a_worker_that_would_misread_its_flags() {
    let project = Project::new(
        "poetry",
        &[
            (
                "pyproject.toml",
                "[tool.poetry.dependencies]\nfastapi = \"0.116.1\"\ngunicorn = \"*\"\ndramatiq = \"^1.17\"\n",
            ),
            ("jobs/__init__.py", ""),
            (
                "jobs/tasks.py",
                "import dramatiq\n@dramatiq.actor\ndef a(): ...\n",
            ),
            ("run.sh", "dramatiq -v 2 jobs.tasks --queues mail,reports\n"),
        ],
    );
    let (text, said) = project.init();
    assert!(!text.contains("0.116.1"), "{text}");
    assert!(
        !text.lines().any(|line| line.starts_with("command = [\"gunicorn")),
        "{text}"
    );
    assert!(
        said.contains("takes no value") && said.contains("--queues mail reports"),
        "{said}"
    );
}

/// Django: the worker is a command of manage.py, and rows are those of django_dramatiq.
#[test]
fn a_django_project() {
    let project = Project::new(
        "django",
        &[
            (
                "shop/settings.py",
                "INSTALLED_APPS = ['django_dramatiq', 'shop']\nDRAMATIQ_BROKER = {'BROKER': 'dramatiq.brokers.rabbitmq.RabbitmqBroker', 'OPTIONS': {'url': 'amqp://localhost:6'}, 'MIDDLEWARE': ['django_dramatiq.middleware.AdminMiddleware']}\n",
            ),
            ("shop/__init__.py", ""),
            (
                "shop/tasks.py",
                "import dramatiq\n@dramatiq.actor\ndef send_report(day): ...\n",
            ),
            (
                "compose.yaml",
                "services:\n  web:\n    build: .\n    command: python manage.py runserver 0.0.0.0:8000\n    ports: ['4:8000']\n  worker:\n    build: .\n    command: python manage.py rundramatiq -p 1 -t 1\n",
            ),
        ],
    );
    let (text, _) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:4\"",
            "amqp_url = \"amqp://localhost:6\"",
            "command = [\"python\", \"manage.py\", \"rundramatiq\", \"-p\", \"1\", \"-t\", \"1\"]",
            "actor = \"send_report\"",
        ],
    );
    assert!(text.contains("django_dramatiq_task"), "{text}");
}

/// The sample system on Celery: the application, its tasks and its orders' table.
#[test]
fn a_celery_project() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/celery_shop");
    let read = |name: &str| fs::read_to_string(shop.join(name)).unwrap();
    let names = [
        "__init__.py",
        "celery.py",
        "models.py",
        "settings.py",
        "tasks.py",
        "views.py",
    ];
    let mut files: Vec<(String, String)> = names
        .iter()
        .map(|name| (format!("backend/shop/{name}"), read(&format!("shop/{name}"))))
        .collect();
    files.push((
        "compose.yaml".into(),
        "services:\n  broker:\n    image: rabbitmq:4\n    ports: ['6:5672']\n  worker:\n    build: .\n    command: celery -A shop worker -l INFO\n  beat:\n    build: .\n    command: celery -A shop beat\n".into(),
    ));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let (text, said) = Project::new("celery", &files).init();
    has(
        &text,
        &[
            "framework = \"celery\"",
            "command = [\"celery\", \"-A\", \"shop\", \"worker\", \"-l\", \"INFO\"]",
            "queue = \"celery\"",
        ],
    );
    for seen in [
        "table = \"shop_order\"",
        "status_column = \"status\"",
        "shop.tasks.fulfil_order",
    ] {
        assert!(text.contains(seen), "{seen}\n{text}");
    }
    assert!(!text.contains("backend.shop.tasks"), "{text}");
    assert!(!said.contains("--queues"), "{said}");
}

/// A worker that no file starts, and a task with a name and a queue of its own.
#[test]
fn a_celery_application_that_nothing_starts() {
    let project = Project::new(
        "celery-alone",
        &[(
            "jobs.py",
            "from celery import Celery\napp = Celery('jobs', broker='amqp://localhost:6')\n\n@app.task(name='mail.send', queue='mail')\ndef send(task_id): ...\n",
        )],
    );
    let (text, _) = project.init();
    has(
        &text,
        &[
            "command = [\"celery\", \"-A\", \"jobs\", \"worker\", \"-l\", \"INFO\"]",
            "actor = \"mail.send\"",
            "queue = \"mail\"",
        ],
    );
    let redis = refused(
        "celery-redis",
        &[(
            "jobs.py",
            "from celery import Celery\napp = Celery('jobs', broker='redis://localhost')\n@app.task\ndef a(): ...\n",
        )],
    );
    assert!(redis.contains("Redis as its broker"), "{redis}");
}

/// MySQL holds the rows: named, and not asked for as PostgreSQL.
#[test]
fn another_database_is_named() {
    let project = Project::new(
        "mysql",
        &[
            (
                ".env",
                "DATABASE_URL=mysql+pymysql://app:pw1234@127.0.0.1:1/shop\n",
            ),
            ("tasks.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
        ],
    );
    let (_, said) = project.init();
    assert!(
        said.contains("MySQL") && said.contains("leave [database] out"),
        "{said}"
    );
    assert!(!said.contains("pw1234"), "{said}");
}

/// Somebody else's API at the port that this project's command names: neither asked nor taken.
#[test]
fn a_stranger_at_the_port_is_not_asked() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let command = format!("web: uvicorn app:app --port {port}\n");
    let project = Project::new(
        "stranger",
        &[
            ("Procfile", &command),
            ("app.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
        ],
    );
    listener.set_nonblocking(true).unwrap();
    let output = taskdiag()
        .args(["init"])
        .current_dir(&project.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("in use, but not by this project"), "{said}");
    assert!(listener.accept().is_err(), "nobody connected");
}

/// A curl command of the README names a port where somebody else's API answers: nothing is posted to it.
#[test]
fn a_stranger_at_the_port_gets_no_task() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let readme = format!("curl -X POST http://localhost:{port}/jobs -d '{{\"a\": 1}}'\n");
    let project = Project::new(
        "posted",
        &[
            ("README.md", &readme),
            ("app.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
            (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
        ],
    );
    listener.set_nonblocking(true).unwrap();
    let output = taskdiag()
        .args(["diagnose", "--yes"])
        .current_dir(&project.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let refused = format!("--yes sends nothing to strangers: port {port} is in use, but not by this project");
    assert!(said.contains(&refused), "{said}");
    assert!(
        said.contains("`api.url`") && said.contains("is it yours?"),
        "{said}"
    );
    assert!(listener.accept().is_err(), "nobody connected");
}

/// A broker of somebody else's at the address that only a file names: it gets no password.
#[test]
fn a_stranger_at_the_brokers_port_gets_no_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let env = format!("RABBITMQ_URL=amqp://app:pw1234@127.0.0.1:{port}\n");
    let project = Project::new(
        "other-broker",
        &[
            (
                "README.md",
                "curl -X POST http://localhost:1/jobs -d '{\"a\": 1}'\n",
            ),
            ("app.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
            (".env", &env),
        ],
    );
    listener.set_nonblocking(true).unwrap();
    let output = taskdiag()
        .args(["diagnose", "--yes"])
        .current_dir(&project.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--yes sends nothing to strangers") && said.contains("`broker.amqp_url`"),
        "{said}"
    );
    assert!(!said.contains("pw1234"), "{said}");
    assert!(listener.accept().is_err(), "nobody connected");
}

/// The same where the listener runs from the project, which is this project's API then.
#[test]
fn a_process_of_the_folder_is_no_stranger() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let readme = format!("curl -X POST http://localhost:{port}/jobs -d '{{\"a\": 1}}'\n");
    let project = Project::new(
        "own-api",
        &[
            ("README.md", &readme),
            ("app.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
            (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
        ],
    );
    let mut server = Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
        .current_dir(&project.0)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed().as_secs() < 30, "the server has not started");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let output = taskdiag()
        .args(["diagnose", "--yes", "--forget"])
        .current_dir(&project.0)
        .output()
        .unwrap();
    let _ = server.kill();
    let _ = server.wait();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !said.contains("strangers") && !said.contains("is it yours"),
        "{said}"
    );
}

/// No API takes tasks: a management command sends them. It is a guess, so nothing is sent unasked.
#[test]
fn where_no_api_is_a_program_sends_the_task() {
    let project = Project::new(
        "cron",
        &[
            ("backend/manage.py", "import django\n"),
            ("backend/reports/__init__.py", ""),
            (
                "backend/reports/tasks.py",
                "import dramatiq\n@dramatiq.actor\ndef send_report(day): ...\n",
            ),
            (
                "backend/reports/management/commands/nightly.py",
                "from reports.tasks import send_report\nclass Command(BaseCommand):\n    def handle(self, **options):\n        send_report.send('today')\n",
            ),
            (
                "backend/reports/backfill.py",
                "from reports.tasks import send_report\nif __name__ == '__main__':\n    send_report.send('1970-01-01')\n",
            ),
            (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "command = [\"python\", \"manage.py\", \"nightly\"]",
            "cwd = \"backend\"",
        ],
    );
    assert!(text.contains("also seen: backend/reports/backfill.py"), "{text}");
    assert!(!said.contains("Still needed"), "{said}");
    project.loads(&[("RABBITMQ_URL", "amqp://127.0.0.1:1")]);
    fs::remove_file(project.0.join("taskdiag.toml")).unwrap();
    let output = project.run(&["diagnose", "--yes"], &[("RABBITMQ_URL", "amqp://127.0.0.1:1")]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("python manage.py nightly, which sends the task"),
        "{said}"
    );
    assert!(said.contains("submit.command is an example or a guess"), "{said}");
}

/// A path with a name in it, a form, and a login: drafted, and marked where somebody has to look.
#[test]
fn an_api_behind_a_login_is_drafted() {
    let document = r##"{"openapi": "3.1.0", "paths": {"/courses/{course}/jobs": {
        "parameters": [{"name": "course", "in": "path", "schema": {"type": "integer"}}],
        "post": {"security": [{"Login": []}],
            "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"required": ["topic"], "properties": {"topic": {"type": "string"}}}}}},
            "responses": {"202": {"content": {"application/json": {"schema": {"properties": {"job_id": {"type": "string"}}}}}}}}}},
        "components": {"securitySchemes": {"Login": {"type": "oauth2", "flows": {"password": {"tokenUrl": "token"}}}}}}"##;
    let project = Project::new(
        "login",
        &[
            ("openapi.json", document),
            ("Procfile", "web: uvicorn app:app --port 5\n"),
            ("app.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
            (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "submit_path = \"/courses/{course}/jobs\"",
            "path = { course = \"1\" }",
            "form = { topic = \"taskdiag\" }",
            "task_id_pointer = \"/job_id\"",
        ],
    );
    assert!(
        text.contains("# login = { path = \"/token\", form = { username = \"${API_USER}\", password = \"${API_PASSWORD}\" }, token_pointer = \"/access_token\" }"),
        "{text}"
    );
    assert!(!said.contains("api.body"), "{said}");
    project.loads(&[("RABBITMQ_URL", "amqp://127.0.0.1:1")]);
}

/// Flask has no document of its API: the code says where a task is posted, and what is read of it.
const SHOP: &[(&str, &str)] = &[
    (
        "Procfile",
        "web: flask --app shop.web run --port 5\nworker: dramatiq shop.jobs\n",
    ),
    (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
    ("shop/__init__.py", ""),
    (
        "shop/web.py",
        "from flask import Flask, request\nfrom shop import views\napp = Flask(__name__)\napp.register_blueprint(views.bp, url_prefix='/api')\n",
    ),
    (
        "shop/views.py",
        r#"
from flask import Blueprint, jsonify, request
from shop.orders import start
bp = Blueprint('orders', __name__)

@bp.route('/orders', methods=['GET', 'POST'])
def orders():
    data = request.get_json()
    if data['kind'] not in ('bill', 'offer'):
        return jsonify(error='kind'), 400
    job = start(data['customer'], copies=data.get('copies', 1))
    return jsonify(task_id=job), 202

@bp.get('/orders/<job>')
def order(job):
    return jsonify(state=look(job))
"#,
    ),
    (
        "shop/orders.py",
        "from shop.jobs import bill\ndef start(customer, copies):\n    return bill.send(customer, copies).message_id\n",
    ),
    (
        "shop/jobs.py",
        "import dramatiq\n@dramatiq.actor(queue_name='bills')\ndef bill(customer: int, copies: int): ...\n",
    ),
];

#[test]
fn a_flask_project() {
    let project = Project::new("flask", SHOP);
    let (text, said) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:5\"",
            "submit_path = \"/api/orders\"",
            "body = { kind = \"bill\", customer = 1 }",
            "status_path = \"/api/orders/{task_id}\"",
            "status_pointer = \"/state\"",
            "queue = \"bills\"",
            "actor = \"bill\"",
        ],
    );
    assert!(
        text.contains("made up, so check that it starts the right work: customer"),
        "{text}"
    );
    let (_, guessed) = said.split_once("Guessed: look at these first").expect("guesses");
    for key in ["api.submit_path", "api.body"] {
        assert!(guessed.contains(key), "{said}");
    }
    project.loads(&[("RABBITMQ_URL", "amqp://127.0.0.1:1")]);
}

/// Django's views, a form, a file: what cannot be made up is asked for.
#[test]
fn a_form_with_a_file_behind_django() {
    let project = Project::new(
        "django-form",
        &[
            ("manage.py", ""),
            (
                "site/settings.py",
                "MIDDLEWARE = ['django.middleware.csrf.CsrfViewMiddleware']\nINSTALLED_APPS = ['shop']\n",
            ),
            (
                "site/urls.py",
                "urlpatterns = [path('shop/', include('shop.urls'))]\n",
            ),
            (
                "shop/urls.py",
                "urlpatterns = [path('import/<int:table>/', views.load)]\n",
            ),
            (
                "shop/views.py",
                "from shop.jobs import fill\ndef load(request, table):\n    rows = request.FILES['rows']\n    fill.send(table, request.POST['title'])\n",
            ),
            (
                "shop/jobs.py",
                "import dramatiq\n@dramatiq.actor\ndef fill(table, title): ...\n",
            ),
            ("Procfile", "web: python manage.py runserver 127.0.0.1:5\n"),
            (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "submit_path = \"/shop/import/{table}/\"",
            "path = { table = \"1\" }",
            "form = { title = \"taskdiag\" }",
        ],
    );
    assert!(text.contains("# files = { rows = \"sample.bin\" }"), "{text}");
    assert!(text.contains("`csrf_path`"), "{text}");
    assert!(
        said.contains("Still needed (1)") && said.contains("api.files"),
        "{said}"
    );
    let refused = project.run(&["diagnose", "--yes", "--config", "none.toml"], &[]);
    assert_ne!(refused.status.code(), Some(0));
}

/// What is given by hand is no guess, and stands instead of what was found.
#[test]
fn what_is_given_by_hand_is_no_guess() {
    let project = Project::new("given", SHOP);
    let said = |arguments: &[&str]| {
        let output = project.run(&[&["diagnose", "--yes", "--forget"], arguments].concat(), &[]);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, text) = said(&[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("api.submit_path, api.body is an example or a guess"),
        "{text}"
    );
    let body = "api.body={customer = 7}";
    let (code, text) = said(&["--set", body]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("nobody has looked at: api.submit_path is"),
        "{text}"
    );
    // The body belonged to the path that was found.
    let (code, text) = said(&["--set", "api.submit_path=/api/bills"]);
    assert!(!text.contains("is an example or a guess"), "{text}");
    assert!(text.contains("the body   {}"), "{text}");
    // Nobody answers at that port, which is a verdict.
    assert_ne!(code, Some(2), "{text}");
    let (code, text) = said(&["--set", "api.submit_path=/api/orders", "--set", body]);
    assert_ne!(code, Some(2), "{text}");
    assert!(
        text.contains("POST to    http://localhost:5/api/orders"),
        "{text}"
    );
    let (code, text) = said(&["--set", "api.submit_path=/x", "--set", "api.bod={}"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("did you mean"), "{text}");
    assert!(!project.0.join("taskdiag.toml").exists());
}

/// Without a file and without a terminal nothing is sent; with --yes nothing that is missing or guessed.
#[test]
fn without_a_file_nothing_is_sent_unasked() {
    let project = Project::new(
        "no-file",
        &[
            (
                "Procfile",
                "web: uvicorn app:app --port 5\nworker: dramatiq -v app\n",
            ),
            ("app.py", "import dramatiq\n@dramatiq.actor\ndef a(): ...\n"),
        ],
    );
    let output = project.run(&["diagnose"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no taskdiag.toml in"), "{said}");
    let output = project.run(&["diagnose", "--yes"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("not found: api.submit_path, broker.amqp_url"),
        "{said}"
    );
    assert!(!project.0.join("taskdiag.toml").exists());
}

/// What is given to the application as its broker decides; a cache, a result backend and an import do not.
#[test]
fn the_broker_is_what_the_application_is_given() {
    let app = |broker: &str| {
        format!(
            "from celery import Celery\nimport redis\napp = Celery('a', broker={broker}, backend='redis://cache')\n@app.task\ndef run(): ...\n"
        )
    };
    let compose = "services:\n  mq: {image: 'rabbitmq:4-management', ports: ['6:5672', '7:15672']}\n  web: {build: ., environment: {CELERY_BROKER_URL: 'redis://cache:6379/1'}}\n";
    let code = app("f'pyamqp://{USER}:{PASS}@mq:5672//'");
    let without_web = compose.split("  web").next().unwrap();
    let (text, said) = Project::new(
        "broker-format",
        &[("jobs.py", &code), ("compose.yaml", without_web)],
    )
    .init();
    has(&text, &["amqp_url = \"amqp://guest:guest@localhost:6/%2F\""]);
    assert!(!said.contains("Redis"), "{said}");
    // What the environment says goes before the default in the code.
    let code = app("os.getenv('CELERY_BROKER_URL', 'amqp://guest:guest@localhost:6//')");
    let told = refused("broker-told", &[("jobs.py", &code), ("compose.yaml", compose)]);
    assert!(
        told.contains("Redis as its broker (compose.yaml, service web"),
        "{told}"
    );
    // RabbitMQ is there for something else.
    let code = app("settings.redis_url")
        + "class Settings:\n    redis_url: str = 'redis://cache'\n    mq_url: str = 'amqp://mq'\n";
    let followed = refused(
        "broker-followed",
        &[("jobs.py", &code), ("compose.yaml", without_web)],
    );
    assert!(
        followed.contains("Redis as its broker (jobs.py line"),
        "{followed}"
    );
    let code = app("settings.broker");
    let (_, said) = Project::new("broker-unread", &[("jobs.py", &code)]).init();
    assert!(
        said.contains("could not be read (jobs.py line 3: settings.broker)"),
        "{said}"
    );
}

/// An address that the code makes of variables keeps those that nothing sets, and has the others.
#[test]
fn a_broker_that_the_code_makes_of_variables() {
    let code = "import os\nfrom celery import Celery\nHOST = os.environ['MQ_HOST']\nURL = f\"amqp://{os.environ['MQ_USER']}:{os.environ['MQ_PASS']}@{HOST}:5672/shop\"\napp = Celery('a', broker=URL)\n@app.task\ndef run(): ...\n";
    let compose = "services:\n  mq: {image: 'rabbitmq:4-management', ports: ['6:5672']}\n";
    let project = Project::new("made", &[("conf.py", code), ("compose.yaml", compose)]);
    let (text, said) = project.init();
    has(
        &text,
        &["amqp_url = \"amqp://${MQ_USER}:${MQ_PASS}@localhost:6/shop\""],
    );
    assert!(
        said.contains("export MQ_USER='…'") && !said.contains("export MQ_HOST"),
        "{said}"
    );
    // A default is for where nothing else says it, such as a server of Compose.
    let code = code.replace("environ['MQ_HOST']", "getenv('MQ_HOST', 'localhost')");
    let (text, _) = Project::new("default", &[("conf.py", &code), ("compose.yaml", compose)]).init();
    has(&text, &["amqp_url = \"amqp://guest:guest@localhost:6/%2F\""]);
    let (text, _) = Project::new("default-alone", &[("conf.py", &code)]).init();
    has(
        &text,
        &["amqp_url = \"amqp://${MQ_USER}:${MQ_PASS}@localhost:5672/shop\""],
    );
    let settings = "DRAMATIQ_BROKER = {'BROKER': 'dramatiq.brokers.rabbitmq.RabbitmqBroker', 'OPTIONS': {'url': f\"amqp://{os.environ['MQ_USER']}@10.0.0.2/x\"}}\n";
    let task = "import dramatiq\n@dramatiq.actor\ndef run(): ...\n";
    let (text, _) = Project::new("made-django", &[("settings.py", settings), ("jobs.py", task)]).init();
    has(&text, &["amqp_url = \"amqp://${MQ_USER}@10.0.0.2/x\""]);
}

/// An image's default is not what stands in for a variable that nothing sets, and neither is a port.
#[test]
fn what_nothing_sets_is_needed() {
    let compose = "services:\n  db:\n    image: postgres:16\n    env_file: ./envs/.env\n    environment: {POSTGRES_USER: '${DB_USER}', POSTGRES_PASSWORD: '${DB_PASSWORD}', POSTGRES_DB: '${DB_NAME}'}\n    ports: ['5:5432']\n  mq:\n    image: rabbitmq:4-management\n    ports: ['${MQ_PORT}:5672']\n";
    let project = Project::new(
        "unset",
        &[
            ("compose.yaml", compose),
            (".env.sample", "DB_USER=someone\nMQ_PORT=5500\n"),
            ("jobs.py", "import dramatiq\n@dramatiq.actor\ndef run(): ...\n"),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "amqp_url = \"amqp://guest:guest@localhost:${MQ_PORT}/%2F\"",
            "# url = \"postgres://${DB_USER}:${DB_PASSWORD}@localhost:5/${DB_NAME}\"",
        ],
    );
    for needed in [
        "export DB_USER='…'    # compose.yaml, service db takes it from there; .env.sample line 1 has an example",
        "export MQ_PORT='…'",
        "takes variables from envs/.env, which is not there: Compose does not start it; .env.sample is an example",
    ] {
        assert!(said.contains(needed), "{needed}\n{said}");
    }
    assert!(!said.contains("without a published port"), "{said}");
    project.loads(&[
        ("MQ_PORT", "1"),
        ("DB_USER", "a"),
        ("DB_PASSWORD", "b"),
        ("DB_NAME", "c"),
    ]);
}

/// Nobody is logged in to who cannot be told to be this project's: no user, no password, not even a connection.
#[test]
fn nobody_is_logged_in_to_unknown() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let dotenv = format!(
        "DATABASE_URL=postgres://app:pw1234@127.0.0.1:{port}/shop\nRABBITMQ_URL=amqp://app:pw1234@127.0.0.1:{port}\n"
    );
    let code = "import dramatiq\n@dramatiq.actor\ndef run(): ...\n";
    let project = Project::new("unknown", &[(".env", &dotenv), ("jobs.py", code)]);
    listener.set_nonblocking(true).unwrap();
    let output = taskdiag()
        .args(["init"])
        .current_dir(&project.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(listener.accept().is_err(), "nobody connected");
    assert!(
        said.contains("was not asked: the port is in use, but not by this project"),
        "{said}"
    );
}

/// Django's settings say which database is used; the image only which it makes.
#[test]
fn djangos_databases_go_before_the_image() {
    let settings = "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'shop', 'USER': os.environ.get('DB_USER', 'app'), 'PASSWORD': os.environ['DB_PASSWORD'], 'HOST': 'db'}}\n";
    let compose =
        "services:\n  db: {image: 'postgres:16', environment: {POSTGRES_PASSWORD: x}, ports: ['5:5432']}\n";
    let code = "import dramatiq\n@dramatiq.actor\ndef run(): ...\n";
    let files = |settings: &'static str| {
        [
            ("shop/settings.py", settings),
            ("compose.yaml", compose),
            ("jobs.py", code),
        ]
    };
    let (text, _) = Project::new("databases", &files(settings)).init();
    has(
        &text,
        &["# url = \"postgres://app:${DB_PASSWORD}@localhost:5/shop\""],
    );
    let lite = "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'x'}}\n";
    let (_, said) = Project::new("sqlite", &files(lite)).init();
    assert!(
        said.contains("seem to be in SQLite (shop/settings.py line 1)"),
        "{said}"
    );
}

/// A default, and what no command says, is shown as a guess; what a route says is named.
#[test]
fn guesses_stand_apart() {
    let project = Project::new(
        "guesses",
        &[
            (
                "main.py",
                "from fastapi import FastAPI\nfrom jobs import run\napp = FastAPI()\n@app.post('/start')\ndef start():\n    run.send('x')\n",
            ),
            (
                "jobs.py",
                "import dramatiq\n@dramatiq.actor\ndef run(job_id):\n    work()\n    print('the work is done now')\n",
            ),
            (
                "models.py",
                "class Tweet(models.Model):\n    status = models.TextField()\n",
            ),
            (".env", "RABBITMQ_URL=amqp://127.0.0.1:1\n"),
        ],
    );
    let (text, said) = project.init();
    let (found, guessed) = said.split_once("Guessed").expect("a heading of its own");
    for key in ["api.url", "api.submit_path", "worker.command"] {
        assert!(guessed.contains(key) && !found.contains(key), "{key}\n{said}");
    }
    assert!(
        found.contains("broker.actor") && !said.contains("Still needed"),
        "{said}"
    );
    // The line after the work says nothing of the beginning, and a text may be no status.
    assert!(!text.contains("entry_pattern = \"the work"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("table =")), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("kwargs =")), "{text}");
    project.loads(&[("RABBITMQ_URL", "amqp://127.0.0.1:1")]);
}

/// The port of the container is not that of this machine, and a folder of scripts is none to start in.
#[test]
fn a_script_of_a_container() {
    let project = Project::new(
        "script",
        &[
            (
                "compose.yaml",
                "services:\n  api: {build: ., ports: ['4050:5000']}\n",
            ),
            (
                "deploy/start.sh",
                "gunicorn -b 0.0.0.0:5000 --max-requests $MANY shop.web:app\n",
            ),
            ("deploy/work.sh", "./manage.py rundramatiq -p 2\n"),
            (
                "src/shop/web.py",
                "import dramatiq\n@dramatiq.actor\ndef run(): ...\n",
            ),
            ("src/shop/__init__.py", ""),
            ("src/manage.py", ""),
        ],
    );
    let (text, _) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:4050\"",
            "command = [\"gunicorn\", \"-b\", \"0.0.0.0:5000\", \"shop.web:app\"]",
            "command = [\"python\", \"manage.py\", \"rundramatiq\", \"-p\", \"2\"]",
        ],
    );
    assert_eq!(text.matches("cwd = \"src\"").count(), 2, "{text}");
}

/// Routes and a default queue that is set: the framework's own default is not the queue.
#[test]
fn a_queue_is_the_default_only_where_nothing_sends_elsewhere() {
    let drafted = |name: &str, conf: &str, run: &str| {
        let code = format!(
            "from celery import Celery\napp = Celery('a', broker='amqp://localhost:6')\n{conf}\n@app.task\ndef run(): ...\n"
        );
        Project::new(name, &[("jobs.py", &code), ("start.sh", run)]).init()
    };
    let run = "celery -A jobs worker\n";
    let (text, _) = drafted("queue-default", "", run);
    has(&text, &["queue = \"celery\""]);
    let (text, _) = drafted("queue-set", "app.conf.task_default_queue = 'mail'", run);
    has(&text, &["queue = \"mail\""]);
    let (_, said) = drafted(
        "queue-routed",
        "app.conf.task_routes = {'jobs.run': {'queue': Q}}",
        run,
    );
    assert!(
        said.contains("Still needed") && said.contains("broker.queue"),
        "{said}"
    );
    let (text, _) = drafted("queue-served", "", "celery -A jobs worker -Q mail\n");
    has(&text, &["queue = \"mail\""]);
    let (text, said) = drafted("queue-several", "", "celery -A jobs worker -Q mail,slow\n");
    assert!(
        said.contains("broker.queue") && text.contains("name: mail, slow"),
        "{said}{text}"
    );
}

/// A scheduler that never ends sends no one task, and another framework is called by its name.
#[test]
fn what_has_no_way_in_is_said() {
    let jobs = ("jobs.py", "import dramatiq\n@dramatiq.actor\ndef run(): ...\n");
    let clock = "from apscheduler.schedulers.blocking import BlockingScheduler\nfrom jobs import run\nif __name__ == '__main__':\n    run.send()\n";
    let (text, said) = Project::new("clock", &[jobs, ("clock.py", clock)]).init();
    assert!(
        !text.lines().any(|line| line.starts_with("command = [\"python\"")),
        "{text}"
    );
    assert!(
        said.contains("clock.py sends tasks again and again") && !said.contains("api.url"),
        "{said}"
    );
    let other = refused("rq", &[("jobs.py", "from rq import Queue\nq = Queue()\n")]);
    assert!(other.contains("those of RQ (jobs.py line 1)"), "{other}");
    let none = refused(
        "typescript",
        &[
            ("package.json", "{}"),
            ("README.md", "It shows what dramatiq did.\n"),
        ],
    );
    assert!(none.contains("no Python in this folder"), "{none}");
}

/// FastAPI without its openapi.json: models, a query, settings that say the port, an actor among several.
#[test]
fn bodies_of_pydantic_and_a_query() {
    let project = Project::new(
        "pydantic",
        &[
            (
                "shop/schemas.py",
                "from pydantic import BaseModel, Field\nclass ReportIn(BaseModel):\n    seconds: int = Field(title='How long', ge=5, le=300)\n    format: Literal['pdf', 'html']\n    note: str | None = None\n",
            ),
            (
                "shop/settings.py",
                "class Settings(BaseSettings):\n    api_port: int = Field(validation_alias='API_PORT', default=3001)\n",
            ),
            (
                "shop/main.py",
                "from fastapi import FastAPI\napp = FastAPI()\n@app.post('/reports')\ndef create(report: schemas.ReportIn, dry: bool):\n    make_report.send(report.seconds)\nif __name__ == '__main__':\n    uvicorn.run(app, port=settings.api_port)\n",
            ),
            (
                "shop/tasks.py",
                "import dramatiq\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\n@dramatiq.actor(queue_name='reports')\ndef make_report(seconds: int): ...\n@dramatiq.actor(queue_name='mails')\ndef send_mail(to: str): ...\n",
            ),
            (
                "shop/clean.py",
                "from shop.tasks import send_mail\ndef clean():\n    send_mail.send('a')\n",
            ),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:3001\"",
            "submit_path = \"/reports?dry=true\"",
            "body = { seconds = 5, format = \"pdf\" }",
            "# made up, so check that it starts the right work: seconds",
            "actor = \"make_report\"",
            "queue = \"reports\"",
        ],
    );
    let guessed = said.split("Guessed: look at these first:").nth(1).unwrap();
    let guessed = guessed.split("\n\n").next().unwrap();
    for key in [
        "api.url",
        "api.submit_path",
        "api.body",
        "broker.actor",
        "broker.queue",
    ] {
        assert!(guessed.contains(key), "{key} is no guess in\n{said}");
    }
}

/// Django REST framework: what a router registers, and the actions below it; the one that starts work before the one
/// that stops it.
#[test]
fn actions_of_a_viewset() {
    let project = Project::new(
        "viewset",
        &[
            ("manage.py", "import django\n"),
            (
                "site/settings.py",
                "ROOT_URLCONF = 'site.urls'\nINSTALLED_APPS = ['builds']\n",
            ),
            (
                "site/urls.py",
                "urlpatterns = [path('', include('builds.urls'))]\n",
            ),
            (
                "builds/urls.py",
                "router = DefaultRouter()\nrouter.register(r'builds', BuildViewSet)\nurlpatterns = [path('api/', include(router.urls))]\n",
            ),
            (
                "builds/views.py",
                "class BuildViewSet(viewsets.ModelViewSet):\n    @action(detail=True, methods=['post'])\n    def stop(self, request, pk=None):\n        stop_build.send(pk)\n    @action(detail=False, methods=['post'])\n    def start(self, request):\n        name = request.data.get('job_name')\n        if not name:\n            return Response(status=400)\n        run_build.send(name)\n",
            ),
            (
                "builds/tasks.py",
                "import dramatiq\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\n@dramatiq.actor\ndef stop_build(pk): ...\n@dramatiq.actor\ndef run_build(name): ...\n",
            ),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "url = \"http://localhost:8000\"",
            "submit_path = \"/api/builds/start/\"",
            "body = { job_name = \"taskdiag\" }",
            "actor = \"run_build\"",
        ],
    );
    assert!(!said.contains("was not seen"), "{said}");
}

/// A broker that no port leads to: its management API is published, and its vhost is known.
#[test]
fn only_the_management_port_is_published() {
    let project = Project::new(
        "hidden-broker",
        &[
            (
                "docker-compose.yml",
                "services:\n  rabbitmq:\n    image: rabbitmq:4-management\n    ports: [\"15999:15672\"]\n    environment: { RABBITMQ_DEFAULT_VHOST: demo }\n  web:\n    build: .\n    ports: [\"8031:8000\"]\n    environment: { RABBITMQ_URL: \"amqp://guest:guest@rabbitmq:5672/demo\" }\n",
            ),
            (
                "app.py",
                "import dramatiq\nfrom fastapi import FastAPI\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\n@dramatiq.actor\ndef run(n: int): ...\napp = FastAPI()\n@app.post('/runs')\ndef create():\n    run.send(1)\n",
            ),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "management_url = \"http://localhost:15999\"",
            "url = \"http://localhost:8031\"",
        ],
    );
    assert!(
        said.contains("or run taskdiag in that network; its vhost is `demo`"),
        "{said}"
    );
}

/// Programs that send: one that waits for the broker in a loop ends, and an actor is called as it is assigned.
#[test]
fn a_program_that_waits_and_sends() {
    let project = Project::new(
        "producer",
        &[
            (
                "shop/tasks.py",
                "import dramatiq\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\ndef _bill(order): ...\nbill = dramatiq.actor(_bill)\n",
            ),
            ("shop/__init__.py", ""),
            (
                "producer.py",
                "from shop import tasks\ndef wait():\n    while True:\n        if connect():\n            return\ndef produce():\n    tasks.bill.send(1)\nif __name__ == '__main__':\n    wait()\n    produce()\n",
            ),
        ],
    );
    let (text, said) = project.init();
    has(
        &text,
        &[
            "command = [\"python\", \"-m\", \"producer\"]",
            "actor = \"_bill\"",
        ],
    );
    assert!(!said.contains("again and again"), "{said}");
    let endless = Project::new(
        "endless",
        &[
            (
                "tasks.py",
                "import dramatiq\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\n@dramatiq.actor\ndef bill(order): ...\n",
            ),
            (
                "clock.py",
                "from tasks import bill\ndef tick():\n    bill.send(1)\nif __name__ == '__main__':\n    while True:\n        tick()\n",
            ),
        ],
    );
    assert!(endless.init().1.contains("clock.py sends tasks again and again"));
}

/// A file that has the actor and sends is a program where something starts it.
#[test]
fn a_program_that_compose_starts() {
    let app = (
        "app/app.py",
        "import dramatiq\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\n@dramatiq.actor\ndef count(url): ...\nif __name__ == '__main__':\n    count.send('x')\n",
    );
    let started = Project::new(
        "started",
        &[
            app,
            (
                "docker-compose.yml",
                "services:\n  app:\n    build: .\n    command: [\"./wait.sh\", \"--\", \"python\", \"app.py\"]\n",
            ),
        ],
    );
    has(
        &started.init().0,
        &["command = [\"python\", \"-m\", \"app\"]", "cwd = \"app\""],
    );
    let example = Project::new("not-started", &[app]);
    assert!(!example.init().0.contains("\"-m\", \"app\"]"));
}
