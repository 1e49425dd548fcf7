//! What a process is, by its command: a worker, a server, another program of a framework.

use super::{Story, connections, workers};
use crate::framework;
use crate::timeline::environment::Environment;
use crate::timeline::{Event, EventKind, Process, place};

/// A worker by its command line: a framework's own start script or module, be it another framework's.
pub(in crate::diagnosis) fn is_worker_command(command: &[String]) -> bool {
    framework::ALL
        .iter()
        .any(|framework| framework.worker.is_started_by(command))
}

pub(in crate::diagnosis) fn is_worker(process: &Process) -> bool {
    is_worker_command(&process.command) || process.parent_command.as_deref().is_some_and(is_worker_command)
}

/// A worker of the framework that this run is about.
pub(in crate::diagnosis) fn is_its_worker(story: &Story<'_>, process: &Process) -> bool {
    let shape = &story.framework().worker;
    let parent = process.parent_command.as_deref();
    shape.is_started_by(&process.command) || parent.is_some_and(|command| shape.is_started_by(command))
}

/// Of one worker, or starts of the same one: what starts services of several kinds has other children as well.
pub(super) fn are_siblings(one: &Process, other: &Process) -> bool {
    let of_a_worker = one.parent_command.as_deref().is_some_and(is_worker_command);
    one.ppid > 1 && one.ppid == other.ppid && (of_a_worker || one.command == other.command)
}

/// It serves HTTP, or something else than tasks: by its port, or by its command.
pub(in crate::diagnosis) fn is_server(story: &Story<'_>, process: &Process) -> bool {
    let parent = process.parent_command.iter().flatten().take(4);
    let mut words = process.command.iter().take(4).chain(parent);
    !is_worker(process) && (serves_the_api(story, process) || words.any(|word| names_a_server(word)))
}

/// The name of a program by which Python serves HTTP.
fn names_a_server(word: &str) -> bool {
    const SERVERS: &[&str] = &[
        "uvicorn",
        "gunicorn",
        "hypercorn",
        "daphne",
        "granian",
        "waitress-serve",
        "uwsgi",
        "runserver",
        "flask",
    ];
    // A title of its own is one word: `gunicorn: master [shop]`.
    let program = word.split_whitespace().next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or(program);
    SERVERS.contains(&name.trim_end_matches(':'))
}

/// It is known to run Python: by its command, or because its stacks were read.
pub(in crate::diagnosis) fn runs_python(story: &Story<'_>, process: &Process) -> bool {
    let mut words = process.command.iter().take(4);
    words.any(|word| names_a_server(word) || word.contains("python"))
        || story.stacks().dumps().any(|dump| dump.pid == process.pid)
}

/// A worker by its command, or a Python that is not known as anything else: it may have been started by a script.
pub(in crate::diagnosis) fn may_be_a_worker(story: &Story<'_>, process: &Process) -> bool {
    is_its_worker(story, process)
        || workers::acts_as_worker(story, process)
        || !is_worker(process)
            && !place::is_our_own(&process.command)
            && (is_python(process) && !is_server(story, process) && !is_another_program(&process.command))
}

/// The program is Python; a shell or an `init` that is to start one is none.
fn is_python(process: &Process) -> bool {
    let program = process.command.first().map_or("", String::as_str);
    program
        .rsplit('/')
        .next()
        .is_some_and(|name| name.contains("python"))
}

/// It listens on the API's port, or is of the tree of one that does.
fn serves_the_api(story: &Story<'_>, process: &Process) -> bool {
    let mut apis = story.api_processes().into_iter();
    apis.any(|api| {
        api.pid == process.pid
            || api.ppid == process.pid
            || process.ppid == api.pid
            || (process.ppid > 1 && process.ppid == api.ppid && process.command == api.command)
    })
}

/// A framework's program that does something else than work: its scheduler, its monitor.
fn is_another_program(command: &[String]) -> bool {
    let mut words = command.iter().take(3);
    words.any(|word| framework::is_worker_program(word.rsplit('/').next().unwrap_or(word)))
        && !is_worker_command(command)
}

/// Its children write files of their own: `%I` in its command stands for the number of one.
pub(in crate::diagnosis) fn shares_out_its_log(process: &Process) -> bool {
    let mut words = process.command.iter();
    words.any(|word| word.contains("%I") || word.contains("%i"))
}

/// The queues for which its command starts it, where it names any.
pub(in crate::diagnosis) fn queues_of(story: &Story<'_>, process: &Process) -> Option<Vec<String>> {
    let own = Some(&process.command).filter(|command| is_worker_command(command));
    (story.framework().worker.queues)(own.or(process.parent_command.as_ref())?)
}

/// Its command names the task's queue.
pub(in crate::diagnosis) fn names_our_queue(story: &Story<'_>, process: &Process) -> bool {
    queues_of(story, process).is_some_and(|queues| queues.iter().any(|name| name == story.queue()))
}

/// Its command starts it for other queues only.
pub(in crate::diagnosis) fn leaves_out_our_queue(story: &Story<'_>, process: &Process) -> bool {
    queues_of(story, process).is_some_and(|queues| !names_ours(story, &queues))
}

