//! What a caller is told of git's failures. Git has no codes, so its words are looked through for the
//! sentence that helps; what is done about a failure never depends on them.

use super::run::RunError;
use crate::outbound::Unreachable;

/// Bytes of what a server said that are passed on.
const WORDS: usize = 500;

const NO_ACCESS: &str = "Authentication failed or repository not accessible. Ensure SSH key is properly \
     configured: sshKey, or gitToken for https://, must have access to it.";
const NOT_FOUND: &str = "Repository not found. Check the repository URL and access permissions.";
const SLOW: &str = "Git clone operation timed out. Repository may be too large or network is slow: the \
     limit is the operator's git.clone_timeout.";

/// What to look for in git's words, and what it means.
const MEANINGS: [(&[&str], &str); 9] = [
    (
        &[
            "Host key verification failed",
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
            "No ED25519 host key",
            "host key is known",
        ],
        "SSH host key verification failed. The server's key is not among those that are known here; the \
         operator can add it to the file of git.known_hosts.",
    ),
    (
        &[
            "Permission denied (",
            "Permission denied, please try again",
            "Too many authentication failures",
        ],
        "SSH key authentication failed. Check that sshKey is a deploy key with access to this repository.",
    ),
    (
        &["Could not resolve host", "Name or service not known"],
        "The repository's host is not known. Check the repository URL.",
    ),
    (
        &[
            "server certificate verification failed",
            "SSL certificate problem",
            "certificate verify failed",
            "certificate subject name",
            "SSL: no alternative certificate",
        ],
        "The server's certificate is not trusted here; the operator can name its authority in git.ca_file.",
    ),
    (
        &[
            "error: 301",
            "error: 302",
            "error: 303",
            "error: 307",
            "error: 308",
            "unable to update url base from redirection",
            "redirect",
        ],
        "The server answers with a redirect, which is not followed. Use the address that it leads to.",
    ),
    (
        &[
            "could not read Username",
            "could not read Password",
            "Authentication failed",
            "HTTP Basic: Access denied",
            "error: 401",
            "error: 403",
        ],
        NO_ACCESS,
    ),
    (
        &[
            "not found",
            "does not appear to be a git repository",
            "does not exist",
            "error: 404",
        ],
        NOT_FOUND,
    ),
    (
        &[
            "not our ref",
            "couldn't find remote ref",
            "unadvertised object",
        ],
        "The commit is not to be had from the repository. Name a branch or a tag, or the full id of a commit \
         that the server gives out.",
    ),
    (
        &[
            "Connection refused",
            "Connection timed out",
            "Connection reset",
            "Connection closed",
            "unable to access",
            "Could not read from remote repository",
            "early EOF",
            "unexpected disconnect",
            "remote end hung up",
        ],
        "The connection to the server broke. Try again; if it stays so, check URL and access.",
    ),
];

fn meaning(complaint: &str) -> Option<&'static str> {
    MEANINGS
        .iter()
        .find(|(words, _)| words.iter().any(|word| complaint.contains(word)))
        .map(|(_, sentence)| *sentence)
}

/// The sentence for a clone that failed; none where it is nobody's business but ours.
pub(super) fn clone(error: &RunError) -> Option<String> {
    match error {
        RunError::Failed { complaint, .. } => {
            let known = meaning(complaint).map(str::to_owned);
            Some(known.unwrap_or_else(|| format!("git says: {}", words(complaint))))
        }
        RunError::TimedOut(_) => Some(SLOW.to_owned()),
        RunError::TooMuch { most, .. } => Some(format!(
            "The repository is larger than the {} MiB that are cloned at most.",
            most >> 20
        )),
        RunError::Stopped | RunError::Missing(_) | RunError::Isolation(_) | RunError::Io(_) => None,
    }
}

/// The sentence for a server that cannot be dialled.
pub(super) fn unreachable(error: &Unreachable) -> String {
    match error {
        Unreachable::Forbidden(forbidden) => {
            format!("The repository's server must not be dialled from here: {forbidden}.")
        }
        Unreachable::Failed(_) => {
            "The repository's server cannot be reached. Check host and port of the repository URL."
                .to_owned()
        }
        Unreachable::Silent => {
            "The repository's server does not answer. Check host and port of the repository URL."
                .to_owned()
        }
    }
}

/// The sentence for a push or a commit that failed.
pub(super) fn push(error: &RunError) -> (&'static str, String) {
    match error {
        RunError::Failed { complaint, .. } => match meaning(complaint) {
            Some(NO_ACCESS | NOT_FOUND) => (
                "no-access",
                "Failed to push: Authentication failed. Ensure SSH key has write access to the repository \
                 (or gitToken, for https://)."
                    .to_owned(),
            ),
            Some(sentence) => ("remote-failed", format!("Failed to push: {sentence}")),
            None => ("git-failed", format!("git says: {}", words(complaint))),
        },
        RunError::TimedOut(_) => (
            "timed-out",
            "The remote did not answer within the operator's git.push_timeout.".to_owned(),
        ),
        RunError::TooMuch { most, .. } => (
            "too-large",
            format!("The new commits are larger than the {} MiB that are pushed at most.", most >> 20),
        ),
        RunError::Stopped => ("stopped", "The task was ended.".to_owned()),
        RunError::Missing(_) | RunError::Isolation(_) | RunError::Io(_) => {
            ("internal", "Git could not be run; the operator's log says why.".to_owned())
        }
    }
}

/// The end of what git or a server said, on one line, without control characters.
pub(super) fn words(complaint: &str) -> String {
    let text: String = complaint
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" / ")
        .chars()
        .filter(|character| !character.is_control())
        .collect();
    let surplus = text.len().saturating_sub(WORDS);
    let start = (surplus..=text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text.get(start..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(complaint: &str) -> String {
        let (what, complaint) = ("fetch".to_owned(), complaint.to_owned());
        clone(&RunError::Failed {
            what,
            code: 128,
            complaint,
        })
        .unwrap()
    }

    #[test]
    fn a_failure_is_told_as_what_to_do() {
        let key = told(
            "No ED25519 host key is known for h and you have requested strict checking.\nHost key verification failed.\nfatal: Could not read from remote repository.",
        );
        assert!(key.contains("git.known_hosts"), "{key}");
        let denied = told(
            "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
        );
        assert!(denied.contains("sshKey"), "{denied}");
        let login =
            told("fatal: could not read Username for 'https://h': terminal prompts disabled");
        assert!(login.contains("gitToken"), "{login}");
        assert_eq!(
            told("fatal: repository 'https://h/a/' not found"),
            NOT_FOUND
        );
        assert_eq!(told("strange\x1b[31m"), "git says: strange[31m");
    }

    #[test]
    fn words_are_the_end_on_one_line() {
        assert_eq!(words("a\n\n b \n"), "a / b");
        assert!(words(&"ü".repeat(1000)).len() <= WORDS);
    }
}
