//! Boolean expressions over names: `!`, `&&`, `||` and parentheses, and nothing else.
//!
//! Read once, when a set is loaded. There are no literals, calls or loops, so nothing can go wrong when one is
//! asked. Knows nothing of plugins: what the names stand for is `group`'s.

use winnow::ascii::multispace0;
use winnow::combinator::{Infix, alt, cut_err, delimited, expression, preceded};
use winnow::error::{ContextError, ParseError, StrContext, StrContextValue};
use winnow::token::take_while;
use winnow::{ModalResult, Parser};

/// Bytes of one expression.
const SIZE: usize = 1 << 10;
/// Names of one expression: every case of them is looked at when it is read.
pub(super) const NAMES: usize = 16;
/// Parentheses and `!` within each other: reading takes stack for each.
const DEPTH: usize = 32;

/// One that was read.
#[derive(Debug)]
pub(super) struct Expression {
    tree: Tree,
    /// In the order in which they first stand there.
    names: Vec<String>,
}

#[derive(Debug)]
enum Tree {
    /// By its place in [`Expression::names`].
    Name(usize),
    Not(Box<Tree>),
    Both(Box<Tree>, Box<Tree>),
    Either(Box<Tree>, Box<Tree>),
}

/// What is known in 64 cases at once, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truth {
    /// It holds for certain.
    pub(super) surely: u64,
    /// It holds, or nobody knows.
    pub(super) maybe: u64,
}

impl Truth {
    pub(super) const YES: Self = Self::known(u64::MAX);
    pub(super) const NO: Self = Self::known(0);
    pub(super) const UNKNOWN: Self = Self {
        surely: 0,
        maybe: u64::MAX,
    };

    /// What is known in every case.
    pub(super) const fn known(cases: u64) -> Self {
        Self {
            surely: cases,
            maybe: cases,
        }
    }
}

