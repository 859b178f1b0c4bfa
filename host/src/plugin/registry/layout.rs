//! How a plugin lies in a registry: the layout that the WebAssembly community agreed on, with one layer
//! more for what the plugin is and asks for.
//!
//! What is published is checked here before, what is pulled is checked here after: a layout that the
//! gateway cannot read is never published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::reference::is_digest;
use crate::plugin::about::About;
use crate::plugin::source::layout_error;
use crate::wasm::{LoadError, Shape};

/// Media types of manifests, of a config, of the component, of what the plugin is.
pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const COMPONENT: &str = "application/wasm";
const ABOUT: &str = "application/vnd.gatehouse.plugin.manifest.v1+toml";

/// Media types that are told where they are not what they should be.
const TOLD: usize = 8;

/// A manifest in a registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What one part is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

impl Image {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|_| layout_error("the manifest is no JSON, so this is no OCI artifact"))?;
        if value.get("manifests").is_some() {
            return Err(layout_error(format!(
                "it is an index of several images, where one artifact with a config of type `{CONFIG}` was expected"
            )));
        }
        let image: Self = serde_json::from_value(value).map_err(|error| {
            layout_error(format!("the manifest is none of an OCI artifact: {error}"))
        })?;
        let is_named = |part: &Descriptor| is_digest(&part.digest);
        match is_named(&image.config) && image.layers.iter().all(is_named) {
            true => Ok(image),
            false => Err(layout_error(
                "a part is named by something else than `sha256:` and 64 hex digits",
            )),
        }
    }

    /// The component, and what says what it is.
    pub(super) fn plugin(&self) -> Result<(&Descriptor, &Descriptor), LoadError> {
        if self.config.media_type != CONFIG {
            return Err(layout_error(format!(
                "its config has the type `{}`, expected `{CONFIG}`",
                self.config.media_type.escape_debug()
            )));
        }
        let of = |wanted: &str| {
            let mut found = self.layers.iter().filter(|l| l.media_type == wanted);
            (found.next(), found.next().is_some())
        };
        let known = |layer: &Descriptor| [COMPONENT, ABOUT].contains(&&*layer.media_type);
        match (of(COMPONENT), of(ABOUT), self.layers.iter().all(known)) {
            ((Some(component), false), (Some(about), false), true) => Ok((component, about)),
            ((Some(_), false), (None, _), true) => Err(layout_error(format!(
                "it has a component and no layer `{ABOUT}`, which says what the plugin is and asks for: \
                 publish it by `gatehouse plugin push`"
            ))),
            _ => {
                let found = self.layers.iter().take(TOLD);
                let found: Vec<_> = found
                    .map(|layer| format!("`{}`", layer.media_type.escape_debug()))
                    .collect();
                Err(layout_error(format!(
                    "its layers are {}; expected one `{COMPONENT}` and one `{ABOUT}`",
                    if found.is_empty() {
                        "none".to_owned()
                    } else {
                        found.join(", ")
                    }
                )))
            }
        }
    }
}

/// An artifact that is to be published: its parts by their digests, and the manifest. The same plugin gives
/// the same artifact, whenever it is made.
pub(super) struct Artifact {
    pub(super) config: Vec<u8>,
    pub(super) about: Vec<u8>,
    pub(super) manifest: Vec<u8>,
}

impl Artifact {
    pub(super) fn new(component: &[u8], about: &About, shape: &Shape) -> Result<Self, LoadError> {
        let text = about.to_toml()?.into_bytes();
        let layers = vec![
            Descriptor::of(COMPONENT, component),
            Descriptor::of(ABOUT, &text),
        ];
        let digests: Vec<&str> = layers.iter().map(|layer| &*layer.digest).collect();
        let config = json!({
            "created": "1970-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": digests,
            "component": { "exports": shape.exports, "imports": shape.imports, "target": null },
        })
        .to_string()
        .into_bytes();
        let image = Image {
            schema_version: 2,
            media_type: Some(IMAGE.to_owned()),
            config: Descriptor::of(CONFIG, &config),
            layers,
            annotations: BTreeMap::from([
                (
                    "org.opencontainers.image.title".to_owned(),
                    about.name.clone(),
                ),
                (
                    "org.opencontainers.image.version".to_owned(),
                    about.version.clone(),
                ),
                (
                    "org.opencontainers.image.description".to_owned(),
                    about.description.clone(),
                ),
            ]),
        };
        image.plugin()?;
        let manifest = serde_json::to_vec(&image)
            .map_err(|error| layout_error(format!("the manifest cannot be written: {error}")))?;
        Ok(Self {
            config,
            about: text,
            manifest,
        })
    }
}

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn image(config: &str, layers: &[&str]) -> Vec<u8> {
        let part = |kind: &str| json!({ "mediaType": kind, "digest": digest(b""), "size": 0 });
        let layers: Vec<_> = layers.iter().map(|layer| part(layer)).collect();
        json!({ "schemaVersion": 2, "config": part(config), "layers": layers })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn a_layout_that_is_none_of_a_plugin_is_told_with_what_was_expected() {
        assert!(
            Image::read(&image(CONFIG, &[COMPONENT, ABOUT]))
                .unwrap()
                .plugin()
                .is_ok()
        );
        for (config, layers, told) in [
            (
                CONFIG,
                &[COMPONENT][..],
                "no layer `application/vnd.gatehouse",
            ),
            (CONFIG, &[], "its layers are none"),
            (CONFIG, &[ABOUT], "expected one `application/wasm`"),
            (
                CONFIG,
                &[COMPONENT, COMPONENT, ABOUT],
                "`application/wasm`, `application/wasm`",
            ),
            (CONFIG, &[COMPONENT, ABOUT, "text/plain"], "`text/plain`"),
            (
                "application/vnd.oci.image.config.v1+json",
                &[COMPONENT, ABOUT],
                "image.config",
            ),
        ] {
            let error = Image::read(&image(config, layers))
                .unwrap()
                .plugin()
                .unwrap_err();
            assert_eq!(error.code, "plugin-layout");
            assert!(error.message.contains(told), "{error}");
        }
        for broken in [
            &b"no json"[..],
            b"{}",
            br#"{"schemaVersion":2,"manifests":[]}"#,
            br#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:../x","size":0},"layers":[]}"#,
        ] {
            assert!(Image::read(broken).is_err());
        }
    }
}
