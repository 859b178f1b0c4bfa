//! The end of a log that is being written: read by one reader for everybody here who follows it.
//!
//! The next chunk's name is known, so nothing is listed. Where the storage tells of changes the reader waits
//! for that, and else looks at a pace that slows down while nothing comes. It keeps the newest chunks, at most
//! a few MiB; whoever is further behind reads from the bucket by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Record, TaskError, TaskId, Tasks, chunks, names};

/// Between two looks: doubles from the first to the second while nothing comes, and is the third once
/// nothing came for so long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(500);
const QUIET_PAUSE: Duration = Duration::from_secs(2);
const QUIET_AFTER: Duration = Duration::from_secs(60);

/// A storage that fails for longer ends the streams; shorter, its followers only wait.
const PATIENCE: Duration = if cfg!(test) {
    Duration::from_millis(100)
} else {
    Duration::from_secs(2 * 60)
};

/// Bytes of chunks that are kept; the newest always is.
const KEPT: usize = 2 * 1024 * 1024;

/// The tails that somebody here follows.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<HashMap<TaskId, Weak<Tail>>>);

impl Tails {
    /// The task's tail; where nobody reads it yet, from the line `next` on, which must begin a chunk.
    pub(super) fn join(&self, tasks: &Tasks, id: &TaskId, next: u64) -> Arc<Tail> {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tails.get(id).and_then(Weak::upgrade);
        if let Some(tail) = known.filter(|tail| !tail.has_failed()) {
            return tail;
        }
        tails.retain(|_, tail| tail.strong_count() > 0);
        let tail = Arc::new(Tail::begin(tasks.clone(), id.clone(), next));
        tails.insert(id.clone(), Arc::downgrade(&tail));
        tail
    }
}

/// One log's end, read as long as somebody holds this.
#[derive(Debug)]
pub(super) struct Tail {
    seen: watch::Receiver<Seen>,
    reader: AbortHandle,
}

/// What the reader knows.
#[derive(Debug, Default)]
struct Seen {
    /// Number of the first line that was not there yet, and so the name of the next chunk.
    next: u64,
    /// The newest chunks with the numbers of their first lines, and their bytes together.
    recent: VecDeque<(u64, Bytes)>,
    size: usize,
    /// The terminal record, once every line was read.
    end: Option<Box<Record>>,
    failed: bool,
}

/// Tells that the reader has learned something.
pub(super) struct Changes(watch::Receiver<Seen>);

impl Changes {
    /// Returns once there is something new, or never will be.
    pub(super) async fn next(mut self) {
        // A reader that is gone has told why, or was replaced.
        let _gone = self.0.changed().await;
    }
}

impl Tail {
    fn begin(tasks: Tasks, id: TaskId, next: u64) -> Self {
        let (sender, seen) = watch::channel(Seen {
            next,
            ..Seen::default()
        });
        let reading = tokio::spawn(async move {
            if let Err(error) = read(&tasks, &id, next, &sender).await {
                tracing::warn!(task = %id, %error, "a log cannot be followed");
                sender.send_modify(|seen| seen.failed = true);
            }
            // Everybody is told, not only who waits at this moment.
            sender.closed().await;
        });
        Self {
            seen,
            reader: reading.abort_handle(),
        }
    }

    /// For waiting: taken before a look, it misses nothing that comes after the look.
    pub(super) fn changes(&self) -> Changes {
        let mut seen = self.seen.clone();
        seen.mark_unchanged();
        Changes(seen)
    }

    /// The chunk that begins with this line, if it is among the newest.
    pub(super) fn chunk(&self, first: u64) -> Option<Bytes> {
        let seen = self.seen.borrow();
        let found = seen.recent.iter().find(|(known, _)| *known == first);
        found.map(|(_, chunk)| chunk.clone())
    }

    /// Whether the chunk that begins with this line was there when the reader looked.
    pub(super) fn has_passed(&self, first: u64) -> bool {
        first < self.seen.borrow().next
    }

    /// The terminal record, once every line was read.
    pub(super) fn end(&self) -> Option<Box<Record>> {
        self.seen.borrow().end.clone()
    }

    /// Whether the reader gave up.
    pub(super) fn has_failed(&self) -> bool {
        self.seen.borrow().failed
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    tasks: &Tasks,
    id: &TaskId,
    mut next: u64,
    sender: &watch::Sender<Seen>,
) -> Result<(), TaskError> {
    let bucket = tasks.bucket();
    // Before the first look, so that nothing is missed.
    let mut hints = bucket.watch(&names::session(id));
    let mut pace = Pace::default();
    let mut end: Option<Box<Record>> = None;
    let mut failing_since: Option<Instant> = None;
    loop {
        match look(tasks, id, next, end.is_some()).await {
            Ok(Look::Chunk(chunk, lines)) => {
                sender.send_modify(|seen| seen.take(next, chunk, lines));
                next += lines;
                pace.begin_anew();
            }
            Ok(Look::Nothing) => hints.changed(pace.pause()).await,
            // The log is looked at once more.
            Ok(Look::Over(record)) => end = Some(record),
            // It was. Where lines are missing nevertheless, they will not come.
            Ok(Look::Empty) => {
                sender.send_modify(|seen| seen.end = end);
                return Ok(());
            }
            Err(TaskError::Bucket(error)) => {
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(error.into());
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        failing_since = None;
    }
}

/// What there is to see.
enum Look {
    /// The next chunk, and how many lines it holds.
    Chunk(Bytes, u64),
    /// No next chunk, and the task goes on.
    Nothing,
    /// No next chunk, and the task is over.
    Over(Box<Record>),
    /// No next chunk, and the task was over before.
    Empty,
}

async fn look(tasks: &Tasks, id: &TaskId, next: u64, was_over: bool) -> Result<Look, TaskError> {
    if let Some((chunk, lines)) = chunks::read(tasks.bucket().as_ref(), id, next).await? {
        return Ok(Look::Chunk(chunk, lines));
    }
    if was_over {
        return Ok(Look::Empty);
    }
    let record = tasks.get(id).await?;
    let record = record.ok_or_else(|| TaskError::Unknown(id.clone()))?;
    Ok(if record.status.is_terminal() {
        Look::Over(Box::new(record))
    } else {
        Look::Nothing
    })
}

impl Seen {
    fn take(&mut self, first: u64, chunk: Bytes, lines: u64) {
        self.next = first + lines;
        self.size += chunk.len();
        self.recent.push_back((first, chunk));
        while self.size > KEPT && self.recent.len() > 1 {
            if let Some((_, oldest)) = self.recent.pop_front() {
                self.size -= oldest.len();
            }
        }
    }
}

/// How long to wait until the next look.
#[derive(Debug)]
struct Pace {
    since: Instant,
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }
}

impl Pace {
    fn begin_anew(&mut self) {
        *self = Self::default();
    }

    fn pause(&mut self) -> Duration {
        if self.since.elapsed() >= QUIET_AFTER {
            return QUIET_PAUSE;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE);
        pause
    }
}
