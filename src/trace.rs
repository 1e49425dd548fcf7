//! `taskdiag trace`, as far as it needs nothing from outside: what one event of the firehose means,
//! whether it is asked for, and how it is written.
//!
//! Tens of thousands of these may pass in a second, so nothing is built that is not shown: texts are
//! borrowed from the message, and a line is written into a buffer that is used again.

mod filter;
mod json;
mod line;
mod pairing;

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::framework::dramatiq::{self, body};
use crate::timeline::scrub::Scrubber;

pub use filter::Filter;
pub use json::{Entry, SCHEMA};
pub use line::Look;
use pairing::Pairing;

/// One message of the trace exchange.
#[derive(Debug)]
pub struct Sight<'a> {
    pub passage: Passage<'a>,
    /// `ip:port -> ip:port` of the publisher or consumer, or an Erlang pid of the broker's own.
    pub connection: Cow<'a, str>,
    pub user: Cow<'a, str>,
    pub body: &'a [u8],
    pub death: Option<Death<'a>>,
}

#[derive(Debug)]
pub enum Passage<'a> {
    Publish {
        exchange: Cow<'a, str>,
        routing_key: Cow<'a, str>,
        /// Where it was routed. Of the default exchange: the routing key, even without such a queue.
        queues: Vec<Cow<'a, str>>,
    },
    Deliver {
        queue: Cow<'a, str>,
        redelivered: bool,
    },
}

/// It was dead-lettered before, from this queue and for this reason.
#[derive(Debug)]
pub struct Death<'a> {
    pub queue: Cow<'a, str>,
    pub reason: Cow<'a, str>,
}

/// The process at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    pub pid: i32,
    /// What people call it: `dramatiq`, `uvicorn`.
    pub name: String,
    pub command: Vec<String>,
}

/// What the queue of a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// `NAME.DQ`: delayed messages and retries wait here.
    Delay,
    /// `NAME.XQ`: messages that failed for good.
    DeadLetter,
}

impl Role {
    fn of(queue: &str) -> Option<Self> {
        match dramatiq::base_queue(queue) == queue {
            true => None,
            false if queue == dramatiq::delay_queue(dramatiq::base_queue(queue)) => Some(Role::Delay),
            false => Some(Role::DeadLetter),
        }
    }
}

/// When something happened, by our clock.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since tracing began.
    pub at_ms: f64,
    pub unix_ms: i64,
}

/// Everything known of one event, before it is written.
pub struct Seen<'s, 'a> {
    pub n: u64,
    pub moment: Moment,
    pub sight: &'s Sight<'a>,
    pub body: Result<body::Body<'a>, String>,
    /// The queue it is about; of several the first.
    pub queue: &'s str,
    pub role: Option<Role>,
    pub latency_ms: Option<f64>,
    pub who: Option<&'s Who>,
}

/// How events are written.
pub enum Writing {
    Line(Look),
    Json,
}

/// Sums for the last line.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Everything that was read from the firehose.
    pub events: u64,
    pub shown: u64,
    pub missed: u64,
    /// Different message ids; at least so many once `MOST_TASKS` is reached.
    pub tasks: u64,
}

/// Ids are remembered up to here: a trace may go on for weeks.
pub const MOST_TASKS: usize = 1_000_000;

/// Turns sights into written lines.
pub struct Tracer {
    filter: Filter,
    writing: Writing,
    show_args: bool,
    scrubber: Scrubber,
    pairing: Pairing,
    hasher: RandomState,
    tasks: HashSet<u64>,
    totals: Totals,
    scratch: String,
}

impl Tracer {
    pub fn new(filter: Filter, writing: Writing, show_args: bool, scrubber: Scrubber) -> Self {
        Self {
            filter,
            writing,
            show_args,
            scrubber,
            pairing: Pairing::default(),
            hasher: RandomState::new(),
            tasks: HashSet::new(),
            totals: Totals::default(),
            scratch: String::new(),
        }
    }

