//! Git commands after which something is gone.

use shell::{Operands, Text};

/// What a git command destroys, by its verb and option; none where it destroys nothing.
pub(crate) fn destroys(arguments: &[Text]) -> Option<&'static str> {
    let (_, rest) = Operands::leading(arguments, &["-C", "-c", "--git-dir", "--work-tree"]);
    let (verb, rest) = rest.split_first()?;
    let read = Operands::read(rest, &["-o", "--push-option", "--repo"]);
    let starts = |prefix: &str| {
        read.options
            .iter()
            .any(|(name, _)| name.starts_with(prefix))
    };
    match verb.known()? {
        "push"
            if read.has(&["-f", "-d", "--delete", "--mirror", "--prune"]) || starts("--force") =>
        {
            Some("push --force")
        }
        // `+main` forces, `:main` deletes.
        "push"
            if read
                .operands
                .iter()
                .any(|refspec| refspec.start().starts_with(['+', ':'])) =>
        {
            Some("push --force")
        }
        "reset" if read.has(&["--hard", "--merge"]) => Some("reset --hard"),
        "clean" if read.has(&["-f", "--force"]) => Some("clean -f"),
        "branch" if read.has(&["-D"]) => Some("branch -D"),
        "checkout" | "switch" if read.has(&["-f", "--force", "--discard-changes"]) => {
            Some("checkout --force")
        }
        "stash"
            if matches!(
                read.operands.first().and_then(Text::known),
                Some("drop" | "clear")
            ) =>
        {
            Some("stash drop")
        }
        "filter-branch" | "filter-repo" => Some("filter-branch"),
        "update-ref" if read.has(&["-d"]) => Some("update-ref -d"),
        "reflog"
            if matches!(
                read.operands.first().and_then(Text::known),
                Some("expire" | "delete")
            ) =>
        {
            Some("reflog expire")
        }
        _ => None,
    }
}
