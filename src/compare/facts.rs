//! All that is known of one run, as a flat list of facts: who, what, its name, its value.

use std::collections::{BTreeMap, BTreeSet};

use super::difference::{Fact, FactValue, Side, Subject, Token};
use super::noise;
use super::parties::parties;
use crate::diagnosis::Story;
use crate::timeline::EventKind;
use crate::timeline::environment::{Environment, Variable};

pub(super) type FactKey = (Side, Subject, String);

/// Of a recording that was cut, or of a run that was killed.
pub(super) const INCOMPLETE: &str =
    "the recording is incomplete: it has no end, so what came later is unknown";

/// The facts of one run.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub known: BTreeMap<FactKey, Fact>,
    /// Everything of this kind could be seen: what is missing is absent.
    pub complete: BTreeSet<(Side, Subject)>,
    /// Parties of which nothing could be seen, or not all; with the reason.
    pub hidden: BTreeMap<Side, Vec<String>>,
}

impl Facts {
    pub fn of(story: &Story<'_>) -> Self {
        let mut facts = Self::default();
        for (party, pids) in parties(story) {
            facts.party(story, party, &pids);
        }
        facts.said_by_workers(story);
        facts.services(story);
        facts.setup(story);
        if !story.has_ended() {
            facts.leave_out_figures();
        }
        facts
    }

    /// The figures of a recording that stops somewhere are those of another moment, and its list of
    /// connections may be half of them.
    fn leave_out_figures(&mut self) {
        self.known.retain(|(_, subject, _), _| {
            !matches!(
                subject,
                Subject::Consumers
                    | Subject::ConsumerHosts
                    | Subject::BrokerAddress
                    | Subject::DatabaseAddress
                    | Subject::Vhost
            )
        });
        self.hidden
            .entry(Side::Run)
            .or_default()
            .insert(0, INCOMPLETE.to_owned());
    }

    pub(super) fn put(&mut self, party: Side, subject: Subject, name: &str, fact: Fact) {
        self.known.insert((party, subject, name.to_owned()), fact);
    }

    fn party(&mut self, story: &Story<'_>, party: Side, pids: &[i32]) {
        self.addresses(story, party, pids);
        let Some(environment) = pids.iter().find_map(|pid| Some(story.environment(*pid)?.value)) else {
            self.hidden.insert(party, vec![why_unseen(story, party)]);
            return;
        };
        if !environment.hidden.is_empty() {
            self.hidden.insert(party, environment.hidden.clone());
        }
        self.started_as(party, environment);
        self.python(party, environment);
        self.variables(party, environment);
        self.packages(party, environment);
    }

    /// With what command, by whom, and where.
    fn started_as(&mut self, party: Side, environment: &Environment) {
        let command = environment.command.join(" ");
        let token = noise::command(&environment.command);
        self.put(party, Subject::Command, "", Fact::settled(command, token));
        if let Some(uid) = environment.uid {
            let shown = match &environment.user {
                Some(name) => format!("{name} (uid {uid})"),
                None => format!("uid {uid}"),
            };
            self.put(party, Subject::User, "", Fact::settled(shown, uid.to_string()));
        }
        if let Some(cwd) = &environment.cwd {
            let fact = Fact::settled(cwd, noise::path(cwd));
            self.put(party, Subject::WorkingDirectory, "", fact);
        }
    }

    /// The interpreter, and the code that it runs.
    fn python(&mut self, party: Side, environment: &Environment) {
        if let Some(interpreter) = &environment.interpreter {
            let version = interpreter.version.as_deref().unwrap_or("of unknown version");
            let shown = format!("{} {version}", interpreter.implementation);
            self.put(party, Subject::Interpreter, "", Fact::plain(shown));
            let folder = Fact::settled(&interpreter.prefix, noise::path(&interpreter.prefix));
            self.put(party, Subject::InterpreterFolder, "", folder);
        }
        if let Some(code) = &environment.code {
            let mut shown = code.directory.clone();
            if !code.also_in.is_empty() {
                shown.push_str(&format!(" (also in {})", code.also_in.join(", ")));
            }
            let token = noise::path(&shown);
            self.put(party, Subject::CodeFolder, "", Fact::settled(shown, token));
        }
    }

