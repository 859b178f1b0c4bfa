//! Publishing: the parts that the registry does not have yet, then the manifest under its tag.

use super::exchange::{Ask, Exchange, SENDING, SHORT};
use super::layout::{Artifact, IMAGE, digest};
use super::{HttpClient, Reference, Registries};
use crate::plugin::about::About;
use crate::plugin::manifest::mistake;
use crate::wasm::{LoadError, Shape};

/// Bytes of an answer to what is only sent.
const ANSWER: u64 = 64 << 10;

/// Publishes a plugin; gives the digest of its manifest.
pub(in crate::plugin) async fn push(
    client: &dyn HttpClient,
    registries: &Registries,
    reference: &Reference,
    component: &[u8],
    about: &About,
    shape: &Shape,
) -> Result<String, LoadError> {
    let (Some(tag), None) = (&reference.tag, &reference.digest) else {
        return Err(mistake(
            "a plugin is published under a tag: write HOST/REPOSITORY:TAG, without a digest",
        ));
    };
    let artifact = Artifact::new(component, about, shape)?;
    let mut exchange = Exchange::new(client, registries, reference, "pull,push");
    for part in [component, &artifact.about, &artifact.config] {
        blob(&mut exchange, part).await?;
    }
    let ask = Ask {
        method: "PUT",
        url: reference.place("manifests", tag),
        headers: vec![("content-type", IMAGE)],
        body: artifact.manifest.clone(),
        most: ANSWER,
        time: SHORT,
    };
    match exchange.send(ask).await?.status {
        201 => Ok(digest(&artifact.manifest)),
        status => Err(exchange.away(format!(
            "it does not take the manifest and answers {status}"
        ))),
    }
}

async fn blob(exchange: &mut Exchange<'_>, bytes: &[u8]) -> Result<(), LoadError> {
    let digest = digest(bytes);
    let ask = |method, url, body, time| Ask {
        method,
        url,
        headers: vec![("content-type", "application/octet-stream")],
        body,
        most: ANSWER,
        time,
    };
    let place = exchange.about.place("blobs", &digest);
    let there = exchange.send(ask("HEAD", place, Vec::new(), SHORT)).await?;
    if there.status == 200 {
        return Ok(());
    }
    let place = exchange.about.place("blobs", "uploads/");
    let begun = exchange
        .send(ask("POST", place.clone(), Vec::new(), SHORT))
        .await?;
    if begun.status != 202 {
        return Err(exchange.away(format!("it takes no upload and answers {}", begun.status)));
    }
    let mut to = exchange.location(&place, &begun)?;
    to.query_pairs_mut().append_pair("digest", &digest);
    match exchange
        .send(ask("PUT", to, bytes.to_vec(), SENDING))
        .await?
        .status
    {
        201 => Ok(()),
        status => Err(exchange.away(format!("it does not take a part and answers {status}"))),
    }
}
