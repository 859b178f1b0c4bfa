//! `{a,b}`: one word that becomes several.

use crate::Unreadable;
use crate::ast::{Atom, Word};

/// Words that one may become.
const MOST: usize = 64;

/// The words that the braces of one make; the word itself where it has none.
pub(crate) fn expand(word: &Word) -> Result<Vec<Word>, Unreadable> {
    let open =
        |atom: &Atom| matches!(atom, Atom::Text { text, quoted: false } if text.contains('{'));
    if !word.0.iter().any(open) {
        return Ok(vec![word.clone()]);
    }
    let mut found = Vec::new();
    alternatives(&apart(word), &mut found)?;
    Ok(found.into_iter().map(together).collect())
}

/// Unquoted text character by character.
fn apart(word: &Word) -> Vec<Atom> {
    let mut atoms = Vec::new();
    for atom in &word.0 {
        match atom {
            Atom::Text {
                text,
                quoted: false,
            } => atoms.extend(text.chars().map(|c| Atom::Text {
                text: c.into(),
                quoted: false,
            })),
            other => atoms.push(other.clone()),
        }
    }
    atoms
}

fn together(atoms: Vec<Atom>) -> Word {
    let mut word = Word::default();
    for atom in atoms {
        match atom {
            Atom::Text {
                text,
                quoted: false,
            } => text.chars().for_each(|c| word.push(c, false)),
            other => word.0.push(other),
        }
    }
    word
}

fn is(atom: &Atom, c: char) -> bool {
    matches!(atom, Atom::Text { text, quoted: false } if text.chars().eq([c]))
}

fn alternatives(atoms: &[Atom], found: &mut Vec<Vec<Atom>>) -> Result<(), Unreadable> {
    for (start, atom) in atoms.iter().enumerate() {
        if !is(atom, '{') {
            continue;
        }
        let Some((end, parts)) = brace(atoms, start) else {
            continue;
        };
        // Braces come before variables: `$x{a,b}` is `$xa $xb`.
        let grows = |atom: &Atom| {
            is(atom, '$')
                || matches!(
                    atom,
                    Atom::Variable {
                        bare: true,
                        quoted: false,
                        ..
                    }
                )
        };
        if atoms.iter().any(grows) {
            return Err(Unreadable(
                "a variable stands beside braces; write `${…}` for it",
            ));
        }
        let before = atoms.get(..start).unwrap_or_default();
        let after = atoms.get(end + 1..).unwrap_or_default();
        for part in parts {
            let mut one = before.to_vec();
            one.extend(part);
            one.extend_from_slice(after);
            if found.len() >= MOST {
                return Err(Unreadable("its braces make too many words"));
            }
            alternatives(&one, found)?;
        }
        return Ok(());
    }
    if found.len() >= MOST {
        return Err(Unreadable("its braces make too many words"));
    }
    found.push(atoms.to_vec());
    Ok(())
}

/// Where the brace ends that starts here, and what stands between its commas. None where it is none.
fn brace(atoms: &[Atom], start: usize) -> Option<(usize, Vec<Vec<Atom>>)> {
    let mut open = 0_usize;
    let mut parts = vec![Vec::new()];
    for (at, atom) in atoms.iter().enumerate().skip(start + 1) {
        if is(atom, '{') {
            open += 1;
        } else if is(atom, '}') && open == 0 {
            if parts.len() > 1 {
                return Some((at, parts));
            }
            // `{1..9}` is some number or letter each time.
            let only = parts.pop()?;
            return only
                .windows(2)
                .any(|pair| pair.iter().all(|atom| is(atom, '.')))
                .then(|| (at, vec![vec![Atom::Name]]));
        } else if is(atom, '}') {
            open -= 1;
        } else if is(atom, ',') && open == 0 {
            parts.push(Vec::new());
            continue;
        }
        parts.last_mut()?.push(atom.clone());
    }
    None
}
