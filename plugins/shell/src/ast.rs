//! The tree of a command line.

use std::cell::OnceCell;
use std::rc::Rc;

/// Commands one after the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct List(pub(crate) Vec<AndOr>);

/// Pipelines joined by `&&` and `||`.
#[derive(Clone, Debug)]
pub(crate) struct AndOr {
    pub(crate) first: Pipeline,
    pub(crate) rest: Vec<(Join, Pipeline)>,
    /// Ended by `&`: it runs in a subshell.
    pub(crate) background: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    And,
    Or,
}

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) negated: bool,
    pub(crate) commands: Vec<Command>,
}

#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) kind: Kind,
    pub(crate) redirections: Vec<Redirection>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Simple {
        assignments: Vec<Assignment>,
        words: Vec<Word>,
    },
    Subshell(List),
    Group(List),
    /// Conditions with what follows each, and what is done otherwise.
    If(Vec<(List, List)>, Option<List>),
    /// `while` and `until`.
    Loop(List, List),
    /// `for` and `select`; without words the positional parameters.
    For(String, Option<Vec<Word>>, List),
    Case(Word, Vec<List>),
    Function(String, Rc<Command>),
    /// `[[ … ]]`; only what its words substitute matters.
    Test(Vec<Word>),
    Arithmetic,
}

#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) append: bool,
    pub(crate) value: Assigned,
}

#[derive(Clone, Debug)]
pub(crate) enum Assigned {
    Word(Word),
    Array(Vec<Word>),
}

#[derive(Clone, Debug)]
pub(crate) enum Redirection {
    Write(Word),
    Read(Word),
    ReadWrite(Word),
    HereString(Word),
    /// The body is read when its line has ended.
    HereDoc(Rc<OnceCell<Word>>),
    /// Between descriptors: `2>&1`.
    Duplicate,
    /// Standard input becomes what another descriptor reads: `<&3`.
    DuplicateInput,
}

/// A word as it is written, taken apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word(pub(crate) Vec<Atom>);

#[derive(Clone, Debug)]
pub(crate) enum Atom {
    Text {
        text: String,
        quoted: bool,
    },
    Variable {
        name: String,
        trim: Option<Trim>,
        quoted: bool,
        /// Written without braces: what follows it could become a part of its name.
        bare: bool,
    },
    /// `$(…)` and backticks.
    Substitution {
        list: List,
        quoted: bool,
    },
    /// `<(…)` and `>(…)`.
    Process(List),
    /// Some name or number without a slash: arithmetic, `{1..9}`.
    Name,
    /// Anything: `${x:-…}`. The lists are what it may run on the way.
    Opaque(Vec<List>),
}

/// What is cut off a variable's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    /// `${x%text}`: this very text at the end.
    Suffix(String),
    /// `${x##*/}`: all but the last name.
    Directories,
}

impl Word {
    /// Its text where nothing in it is quoted or expands: only such a word can be a keyword.
    pub(crate) fn bare(&self) -> Option<&str> {
        match self.0.as_slice() {
            [
                Atom::Text {
                    text,
                    quoted: false,
                },
            ] => Some(text),
            _ => None,
        }
    }

    pub(crate) fn push(&mut self, c: char, quoted: bool) {
        if let Some(Atom::Text { text, quoted: last }) = self.0.last_mut()
            && *last == quoted
        {
            text.push(c);
            return;
        }
        self.0.push(Atom::Text {
            text: c.into(),
            quoted,
        });
    }
}
