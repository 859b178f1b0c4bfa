//! Recursive descent over the characters of a command line.

use super::redirection::Heredoc;
use super::{Command, Unsure, Word};

/// Substitutions within substitutions; the stack of a component is small.
const MAX_DEPTH: u8 = 12;
/// Characters of a line; longer ones are not read.
const MAX_LENGTH: usize = 256 * 1024;

/// Every simple command of a line, those inside substitutions and subshells among them.
pub(crate) fn parse(line: &str) -> Result<Vec<Command>, Unsure> {
    let mut commands = Vec::new();
    parse_into(line, 0, &mut commands)?;
    Ok(commands)
}

pub(super) fn parse_into(line: &str, depth: u8, commands: &mut Vec<Command>) -> Result<(), Unsure> {
    if depth > MAX_DEPTH || line.len() > MAX_LENGTH || line.contains('\0') {
        return Err(Unsure);
    }
    let mut parser = Parser {
        chars: line.chars().collect(),
        at: 0,
        depth,
        commands,
        heredocs: Vec::new(),
    };
    parser.list(None)
}

pub(super) struct Parser<'a> {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    pub(super) depth: u8,
    pub(super) commands: &'a mut Vec<Command>,
    /// Announced by `<<` and not yet read: they follow the next newline.
    pub(super) heredocs: Vec<Heredoc>,
}

/// The simple command that is being read.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) words: Vec<Word>,
    pub(super) not_simple: bool,
    /// A subshell was read: only an operator or a redirection may follow.
    group: bool,
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && !self.not_simple && !self.group
    }
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    pub(super) fn peek_after(&self, n: usize) -> Option<char> {
        self.chars.get(self.at + n).copied()
    }

    pub(super) fn take(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn finish(&mut self, draft: &mut Draft) {
        let draft = std::mem::take(draft);
        if !draft.words.is_empty() || draft.not_simple {
            self.commands.push(Command {
                words: draft.words,
                simple: !draft.not_simple,
            });
        }
    }

    /// Commands up to the end of the line or to the bracket that closes them.
    pub(super) fn list(&mut self, close: Option<char>) -> Result<(), Unsure> {
        let mut draft = Draft::default();
        loop {
            match self.peek() {
                None if close.is_none() && self.heredocs.is_empty() => {
                    self.finish(&mut draft);
                    return Ok(());
                }
                None => return Err(Unsure),
                Some(c) if close == Some(c) => {
                    // A here-document whose body would follow the bracket: shells differ there.
                    if !self.heredocs.is_empty() {
                        return Err(Unsure);
                    }
                    self.at += 1;
                    self.finish(&mut draft);
                    return Ok(());
                }
                Some(' ' | '\t') => self.at += 1,
                Some('\\') if self.peek_after(1) == Some('\n') => self.at += 2,
                Some('\n') => {
                    self.at += 1;
                    self.finish(&mut draft);
                    self.heredoc_bodies()?;
                }
                Some('&') if self.peek_after(1) == Some('>') => self.redirection(&mut draft)?,
                Some(';' | '&' | '|') => {
                    while matches!(self.peek(), Some(';' | '&' | '|')) {
                        if self.peek() == Some('&') && self.peek_after(1) == Some('>') {
                            break;
                        }
                        self.at += 1;
                    }
                    self.finish(&mut draft);
                }
                Some('(') if draft.is_empty() => {
                    self.at += 1;
                    self.nested(|inner| inner.list(Some(')')))?;
                    draft.group = true;
                }
                Some('(' | ')') => return Err(Unsure),
                Some('<' | '>') => self.redirection(&mut draft)?,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                Some(_) if draft.group => return Err(Unsure),
                Some(_) => self.argument(&mut draft)?,
            }
        }
    }

    pub(super) fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        // A here-document that is announced inside is read inside.
        let outer = std::mem::take(&mut self.heredocs);
        self.deeper(read)?;
        self.heredocs = outer;
        Ok(())
    }

    pub(super) fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unsure);
        }
        read(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// A word that is the command's name, an argument, an assignment or a descriptor.
    fn argument(&mut self, draft: &mut Draft) -> Result<(), Unsure> {
        let word = self.word(&mut draft.not_simple)?;
        let descriptor = matches!(self.peek(), Some('<' | '>'))
            && !word.raw.is_empty()
            && word.raw.chars().all(|c| c.is_ascii_digit());
        if descriptor {
            return Ok(());
        }
        if draft.words.is_empty() && is_assignment(&word.raw) {
            draft.not_simple = true;
        } else {
            draft.words.push(word);
        }
        Ok(())
    }

    pub(super) fn word(&mut self, not_simple: &mut bool) -> Result<Word, Unsure> {
        let mut word = Word::default();
        let start = self.at;
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\\' => {
                    self.at += 1;
                    match self.peek() {
                        None => return Err(Unsure),
                        Some('\n') => {}
                        Some(escaped) => word.text.push(escaped),
                    }
                    self.at += 1;
                }
                '\'' => {
                    self.at += 1;
                    self.single_quoted(&mut word.text)?;
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(Some('"'), &mut word, not_simple)?;
                }
                '$' => self.dollar(&mut word, not_simple, false)?,
                '`' => self.backticks(&mut word, not_simple)?,
                _ => {
                    word.expands |= matches!(c, '*' | '?' | '[' | '{');
                    word.text.push(c);
                    self.at += 1;
                }
            }
        }
        // A continued line inside a word leaves no trace in it.
        let raw: String = self
            .chars
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .collect();
        word.raw = raw.replace("\\\n", "");
        // Alone they are words of the grammar and expand to nothing.
        word.expands &= !matches!(word.raw.as_str(), "[" | "[[" | "{");
        Ok(word)
    }

    pub(super) fn single_quoted(&mut self, text: &mut String) -> Result<(), Unsure> {
        loop {
            let c = self.peek().ok_or(Unsure)?;
            self.at += 1;
            if c == '\'' {
                return Ok(());
            }
            text.push(c);
        }
    }

    /// Up to the closing quote; to the end where `close` is none (the body of a here-document).
    pub(super) fn double_quoted(
        &mut self,
        close: Option<char>,
        word: &mut Word,
        not_simple: &mut bool,
    ) -> Result<(), Unsure> {
        loop {
            let Some(c) = self.peek() else {
                return if close.is_none() { Ok(()) } else { Err(Unsure) };
            };
            match c {
                c if Some(c) == close => {
                    self.at += 1;
                    return Ok(());
                }
                '\\' => {
                    self.at += 1;
                    let escaped = self.peek().ok_or(Unsure)?;
                    self.at += 1;
                    match escaped {
                        '\n' => {}
                        '$' | '`' | '"' | '\\' => word.text.push(escaped),
                        other => word.text.extend(['\\', other]),
                    }
                }
                '$' => self.dollar(word, not_simple, true)?,
                '`' => self.backticks(word, not_simple)?,
                other => {
                    word.text.push(other);
                    self.at += 1;
                }
            }
        }
    }
}

/// `NAME=…` or `NAME+=…`.
pub(super) fn is_assignment(raw: &str) -> bool {
    raw.split_once('=').is_some_and(|(name, _)| {
        let name = name.strip_suffix('+').unwrap_or(name);
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}
