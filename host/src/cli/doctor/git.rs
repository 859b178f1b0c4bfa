//! Whether repositories can be cloned and pushed to.

use std::collections::BTreeMap;

use super::checks::answer;
use super::report::Finding;
use crate::git::program;

/// What cloning and pushing needs: git that can be told which address to dial, and who holds keys.
pub(super) async fn check(environment: &BTreeMap<String, String>) -> Finding {
    const CHECK: &str = "git";
    /// The first with `http.curloptResolve`.
    const OLDEST: (u32, u32) = (2, 37);
    let remedy = "apt-get install git openssh-client; tasks without gitRepo do not need it";
    let missing: Vec<&str> = ["git", "ssh-agent", "ssh-add"]
        .into_iter()
        .filter(|name| program(name).is_none())
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "{} not found in /usr/local/bin, /usr/bin, /bin",
            missing.join(", ")
        );
        return Finding::warn(CHECK, message, remedy);
    }
    let path = program("git").unwrap_or_default();
    let answered = answer(&path, &["version"], environment)
        .await
        .unwrap_or_default();
    let version = answered.trim().trim_start_matches("git version ");
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        let message = format!("git {version} is older than {}.{}", OLDEST.0, OLDEST.1);
        return Finding::warn(CHECK, message, remedy);
    }
    Finding::ok(CHECK, format!("git {version} and ssh-agent"))
}

/// What tasks with `gitLfs` need besides.
pub(super) async fn check_lfs(environment: &BTreeMap<String, String>) -> Finding {
    const CHECK: &str = "git-lfs";
    let Some(path) = program(CHECK) else {
        return Finding::warn(
            CHECK,
            "git-lfs not found in /usr/local/bin, /usr/bin, /bin",
            "apt-get install git-lfs; tasks without gitLfs do not need it",
        );
    };
    let answered = answer(&path, &["version"], environment).await;
    match answered.as_deref().map(str::trim) {
        // "git-lfs/3.3.0 (GitHub; linux amd64; go 1.19.8)"
        Ok(version) => Finding::ok(CHECK, version.split(' ').next().unwrap_or_default()),
        Err(_) => Finding::warn(
            CHECK,
            format!("{} does not answer", path.display()),
            "install git-lfs anew; tasks without gitLfs do not need it",
        ),
    }
}
