//! Heartbeats of workers, and `inspect`: nothing is ever asked that could change what a worker does.

use serde_json::{Map, Value as Json, json};

use crate::framework::{ControlShape, Heartbeat, HeldTask, Inspection, Question, ReplyTo, TimeLimits};

pub(super) const CONTROL: ControlShape = ControlShape {
    events: "celeryev",
    heartbeats: "worker.#",
    heartbeat_ms: 2_000,
    replies: "reply.celery.pidbox",
    mailbox,
    node_of,
    may_be_silent,
    questions,
    ask,
    read_heartbeat,
    read_answer,
    which_queues: "celery -A APP inspect active_queues",
    consume_again: |node| format!("celery -A APP control -d {node} add_consumer QUEUE"),
    ignored_limit,
};

fn mailbox(node: &str) -> String {
    format!("{node}.celery.pidbox")
}

fn node_of(queue: &str) -> Option<&str> {
    // Answers to others' questions pass on queues of such names, too.
    let node = queue.strip_suffix(".celery.pidbox")?;
    node.contains('@').then_some(node)
}

/// A solo worker sends none while it runs a task; of others it is a matter of options.
fn may_be_silent(command: &[String]) -> bool {
    let is_solo = |word: &str| matches!(word, "solo" | "--pool=solo" | "-Psolo");
    command.iter().any(|word| {
        is_solo(word) || word == "--without-heartbeat" || word.starts_with("--heartbeat-interval")
    })
}

/// Only methods that read; an argument that a method does not know is an error in the worker's log.
fn questions(message_ids: &[String]) -> Vec<Question> {
    let question = |method, arguments, twice| Question {
        method,
        arguments,
        twice,
    };
    let mut all = vec![
        question("active", json!({ "safe": true }), true),
        question("reserved", json!({}), true),
        question("scheduled", json!({}), true),
        question("revoked", json!({}), false),
        question("active_queues", json!({}), false),
        question("registered", json!({ "taskinfoitems": TASK_INFO }), false),
        question("stats", json!({}), false),
        question("conf", json!({}), false),
    ];
    if !message_ids.is_empty() {
        all.insert(0, question("query_task", json!({ "ids": message_ids }), true));
    }
    all
}

fn ask(question: &Question, node: &str, reply: &ReplyTo<'_>) -> Json {
    json!({
        "method": question.method,
        "arguments": question.arguments,
        "destination": [node],
        "ticket": reply.ticket,
        "reply_to": { "exchange": reply.exchange, "routing_key": reply.routing_key },
    })
}

fn read_heartbeat(body: &[u8]) -> Option<Heartbeat> {
    let said: Json = serde_json::from_slice(body).ok()?;
    let kind = said.get("type")?.as_str()?;
    if !matches!(kind, "worker-heartbeat" | "worker-online" | "worker-offline") {
        return None;
    }
    let number = |name: &str| said.get(name).and_then(Json::as_u64);
    Some(Heartbeat {
        node: said.get("hostname")?.as_str()?.to_owned(),
        pid: number("pid").and_then(|pid| i32::try_from(pid).ok()),
        version: said.get("sw_ver").and_then(Json::as_str).map(str::to_owned),
        active: number("active"),
        processed: number("processed"),
        offline: kind == "worker-offline",
        every_ms: said.get("freq").and_then(Json::as_f64).and_then(milliseconds),
        load: load(&said),
        beats: 1,
        silent_ms: None,
    })
}

/// No worker beats less than once in an hour.
fn milliseconds(seconds: f64) -> Option<u64> {
    (0.001..=3600.0)
        .contains(&seconds)
        .then_some((seconds * 1000.0) as u64)
}

fn load(said: &Json) -> Vec<f64> {
    let all = said.get("loadavg").and_then(Json::as_array);
    all.into_iter()
        .flatten()
        .filter_map(Json::as_f64)
        .take(3)
        .collect()
}

