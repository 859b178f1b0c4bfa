//! What can be told of a field that the shell makes.

use std::fmt;

/// Where something unknown comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The environment, a file, a program.
    Local,
    /// A download.
    Download,
}

/// A part of a [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These characters.
    Literal(String),
    /// Some name, or a part of one: no slash is in it, and alone it is neither `.` nor `..`.
    Name,
    /// The home directory of somebody.
    Home,
    /// Anything.
    Unknown(Origin),
}

/// A field: an argument, a path, a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

impl Text {
    /// A text that is known.
    pub fn literal(text: impl Into<String>) -> Self {
        let mut new = Self::default();
        new.push_str(&text.into());
        new
    }

    /// A text of which nothing is known.
    pub fn unknown(origin: Origin) -> Self {
        Self(vec![Piece::Unknown(origin)])
    }

    /// Its parts.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// All of it, where all of it is known.
    pub fn known(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The characters that it starts with, as far as they are known.
    pub fn start(&self) -> &str {
        match self.0.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether anything may stand somewhere in it.
    pub fn has_unknown(&self) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Unknown(_)))
    }

    /// Whether a part of it was downloaded.
    pub fn is_download(&self) -> bool {
        self.0.contains(&Piece::Unknown(Origin::Download))
    }

    /// The text behind a known start.
    pub fn strip_prefix(&self, prefix: &str) -> Option<Self> {
        let rest = self.start().strip_prefix(prefix)?;
        let mut stripped = Self::literal(rest);
        stripped.0.extend(self.0.iter().skip(1).cloned());
        Some(stripped)
    }

    /// The text without a known end.
    pub(crate) fn strip_suffix(&self, suffix: &str) -> Option<Self> {
        let (last, rest) = self.0.split_last()?;
        let Piece::Literal(last) = last else {
            return None;
        };
        let kept = last.strip_suffix(suffix)?;
        let mut stripped = Self(rest.to_vec());
        stripped.push_str(kept);
        Some(stripped)
    }

    /// Cut at the first of these characters that is known to stand there.
    pub fn split_once(&self, separator: char) -> Option<(Self, Self)> {
        let (at, before, after) =
            self.0
                .iter()
                .enumerate()
                .find_map(|(at, piece)| match piece {
                    Piece::Literal(text) => text.split_once(separator).map(|(a, b)| (at, a, b)),
                    _ => None,
                })?;
        let mut first = Self(self.0.iter().take(at).cloned().collect());
        first.push_str(before);
        let mut second = Self::literal(after);
        second.0.extend(self.0.iter().skip(at + 1).cloned());
        Some((first, second))
    }

    pub(crate) fn push_str(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(Piece::Literal(last)) => last.push_str(text),
            _ => self.0.push(Piece::Literal(text.to_owned())),
        }
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        match piece {
            Piece::Literal(text) => self.push_str(&text),
            Piece::Name if self.0.last() == Some(&Piece::Name) => {}
            other => self.0.push(other),
        }
    }

    pub(crate) fn append(&mut self, other: &Self) {
        for piece in &other.0 {
            self.push(piece.clone());
        }
    }

    /// The fields that an unquoted expansion of it makes: cut at blanks, globs as names.
    pub(crate) fn split(&self) -> Vec<Self> {
        let mut fields = Vec::new();
        let mut field = Self::default();
        for piece in &self.0 {
            let Piece::Literal(text) = piece else {
                field.push(piece.clone());
                continue;
            };
            for (place, part) in text.split([' ', '\t', '\n']).enumerate() {
                if place > 0 && !field.0.is_empty() {
                    fields.push(std::mem::take(&mut field));
                }
                field.push_glob(part);
            }
        }
        if !field.0.is_empty() {
            fields.push(field);
        }
        fields
    }

    /// Unquoted text: what is a glob stands for names.
    pub(crate) fn push_glob(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = rest.find(['*', '?', '[']) {
            let (plain, glob) = rest.split_at(at);
            let length = match glob.strip_prefix('[') {
                None => 1,
                // `[]x]` and `[!]x]` hold the bracket.
                Some(class) => match class.char_indices().skip(1).find(|(_, c)| *c == ']') {
                    Some((close, _)) if !class.get(..close).is_some_and(|c| c.contains('/')) => {
                        close + 2
                    }
                    _ => 0,
                },
            };
            self.push_str(plain);
            match length {
                0 => {
                    self.push_str("[");
                    rest = glob.get(1..).unwrap_or_default();
                }
                length => {
                    self.push(Piece::Name);
                    rest = glob.get(length..).unwrap_or_default();
                }
            }
        }
        self.push_str(rest);
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            f.write_str(match piece {
                Piece::Literal(text) => text,
                Piece::Name => "*",
                Piece::Home => "~",
                Piece::Unknown(_) => "…",
            })?;
        }
        Ok(())
    }
}
