//! What follows from the votes of a group's members, and because of whom.

use super::answer::{WORDS, bounded};
use super::expression::{NAMES, Truth};
use super::group::Group;

/// Bytes of one member's words in its group's; the member's own decision has all of them.
const CAUSE: usize = 300;

/// What one member said, as far as it matters to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    /// It has nothing against it.
    Passes,
    /// It is for it.
    Allows,
    /// It is against it.
    Denies,
    /// A person is to decide.
    Asks,
    /// It could not answer, and its `on_error` is `deny`.
    Unknown,
}

impl Vote {
    /// Two cases side by side: where a person would say no to those that ask, and where yes.
    fn known(self) -> Truth {
        match self {
            Self::Passes | Self::Allows => Truth::YES,
            Self::Denies => Truth::NO,
            Self::Asks => Truth::known(PERSON_SAYS_YES),
            Self::Unknown => Truth::UNKNOWN,
        }
    }
}

const PERSON_SAYS_NO: u64 = 0b01;
const PERSON_SAYS_YES: u64 = 0b10;

/// What a group says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its expression holds.
    Passes,
    /// It holds, and every member was for it.
    Allows,
    /// It holds where a person says yes.
    Asks,
    /// It does not hold.
    Denies,
    /// It would have depended on a member that could not answer: it denies.
    Unknown,
}

/// The votes of a group's members, as they come.
#[derive(Debug)]
pub(super) struct Ballot<'a> {
    group: &'a Group,
    votes: Vec<Cast>,
    /// Of the first member that could not answer.
    fault: Option<String>,
}

#[derive(Debug)]
struct Cast {
    /// The member's in the group's expression.
    place: usize,
    vote: Vote,
    words: String,
}

/// What came of the votes.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) outcome: Outcome,
    /// The members because of whom it asks or denies.
    pub(super) causes: Vec<String>,
    /// The group's words, where it asks or denies.
    pub(super) words: Option<String>,
    /// As in [`super::Decision::fault`], where that is why it denies.
    pub(super) fault: Option<String>,
}

impl<'a> Ballot<'a> {
    pub(super) fn of(group: &'a Group) -> Self {
        Self {
            group,
            votes: Vec::new(),
            fault: None,
        }
    }

    /// `words` are the member's; `fault` is set where it could not answer.
    pub(super) fn cast(&mut self, member: &str, vote: Vote, words: &str, fault: Option<&String>) {
        if vote == Vote::Unknown && self.fault.is_none() {
            self.fault = fault.cloned();
        }
        let mut names = self.group.expression.names().iter();
        if let Some(place) = names.position(|name| name == member) {
            let words = bounded(words, CAUSE);
            self.votes.push(Cast { place, vote, words });
        }
    }

    pub(super) fn count(self) -> Tally {
        // Whoever did not vote could not.
        let mut known = [Truth::UNKNOWN; NAMES];
        for cast in &self.votes {
            if let Some(known) = known.get_mut(cast.place) {
                *known = cast.vote.known();
            }
        }
        let of_name = |place: usize| known.get(place).copied().unwrap_or(Truth::UNKNOWN);
        let truth = self.group.expression.over(&of_name);
        let holds = |cases: u64| truth.surely & cases == cases;
        let outcome = if holds(PERSON_SAYS_YES | PERSON_SAYS_NO) {
            match self.votes.iter().all(|cast| cast.vote == Vote::Allows) {
                true => Outcome::Allows,
                false => Outcome::Passes,
            }
        } else if holds(PERSON_SAYS_YES) {
            Outcome::Asks
        } else if truth.maybe & PERSON_SAYS_YES != 0 {
            Outcome::Unknown
        } else {
            Outcome::Denies
        };
        let causes = self.causes(outcome);
        Tally {
            outcome,
            words: self.words(outcome, &causes),
            causes: causes.into_iter().map(|(name, _)| name).collect(),
            fault: self.fault.filter(|_| outcome == Outcome::Unknown),
        }
    }

    /// Who stands in the way, and with which words: whoever has to hold and does not, or must not and does.
    fn causes(&self, outcome: Outcome) -> Vec<(String, String)> {
        let expression = &self.group.expression;
        let cause = |cast: &Cast| {
            let (wanted, unwanted) = expression.wants(cast.place);
            let words = match (outcome, cast.vote) {
                (Outcome::Asks, Vote::Asks) if wanted => cast.words.clone(),
                (Outcome::Passes | Outcome::Allows | Outcome::Asks, _) => return None,
                (_, Vote::Denies) if wanted => cast.words.clone(),
                (_, Vote::Unknown) => "it could not judge this".to_owned(),
                (_, Vote::Passes | Vote::Allows) if unwanted => {
                    "it has nothing against it".to_owned()
                }
                (_, Vote::Asks) if unwanted => "it would leave it to a person".to_owned(),
                _ => return None,
            };
            Some((expression.names().get(cast.place)?.clone(), words))
        };
        self.votes.iter().filter_map(cause).collect()
    }

    fn words(&self, outcome: Outcome, causes: &[(String, String)]) -> Option<String> {
        let name = &self.group.pin.name;
        let first = match (outcome, &self.group.pin.message) {
            (Outcome::Passes | Outcome::Allows, _) => return None,
            (Outcome::Asks, _) => format!("The policy group `{name}` leaves this to a person."),
            (Outcome::Denies, Some(message)) => message.clone(),
            (Outcome::Denies, None) => format!("The policy group `{name}` denies this."),
            (Outcome::Unknown, _) => format!("The policy group `{name}` could not judge this."),
        };
        let causes: Vec<_> = causes
            .iter()
            .map(|(name, words)| format!("`{name}`: {words}"))
            .collect();
        let words = format!("{first} {}", causes.join("; "));
        Some(bounded(words.trim_end(), WORDS))
    }
}

#[cfg(test)]
#[path = "ballot_tests.rs"]
mod tests;