/// The answer is `{NODE: result}`, or an error in the result's place.
fn read_answer(method: &str, body: &[u8], message_ids: &[String], into: &mut Inspection) -> bool {
    let Ok(Json::Object(mut said)) = serde_json::from_slice::<Json>(body) else {
        return false;
    };
    let Some(answer) = said.remove(&into.node) else {
        return false;
    };
    if answer.get("error").is_some() {
        return false;
    }
    match method {
        "query_task" => {
            let known = message_ids.iter().find_map(|id| answer.get(id)?.get(0)?.as_str());
            into.state = Some(known.unwrap_or("unknown").to_owned());
        }
        "active" => into.active = tasks(&answer),
        "reserved" => into.reserved = tasks(&answer),
        "scheduled" => into.scheduled = tasks(&answer),
        "revoked" => {
            let all = answer.as_array();
            into.revoked = all.map(|all| {
                let mut ids = all.iter().filter_map(Json::as_str);
                ids.any(|id| message_ids.iter().any(|own| own == id))
            });
        }
        "active_queues" => {
            let names = |queues: &Vec<Json>| {
                let names = queues.iter().filter_map(|queue| queue.get("name")?.as_str());
                names.map(str::to_owned).collect()
            };
            into.queues = answer.as_array().map(names);
        }
        "registered" => {
            let all = answer.as_array();
            into.registered = all.map(|all| {
                let texts = all.iter().filter_map(Json::as_str);
                texts
                    .map(|text| (name_of(text).to_owned(), item(text, "rate_limit")))
                    .collect()
            });
            let texts = all.into_iter().flatten().filter_map(Json::as_str);
            into.time_limits = texts.filter_map(time_limits).collect();
        }
        "stats" => stats(&answer, into),
        "conf" => into.settings = answer.as_object().map(kept).into_iter().flatten().collect(),
        _ => return false,
    }
    into.methods.push(method.to_owned());
    true
}

/// What is told of each task beside its name, where it is set.
const TASK_INFO: &[&str] = &["rate_limit", "time_limit", "soft_time_limit"];

/// `NAME [rate_limit=1/m time_limit=30]`.
fn name_of(text: &str) -> &str {
    text.split_once(" [").map_or(text, |(name, _)| name)
}

fn item(text: &str, name: &str) -> Option<String> {
    let (_, items) = text.split_once(" [")?;
    let mut items = items.split([' ', ']', ',']);
    let value = items.find_map(|item| item.strip_prefix(name)?.strip_prefix('='))?;
    (value != "None").then(|| value.to_owned())
}

fn time_limits(text: &str) -> Option<(String, TimeLimits)> {
    let seconds = |name: &str| item(text, name)?.parse().ok();
    let limits = TimeLimits {
        hard: seconds("time_limit"),
        soft: seconds("soft_time_limit"),
    };
    (limits != TimeLimits::default()).then(|| (name_of(text).to_owned(), limits))
}

/// Only processes can be interrupted, and killed. Gevent ends a task that waits at its hard limit, and knows no
/// soft one.
fn ignored_limit(answer: &Inspection, task: &str) -> Option<(&'static str, f64)> {
    let own = answer.time_limits.get(task).copied().unwrap_or_default();
    let of_all = |name: &str| answer.settings.get(name).and_then(Json::as_f64);
    let hard = own
        .hard
        .or(of_all("task_time_limit"))
        .map(|limit| ("time_limit", limit));
    let soft = own
        .soft
        .or(of_all("task_soft_time_limit"))
        .map(|limit| ("soft_time_limit", limit));
    match answer.pool.as_deref()? {
        "thread" | "solo" | "eventlet" => {
            let both = soft.into_iter().chain(hard);
            both.min_by(|a, b| a.1.total_cmp(&b.1))
        }
        "gevent" => soft,
        _ => None,
    }
}

