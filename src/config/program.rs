//! What `--start` starts: commands, and the environment they are started in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::Value as Json;

use super::Layers;
use crate::error::Result;

/// How a part of the system is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its section: `api` or `worker`.
    pub part: &'static str,
    /// Not empty.
    pub command: Vec<String>,
    /// A virtual environment, which a tox environment is too.
    pub python: Option<PathBuf>,
    /// Values may be credentials: never shown. An empty one unsets the variable.
    pub env: Vec<(String, SecretString)>,
    pub cwd: PathBuf,
    /// Where its keys were set, for messages: `worker.command` → `taskdiag.toml line 12`.
    pub origins: BTreeMap<String, String>,
}

/// What the system needs besides, brought up before it and down after it.
#[derive(Debug, Clone, Default)]
pub struct Services {
    pub up: Vec<String>,
    pub down: Vec<String>,
    /// The folder both are run in.
    pub cwd: PathBuf,
}

/// What a section says of starting its part; none without a command.
pub(super) fn program(layers: &Layers, part: &'static str) -> Result<Option<Program>> {
    let key = |name: &str| format!("{part}.{name}");
    let mut env = Vec::new();
    for (name, value) in layers.table(&key("env"))?.into_iter().flatten() {
        let bad = |seen: String| {
            layers.bad(
                &key("env"),
                seen,
                "write env = { NAME = \"value\" }; an empty value unsets the variable",
            )
        };
        let value = match value {
            Json::String(text) => text,
            Json::Number(number) => number.to_string(),
            _ => return Err(bad(format!("the value of {name} is not a string"))),
        };
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(bad(format!("\"{name}\" is not the name of a variable")));
        }
        env.push((name, SecretString::from(value)));
    }
    let python = layers.path(&key("python"))?;
    let cwd = layers
        .path(&key("cwd"))?
        .unwrap_or_else(|| layers.base().to_owned());
    let command = layers.strings(&key("command"))?.unwrap_or_default();
    if command.is_empty() {
        return Ok(None);
    }
    Ok(Some(Program {
        part,
        command,
        python,
        env,
        cwd,
        origins: layers.origins(),
    }))
}

pub(super) fn services(layers: &Layers) -> Result<Services> {
    Ok(Services {
        up: layers.strings("services.up")?.unwrap_or_default(),
        down: layers.strings("services.down")?.unwrap_or_default(),
        cwd: layers.base().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn worker(text: &str) -> Result<Option<Program>> {
        program(&Layers::from_text(text)?, "worker")
    }

    #[test]
    fn a_section_with_a_command_can_be_started() {
        let text = "[worker]\ncommand = [\"dramatiq\", \"-v\", \"app\"]\nenv = { A = \"b\", EMPTY = \"\", PORT = 8000 }\npython = \".venv\"";
        let program = worker(text).expect("it is right").expect("a program");
        assert_eq!(program.command.len(), 3);
        let env: Vec<_> = program
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect();
        assert_eq!(env, [("A", "b"), ("EMPTY", ""), ("PORT", "8000")]);
        assert!(program.python.is_some_and(|path| path.ends_with(".venv")));
        assert!(
            worker("[worker]\npython = \".venv\"")
                .expect("it is right")
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_a_variable_is_an_error() {
        for env in ["{ A = true }", "{ \"A=B\" = \"c\" }", "\"A=b\""] {
            let error = worker(&format!("[worker]\nenv = {env}")).expect_err(env);
            assert!(error.to_string().contains("worker.env"), "{error}");
        }
    }
}
