//! Simple commands: assignments, words and redirections.

use super::{Parser, Read};
use crate::Unreadable;
use crate::ast::{Assigned, Assignment, Atom, Command, Kind, Word};

/// Builtins whose arguments may assign as if they stood before a command.
const DECLARE: [&str; 5] = ["declare", "typeset", "export", "readonly", "local"];

impl Parser {
    pub(super) fn simple(&mut self) -> Read<Command> {
        let mut assignments = Vec::new();
        let mut words: Vec<Word> = Vec::new();
        let mut redirections = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                None | Some('\n' | ';' | '|' | ')') => break,
                Some('&') if self.peek_after(1) != Some('>') => break,
                Some('<' | '>') if self.peek_after(1) == Some('(') => {
                    words.push(self.some_word()?);
                }
                Some('&' | '<' | '>') => redirections.push(self.redirection()?),
                Some('(') => return self.after_bracket(assignments, words, redirections),
                Some(_) => {
                    let word = self.some_word()?;
                    let descriptor = matches!(self.peek(), Some('<' | '>'))
                        && word
                            .bare()
                            .is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit()));
                    if descriptor {
                        continue;
                    }
                    let declares = words
                        .first()
                        .and_then(Word::bare)
                        .is_some_and(|name| DECLARE.contains(&name));
                    match split_assignment(&word) {
                        Some((name, append, value)) if words.is_empty() || declares => {
                            let value = self.assigned(value)?;
                            assignments.push(Assignment {
                                name,
                                append,
                                value,
                            });
                        }
                        _ => words.push(word),
                    }
                }
            }
        }
        if assignments.is_empty() && words.is_empty() && redirections.is_empty() {
            return Err(Unreadable("a command is missing"));
        }
        Ok(Command {
            kind: Kind::Simple { assignments, words },
            redirections,
        })
    }

    /// `name() body`; a bracket can stand nowhere else in a simple command.
    fn after_bracket(
        &mut self,
        assignments: Vec<Assignment>,
        words: Vec<Word>,
        redirections: Vec<crate::ast::Redirection>,
    ) -> Read<Command> {
        let name = match words.as_slice() {
            [word] if assignments.is_empty() && redirections.is_empty() => word.bare(),
            _ => None,
        };
        let Some(name) = name.map(str::to_owned) else {
            return Err(Unreadable("a bracket stands where none can"));
        };
        self.take("(");
        self.blanks();
        self.close_brackets()?;
        Ok(Command {
            kind: self.function(name)?,
            redirections: Vec::new(),
        })
    }

    /// The value of an assignment; `name=(…)` is an array.
    fn assigned(&mut self, value: Word) -> Read<Assigned> {
        if !value.0.is_empty() || !self.take("(") {
            return Ok(Assigned::Word(value));
        }
        let mut words = Vec::new();
        loop {
            self.lines()?;
            if self.take(")") {
                return Ok(Assigned::Array(words));
            }
            words.push(self.some_word()?);
        }
    }

    /// A word that must be there.
    pub(super) fn some_word(&mut self) -> Read<Word> {
        let start = self.at;
        let word = self.word()?;
        match self.at > start {
            true => Ok(word),
            false => Err(Unreadable("a word is missing")),
        }
    }
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Name, whether it appends, and value of `NAME=…` and `NAME+=…`, with a subscript or without.
fn split_assignment(word: &Word) -> Option<(String, bool, Word)> {
    let Some(Atom::Text {
        text,
        quoted: false,
    }) = word.0.first()
    else {
        return None;
    };
    let (name, rest) = text.split_once('=')?;
    let (name, append) = match name.strip_suffix('+') {
        Some(name) => (name, true),
        None => (name, false),
    };
    // One element of an array is as good as unknown, which appending to nothing known makes it.
    let (name, append) = match name.split_once('[') {
        Some((name, subscript)) if subscript.ends_with(']') => (name, true),
        Some(_) => return None,
        None => (name, append),
    };
    if !is_name(name) {
        return None;
    }
    let mut value = Word::default();
    if !rest.is_empty() {
        value.0.push(Atom::Text {
            text: rest.to_owned(),
            quoted: false,
        });
    }
    value.0.extend(word.0.iter().skip(1).cloned());
    Some((name.to_owned(), append, value))
}