    pub fn totals(&self) -> Totals {
        Totals {
            tasks: self.tasks.len() as u64,
            ..self.totals
        }
    }

    /// Takes one event; appends its line where it is asked for, and tells whether it was.
    pub fn take(&mut self, moment: Moment, sight: &Sight<'_>, who: Option<&Who>, out: &mut Vec<u8>) -> bool {
        self.totals.events += 1;
        let mut wishes = body::Wishes {
            keep: self.show_args,
            ids: self.filter.ids(),
            ..body::Wishes::default()
        };
        let body = body::read(sight.body, &mut wishes);
        let found = wishes.found;
        let id = body.as_ref().ok().and_then(|body| body.message_id.as_deref());
        if let Some(id) = id
            && self.tasks.len() < MOST_TASKS
        {
            self.tasks.insert(self.hasher.hash_one(id));
        }
        let (queue, latency_ms) = match (&sight.passage, id) {
            (
                Passage::Publish {
                    queues, routing_key, ..
                },
                id,
            ) => {
                if let Some(id) = id {
                    for queue in queues {
                        self.pairing
                            .published(self.hasher.hash_one((&**queue, id)), moment.at_ms);
                    }
                }
                (queues.first().map_or(&**routing_key, |queue| &**queue), None)
            }
            (
                Passage::Deliver {
                    queue,
                    redelivered: false,
                },
                Some(id),
            ) => {
                let key = self.hasher.hash_one((&**queue, id));
                (&**queue, self.pairing.delivered(key, moment.at_ms))
            }
            (Passage::Deliver { queue, .. }, _) => (&**queue, None),
        };
        let seen = Seen {
            n: self.totals.events,
            moment,
            sight,
            queue,
            role: Role::of(queue),
            latency_ms,
            who,
            body,
        };
        if !self.filter.passes(&seen, found) {
            return false;
        }
        if self.filter.has_patterns() {
            self.scratch.clear();
            line::plain(&seen, self.show_args, &self.scrubber, &mut self.scratch);
            if !self.filter.matches(&self.scratch) {
                return false;
            }
        }
        match &mut self.writing {
            Writing::Line(look) => line::write(
                &seen,
                look,
                self.show_args,
                &self.scrubber,
                &mut self.scratch,
                out,
            ),
            Writing::Json => json::write(&Entry::of(&seen, self.show_args, &self.scrubber), out),
        }
        self.totals.shown += 1;
        true
    }

    /// Events that nobody has seen.
    pub fn missed(&mut self, moment: Moment, events: u64, place: Place, out: &mut Vec<u8>) {
        self.totals.missed += events;
        // Which deliveries belong to which publishes is not known any more.
        self.pairing.clear();
        match &mut self.writing {
            Writing::Line(look) => line::missed(moment, events, place, look, out),
            Writing::Json => json::write(&Entry::missed(moment, events, place), out),
        }
    }

    /// The terminal has so many columns now.
    pub fn resize(&mut self, width: usize) {
        if let Writing::Line(look) = &mut self.writing {
            look.width = Some(width);
        }
    }

    /// We stood still: when what arrives now happened is not known.
    pub fn stalled(&mut self) {
        self.pairing.clear();
    }

    /// The first and the last line of JSON; nothing for people.
    pub fn mark(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        if let Writing::Json = self.writing {
            json::write(entry, out);
        }
    }
}

