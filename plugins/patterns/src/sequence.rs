//! Matching a sequence against a pattern in which some tokens stand for any number of items.

/// One token of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token<T> {
    /// Any number of items, also none.
    Many,
    /// One item that fits.
    One(T),
}

/// Whether the whole of `text` matches.
///
/// Greedy with one place to come back to: with a single kind of star, only the last one seen ever
/// needs to take more, so there is no exponential pattern.
pub(crate) fn matches<T, U>(
    pattern: &[Token<T>],
    text: &[U],
    fits: impl Fn(&T, &U) -> bool,
) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), text.get(read)) {
            (None, None) => return true,
            (Some(Token::Many), _) => {
                star = Some((at, read));
                at += 1;
                continue;
            }
            (Some(Token::One(token)), Some(item)) if fits(token, item) => {
                at += 1;
                read += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((star_at, taken)) if taken < text.len() => {
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                read = taken + 1;
            }
            _ => return false,
        }
    }
}
