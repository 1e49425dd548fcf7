//! What the system needs besides: `[services]` up before it, and its port free.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::process::Command;
use url::Url;

use super::{System, environment};
use crate::child::{end_with_us, signal_group};
use crate::config::{Config, Services};
use crate::error::{Error, Result};
use crate::guardian::Start;
use crate::timeline::scrub::printable;

/// Images may have to be downloaded first.
const UP_WITHIN: Duration = Duration::from_secs(600);

/// Runs `services.up` to its end; from then on the guardian runs `services.down` at the end.
///
/// Not below the guardian: what it leaves in the background is meant to stay.
pub(super) async fn up(system: &System, config: &Config, tell: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let services = &config.services;
    if services.up.is_empty() {
        return Ok(());
    }
    // Commands may hold a password, and so may what they print.
    let scrubber = crate::scrubber::scrubber(config, false);
    let text = scrubber.one_line(&services.up.join(" "));
    let failed = |text: &str, seen: String| failed(text, scrubber.text(&seen));
    let log = system.folder.join("services.log");
    let up = command(&services.up, "services.up", services, &log)?;
    if !services.down.is_empty() && !system.keep {
        let log = system.folder.join("services-down.log");
        let down = command(&services.down, "services.down", services, &log)?;
        // Also after a failure: half of them may be up.
        system
            .guardian
            .run_last(down)
            .await
            .map_err(|seen| failed(&text, seen))?;
    }
    tell(&format!("services: {text}"));
    let file = std::fs::File::options().create(true).append(true).open(&log);
    let output = file.and_then(|file| Ok((file.try_clone()?, file)));
    let (stdout, stderr) = output.map_err(|error| failed(&text, error.to_string()))?;
    let mut command = Command::new(&up.program);
    command
        .args(&up.arguments)
        .current_dir(&up.cwd)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    // If we are killed, it ends too, and the guardian runs `down`.
    end_with_us(&mut command, Signal::SIGTERM);
    let mut child = command
        .spawn()
        .map_err(|error| failed(&text, error.to_string()))?;
    let group = child.id().unwrap_or_default() as i32;
    let _ = system.guardian.watch_group(group).await;
    let ended = tokio::select! {
        ended = tokio::time::timeout(UP_WITHIN, child.wait()) => ended,
        () = crate::interrupt::interrupt() => {
            signal_group(&child, Signal::SIGTERM);
            let _ = child.wait().await;
            return Err(Error::Start {
                what: format!("the services with `{text}`"),
                seen: "it was interrupted".into(),
                hint: "run it again when you are ready to wait for it".into(),
            });
        }
    };
    let _ = system.guardian.watch_group(0).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(
            &text,
            format!("it ended with {}: {}", words(status), last_words(&log)),
        )),
        Ok(Err(error)) => Err(failed(&text, error.to_string())),
        Err(_) => {
            signal_group(&child, Signal::SIGTERM);
            Err(failed(
                &text,
                format!("it did not end within {} minutes", UP_WITHIN.as_secs() / 60),
            ))
        }
    }
}

fn command(words: &[String], key: &str, services: &Services, log: &Path) -> Result<Start> {
    let cwd = std::path::absolute(&services.cwd).unwrap_or_else(|_| services.cwd.clone());
    let env: Vec<_> = std::env::vars_os().collect();
    let program = environment::find(&words[0], &env, &cwd).map_err(|seen| Error::BadValue {
        key: key.into(),
        origin: "configuration".into(),
        seen,
        hint: "install it, correct the command, or remove the key and bring the services up yourself".into(),
    })?;
    Ok(Start {
        program,
        arguments: words[1..].to_vec(),
        env,
        cwd,
        log: log.to_owned(),
        may_stay: false,
        filter: None,
    })
}

fn failed(text: &str, seen: String) -> Error {
    Error::Start {
        what: format!("the services with `{text}`"),
        seen: printable(&seen),
        hint: "run it in a shell until it works, or remove services.up and bring them up yourself".into(),
    }
}

fn words(status: std::process::ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

fn last_words(log: &Path) -> String {
    match crate::guardian::last_words(log, 5) {
        empty if empty.is_empty() => "it printed nothing".into(),
        words => words,
    }
}

/// The API's port must be free: whatever listens there would get the task instead.
pub(super) async fn refuse_taken(url: &Url) -> Result<()> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Ok(());
    };
    let host = host.trim_matches(['[', ']']);
    let connecting = TcpStream::connect((host, port));
    if !matches!(
        tokio::time::timeout(Duration::from_secs(2), connecting).await,
        Ok(Ok(_))
    ) {
        return Ok(());
    }
    let owners: Vec<String> = crate::vantage::process::sockets::listeners(port)
        .into_iter()
        .map(|(pid, command)| format!("pid {pid} (`{}`)", printable(&command.join(" "))))
        .collect();
    let who = match owners.as_slice() {
        [] => "a process that is not visible from here, a container's or another user's".to_owned(),
        owners => owners.join(", "),
    };
    Err(Error::Start {
        what: "the API".into(),
        seen: format!("{host}:{port} is already in use by {who}"),
        hint: "stop that, choose another port in api.url and api.command, or remove api.command to use what runs there; behind a proxy, let api.url name the address that api.command listens on".into(),
    })
}
