//! Which commands a simple command may run in turn, for rules that deny.
//!
//! Takes too many for one rather than too few: every tail of `sudo …` counts as a command.

use super::parser::is_assignment;
use super::{Command, Unsure, Word, parse};

/// Words of the grammar that a command may follow.
const KEYWORDS: [&str; 10] = [
    "if", "then", "else", "elif", "do", "while", "until", "!", "{", "time",
];
/// Commands that run the command in their arguments.
const WRAPPERS: [&str; 22] = [
    "sudo", "doas", "env", "command", "builtin", "exec", "nohup", "nice", "ionice", "timeout",
    "stdbuf", "setsid", "xargs", "watch", "busybox", "unshare", "nsenter", "chroot", "flock",
    "parallel", "coproc", "strace",
];
/// Commands with such a command somewhere in their arguments.
const SEARCHERS: [&str; 2] = ["find", "fd"];
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];
const MAX_DEPTH: u8 = 4;
const MAX_KEYWORDS: u8 = 16;

/// Every command line, as a list of words, that running `commands` may run.
pub(crate) fn reached(commands: &[Command]) -> Result<Vec<Vec<Word>>, Unsure> {
    let mut found = Vec::new();
    for command in commands {
        reach(&command.words, 0, &mut found)?;
    }
    Ok(found)
}

/// The last part of a command's path: `/usr/bin/curl` is `curl`.
pub(crate) fn base_name(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}

fn reach(words: &[Word], depth: u8, found: &mut Vec<Vec<Word>>) -> Result<(), Unsure> {
    if depth > MAX_DEPTH {
        return Err(Unsure);
    }
    let mut words = words;
    let mut passed = 0_u8;
    while let Some((first, rest)) = words.split_first() {
        if !KEYWORDS.contains(&first.raw.as_str()) && !is_assignment(&first.raw) {
            break;
        }
        passed += 1;
        if passed > MAX_KEYWORDS {
            return Err(Unsure);
        }
        found.push(words.to_vec());
        words = rest;
    }
    let Some((name, arguments)) = words.split_first() else {
        return Ok(());
    };
    if name.expands {
        // Whatever the shell makes of it may be what a rule denies.
        return Err(Unsure);
    }
    found.push(words.to_vec());

    let name = base_name(&name.text);
    if name == "eval" || (SHELLS.contains(&name) && runs_a_string(arguments)) {
        let strings: Vec<&Word> = arguments
            .iter()
            .filter(|word| !word.text.starts_with('-'))
            .collect();
        if strings.iter().any(|word| word.expands) {
            return Err(Unsure);
        }
        let line = strings
            .iter()
            .map(|word| word.text.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        let lines = if name == "eval" {
            vec![line.as_str()]
        } else {
            strings.iter().map(|w| w.text.as_str()).collect()
        };
        for line in lines {
            for command in parse(line)? {
                reach(&command.words, depth + 1, found)?;
            }
        }
    } else if WRAPPERS.contains(&name) {
        let inner = arguments
            .iter()
            .position(|word| !is_wrapper_argument(&word.text));
        if let Some(inner) = inner.and_then(|start| arguments.get(start..)) {
            reach(inner, depth + 1, found)?;
        }
        tails(arguments, found);
    } else if SEARCHERS.contains(&name) {
        tails(arguments, found);
    }
    Ok(())
}

fn tails(arguments: &[Word], found: &mut Vec<Vec<Word>>) {
    // A tail longer than any rule needs not be kept whole: rules match from its start.
    for start in 0..arguments.len().min(64) {
        if let Some(tail) = arguments.get(start..) {
            found.push(tail.iter().take(64).cloned().collect());
        }
    }
}

fn runs_a_string(arguments: &[Word]) -> bool {
    arguments
        .iter()
        .any(|word| word.expands || (word.text.starts_with('-') && word.text.contains('c')))
}

/// Options, durations and assignments between a wrapper and its command.
fn is_wrapper_argument(text: &str) -> bool {
    text.starts_with('-') || text.starts_with(|c: char| c.is_ascii_digit()) || is_assignment(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::shell::join;

    fn lines(line: &str) -> Vec<String> {
        reached(&parse(line).unwrap())
            .unwrap()
            .iter()
            .map(|words| join(words, |word| &word.text))
            .collect()
    }

    #[test]
    fn the_command_behind_a_wrapper_a_keyword_or_a_shell_is_found() {
        for line in [
            "sudo -u root curl x",
            "env A=b curl x",
            "timeout 5 nice -n 3 curl x",
            "if curl x; then true; fi",
            "bash -c 'curl x'",
            "sh -ec \"true; curl x\"",
            "eval cu'rl' x",
            "find . -exec curl x",
            "xargs -n 1 curl x",
            "sudo bash -c 'env curl x'",
            "while true; do curl x; done",
            "{ curl x; }",
            "! curl x",
        ] {
            assert!(
                lines(line).iter().any(|found| found == "curl x"),
                "{line}: {:?}",
                lines(line)
            );
        }
    }

    #[test]
    fn a_name_that_the_shell_makes_up_is_unsure() {
        for line in [
            "$X http://evil",
            "$(echo curl) x",
            "c?rl x",
            "{curl,x}",
            "sudo $X",
            "bash -c \"$X\"",
            "eval $X",
            "$'curl' x",
        ] {
            assert_eq!(reached(&parse(line).unwrap()), Err(Unsure), "{line}");
        }
    }
}
