//! Words become fields, as far as that can be told.

use crate::Unreadable;
use crate::ast::{Atom, List, Trim, Word};
use crate::braces;
use crate::state::State;
use crate::text::{Origin, Piece, Text};
use crate::walk::Walker;

/// Ways to expand one command that are kept apart.
const MOST: usize = 24;

/// One way to expand something: the fields that are done, and the one that grows.
#[derive(Clone, Default)]
struct Draft {
    done: Vec<Text>,
    field: Option<Text>,
}

impl Draft {
    fn field(&mut self) -> &mut Text {
        self.field.get_or_insert_default()
    }

    /// Fields one after the other: the first goes on what stands before it, the last is gone on with.
    fn extend(&mut self, fields: &[Text]) {
        for (place, field) in fields.iter().enumerate() {
            if place > 0 {
                self.done.extend(self.field.take());
            }
            self.field().append(field);
        }
    }

    fn finish(mut self) -> Vec<Text> {
        self.done.extend(self.field);
        self.done
    }
}

impl Walker<'_> {
    /// The ways in which these words make arguments.
    pub(crate) fn fields(
        &mut self,
        words: &[Word],
        state: &State,
    ) -> Result<Vec<Vec<Text>>, Unreadable> {
        let mut ways: Vec<Vec<Text>> = vec![Vec::new()];
        for word in words {
            for word in braces::expand(word)? {
                let mut more = self.word(&word, state, true)?;
                if ways.len() * more.len() > MOST {
                    let download = more.iter().flatten().any(Text::is_download);
                    let origin = if download {
                        Origin::Download
                    } else {
                        Origin::Local
                    };
                    more = vec![vec![Text::unknown(origin)]];
                }
                ways = ways
                    .iter()
                    .flat_map(|before| {
                        more.iter()
                            .map(move |fields| [before.as_slice(), fields].concat())
                    })
                    .collect();
            }
        }
        Ok(ways)
    }

    /// The ways in which a word makes one text: a value, a target, a script.
    pub(crate) fn single(&mut self, word: &Word, state: &State) -> Result<Vec<Text>, Unreadable> {
        let ways = self.word(word, state, false)?;
        Ok(ways
            .into_iter()
            .map(|fields| fields.into_iter().next().unwrap_or_default())
            .collect())
    }

    fn word(
        &mut self,
        word: &Word,
        state: &State,
        splits: bool,
    ) -> Result<Vec<Vec<Text>>, Unreadable> {
        let mut drafts = vec![Draft::default()];
        for (place, atom) in word.0.iter().enumerate() {
            match atom {
                Atom::Text { text, quoted: true } => {
                    drafts
                        .iter_mut()
                        .for_each(|draft| draft.field().push_str(text));
                }
                Atom::Text {
                    text,
                    quoted: false,
                } => {
                    let (home, text) = tilde(text, place, word);
                    for draft in &mut drafts {
                        if home {
                            draft.field().push(Piece::Home);
                        }
                        match splits {
                            true => draft.field().push_glob(text),
                            false => push_assigned(draft.field(), text),
                        }
                    }
                }
                Atom::Name => drafts
                    .iter_mut()
                    .for_each(|draft| draft.field().push(Piece::Name)),
                Atom::Process(list) => {
                    let origin = self.aside(list, state)?.1;
                    for draft in &mut drafts {
                        draft.field().push_str("/dev/fd/");
                        draft.field().push(Piece::Unknown(origin));
                    }
                }
                Atom::Opaque(lists) => {
                    let mut origin = Origin::Local;
                    for list in lists {
                        origin = origin.max(self.aside(list, state)?.1);
                    }
                    drafts
                        .iter_mut()
                        .for_each(|draft| draft.field().push(Piece::Unknown(origin)));
                }
                Atom::Substitution { list, quoted } => {
                    let (output, origin) = self.aside(list, state)?;
                    let lines = output.unwrap_or_else(|| vec![Text::unknown(origin)]);
                    let fields = match *quoted || !splits {
                        true => vec![joined(&lines)],
                        false => lines.iter().flat_map(Text::split).collect(),
                    };
                    drafts.iter_mut().for_each(|draft| draft.extend(&fields));
                }
                Atom::Variable {
                    name, trim, quoted, ..
                } => {
                    let ways = parameter(name, trim.as_ref(), *quoted || !splits, state);
                    if drafts.len() * ways.len() > MOST {
                        drafts
                            .iter_mut()
                            .for_each(|draft| draft.field().push(Piece::Unknown(Origin::Local)));
                        continue;
                    }
                    drafts = drafts
                        .iter()
                        .flat_map(|draft| {
                            ways.iter().map(|fields| {
                                let mut draft = draft.clone();
                                draft.extend(fields);
                                draft
                            })
                        })
                        .collect();
                }
            }
        }
        Ok(drafts.into_iter().map(Draft::finish).collect())
    }

    /// Walks what is substituted; what it prints, where that can be told, and where it comes from.
    fn aside(
        &mut self,
        list: &List,
        state: &State,
    ) -> Result<(Option<Vec<Text>>, Origin), Unreadable> {
        let outer = std::mem::replace(&mut self.origin, Origin::Local);
        self.output = None;
        self.nested(|walker| walker.list(list, state.clone()))?;
        let origin = self.origin;
        self.origin = outer.max(origin);
        let alone = matches!(list.0.as_slice(), [only] if only.rest.is_empty());
        let output = self.output.take().filter(|_| alone);
        Ok((output, origin))
    }
}

