//! What the host keeps of one call: the data of its store.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::Level;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::component::Terms;
use super::limits::{HANDLES, Limiter};
use super::output::{GuestLog, GuestStream};
use crate::plugin::{
    Artifacts, GitRepository, Http, Notes, OutcomeView, TaskView, ToolCall, Workspace,
};
use crate::redact::Redactor;

/// What a call may see and reach. Empty when a component is only asked about itself.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The task that the call is about.
    pub task: Option<Arc<TaskView>>,
    /// The tool call to be judged.
    pub call: Option<Arc<ToolCall>>,
    /// Where the call's path leads, if somebody says so in place of the file system.
    pub stated: Option<StatedPaths>,
    /// How the agent's run ended.
    pub outcome: Option<Arc<OutcomeView>>,
    /// The plugin's own notes of the task.
    pub notes: Option<Arc<Notes>>,
    /// The workspace, where granted.
    pub workspace: Option<Arc<Workspace>>,
    /// Durable files, where granted.
    pub artifacts: Option<Arc<Artifacts>>,
    /// The task's repository, where it has one and it was granted.
    pub git: Option<Arc<dyn GitRepository>>,
    /// Requests to granted hosts.
    pub http: Option<Arc<Http>>,
    /// Takes the task's secrets out of what the guest says.
    pub redactor: Redactor,
}

/// The paths of a tool call where no workspace stands behind it: a case of a plugin's author has links
/// without a disk to put them on.
#[derive(Clone, Debug)]
pub struct StatedPaths {
    /// As `tool-call.path`.
    pub path: Option<PathBuf>,
    /// As `tool-call.real-path`.
    pub real_path: Option<PathBuf>,
}

/// The data of one call's store.
pub(super) struct Guest {
    pub(super) name: Arc<str>,
    pub(super) limiter: Limiter,
    pub(super) settings: Arc<str>,
    pub(super) reach: Reach,
    pub(super) log: GuestLog,
    pub(super) cited: Option<String>,
    /// Notes were wanted where there is no task.
    pub(super) missed_notes: bool,
    wasi: Option<WasiCtx>,
    table: ResourceTable,
}

impl Guest {
    pub(super) fn new(terms: &Terms, reach: Reach) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Self {
            limiter: Limiter::new(&terms.limits),
            settings: terms.settings.clone(),
            log: log(&terms.name, &reach),
            name: terms.name.clone(),
            reach,
            cited: None,
            missed_notes: false,
            wasi: None,
            table,
        }
    }

    /// Gives what was made ahead its call.
    pub(super) fn serve(&mut self, reach: Reach) {
        self.log = log(&self.name, &reach);
        self.reach = reach;
    }

    /// Whether nothing was said, nor can have been kept to say it with, and nothing of a task was wanted.
    pub(super) fn is_silent(&self) -> bool {
        let is_unused = self.wasi.is_none() && self.log.is_unused();
        is_unused && self.cited.is_none() && !self.missed_notes
    }
}

fn log(name: &Arc<str>, reach: &Reach) -> GuestLog {
    let task = reach.task.as_ref().map(|task| task.id.to_string());
    GuestLog::new(name.clone(), task, reach.redactor.clone())
}

impl WasiView for Guest {
    /// An empty WASI: no directory, no environment, no argument, no socket. Made on the first use,
    /// since most plugins never use it and its random generators cost more than a call.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let log = &self.log;
        let ctx = self.wasi.get_or_insert_with(|| {
            WasiCtx::builder()
                .stdout(GuestStream::new(log.clone(), Level::DEBUG))
                .stderr(GuestStream::new(log.clone(), Level::WARN))
                .allow_tcp(false)
                .allow_udp(false)
                .build()
        });
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}
