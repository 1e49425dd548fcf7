//! Processes, here and in the places that `[worker] exec` and `[api] exec` lead to: who is asked what.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::exec::{self, Place, WatchRequest};
use super::process::{self, ProcessQuery, Twins};
use super::{Phases, Tap, Watched};
use crate::config::Config;

/// So long the places have to say which processes are theirs, before this machine tells of its own.
const PLACES_FIRST: Duration = Duration::from_secs(3);

pub async fn watch(
    config: &Config,
    places: Vec<Place>,
    asked: mpsc::UnboundedReceiver<ProcessQuery>,
    tap: Tap,
    phases: Phases,
) -> Watched {
    let twins = Twins::default();
    if places.is_empty() {
        return process::watch(config, asked, twins, tap, phases).await;
    }
    let (here, queried) = mpsc::unbounded_channel();
    let mut doors = Vec::new();
    let mut watching = Vec::new();
    let mut looked = Vec::new();
    for place in places {
        let (sender, queries) = mpsc::unbounded_channel();
        let (said, ready) = oneshot::channel();
        doors.push((place.part, sender));
        looked.push(ready);
        let request = WatchRequest {
            place,
            queries,
            here: here.clone(),
            twins: twins.clone(),
            looked: said,
        };
        watching.push(exec::watch(config, request, tap.clone(), phases.clone()));
    }
    let elsewhere = futures_util::future::join_all(watching);
    let local = async {
        let all = futures_util::future::join_all(looked);
        let _ = tokio::time::timeout(PLACES_FIRST, all).await;
        if let Err(blindness) = process::watch(config, queried, twins, tap.clone(), phases).await {
            tap.blind(blindness);
        }
    };
    tokio::select! {
        _ = async { tokio::join!(elsewhere, local) } => {}
        () = route(asked, here, doors) => {}
    }
    Ok(())
}

/// Hands each question to whoever can answer it.
async fn route(
    mut asked: mpsc::UnboundedReceiver<ProcessQuery>,
    here: mpsc::UnboundedSender<ProcessQuery>,
    doors: Vec<(&'static str, mpsc::UnboundedSender<ProcessQuery>)>,
) {
    let worker = doors.iter().find(|(part, _)| *part == "worker");
    while let Some(query) = asked.recv().await {
        match query {
            ProcessQuery::Connection(name) => {
                for (_, door) in &doors {
                    let _ = door.send(ProcessQuery::Connection(name.clone()));
                }
                let _ = here.send(ProcessQuery::Connection(name));
            }
            // The worker's log has the pids of the worker's place.
            ProcessQuery::Logged(pid) if worker.is_some() => {
                worker.map(|(_, door)| door.send(ProcessQuery::Logged(pid)));
            }
            query => drop(here.send(query)),
        }
    }
    // Whoever asks is gone; what is watched ends by itself.
    std::future::pending::<()>().await;
}
