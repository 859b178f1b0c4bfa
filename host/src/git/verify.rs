//! Whether a rebase did what it must, told from content alone.
//!
//! Where only one side changed a file, it must be that side's. Where both did, what the agent added must
//! be there, and a file that the agent removed must be gone.

use std::collections::{BTreeMap, BTreeSet};

use super::run::{Git, RunError};

/// Files that both sides changed, of which every one is read.
const MOST: usize = 500;
/// Bytes of such a file; a larger one must be the agent's as it is.
const LARGEST: usize = 4 << 20;

/// A file's mode and id; none where it is gone.
type Side = BTreeMap<String, Option<(String, String)>>;

/// The outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compared {
    /// Files that both sides changed.
    pub(super) both: Vec<String>,
    pub(super) faithful: bool,
}

/// Compares `result` with what `ours` and `theirs` made of `base`.
pub(super) async fn compare(
    git: &Git<'_>,
    base: &str,
    ours: &str,
    theirs: &str,
    result: &str,
) -> Result<Compared, RunError> {
    let changed = async |to: &str| -> Result<Side, RunError> {
        let listed = git
            .run(&[
                "diff-tree",
                "-r",
                "-z",
                "--raw",
                "--no-renames",
                "--no-abbrev",
                base,
                to,
            ])
            .await?;
        Ok(read_raw(&String::from_utf8_lossy(&listed)))
    };
    let (ours, theirs, result) = (
        changed(ours).await?,
        changed(theirs).await?,
        changed(result).await?,
    );
    let both: Vec<String> = ours
        .keys()
        .filter(|path| theirs.contains_key(*path))
        .cloned()
        .collect();
    let paths: BTreeSet<&String> = ours
        .keys()
        .chain(theirs.keys())
        .chain(result.keys())
        .collect();
    let mut faithful = both.len() <= MOST;
    for path in paths {
        if !faithful {
            break;
        }
        let is = result.get(path);
        faithful = match (ours.get(path), theirs.get(path)) {
            (Some(agents), None) => is == Some(agents),
            (None, Some(others)) => is == Some(others),
            (None, None) => false,
            (Some(agents), Some(others)) => {
                is == Some(agents) || {
                    // Also where the result is the base's content again.
                    let is = match is {
                        Some(is) => is.clone(),
                        None => entry(git, base, path).await?,
                    };
                    let agents = agents.as_ref();
                    match (agents, is) {
                        (Some((mode, agents)), Some((result_mode, is))) => {
                            let theirs_mode = others.as_ref().map(|(mode, _)| mode);
                            (*mode == result_mode || theirs_mode == Some(&result_mode))
                                && holds_what_was_added(git, base, path, agents, &is).await?
                        }
                        _ => false,
                    }
                }
            }
        };
    }
    Ok(Compared { both, faithful })
}

async fn entry(
    git: &Git<'_>,
    commit: &str,
    path: &str,
) -> Result<Option<(String, String)>, RunError> {
    let listed = git
        .text(&[
            "ls-tree",
            "--full-tree",
            commit,
            "--",
            &format!(":(literal){path}"),
        ])
        .await?;
    // "MODE TYPE ID\tPATH"
    let mut words = listed.split([' ', '\t']);
    let (mode, id) = (words.next(), words.nth(1));
    Ok(mode
        .zip(id)
        .map(|(mode, id)| (mode.to_owned(), id.to_owned())))
}

/// Whether every line that the agent added to the file is in the result, as often as it was added.
async fn holds_what_was_added(
    git: &Git<'_>,
    base: &str,
    path: &str,
    agents: &str,
    result: &str,
) -> Result<bool, RunError> {
    let read = async |id: &str| git.run(&["cat-file", "blob", id]).await;
    let before = match entry(git, base, path).await? {
        Some((_, id)) => read(&id).await?,
        None => Vec::new(),
    };
    let (agents, result) = (read(agents).await?, read(result).await?);
    let is_text = |content: &[u8]| content.len() <= LARGEST && !content.contains(&0);
    if ![&before, &agents, &result]
        .into_iter()
        .all(|content| is_text(content))
    {
        return Ok(false);
    }
    let before = count(&before);
    let result = count(&result);
    let missing = count(&agents).into_iter().any(|(line, times)| {
        let added = times.saturating_sub(before.get(line).copied().unwrap_or(0));
        added > 0 && result.get(line).copied().unwrap_or(0) < added
    });
    Ok(!missing)
}

fn count(content: &[u8]) -> BTreeMap<&[u8], usize> {
    let mut lines = BTreeMap::new();
    for line in content.split(|byte| *byte == b'\n') {
        *lines.entry(line).or_default() += 1;
    }
    lines
}

/// `:MODE MODE ID ID LETTER\0PATH\0`, again and again.
fn read_raw(listed: &str) -> Side {
    let mut side = Side::new();
    let mut fields = listed.split('\0');
    while let (Some(entry), Some(path)) = (fields.next(), fields.next()) {
        let mut words = entry.trim_start_matches(':').split(' ');
        let (mode, id) = (words.nth(1), words.nth(1));
        let Some((mode, id)) = mode.zip(id) else {
            continue;
        };
        let gone = mode == "000000";
        side.insert(
            path.to_owned(),
            (!gone).then(|| (mode.to_owned(), id.to_owned())),
        );
    }
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_diff_tells_mode_and_id_of_what_is_there_afterwards() {
        let side = read_raw(":100644 100755 aa bb M\0a b\0:100644 000000 cc 00 D\0gone\0");
        assert_eq!(side["a b"], Some(("100755".to_owned(), "bb".to_owned())));
        assert_eq!(side["gone"], None);
    }
}
