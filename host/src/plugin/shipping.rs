//! Plugins on their way: out of any source, into a registry, into a manifest. All of it by the reader and the
//! loader of the gateway, so that nothing is published or installed that a gateway would not take.
//!
//! Happens aside: components lie in a bucket that is thrown away, and no running gateway is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::load::{component_name, digest_of, load_error};
use super::manifest::{self, valid_name};
use super::registry::{self, Pull, Reference};
use super::source::{Fetched, Source, layout_error};
use super::workbench::TrialTerms;
use super::{About, PluginError, Workbench, signed};
use crate::bucket::directory::DirectoryBucket;
use crate::bucket::{Bucket, Durability, When};
use crate::config::{self, Config};
use crate::outbound::ForPlugins;
use crate::wasm::{Description, LoadError, Shape, World};

/// Stands for the plugin in errors that come before its name is known.
const NAMELESS: &str = "plugin";

/// A place to unpack and to send from.
#[derive(Debug)]
pub struct Shipping {
    bench: Workbench,
    outbound: config::Outbound,
    client: ForPlugins,
    /// The gateway's bucket.
    bucket: PathBuf,
}

/// A plugin that was fetched, compiled and asked what it is.
#[derive(Debug)]
pub struct Parcel {
    /// The component.
    pub bytes: Arc<[u8]>,
    /// Lower-case hex SHA-256 of the component.
    pub digest: String,
    /// By its author's word; where there is none, by the component's.
    pub about: About,
    /// What it imports and exports.
    pub shape: Shape,
    /// Where it is from a registry: the same source with the digest of its manifest.
    pub pinned: Option<String>,
    /// Names of the keys that signed it, for whom it is to be loaded by.
    pub signed_by: Vec<String>,
    /// Whether its author wrote `about`.
    is_told: bool,
}

/// What became of publishing.
#[derive(Debug)]
pub struct Published {
    /// `oci://HOST/REPOSITORY:TAG@sha256:…`
    pub reference: String,
    /// `sha256:…` of the artifact's manifest.
    pub manifest_digest: String,
}

impl Parcel {
    /// The grants that it asks for: its author's words, and interfaces that it imports beside them.
    pub fn asks(&self) -> Vec<String> {
        let mut asks = self.about.grants.clone();
        for interface in self.shape.grantable() {
            let (word, begins) = match interface {
                "http" => ("http:https://HOST", "http:"),
                interface => (interface, interface),
            };
            if !asks.iter().any(|asked| asked.starts_with(begins)) {
                asks.push(word.to_owned());
            }
        }
        asks
    }
}

impl Shipping {
    /// By the gateway's settings; `cache` is where compiled components are kept.
    pub fn open(config: &Config, cache: &Path) -> Result<Self, PluginError> {
        let mut bench = Workbench::open(&config.plugins, cache)?;
        bench.loader = bench.loader.fetching(&config.plugins, &config.outbound);
        let client = ForPlugins::for_sources(&config.outbound)
            .map_err(|error| PluginError::Manifest(error.to_string()))?;
        Ok(Self {
            bench,
            outbound: config.outbound.clone(),
            client,
            bucket: config.data_dir.join("bucket"),
        })
    }

    /// The same for what a gateway with these settings is to load: only what is signed as they want it.
    #[must_use]
    pub fn for_gateway(mut self, config: &Config) -> Self {
        let signatures = &config.plugins.signatures;
        self.bench.loader = self.bench.loader.requiring(signatures);
        self
    }

