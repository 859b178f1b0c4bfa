//! Files of Git LFS: fetched before a checkout, sent before a push.
//!
//! The same two parties as for the rest of git. The one with credentials reads pointers out of the bare
//! repository, asks the LFS server that belongs to the URL that was cloned, and moves objects whose
//! digest it checks. The repository's `.lfsconfig` has no say in where it asks. Filling in files and
//! making pointers is `git-lfs` as the agent, by filters in the workspace's own configuration: every
//! object that a checkout needs is there before it, so nothing of the agent's has to speak to a server.
//!
//! Speaks the batch API with the `basic` transfer only, by the one dialler: an address that the server
//! answers with is judged like any other. Does not know how commits are made or pushed.

mod endpoint;
mod failures;
mod incoming;
mod outgoing;
mod pointer;
mod session;

use secrecy::SecretString;

use super::clone::CloneError;
use super::push::PushError;
use super::run::RunError;
use crate::config;
use crate::outbound::{Forbidden, Outbound};

pub(super) use incoming::{Place, switch_off};

/// The program that the agent's git needs.
const PROGRAM: &str = "git-lfs";
/// Objects that are asked for at once; servers take no more.
const BATCH: usize = 100;
/// Objects that are under way at once.
const AT_ONCE: usize = 4;

/// Why objects were not moved.
#[derive(Debug, thiserror::Error)]
pub(super) enum LfsError {
    /// A code and a sentence for the caller, which hold nothing that a server said.
    #[error("{0}: {1}")]
    Told(&'static str, String),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl LfsError {
    fn told(code: &'static str, sentence: impl Into<String>) -> Self {
        Self::Told(code, sentence.into())
    }
}

impl From<std::io::Error> for LfsError {
    fn from(error: std::io::Error) -> Self {
        Self::Run(error.into())
    }
}

impl From<LfsError> for CloneError {
    fn from(error: LfsError) -> Self {
        match error {
            LfsError::Told(_, sentence) => Self::told(sentence),
            LfsError::Run(error) => error.into(),
        }
    }
}

impl From<LfsError> for PushError {
    fn from(error: LfsError) -> Self {
        match error {
            LfsError::Told(code, sentence) => Self::Told(code, sentence),
            LfsError::Run(error) => Self::Run(error),
        }
    }
}

/// Moves objects of one task.
#[derive(Clone, Debug)]
pub(super) struct Lfs {
    outbound: Outbound,
    /// Bytes of one repository's objects.
    most: u64,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Download,
    Upload,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

impl Lfs {
    /// By `[git]`, with the dialler of the task.
    ///
    /// # Errors
    /// Where this machine lacks the program, or the operator's authorities cannot be read.
    pub(super) fn new(settings: &config::Git, outbound: &Outbound) -> Result<Self, LfsError> {
        if super::program(PROGRAM).is_none() {
            return Err(LfsError::told(
                "lfs-not-installed",
                "gitLfs needs the program git-lfs, which is not installed on this machine.",
            ));
        }
        let authorities = match &settings.ca_file {
            Some(file) => std::fs::read(file)?,
            None => Vec::new(),
        };
        let outbound = outbound
            .trusting(&authorities)
            .map_err(|Forbidden(why)| std::io::Error::other(why))?;
        Ok(Self {
            outbound,
            most: settings.max_lfs_size,
        })
    }

    /// Refuses what is too much, before any of it moves.
    fn measure(&self, pointers: &[pointer::Pointer]) -> Result<u64, LfsError> {
        let total = pointers
            .iter()
            .fold(0_u64, |sum, pointer| sum.saturating_add(pointer.size));
        if total <= self.most {
            return Ok(total);
        }
        Err(LfsError::told(
            "too-large",
            format!(
                "The objects of Git LFS have {total} bytes in all, more than the operator's \
                 git.max_lfs_size ({} bytes).",
                self.most
            ),
        ))
    }
}

/// Where an object lies below `.git`.
fn place_of(oid: &str) -> String {
    let part = |from, to| oid.get(from..to).unwrap_or_default();
    format!("lfs/objects/{}/{}/{oid}", part(0, 2), part(2, 4))
}

/// A header's value that no log shows.
fn secret_value(value: &SecretString) -> Option<reqwest::header::HeaderValue> {
    use secrecy::ExposeSecret as _;
    let mut value = reqwest::header::HeaderValue::from_str(value.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
