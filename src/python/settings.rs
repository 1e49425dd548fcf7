//! What the code gives its framework as the broker, and Django as the database: followed as far as it can be read.

use std::collections::BTreeMap;

use super::syntax::Node;
use super::value::SettingValue;
use crate::framework::{self, Framework};

/// Settings by what they are for.
#[derive(Debug, Default)]
pub struct Settings {
    /// What is given to a framework as its broker, with the place.
    pub brokers: Vec<BrokerSetting>,
    /// Names that hold an address, and what they are set to.
    named: BTreeMap<String, Vec<(SettingValue, String)>>,
    pub databases: Vec<Databases>,
    /// Where tasks are sent to other queues than their own: by routes, or where they are sent.
    pub routing: Vec<(&'static Framework, String)>,
    /// The queue of what names none, if that is set, with the place.
    pub default_queues: Vec<(&'static Framework, Option<String>, String)>,
}

#[derive(Debug)]
pub struct BrokerSetting {
    pub framework: &'static Framework,
    pub value: SettingValue,
    /// As it stands there.
    pub text: String,
    pub place: String,
}

/// `DATABASES["default"]` of Django's settings.
#[derive(Debug, Default)]
pub struct Databases {
    parts: BTreeMap<String, SettingValue>,
    pub place: String,
}

impl Databases {
    pub fn part(&self, key: &str) -> Option<&SettingValue> {
        self.parts.get(key)
    }

    /// The last word of its engine, such as `sqlite3`.
    pub fn engine(&self) -> Option<&str> {
        match self.parts.get("ENGINE")? {
            SettingValue::Literal(text) => text.rsplit('.').next(),
            SettingValue::Variable { or, .. } => match or.as_deref()? {
                SettingValue::Literal(text) => text.rsplit('.').next(),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A longer chain of names is not followed.
const MOST_STEPS: usize = 4;

/// Parts of names under which an address is kept.
const OF_ADDRESSES: &[&str] = &[
    "url",
    "uri",
    "dsn",
    "broker",
    "rabbit",
    "amqp",
    "redis",
    "mq",
    "scheme",
    "protocol",
    "transport",
    "port",
];

impl Settings {
    pub fn read(&mut self, node: Node) {
        match node.kind() {
            "call" => {
                let mut known = framework::ALL.iter();
                let of = known.find(|framework| framework.source.application == Some(node.last_name()));
                if let Some(framework) = of
                    && let Some(option) = framework.source.broker_option
                    && let Some(value) = node.argument(option)
                {
                    self.broker(framework, value);
                }
                if node.last_name() == "RabbitmqBroker"
                    && let Some(url) = node.argument("url")
                {
                    self.broker(Framework::usual(), url);
                }
                if super::sites::sent_by(node).is_some() {
                    let known = framework::ALL.iter().copied();
                    let given =
                        known.filter(|framework| node.argument(framework.source.queue_option).is_some());
                    self.routing
                        .extend(given.map(|framework| (framework, node.place())));
                }
            }
            "assignment" | "keyword_argument" | "pair" => self.set(node),
            "return_statement" => {
                let function = node.enclosing("function_definition");
                let name = function.and_then(|function| function.field("name"));
                if let (Some(name), Some(value)) = (name, node.children().first()) {
                    self.name(name.text(), *value);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, node: Node) {
        let sides = match node.kind() {
            "pair" => node.field("key").zip(node.field("value")),
            "keyword_argument" => node.field("name").zip(node.field("value")),
            _ => node.field("left").zip(node.field("right")),
        };
        let Some((left, right)) = sides else { return };
        let name = match left.kind() {
            "string" => left.string(),
            "subscript" => left.field("subscript").and_then(Node::string),
            _ => Some(left.last_name().to_owned()),
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return;
        };
        let lower = name.to_lowercase();
        let mut known = framework::ALL.iter();
        let of = known.find(|framework| framework.source.broker_settings.contains(&lower.as_str()));
        if let Some(framework) = of {
            self.broker(framework, right);
        }
        for framework in framework::ALL.iter().copied() {
            let source = &framework.source;
            if source.routing.contains(&lower.as_str()) {
                self.routing.push((framework, left.place()));
            }
            if source.default_queue_settings.contains(&lower.as_str()) {
                self.default_queues
                    .push((framework, right.constant(), left.place()));
            }
        }
        self.name(&name, right);
        if name == "DATABASES" && right.kind() == "dictionary" {
            self.databases.extend(databases(right));
        }
    }

    fn broker(&mut self, framework: &'static Framework, value: Node) {
        // Options of the broker's class: its address is one of them.
        let value = match value.kind() {
            "dictionary" => {
                let mut pairs = value.all().filter(|inner| inner.kind() == "pair");
                let url =
                    pairs.find(|pair| pair.field("key").and_then(Node::string).as_deref() == Some("url"));
                match url.and_then(|pair| pair.field("value")) {
                    Some(url) => url,
                    None => return,
                }
            }
            _ => value,
        };
        self.brokers.push(BrokerSetting {
            framework,
            value: SettingValue::of(value),
            text: value.text().to_owned(),
            place: value.place(),
        });
    }

    fn name(&mut self, name: &str, value: Node) {
        let lower = name.to_lowercase();
        let is_address = OF_ADDRESSES.iter().any(|part| lower.contains(part));
        let place = &value.file().place;
        let of_settings = ["settings", "conf"].iter().any(|word| place.contains(word));
        let is_constant = of_settings && !name.contains(|c: char| c.is_lowercase());
        if !is_address && !is_constant {
            return;
        }
        match SettingValue::of(value) {
            SettingValue::Unknown => {}
            SettingValue::Name(other) if other == name => {}
            value_of => {
                let all = self.named.entry(lower).or_default();
                all.push((value_of, value.place()));
            }
        }
    }

    /// Databases by the values that their file gives names to.
    pub fn follow_databases(&mut self) {
        let file = |place: &str| place.split(" line ").next().unwrap_or_default().to_owned();
        for database in &mut self.databases {
            let of = file(&database.place);
            for value in database.parts.values_mut() {
                let SettingValue::Name(name) = value else { continue };
                let known = self.named.get(&name.to_lowercase()).into_iter().flatten();
                let mut own = known.filter(|(_, place)| file(place) == of);
                if let (Some((known, _)), None) = (own.next(), own.next()) {
                    *value = known.clone();
                }
            }
        }
    }

    /// The variables of the environment that this value is taken from.
    pub fn variables(&self, value: &SettingValue) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(value, MOST_STEPS, &mut found);
        found
    }

    fn collect(&self, value: &SettingValue, more: usize, found: &mut Vec<String>) {
        match value {
            SettingValue::Variable { name, or } => {
                found.push(name.clone());
                if let Some(or) = or {
                    self.collect(or, more, found);
                }
            }
            SettingValue::Joined(parts) => {
                for part in parts {
                    self.collect(part, more, found);
                }
            }
            SettingValue::Name(name) => {
                // Settings classes take variables of their fields' names.
                found.push(name.to_uppercase());
                let values = self.named.get(&name.to_lowercase()).into_iter().flatten();
                for (value, _) in values.filter(|_| more > 0) {
                    self.collect(value, more - 1, found);
                }
            }
            _ => {}
        }
    }

    /// The schemes of the addresses that a value may be, with where that is said; `told` knows the variables that are
    /// set. A name that is set in several places may be each of them.
    pub fn schemes(
        &self,
        value: &SettingValue,
        place: &str,
        told: &dyn Fn(&str) -> Option<(String, String)>,
    ) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.follow(value, place, told, MOST_STEPS, &mut found);
        found
    }

    fn follow(
        &self,
        value: &SettingValue,
        place: &str,
        told: &dyn Fn(&str) -> Option<(String, String)>,
        more: usize,
        found: &mut Vec<(String, String)>,
    ) {
        match value.first() {
            SettingValue::Literal(text) | SettingValue::Begins(text) => {
                found.extend(scheme(text).map(|scheme| (scheme, place.to_owned())));
            }
            SettingValue::Variable { name, or } => {
                let set = told(name).and_then(|(value, place)| Some((scheme(&value)?, place)));
                match (set, or) {
                    (Some(set), _) => found.push(set),
                    (None, Some(or)) => self.follow(or, place, told, more, found),
                    (None, None) => {}
                }
            }
            SettingValue::Name(name) => {
                let set = told(&name.to_uppercase()).filter(|(value, _)| value.contains("://"));
                if let Some(set) = set.and_then(|(value, place)| Some((scheme(&value)?, place))) {
                    found.push(set);
                    return;
                }
                let values = self.named.get(&name.to_lowercase()).into_iter().flatten();
                for (value, place) in values.filter(|_| more > 0) {
                    self.follow(value, place, told, more - 1, found);
                }
            }
            SettingValue::Unknown | SettingValue::Joined(_) => {}
        }
    }

    /// The value with what names stand for in its own file, or in the only one that sets them.
    pub fn resolved(&self, value: &SettingValue, place: &str) -> SettingValue {
        self.resolve(value, place, MOST_STEPS)
    }

    fn resolve(&self, value: &SettingValue, place: &str, more: usize) -> SettingValue {
        let file = |place: &str| place.split(" line ").next().unwrap_or_default().to_owned();
        match value {
            SettingValue::Name(name) if more > 0 => {
                let all = || self.named.get(&name.to_lowercase()).into_iter().flatten();
                let own: Vec<_> = all().filter(|(_, at)| file(at) == file(place)).collect();
                let known: Vec<_> = if own.is_empty() { all().collect() } else { own };
                match known.as_slice() {
                    [(known, at)] => self.resolve(known, at, more - 1),
                    _ => value.clone(),
                }
            }
            SettingValue::Joined(parts) => {
                let parts = parts.iter().map(|part| self.resolve(part, place, more));
                SettingValue::Joined(parts.collect())
            }
            other => other.clone(),
        }
    }
}

/// What stands before `://`, or a word that may.
fn scheme(text: &str) -> Option<String> {
    let scheme = text.trim().split_once("://").map_or(text, |(scheme, _)| scheme);
    let is_one = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    is_one.then(|| scheme.to_lowercase())
}

fn databases(dictionary: Node) -> Option<Databases> {
    let default = pairs(dictionary).into_iter().find(|(key, _)| key == "default")?.1;
    let parts = pairs(default).into_iter();
    Some(Databases {
        parts: parts.map(|(key, value)| (key, SettingValue::of(value))).collect(),
        place: dictionary.place(),
    })
}

/// The entries of a dictionary whose keys are texts.
fn pairs(dictionary: Node<'_>) -> Vec<(String, Node<'_>)> {
    let pairs = dictionary.children().into_iter();
    pairs
        .filter(|child| child.kind() == "pair")
        .filter_map(|pair| Some((pair.field("key")?.string()?, pair.field("value")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::bounded::TextFile;
    use crate::python::scan;

    /// The scheme of the first broker that the code names, where these variables are set.
    fn scheme(code: &str, set: &[(&str, &str)]) -> Option<String> {
        let file = TextFile {
            place: "app.py".into(),
            text: code.into(),
        };
        let found = scan(&[file], &[]);
        let told = |name: &str| {
            let (_, value) = set.iter().find(|(known, _)| *known == name)?;
            Some(((*value).to_owned(), ".env".to_owned()))
        };
        let mut brokers = found.settings.brokers.iter();
        brokers.find_map(|broker| {
            let schemes = found.settings.schemes(&broker.value, "app.py", &told);
            let names: Vec<String> = schemes.into_iter().map(|(scheme, _)| scheme).collect();
            (!names.is_empty()).then(|| names.join(" or "))
        })
    }

    #[test]
    fn the_broker_is_what_is_given_as_one() {
        for (code, expected) in [
            (
                "app = Celery('a', broker=f'amqp://{U}:{P}@mq:5672//')",
                Some("amqp"),
            ),
            ("app = Celery('a', broker='pyamqp://guest@mq//')", Some("pyamqp")),
            ("BROKER_URL = 'amqp://{}:{}@{}'.format(a, b, c)", Some("amqp")),
            ("app.conf.broker_url = 'redis://%s' % host", Some("redis")),
            ("app.config['CELERY_BROKER_URL'] = 'amqp://' + host", Some("amqp")),
            ("app.conf.update({'broker_url': 'redis://h'})", Some("redis")),
            (
                "class S(BaseSettings):\n  mq_url: str = 'amqp://h'\n  redis_url: str = 'redis://h'\napp = Celery('a', broker=settings.redis_url)",
                Some("redis"),
            ),
            (
                "class S:\n  @property\n  def mq_url(self):\n    return f'amqp://{self.host}'\napp = Celery('a', broker=s.mq_url)",
                Some("amqp"),
            ),
            (
                "app = Celery('a', broker=os.environ.get('MQ', 'redis://h'))",
                Some("redis"),
            ),
            (
                "BROKER_URL = f'{SCHEME_OF}://h'\nSCHEME_OF = 'amqp'",
                Some("amqp"),
            ),
            (
                "BROKER_URL = f\"{os.getenv('PROTOCOL', 'amqp')}://{host}\"",
                Some("amqp"),
            ),
            // Settings for two places: either may be meant.
            (
                "class A:\n  mq_url = 'amqp://h'\nclass B:\n  mq_url = 'redis://h'\napp = Celery('a', broker=s.mq_url)",
                Some("amqp or redis"),
            ),
            // A result backend, a cache and an import are no broker.
            (
                "import redis\napp = Celery('a', broker=settings.mine, backend='redis://h')\nCACHE_URL = 'redis://h'",
                None,
            ),
            ("BROKER_URL = BROKER_URL", None),
        ] {
            assert_eq!(scheme(code, &[]).as_deref(), expected, "{code}");
        }
        // A variable that is set overrules the default in the code.
        let code = "CELERY_BROKER_URL = os.getenv('CELERY_BROKER_URL', 'amqp://h')";
        let set = [("CELERY_BROKER_URL", "redis://h")];
        assert_eq!(scheme(code, &set).as_deref(), Some("redis"));
    }
}
