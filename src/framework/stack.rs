//! Where a framework's own code stands on a Python stack.

/// A frame, by the ends of its file's path and of its function's name. An empty one fits anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameMatch {
    pub file: &'static str,
    pub function: &'static str,
}

impl FrameMatch {
    pub fn fits(&self, file: &str, function: &str) -> bool {
        file.ends_with(self.file) && function.ends_with(self.function)
    }
}

/// Libraries that talk to a database, by a part of their files' paths.
const DATABASE_LIBRARIES: &[&str] = &[
    "/psycopg",
    "/asyncpg/",
    "/pg8000/",
    "/aiopg/",
    "/sqlalchemy/",
    "/django/db/",
    "/peewee",
    "/pony/",
    "/tortoise/",
];

/// Whatever the framework: its tasks talk to a database through these.
pub fn is_database_library(file: &str) -> bool {
    DATABASE_LIBRARIES.iter().any(|part| file.contains(part))
}

/// The frames of a framework that tell what its worker is at.
#[derive(Debug, PartialEq, Eq)]
pub struct StackShape {
    /// Part of the path of every file of the framework.
    pub library: &'static str,
    /// Any frame of a worker.
    pub worker: FrameMatch,
    /// A thread of a worker that fetches messages, and runs none, where threads run them.
    pub consumer: Option<FrameMatch>,
    /// A worker has a message in its hands.
    pub worker_loop: FrameMatch,
    /// The call of the task's function: what is called from here is the application's.
    pub call: FrameMatch,
    /// Functions of the application that are called straight from the loop and are not the task's. Where there
    /// are any, a class of tasks may have a call of its own, in which the framework's has no part.
    pub loop_hooks: &'static [&'static str],
    /// Hooks that run before that call.
    pub before_call: FrameMatch,
    /// Hooks that run after it, and whatever else does.
    pub after_call: FrameMatch,
    /// A name that a hook before the call has.
    pub hook: &'static str,
    /// Hooks that run as a worker boots, before it takes any message.
    pub boot_hooks: &'static [&'static str],
    /// A thread waits here for a coroutine's result.
    pub async_bridge: FrameMatch,
    /// What another task raised is raised here again, in the one that waits for its result.
    pub rethrow: Option<FrameMatch>,
    /// Releases whose wait for a coroutine takes the task's own `TimeoutError` for that of its own asking.
    pub lost_timeout: Option<&'static str>,
    /// A broker that keeps messages to itself, as for tests.
    pub test_broker: FrameMatch,
    /// What the worker writes its log through, besides Python's own `logging`.
    pub log_pipe: FrameMatch,
    /// Where the master stands while it writes for its children: this frame, and none below it.
    pub log_writer: Option<FrameMatch>,
}

impl StackShape {
    /// The frame, by its file and function, is the one that calls the task: the framework's call, or its loop
    /// where that calls the application.
    pub fn is_call(&self, frame: (&str, &str), called: Option<(&str, &str)>) -> bool {
        let is_the_tasks = |(file, function): (&str, &str)| {
            // Newer Pythons name a function by what it is defined in.
            let name = function.rsplit('.').next().unwrap_or(function);
            let own = self.is_application(file) || name == "__call__" && !self.is_library(file);
            own && !self.loop_hooks.contains(&name)
        };
        self.call.fits(frame.0, frame.1)
            || !self.loop_hooks.is_empty()
                && self.worker_loop.fits(frame.0, frame.1)
                && called.is_some_and(is_the_tasks)
    }

    pub fn is_library(&self, file: &str) -> bool {
        file.contains(self.library)
    }

    /// Neither the framework's nor what lies in a Python library folder: the application's own.
    pub fn is_application(&self, file: &str) -> bool {
        !self.is_library(file) && !file.contains("/lib/python") && !is_launcher(file) && !is_generated(file)
    }
}

/// A program that an installer made, like `/srv/venv/bin/dramatiq`: the main thread stands in it for ever.
fn is_launcher(file: &str) -> bool {
    let mut parts = file.rsplit('/');
    parts.next().is_some_and(|name| !name.contains('.')) && parts.next() == Some("bin")
}

/// What a library has made at run time, like `<sqlalchemy generated …>` or `<frozen importlib._bootstrap>`. What was
/// typed is the application's.
fn is_generated(file: &str) -> bool {
    let typed = ["<stdin>", "<string>", "<console>"];
    file.starts_with('<') && !typed.contains(&file)
}

#[cfg(test)]
mod launcher_tests {
    use super::{is_generated, is_launcher};

    #[test]
    fn what_a_library_made_is_no_application() {
        assert!(is_generated(
            "<sqlalchemy generated _go() wrapper for Connection>"
        ));
        assert!(is_generated("<frozen importlib._bootstrap>"));
        assert!(!is_generated("<string>") && !is_generated("/srv/app/tasks.py"));
    }

    #[test]
    fn an_installers_program_is_no_application() {
        assert!(is_launcher("/srv/app/venv/bin/dramatiq"));
        assert!(!is_launcher("/srv/app/bin/tasks.py"));
        assert!(!is_launcher("/srv/app/tasks.py"));
    }
}
