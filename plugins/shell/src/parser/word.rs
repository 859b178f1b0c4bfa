//! Words and quotes.

use super::{Parser, Read};
use crate::Unreadable;
use crate::ast::{Atom, Word};

const OPEN_QUOTE: &str = "a quote is not closed";

impl Parser {
    /// Everything up to the next blank or operator; nothing where one of them comes next.
    pub(super) fn word(&mut self) -> Read<Word> {
        let mut word = Word::default();
        while let Some(c) = self.peek() {
            match c {
                '<' | '>' if self.peek_after(1) == Some('(') => {
                    self.at += 2;
                    let list = self.nested()?;
                    word.0.push(Atom::Process(list));
                }
                '(' if extended_glob(&word) => {
                    return Err(Unreadable("extended globs are not understood"));
                }
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\\' => {
                    self.at += 1;
                    match self.next("a backslash ends the line")? {
                        '\n' => {}
                        escaped => word.push(escaped, true),
                    }
                }
                '\'' => {
                    self.at += 1;
                    self.single_quoted(&mut word)?;
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(true, &mut word)?;
                }
                '$' => self.dollar(&mut word, false)?,
                '`' => self.backticks(&mut word, false)?,
                _ => {
                    word.push(c, false);
                    self.at += 1;
                }
            }
        }
        Ok(word)
    }

    fn single_quoted(&mut self, word: &mut Word) -> Read<()> {
        quoted_nothing(word);
        loop {
            match self.next(OPEN_QUOTE)? {
                '\'' => return Ok(()),
                c => word.push(c, true),
            }
        }
    }

    /// Up to the closing quote; to the end for the body of a here-document, which has none.
    pub(super) fn double_quoted(&mut self, closes: bool, word: &mut Word) -> Read<()> {
        quoted_nothing(word);
        loop {
            let Some(c) = self.peek() else {
                return match closes {
                    true => Err(Unreadable(OPEN_QUOTE)),
                    false => Ok(()),
                };
            };
            match c {
                '"' if closes => {
                    self.at += 1;
                    return Ok(());
                }
                '\\' => {
                    self.at += 1;
                    match self.next(OPEN_QUOTE)? {
                        '\n' => {}
                        '"' if !closes => {
                            word.push('\\', true);
                            word.push('"', true);
                        }
                        c @ ('$' | '`' | '"' | '\\') => word.push(c, true),
                        c => {
                            word.push('\\', true);
                            word.push(c, true);
                        }
                    }
                }
                '$' => self.dollar(word, true)?,
                '`' => self.backticks(word, true)?,
                _ => {
                    word.push(c, true);
                    self.at += 1;
                }
            }
        }
    }

    /// `$'…'` behind its first quote.
    pub(super) fn ansi_quoted(&mut self, word: &mut Word) -> Read<()> {
        quoted_nothing(word);
        loop {
            match self.next(OPEN_QUOTE)? {
                '\'' => return Ok(()),
                '\\' => self.ansi_escape(word)?,
                c => word.push(c, true),
            }
        }
    }

    fn ansi_escape(&mut self, word: &mut Word) -> Read<()> {
        let c = self.next(OPEN_QUOTE)?;
        let code = match c {
            'a' => 7,
            'b' => 8,
            'e' | 'E' => 27,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' | '\'' | '"' | '?' => u32::from(c),
            'x' => self.digits(16, 2, None)?,
            'u' => self.digits(16, 4, None)?,
            'U' => self.digits(16, 8, None)?,
            '0'..='7' => self.digits(8, 2, c.to_digit(8))? & 0xff,
            'c' => u32::from(self.next(OPEN_QUOTE)?) & 0x1f,
            _ => {
                word.push('\\', true);
                word.push(c, true);
                return Ok(());
            }
        };
        // Bytes above ASCII are parts of characters here, and a NUL ends the text early.
        let whole = code != 0 && (code < 0x80 || matches!(c, 'u' | 'U'));
        match char::from_u32(code).filter(|_| whole) {
            Some(c) => {
                word.push(c, true);
                Ok(())
            }
            None => Err(Unreadable("an escape in `$'…'` is not understood")),
        }
    }

    /// A number of at most `most` further digits.
    fn digits(&mut self, base: u32, most: usize, first: Option<u32>) -> Read<u32> {
        let mut number = first;
        for _ in 0..most {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(base)) else {
                break;
            };
            self.at += 1;
            number = Some(
                number
                    .unwrap_or(0)
                    .checked_mul(base)
                    .and_then(|n| n.checked_add(digit))
                    .ok_or(Unreadable("an escape in `$'…'` is not understood"))?,
            );
        }
        number.ok_or(Unreadable("an escape in `$'…'` is not understood"))
    }
}

/// Quotes make a field also where nothing is in them.
fn quoted_nothing(word: &mut Word) {
    word.0.push(Atom::Text {
        text: String::new(),
        quoted: true,
    });
}

fn extended_glob(word: &Word) -> bool {
    matches!(word.0.last(), Some(Atom::Text { text, quoted: false }) if text.ends_with(['?', '*', '+', '@', '!']))
}
