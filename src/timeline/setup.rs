//! What the run was asked.

use serde::{Deserialize, Serialize};

use crate::framework::Framework;

/// What the run was asked: the part of the configuration a diagnosis depends on, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Setup {
    pub framework: String,
    pub queue: String,
    pub vhost: String,
    /// `host:port` of the broker.
    pub broker: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id_pointer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_pattern: Option<String>,
    /// Command lines that start the watched worker, to tell its processes from strangers'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worker_command: Vec<String>,
    /// The folder in which they start it, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_cwd: Option<String>,
    /// Where the logs are read, for commands that a reader pastes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_log: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_log: Option<String>,
    /// `host:port/name` of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    pub table: Option<String>,
    pub id_column: Option<String>,
    pub status_column: Option<String>,
    pub running: Vec<String>,
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
    pub silence_ms: u64,
    pub timeout_ms: u64,
    pub wait_retries: bool,
    pub post_mortem: bool,
    /// It is a recording of `trace`: what passed the broker in some time, and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    pub expect_entered: bool,
    pub show_args: bool,
}

impl Setup {
    /// What people call the task when they give its id: a row of `shop_order` is an order, and `fulfil_order`
    /// works on one.
    pub fn nouns(&self) -> Vec<String> {
        let last = |text: &str| {
            let word = text.rsplit(['.', '_', ':', '"']).find(|word| !word.is_empty())?;
            Some(word.to_lowercase())
        };
        let names = [self.table.as_deref(), self.actor.as_deref()];
        let mut nouns: Vec<String> = names.into_iter().flatten().filter_map(last).collect();
        let singular = nouns.iter().filter_map(|noun| match noun.strip_suffix("ies") {
            Some(stem) => Some(format!("{stem}y")),
            None => noun.strip_suffix('s').map(str::to_owned),
        });
        let singular: Vec<String> = singular.collect();
        nouns.extend(singular);
        nouns.retain(|noun| noun.len() >= 3);
        nouns
    }

    /// A recording of a framework that is not known is read as if it were the usual one's: what does not
    /// depend on it can be told all the same.
    pub fn framework(&self) -> &'static Framework {
        Framework::named(&self.framework).unwrap_or_else(Framework::usual)
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::Scene;

    #[test]
    fn a_task_is_called_after_its_table_and_its_function() {
        let of = |table: &str, actor: &str| {
            let mut setup = Scene::new().timeline.setup;
            (setup.table, setup.actor) = (Some(table.into()), Some(actor.into()));
            setup.nouns().join(" ")
        };
        assert_eq!(
            of("public.shop_orders", "shop.tasks.fulfil"),
            "orders fulfil order"
        );
        assert_eq!(of("entries", "build_report"), "entries report entry");
    }
}
