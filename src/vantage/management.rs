//! The management API: inventory, policies, alarms, and fresh totals.
//!
//! Its default statistics are 2.5 to 10 s old, so nothing is concluded from them; a missing field
//! is not zero; and a user without the `monitoring` tag sees only his own connections and
//! consumers, which is blindness, not an empty list.

mod lists;
mod site;

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::Role;
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::rabbitmq::tracing::Tracing;
use crate::rabbitmq::{nodes, rights};
use crate::timeline::EventKind;
use lists::{tags, text};
use site::{cluster, is_without_policies, vhost_exists};

/// The inventory is read when the run starts, again once the task has been quiet for a while, and
/// at the end; each time is a handful of requests.
const QUIET_LOOK: Duration = Duration::from_secs(3);

/// How long the last look waits for an empty list of consumers to fill.
const LATE_LIST: Duration = Duration::from_millis(1200);

struct Watcher<'a> {
    management: Management,
    config: &'a Config,
    tap: Tap,
    /// The whole inventory can be seen, not just this user's own.
    sees_all: bool,
    /// Only such a user may read the permissions of others.
    is_administrator: bool,
    /// The vhost has no policy at all, as far as this user may see.
    without_policies: bool,
    last: std::collections::HashMap<&'static str, EventKind>,
    /// Why the vhost's queues cannot be listed, although the rest can be seen.
    no_queues: Option<String>,
}

pub async fn watch(config: &Config, tap: Tap, mut phases: Phases) -> Watched {
    let management = Management::new(&config.broker)?;
    let user = management.object("whoami").await?;
    let overview = management.object("overview").await?;
    if overview.get("rabbitmq_version").is_none() && overview.get("management_version").is_none() {
        return Err(another_program(
            config,
            "/api/overview without any version of RabbitMQ",
        ));
    }
    vhost_exists(&management, &config.broker.vhost).await?;
    let tags = tags(&user);
    let name = text(&user, "name");
    if name.is_empty() {
        return Err(another_program(config, "/api/whoami without a name"));
    }
    let statistics = overview.get("disable_stats") != Some(&Json::Bool(true));
    tap.see(EventKind::Broker {
        product: overview
            .get("product_name")
            .and_then(Json::as_str)
            .unwrap_or("RabbitMQ")
            .to_owned(),
        version: text(&overview, "rabbitmq_version"),
        user: name.clone(),
        tags: tags.clone(),
        statistics,
    });
    let has = |wanted: &str| tags.iter().any(|tag| tag == wanted);
    let sees_all = statistics && (has("monitoring") || has("administrator"));
    let without_policies = is_without_policies(&management, &config.broker.vhost).await;
    let mut watcher = Watcher {
        management,
        config,
        tap: tap.clone(),
        sees_all,
        is_administrator: has("administrator"),
        without_policies,
        last: std::collections::HashMap::new(),
        no_queues: None,
    };
    watcher.look().await?;
    watcher.tracing().await;
    let unseen = watcher.no_queues.clone();
    let target = config.broker.management.redacted();
    if let Some(reason) = unseen {
        tap.partial(format!(
            "the queues of vhost \"{}\" are not shown: {reason}; {}",
            config.broker.vhost,
            rights::lacks_permission(&name, &config.broker.vhost, "any permission")
        ));
    } else if sees_all {
        tap.watching(format!(
            "RabbitMQ {} at {target}{}",
            text(&overview, "rabbitmq_version"),
            cluster(&watcher.management, &text(&overview, "node")).await
        ));
    } else if statistics {
        tap.partial(format!(
            "user \"{name}\" has no monitoring tag, so other users' consumers and connections are invisible; {}",
            rights::with_tag(&name, &tags, "monitoring")
        ));
    } else {
        tap.partial(
            "the broker's statistics are switched off: no consumers, connections or channels can be listed",
        );
    }
    let mut quiet: Option<Instant> = None;
    let mut looked = false;
    loop {
        let phase = phases.now();
        if phase.stop {
            return Ok(());
        }
        if phase.last_look {
            // New consumers and connections are listed seconds late: before anything is concluded
            // from an empty list, give it a moment.
            watcher
                .last
                .retain(|key, _| !["main", "delay", "dead"].contains(key));
            let until = Instant::now() + LATE_LIST;
            watcher.look().await.map_err(gone)?;
            while watcher.nobody_listed() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(300)).await;
                watcher.look().await.map_err(gone)?;
            }
            tap.looked();
            return Ok(());
        }
        if phase.lively || !phase.submitted {
            quiet = None;
            looked = false;
        } else if !looked && quiet.get_or_insert_with(Instant::now).elapsed() >= QUIET_LOOK {
            looked = true;
            watcher.look().await.map_err(gone)?;
        }
        phases.pause(Duration::from_millis(500)).await;
    }
}

