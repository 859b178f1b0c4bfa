//! Submodules: each cloned by the one that speaks to remotes, put into place as the agent.

use std::path::{Component, Path, PathBuf};

use super::fetch::Bare;
use super::run::{RunError, Until};
use super::url::RepositoryUrl;

/// Submodules of one task, those of submodules included.
pub(super) const MOST: usize = 64;
/// Submodules of submodules of submodules …
pub(super) const DEEPEST: usize = 4;

/// One of a commit's submodules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Submodule {
    /// Below the repository that names it.
    pub(super) path: PathBuf,
    pub(super) url: RepositoryUrl,
    /// The commit that is to stand there.
    pub(super) commit: String,
}

/// Why a submodule is not cloned; the sentence says which.
#[derive(Debug, thiserror::Error)]
pub(super) enum SubmoduleError {
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What `.gitmodules` of this commit names, of what really is a submodule of it.
pub(super) async fn of_commit(
    bare: &Bare,
    base: &RepositoryUrl,
    commit: &str,
    until: &Until,
) -> Result<Vec<Submodule>, SubmoduleError> {
    let git = bare.git(until);
    let file = format!("{commit}:.gitmodules");
    if !git.holds(&["cat-file", "-e", &file]).await.unwrap_or(false) {
        return Ok(Vec::new());
    }
    let listed = git
        .run(&[
            "config",
            "--blob",
            &file,
            "--null",
            "--get-regexp",
            r"^submodule\..*\.(path|url)$",
        ])
        .await?;
    let mut found = Vec::new();
    for (path, url) in pairs(&String::from_utf8_lossy(&listed)) {
        let refuse =
            |why: &str| SubmoduleError::Refused(format!("the submodule at `{path}` {why}"));
        if !is_inside(&path) {
            return Err(SubmoduleError::Refused(
                "a submodule's path leads out of the repository".to_owned(),
            ));
        }
        let entry = git
            .text(&[
                "ls-tree",
                "--full-tree",
                commit,
                "--",
                &format!(":(literal){path}"),
            ])
            .await?;
        // "160000 commit ID\tPATH"; what is named but not there is not looked for.
        let Some(id) = entry
            .strip_prefix("160000 commit ")
            .and_then(|rest| rest.split('\t').next())
        else {
            continue;
        };
        let url = base
            .join(&url)
            .map_err(|why| refuse(&format!("has a URL that {why}")))?;
        if found.len() >= MOST {
            return Err(SubmoduleError::Refused(format!(
                "there are more than {MOST} submodules"
            )));
        }
        found.push(Submodule {
            path: path.into(),
            url,
            commit: id.to_owned(),
        });
    }
    Ok(found)
}

/// Path and URL of each submodule that has both.
fn pairs(listed: &str) -> Vec<(String, String)> {
    let mut named = std::collections::BTreeMap::<&str, (Option<&str>, Option<&str>)>::new();
    for entry in listed.split('\0') {
        let Some((key, value)) = entry.split_once('\n') else {
            continue;
        };
        let Some((name, field)) = key.rsplit_once('.') else {
            continue;
        };
        let both = named.entry(name).or_default();
        match field {
            "path" => both.0 = Some(value),
            _ => both.1 = Some(value),
        }
    }
    named
        .into_values()
        .filter_map(|(path, url)| Some((path?.to_owned(), url?.to_owned())))
        .collect()
}

fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some()
        && parts.all(
            |part| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git")),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submodule_has_a_path_and_a_url() {
        let listed = "submodule.a.path\nlib/a\0submodule.a.url\n../a\0submodule.b.path\nb\0";
        assert_eq!(pairs(listed), [("lib/a".to_owned(), "../a".to_owned())]);
    }

    #[test]
    fn a_submodule_lies_inside_and_not_where_git_keeps_its_own() {
        for inside in ["a", "lib/a"] {
            assert!(is_inside(inside), "{inside}");
        }
        for outside in ["", "../a", "a/../../b", "/etc", ".git/hooks", "a/.GIT"] {
            assert!(!is_inside(outside), "{outside}");
        }
    }
}