impl Expression {
    /// # Errors
    /// What was expected, for the operator.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.len() > SIZE {
            return Err(format!("expression: it is longer than {SIZE} bytes"));
        }
        let mut names: Vec<String> = Vec::new();
        for word in text.split(|char: char| !in_name(char)) {
            if !word.is_empty() && !names.iter().any(|known| known == word) {
                names.push(word.to_owned());
            }
        }
        let tree = delimited(
            multispace0,
            |input: &mut &str| tree(&names, 0, input),
            multispace0,
        )
        .parse(text)
        .map_err(|error| expected(text, &error))?;
        if names.len() > NAMES {
            return Err(format!("expression: it has more than {NAMES} members"));
        }
        let expression = Self { tree, names };
        expression.depends()?;
        Ok(expression)
    }

    /// Whom it is about, each once.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What follows from what is known of each name, by its place in [`Expression::names`].
    pub(super) fn over(&self, known: &impl Fn(usize) -> Truth) -> Truth {
        self.tree.over(known)
    }

    /// Whether a name stands where it has to hold, and whether it stands where it must not.
    pub(super) fn wants(&self, place: usize) -> (bool, bool) {
        (self.tree.wants(place, true), self.tree.wants(place, false))
    }

    /// An error where the names make no difference.
    fn depends(&self) -> Result<(), String> {
        /// The cases of six names side by side.
        const CASES: [u64; 6] = [
            0xAAAA_AAAA_AAAA_AAAA,
            0xCCCC_CCCC_CCCC_CCCC,
            0xF0F0_F0F0_F0F0_F0F0,
            0xFF00_FF00_FF00_FF00,
            0xFFFF_0000_FFFF_0000,
            0xFFFF_FFFF_0000_0000,
        ];
        let others = self.names.len().saturating_sub(CASES.len());
        let (mut always, mut never) = (true, true);
        for case in 0_u32..1 << others {
            let of_name = |place: usize| match CASES.get(place) {
                Some(cases) => Truth::known(*cases),
                None if case >> (place - CASES.len()) & 1 == 1 => Truth::YES,
                None => Truth::NO,
            };
            let truth = self.over(&of_name);
            always &= truth == Truth::YES;
            never &= truth == Truth::NO;
        }
        match (always, never) {
            (true, _) => Err("expression: it holds whatever its members say".to_owned()),
            (_, true) => Err("expression: it never holds, whatever its members say".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Tree {
    fn over(&self, known: &impl Fn(usize) -> Truth) -> Truth {
        match self {
            Self::Name(place) => known(*place),
            Self::Not(inner) => {
                let inner = inner.over(known);
                Truth {
                    surely: !inner.maybe,
                    maybe: !inner.surely,
                }
            }
            Self::Both(left, right) => {
                let (left, right) = (left.over(known), right.over(known));
                Truth {
                    surely: left.surely & right.surely,
                    maybe: left.maybe & right.maybe,
                }
            }
            Self::Either(left, right) => {
                let (left, right) = (left.over(known), right.over(known));
                Truth {
                    surely: left.surely | right.surely,
                    maybe: left.maybe | right.maybe,
                }
            }
        }
    }

    fn wants(&self, place: usize, holding: bool) -> bool {
        match self {
            Self::Name(other) => *other == place && holding,
            Self::Not(inner) => inner.wants(place, !holding),
            Self::Both(left, right) | Self::Either(left, right) => {
                left.wants(place, holding) || right.wants(place, holding)
            }
        }
    }
}

/// As in the names of plugins, which are written as they are: nothing here subtracts.
fn in_name(char: char) -> bool {
    char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-'
}

/// `&&` before `||`, as everywhere.
fn tree(names: &[String], depth: usize, input: &mut &str) -> ModalResult<Tree> {
    let operator = alt((
        "||".map(|_| Infix::Left(1, either)),
        "&&".map(|_| Infix::Left(2, both)),
    ));
    expression(cut_err(|input: &mut &str| operand(names, depth, input)))
        .infix(delimited(multispace0, operator, multispace0))
        .parse_next(input)
}

fn either(_: &mut &str, left: Tree, right: Tree) -> ModalResult<Tree> {
    Ok(Tree::Either(Box::new(left), Box::new(right)))
}

fn both(_: &mut &str, left: Tree, right: Tree) -> ModalResult<Tree> {
    Ok(Tree::Both(Box::new(left), Box::new(right)))
}

fn operand(names: &[String], depth: usize, input: &mut &str) -> ModalResult<Tree> {
    if depth > DEPTH {
        return cut_err(winnow::combinator::fail)
            .context(described(
                "less than 33 `!` and parentheses within each other",
            ))
            .parse_next(input);
    }
    let known = |name: &str| {
        let place = names.iter().position(|known| known == name);
        place.map(Tree::Name)
    };
    let below = depth + 1;
    alt((
        preceded(
            ('!', multispace0),
            cut_err(|input: &mut &str| operand(names, below, input)),
        )
        .map(|inner| Tree::Not(Box::new(inner))),
        delimited(
            ('(', multispace0),
            |input: &mut &str| tree(names, below, input),
            cut_err((multispace0, ')')).context(described("`&&`, `||` or `)`")),
        ),
        take_while(1.., in_name).verify_map(known),
    ))
    .context(described("a plugin's name, `!` or `(`"))
    .parse_next(input)
}

fn described(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

fn expected(text: &str, error: &ParseError<&str, ContextError>) -> String {
    let first = error.inner().context().find_map(|context| match context {
        StrContext::Expected(StrContextValue::Description(what)) => Some(*what),
        _ => None,
    });
    let expected = first.unwrap_or("`&&`, `||` or the end");
    let rest = text.get(error.offset()..).unwrap_or_default().trim();
    let place = match rest.chars().take(20).collect::<String>() {
        nothing if nothing.is_empty() => "at the end".to_owned(),
        rest => format!("before `{}`", rest.escape_debug()),
    };
    format!("expression: expected {expected} {place}")
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