/// This command starts a worker: for the task's queue, or for others only.
pub(in crate::diagnosis) fn starts_ours(story: &Story<'_>, command: &[String]) -> Option<bool> {
    let mut from = (0..command.len()).map(|at| &command[at..]);
    let worker = from.find(|words| is_worker_command(words))?;
    let queues = (story.framework().worker.queues)(worker);
    Some(queues.is_none_or(|queues| names_ours(story, &queues)))
}

/// The configured command names the task's queue: a worker that leaves it out is another service's.
pub(in crate::diagnosis) fn is_configured_for_ours(story: &Story<'_>) -> bool {
    let command = &story.timeline.setup.worker_command;
    let names_queues = (story.framework().worker.queues)(command).is_some();
    names_queues && starts_ours(story, command) == Some(true)
}

fn names_ours(story: &Story<'_>, queues: &[String]) -> bool {
    queues.iter().any(|queue| story.is_of_my_queue(queue))
}

impl Story<'_> {
    /// The configured command starts a worker of some modules, and this one's names none of them: another service's.
    pub fn is_another_services(&self, process: &Process) -> bool {
        let configured = &self.timeline.setup.worker_command;
        let shape = &self.framework().worker;
        let is_a_name = |word: &&String| {
            !word.starts_with('-') && word.contains(char::is_alphabetic) && !shape.is_named_in(word)
        };
        let mut names = configured.iter().filter(is_a_name).peekable();
        names.peek().is_some()
            && shape.is_started_by(configured)
            && shape.is_started_by(&process.command)
            && !names.any(|name| process.command.contains(name))
    }

    /// It runs in another folder than the configured one, or the one in which the configured command was seen, and has no
    /// connection to our vhost: another system's, of the same code perhaps. In a place of its own a folder says nothing.
    fn is_in_another_folder(&self, pid: i32) -> bool {
        let is_here = |process: &Process| process.at.is_none() && process.container.is_none();
        let process = self.process_in_life(pid).map(|process| process.value);
        let environment = self.environment_of(pid);
        let environment = environment.filter(|_| self.all_processes().all(|process| is_here(&process)));
        let cwd = match process.filter(|process| process.cwd.is_some()) {
            Some(process) if is_here(process) && is_worker(process) => process.cwd.as_deref(),
            Some(_) => None,
            None => environment
                .filter(|read| is_worker_command(&read.command))
                .and_then(|read| read.cwd.as_deref()),
        };
        let configured = self.looks_at_processes();
        let configured = configured.filter(|process| process.is_configured && is_here(process));
        let mut ours: Vec<&str> = configured
            .filter_map(|process| process.value.cwd.as_deref())
            .collect();
        ours.extend(self.timeline.setup.worker_cwd.as_deref());
        cwd.is_some_and(|cwd| !ours.is_empty() && !ours.contains(&cwd)) && !self.serves_here(pid)
    }

    /// It, its master or a child of its is connected to our vhost, or consumes the task's queue.
    fn serves_here(&self, pid: i32) -> bool {
        let master = self.process_in_life(pid).map(|process| process.ppid);
        let is_of_it = |process: &Process| {
            process.pid == pid || process.ppid == pid || master.is_some_and(|master| master == process.pid)
        };
        let mut family = self.all_processes().filter(|process| is_of_it(process));
        let listed = self.consumers().into_iter().flat_map(|listed| listed.value);
        let mut consumers = listed
            .filter(|consumer| self.is_of_my_queue(&consumer.queue))
            .filter_map(|consumer| self.client_of(&consumer.connection));
        family.any(|process| connections::serves_our_vhost(self, &process))
            || consumers.any(|client| {
                client == pid
                    || self
                        .process_in_life(client)
                        .is_some_and(|process| is_of_it(&process))
            })
    }

    /// What was read of its environment, or of one that has the same command, folder and variables.
    fn environment_of(&self, pid: i32) -> Option<&Environment> {
        let mut alike = self.facts(|kind| match kind {
            EventKind::SameEnvironment { pid: other, like, .. } if *other == pid => Some(*like),
            _ => None,
        });
        let read = alike.next().map_or(pid, |like| like.value);
        self.timeline.events.iter().find_map(|event| match &event.kind {
            EventKind::Environment(environment) if environment.pid == read => Some(environment.as_ref()),
            _ => None,
        })
    }

    /// The event is a look at such a process.
    pub fn shows_another_service(&self, n: u32) -> bool {
        let event = self.timeline.event(n).map(|event| &event.kind);
        matches!(event, Some(EventKind::Process(process)) if self.runs_for_another_service(process.pid))
    }

    /// The same of the process that has this pid, or of its master: what has ended has no command. A script may become
    /// a program of another name.
    pub fn runs_for_another_service(&self, pid: i32) -> bool {
        let process = self.process_in_life(pid);
        let master = process.and_then(|process| self.process_in_life(process.ppid));
        let both: Vec<_> = process.into_iter().chain(master).collect();
        let mut configured = self.timeline.setup.worker_command.iter();
        let is_script = configured.any(|word| word.ends_with(".py") || word.ends_with(".sh"));
        let was_configured = |event: &Event| match &event.kind {
            EventKind::Process(look) => look.is_configured && both.iter().any(|one| one.pid == look.pid),
            _ => false,
        };
        !is_script
            && (self.is_in_another_folder(pid)
                || both.iter().any(|process| {
                    self.is_another_services(process) || self.is_in_another_folder(process.pid)
                }))
            && !self.timeline.events.iter().any(was_configured)
    }
}
