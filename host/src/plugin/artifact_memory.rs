//! What is kept in the bucket of artifacts from registries: which artifact a tag stood for when it was last
//! loaded, and of each artifact its component's digest, what it says of itself and its signatures.
//!
//! So a registry that is away takes nothing away: a tag gives what it gave last, and an artifact that is
//! named by its digest is asked for once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::about::About;
use super::load::component_name;
use super::registry::Reference;
use super::signature::Signed;
use super::source::Fetched;
use crate::bucket::{Bucket, BucketError, Durability, When};

/// Tags that are remembered; those that were loaded longest ago go first.
const TAGS: usize = 256;
const TAGS_NAME: &str = "plugins/artifacts/tags.json";
/// Where all of it lies.
pub(super) const ARTIFACTS: &str = "plugins/artifacts/";
/// Times that the tags are written again because somebody else's change came first.
const TRIES: usize = 5;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    component: String,
    about: About,
    signatures: Vec<Encoded>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Encoded {
    payload: String,
    signature: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Tags {
    /// What was loaded last stands last.
    tags: Vec<Tag>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tag {
    reference: String,
    manifest: String,
}

/// An artifact by the digest of its manifest, if all of it is there and is what it was.
pub(super) async fn artifact(bucket: &dyn Bucket, manifest_digest: &str) -> Option<Fetched> {
    let kept: Artifact = read(bucket, &artifact_name(manifest_digest)).await?;
    let object = bucket.get(&component_name(&kept.component)).await.ok()??;
    if hex::encode(Sha256::digest(&object.data)) != kept.component {
        return None;
    }
    let decoded = |signed: &Encoded| {
        Some(Signed {
            payload: STANDARD.decode(&signed.payload).ok()?,
            signature: STANDARD.decode(&signed.signature).ok()?,
        })
    };
    Some(Fetched {
        bytes: object.data.as_ref().into(),
        signatures: kept.signatures.iter().map(decoded).collect::<Option<_>>()?,
        manifest_digest: Some(manifest_digest.to_owned()),
        about: Some(kept.about),
        away: None,
    })
}

/// The digest of an artifact's component, by the name of what is kept of the artifact; none where that is
/// something else.
pub(super) async fn component_of(bucket: &dyn Bucket, name: &str) -> Option<String> {
    let kept: Artifact = read(bucket, name).await?;
    Some(kept.component)
}

/// The manifest's digest that a tag stood for when it was last loaded.
pub(super) async fn last(bucket: &dyn Bucket, reference: &Reference) -> Option<String> {
    let reference = reference.to_string();
    let Tags { tags } = read(bucket, TAGS_NAME).await?;
    let tag = tags.into_iter().find(|tag| tag.reference == reference)?;
    Some(tag.manifest)
}

/// Keeps what was loaded. The component is in the bucket already.
pub(super) async fn remember(
    bucket: &dyn Bucket,
    reference: &Reference,
    fetched: &Fetched,
) -> Result<(), BucketError> {
    let (Some(digest), Some(about)) = (&fetched.manifest_digest, &fetched.about) else {
        return Ok(());
    };
    let signatures = fetched.signatures.iter().map(|signed| Encoded {
        payload: STANDARD.encode(&signed.payload),
        signature: STANDARD.encode(&signed.signature),
    });
    let artifact = Artifact {
        component: hex::encode(Sha256::digest(&fetched.bytes)),
        about: about.clone(),
        signatures: signatures.collect(),
    };
    let name = artifact_name(digest);
    if read(bucket, &name).await.as_ref() != Some(&artifact) {
        put(bucket, &name, &artifact, When::Always).await?;
    }
    if reference.digest().is_some() {
        return Ok(());
    }
    let tag = Tag {
        reference: reference.to_string(),
        manifest: digest.clone(),
    };
    for _ in 0..TRIES {
        match note(bucket, &tag).await {
            Err(BucketError::Conflict(_)) => {}
            done => return done,
        }
    }
    tracing::warn!(
        reference = tag.reference,
        "others kept changing the tags: this one is not remembered"
    );
    Ok(())
}

async fn note(bucket: &dyn Bucket, tag: &Tag) -> Result<(), BucketError> {
    let found = bucket.get(TAGS_NAME).await?;
    let when = found
        .as_ref()
        .map_or(When::Absent, |found| When::Matches(found.generation));
    // One that cannot be read is of no use, and is begun anew.
    let found = found.and_then(|found| serde_json::from_slice(&found.data).ok());
    let Tags { mut tags } = found.unwrap_or_default();
    if tags.contains(tag) {
        return Ok(());
    }
    tags.retain(|known| known.reference != tag.reference);
    let surplus = (tags.len() + 1).saturating_sub(TAGS);
    tags.drain(..surplus);
    tags.push(Tag {
        reference: tag.reference.clone(),
        manifest: tag.manifest.clone(),
    });
    put(bucket, TAGS_NAME, &Tags { tags }, when).await
}

async fn read<T: for<'de> Deserialize<'de>>(bucket: &dyn Bucket, name: &str) -> Option<T> {
    let object = bucket.get(name).await.ok()??;
    serde_json::from_slice(&object.data).ok()
}

async fn put(
    bucket: &dyn Bucket,
    name: &str,
    content: &impl Serialize,
    when: When,
) -> Result<(), BucketError> {
    let content = serde_json::to_vec(content).map_err(|error| BucketError::Io {
        name: name.to_owned(),
        source: error.into(),
    })?;
    let content = Bytes::from(content);
    bucket.put(name, content, when, Durability::Synced).await?;
    Ok(())
}

fn artifact_name(manifest_digest: &str) -> String {
    let hex = manifest_digest.trim_start_matches("sha256:");
    format!("{ARTIFACTS}{hex}.json")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::memory_bucket::MemoryBucket;
    use crate::plugin::test_outbound;
    use crate::wasm::World;

    fn reference(tag: &str) -> Reference {
        let text = format!("oci://registry.example/a:{tag}");
        Reference::parse(&text, &Default::default(), &test_outbound()).unwrap()
    }

    fn fetched(bytes: &[u8], manifest: char) -> Fetched {
        Fetched {
            manifest_digest: Some(format!("sha256:{}", manifest.to_string().repeat(64))),
            about: Some(About {
                name: "a".into(),
                version: "1".into(),
                description: String::new(),
                world: World::Validator,
                contract: "gatehouse:plugin@0.1.0".into(),
                component: None,
                grants: Vec::new(),
                limits: Default::default(),
            }),
            signatures: vec![Signed {
                payload: b"{}".to_vec(),
                signature: vec![0, 255],
            }],
            ..Fetched::from(std::sync::Arc::from(bytes))
        }
    }

    #[tokio::test]
    async fn a_tag_gives_what_was_loaded_last_and_nothing_that_was_changed() {
        let bucket = MemoryBucket::default();
        for (manifest, bytes) in [('1', b"one"), ('2', b"two")] {
            let digest = hex::encode(Sha256::digest(bytes));
            let content = Bytes::from_static(bytes);
            let name = component_name(&digest);
            bucket
                .put(&name, content, When::Always, Durability::Synced)
                .await
                .unwrap();
            remember(&bucket, &reference("1"), &fetched(bytes, manifest))
                .await
                .unwrap();
        }
        let last = last(&bucket, &reference("1")).await.unwrap();
        let kept = artifact(&bucket, &last).await.unwrap();
        let expected = fetched(b"two", '2');
        assert_eq!(
            (&*kept.bytes, kept.signatures),
            (&b"two"[..], expected.signatures)
        );

        let name = component_name(&hex::encode(Sha256::digest(b"two")));
        bucket
            .append(&name, Bytes::from_static(b"!"))
            .await
            .unwrap();
        assert!(artifact(&bucket, &last).await.is_none());
    }

    #[tokio::test]
    async fn the_oldest_tags_are_forgotten() {
        let bucket = MemoryBucket::default();
        for tag in 0..=TAGS {
            let tag = reference(&tag.to_string());
            remember(&bucket, &tag, &fetched(b"one", '1'))
                .await
                .unwrap();
        }
        assert!(last(&bucket, &reference("0")).await.is_none());
        assert!(last(&bucket, &reference("1")).await.is_some());
        assert!(last(&bucket, &reference(&TAGS.to_string())).await.is_some());
    }
}