    /// Fetches a plugin. `source` is as in a manifest in `directory`, `sha256` as it is pinned there.
    pub async fn fetch(
        &self,
        source: &str,
        directory: &Path,
        sha256: Option<&str>,
    ) -> Result<Parcel, PluginError> {
        let failed = |error| load_error(NAMELESS, error);
        let pinned = sha256.map(manifest::digest).transpose().map_err(failed)?;
        let registries = &self.bench.defaults.registries;
        let source = Source::parse(
            source,
            directory,
            pinned.is_some(),
            registries,
            &self.outbound,
        );
        let source = source.map_err(failed)?;
        if let Source::Bucket(digest) = &source {
            self.borrow(digest).await?;
        }
        let mut entry = self
            .bench
            .entry(&terms(NAMELESS, World::Validator), source)?;
        entry.sha256 = pinned;
        let fetched = self.bench.loader.read(&entry).await.map_err(failed)?;
        let digest = digest_of(&fetched.bytes);
        if entry
            .sha256
            .as_ref()
            .is_some_and(|pinned| *pinned != digest)
        {
            let message =
                format!("the component's SHA-256 is {digest}, not the one that was asked for");
            return Err(failed(LoadError::new("plugin-digest-mismatch", message)));
        }
        let loader = &self.bench.loader;
        let signed_by = loader.verify(&entry, &digest, &fetched).await?.signed_by;
        let name = component_name(&digest);
        let content = Bytes::from_owner(fetched.bytes.clone());
        let put = self
            .bench
            .bucket
            .put(&name, content, When::Always, Durability::Buffered);
        put.await?;
        let pinned = match (&entry.source, &fetched.manifest_digest) {
            (Source::Registry(reference), Some(digest)) => {
                Some(reference.pinned(digest).to_string())
            }
            _ => None,
        };
        let parcel = self.parcel(fetched, digest, pinned).await?;
        Ok(Parcel {
            signed_by,
            ..parcel
        })
    }

    async fn parcel(
        &self,
        fetched: Fetched,
        digest: String,
        pinned: Option<String>,
    ) -> Result<Parcel, PluginError> {
        let failed = |error| load_error(NAMELESS, error);
        let bytes = fetched.bytes;
        let shape = self.bench.shape(bytes.clone()).await.map_err(failed)?;
        let told = fetched.about.as_ref().map(|about| about.world);
        let world = told.or(shape.world()).ok_or_else(|| {
            let message = format!(
                "it targets no world of gatehouse:plugin; it exports: {}",
                shape.exports.join(", ")
            );
            failed(LoadError::new("plugin-wrong-world", message))
        })?;
        let mut terms = terms(NAMELESS, world);
        if let Some(about) = &fetched.about {
            terms.limits = about.limits.clone();
        }
        terms.grant_everything(&shape);
        let description = self.bench.describe(&terms, bytes.clone()).await?;
        let is_told = fetched.about.is_some();
        let about = match fetched.about {
            Some(about) => about,
            None => of_component(world, &shape, description).map_err(failed)?,
        };
        Ok(Parcel {
            bytes,
            digest,
            about,
            shape,
            pinned,
            signed_by: Vec::new(),
            is_told,
        })
    }

    /// Takes a component of the gateway's bucket over into ours.
    async fn borrow(&self, digest: &str) -> Result<(), PluginError> {
        if !self.bucket.is_dir() {
            return Ok(());
        }
        let unreadable = |error: std::io::Error| {
            PluginError::Manifest(format!("the gateway's bucket cannot be opened: {error}"))
        };
        let bucket = DirectoryBucket::open(self.bucket.clone()).map_err(unreadable)?;
        for name in [component_name(digest), signed::name(digest)] {
            let Some(object) = bucket.get(&name).await? else {
                continue;
            };
            let put = self
                .bench
                .bucket
                .put(&name, object.data, When::Always, Durability::Buffered);
            put.await?;
        }
        Ok(())
    }

