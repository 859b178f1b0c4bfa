//! `log.level`: which records are written.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// Modules by the name in `LOG_LEVEL_<MODULE>`. The last four are the Node service's names.
const MODULES: [(&str, &str); 24] = [
    ("admission", "gatehouse::admission"),
    ("agent", "gatehouse::agent"),
    ("broker", "gatehouse::broker"),
    ("bucket", "gatehouse::bucket"),
    ("cli", "gatehouse::cli"),
    ("config", "gatehouse::config"),
    ("envelope", "gatehouse::envelope"),
    ("git", "gatehouse::git"),
    ("http", "gatehouse::http"),
    ("isolation", "gatehouse::isolation"),
    ("job", "gatehouse::job"),
    ("launch", "gatehouse::launch"),
    ("outbound", "gatehouse::outbound"),
    ("plugin", "gatehouse::plugin"),
    ("redact", "gatehouse::redact"),
    ("secrets", "gatehouse::secrets"),
    ("task", "gatehouse::task"),
    ("telemetry", "gatehouse::telemetry"),
    ("wasm", "gatehouse::wasm"),
    ("webhook", "gatehouse::webhook"),
    ("default", "gatehouse"),
    ("proxy", "gatehouse::broker"),
    ("claude_runner", "gatehouse::agent"),
    ("gcs", "gatehouse::bucket"),
];

/// Names that may follow LOG_LEVEL_, in lower case.
pub(crate) fn modules() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}

/// The target that a module's name stands for, whatever its letter case.
pub(crate) fn target_of(module: &str) -> Option<&'static str> {
    MODULES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(module))
        .map(|(_, target)| *target)
}

/// Whether `log.level` can be read; else what was expected.
pub(crate) fn check_level(levels: &str) -> Result<(), String> {
    parse(levels).map(|_| ())
}

/// Reads `info,gatehouse::agent=debug`. A level alone is ours; libraries stay at `warn` unless they are
/// named, because some of them write out requests, headers included, below that.
pub(super) fn parse(levels: &str) -> Result<Targets, String> {
    let mut targets = Targets::new().with_default(LevelFilter::WARN);
    let mut ours = LevelFilter::INFO;
    let mut named = Vec::new();
    for directive in levels
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
    {
        match directive.split_once('=') {
            None => ours = level(directive)?,
            Some((target, word)) => {
                let target = target.trim();
                if target.is_empty()
                    || !target
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
                {
                    return Err(format!("{EXPECTED}; `{target}` names no module"));
                }
                named.push((target_of(target).unwrap_or(target).to_owned(), level(word)?));
            }
        }
    }
    targets = targets.with_target("gatehouse", ours);
    if ours == LevelFilter::OFF {
        targets = targets.with_default(LevelFilter::OFF);
    }
    Ok(targets.with_targets(named))
}

const EXPECTED: &str = r#"expected off, error, warn, info, debug or trace, or such a level per module: "info,gatehouse::agent=debug""#;

fn level(word: &str) -> Result<LevelFilter, String> {
    Ok(match word.trim().to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(format!("{EXPECTED}; found `{}`", word.trim())),
    })
}
