//! Subshells, groups, conditions, loops and functions.

use std::rc::Rc;

use super::{End, Parser, Read};
use crate::Unreadable;
use crate::ast::{Command, Kind, List};

/// Keywords that cannot begin a command.
const MISPLACED: [&str; 10] = [
    "then", "else", "elif", "fi", "do", "done", "esac", "in", "}", "!",
];

impl Parser {
    pub(super) fn command(&mut self) -> Read<Command> {
        self.blanks();
        if MISPLACED.iter().any(|word| self.at_keyword(word)) {
            return Err(Unreadable("a keyword stands where a command should"));
        }
        let kind = if self.looking_at("((") {
            self.arithmetic_command()?
        } else if self.take("(") {
            Kind::Subshell(something(self.nested()?)?)
        } else if self.take_keyword("{") {
            Kind::Group(self.block(&["}"])?)
        } else if self.take_keyword("if") {
            self.deeper(Self::condition)?
        } else if self.take_keyword("while") || self.take_keyword("until") {
            let condition = self.block(&["do"])?;
            Kind::Loop(condition, self.block(&["done"])?)
        } else if self.take_keyword("for") || self.take_keyword("select") {
            self.for_loop()?
        } else if self.take_keyword("case") {
            self.deeper(Self::case)?
        } else if self.take_keyword("[[") {
            self.test()?
        } else if self.take_keyword("function") {
            self.blanks();
            let name = self.function_name()?;
            self.blanks();
            if self.take("(") {
                self.blanks();
                self.close_brackets()?;
            }
            self.function(name)?
        } else if self.at_keyword("coproc") {
            return Err(Unreadable("`coproc` is not understood"));
        } else {
            return self.simple();
        };
        let mut redirections = Vec::new();
        if matches!(kind, Kind::Function(..)) {
            return Ok(Command { kind, redirections });
        }
        loop {
            self.blanks();
            let digits = self.descriptor();
            if !matches!(self.peek(), Some('<' | '>')) && !self.looking_at("&>") {
                return match digits {
                    0 => Ok(Command { kind, redirections }),
                    _ => Err(Unreadable("something follows where a command has ended")),
                };
            }
            redirections.push(self.redirection()?);
        }
    }

    /// Skips the digits of a descriptor, and says how many there were.
    fn descriptor(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// A list up to the bracket that closes it. A here-document that is announced inside is read inside.
    pub(super) fn nested(&mut self) -> Read<List> {
        if !self.heredocs.is_empty() {
            return Err(Unreadable("a bracket follows `<<` on its line"));
        }
        self.deeper(|inner| inner.list(End::Bracket))
    }

    /// A list up to one of the keywords, which is taken.
    fn block(&mut self, until: &'static [&'static str]) -> Read<List> {
        let list = self.deeper(|inner| inner.list(End::Words(until)))?;
        match until.iter().any(|word| self.take_keyword(word)) {
            true => something(list),
            false => Err(Unreadable("a keyword is missing")),
        }
    }

    fn condition(&mut self) -> Read<Kind> {
        let mut branches = Vec::new();
        loop {
            let condition = self.block(&["then"])?;
            let body = self.deeper(|inner| inner.list(End::Words(&["elif", "else", "fi"])))?;
            let body = something(body)?;
            branches.push((condition, body));
            if self.take_keyword("elif") {
                continue;
            }
            if self.take_keyword("else") {
                return Ok(Kind::If(branches, Some(self.block(&["fi"])?)));
            }
            self.expect_keyword("fi")?;
            return Ok(Kind::If(branches, None));
        }
    }

    fn for_loop(&mut self) -> Read<Kind> {
        self.blanks();
        if self.looking_at("((") {
            self.arithmetic_command()?;
            self.blanks();
            self.take(";");
            self.expect_keyword("do")?;
            let body = self.block(&["done"])?;
            return Ok(Kind::Loop(List::default(), body));
        }
        let name = self.name()?;
        self.lines()?;
        let mut words = None;
        if self.take_keyword("in") {
            let mut list = Vec::new();
            loop {
                self.blanks();
                match self.peek() {
                    Some(';') => {
                        self.at += 1;
                        break;
                    }
                    Some('\n') => break,
                    _ => list.push(self.some_word()?),
                }
            }
            words = Some(list);
        } else {
            self.take(";");
        }
        self.expect_keyword("do")?;
        Ok(Kind::For(name, words, self.block(&["done"])?))
    }

    fn case(&mut self) -> Read<Kind> {
        self.blanks();
        let word = self.some_word()?;
        self.expect_keyword("in")?;
        let mut arms = Vec::new();
        loop {
            self.lines()?;
            if self.take_keyword("esac") {
                return Ok(Kind::Case(word, arms));
            }
            self.take("(");
            loop {
                self.blanks();
                self.some_word()?;
                self.blanks();
                if self.take(")") {
                    break;
                }
                if !self.take("|") {
                    return Err(Unreadable("a pattern of `case` is not understood"));
                }
            }
            arms.push(self.deeper(|inner| inner.list(End::Arm))?);
            if !self.take(";;&") && !self.take(";;") {
                self.take(";&");
            }
        }
    }

    /// `[[ … ]]`: words and operators, whose meaning does not matter here.
    fn test(&mut self) -> Read<Kind> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            if self.take_keyword("]]") {
                return Ok(Kind::Test(words));
            }
            match self.peek() {
                Some('<' | '>') if self.peek_after(1) == Some('(') => words.push(self.some_word()?),
                Some('<' | '>' | '(' | ')' | '&' | '|' | '\n') => self.at += 1,
                _ => words.push(self.some_word()?),
            }
        }
    }

    /// `(( … ))` where it is plain. A subshell in a subshell is written `( (`.
    fn arithmetic_command(&mut self) -> Read<Kind> {
        self.take("((");
        self.arithmetic()?;
        Ok(Kind::Arithmetic)
    }

    pub(super) fn close_brackets(&mut self) -> Read<()> {
        match self.take(")") {
            true => Ok(()),
            false => Err(Unreadable("a bracket stands where none can")),
        }
    }

    pub(super) fn function(&mut self, name: String) -> Read<Kind> {
        self.lines()?;
        let body = self.deeper(Self::command)?;
        if matches!(body.kind, Kind::Simple { .. } | Kind::Function(..)) {
            return Err(Unreadable("the body of a function is not understood"));
        }
        Ok(Kind::Function(name, Rc::new(body)))
    }

    fn function_name(&mut self) -> Read<String> {
        let word = self.some_word()?;
        word.bare()
            .map(str::to_owned)
            .ok_or(Unreadable("the name of a function is not understood"))
    }

    fn name(&mut self) -> Read<String> {
        let word = self.some_word()?;
        word.bare()
            .filter(|name| super::simple::is_name(name))
            .map(str::to_owned)
            .ok_or(Unreadable("the name of a variable is not understood"))
    }
}

/// A list that must not be empty.
fn something(list: List) -> Read<List> {
    match list.0.is_empty() {
        true => Err(Unreadable("a command is missing")),
        false => Ok(list),
    }
}
