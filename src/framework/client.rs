//! How the API's side of a framework speaks of a publish that failed.

/// The library through which its messages reach the broker, as a traceback shows it.
#[derive(Debug)]
pub struct ClientShape {
    /// Parts of the paths of its files.
    pub library: &'static [&'static str],
    /// Parts of paths through which an error leaves for the application. Below others the library may have
    /// logged an attempt that a later one made good.
    pub raises_through: &'static [&'static str],
    /// It publishes to exchanges that have a name, and not only to the default one: that one is missing may be about a task.
    pub names_exchanges: bool,
    /// What it raises when it cannot connect, or when the broker refuses what it asks.
    pub errors: &'static [&'static str],
}

impl ClientShape {
    /// The traceback is of a connect or a publish that failed.
    pub fn cannot_publish(&self, traceback: &str) -> bool {
        let has = |parts: &[&str]| parts.iter().any(|part| traceback.contains(part));
        (has(self.library) || has(self.raises_through)) && (has(self.errors) || has(REFUSALS))
    }

    /// … and the application was told.
    pub fn raises(&self, traceback: &str) -> bool {
        let mut through = self.raises_through.iter();
        self.cannot_publish(traceback) && through.any(|part| traceback.contains(part))
    }
}

/// Python's words and RabbitMQ's for a connection that fails and a request that is refused.
const REFUSALS: &[&str] = &[
    "ConnectionRefused",
    "gaierror",
    "PRECONDITION_FAILED",
    "ACCESS_REFUSED",
    "NOT_ALLOWED",
];
