//! Where signatures are: beside a component's source, and in the bucket beside the component itself. The
//! bucket keeps those that counted, so that a set can be made active again when its sources have moved on, as
//! long as the keys are still known.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::load::{Loader, Sources, load_error};
use super::manifest::Entry;
use super::signature::{Claim, FILE, Kept, Verified};
use super::source::{self, Fetched, Source};
use super::{PluginError, about};
use crate::bucket::{BucketError, Durability, When};
use crate::wasm::LoadError;

pub(super) fn name(digest: &str) -> String {
    format!("plugins/components/{digest}.sig")
}

impl Loader {
    /// Who signed the component that an entry's source gave.
    pub(super) async fn verify(
        &self,
        entry: &Entry,
        digest: &str,
        fetched: &Fetched,
    ) -> Result<Verified, PluginError> {
        let failed = |error| load_error(&entry.name, error);
        if self.signatures.keys.is_empty() && !self.signatures.are_wanted() {
            return Ok(Verified::default());
        }
        let mut kept = Vec::new();
        if !matches!(entry.source, Source::File(_)) {
            // As with the component: what is known already is not asked for again.
            kept = self.kept(digest).await?.signatures;
            let known = kept.iter().cloned().chain(fetched.claims()).collect();
            let known = self.signatures.check(&fetched.bytes, known).await;
            match (known, &entry.source) {
                (Ok(known), _) if !known.signed_by.is_empty() => return Ok(known),
                (known, Source::Bucket(_)) => return known.map_err(failed),
                _ => {}
            }
        }
        let asked = match self.asked(entry, fetched).await {
            Err(error) if !self.signatures.are_wanted() => {
                let plugin = &*entry.name;
                tracing::warn!(%error, plugin, "its signatures cannot be read, and none is wanted");
                Vec::new()
            }
            claims => claims.map_err(failed)?,
        };
        let claims = kept.into_iter().chain(asked).collect();
        let checked = self.signatures.check(&fetched.bytes, claims).await;
        checked.map_err(failed)
    }

    /// What lies beside the source now.
    async fn asked(&self, entry: &Entry, fetched: &Fetched) -> Result<Vec<Claim>, LoadError> {
        match (&entry.source, &self.sources) {
            (Source::File(path), _) => beside(path).await,
            (
                Source::Url(url),
                Some(Sources {
                    client, outbound, ..
                }),
            ) => source::fetch_signatures(client, outbound, url).await,
            (Source::Registry(reference), _) => self.signatures_of(reference, fetched).await,
            (Source::Url(_) | Source::Bucket(_), _) => Ok(Vec::new()),
        }
    }

    /// Who signed a component of the bucket, by the keys of now.
    pub(super) async fn verify_kept(
        &self,
        plugin: &str,
        digest: &str,
        component: &Arc<[u8]>,
    ) -> Result<Verified, PluginError> {
        if self.signatures.keys.is_empty() && !self.signatures.are_wanted() {
            return Ok(Verified::default());
        }
        let kept = self.kept(digest).await?.signatures;
        let checked = self.signatures.check(component, kept).await;
        checked.map_err(|error| load_error(plugin, error))
    }

    /// Keeps the signatures of a component beside it.
    pub(super) async fn keep_signatures(
        &self,
        digest: &str,
        verified: &Verified,
    ) -> Result<(), BucketError> {
        if self.is_aside || verified.claims.is_empty() {
            return Ok(());
        }
        let mut kept = self.kept(digest).await?;
        if !kept.add(&verified.claims) {
            return Ok(());
        }
        let name = name(digest);
        let text = serde_json::to_vec(&kept).map_err(|error| BucketError::Io {
            name: name.clone(),
            source: error.into(),
        })?;
        // Of two gateways that write at once one is forgotten, and found again at its next load.
        self.bucket
            .put(&name, Bytes::from(text), When::Always, Durability::Synced)
            .await?;
        Ok(())
    }

    /// What cannot be read is no signature.
    async fn kept(&self, digest: &str) -> Result<Kept, BucketError> {
        let name = name(digest);
        let Some(object) = self.bucket.get(&name).await? else {
            return Ok(Kept::default());
        };
        Ok(
            serde_json::from_slice(&object.data).unwrap_or_else(|error| {
                tracing::error!(%error, name, "signatures in the bucket cannot be read");
                Kept::default()
            }),
        )
    }
}

/// Where the signatures of a component's file lie.
pub(super) fn file_beside(component: &Path) -> PathBuf {
    let mut path = OsString::from(component);
    path.push(".sig");
    path.into()
}

async fn beside(source: &Path) -> Result<Vec<Claim>, LoadError> {
    let refused = |what: String| LoadError::new("plugin-signature-refused", what);
    let source = source.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let component = match source.is_dir() {
            true => about::of_directory(&source)?.1,
            false => source,
        };
        let path = file_beside(&component);
        let shown = path.display();
        match crate::wasm::read_bounded(&path, FILE) {
            Ok(Some(file)) => Claim::detached(&file, &shown.to_string()),
            Ok(None) => Err(refused(format!(
                "`{shown}` is no file of at most {FILE} bytes"
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(refused(format!("`{shown}` cannot be read: {error}"))),
        }
    });
    read.await
        .map_err(|_| refused("reading signatures broke off".to_owned()))?
}