/// What a task was given stays where it is.
fn tasks(answer: &Json) -> Option<Vec<HeldTask>> {
    let one = |entry: &Json| {
        // Scheduled ones are wrapped, with their time.
        let request = entry.get("request").unwrap_or(entry);
        let text = |name: &str| request.get(name).and_then(Json::as_str).map(str::to_owned);
        let delivery = request.get("delivery_info");
        Some(HeldTask {
            id: text("id")?,
            name: text("name").or_else(|| text("type")).unwrap_or_default(),
            pid: request
                .get("worker_pid")
                .and_then(Json::as_i64)
                .and_then(|pid| i32::try_from(pid).ok()),
            acknowledged: request.get("acknowledged").and_then(Json::as_bool),
            redelivered: delivery
                .and_then(|delivery| delivery.get("redelivered"))
                .is_some_and(|redelivered| redelivered.as_bool() == Some(true)),
            eta: entry.get("eta").and_then(Json::as_str).map(str::to_owned),
        })
    };
    Some(answer.as_array()?.iter().filter_map(one).collect())
}

fn stats(answer: &Json, into: &mut Inspection) {
    let number = |value: Option<&Json>| value.and_then(Json::as_u64);
    let pid = |value: &Json| value.as_i64().and_then(|pid| i32::try_from(pid).ok());
    into.pid = answer.get("pid").and_then(pid);
    into.uptime_s = number(answer.get("uptime"));
    into.prefetch = number(answer.get("prefetch_count"));
    if let Some(pool) = answer.get("pool") {
        into.concurrency = number(pool.get("max-concurrency"));
        into.processes = match pool.get("processes") {
            Some(Json::Array(all)) => all.iter().filter_map(pid).collect(),
            _ => Vec::new(),
        };
        let class = pool.get("implementation").and_then(Json::as_str);
        into.pool = class.and_then(pool_of).map(str::to_owned);
    }
    if let Some(broker) = answer.get("broker") {
        let text = |name: &str| broker.get(name).and_then(Json::as_str);
        if let (Some(host), Some(port)) = (text("hostname"), number(broker.get("port"))) {
            let vhost = text("virtual_host").unwrap_or("/");
            into.broker = Some(format!("{host}:{port}, vhost {vhost}"));
        }
    }
}

/// The pool by the name that starts it: `celery.concurrency.prefork:TaskPool`.
fn pool_of(class: &str) -> Option<&str> {
    let module = class.split(':').next()?.strip_prefix("celery.concurrency.")?;
    Some(module)
}

/// Settings that decide what becomes of a task, and hide nothing.
const SETTINGS: &[&str] = &[
    "broker_native_delayed_delivery_queue_type",
    "task_acks_late",
    "task_acks_on_failure_or_timeout",
    "task_always_eager",
    "task_create_missing_queues",
    "task_default_queue",
    "task_default_rate_limit",
    "task_ignore_result",
    "task_reject_on_worker_lost",
    "task_soft_time_limit",
    "task_time_limit",
    "task_track_started",
    "worker_concurrency",
    "worker_eta_task_limit",
    "worker_max_tasks_per_child",
    "worker_pool",
    "worker_prefetch_multiplier",
];

