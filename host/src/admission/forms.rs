//! What single texts look like. Each form answers with the end of a sentence that begins with the
//! field's name and never repeats the text.

use url::Url;

use crate::git::RepositoryUrl;

/// Whether a text has a form; else what was expected.
pub(super) type Form = fn(&str) -> Result<(), &'static str>;

/// What the agent is asked to do.
pub(super) fn prompt(text: &str) -> Result<(), &'static str> {
    // The model's API refuses a message of nothing but white space, minutes later.
    require(
        !text.trim().is_empty(),
        "is required: it holds nothing but white space",
    )?;
    prose(text)
}

/// Any text but for NUL, which no program argument, file name or environment can carry.
pub(super) fn prose(text: &str) -> Result<(), &'static str> {
    require(!text.contains('\0'), "must not contain NUL")
}

/// Goes into a header of its own.
pub(super) fn token(text: &str) -> Result<(), &'static str> {
    require(
        text.bytes().all(|byte| byte.is_ascii_graphic()),
        "must be printable ASCII without spaces or line breaks",
    )
}

/// A permission rule such as `Bash(npm run test:*)`.
pub(super) fn tool(text: &str) -> Result<(), &'static str> {
    require(!text.trim().is_empty(), "must not be blank")?;
    require(
        !text.chars().any(char::is_control),
        "must not contain line breaks or control characters",
    )
}

/// A model's name or alias; `[1m]` and cloud paths included.
pub(super) fn model(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@/[]-".contains(&byte);
    require(
        !text.starts_with('-') && text.bytes().all(allowed),
        "must be a model's name: letters, digits and . _ : @ / [ ] -, not beginning with -",
    )
}

/// A path that stays below the workspace whatever the workspace holds, links apart: those are the
/// job's to refuse.
pub(super) fn relative_path(text: &str) -> Result<(), &'static str> {
    require(
        !text.chars().any(char::is_control),
        "must not contain control characters",
    )?;
    require(!text.starts_with('/'), "must be relative to the workspace")?;
    require(
        !text.split('/').any(|part| part == ".."),
        "must not contain ..",
    )
}

/// `https://…`, `ssh://…` or `user@host:path`; never a form by which git runs programs or reads
/// local files.
pub(super) fn repository(text: &str) -> Result<(), &'static str> {
    RepositoryUrl::parse(text).map(drop)
}

/// What `git check-ref-format --branch` takes, without a leading hyphen.
pub(super) fn branch(text: &str) -> Result<(), &'static str> {
    let sound_part =
        |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let sound = !text.starts_with('-')
        && text != "@"
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text
            .contains(|character: char| character.is_control() || " ~^:?*[\\".contains(character))
        && text.split('/').all(sound_part);
    require(sound, "must be a branch name as git takes it")
}

/// PEM, one, without a passphrase.
pub(super) fn private_key(text: &str) -> Result<(), &'static str> {
    crate::git::check_private_key(text)
}

/// Where the report goes. Which addresses may be dialled is judged elsewhere, when they are known.
pub(super) fn callback_url(text: &str) -> Result<(), &'static str> {
    const INVALID: &str = "is not a valid URL";
    // The parser would drop or turn these, and what is dialled would not be what was written.
    require(
        !text.contains(|character: char| {
            character.is_whitespace() || character.is_control() || character == '\\'
        }),
        INVALID,
    )?;
    let url = Url::parse(text).map_err(|_| INVALID)?;
    require(
        matches!(url.scheme(), "http" | "https"),
        "must use http or https protocol",
    )?;
    require(
        url.username().is_empty() && url.password().is_none(),
        "must not hold a user name or password",
    )?;
    require(url.port() != Some(0), INVALID)
}

/// As callers know it from the Node service, and bounded by the schema.
pub(super) fn task_id(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    require(
        text.bytes().all(allowed),
        "must be URL-safe (alphanumeric, underscore, hyphen only)",
    )?;
    let reserved = text
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("sync-"));
    require(
        !reserved,
        "must not begin with sync-, which tasks of /run do",
    )
}

/// A name that becomes a file name.
pub(super) fn document_name(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    require(
        text.len() <= 64
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(allowed),
        "has a name that is not 1 to 64 letters, digits, _ or -, beginning with a letter or digit",
    )
}