/// Whether a word begins with a home directory, and the text behind it.
fn tilde<'a>(text: &'a str, place: usize, word: &Word) -> (bool, &'a str) {
    let Some(rest) = text.strip_prefix('~').filter(|_| place == 0) else {
        return (false, text);
    };
    match rest.find('/') {
        Some(slash) => (true, rest.get(slash..).unwrap_or_default()),
        // `~"x"` is no home directory.
        None if word.0.len() > 1 => (false, text),
        None => (true, ""),
    }
}

/// Text of an assignment: no glob, but home directories behind colons.
fn push_assigned(value: &mut Text, text: &str) {
    for (place, part) in text.split(":~").enumerate() {
        if place > 0 {
            value.push_str(":");
            value.push(Piece::Home);
        }
        value.push_str(part);
    }
}

fn joined(lines: &[Text]) -> Text {
    let mut text = Text::default();
    for (place, line) in lines.iter().enumerate() {
        if place > 0 {
            text.push_str("\n");
        }
        text.append(line);
    }
    text
}

/// The ways to expand a parameter, each as fields.
fn parameter(name: &str, trim: Option<&Trim>, whole: bool, state: &State) -> Vec<Vec<Text>> {
    if matches!(name, "@" | "*") {
        let Some(arguments) = &state.arguments else {
            return vec![vec![Text::unknown(Origin::Local)]];
        };
        return vec![match (name, whole) {
            ("*", true) => vec![joined(arguments)],
            (_, true) => arguments.clone(),
            _ => arguments.iter().flat_map(Text::split).collect(),
        }];
    }
    let values = values(name, state);
    let trimmed = values.into_iter().map(|value| match trim {
        None => value,
        Some(Trim::Suffix(suffix)) => value.strip_suffix(suffix).unwrap_or(value),
        Some(Trim::Directories) => last_name(&value),
    });
    // Another separator than blanks would cut it elsewhere.
    let odd = state.variables.contains_key("IFS");
    trimmed
        .map(|value| match (whole, odd) {
            (true, _) => vec![value],
            (false, true) => vec![Text::unknown(Origin::Local)],
            (false, false) => value.split(),
        })
        .collect()
}

fn values(name: &str, state: &State) -> Vec<Text> {
    if let Some(values) = state.variables.get(name) {
        return values.clone();
    }
    if let (Ok(number), Some(arguments)) = (name.parse::<usize>(), &state.arguments)
        && number > 0
    {
        return vec![arguments.get(number - 1).cloned().unwrap_or_default()];
    }
    let mut text = Text::default();
    match name {
        "PWD" if !state.cwds.is_empty() => return state.cwds.clone(),
        "HOME" => text.push(Piece::Home),
        "?" | "#" | "$" | "!" | "RANDOM" | "SECONDS" | "EPOCHSECONDS" | "LINENO" | "UID"
        | "EUID" | "PPID" => text.push(Piece::Name),
        _ => text.push(Piece::Unknown(Origin::Local)),
    }
    vec![text]
}

/// `${x##*/}`.
fn last_name(value: &Text) -> Text {
    let mut rest = value.clone();
    while let Some((_, after)) = rest.split_once('/') {
        rest = after;
    }
    rest
}