fn kept(settings: &Map<String, Json>) -> Vec<(String, Json)> {
    let is_plain = |value: &Json| match value {
        Json::Bool(_) | Json::Number(_) => true,
        Json::String(text) => text.len() <= 80 && !text.contains("://"),
        _ => false,
    };
    let pair = |name: &&str| {
        let value = settings.get(*name).filter(|value| is_plain(value))?;
        Some(((*name).to_owned(), value.clone()))
    };
    SETTINGS.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11";

    fn asked(method: &str, answer: &Json) -> Inspection {
        let mut into = Inspection {
            node: "celery@vm".into(),
            ..Inspection::default()
        };
        let body = json!({ "celery@vm": answer }).to_string();
        read_answer(method, body.as_bytes(), &[ID.to_owned()], &mut into);
        into
    }

    /// All that may be asked. Whatever else a worker understands changes it, or may.
    #[test]
    fn nothing_is_asked_that_changes_a_worker() {
        let allowed = [
            "query_task",
            "active",
            "reserved",
            "scheduled",
            "revoked",
            "active_queues",
            "registered",
            "stats",
            "conf",
        ];
        let all = questions(&[ID.to_owned()]);
        assert!(all.iter().all(|question| allowed.contains(&question.method)));
        assert_eq!(all.len(), allowed.len());
        assert!(
            questions(&[])
                .iter()
                .all(|question| question.method != "query_task")
        );
    }

    #[test]
    fn a_question_names_one_worker() {
        let reply = ReplyTo {
            exchange: "",
            routing_key: "ours",
            ticket: "t-1",
        };
        let asked = ask(&questions(&[])[0], "celery@vm", &reply);
        assert_eq!(asked["destination"], json!(["celery@vm"]));
        assert_eq!(
            asked["reply_to"],
            json!({ "exchange": "", "routing_key": "ours" })
        );
        assert_eq!(
            (&asked["method"], &asked["ticket"]),
            (&json!("active"), &json!("t-1"))
        );
    }

    #[test]
    fn who_takes_questions_where() {
        assert_eq!(node_of(&mailbox("celery@vm")), Some("celery@vm"));
        assert_eq!(node_of("3f6b-aa.reply.celery.pidbox"), None);
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in [
            "celery -A shop worker -P solo",
            "celery -A shop worker --pool=solo",
            "celery -A shop worker --without-heartbeat",
            "celery -A shop worker --heartbeat-interval=30",
        ] {
            assert!(may_be_silent(&words(line)), "{line}");
        }
        assert!(!may_be_silent(&words("celery -A shop worker -l INFO -c 2")));
    }

    /// As 5.7.0 writes them.
    #[test]
    fn what_workers_say_and_answer() {
        let beat =
            br#"{"hostname": "celery@vm", "utcoffset": 0, "pid": 4711, "clock": 20, "freq": 2.0, "active": 1,
            "processed": 7, "loadavg": [1.0], "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux",
            "timestamp": 1.5, "type": "worker-heartbeat"}"#;
        let beat = read_heartbeat(beat).expect("a heartbeat");
        assert_eq!(
            (beat.node.as_str(), beat.pid, beat.processed),
            ("celery@vm", Some(4711), Some(7))
        );
        assert_eq!((beat.every_ms, beat.load.as_slice()), (Some(2_000), &[1.0][..]));
        assert_eq!(
            read_heartbeat(br#"{"type": "task-received", "hostname": "x"}"#),
            None
        );

        let held = json!([{"id": ID, "name": "shop.tasks.slow", "args": ["secret"], "worker_pid": 12, "acknowledged": true,
            "delivery_info": {"redelivered": false}}]);
        let active = asked("active", &held).active.expect("a list");
        assert_eq!(
            (active[0].id.as_str(), active[0].pid, active[0].acknowledged),
            (ID, Some(12), Some(true))
        );
        assert!(!format!("{active:?}").contains("secret"));
        let planned = json!([{"eta": "2026-11-28T17:00:00+00:00", "priority": 6, "request": {"id": ID, "name": "a.b"}}]);
        assert!(
            asked("scheduled", &planned).scheduled.expect("a list")[0]
                .eta
                .is_some()
        );
        assert_eq!(
            asked("query_task", &json!({ID: ["reserved", {}]}))
                .state
                .as_deref(),
            Some("reserved")
        );
        assert_eq!(asked("query_task", &json!({})).state.as_deref(), Some("unknown"));
        assert_eq!(asked("revoked", &json!(["x", ID])).revoked, Some(true));
        assert_eq!(asked("active_queues", &json!([])).queues, Some(vec![]));
        let names = asked("registered", &json!(["a.b [rate_limit=1/m]", "a.c"]))
            .registered
            .expect("names");
        assert_eq!(
            (names["a.b"].as_deref(), names["a.c"].as_deref()),
            (Some("1/m"), None)
        );
        let stats = asked(
            "stats",
            &json!({"pid": 9, "uptime": 60, "prefetch_count": 8,
            "pool": {"implementation": "celery.concurrency.prefork:TaskPool", "max-concurrency": 2, "processes": [10, 11]},
            "broker": {"hostname": "127.0.0.1", "port": 5672, "virtual_host": "x", "userid": "lab"}}),
        );
        assert_eq!(
            (stats.pool.as_deref(), stats.processes.len(), stats.prefetch),
            (Some("prefork"), 2, Some(8))
        );
        assert_eq!(stats.broker.as_deref(), Some("127.0.0.1:5672, vhost x"));
    }

    #[test]
    fn of_settings_only_a_few_are_kept() {
        let answer = json!({"task_acks_late": true, "broker_url": "amqp://a:b@c//", "my_password": "x", "task_time_limit": 3});
        let kept = asked("conf", &answer).settings;
        assert_eq!(
            kept.keys().collect::<Vec<_>>(),
            ["task_acks_late", "task_time_limit"]
        );
    }

    #[test]
    fn an_error_and_another_worker_are_no_answer() {
        assert!(asked("stats", &json!({"error": "KeyError"})).methods.is_empty());
        let mut into = Inspection {
            node: "other@vm".into(),
            ..Inspection::default()
        };
        assert!(!read_answer(
            "stats",
            br#"{"celery@vm": {"pid": 1}}"#,
            &[],
            &mut into
        ));
    }

    #[test]
    fn limits_that_only_processes_enforce() {
        let with = |pool: &str, told: &str, settings: &[(&str, f64)]| {
            let mut answer = asked("registered", &json!([told]));
            answer.pool = Some(pool.into());
            let settings = settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)));
            answer.settings = settings.collect();
            ignored_limit(&answer, "a.b")
        };
        let both = "a.b [rate_limit=1/m time_limit=30 soft_time_limit=20.5]";
        assert_eq!(with("thread", both, &[]), Some(("soft_time_limit", 20.5)));
        assert_eq!(
            with("solo", "a.b [time_limit=30]", &[]),
            Some(("time_limit", 30.0))
        );
        assert_eq!(with("gevent", both, &[]), Some(("soft_time_limit", 20.5)));
        assert_eq!(with("gevent", "a.b [time_limit=30]", &[]), None);
        assert_eq!(
            with("thread", "a.b", &[("task_time_limit", 5.0)]),
            Some(("time_limit", 5.0))
        );
        // Its own goes first, and processes enforce them.
        assert_eq!(
            with("thread", "a.b [time_limit=30]", &[("task_time_limit", 5.0)]),
            Some(("time_limit", 30.0))
        );
        assert_eq!(with("prefork", both, &[]), None);
        assert_eq!(with("thread", "a.c [time_limit=30]", &[]), None);
    }

    /// In a pool of greenlets `worker_pid` is no process.
    #[test]
    fn the_id_of_a_greenlet_is_no_pid() {
        let held = |pid: u64| {
            let task = json!([{ "id": ID, "name": "a.b", "worker_pid": pid }]);
            asked("active", &task).active.expect("a list")[0].pid
        };
        assert_eq!(held(140_234_567_890_123), None);
        assert_eq!(held(4711), Some(4711));
    }

    /// How many it has ever run says nothing of one of them.
    #[test]
    fn processed_is_told_and_nothing_more() {
        let body =
            json!({ "type": "worker-heartbeat", "hostname": "celery@vm", "processed": 7, "active": 0 });
        let beat = read_heartbeat(body.to_string().as_bytes()).expect("a heartbeat");
        assert_eq!((beat.processed, beat.active), (Some(7), Some(0)));
    }
}
