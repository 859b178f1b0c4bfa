//! One immutable set of loaded plugins, in the manifest's order.
//!
//! It is asked in `validate`, `decide` and `action`, one for each world.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::ballot::Tally;
use super::group::{self, Group};
use super::load::{Loader, Pins};
use super::loaded::LoadedPlugin;
use super::modes::Enforcement;
use super::{Decision, PluginError};
use crate::bucket::Bucket;
use crate::config::Config;
use crate::redact::Redactor;
use crate::wasm::{Call, Compiler, World};

/// A loaded set.
#[derive(Clone, Debug)]
pub struct PluginSet {
    revision: String,
    plugins: Vec<Arc<LoadedPlugin>>,
    groups: Vec<Arc<Group>>,
    /// Who is asked about a request, one after another.
    pub(super) validators: Vec<Judge>,
    /// Who is asked about a tool call, one after another.
    pub(super) policies: Vec<Judge>,
    /// Its word counts nowhere: it is asked beside the set that a task is pinned to.
    shadow: bool,
    /// Takes the task's secrets out of what plugins say, before it is cut and goes anywhere.
    pub(super) redactor: Redactor,
}

/// Whose word counts as one.
#[derive(Clone, Debug)]
pub(super) enum Judge {
    Plugin(Arc<LoadedPlugin>),
    /// With its members in the manifest's order.
    Group(Arc<Group>, Vec<Arc<LoadedPlugin>>),
}

impl Judge {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Plugin(plugin) => &plugin.pin.name,
            Self::Group(group, _) => &group.pin.name,
        }
    }

    /// Those of one world that can ever be asked. A group stands where its first member does.
    fn of(world: World, plugins: &[Arc<LoadedPlugin>], groups: &[Arc<Group>]) -> Vec<Self> {
        let mut judges = Vec::new();
        for plugin in plugins.iter().filter(|plugin| plugin.pin.world == world) {
            match groups.iter().find(|group| group.has(&plugin.pin.name)) {
                None if plugin.is_ever_asked() => judges.push(Self::Plugin(plugin.clone())),
                None => {}
                Some(group) => {
                    let members = group.members(plugins);
                    let first = members.first().is_some_and(|it| Arc::ptr_eq(it, plugin));
                    if first && group.is_ever_asked() {
                        judges.push(Self::Group(group.clone(), members));
                    }
                }
            }
        }
        judges
    }
}

impl PluginSet {
    pub(super) fn new(
        revision: String,
        plugins: Vec<Arc<LoadedPlugin>>,
        groups: Vec<Arc<Group>>,
    ) -> Self {
        Self {
            revision,
            validators: Judge::of(World::Validator, &plugins, &groups),
            policies: Judge::of(World::ToolPermission, &plugins, &groups),
            plugins,
            groups,
            shadow: false,
            redactor: Redactor::default(),
        }
    }

    /// A set of the bucket, but for what `before` has of it.
    pub(super) async fn of_pins(
        loader: &Loader,
        revision: &str,
        pins: &Pins,
        before: &[Arc<Self>],
    ) -> Result<Self, PluginError> {
        let groups = group::of_pins(pins, before)?;
        let plugins = loader.load_pins(pins, before).await?;
        Ok(Self::new(revision.to_owned(), plugins, groups))
    }

    /// The revision that a task was pinned to, from the bucket. What its plugins say is freed of what
    /// the redactor knows.
    pub async fn pinned(
        config: &Config,
        bucket: Arc<dyn Bucket>,
        revision: &str,
        redactor: Redactor,
    ) -> Result<Arc<Self>, PluginError> {
        let compiler = Compiler::apart(&config.plugins);
        let loader = Loader::new(&config.plugins, &config.data_dir, compiler, bucket)?.judging();
        let pins = loader.pins(revision).await?;
        let set = Self::of_pins(&loader, revision, &pins, &[]).await?;
        Ok(Arc::new(Self { redactor, ..set }))
    }

    /// The same set, to be asked beside another one.
    #[must_use]
    pub fn as_shadow(&self) -> Self {
        Self {
            shadow: true,
            ..self.clone()
        }
    }

