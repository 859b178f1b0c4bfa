#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::group::{self, Candidate};
use super::super::modes::Enforcement;
use super::*;
use crate::wasm::World;

/// Of `a`, `b` and `c`.
fn group_of(more: Value) -> Arc<Group> {
    let mut text = json!({"name": "g"});
    let members = more.as_object().unwrap().clone();
    text.as_object_mut().unwrap().extend(members);
    let plugins = ["a", "b", "c"].map(|name| Candidate {
        name,
        world: World::ToolPermission,
        mode: Enforcement::Enforce,
        modes: &[],
    });
    let pin = serde_json::from_value(text).unwrap();
    group::check(&[pin], &plugins).remove(0).unwrap()
}

fn group(expression: &str) -> Arc<Group> {
    group_of(json!({"expression": expression}))
}

fn tally(group: &Group, votes: [Vote; 3]) -> Tally {
    let mut ballot = Ballot::of(group);
    for (name, vote) in ["a", "b", "c"].iter().zip(votes) {
        let trapped = "trapped".to_owned();
        let fault = (vote == Vote::Unknown).then_some(&trapped);
        ballot.cast(name, vote, &format!("words of {name}"), fault);
    }
    ballot.count()
}

const VOTES: [Vote; 5] = [
    Vote::Passes,
    Vote::Allows,
    Vote::Denies,
    Vote::Asks,
    Vote::Unknown,
];

/// By definition: every way in which those could have voted that could not, once with a person's no and once
/// with a yes to all that ask.
fn by_definition(holds: fn(bool, bool, bool) -> bool, votes: [Vote; 3]) -> Outcome {
    let cases = |yes: bool| {
        (0..8).map(move |unknown: u8| {
            let vote = |n: usize| match votes[n] {
                Vote::Passes | Vote::Allows => true,
                Vote::Denies => false,
                Vote::Asks => yes,
                Vote::Unknown => unknown >> n & 1 == 1,
            };
            holds(vote(0), vote(1), vote(2))
        })
    };
    let (mut no, mut yes) = (cases(false), cases(true));
    match (no.all(|it| it), yes.all(|it| it)) {
        (true, true) if votes == [Vote::Allows; 3] => Outcome::Allows,
        (true, true) => Outcome::Passes,
        (false, true) => Outcome::Asks,
        _ if cases(true).any(|it| it) => Outcome::Unknown,
        _ => Outcome::Denies,
    }
}

#[test]
fn every_combination_of_votes_comes_out_as_it_is_defined() {
    type Native = fn(bool, bool, bool) -> bool;
    let expressions: [(&str, Native); 6] = [
        ("a && b && c", |a, b, c| a && b && c),
        ("a || b || c", |a, b, c| a || b || c),
        ("a && (b || c)", |a, b, c| a && (b || c)),
        ("a && !(b && c)", |a, b, c| a && !(b && c)),
        ("!a || b && !c", |a, b, c| !a || b && !c),
        ("!(a || b) && c", |a, b, c| !(a || b) && c),
    ];
    for (text, native) in expressions {
        let group = group(text);
        for n in 0..125 {
            let votes = [VOTES[n / 25], VOTES[n / 5 % 5], VOTES[n % 5]];
            let tally = tally(&group, votes);
            assert_eq!(
                tally.outcome,
                by_definition(native, votes),
                "{text} {votes:?}"
            );
            let speaks = !matches!(tally.outcome, Outcome::Passes | Outcome::Allows);
            assert_eq!(tally.words.is_some(), speaks, "{text} {votes:?}");
            assert_eq!(tally.causes.is_empty(), !speaks, "{text} {votes:?}");
            let unknown = tally.outcome == Outcome::Unknown;
            assert_eq!(tally.fault.is_some(), unknown, "{text} {votes:?}");
        }
    }
}

#[test]
fn the_causes_are_those_who_stand_in_the_way() {
    let words = |expression: &str, votes| {
        let tally = tally(&group(expression), votes);
        (tally.words.unwrap(), tally.causes.join(" "))
    };
    let denies = "The policy group `g` denies this.";
    let (said, causes) = words("a && (b || c)", [Vote::Passes, Vote::Denies, Vote::Denies]);
    assert_eq!(said, format!("{denies} `b`: words of b; `c`: words of c"));
    assert_eq!(causes, "b c");
    let (said, _) = words("a && !b && c", [Vote::Passes, Vote::Passes, Vote::Asks]);
    assert_eq!(said, format!("{denies} `b`: it has nothing against it"));
    let (said, _) = words("a && !b && c", [Vote::Denies, Vote::Denies, Vote::Asks]);
    assert_eq!(said, format!("{denies} `a`: words of a"));
    let (said, causes) = words("a && b && c", [Vote::Asks, Vote::Passes, Vote::Asks]);
    assert_eq!(
        said,
        "The policy group `g` leaves this to a person. `a`: words of a; `c`: words of c"
    );
    assert_eq!(causes, "a c");
    let (said, _) = words("a && !b && c", [Vote::Passes, Vote::Unknown, Vote::Allows]);
    assert!(said.contains("could not judge this. `b`:"), "{said}");
}

#[test]
fn the_operator_s_message_is_said_first_and_everything_is_bounded() {
    let more = json!({"expression": "a && b && c", "message": "é".repeat(256)});
    let group = group_of(more);
    let mut ballot = Ballot::of(&group);
    for name in ["a", "b", "c"] {
        ballot.cast(name, Vote::Denies, &"ü".repeat(4096), None);
    }
    let words = ballot.count().words.unwrap();
    assert!(words.starts_with("éé"), "{words}");
    assert!(words.len() < 512 + 3 * (CAUSE + 10), "{}", words.len());
}
