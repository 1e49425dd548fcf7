//! Python's syntax tree, as far as the readers of this folder ask it questions.

use tree_sitter::{Parser, Point, Range, Tree};

use crate::bounded::TextFile;

/// A file as one tree, or as a tree for each block where it has errors: a parenthesis that nothing
/// closes must not swallow the rest of the file.
pub struct PythonFile<'a> {
    file: &'a TextFile,
    trees: Vec<Tree>,
}

#[derive(Clone, Copy)]
pub struct Node<'a> {
    node: tree_sitter::Node<'a>,
    file: &'a TextFile,
}

pub fn parser() -> Option<Parser> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_python::LANGUAGE.into()).ok()?;
    Some(parser)
}

impl<'a> PythonFile<'a> {
    pub fn parse(parser: &mut Parser, file: &'a TextFile) -> Self {
        let mut trees: Vec<Tree> = parser.parse(&file.text, None).into_iter().collect();
        if trees.iter().any(|tree| tree.root_node().has_error()) {
            trees.clear();
            for block in blocks(&file.text) {
                if parser.set_included_ranges(&[block]).is_ok() {
                    trees.extend(parser.parse(&file.text, None));
                }
            }
            // No range at all is the whole text again.
            let _ = parser.set_included_ranges(&[]);
        }
        Self { file, trees }
    }

    /// Everything in it, in the order of the text.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.trees.iter().flat_map(|tree| {
            let root = Node {
                node: tree.root_node(),
                file: self.file,
            };
            root.all()
        })
    }
}

/// The pieces of a text that begin with a definition at its left edge, decorators included.
fn blocks(text: &str) -> Vec<Range> {
    let mut starts = vec![(0, 0)];
    let mut decorated = false;
    let mut at = 0;
    for (row, line) in text.split_inclusive('\n').enumerate() {
        let decorates = line.starts_with('@');
        let defines = ["def ", "async def ", "class "]
            .iter()
            .any(|word| line.starts_with(word));
        if (decorates || defines) && !decorated && row > 0 {
            starts.push((at, row));
        }
        decorated = decorates || (decorated && !defines);
        at += line.len();
    }
    let ends = starts
        .clone()
        .into_iter()
        .skip(1)
        .chain([(at, text.lines().count())]);
    let edge = |row| Point { row, column: 0 };
    starts
        .iter()
        .zip(ends)
        .map(|((from, row), (to, end))| Range {
            start_byte: *from,
            end_byte: to,
            start_point: edge(*row),
            end_point: edge(end),
        })
        .collect()
}