/// A name that stands between the two `__` of `mcp__server__tool`.
pub(super) fn server_name(text: &str) -> Result<(), &'static str> {
    document_name(text)?;
    require(
        !text.contains("__"),
        "has a name with __ in it, which would blur which tools are whose",
    )
}

/// A label's name.
pub(super) fn label_name(text: &str) -> Result<(), &'static str> {
    require(
        text.len() <= 64
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte)),
        "has a name that is not 1 to 64 letters, digits or _ . - /, beginning with a letter or digit",
    )
}

/// A label's value.
pub(super) fn label_value(text: &str) -> Result<(), &'static str> {
    require(
        !text.chars().any(char::is_control),
        "must not contain line breaks or control characters",
    )
}

/// A key of `postExecutionActions`.
pub(super) fn action_name(text: &str) -> Result<(), &'static str> {
    require(
        text.len() <= 64
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "has a name that is not 1 to 64 letters, digits or -, beginning with a letter",
    )
}

/// A name of a variable that is left to the caller.
pub(super) fn variable_name(text: &str) -> Result<(), &'static str> {
    let sound = text.len() <= 128
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    require(
        sound,
        "has a name that is not 1 to 128 letters, digits or _, not beginning with a digit",
    )
}

/// Whether a variable steers the agent itself, its credential, what it loads or where it connects.
/// Letter case does not matter: programs read `http_proxy` as they read `HTTP_PROXY`.
pub(super) fn is_reserved_variable(name: &str) -> bool {
    const PREFIXES: [&str; 9] = [
        "ANTHROPIC_",
        "CLAUDE",
        "GATEHOUSE",
        "LD_",
        "DYLD_",
        "BUN_",
        "NODE_",
        "GIT_SSH",
        "GIT_CONFIG",
    ];
    const NAMES: [&str; 16] = [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PWD",
        "OLDPWD",
        "TMPDIR",
        "IFS",
        "ENV",
        "BASH_ENV",
        "GIT_EXEC_PATH",
        "GIT_DIR",
        "GIT_PROXY_COMMAND",
        "XDG_CONFIG_HOME",
        "IS_SANDBOX",
    ];
    let name = name.to_ascii_uppercase();
    // NODE_ENV and NODE_AUTH_TOKEN steer programs of the workspace, not the runtime.
    let harmless = ["NODE_ENV", "NODE_AUTH_TOKEN"].contains(&name.as_str());
    !harmless
        && (PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || NAMES.contains(&name.as_str())
            || name.ends_with("_PROXY"))
}

fn require(holds: bool, sentence: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(sentence) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_cannot_leave_the_workspace() {
        for sound in [".", "a", "a/b", "a..b/c", "a/./b"] {
            assert_eq!(relative_path(sound), Ok(()), "{sound}");
        }
        for wrong in ["..", "/etc", "a/../../b", "a/..", "a\0b", "a\nb"] {
            assert!(relative_path(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_branch_is_what_git_takes_and_never_an_option() {
        for sound in ["main", "feature/x-1", "release-1.2", "ünicode"] {
            assert_eq!(branch(sound), Ok(()), "{sound}");
        }
        for wrong in [
            "--upload-pack=x",
            "-b",
            "a..b",
            "a b",
            "a~1",
            "x.lock",
            "a/.b",
            "a//b",
            "/a",
            "a/",
            "@",
            "a@{1}",
            "a.",
            "a\\b",
            "",
        ] {
            assert!(branch(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables_that_steer_the_agent_are_reserved_in_any_letter_case() {
        for name in [
            "ANTHROPIC_BASE_URL",
            "CLAUDE_CODE_USE_BEDROCK",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "GIT_SSH_COMMAND",
            "https_proxy",
            "NO_PROXY",
            "PATH",
            "home",
            "BUN_OPTIONS",
            "GATEHOUSE_CONFIG",
            "NODE_TLS_REJECT_UNAUTHORIZED",
        ] {
            assert!(is_reserved_variable(name), "{name}");
        }
        for name in [
            "GITHUB_TOKEN",
            "NPM_TOKEN",
            "DATABASE_URL",
            "GIT_AUTHOR_NAME",
            "NODE_ENV",
            "PROXY",
            "AWS_REGION",
        ] {
            assert!(!is_reserved_variable(name), "{name}");
        }
    }
}