    /// Hex digest over the set's content.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    pub(super) fn pins(&self) -> Pins {
        Pins::of(&self.plugins, &self.groups)
    }

    /// SHA-256 of each plugin's component, by its name.
    pub(super) fn digests(&self) -> BTreeMap<String, String> {
        let pins = self.plugins.iter().map(|plugin| &plugin.pin);
        pins.map(|pin| (pin.name.clone(), pin.digest.clone()))
            .collect()
    }

    /// Who signed each plugin's component, by its name, where anybody did.
    pub(super) fn signers(&self) -> BTreeMap<String, Vec<String>> {
        let signed = self
            .plugins
            .iter()
            .filter(|plugin| !plugin.signed_by.is_empty());
        signed
            .map(|plugin| (plugin.pin.name.clone(), plugin.signed_by.clone()))
            .collect()
    }

    pub(super) fn plugins(&self) -> &[Arc<LoadedPlugin>] {
        &self.plugins
    }

    pub(super) fn plugin(&self, name: &str) -> Option<&Arc<LoadedPlugin>> {
        self.plugins.iter().find(|plugin| plugin.pin.name == name)
    }

    pub(super) fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// Lines of `GET /plugins`.
    pub(super) fn plugin_lines(&self, state: &str) -> Vec<Map<String, Value>> {
        let line = |plugin: &Arc<LoadedPlugin>| {
            let mut line = plugin.status(state);
            if let Some(group) = self.groups.iter().find(|it| it.has(&plugin.pin.name)) {
                line.insert("group".to_owned(), json!(group.pin.name));
            }
            line
        };
        self.plugins.iter().map(line).collect()
    }

    /// The same for its groups.
    pub(super) fn group_lines(&self, state: &str) -> Vec<Map<String, Value>> {
        let groups = self.groups.iter();
        groups.map(|group| group.status(state)).collect()
    }

    pub(super) fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups.iter().find(|group| group.pin.name == name)
    }

    /// The post-execution plugins that can ever run.
    pub(super) fn acting(&self) -> impl Iterator<Item = &Arc<LoadedPlugin>> {
        let acts = |plugin: &&Arc<LoadedPlugin>| {
            plugin.pin.world == World::PostExecution && plugin.is_ever_asked()
        };
        self.plugins.iter().filter(acts)
    }

    pub(super) fn decision<T>(
        &self,
        plugin: &LoadedPlugin,
        stage: &str,
        mode: Enforcement,
        call: &Call<T>,
    ) -> Decision {
        Decision {
            plugin: plugin.pin.name.clone(),
            digest: plugin.pin.digest.clone(),
            mode: mode.as_str().to_owned(),
            enforced: mode == Enforcement::Enforce,
            rule: call.cited.clone(),
            micros: u64::try_from(call.time.as_micros()).unwrap_or(u64::MAX),
            memory: call.memory,
            ..self.blank(stage)
        }
    }

    /// What a group decided; what its members said stands in theirs.
    pub(super) fn decision_of_group(
        &self,
        group: &Group,
        stage: &str,
        mode: Enforcement,
        tally: &Tally,
    ) -> Decision {
        Decision {
            group: Some(group.pin.name.clone()),
            causes: tally.causes.clone(),
            mode: mode.as_str().to_owned(),
            enforced: mode == Enforcement::Enforce,
            reason: tally.words.clone(),
            rule: Some(group.pin.expression.clone()),
            fault: tally.fault.clone(),
            ..self.blank(stage)
        }
    }

    /// A decision of nobody, for what is asked of a plugin that is not in the set.
    pub(super) fn blank(&self, stage: &str) -> Decision {
        Decision {
            at: Timestamp::now(),
            stage: stage.to_owned(),
            plugin: String::new(),
            group: None,
            causes: Vec::new(),
            digest: String::new(),
            revision: self.revision.clone(),
            mode: Enforcement::Enforce.as_str().to_owned(),
            verdict: String::new(),
            enforced: true,
            reason: None,
            rule: None,
            fault: None,
            call: None,
            tool: None,
            input_sha256: None,
            approval: None,
            micros: 0,
            memory: 0,
            shadow: self.shadow,
        }
    }
}
