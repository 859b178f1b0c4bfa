//! Where a path leads, by its text alone.

use crate::text::{Piece, Text};

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the root, name by name; a name may hold [`Piece::Name`].
    At(Vec<Text>),
    /// In the home directory of somebody, name by name below it.
    Home(Vec<Text>),
    /// It cannot be told.
    Unknown,
}

impl Place {
    /// The names, from the root or from the home directory.
    pub fn names(&self) -> &[Text] {
        match self {
            Self::At(names) | Self::Home(names) => names,
            Self::Unknown => &[],
        }
    }

    /// Whether it is, or lies below, this absolute path.
    pub fn is_below(&self, directory: &str) -> bool {
        let Self::At(names) = self else {
            return false;
        };
        let mut names = names.iter();
        segments(directory).all(|segment| {
            names
                .next()
                .is_some_and(|name| name.known() == Some(segment))
        })
    }

    pub(crate) fn text(&self) -> Text {
        let mut text = match self {
            Self::At(_) => Text::default(),
            Self::Home(_) => {
                let mut home = Text::default();
                home.push(Piece::Home);
                home
            }
            Self::Unknown => return Text::unknown(crate::Origin::Local),
        };
        for name in self.names() {
            text.push_str("/");
            text.append(name);
        }
        if text == Text::default() {
            text.push_str("/");
        }
        text
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
}

/// Where `path` leads for a shell that stands in `cwd`. Links are not seen.
pub fn resolve(path: &Text, cwd: &Text) -> Place {
    let mut pieces = path.pieces().iter().peekable();
    let mut home = false;
    let mut names: Vec<Text> = Vec::new();
    if pieces.peek() == Some(&&Piece::Home) {
        home = true;
        pieces.next();
    } else if !path.start().starts_with('/') {
        if cwd.pieces().is_empty() {
            return Place::Unknown;
        }
        match resolve(cwd, &Text::default()) {
            Place::Unknown => return Place::Unknown,
            Place::Home(above) => {
                home = true;
                names = above;
            }
            Place::At(above) => names = above,
        }
    }
    let mut name = Text::default();
    for piece in pieces {
        match piece {
            Piece::Unknown(_) | Piece::Home => return Place::Unknown,
            Piece::Name => name.push(Piece::Name),
            Piece::Literal(text) => {
                for (place, part) in text.split('/').enumerate() {
                    if place > 0 && !enter(&mut names, std::mem::take(&mut name), home) {
                        return Place::Unknown;
                    }
                    name.push_str(part);
                }
            }
        }
    }
    match enter(&mut names, name, home) {
        false => Place::Unknown,
        true if home => Place::Home(names),
        true => Place::At(names),
    }
}

/// One name further; false where that leads nobody knows where.
fn enter(names: &mut Vec<Text>, name: Text, home: bool) -> bool {
    match name.known() {
        Some("" | ".") => true,
        Some("..") => names.pop().is_some() || !home,
        Some(_) => {
            names.push(name);
            true
        }
        None => {
            // `.*` is also `..`.
            let dots = name.pieces().iter().all(|piece| {
                matches!(piece, Piece::Name)
                    || matches!(piece, Piece::Literal(text) if text.bytes().all(|b| b == b'.'))
            });
            let known_dot = name.start().starts_with('.');
            if dots && known_dot {
                return false;
            }
            names.push(name);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, cwd: &str) -> String {
        let mut text = Text::default();
        text.push_glob(path);
        resolve(&text, &Text::literal(cwd)).text().to_string()
    }

    #[test]
    fn paths_are_followed_name_by_name() {
        assert_eq!(shown("a/./b", "/w/t"), "/w/t/a/b");
        assert_eq!(shown("../../../x", "/w/t"), "/x");
        assert_eq!(shown("/w//t/../u/", "/w/t"), "/w/u");
        assert_eq!(shown("*.txt", "/w/t"), "/w/t/*.txt");
        assert_eq!(shown("", "/w"), "/w");
    }

    #[test]
    fn a_glob_that_may_be_two_dots_leads_nobody_knows_where() {
        assert_eq!(shown(".*/x", "/w"), "…");
        assert_eq!(shown(".?", "/w"), "…");
        assert_eq!(shown(".git*", "/w"), "/w/.git*");
    }

    #[test]
    fn below_is_name_by_name() {
        let place = |path: &str| resolve(&Text::literal(path), &Text::literal("/w/t"));
        assert!(place("a").is_below("/w/t"));
        assert!(place("/w/t").is_below("/w/t/"));
        assert!(!place("/w/tt").is_below("/w/t"));
        assert!(!place("..").is_below("/w/t"));
    }
}