    /// Those of the process, and those of the `.env` files that its code reads.
    fn variables(&mut self, party: Side, environment: &Environment) {
        if let Some(variables) = &environment.variables {
            self.complete.insert((party, Subject::Variable));
            for (name, value) in variables.iter().filter(|(name, _)| !noise::is_bookkeeping(name)) {
                self.put(party, Subject::Variable, name, variable(environment, value));
            }
        }
        if environment.variables.is_some() && environment.interpreter.is_some() {
            self.complete.insert((party, Subject::DotenvVariable));
        }
        for (name, value) in environment.dotenv.iter().flat_map(|file| &file.variables) {
            self.put(party, Subject::DotenvVariable, name, variable(environment, value));
        }
    }

    fn packages(&mut self, party: Side, environment: &Environment) {
        let Some(distributions) = &environment.distributions else {
            return;
        };
        self.complete.insert((party, Subject::Package));
        for distribution in distributions {
            let shown = distribution.shown();
            let fact = Fact::settled(&shown, noise::path(&shown));
            self.put(party, Subject::Package, &distribution.name, fact);
        }
    }

    /// Where its sockets lead: what it really connects to, whatever the settings say.
    fn addresses(&mut self, story: &Story<'_>, party: Side, pids: &[i32]) {
        let setup = &story.timeline.setup;
        let (mut brokers, mut databases, mut vhosts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let connections = story
            .connections()
            .map_or(&[][..], |connections| connections.value);
        let mut take = |socket: &str| {
            let socket = socket.trim_end_matches(" (connecting)");
            let Some((_, remote)) = socket.split_once(" -> ") else {
                return;
            };
            if is_port_of(Some(&setup.broker), &["5672", "5671"], remote) {
                brokers.insert(remote.to_owned());
            } else if is_port_of(setup.database.as_deref(), &["5432", "6432"], remote) {
                databases.insert(remote.to_owned());
            }
            vhosts.extend(
                connections
                    .iter()
                    .filter(|connection| connection.name == socket)
                    .map(|connection| connection.vhost.clone()),
            );
        };
        for event in &story.timeline.events {
            match &event.kind {
                EventKind::Process(process) if pids.contains(&process.pid) => {
                    process.sockets.iter().for_each(|socket| take(socket));
                }
                EventKind::Peer { connection, pid } if pids.contains(pid) => take(connection),
                _ => {}
            }
        }
        for (subject, found) in [
            (Subject::BrokerAddress, brokers),
            (Subject::DatabaseAddress, databases),
            (Subject::Vhost, vhosts),
        ] {
            if !found.is_empty() {
                let text = found.into_iter().collect::<Vec<_>>().join(", ");
                let token = noise::this_machine(&text);
                self.put(party, subject, "", Fact::settled(text, token));
            }
        }
    }

    fn services(&mut self, story: &Story<'_>) {
        let of = Side::Services;
        let mut queues: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for event in &story.timeline.events {
            match &event.kind {
                EventKind::Broker { product, version, .. } => {
                    self.put(
                        of,
                        Subject::BrokerVersion,
                        "",
                        Fact::plain(format!("{product} {version}")),
                    );
                }
                EventKind::DatabaseServer { version, .. } => {
                    self.put(
                        of,
                        Subject::DatabaseVersion,
                        "",
                        Fact::plain(format!("PostgreSQL {version}")),
                    );
                }
                EventKind::QueueInfo {
                    queue,
                    queue_type,
                    arguments,
                    policy,
                    policy_definition,
                    ..
                } if story.is_of_my_queue(queue) => {
                    let mut facts = BTreeMap::new();
                    facts.extend(queue_type.iter().map(|kind| ("type".to_owned(), kind.clone())));
                    facts.extend(policy.iter().map(|name| ("policy".to_owned(), name.clone())));
                    facts.extend(
                        arguments
                            .iter()
                            .map(|(name, value)| (name.clone(), value.to_string())),
                    );
                    facts.extend(
                        policy_definition
                            .iter()
                            .map(|(name, value)| (format!("{name} (policy)"), value.to_string())),
                    );
                    queues.insert(queue.clone(), facts);
                }
                _ => {}
            }
        }
        if queues.contains_key(story.queue()) {
            self.complete.insert((of, Subject::Queue));
        }
        for (queue, facts) in queues {
            for (name, value) in facts {
                self.put(
                    of,
                    Subject::Queue,
                    &format!("{queue}: {name}"),
                    Fact::plain(value),
                );
            }
        }
        if let Some(depth) = story.depths(story.queue()).last() {
            self.put(
                of,
                Subject::Consumers,
                "",
                Fact::plain(depth.consumers.to_string()),
            );
        }
        if let Some(consumers) = story.consumers() {
            let hosts: BTreeSet<&str> = consumers
                .iter()
                .filter(|consumer| consumer.queue == story.queue())
                .filter_map(|consumer| Some(consumer.connection.split(" -> ").next()?.rsplit_once(':')?.0))
                .collect();
            if !hosts.is_empty() {
                let hosts: Vec<&str> = hosts.into_iter().collect();
                self.put(of, Subject::ConsumerHosts, "", Fact::plain(hosts.join(", ")));
            }
        }
    }

    fn setup(&mut self, story: &Story<'_>) {
        let setup = &story.timeline.setup;
        let optional = |value: &Option<String>| value.clone().unwrap_or_default();
        for (name, value) in [
            ("vhost", setup.vhost.clone()),
            ("queue", setup.queue.clone()),
            ("actor", optional(&setup.actor)),
            ("table", optional(&setup.table)),
            ("timing.silence", format!("{} ms", setup.silence_ms)),
            ("timing.timeout", format!("{} ms", setup.timeout_ms)),
            (
                "--task",
                if setup.post_mortem {
                    "yes".into()
                } else {
                    String::new()
                },
            ),
        ] {
            self.put(Side::Run, Subject::Setting, name, Fact::plain(value));
        }
        let broker = &setup.broker;
        self.put(
            Side::Run,
            Subject::Setting,
            "broker",
            Fact::settled(broker, noise::this_machine(broker)),
        );
        // Recordings of before it was kept do not say.
        if let Some(database) = &setup.database {
            self.put(
                Side::Run,
                Subject::Setting,
                "database",
                Fact::settled(database, noise::this_machine(database)),
            );
        }
        // A test's API listens on another port each time.
        let url = optional(&setup.api_url);
        let token = noise::without_port(url.trim_end_matches('/'));
        self.put(Side::Run, Subject::Setting, "api.url", Fact::settled(url, token));
    }
}

/// What the parties run in, and where their connections to a broker and a database lead.
pub fn fingerprints<'a>(story: &Story<'a>) -> Vec<(Side, &'a Environment, [Option<String>; 2])> {
    let mut found = Vec::new();
    for (party, pids) in parties(story) {
        let Some(environment) = pids.iter().find_map(|pid| Some(story.environment(*pid)?.value)) else {
            continue;
        };
        let mut facts = Facts::default();
        facts.addresses(story, party, &pids);
        let leads = [Subject::BrokerAddress, Subject::DatabaseAddress].map(|subject| {
            match &facts.known.get(&(party, subject, String::new()))?.shown {
                FactValue::Seen(text) => Some(text.clone()),
                _ => None,
            }
        });
        found.push((party, environment, leads));
    }
    found
}

