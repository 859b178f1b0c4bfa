//! A secret that the operator did not configure: made once, and kept in a file that is the owner's alone.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// Bytes of randomness in a secret of our making.
const SECRET_BYTES: usize = 32;

/// The kept secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others could have read or replaced it.
    #[error("{0} can be read by others: make it mode 0600, or remove it to have a new one made")]
    Exposed(PathBuf),
    /// There is nothing in the file.
    #[error("{0} is empty: remove it to have a new secret made")]
    Empty(PathBuf),
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or its folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// The secret in `path`, which is made where it is absent. `made` tells the log what it is for.
pub(crate) fn kept(path: &Path, made: &str) -> Result<SecretString, SecretError> {
    let failed = |source| SecretError::Io {
        path: path.to_owned(),
        source,
    };
    match make(path) {
        Ok(()) => {
            tracing::info!(path = %path.display(), "{made}");
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(SecretError::Exposed(path.to_owned()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    match text.trim() {
        "" => Err(SecretError::Empty(path.to_owned())),
        secret => Ok(SecretString::from(secret)),
    }
}

/// Makes the file whole or not at all, so that two gateways that start at once use the same one.
fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut random = [0; SECRET_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    // The temporary file is made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(hex::encode(random).as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_missing_secret_is_made_once_and_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").join("webhook.secret");
        let made = kept(&path, "made").unwrap();
        assert_eq!(made.expose_secret().len(), 64);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            kept(&path, "made").unwrap().expose_secret(),
            made.expose_secret()
        );
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhook.secret");
        fs::write(&path, "known").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(kept(&path, "made"), Err(SecretError::Exposed(_))));
    }

    #[test]
    fn an_empty_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhook.secret");
        fs::write(&path, "\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(kept(&path, "made"), Err(SecretError::Empty(_))));
    }
}
