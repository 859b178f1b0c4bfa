//! A command line cut into the simple commands that a shell would run.
//!
//! This is no shell: it understands enough of bash's grammar to say with certainty which commands a
//! line runs, and says [`Unsure`] about everything else (`case`, functions, arrays, extended globs,
//! unbalanced quotes, deep nesting). Nothing is expanded. [`reach`] finds the commands that a simple
//! command runs in turn: behind `sudo`, in `bash -c`, after `find -exec`.

mod expansion;
mod parser;
pub(crate) mod reach;
mod redirection;
#[cfg(test)]
mod tests;

pub(crate) use parser::parse;

/// The line cannot be read with certainty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsure;

/// A word of a simple command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// As it is written, with its quotes.
    pub(crate) raw: String,
    /// Without quotes and escapes.
    pub(crate) text: String,
    /// The shell makes something else of it: a variable, a substitution, a glob, braces.
    pub(crate) expands: bool,
}

/// One simple command, wherever in the line it stands: also in a subshell or a substitution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Its words, without redirections and assignments before it.
    pub(crate) words: Vec<Word>,
    /// Nothing is in it but words: no substitution, no assignment before it, no redirection other
    /// than to `/dev/null` or between its own descriptors. Only such a command can be allowed.
    pub(crate) simple: bool,
}

impl Command {
    /// Whether a rule may allow it. A subscript that holds a substitution runs it even in single
    /// quotes, where a builtin takes the word for a variable: `printf -v 'a[$(id)]' x`.
    pub(crate) fn may_be_allowed(&self) -> bool {
        let runs = |word: &Word| {
            word.text.contains('[') && (word.text.contains('`') || word.text.contains("$("))
        };
        self.simple && !self.words.iter().any(runs)
    }

    /// Its words as they are written, with one blank between them.
    pub(crate) fn raw(&self) -> String {
        join(&self.words, |word| &word.raw)
    }
}

pub(crate) fn join(words: &[Word], part: impl Fn(&Word) -> &str) -> String {
    words.iter().map(part).collect::<Vec<_>>().join(" ")
}
