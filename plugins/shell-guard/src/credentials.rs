//! Files that hold credentials.

use shell::{Piece, Place, Text};

/// By the last names of a path, whatever lies below a directory among them.
const FILES: [&str; 18] = [
    ".ssh",
    ".gnupg",
    ".aws/credentials",
    ".aws/sso",
    ".azure",
    ".config/gcloud",
    ".config/gh/hosts.yml",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    "_netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".pypirc",
    ".cargo/credentials.toml",
    ".claude/.credentials.json",
    ".password-store",
    ".vault-token",
];
/// By the whole path.
const ABSOLUTE: [&str; 6] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/ssl/private",
    "/var/run/secrets",
    "/run/secrets",
];
/// Commands whose arguments are texts, not files.
const SPEAKERS: [&str; 6] = ["echo", "printf", ":", "true", "false", "export"];
/// Commands whose first operand is a pattern or a program.
const SEARCHERS: [&str; 8] = ["grep", "egrep", "fgrep", "rg", "ag", "sed", "awk", "jq"];

/// Whether a command looks into the files that it is given.
pub(crate) fn looks_into(name: &str) -> bool {
    !SPEAKERS.contains(&name)
}

/// What may be paths among the arguments: also behind `=`, `@` and `:`.
pub(crate) fn named(name: &str, arguments: &[Text]) -> Vec<Text> {
    let mut paths = Vec::new();
    let mut pattern = SEARCHERS.contains(&name)
        && !arguments
            .iter()
            .any(|a| a.start().starts_with("-e") || a.start() == "-f");
    let mut before: Option<&Text> = None;
    for argument in arguments {
        // Texts, names and messages.
        let text = before.is_some_and(|before| {
            matches!(
                (name, before.known()),
                (
                    "find",
                    Some("-name" | "-iname" | "-path" | "-ipath" | "-regex" | "-not")
                ) | ("git", Some("-m" | "--message" | "--grep" | "-S" | "-G"))
                    | (
                        "grep" | "rg" | "egrep",
                        Some("-e" | "-g" | "--glob" | "--include" | "--exclude")
                    )
            )
        });
        before = Some(argument);
        if text {
            continue;
        }
        if pattern && !argument.start().starts_with('-') {
            pattern = false;
            continue;
        }
        let mut rest = argument.clone();
        for separator in ['=', '@', ':'] {
            if let Some((_, after)) = rest.split_once(separator) {
                paths.push(after.clone());
                if separator != ':' {
                    rest = after;
                }
            }
        }
        paths.push(argument.clone());
    }
    paths
}

/// The entry that a place is, may be, or lies below.
pub(crate) fn matched(place: &Place, more: &[String]) -> Option<String> {
    let names = place.names();
    if matches!(place, Place::At(_)) {
        let process = names.first().is_some_and(|name| fits(name, "proc", false))
            && names.len() > 2
            && names.last().is_some_and(|name| fits(name, "environ", true));
        if process {
            return Some("/proc/*/environ".to_owned());
        }
        let absolute = ABSOLUTE.iter().find(|path| {
            let path: Vec<&str> = path.split('/').skip(1).collect();
            starts_with(names, &path, true)
        });
        if let Some(path) = absolute {
            return Some((*path).to_owned());
        }
    }
    let known = FILES.iter().copied().chain(more.iter().map(String::as_str));
    let mut known = known.map(|file| (file, file.split('/').collect::<Vec<_>>()));
    known
        .find(|(_, file)| {
            (0..names.len())
                .any(|start| starts_with(names.get(start..).unwrap_or_default(), file, false))
        })
        .map(|(file, _)| file.to_owned())
}

fn starts_with(names: &[Text], expected: &[&str], from_root: bool) -> bool {
    names.len() >= expected.len()
        && names
            .iter()
            .zip(expected)
            .all(|(name, expected)| fits(name, expected, from_root))
}

/// Whether a name is, or may become, the expected one. A bare `*` is only taken for one where the
/// path is given from the root: anywhere else it would match what lies in every directory.
fn fits(name: &Text, expected: &str, from_root: bool) -> bool {
    if name.pieces() == [Piece::Name] {
        return from_root;
    }
    let mut rest = expected;
    let mut floating = false;
    for piece in name.pieces() {
        match piece {
            Piece::Literal(text) if floating => match rest.find(text.as_str()) {
                Some(at) => rest = rest.get(at + text.len()..).unwrap_or_default(),
                None => return false,
            },
            Piece::Literal(text) => match rest.strip_prefix(text.as_str()) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => {}
        }
        floating = !matches!(piece, Piece::Literal(_));
    }
    rest.is_empty() || floating
}
