//! Notices what there is to be loaded: another manifest, another component, or a set that somebody else
//! made active.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::change::{Asked, ChangeError};
use super::live::Plugins;
use crate::bucket::Bucket;

/// Between two looks at the files. Looking is asking for their metadata, which also works where nobody
/// tells of changes: on network file systems, behind links that are moved.
const LOOK: Duration = Duration::from_millis(500);

/// How long a change by another gateway may go unnoticed where nobody tells of it.
const ASK: Duration = Duration::from_secs(5);

/// Between two attempts to fetch a component from a server that is away.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// What tells one content of the files from another: each one's identity, time and size.
type Looks = Vec<(PathBuf, Option<(u64, u64, i64, i64, u64)>)>;

impl Plugins {
    /// Takes up new manifests and components, and what others make active, until `stop`.
    pub fn keep_current(self: &Arc<Self>, bucket: Arc<dyn Bucket>, stop: &CancellationToken) {
        tokio::spawn(files(Arc::clone(self), stop.clone()));
        tokio::spawn(others(Arc::clone(self), bucket, stop.clone()));
    }
}

/// Loads what is new.
async fn files(plugins: Arc<Plugins>, stop: CancellationToken) {
    // What was loaded at the start may be older than the first look; so the first look is no news only
    // where the manifest says what it said then, which taking it once more finds out.
    let mut seen = Looks::new();
    let mut settled = true;
    let mut again = Again::default();
    again.begin();
    while stop
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        let now = look(plugins.files()).await;
        if now != seen {
            // Somebody may be in the middle of writing: it is read once it looks the same twice.
            (seen, settled) = (now, false);
            continue;
        }
        let changed = !std::mem::replace(&mut settled, true);
        if changed {
            again.begin();
        }
        if changed || (plugins.is_worth_another() && again.is_due()) {
            let asked = Asked {
                by: "watch",
                seen: None,
            };
            let begun = Timestamp::now();
            if let Err(error) = plugins.take_manifest(&asked).await {
                tracing::error!(%error, "the manifest's plugins cannot be used: what was active stays active");
            }
            // The new manifest may name other files.
            seen = known(&seen, look(plugins.files()).await, begun);
        }
    }
}

/// What is known of the files once they were read, from `begun` on: what they looked like before. A look
/// at them now would miss for ever what was written while they were read.
fn known(before: &Looks, now: Looks, begun: Timestamp) -> Looks {
    let begun = (begun.as_second(), i64::from(begun.subsec_nanosecond()));
    let known = now.into_iter().map(|(path, facts)| {
        let facts = match before.iter().find(|(known, _)| *known == path) {
            Some((_, before)) => *before,
            None => {
                facts.filter(|(_, _, seconds, nanoseconds, _)| (*seconds, *nanoseconds) < begun)
            }
        };
        (path, facts)
    });
    known.collect()
}

/// Takes over what others make active.
async fn others(plugins: Arc<Plugins>, bucket: Arc<dyn Bucket>, stop: CancellationToken) {
    let mut hints = bucket.watch("plugins/");
    while stop.run_until_cancelled(hints.changed(ASK)).await.is_some() {
        match plugins.take_over().await {
            Ok(()) => {}
            Err(ChangeError::Bucket(error)) => {
                tracing::warn!(%error, "it cannot be seen whether another plugin set is active");
            }
            Err(error) => tracing::error!(
                %error,
                "the set that was made active elsewhere cannot be loaded: ours stays active here"
            ),
        }
    }
}

/// When a server is asked again that was away: sooner at first, and never in step with other gateways for
/// long, because each counts from its own failure.
#[derive(Debug)]
struct Again {
    wait: Duration,
    at: Instant,
}

impl Default for Again {
    fn default() -> Self {
        Self {
            wait: FIRST_WAIT,
            at: Instant::now(),
        }
    }
}

impl Again {
    fn begin(&mut self) {
        self.wait = FIRST_WAIT;
        self.at = Instant::now() + self.wait;
    }

    /// Where it is, the next time is twice as far away.
    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.at;
        if due {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
            self.at = Instant::now() + self.wait;
        }
        due
    }
}

async fn look(files: Vec<PathBuf>) -> Looks {
    let looks = tokio::task::spawn_blocking(move || {
        let facts = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((
                metadata.dev(),
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.len(),
            ))
        };
        files
            .into_iter()
            .map(|path| {
                let facts = facts(&path);
                (path, facts)
            })
            .collect()
    });
    looks.await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_while_files_are_read_is_noticed_afterwards() {
        let facts = |seconds| Some((1, 1, seconds, 0, 1));
        let file = |name: &str, facts| (PathBuf::from(name), facts);
        let begun = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(10);
        let before = vec![file("manifest", facts(5)), file("gone", facts(5))];
        let now = vec![
            file("manifest", facts(11)),
            file("old", facts(9)),
            file("fresh", facts(11)),
            file("absent", None),
        ];
        let expected = vec![
            file("manifest", facts(5)),
            file("old", facts(9)),
            file("fresh", None),
            file("absent", None),
        ];
        assert_eq!(known(&before, now, begun), expected);
    }
}
