//! What is known of the shell at one point of a line.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::ast::Command;
use crate::text::{Origin, Text};

/// Values or directories that are kept apart; more of them are as good as unknown.
const MOST: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The directories in which it may stand. None: this point is not reached.
    pub(crate) cwds: Vec<Text>,
    /// What a variable may hold. Absent: whatever the environment says.
    pub(crate) variables: BTreeMap<String, Vec<Text>>,
    pub(crate) functions: BTreeMap<String, Rc<Command>>,
    /// The positional parameters, where they are known.
    pub(crate) arguments: Option<Vec<Text>>,
    /// Files that hold what was downloaded.
    pub(crate) downloads: Vec<Text>,
}

impl State {
    pub(crate) fn at(cwd: &str) -> Self {
        Self {
            cwds: vec![Text::literal(cwd)],
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            arguments: None,
            downloads: Vec::new(),
        }
    }

    /// The same shell at a point that is not reached.
    pub(crate) fn unreached(&self) -> Self {
        Self {
            cwds: Vec::new(),
            ..self.clone()
        }
    }

    /// What holds where either may.
    pub(crate) fn join(mut self, other: &Self) -> Self {
        if self.cwds.is_empty() {
            let mut joined = other.clone();
            joined.keep(&self.functions, &self.downloads);
            return joined;
        }
        self.keep(&other.functions, &other.downloads);
        if other.cwds.is_empty() {
            return self;
        }
        merge(&mut self.cwds, &other.cwds);
        if self.arguments != other.arguments {
            self.arguments = None;
        }
        for (name, values) in &other.variables {
            match self.variables.get_mut(name) {
                Some(own) => merge(own, values),
                None => {
                    let mut values = values.clone();
                    merge(&mut values, &[Text::unknown(Origin::Local)]);
                    self.variables.insert(name.clone(), values);
                }
            }
        }
        for (name, values) in &mut self.variables {
            if !other.variables.contains_key(name) {
                merge(values, &[Text::unknown(Origin::Local)]);
            }
        }
        self
    }

    /// Whether the same directories and values are possible.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let same = |a: &[Text], b: &[Text]| a.len() == b.len() && a.iter().all(|v| b.contains(v));
        same(&self.cwds, &other.cwds)
            && self.variables.len() == other.variables.len()
            && self.variables.iter().all(|(name, values)| {
                other
                    .variables
                    .get(name)
                    .is_some_and(|theirs| same(values, theirs))
            })
    }

    /// Nothing is known any more of what differs from `other`.
    pub(crate) fn forget(mut self, other: &Self) -> Self {
        if !other.cwds.iter().all(|cwd| self.cwds.contains(cwd)) {
            self.cwds = vec![Text::unknown(Origin::Local)];
        }
        for (name, values) in &mut self.variables {
            let theirs = other.variables.get(name);
            if theirs.is_none_or(|theirs| !theirs.iter().all(|value| values.contains(value))) {
                let download = values
                    .iter()
                    .chain(theirs.into_iter().flatten())
                    .any(Text::is_download);
                *values = vec![Text::unknown(if download {
                    Origin::Download
                } else {
                    Origin::Local
                })];
            }
        }
        self
    }

    pub(crate) fn assign(&mut self, name: &str, values: Vec<Text>) {
        let mut own = Vec::new();
        merge(&mut own, &values);
        self.variables.insert(name.to_owned(), own);
    }

    pub(crate) fn add_download(&mut self, file: Text) {
        if !self.downloads.contains(&file) {
            self.downloads.push(file);
        }
    }

    fn keep(&mut self, functions: &BTreeMap<String, Rc<Command>>, downloads: &[Text]) {
        for (name, body) in functions {
            self.functions
                .entry(name.clone())
                .or_insert_with(|| Rc::clone(body));
        }
        for file in downloads {
            if !self.downloads.contains(file) {
                self.downloads.push(file.clone());
            }
        }
    }
}

fn merge(values: &mut Vec<Text>, more: &[Text]) {
    for value in more {
        if !values.contains(value) {
            values.push(value.clone());
        }
    }
    if values.len() > MOST {
        let origin = match values.iter().any(Text::is_download) {
            true => Origin::Download,
            false => Origin::Local,
        };
        *values = vec![Text::unknown(origin)];
    }
}
