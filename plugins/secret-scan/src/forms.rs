//! Forms of credentials that say what they are. They are those that the host looks for before a push,
//! and tokens that are only meant to be carried, such as JWTs.

/// A form: how it begins, and which bytes follow.
struct Form {
    rule: &'static str,
    starts: &'static [&'static str],
    /// Fewest and most bytes behind the start.
    least: usize,
    most: usize,
    follows: fn(u8) -> bool,
}

const ANY: usize = 4096;

static FORMS: [Form; 14] = [
    form("aws-access-key", &["AKIA", "ASIA"], 16, 16, upper),
    form(
        "github-token",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        36,
        ANY,
        alphanumeric,
    ),
    form("github-token", &["github_pat_"], 82, ANY, word),
    form("gitlab-token", &["glpat-"], 20, ANY, url_safe),
    form("anthropic-key", &["sk-ant-"], 32, ANY, url_safe),
    form(
        "openai-key",
        &["sk-proj-", "sk-svcacct-"],
        40,
        ANY,
        url_safe,
    ),
    form(
        "slack-token",
        &["xoxa-", "xoxb-", "xoxe-", "xoxp-", "xoxr-", "xoxs-"],
        20,
        ANY,
        url_safe,
    ),
    form(
        "slack-webhook",
        &["hooks.slack.com/services/T"],
        30,
        ANY,
        path,
    ),
    form("google-api-key", &["AIza"], 35, 35, url_safe),
    form(
        "stripe-key",
        &["sk_live_", "rk_live_"],
        20,
        ANY,
        alphanumeric,
    ),
    form("npm-token", &["npm_"], 36, 36, alphanumeric),
    form("pypi-token", &["pypi-AgEIcHlwaS5vcmc"], 50, ANY, url_safe),
    form("sendgrid-key", &["SG."], 66, 66, dotted),
    form("jwt", &["eyJ"], 30, ANY, dotted),
];

/// Every rule of this scanner, by its name.
pub(crate) const RULES: [&str; 15] = [
    "anthropic-key",
    "aws-access-key",
    "generic-assignment",
    "github-token",
    "gitlab-token",
    "google-api-key",
    "jwt",
    "npm-token",
    "openai-key",
    "private-key",
    "pypi-token",
    "sendgrid-key",
    "slack-token",
    "slack-webhook",
    "stripe-key",
];

const BEGIN: &[u8] = b"-----BEGIN ";
const KEY: &[u8] = b"PRIVATE KEY-----";
/// Letters between the two.
const KIND: usize = 20;

const fn form(
    rule: &'static str,
    starts: &'static [&'static str],
    least: usize,
    most: usize,
    follows: fn(u8) -> bool,
) -> Form {
    Form {
        rule,
        starts,
        least,
        most,
        follows,
    }
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn url_safe(byte: u8) -> bool {
    word(byte) || byte == b'-'
}

fn dotted(byte: u8) -> bool {
    url_safe(byte) || byte == b'.'
}

fn path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'/'
}

/// The rule whose form stands at this place of a text, and how long the credential is.
pub(crate) fn at(text: &[u8], place: usize) -> Option<(&'static str, usize)> {
    let rest = text.get(place..)?;
    // Most bytes begin nothing.
    if !matches!(
        rest.first()?,
        b'A' | b'g' | b's' | b'x' | b'h' | b'r' | b'n' | b'p' | b'S' | b'e' | b'-'
    ) {
        return None;
    }
    if let Some(behind) = rest.strip_prefix(BEGIN) {
        let kind = behind
            .iter()
            .take(KIND)
            .take_while(|byte| byte.is_ascii_uppercase() || **byte == b' ')
            .count();
        let header = (0..=kind).find(|kind| {
            behind
                .get(*kind..)
                .is_some_and(|rest| rest.starts_with(KEY))
        })?;
        return Some(("private-key", BEGIN.len() + header + KEY.len()));
    }
    let before = place.checked_sub(1).and_then(|before| text.get(before));
    if before.is_some_and(|byte| word(*byte)) {
        return None;
    }
    FORMS.iter().find_map(|form| {
        let start = form
            .starts
            .iter()
            .find(|start| rest.starts_with(start.as_bytes()))?;
        let behind = rest.get(start.len()..)?;
        let mut length = behind
            .iter()
            .take(ANY)
            .take_while(|byte| (form.follows)(**byte))
            .count();
        // A full stop ends a sentence.
        while length > 0 && behind.get(length - 1) == Some(&b'.') {
            length -= 1;
        }
        let fits =
            length >= form.least && length <= form.most && shaped(form.rule, behind.get(..length)?);
        fits.then_some((form.rule, start.len() + length))
    })
}

/// What the bytes alone do not say: three parts of a JWT, two of a SendGrid key.
fn shaped(rule: &str, behind: &[u8]) -> bool {
    let mut parts = behind.split(|byte| *byte == b'.');
    match rule {
        "jwt" => {
            let long = |part: &[u8]| part.len() >= 8;
            parts.next().is_some_and(long)
                && parts
                    .next()
                    .is_some_and(|part| part.starts_with(b"eyJ") && long(part))
                && parts.next().is_some_and(long)
                && parts.next().is_none()
        }
        "sendgrid-key" => {
            parts.next().is_some_and(|part| part.len() == 22)
                && parts.next().is_some_and(|part| part.len() == 43)
        }
        _ => true,
    }
}