/// Where events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Our queue at the broker was full: taskdiag read too slowly.
    Broker,
    /// Our own memory was full: what reads taskdiag's output was too slow.
    Output,
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    const BODY: &str = r#"{"queue_name":"orders.DQ","actor_name":"send","args":["hunter22","x\u001b[31m"],"kwargs":{"task_id":7,"api_token":"t"},"options":{"retries":2,"max_retries":3,"eta":61000,"traceback":"Traceback\nValueError: no \u001b[31m"},"message_id":"3f96a1b2-0c4d-4e5f-8a9b-000000000001","message_timestamp":1}"#;

    fn publish<'a>(queue: &'a str, body: &'a str) -> Sight<'a> {
        Sight {
            passage: Passage::Publish {
                exchange: "".into(),
                routing_key: queue.into(),
                queues: vec![queue.into()],
            },
            connection: "127.0.0.1:40000 -> 127.0.0.1:5672".into(),
            user: "guest".into(),
            body: body.as_bytes(),
            death: None,
        }
    }

    fn deliver<'a>(queue: &'a str, redelivered: bool, body: &'a str) -> Sight<'a> {
        Sight {
            passage: Passage::Deliver {
                queue: queue.into(),
                redelivered,
            },
            ..publish(queue, body)
        }
    }

    /// What is written of these events, a millisecond after each other.
    fn written(filter: Filter, writing: Writing, show_args: bool, sights: &[Sight<'_>]) -> String {
        let scrubber = Scrubber::new([SecretString::from("hunter22")], show_args);
        let mut tracer = Tracer::new(filter, writing, show_args, scrubber);
        let who = Who {
            pid: 7,
            name: "dramatiq".into(),
            command: vec!["dramatiq".into()],
        };
        let mut out = Vec::new();
        for (n, sight) in sights.iter().enumerate() {
            let moment = Moment {
                at_ms: n as f64,
                unix_ms: 45_296_000 + n as i64,
            };
            let who = matches!(sight.passage, Passage::Deliver { .. }).then_some(&who);
            tracer.take(moment, sight, who, &mut out);
        }
        String::from_utf8(out).expect("UTF-8")
    }

    fn lines(width: Option<usize>, show_args: bool, sights: &[Sight<'_>]) -> String {
        let look = Look::new(false, false, width, 0);
        written(Filter::default(), Writing::Line(look), show_args, sights)
    }

    #[test]
    fn a_line_says_what_it_is() {
        let body = BODY.replace("\"eta\":61000,", "\"eta\":45311000,");
        let text = lines(
            None,
            false,
            &[
                publish("orders.DQ", &body),
                deliver("orders.DQ", false, &body),
                deliver("orders.DQ", true, &body),
            ],
        );
        let expected = "\
12:34:56.000 publish orders.DQ send     3f96a1b2 127.0.0.1:40000          retry 2/3  due in 15.0 s  after ValueError: no \\e[31m
12:34:56.001 deliver orders.DQ send     3f96a1b2 dramatiq[7]     1.0 ms   retry 2/3  due in 15.0 s  after ValueError: no \\e[31m
12:34:56.002 deliver orders.DQ send     3f96a1b2 dramatiq[7]              redelivered  retry 2/3  due in 15.0 s  after ValueError: no \\e[31m
";
        assert_eq!(text, expected);
    }

    #[test]
    fn arguments_are_shown_on_request_and_without_secrets() {
        let text = lines(None, true, &[publish("orders", BODY)]);
        assert!(
            text.contains(r#"["***","x\\e[31m"] {"task_id":7,"api_token":"***"}"#),
            "{text}"
        );
        assert!(!lines(None, false, &[publish("orders", BODY)]).contains("task_id"));
    }

    #[test]
    fn lines_are_cut_to_the_width_and_hold_no_control_characters() {
        let wide = "ö漢\u{1b}[2J\u{9b}\u{202e}\n".repeat(20);
        let body = BODY.replace("send", &serde_json::json!(wide).to_string().replace('"', ""));
        for width in [1, 20, 50, 79, 200] {
            for color in [false, true] {
                let look = Look::new(color, false, Some(width), 0);
                let text = written(
                    Filter::default(),
                    Writing::Line(look),
                    true,
                    &[publish(&wide, &body)],
                );
                let mut bare = text.strip_suffix('\n').expect("one line").to_owned();
                for code in ["31", "32", "33", "36", "1", "2", "0"] {
                    bare = bare.replace(&format!("\u{1b}[{code}m"), "");
                }
                assert!(
                    !bare.contains(|c: char| c.is_control() || c == '\u{202e}'),
                    "{bare:?}"
                );
                assert!(
                    unicode_width::UnicodeWidthStr::width(bare.as_str()) <= width,
                    "{width}: {bare:?}"
                );
            }
        }
        let json = written(Filter::default(), Writing::Json, true, &[publish(&wide, &body)]);
        assert!(
            !json
                .trim_end()
                .contains(|c: char| c.is_control() || c == '\u{202e}'),
            "{json:?}"
        );
        let look = Look::new(false, true, Some(200), 0);
        let ascii = written(
            Filter::default(),
            Writing::Line(look),
            true,
            &[publish(&wide, &body)],
        );
        assert!(ascii.is_ascii(), "{ascii}");
    }

    #[test]
    fn what_is_no_message_is_still_an_event() {
        for (body, said) in [
            ("\u{1}pickle", "7 bytes that are not JSON"),
            ("{\"a\":1}", "JSON without actor_name"),
        ] {
            let text = lines(
                None,
                true,
                &[publish("orders", body), deliver("orders", false, body)],
            );
            assert_eq!(text.lines().count(), 2);
            assert!(text.contains(said), "{text}");
            assert!(!text.contains(" ms"), "nothing to match them by: {text}");
        }
    }

    #[test]
    fn kinds_of_filters_must_all_fit() {
        let other = BODY
            .replace("\"send\"", "\"pay\"")
            .replace("00000001", "00000002");
        let sights = || {
            [
                publish("orders", BODY),
                deliver("orders.XQ", false, BODY),
                publish("mail", &other),
            ]
        };
        let shown = |queues: &[&str], actors: &[&str], tasks: &[&str], patterns: &[&str]| {
            let all = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
            let filter =
                Filter::new(&all(queues), &all(actors), &all(tasks), &all(patterns)).expect("a filter");
            let look = Look::new(true, false, Some(30), 0);
            written(filter, Writing::Line(look), false, &sights())
                .lines()
                .count()
        };
        assert_eq!(shown(&[], &[], &[], &[]), 3);
        assert_eq!(shown(&["orders"], &[], &[], &[]), 2, "with its companions");
        assert_eq!(shown(&["orders*"], &[], &[], &[]), 2);
        assert_eq!(
            shown(&["order?"], &[], &[], &[]),
            1,
            "a pattern means what it says"
        );
        assert_eq!(shown(&["orders", "mail"], &["pay"], &[], &[]), 1);
        assert_eq!(shown(&[], &["se*", "pay"], &[], &[]), 3);
        assert_eq!(shown(&[], &[], &["7"], &[]), 3, "a number among the arguments");
        assert_eq!(
            shown(&[], &[], &["task_id"], &[]),
            0,
            "the name of an argument is none"
        );
        let id = "3F96A1B20C4D4E5F8A9B000000000002";
        assert_eq!(shown(&[], &[], &[id], &[]), 1, "another spelling of a message id");
        assert_eq!(
            shown(&[], &[], &[], &["dead letter", "^nothing"]),
            1,
            "what would be shown, uncut"
        );
        assert_eq!(shown(&[], &[], &[], &["hunter22"]), 0, "not what is masked");
        assert!(Filter::new(&["[".into()], &[], &[], &[]).is_err());
        assert!(Filter::new(&[], &[], &[], &["(".into()]).is_err());
    }

    #[test]
    fn what_was_missed_is_said_at_its_place() {
        let mut tracer = Tracer::new(Filter::default(), Writing::Json, false, Scrubber::default());
        let moment = Moment {
            at_ms: 1.0,
            unix_ms: 1,
        };
        let mut out = Vec::new();
        tracer.take(moment, &publish("orders", BODY), None, &mut out);
        tracer.missed(moment, 3, Place::Broker, &mut out);
        tracer.take(moment, &deliver("orders", false, BODY), None, &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let kinds: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(kinds[1]["events"], 3);
        // Another copy may have been among them.
        assert!(kinds[2].get("latency_ms").is_none(), "{text}");
        let totals = tracer.totals();
        assert_eq!((totals.events, totals.tasks, totals.missed), (2, 1, 3));
    }
}
