//! Reports that were given up: kept so that somebody can have them sent again, but not for ever.

use std::time::Duration;

use jiff::Timestamp;

use crate::bucket::Generation;

/// A dead entry of the outbox, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dead {
    pub(super) since: Timestamp,
    pub(super) name: String,
    pub(super) generation: Generation,
}

/// Those that go now, the oldest first: whose time is over, and who are more than `most`. And when the
/// next one's time is over.
pub(super) fn to_remove(
    mut dead: Vec<Dead>,
    kept: Duration,
    most: u32,
    now: Timestamp,
) -> (Vec<Dead>, Timestamp) {
    let until = |dead: &Dead| dead.since.saturating_add(kept).unwrap_or(Timestamp::MAX);
    dead.sort_unstable();
    let over = dead.iter().take_while(|dead| until(dead) <= now).count();
    let surplus = dead
        .len()
        .saturating_sub(usize::try_from(most).unwrap_or(usize::MAX));
    let left = dead.split_off(over.max(surplus));
    (dead, left.first().map_or(Timestamp::MAX, until))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_oldest_go_first_by_time_and_by_number() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let dead: Vec<_> = [("a", 30), ("b", 10), ("c", 20)]
            .map(|(name, second)| Dead {
                since: at(second),
                name: name.to_owned(),
                generation: Generation(1),
            })
            .into();
        let removed = |kept, most, now| {
            let (gone, next) = to_remove(dead.clone(), Duration::from_secs(kept), most, at(now));
            let names: Vec<_> = gone.into_iter().map(|dead| dead.name).collect();
            (names.concat(), next)
        };
        assert_eq!(removed(100, 3, 50), (String::new(), at(110)));
        assert_eq!(removed(100, 3, 120), ("bc".to_owned(), at(130)));
        assert_eq!(removed(100, 1, 50), ("bc".to_owned(), at(130)));
        assert_eq!(removed(100, 1, 130), ("bca".to_owned(), Timestamp::MAX));
    }
}
