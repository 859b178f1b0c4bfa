//! Names of branches, by git's own rules (`git check-ref-format --branch`).

/// Git's own limit is the file system's; a name as long as this is nobody's.
const MAX_BYTES: usize = 244;

/// Whether a branch can have this name.
///
/// # Errors
/// What is wrong with it, to stand after the name of the member that holds it.
pub fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > MAX_BYTES {
        return Err("expected 1 to 244 bytes");
    }
    if name.starts_with('-') {
        return Err("must not begin with `-`");
    }
    if name.starts_with("refs/") {
        return Err("expected the name without `refs/heads/`");
    }
    if name == "@" || name == "HEAD" {
        return Err("is a name that git gives a meaning of its own");
    }
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    if name.contains(forbidden) {
        return Err("must not hold spaces, control characters or any of ~ ^ : ? * [ \\");
    }
    if name.contains("..") || name.contains("@{") || name.ends_with('.') {
        return Err("must not hold `..` or `@{`, or end with a dot");
    }
    let fine = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    if !name.split('/').all(fine) {
        return Err(
            "must have something between its slashes that begins with no dot and does not end \
                    with `.lock`",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn git_s_rules_are_kept() {
        for name in [
            "main",
            "feature/a-b_c",
            "gatehouse/t-1",
            "v1.2",
            "ü",
            "a@b",
            "{x}",
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "-x",
            "a b",
            "a..b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\nb",
            "a\u{7f}",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.",
            "a.lock",
            "a.lock/b",
            "@",
            "a@{b",
            "HEAD",
            "refs/heads/main",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"a".repeat(245)).is_err());
    }
}
