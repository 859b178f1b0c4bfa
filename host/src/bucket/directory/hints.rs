//! One inotify instance per bucket, many watches on it.
//!
//! A kernel allows few instances (128 by default) and many watches. A watch on a directory is given
//! up when its last [`Watch`] is gone: at its next event, or when the next watch is asked for.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::StreamExt;
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::runtime::Handle;
use tokio::sync::watch::Sender;
use tokio::task::AbortHandle;

use crate::bucket::Watch;

/// Whoever is told of changes in a directory.
type Table = Arc<Mutex<HashMap<WatchDescriptor, Sender<u64>>>>;

/// Not started before the first watch. Without inotify, watches are blind.
#[derive(Debug, Default)]
pub(super) struct Hints {
    source: OnceLock<Option<Source>>,
}

#[derive(Debug)]
struct Source {
    watches: Mutex<Watches>,
    table: Table,
    reader: AbortHandle,
}

impl Hints {
    pub(super) fn watch(&self, directory: &Path) -> Watch {
        let source = self.source.get_or_init(|| {
            Source::start()
                .inspect_err(|error| tracing::warn!(%error, "inotify is not available; changes are polled for"))
                .ok()
        });
        let Some(source) = source else {
            return Watch::blind();
        };
        source.watch(directory).unwrap_or_else(|error| {
            tracing::debug!(directory = %directory.display(), %error, "cannot watch; changes are polled for");
            Watch::blind()
        })
    }
}

#[cfg(test)]
impl Hints {
    /// How many directories are watched.
    pub(super) fn watched(&self) -> usize {
        self.source
            .get()
            .and_then(Option::as_ref)
            .map_or(0, |source| lock(&source.table).len())
    }
}

impl Source {
    fn start() -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let mut events = Inotify::init()?.into_event_stream(vec![0; 4096])?;
        let watches = events.watches();
        let table = Table::default();
        let told = Arc::clone(&table);
        let mut unused = watches.clone();
        let reader = runtime.spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => tell(&told, &mut unused, &event.wd, event.mask),
                    Err(error) => {
                        // Without the table's senders every watch turns blind, which is slow and right.
                        tracing::warn!(%error, "inotify failed; changes are polled for");
                        break;
                    }
                }
            }
            lock(&told).clear();
        });
        Ok(Self {
            watches: Mutex::new(watches),
            table,
            reader: reader.abort_handle(),
        })
    }

    fn watch(&self, directory: &Path) -> io::Result<Watch> {
        if self.reader.is_finished() {
            return Ok(Watch::blind());
        }
        let mut watches = lock(&self.watches);
        let mut table = lock(&self.table);
        table.retain(|descriptor, told| {
            let used = !told.is_closed();
            if !used {
                // It fails where the directory is gone, and its watch with it.
                let _ = watches.remove(descriptor.clone());
            }
            used
        });
        // The kernel answers with the descriptor it has where the directory is watched already.
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_TO
            | WatchMask::MODIFY
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::ONLYDIR;
        let descriptor = watches.add(directory, mask)?;
        let told = table.entry(descriptor).or_insert_with(|| Sender::new(0));
        Ok(Watch::on(told.subscribe()))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn tell(table: &Table, watches: &mut Watches, descriptor: &WatchDescriptor, mask: EventMask) {
    let mut table = lock(table);
    if mask.contains(EventMask::Q_OVERFLOW) {
        table.values().for_each(bump);
        return;
    }
    let Some(told) = table.get(descriptor) else {
        return;
    };
    bump(told);
    let unused = told.is_closed();
    if unused {
        let _ = watches.remove(descriptor.clone());
    }
    // `IGNORED` is the kernel's last word on a watch, e.g. because the directory was removed.
    if unused || mask.contains(EventMask::IGNORED) {
        table.remove(descriptor);
    }
}

fn bump(told: &Sender<u64>) {
    told.send_modify(|count| *count = count.wrapping_add(1));
}

/// What the locks guard is whole at every moment, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