    /// Publishes a plugin, then has it back as a gateway would and compares. What a gateway would not take is
    /// not published.
    pub async fn push(&self, parcel: &Parcel, reference: &str) -> Result<Published, PluginError> {
        let failed = |error| load_error(&parcel.about.name, error);
        let registries = &self.bench.defaults.registries;
        let reference = Reference::parse(reference, registries, &self.outbound).map_err(failed)?;
        let about = About {
            component: None,
            ..parcel.about.clone()
        };
        self.publishable(parcel, &about).await?;
        let client = &self.client;
        let pushed = registry::push(
            client,
            registries,
            &reference,
            &parcel.bytes,
            &about,
            &parcel.shape,
        );
        let manifest_digest = pushed.await.map_err(failed)?;
        let reference = reference.pinned(&manifest_digest);
        let back = async {
            let mut pull = Pull::begin(client, registries, &reference).await?;
            pull.plugin(self.bench.defaults.max_component_size).await
        };
        let back = back.await.map_err(failed)?;
        if back.component != parcel.bytes || back.about != about {
            let message = "the registry gives something else than was published";
            return Err(failed(LoadError::new("plugin-digest-mismatch", message)));
        }
        Ok(Published {
            reference: reference.to_string(),
            manifest_digest,
        })
    }

    /// What its author says must be what the component is: with the grants that it asks for, and with nothing
    /// else, it can be loaded.
    async fn publishable(&self, parcel: &Parcel, about: &About) -> Result<(), PluginError> {
        let failed = |error| load_error(&about.name, error);
        let imports_http = parcel.shape.grantable().contains(&"http");
        if imports_http && !parcel.is_told {
            return Err(failed(layout_error(
                "it calls hosts, and only its author can say which: write a plugin.toml beside it with \
                 `grants = [\"http:https://HOST\"]`, and push the directory",
            )));
        }
        if parcel
            .shape
            .contract
            .as_ref()
            .is_some_and(|built| *built != about.contract)
        {
            return Err(failed(layout_error(format!(
                "its plugin.toml says `contract = \"{}\"`, and the component was built against `{}`",
                about.contract,
                parcel.shape.contract.as_deref().unwrap_or_default()
            ))));
        }
        let terms = TrialTerms {
            grants: about.grants.clone(),
            limits: about.limits.clone(),
            ..terms(&about.name, about.world)
        };
        self.bench.describe(&terms, parcel.bytes.clone()).await?;
        Ok(())
    }

    /// Reads the text of a manifest in `directory` as a gateway would and loads one plugin of it; gives its
    /// line of `GET /plugins`.
    pub async fn load(
        &self,
        manifest: &str,
        directory: &Path,
        name: &str,
    ) -> Result<Map<String, Value>, PluginError> {
        let read = manifest::parse(manifest, directory, &self.bench.defaults, &self.outbound);
        let entries = read.map_err(PluginError::Manifest)?.entries;
        let entry = entries.into_iter().find(|(found, _)| found == name);
        let (_, entry) = entry
            .ok_or_else(|| PluginError::Manifest(format!("the manifest has no plugin `{name}`")))?;
        let entry = entry.map_err(|error| load_error(name, error))?;
        let taken = self.bench.loader.load_file(&entry, &[]).await?;
        Ok(taken.plugin.status("loaded"))
    }
}

/// What a component says of itself, for want of its author's word.
fn of_component(world: World, shape: &Shape, description: Description) -> Result<About, LoadError> {
    let line = |text: &str, longest: usize| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let end = text.floor_char_boundary(longest);
        text.get(..end).unwrap_or_default().to_owned()
    };
    let name = Some(description.name).filter(|name| valid_name(name));
    let version = Some(line(&description.version, 64)).filter(|version| !version.is_empty());
    let grants = shape.grantable().into_iter();
    Ok(About {
        name: name.unwrap_or_else(|| NAMELESS.to_owned()),
        version: version.unwrap_or_else(|| "0.0.0".to_owned()),
        description: line(&description.summary, 1024),
        world,
        contract: shape.contract.clone().ok_or_else(|| {
            layout_error(
                "the component names no version of gatehouse:plugin that it was built against",
            )
        })?,
        component: None,
        // Which hosts it calls cannot be seen.
        grants: grants
            .filter(|interface| *interface != "http")
            .map(str::to_owned)
            .collect(),
        limits: std::collections::BTreeMap::new(),
    })
}

fn terms(name: &str, world: World) -> TrialTerms {
    TrialTerms {
        name: name.to_owned(),
        world,
        settings: Map::new(),
        grants: Vec::new(),
        limits: std::collections::BTreeMap::new(),
    }
}
