//! A cluster of RabbitMQ nodes for all tests of clusters, apart from the lab's one node.
//!
//! `fixtures/lab cluster` holds it until its standard input ends, so that nothing is left whatever
//! ends the test process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::lab::{Broker, Lab, repository};

pub struct Cluster {
    /// Two to which tests connect; a third is there where the metadata need a majority.
    pub all: usize,
    pub nodes: [Broker; 2],
    pub names: [String; 2],
    /// `rabbitmqctl` of each.
    ctl: [String; 2],
    script: Mutex<Script>,
}

struct Script {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _child: Child,
}

/// Who needs both nodes shares them; who stops one is alone.
static IN_USE: RwLock<()> = RwLock::new(());

/// Both nodes run as long as this is held.
pub struct Shared {
    pub cluster: &'static Cluster,
    _use: RwLockReadGuard<'static, ()>,
}

/// Nobody else uses the cluster; what was stopped comes back at the end.
pub struct Alone {
    pub cluster: &'static Cluster,
    stopped: Vec<usize>,
    _use: RwLockWriteGuard<'static, ()>,
}

pub fn shared() -> Shared {
    Shared {
        cluster: Cluster::get(),
        _use: IN_USE.read().unwrap_or_else(PoisonError::into_inner),
    }
}

pub fn alone() -> Alone {
    Alone {
        cluster: Cluster::get(),
        stopped: Vec::new(),
        _use: IN_USE.write().unwrap_or_else(PoisonError::into_inner),
    }
}

impl Cluster {
    fn get() -> &'static Self {
        static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
        // Programs and Python come with the lab.
        Lab::get();
        match CLUSTER.get_or_init(Self::up) {
            Ok(cluster) => cluster,
            Err(said) => panic!("the cluster cannot start, so this test cannot run:\n{said}"),
        }
    }

    fn up() -> Result<Self, String> {
        let script = repository().join("fixtures/lab");
        let mut child = Command::new(&script)
            .arg("cluster")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C ends the tests, and by that the script.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{}: {error}", script.display()))?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let orders = child.stdin.take().ok_or("no stdin")?;
        let mut values = BTreeMap::new();
        loop {
            let mut line = String::new();
            match answers.read_line(&mut line) {
                Ok(0) | Err(_) => return Err("it ended; its words are above".into()),
                Ok(_) => {}
            }
            match line.trim_end().split_once('=') {
                Some((key, value)) => drop(values.insert(key.to_owned(), value.to_owned())),
                None if line.trim_end() == "ready" => break,
                None => return Err(format!("unexpected: {line}")),
            }
        }
        let value = |key: String| values.get(&key).cloned().ok_or(format!("it prints no {key}"));
        let node = |number: usize| -> Result<(Broker, String), String> {
            let at = |key: &str| {
                Ok::<_, String>(format!(
                    "127.0.0.1:{}",
                    value(format!("LAB_CLUSTER_{key}_PORT_{number}"))?
                ))
            };
            let broker = Broker {
                amqp: at("AMQP")?,
                management: at("MGMT")?,
            };
            Ok((broker, value(format!("LAB_CLUSTER_NODE_{number}"))?))
        };
        let ctl = [
            value("LAB_CLUSTER_RABBITMQCTL_1".into())?,
            value("LAB_CLUSTER_RABBITMQCTL_2".into())?,
        ];
        let ((first, first_name), (second, second_name)) = (node(1)?, node(2)?);
        let all = value("LAB_CLUSTER_NODES".into())?;
        Ok(Self {
            all: all.parse().map_err(|_| format!("LAB_CLUSTER_NODES={all}"))?,
            nodes: [first, second],
            names: [first_name, second_name],
            ctl,
            script: Mutex::new(Script {
                orders,
                answers,
                _child: child,
            }),
        })
    }

    /// Both nodes, this one (counted from 0) first.
    pub fn from(&self, node: usize) -> Vec<Broker> {
        vec![self.nodes[node].clone(), self.nodes[1 - node].clone()]
    }

    /// `rabbitmqctl` on one of the nodes; it succeeds.
    pub fn ctl(&self, node: usize, arguments: &[&str]) {
        let done = Command::new(&self.ctl[node])
            .args(arguments)
            .output()
            .expect("rabbitmqctl runs");
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    fn order(&self, order: &str) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(script.orders, "{order}").expect("the cluster's script listens");
        let mut line = String::new();
        script
            .answers
            .read_line(&mut line)
            .expect("the cluster's script answers");
        assert_eq!(line.trim_end(), "done", "{order}");
    }
}

impl Alone {
    /// A node, counted from 0, is asked to end.
    pub fn stop(&mut self, node: usize) {
        self.cluster.order(&format!("stop {}", node + 1));
        self.stopped.push(node);
    }

    /// All but the first die: where the metadata need a majority, there is none.
    pub fn lose_the_others(&mut self) {
        for node in 1..self.cluster.all {
            self.cluster.order(&format!("kill {}", node + 1));
            self.stopped.push(node);
        }
    }

    /// A stopped node comes back.
    pub fn start(&mut self, node: usize) {
        self.cluster.order(&format!("start {}", node + 1));
        self.stopped.retain(|stopped| *stopped != node);
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        for node in std::mem::take(&mut self.stopped) {
            self.cluster.order(&format!("start {}", node + 1));
        }
    }
}
