//! File, environment and flags become one `Config`; later wins.
//!
//! Layers are kept by hand, not by a configuration crate, because a diagnosis must be able to say
//! where a value came from ("taskdiag.toml line 12"). [`keys`] is the public contract: a key that is
//! not in it is an error that names the nearest one that is.

mod api;
mod broker;
mod database;
pub mod keys;
mod layers;
mod program;
pub mod redacted;
mod secret_url;
pub mod secrets;
mod submit;
mod values;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value as Json;

use crate::error::{Error, Result};
use crate::framework::{self, Framework};
pub use api::{Api, FormFile, Login};
pub use broker::{Broker, Control, Tls, Trace};
pub use database::Database;
pub use layers::{Layers, nearest};
pub use program::{Program, Services};
pub use secret_url::SecretUrl;
pub use submit::SubmitCommand;
pub use values::parse_duration;
pub use worker::{LogSource, Worker};

/// What flags and taskdiag's own variables say, by key.
pub type Given = BTreeMap<&'static str, Json>;

/// Reads them alone; what is wrong with one is said before anything else is looked at.
pub fn given(flags: &[(String, String)]) -> Result<Given> {
    let mut layers = Layers::default();
    layers.add_the_rest(flags)?;
    let keys = keys::all();
    Ok(keys
        .filter_map(|key| Some((key.name, layers.value(key.name)?.clone())))
        .collect())
}

/// Everything one run needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Of the API and the worker.
    pub framework: &'static Framework,
    pub api: Option<Api>,
    /// What sends a task, where the API does not.
    pub submit: Option<SubmitCommand>,
    pub broker: Broker,
    pub database: Option<Database>,
    pub api_log: LogSource,
    /// Runs a program where the API runs; empty: on this machine, as far as is known.
    pub api_exec: Vec<String>,
    pub worker: Worker,
    /// How `--start` starts the API and the worker, where that is configured.
    pub api_program: Option<Program>,
    pub worker_program: Option<Program>,
    pub services: Services,
    /// `auto`, `off`, or the address of a container engine's socket.
    pub engine: String,
    /// The smallest body that the API accepts.
    pub smallest_body: Option<Json>,
    pub timing: Timing,
    /// Where each value that was set came from, for messages.
    pub origins: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub silence: Duration,
    pub timeout: Duration,
}

impl Config {
    /// Finds and merges the layers. `flags` are `(key, value)` pairs; a flag wins over everything.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self> {
        Self::from_layers(&Layers::collect(file, flags)?)
    }

    /// A file alone, as tests read it: what else the user has set is no part of them.
    #[doc(hidden)]
    pub fn of_file(file: &Path) -> Result<Self> {
        Self::from_layers(&Layers::of_file(file)?)
    }

    /// From what was drafted, with values for the variables that it refers to.
    pub fn drafted(
        text: &str,
        variables: BTreeMap<String, SecretString>,
        flags: &[(String, String)],
    ) -> Result<Self> {
        Self::from_layers(&Layers::drafted(text, variables, flags)?)
    }

    /// A file's text alone: no environment, no flags.
    #[cfg(test)]
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_layers(&Layers::from_text(text)?)
    }

    fn from_layers(layers: &Layers) -> Result<Self> {
        let name = layers.with_default("framework", Layers::text)?;
        let Some(framework) = Framework::named(&name) else {
            return Err(layers.bad(
                "framework",
                format!("\"{name}\" is not a framework"),
                &format!("write {}", framework_names()),
            ));
        };
        let timing = Timing {
            silence: layers.with_default("timing.silence", Layers::duration)?,
            timeout: layers.with_default("timing.timeout", Layers::duration)?,
        };
        let config = Self {
            framework,
            api: api::api(layers)?,
            submit: submit::submit_command(layers)?,
            broker: broker::broker(layers)?,
            database: database::database(layers)?,
            api_log: worker::log_source(layers, "api")?,
            api_exec: worker::exec(layers, "api")?,
            worker: worker::worker(layers)?,
            api_program: program::program(layers, "api")?,
            worker_program: program::program(layers, "worker")?,
            services: program::services(layers)?,
            engine: layers.with_default("containers.engine", Layers::text)?,
            smallest_body: layers.json("isolate.body"),
            timing,
            origins: layers.origins(),
        };
        Ok(config)
    }

    /// The API, or the error that says it is needed.
    pub fn need_api(&self) -> Result<&Api> {
        self.api.as_ref().ok_or(Error::MissingKey {
            key: "api.url",
            needed_for: "submitting a task",
            example: "[api] url = \"http://localhost:8000\" (or, where a program sends it, [submit] command = [\"python\", \"manage.py\", \"send_report\"])",
        })
    }

    /// The error that says what is needed to send a task, if nothing that could is configured.
    pub fn need_submission(&self) -> Result<()> {
        match self.submit {
            Some(_) => Ok(()),
            None => self.need_api().map(|_| ()),
        }
    }
}

/// `framework = "dramatiq"` and the like, for each there is.
fn framework_names() -> String {
    let names = framework::ALL.iter();
    let names: Vec<String> = names
        .map(|framework| format!("framework = \"{}\"", framework.name))
        .collect();
    names.join(" or ")
}
