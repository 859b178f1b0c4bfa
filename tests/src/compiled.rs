//! Compiled plugins, shared by all gateways and jobs of a run: each of them has a data directory of its own, and
//! most of the time would go into compiling the same again and again.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Beside the binary; begun anew by each run, so that it does not grow.
static SHARED: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = crate::binary().with_file_name("compiled-plugins");
    let _ = fs::remove_dir_all(&shared);
    shared
});

/// Gives a data directory all that was compiled so far.
pub(crate) fn lend(data: &Path) {
    link_all(&SHARED, &data.join("cache/wasm"));
}

/// Takes what was compiled for a data directory.
pub(crate) fn keep(data: &Path) {
    link_all(&data.join("cache/wasm"), &SHARED);
}

fn link_all(from: &Path, to: &Path) {
    let mut private = fs::DirBuilder::new();
    private
        .recursive(true)
        .mode(0o700)
        .create(to)
        .expect("writable");
    for file in fs::read_dir(from).into_iter().flatten().flatten() {
        // It is there already, or gone again.
        let _ = fs::hard_link(file.path(), to.join(file.file_name()));
    }
}
