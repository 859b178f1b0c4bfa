//! Plugins in OCI registries: what is asked of one to have a plugin, and to publish one.
//!
//! `reference` is what names an artifact, `exchange` speaks to the registry and shows it what it wants to
//! see, `layout` says how a plugin lies there, `push` publishes. Everything is checked against its digest,
//! and nothing is taken that is larger than it may be. Does not know the bucket: what is kept of an
//! artifact is `artifact_memory`'s matter. Relies on [`HttpClient`], so that no address is reached that the
//! policy forbids, wherever a registry leads to.

mod exchange;
mod layout;
mod push;
mod reference;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::about::About;
use super::http::HttpClient;
use super::signature::Signed;
use super::source::layout_error;
use crate::config::Registries;
use crate::wasm::LoadError;
use exchange::{Ask, Exchange, LONG, SHORT};
use layout::{Descriptor, Image};
pub(super) use push::push;
pub(super) use reference::{Reference, SCHEME};

/// Bytes of a manifest.
const MANIFEST: u64 = 1 << 20;
/// What may come in place of a manifest is asked for too, to tell what it is.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.oci.image.index.v1+json;q=0.5, \
                         application/vnd.docker.distribution.manifest.v2+json;q=0.5";
/// Bytes of what a plugin says of itself.
pub(super) const ABOUT: u64 = 64 << 10;
/// Signatures of an artifact, and bytes of one's payload.
const SIGNATURES: usize = 16;
const PAYLOAD: u64 = 64 << 10;
/// Where cosign keeps a signature's bytes.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A registry, asked about one artifact.
pub(super) struct Pull<'a> {
    exchange: Exchange<'a>,
    image: Image,
    /// `sha256:…` of the artifact's manifest.
    pub(super) digest: String,
}

/// A plugin as a registry has it.
#[derive(Debug)]
pub(super) struct Pulled {
    pub(super) component: Arc<[u8]>,
    pub(super) about: About,
}

impl<'a> Pull<'a> {
    /// Asks which artifact a reference stands for now.
    pub(super) async fn begin(
        client: &'a dyn HttpClient,
        registries: &'a Registries,
        reference: &'a Reference,
    ) -> Result<Self, LoadError> {
        let mut exchange = Exchange::new(client, registries, reference, "pull");
        let which = reference.manifest();
        let manifest = manifest(&mut exchange, which).await?;
        let manifest = manifest.ok_or_else(|| exchange.away("there is no such artifact"))?;
        let digest = layout::digest(&manifest);
        if reference
            .digest
            .as_ref()
            .is_some_and(|wanted| *wanted != digest)
        {
            return Err(mismatch(&format!("the manifest of `{reference}`"), &digest));
        }
        Ok(Self {
            image: Image::read(&manifest)?,
            exchange,
            digest,
        })
    }

    /// Whether the artifact's component is the one with this digest.
    pub(super) fn is_of(&self, component: &str) -> bool {
        let plugin = self.image.plugin();
        plugin.is_ok_and(|(part, _)| part.digest.strip_prefix("sha256:") == Some(component))
    }

    /// The component, of at most `most` bytes, and what it says of itself.
    pub(super) async fn plugin(&mut self, most: u64) -> Result<Pulled, LoadError> {
        let (component, about) = self.image.plugin()?;
        let (component, about) = (component.clone(), about.clone());
        // A wrong text costs less to find out about than a component.
        let about = blob(&mut self.exchange, &about, ABOUT, SHORT).await?;
        let about = About::parse(&about)?;
        let component = blob(&mut self.exchange, &component, most, LONG).await?;
        Ok(Pulled {
            component: component.into(),
            about,
        })
    }

    /// What cosign has put beside the artifact. Nothing of it is verified here.
    pub(super) async fn signatures(&mut self) -> Result<Vec<Signed>, LoadError> {
        let tag = format!("{}.sig", self.digest.replace(':', "-"));
        let Some(manifest) = manifest(&mut self.exchange, &tag).await? else {
            return Ok(Vec::new());
        };
        let image = Image::read(&manifest)?;
        if image.layers.len() > SIGNATURES {
            return Err(layout_error(format!(
                "it has {} signatures; at most {SIGNATURES} are looked at",
                image.layers.len()
            )));
        }
        let mut signatures = Vec::new();
        for layer in &image.layers {
            // What bears no signature is none, and cannot be missed.
            let Some(signature) = layer.annotations.get(SIGNATURE) else {
                continue;
            };
            let Ok(signature) = STANDARD.decode(signature) else {
                continue;
            };
            let payload = blob(&mut self.exchange, layer, PAYLOAD, SHORT).await?;
            signatures.push(Signed { payload, signature });
        }
        Ok(signatures)
    }
}

/// None where there is none by this tag or digest.
async fn manifest(exchange: &mut Exchange<'_>, which: &str) -> Result<Option<Vec<u8>>, LoadError> {
    let place = exchange.about.place("manifests", which);
    let answer = exchange
        .send(Ask::get(place, MANIFESTS, MANIFEST, SHORT))
        .await?;
    match answer.status {
        200 => Ok(Some(answer.body)),
        404 => Ok(None),
        status => Err(exchange.away(format!("it answers {status}"))),
    }
}

/// What a descriptor names, if it is what it is said to be.
async fn blob(
    exchange: &mut Exchange<'_>,
    part: &Descriptor,
    most: u64,
    time: std::time::Duration,
) -> Result<Vec<u8>, LoadError> {
    if part.size > most {
        return Err(exchange.too_large(most));
    }
    let place = exchange.about.place("blobs", &part.digest);
    let answer = exchange
        .send(Ask::get(place, "*/*", part.size, time))
        .await?;
    if answer.status != 200 {
        return Err(exchange.away(format!("it answers {} for a part", answer.status)));
    }
    let found = layout::digest(&answer.body);
    if found != part.digest {
        let what = format!(
            "a part of `{}`, which should have {},",
            exchange.about, part.digest
        );
        return Err(mismatch(&what, &found));
    }
    Ok(answer.body)
}

fn mismatch(what: &str, found: &str) -> LoadError {
    let message = format!(
        "{what} has the digest {found}: the registry gives something else than was asked for"
    );
    LoadError::new("plugin-digest-mismatch", message)
}

#[cfg(test)]
mod tests;
