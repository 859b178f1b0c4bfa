//! The hosts that a git command names. A remote by its name was cloned, or added by a command that was
//! judged; only URLs are looked at.

use shell::{Operands, Text};

use crate::commands::{Target, named};

/// What this git command reaches.
pub(crate) fn targets(arguments: &[Text]) -> Vec<Target> {
    let (read, rest) = Operands::leading(
        arguments,
        &[
            "-C",
            "-c",
            "--git-dir",
            "--work-tree",
            "--config-env",
            "--exec-path",
        ],
    );
    let mut targets = Vec::new();
    for given in read.values(&["-c", "--config-env"]) {
        targets.extend(setting(given));
    }
    let Some((verb, rest)) = rest.split_first() else {
        return targets;
    };
    let valued = [
        "-b",
        "--branch",
        "-o",
        "--origin",
        "-c",
        "--config",
        "--depth",
        "-u",
        "--reference",
        "-t",
        "-m",
    ];
    let read = Operands::read(rest, &valued);
    match verb.known() {
        Some("clone" | "ls-remote" | "fetch" | "pull" | "push") => {
            for given in read.values(&["-c", "--config"]) {
                targets.extend(setting(given));
            }
            let clones = verb.known() == Some("clone");
            targets.extend(
                read.operands
                    .iter()
                    .take(1)
                    .filter(|place| is_url(place, clones))
                    .cloned()
                    .map(Target::Named),
            );
        }
        Some("remote")
            if read
                .operands
                .first()
                .and_then(Text::known)
                .is_some_and(|v| matches!(v, "add" | "set-url")) =>
        {
            targets.extend(named(
                read.operands
                    .get(2)
                    .filter(|place| is_url(place, true))
                    .cloned(),
            ));
        }
        Some("submodule") if read.operands.first().and_then(Text::known) == Some("add") => {
            targets.extend(named(
                read.operands
                    .get(1)
                    .filter(|place| is_url(place, true))
                    .cloned(),
            ));
        }
        Some("config") => {
            let key = read
                .operands
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            if let Some(value) = read.operands.get(1) {
                let mut given = Text::literal(format!("{key}="));
                given = join(given, value);
                targets.extend(setting(&given));
            }
        }
        _ => {}
    }
    targets
}

fn join(first: Text, second: &Text) -> Text {
    match (first.known(), second.known()) {
        (Some(a), Some(b)) => Text::literal(format!("{a}{b}")),
        _ => Text::unknown(shell::Origin::Local),
    }
}

/// A setting that leads elsewhere: `url.X.insteadOf`, `remote.x.url`, `http.proxy`, `core.sshCommand`.
fn setting(given: &Text) -> Option<Target> {
    let Some((key, value)) = given.split_once('=') else {
        return given
            .has_unknown()
            .then_some(Target::Configured("a setting of git"));
    };
    let key = key.to_string().to_ascii_lowercase();
    if let Some(base) = key
        .strip_prefix("url.")
        .and_then(|rest| rest.rsplit_once('.'))
    {
        return Some(Target::Named(Text::literal(base.0.to_owned())));
    }
    if key.ends_with("proxy")
        || (key.starts_with("remote.") && (key.ends_with(".url") || key.ends_with(".pushurl")))
    {
        return Some(Target::Named(value));
    }
    matches!(
        key.as_str(),
        "core.sshcommand" | "core.gitproxy" | "include.path"
    )
    .then_some(Target::Configured("a setting of git"))
}

/// Whether a place is on another machine; a path and a remote's name are not.
fn is_url(place: &Text, or_path: bool) -> bool {
    let text = place.to_string();
    if place.start().is_empty() {
        return place.has_unknown();
    }
    let path = text.starts_with(['/', '.', '~']);
    let scp = text
        .split('/')
        .next()
        .is_some_and(|start| start.contains(':'));
    text.contains("://") && !text.starts_with("file://")
        || text.contains("::")
        || (scp && !path)
        || (or_path && place.has_unknown() && !path)
}