impl<'a> Node<'a> {
    pub fn kind(self) -> &'a str {
        self.node.kind()
    }

    pub fn file(self) -> &'a TextFile {
        self.file
    }

    pub fn text(self) -> &'a str {
        self.file.text.get(self.node.byte_range()).unwrap_or_default()
    }

    /// TextFile and line, as messages name them.
    pub fn place(self) -> String {
        format!("{} line {}", self.file.place, self.node.start_position().row + 1)
    }

    fn with(self, node: tree_sitter::Node<'a>) -> Self {
        Self { node, ..self }
    }

    pub fn field(self, name: &str) -> Option<Self> {
        Some(self.with(self.node.child_by_field_name(name)?))
    }

    /// What it consists of, without comments and signs.
    pub fn children(self) -> Vec<Self> {
        let mut cursor = self.node.walk();
        self.node
            .named_children(&mut cursor)
            .filter(|node| !node.is_extra())
            .map(|node| self.with(node))
            .collect()
    }

    /// The nearest node of a kind that it stands in.
    pub fn enclosing(self, kind: &str) -> Option<Self> {
        self.enclosing_any(&[kind])
    }

    /// The nearest node of any of these kinds that it stands in.
    pub fn enclosing_any(self, kinds: &[&str]) -> Option<Self> {
        let mut node = self.node;
        while let Some(parent) = node.parent() {
            if kinds.contains(&parent.kind()) {
                return Some(self.with(parent));
            }
            node = parent;
        }
        None
    }

    /// The name that it is the whole value of: `bill` of `bill = actor(run)`.
    pub fn assigned_to(self) -> Option<&'a str> {
        let parent = self.with(self.node.parent()?);
        let (left, right) = parent.sides().filter(|_| parent.kind() == "assignment")?;
        (left.kind() == "identifier" && right.node.id() == self.node.id()).then(|| left.text())
    }

    /// Itself and everything below it, in the order of the text.
    pub fn all(self) -> impl Iterator<Item = Self> {
        let mut cursor = self.node.walk();
        let mut next = Some(self.node);
        std::iter::from_fn(move || {
            let node = next?;
            let mut more = cursor.goto_first_child() || cursor.goto_next_sibling();
            while !more && cursor.goto_parent() {
                more = cursor.goto_next_sibling();
            }
            next = more.then(|| cursor.node());
            Some(self.with(node))
        })
    }

    /// `queue` of `settings.amqp.queue`, of a call what is called: `actor` of `@dramatiq.actor()`.
    pub fn last_name(self) -> &'a str {
        match self.kind() {
            "identifier" => self.text(),
            "attribute" => self.field("attribute").map_or("", Self::text),
            "call" => self.field("function").map_or("", Self::last_name),
            _ => "",
        }
    }

    /// The value of an argument that is given by name.
    pub fn argument(self, name: &str) -> Option<Self> {
        self.field("arguments")?
            .children()
            .into_iter()
            .filter(|argument| argument.kind() == "keyword_argument")
            .find(|argument| argument.field("name").is_some_and(|known| known.text() == name))?
            .field("value")
    }

    /// The first argument that is given by its place.
    pub fn first_argument(self) -> Option<Self> {
        let arguments = self.field("arguments")?.children();
        let first = *arguments.first()?;
        (first.kind() != "keyword_argument").then_some(first)
    }

    /// Text that is the same every time.
    pub fn string(self) -> Option<String> {
        if self.kind() != "string" {
            return None;
        }
        let parts = self.children();
        let mut text = String::new();
        for part in &parts {
            match part.kind() {
                "string_content" if part.children().is_empty() => text.push_str(part.text()),
                "string_start" | "string_end" => {}
                _ => return None,
            }
        }
        Some(text)
    }

    /// Such a text, or the default of a variable: `os.environ.get("NAME", "default")`.
    pub fn constant(self) -> Option<String> {
        if self.kind() != "call" {
            return self.string();
        }
        let function = self.field("function")?.text();
        let reads = ["environ.get", "getenv", "environ.setdefault"]
            .iter()
            .any(|name| function.ends_with(name));
        let default = self.field("arguments")?.children().into_iter().nth(1)?;
        reads.then(|| default.string()).flatten()
    }

    /// The two sides of what assigns or compares: `state = "x"`, `f(state="x")`, `state == "x"`.
    pub fn sides(self) -> Option<(Self, Self)> {
        let by = |left: &str, right: &str| Some((self.field(left)?, self.field(right)?));
        match self.kind() {
            "assignment" => by("left", "right"),
            "keyword_argument" | "default_parameter" | "typed_default_parameter" => by("name", "value"),
            "comparison_operator" if self.field("operators")?.text() == "==" => {
                let sides = self.children();
                Some((*sides.first()?, *sides.get(1)?))
            }
            _ => None,
        }
    }

    /// The assignments that a class holds directly, those without a value too.
    pub fn members(self) -> Vec<Self> {
        let statements = self.field("body").map(Self::children).unwrap_or_default();
        statements
            .into_iter()
            .filter(|statement| statement.kind() == "expression_statement")
            .flat_map(Self::children)
            .filter(|inner| inner.kind() == "assignment")
            .collect()
    }

    /// Whether it is a class with such a base.
    pub fn extends(self, base: &str) -> bool {
        self.kind() == "class_definition"
            && self
                .field("superclasses")
                .is_some_and(|bases| bases.text().contains(base))
    }
}
