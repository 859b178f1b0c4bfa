//! Recursive descent over the characters of a command line: bash's grammar without extended globs,
//! coprocesses and old spellings. What is not understood is an error, never skipped.

mod compound;
mod expansion;
mod redirection;
mod simple;
#[cfg(test)]
mod tests;
mod word;

use std::cell::OnceCell;
use std::rc::Rc;

use crate::Unreadable;
use crate::ast::{AndOr, Join, List, Pipeline, Word};

/// Constructs within constructs; the stack of a component is small.
const MAX_DEPTH: u8 = 16;
/// Bytes of a line.
const MAX_LENGTH: usize = 128 * 1024;

type Read<T> = Result<T, Unreadable>;

pub(crate) fn parse(line: &str) -> Read<List> {
    parse_at(line, 0)
}

fn parse_at(line: &str, depth: u8) -> Read<List> {
    let mut parser = Parser::new(line, depth)?;
    parser.list(End::Line)
}

/// What ends a list.
#[derive(Clone, Copy)]
enum End {
    Line,
    Bracket,
    /// One of these keywords, which is left to be read.
    Words(&'static [&'static str]),
    /// `;;` and its like, or `esac`.
    Arm,
}

/// A here-document that was announced and not yet read.
struct Announced {
    delimiter: String,
    strip_tabs: bool,
    literal: bool,
    body: Rc<OnceCell<Word>>,
}

struct Parser {
    chars: Vec<char>,
    at: usize,
    depth: u8,
    heredocs: Vec<Announced>,
}

impl Parser {
    fn new(line: &str, depth: u8) -> Read<Self> {
        if depth > MAX_DEPTH {
            return Err(Unreadable("it is nested too deeply"));
        }
        if line.len() > MAX_LENGTH {
            return Err(Unreadable("it is too long"));
        }
        if line.contains('\0') {
            return Err(Unreadable("there is a NUL in it"));
        }
        Ok(Self {
            chars: line.chars().collect(),
            at: 0,
            depth,
            heredocs: Vec::new(),
        })
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn peek_after(&self, n: usize) -> Option<char> {
        self.chars.get(self.at + n).copied()
    }

    fn looking_at(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(n, c)| self.peek_after(n) == Some(c))
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.looking_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    /// The next character, which must be there.
    fn next(&mut self, missing: &'static str) -> Read<char> {
        let c = self.peek().ok_or(Unreadable(missing))?;
        self.at += 1;
        Ok(c)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unreadable("it is nested too deeply"));
        }
        let result = read(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t') => self.at += 1,
                Some('\\') if self.peek_after(1) == Some('\n') => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Blanks, comments and newlines, with the here-documents that follow the first of them.
    fn lines(&mut self) -> Read<()> {
        loop {
            self.blanks();
            if !self.take("\n") {
                return Ok(());
            }
            self.heredoc_bodies()?;
        }
    }

    fn list(&mut self, end: End) -> Read<List> {
        let mut list = List::default();
        loop {
            self.lines()?;
            if self.ends(end)? {
                return Ok(list);
            }
            let mut item = self.and_or()?;
            self.blanks();
            match self.peek() {
                Some(';') if self.peek_after(1) == Some(';') || self.looking_at(";&") => {
                    if !matches!(end, End::Arm) {
                        return Err(Unreadable("`;;` stands outside of `case`"));
                    }
                }
                Some(';') => self.at += 1,
                Some('&') => {
                    item.background = true;
                    self.at += 1;
                }
                None | Some('\n' | ')') => {}
                Some(_) => return Err(Unreadable("something follows where a command has ended")),
            }
            list.0.push(item);
        }
    }

    /// Whether the list ends here. A bracket is taken, a keyword is not.
    fn ends(&mut self, end: End) -> Read<bool> {
        let Some(c) = self.peek() else {
            return match end {
                End::Line if self.heredocs.is_empty() => Ok(true),
                End::Line => Err(Unreadable("a here-document is not closed")),
                _ => Err(Unreadable("a bracket or a keyword is not closed")),
            };
        };
        Ok(match end {
            End::Bracket if c == ')' => {
                // Its body would follow the bracket, and shells differ there.
                if !self.heredocs.is_empty() {
                    return Err(Unreadable("a here-document is not closed"));
                }
                self.at += 1;
                true
            }
            End::Words(words) => words.iter().any(|word| self.at_keyword(word)),
            End::Arm => self.looking_at(";;") || self.looking_at(";&") || self.at_keyword("esac"),
            _ => false,
        })
    }

    /// Whether this keyword comes next, as a word of its own.
    fn at_keyword(&self, word: &str) -> bool {
        self.looking_at(word)
            && self
                .peek_after(word.chars().count())
                .is_none_or(|c| " \t\n;&|<>()".contains(c))
    }

    fn take_keyword(&mut self, word: &str) -> bool {
        let found = self.at_keyword(word);
        if found {
            self.at += word.chars().count();
        }
        found
    }

    fn expect_keyword(&mut self, word: &str) -> Read<()> {
        self.lines()?;
        match self.take_keyword(word) {
            true => Ok(()),
            false => Err(Unreadable("a keyword is missing")),
        }
    }

    fn and_or(&mut self) -> Read<AndOr> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let join = if self.take("&&") {
                Join::And
            } else if self.take("||") {
                Join::Or
            } else {
                return Ok(AndOr {
                    first,
                    rest,
                    background: false,
                });
            };
            self.lines()?;
            rest.push((join, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Read<Pipeline> {
        let mut negated = false;
        loop {
            self.blanks();
            if self.take_keyword("!") {
                negated = !negated;
            } else if self.take_keyword("time") {
                self.blanks();
                self.take_keyword("-p");
            } else {
                break;
            }
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.looking_at("||") || !self.take("|") {
                return Ok(Pipeline { negated, commands });
            }
            self.take("&");
            self.lines()?;
            commands.push(self.command()?);
        }
    }
}
