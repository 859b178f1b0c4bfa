//! The key of one machine, in a file that only the service can read.
//!
//! The file holds the 32 bytes as 64 hex digits and a newline. A wrapped data key is a random nonce
//! of 12 bytes, the ciphertext and its tag of 16: AES-256-GCM under the machine's key.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{DataKey, EnvelopeError, KeyService, Wrapped, random};

const NONCE: usize = 12;
/// A key file is no longer than this.
const FILE_LIMIT: u64 = 128;

/// A 32-byte key; `kid` is `local:{first 16 hex of its SHA-256}`.
pub struct LocalKey {
    key: DataKey,
    kid: String,
}

impl LocalKey {
    /// Reads the key; makes it once, with mode 0600, where the file is absent. `true`: it was made.
    /// A file that others can read is refused. Of several processes that start at once, one makes it
    /// and the others read what it made.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), EnvelopeError> {
        let failed =
            |error: io::Error| EnvelopeError::KeyService(format!("{}: {error}", path.display()));
        match read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return Ok((Self::of(other.map_err(failed)?), false)),
        }
        let made = Zeroizing::new(random::<32>()?);
        match create(path, &made) {
            Ok(()) => Ok((Self::of(made), true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok((Self::of(read(path).map_err(failed)?), false))
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn of(key: DataKey) -> Self {
        let fingerprint = hex::encode(Sha256::digest(key.as_slice()));
        let kid = format!("local:{}", fingerprint.get(..16).unwrap_or_default());
        Self { key, kid }
    }

    fn cipher(&self) -> Aes256Gcm {
        let key: &[u8; 32] = &self.key;
        Aes256Gcm::new(key.into())
    }
}

fn read(path: &Path) -> io::Result<DataKey> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let text = format!(
            "others than its owner can use the key (mode {mode:04o}); see to it that it is 0600"
        );
        return Err(io::Error::new(ErrorKind::PermissionDenied, text));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_LIMIT as usize));
    file.take(FILE_LIMIT).read_to_end(&mut text)?;
    let mut key = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), key.as_mut_slice()).map_err(|_| {
        io::Error::new(
            ErrorKind::InvalidData,
            "is not a key: 64 hex digits are expected",
        )
    })?;
    Ok(key)
}

/// Fails with `AlreadyExists` where somebody made it meanwhile; the file is whole or absent.
fn create(path: &Path, key: &DataKey) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut text = Zeroizing::new([0; 65]);
    if let Some(digits) = text.get_mut(..64) {
        hex::encode_to_slice(key.as_slice(), digits).map_err(io::Error::other)?;
    }
    if let Some(last) = text.last_mut() {
        *last = b'\n';
    }
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_slice())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

impl std::fmt::Debug for LocalKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LocalKey")
    }
}

#[async_trait]
impl KeyService for LocalKey {
    async fn wrap(&self, key: &DataKey, aad: &[u8]) -> Result<Wrapped, EnvelopeError> {
        let nonce = random::<NONCE>()?;
        let encrypted = self
            .cipher()
            .encrypt(
                &Nonce::from(nonce),
                Payload {
                    msg: key.as_slice(),
                    aad,
                },
            )
            .map_err(|_| EnvelopeError::KeyService("the local key cannot wrap".to_owned()))?;
        Ok(Wrapped {
            kid: self.kid.clone(),
            key: [nonce.as_slice(), &encrypted].concat(),
        })
    }

    async fn unwrap(&self, wrapped: &Wrapped, aad: &[u8]) -> Result<DataKey, EnvelopeError> {
        if wrapped.kid != self.kid {
            return Err(EnvelopeError::Refused("it was sealed with another key"));
        }
        const FORGED: EnvelopeError = EnvelopeError::Refused("its data key was changed");
        let (nonce, encrypted) = wrapped.key.split_first_chunk::<NONCE>().ok_or(FORGED)?;
        let payload = Payload {
            msg: encrypted,
            aad,
        };
        let plain = Zeroizing::new(
            self.cipher()
                .decrypt(&Nonce::from(*nonce), payload)
                .map_err(|_| FORGED)?,
        );
        let mut key = Zeroizing::new([0; 32]);
        if plain.len() != key.len() {
            return Err(FORGED);
        }
        key.copy_from_slice(&plain);
        Ok(key)
    }

    fn kind(&self) -> &'static str {
        "local"
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys/local.key");
        let (made, was_made) = LocalKey::load_or_create(&path).unwrap();
        let (read, was_made_again) = LocalKey::load_or_create(&path).unwrap();
        assert!(was_made && !was_made_again);
        assert_eq!((*made.key, &made.kid), (*read.key, &read.kid));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(made.kid.len(), "local:".len() + 16);
        assert_eq!(format!("{made:?}"), "LocalKey");
    }

    #[test]
    fn of_many_processes_that_start_at_once_one_makes_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("local.key");
        let start = std::sync::Barrier::new(8);
        let loaded: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        LocalKey::load_or_create(&path).unwrap()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(loaded.iter().filter(|(_, made)| *made).count(), 1);
        assert!(loaded.iter().all(|(key, _)| key.kid == loaded[0].0.kid));
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing else is left behind"
        );
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("local.key");
        LocalKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = LocalKey::load_or_create(&path).unwrap_err();
        assert!(
            matches!(&error, EnvelopeError::KeyService(text) if text.contains("0640")),
            "{error}"
        );

        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for content in ["", "abc", &"x".repeat(64), &"a".repeat(200)] {
            fs::write(&path, content).unwrap();
            assert!(
                matches!(
                    LocalKey::load_or_create(&path),
                    Err(EnvelopeError::KeyService(_))
                ),
                "{content}"
            );
        }
    }
}