/// Why nothing is known of what a party runs in.
fn why_unseen(story: &Story<'_>, party: Side) -> String {
    let was = |wanted: fn(&EventKind) -> bool| story.timeline.events.iter().any(|event| wanted(&event.kind));
    // What a broken off recording does not hold may have come later.
    let is_old = story.has_ended()
        && was(|kind| matches!(kind, EventKind::Process(_)))
        && !was(|kind| matches!(kind, EventKind::Environment(_)));
    let name = party.name();
    if story.timeline.setup.trace {
        format!("a recording of trace does not look at what the {name} runs in")
    } else if is_old {
        format!("the recording does not say what the {name} runs in: an earlier taskdiag made it")
    } else {
        format!("no process of the {name} was seen")
    }
}

fn is_port_of(configured: Option<&str>, usual: &[&str], remote: &str) -> bool {
    let port = |text: &str| {
        let address = text.split('/').next()?;
        address.rsplit(':').next().map(str::to_owned)
    };
    let Some(at) = port(remote) else { return false };
    configured.and_then(port) == Some(at.clone()) || usual.contains(&at.as_str())
}

fn variable(environment: &Environment, value: &Variable) -> Fact {
    match value {
        Variable::Plain(text) => Fact::settled(text, noise::path(text)),
        Variable::Masked(masked) => Fact {
            shown: FactValue::Masked,
            token: Token::Masked {
                key: environment.key.clone().unwrap_or_default(),
                value: masked.value.clone(),
                parts: masked.parts.clone(),
            },
        },
        Variable::Hidden => Fact {
            shown: FactValue::Masked,
            token: Token::Hidden,
        },
    }
}