fn another_program(config: &Config, answer: &str) -> Unavailable {
    Unavailable::new(format!(
        "{} answers {answer}: this is not RabbitMQ's management API",
        config.broker.management.redacted()
    ))
    .hint("set `broker.management_url` to host and port of the API")
}

/// It saw until now, and does not answer any more, or with something else: a balancer's page, half an answer.
fn gone(mut blindness: Unavailable) -> Unavailable {
    let reason = &blindness.reason;
    blindness.lost = ["no answer", "the answer of", "HTTP 5"]
        .iter()
        .any(|start| reason.starts_with(start))
        || reason.ends_with("this is not RabbitMQ's management API");
    blindness
}

impl Watcher<'_> {
    async fn look(&mut self) -> Result<(), Unavailable> {
        let vhost = segment(&self.config.broker.vhost);
        // Without a permission on the vhost a monitoring user is told of everything but its queues.
        match self.queues(&vhost).await {
            Err(blindness)
                if self.sees_all
                    && ["404", "user "]
                        .iter()
                        .any(|word| blindness.reason.starts_with(word)) =>
            {
                self.no_queues = Some(blindness.reason);
            }
            other => other?,
        }
        if self.sees_all {
            self.consumers(&vhost).await;
            self.closed_channels(&vhost).await;
            self.alarms().await;
            self.connections().await;
        }
        if self.is_administrator {
            self.permissions(&vhost).await;
        }
        Ok(())
    }

    /// Fresh totals come only from the list with statistics disabled; before 3.13.7 the
    /// single-queue URL has none. A regular expression keeps the list to three queues.
    async fn queues(&mut self, vhost: &str) -> Result<(), Unavailable> {
        let queue = &self.config.broker.queue;
        let queues = &self.config.framework.queues;
        let pattern = segment(&queues.pattern(queue));
        let path = format!(
            "queues/{vhost}?page=1&page_size=10&use_regex=true&name={pattern}&disable_stats=true&enable_queue_totals=true"
        );
        let answer = self.management.get(&path).await?;
        let items = answer
            .get("items")
            .or(Some(&answer))
            .and_then(Json::as_array)
            .cloned()
            .unwrap_or_default();
        for (role, name) in queues.family(queue) {
            let key = match role {
                Role::Main => "main",
                Role::Delay => "delay",
                Role::DeadLetter => "dead",
            };
            let found = items
                .iter()
                .find(|item| item.get("name").and_then(Json::as_str) == Some(&name));
            // Policy and state are not part of the fresh list; the single queue has them.
            let single = self
                .management
                .get(&format!("queues/{vhost}/{}", segment(&name)))
                .await
                .unwrap_or(Json::Null);
            // The list leaves out a queue whose leader's node is down (4.0.5, 4.3.6).
            if found.is_none() && single.is_null() {
                continue;
            }
            let found = found.unwrap_or(&Json::Null);
            let up = match lists::members(&single, found) {
                Some(members) => self.members_up(members).await,
                None => None,
            };
            let mut kind = lists::queue_info(name, &single, found, up, self.without_policies);
            // Of a classic queue whose node is down it says `running` all the same (4.3.6).
            if let EventKind::QueueInfo {
                state, members: None, ..
            } = &mut kind
                && found.is_null()
                && nodes::down(&self.management)
                    .await
                    .contains(&text(&single, "node"))
            {
                *state = Some("down".into());
            }
            self.see(key, kind);
        }
        if queues.is_bound {
            self.bindings(vhost, queue).await;
        }
        Ok(())
    }

    /// The keys by which messages come to the queue, beside its own name on the default exchange.
    async fn bindings(&mut self, vhost: &str, queue: &str) {
        let path = format!("queues/{vhost}/{}/bindings", segment(queue));
        let Ok(Json::Array(items)) = self.management.get(&path).await else {
            return;
        };
        let (queue, keys) = (queue.to_owned(), lists::keys(&items));
        self.see("bindings", EventKind::Bound { queue, keys });
    }

    /// How many of these members are on nodes that run.
    async fn members_up(&self, members: &[Json]) -> Option<u64> {
        let nodes = self.management.get("nodes?columns=name,running").await.ok()?;
        let runs = |name: &str| {
            let mut nodes = nodes.as_array().into_iter().flatten();
            nodes.any(|node| text(node, "name") == name && node.get("running") == Some(&Json::Bool(true)))
        };
        let up = members.iter().filter_map(Json::as_str);
        Some(up.filter(|name| runs(name)).count() as u64)
    }

    async fn consumers(&mut self, vhost: &str) {
        let Ok(Json::Array(items)) = self.management.get(&format!("consumers/{vhost}")).await else {
            return;
        };
        let consumers = lists::consumers(&items);
        self.see("consumers", EventKind::Consumers { consumers });
    }

    async fn connections(&mut self) {
        let columns = "name,user,vhost,state,client_properties.product,connected_at";
        let Ok(Json::Array(items)) = self
            .management
            .get(&format!("connections?columns={columns},node"))
            .await
        else {
            return;
        };
        let connections = lists::connections(&items);
        // Only an alarm holds connections back, our own among them; the nodes say so up to 5 s later.
        if let Some(node) = lists::held_back(&items)
            && !self.last.contains_key("mem_alarm")
            && !self.last.contains_key("disk_free_alarm")
        {
            let alarm = "resource".to_owned();
            self.see("alarm", EventKind::Alarm { node, alarm });
        }
        self.see("connections", EventKind::Connections { connections });
    }

    /// Channels that the broker closed and whose clients have not noticed. Their state comes with their
    /// statistics, every 5 s.
    async fn closed_channels(&mut self, vhost: &str) {
        let columns = "connection_details.name,number,state,user";
        let path = format!("vhosts/{vhost}/channels?columns={columns}");
        let Ok(Json::Array(items)) = self.management.get(&path).await else {
            return;
        };
        let channels = lists::closed_channels(&items);
        if !channels.is_empty() || self.last.contains_key("channels") {
            self.see("channels", EventKind::ClosedChannels { channels });
        }
    }

    /// Who may do what in the vhost.
    async fn permissions(&mut self, vhost: &str) {
        let path = format!("vhosts/{vhost}/permissions");
        let Ok(Json::Array(items)) = self.management.get(&path).await else {
            return;
        };
        let permissions = lists::permissions(&items);
        self.see("permissions", EventKind::Permissions { permissions });
    }

    async fn alarms(&mut self) {
        let Ok(Json::Array(nodes)) = self
            .management
            .get("nodes?columns=name,mem_alarm,disk_free_alarm")
            .await
        else {
            return;
        };
        for node in nodes {
            for (key, alarm) in [("mem_alarm", "memory"), ("disk_free_alarm", "disk")] {
                if node.get(key) == Some(&Json::Bool(true)) {
                    let kind = EventKind::Alarm {
                        node: text(&node, "name"),
                        alarm: alarm.to_owned(),
                    };
                    self.see(key, kind);
                }
            }
        }
    }

    /// Tracing that is on although nobody reads it: forgotten, or left by a killed container.
    /// Looked for before our own run switches it on; a taskdiag that is just ending has a moment.
    async fn tracing(&mut self) {
        let vhost = segment(&self.config.broker.vhost);
        let Ok(node) = nodes::answering(&self.management).await else {
            return;
        };
        for attempt in 0..2 {
            let Ok(answer) = self
                .management
                .get(&format!("vhosts/{vhost}?columns=tracing"))
                .await
            else {
                return;
            };
            let unread = Tracing::is_unread(&self.management, &self.config.broker.vhost, &node).await;
            if answer.get("tracing") != Some(&Json::Bool(true)) || !unread.unwrap_or(false) {
                return;
            }
            if attempt == 0 {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
        self.tap.see(EventKind::TracingOn { readers: 0 });
    }

    /// The list of consumers could be seen, and nobody on it consumes the queue.
    fn nobody_listed(&self) -> bool {
        match self.last.get("consumers") {
            Some(EventKind::Consumers { consumers }) => !consumers
                .iter()
                .any(|consumer| consumer.queue == self.config.broker.queue),
            _ => false,
        }
    }

    fn see(&mut self, key: &'static str, kind: EventKind) {
        if self.last.get(key) != Some(&kind) {
            self.last.insert(key, kind.clone());
            self.tap.see(kind);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch as phase_channel;
    use wiremock::matchers::{method, path, path_regex};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::framework::Framework;
    use crate::timeline::scrub::Scrubber;
    use crate::timeline::{Event, Source};
    use crate::vantage::{Phase, Report};

    /// What a broker with `management_agent.disable_metrics_collector = true` answers, as seen on
    /// 3.10.8: the setting is the whole broker's, so a test against a shared one cannot have it.
    async fn without_statistics() -> MockServer {
        let server = MockServer::start().await;
        let answers = [
            (
                "/api/whoami",
                200,
                serde_json::json!({ "name": "ops", "tags": ["administrator"] }),
            ),
            (
                "/api/overview",
                200,
                serde_json::json!({ "rabbitmq_version": "3.10.8", "disable_stats": true }),
            ),
            (
                "/api/consumers/%2F",
                400,
                serde_json::json!({ "error": "bad_request", "reason": "Stats disabled" }),
            ),
            ("/api/connections", 200, serde_json::json!([])),
        ];
        for (at, status, body) in answers {
            Mock::given(method("GET"))
                .and(path(at))
                .respond_with(ResponseTemplate::new(status).set_body_json(body))
                .with_priority(1)
                .mount(&server)
                .await;
        }
        Mock::given(method("GET"))
            .and(path_regex("^/api/"))
            .respond_with(ResponseTemplate::new(200).set_body_json(serde_json::json!({})))
            .mount(&server)
            .await;
        server
    }

    #[tokio::test]
    async fn no_statistics_are_not_nobody() {
        let server = without_statistics().await;
        let text = format!("[broker]\nmanagement_url = \"{}\"\n", server.uri());
        let config = Config::from_text(&text).expect("a configuration");
        let (_keep, phases) = phase_channel::channel(Phase {
            last_look: true,
            ..Phase::default()
        });
        let (tap, mut reports) = Tap::new(
            Framework::usual(),
            Source::Management,
            Instant::now(),
            Arc::new(Scrubber::default()),
        );
        watch(&config, tap, Phases::new(phases))
            .await
            .expect("it sees something");
        let mut kinds = Vec::new();
        while let Ok(report) = reports.try_recv() {
            if let Report::Event(event) = report {
                let Event { kind, .. } = *event;
                kinds.push(kind);
            }
        }
        assert!(
            kinds
                .iter()
                .any(|kind| matches!(kind, EventKind::Partial { reason } if reason.contains("statistics"))),
            "{kinds:?}"
        );
        // An empty list would say that nobody consumes and nobody is connected.
        assert!(
            !kinds
                .iter()
                .any(|kind| matches!(kind, EventKind::Consumers { .. } | EventKind::Connections { .. })),
            "{kinds:?}"
        );
    }
}
