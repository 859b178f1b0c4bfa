//! From an entry's source to its component, where that is more than a file or a download: directories, the
//! bucket, and registries with what is remembered of them.

use std::path::Path;
use std::sync::Arc;

use super::load::{Loader, Sources, component_name, digest_of};
use super::manifest::Entry;
use super::registry::{Pull, Reference};
use super::signature::Claim;
use super::source::Fetched;
use super::{about, artifact_memory};
use crate::wasm::LoadError;

/// Of failures that may be over later.
pub(super) const UNREACHABLE: &str = "plugin-source-unreachable";

impl Loader {
    /// A component's file, or a directory with one.
    pub(super) async fn of_path(&self, path: &Path) -> Result<Fetched, LoadError> {
        let (path, limit) = (path.to_owned(), self.max_component_size);
        let read = tokio::task::spawn_blocking(move || {
            let (about, file) = match path.is_dir() {
                true => about::of_directory(&path).map(|(about, file)| (Some(about), file))?,
                false => (None, path),
            };
            let bytes = read_component(&file, limit)?;
            Ok(Fetched {
                about,
                ..Fetched::from(bytes)
            })
        });
        let broken = |_| LoadError::new("plugin-not-found", "reading it broke off");
        read.await.map_err(broken)?
    }

    /// What the bucket has by a digest.
    pub(super) async fn of_bucket(&self, digest: &str) -> Result<Fetched, LoadError> {
        match self.bucket.get(&component_name(digest)).await {
            Ok(Some(object)) => Ok(Fetched::from(Arc::from(object.data.as_ref()))),
            Ok(None) => Err(LoadError::new(
                "plugin-not-found",
                format!(
                    "the bucket has no component {digest}: `bucket:` is for one that a set of this bucket had before"
                ),
            )),
            Err(error) => Err(LoadError::new("plugin-storage", error.to_string())),
        }
    }

    /// What a registry has. By a digest it is asked once; by a tag at each reading of the manifest, and while
    /// it is away the tag gives what it gave last.
    pub(super) async fn of_registry(
        &self,
        entry: &Entry,
        reference: &Reference,
    ) -> Result<Fetched, LoadError> {
        if let Some(kept) = self.pinned(entry, reference).await {
            return Ok(kept);
        }
        let away = match self.ask_registry(reference).await {
            Err(error) if error.code == UNREACHABLE => error,
            answered => return answered,
        };
        let last = artifact_memory::last(&*self.bucket, reference).await;
        let kept = match last {
            Some(digest) => artifact_memory::artifact(&*self.bucket, &digest).await,
            None => None,
        };
        match kept {
            Some(kept) => {
                tracing::warn!(
                    plugin = entry.name,
                    error = %away,
                    "a tag gives what it gave last"
                );
                Ok(Fetched {
                    away: Some(away),
                    ..kept
                })
            }
            None => Err(away),
        }
    }

    /// What need not be asked for.
    async fn pinned(&self, entry: &Entry, reference: &Reference) -> Option<Fetched> {
        let bucket = &*self.bucket;
        let manifest = match (reference.digest(), &entry.sha256) {
            (Some(digest), _) => Some(digest.to_owned()),
            (None, Some(_)) => artifact_memory::last(bucket, reference).await,
            (None, None) => return None,
        };
        let artifact = match &manifest {
            Some(digest) => artifact_memory::artifact(bucket, digest).await,
            None => None,
        };
        let is_wanted = |found: &Fetched| {
            let pinned = entry.sha256.as_ref();
            pinned.is_none_or(|digest| *digest == digest_of(&found.bytes))
        };
        match (artifact.filter(is_wanted), &entry.sha256) {
            (Some(found), _) => Some(found),
            (None, Some(digest)) => self.of_bucket(digest).await.ok(),
            (None, None) => None,
        }
    }

    /// What cosign has put beside an artifact since it was fetched.
    pub(super) async fn signatures_of(
        &self,
        reference: &Reference,
        fetched: &Fetched,
    ) -> Result<Vec<Claim>, LoadError> {
        let Some(sources) = &self.sources else {
            return Ok(Vec::new());
        };
        let known = fetched.manifest_digest.as_ref();
        let reference = known.map_or_else(|| reference.clone(), |digest| reference.pinned(digest));
        let Sources {
            client, registries, ..
        } = sources;
        let mut pull = Pull::begin(client, registries, &reference).await?;
        // A tag may stand for another component by now.
        match pull.is_of(&digest_of(&fetched.bytes)) {
            true => Ok(Claim::of_artifact(
                &pull.digest.clone(),
                pull.signatures().await?,
            )),
            false => Ok(Vec::new()),
        }
    }

    async fn ask_registry(&self, reference: &Reference) -> Result<Fetched, LoadError> {
        let Some(Sources {
            client, registries, ..
        }) = &self.sources
        else {
            let message = "nothing is fetched from registries here";
            return Err(LoadError::new(UNREACHABLE, message));
        };
        let mut pull = Pull::begin(client, registries, reference).await?;
        let kept = artifact_memory::artifact(&*self.bucket, &pull.digest).await;
        let mut fetched = match kept {
            Some(kept) => kept,
            None => {
                let pulled = pull.plugin(self.max_component_size).await?;
                Fetched {
                    about: Some(pulled.about),
                    manifest_digest: Some(pull.digest.clone()),
                    ..Fetched::from(pulled.component)
                }
            }
        };
        // They may come later than what they are about.
        fetched.signatures = pull.signatures().await?;
        Ok(fetched)
    }
}

fn read_component(file: &Path, limit: u64) -> Result<Arc<[u8]>, LoadError> {
    let shown = file.display();
    match crate::wasm::read_bounded(file, limit) {
        Ok(Some(bytes)) => Ok(bytes.into()),
        Ok(None) => Err(LoadError::new(
            "plugin-too-large",
            format!("`{shown}` is no file of at most {limit} bytes (plugins.max_component_size)"),
        )),
        Err(error) => Err(LoadError::new(
            "plugin-not-found",
            format!("`{shown}` cannot be read: {error}"),
        )),
    }
}
