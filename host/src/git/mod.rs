//! Repositories: cloned, committed to, pushed.
//!
//! Two parties run git, each in a sandbox of its own. What speaks to the remote holds the task's
//! credentials and works on a bare repository in which no file of the repository is ever checked out
//! and no configuration of it ever counts ([`remote`], [`fetch`]). What touches files, hooks, filters
//! and attributes runs as the agent, in the agent's sandbox, without credentials ([`checkout`],
//! [`commit`], [`rebase`]). Between them go packs and bundles, which git checks when it takes them in, and
//! objects of LFS, whose digests are checked ([`lfs`]).
//!
//! Does not know plugins' options, HTTP of ours or Google. Relies on `git`, `ssh-agent`, `ssh-add` and, where
//! it is asked for, `git-lfs` in the system's directories, on `isolation` to run and to end them, on `outbound` to judge addresses.

mod bundle;
mod checkout;
mod clone;
mod commit;
mod explain;
mod fetch;
mod known_hosts;
mod lfs;
mod private_key;
mod push;
mod rebase;
mod remote;
mod repository;
mod run;
mod scan;
mod ssh_agent;
pub mod ssh_client;
pub mod ssh_variables;
mod submodules;
mod url;
mod verify;

pub use clone::{CloneError, Source, Workplace, clone};
pub use private_key::check as check_private_key;
pub use repository::Repository;
pub use url::{RepositoryUrl, Scheme};

/// Where the system's programs are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program of the system.
pub(crate) fn program(name: &str) -> Option<std::path::PathBuf> {
    PATH.split(':')
        .map(|directory| std::path::Path::new(directory).join(name))
        .find(|path| path.is_file())
}
