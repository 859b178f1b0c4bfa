//! What a caller is told of an exchange that failed: our words, and of the server's nothing but a number.

use std::error::Error as _;

use super::pointer::Pointer;
use super::session::Session;
use super::{LfsError, Operation};
use crate::outbound::Forbidden;

impl Session {
    pub(super) fn fault(&self, pointer: &Pointer, code: u16) -> LfsError {
        let path = &pointer.path;
        match (self.operation, code) {
            (Operation::Download, 404 | 410) => LfsError::told(
                "lfs-missing",
                format!("The LFS server does not have the content of `{path}`."),
            ),
            (_, 422) => LfsError::told(
                "lfs-refused",
                format!("The LFS server does not take the object of `{path}`."),
            ),
            _ => self.refusal(code),
        }
    }

    pub(super) fn refusal(&self, code: u16) -> LfsError {
        let (kind, sentence) = match code {
            401 | 403 if self.operation == Operation::Upload => (
                "no-access",
                "The LFS server denies access. gitToken, or sshKey for SSH, must have write access to the \
                 repository."
                    .to_owned(),
            ),
            401 | 403 => (
                "no-access",
                "The LFS server denies access. gitToken, or sshKey for SSH, must have access to the \
                 repository."
                    .to_owned(),
            ),
            404 | 410 | 501 => (
                "no-access",
                "The repository's server offers no Git LFS for it. Check that LFS is enabled there, and \
                 access."
                    .to_owned(),
            ),
            300..=399 => (
                "remote-failed",
                "The LFS server answers with a redirect, which is not followed.".to_owned(),
            ),
            413 | 507 | 509 => (
                "lfs-refused",
                format!("The LFS server's own limit of size, storage or traffic is reached ({code})."),
            ),
            429 => (
                "remote-failed",
                "The LFS server has had too many requests. Try again later.".to_owned(),
            ),
            code => (
                "remote-failed",
                format!("The LFS server answers with status {code}."),
            ),
        };
        LfsError::Told(kind, sentence)
    }
}

pub(super) fn mismatch(pointer: &Pointer) -> LfsError {
    LfsError::told(
        "lfs-mismatch",
        format!(
            "What the LFS server sent for `{}` is not what the repository's pointer says.",
            pointer.path
        ),
    )
}

pub(super) fn strange() -> LfsError {
    LfsError::told(
        "remote-failed",
        "The LFS server's answer is not one of the batch API with the basic transfer.",
    )
}

pub(super) fn forbidden(Forbidden(why): Forbidden) -> LfsError {
    LfsError::told(
        "address-refused",
        format!("The LFS server leads to an address that is not allowed here: {why}."),
    )
}

/// What went wrong, without the URL: it may bear a signature.
pub(super) fn broken(error: reqwest::Error) -> LfsError {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(inner) = inner.downcast_ref::<Forbidden>() {
            return forbidden(inner.clone());
        }
        if inner.to_string().contains("certificate") {
            return LfsError::told(
                "remote-failed",
                "The LFS server's certificate is not trusted here; the operator can name its authority in \
                 git.ca_file.",
            );
        }
        cause = inner.source();
    }
    tracing::info!(%error, "the exchange with an LFS server failed");
    let sentence = if error.is_connect() {
        "The LFS server cannot be reached."
    } else {
        "The connection to the LFS server broke. Try again."
    };
    LfsError::told("remote-failed", sentence)
}
