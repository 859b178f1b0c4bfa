//! From the agent's end to that of the task: how it ended, and what is carried out then.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Work;
use crate::admission::Request;
use crate::agent::AgentEnd;
use crate::git::Repository;
use crate::isolation::Sandbox;
use crate::job::Failure;
use crate::job::actions::{Actions, asked};
use crate::job::interrupt::Cause;
use crate::outbound::ForPlugins;
use crate::plugin::{Capabilities, GitRepository};
use crate::redact::Redactor;
use crate::task::{Ending, Phase};

impl Work<'_> {
    /// How the task ends, whatever its actions do. From here on its clock says nothing any more.
    pub(super) fn ending(&self, ran: Result<AgentEnd, Failure>) -> Ending {
        if let Some(clock) = &self.clock {
            clock.abort();
        }
        match (self.interrupt.cause(), ran) {
            (Some(cause), ran) => Ending {
                agent: ran.map(|end| end.summary).unwrap_or_default(),
                ..cause.into_ending()
            },
            (None, Ok(end)) => into_ending(end),
            (None, Err(failure)) => failure.into_ending(self.id),
        }
    }

    /// Carries out what is due after this end. A task that the platform ends, or that is somebody
    /// else's now, has nothing carried out.
    pub(super) async fn act(
        &self,
        actions: &Actions<'_>,
        request: &Request,
        ending: &mut Ending,
    ) -> Result<(), Failure> {
        if matches!(
            self.interrupt.cause(),
            Some(Cause::Terminated | Cause::LeaseLost)
        ) {
            return Ok(());
        }
        let asked = asked(actions.plugins.actions(), request);
        if asked.iter().any(|asked| asked.is_due(ending.status)) {
            self.enter(Phase::Actions, |_| ()).await?;
        }
        actions.run(asked, ending).await;
        Ok(())
    }

    pub(super) fn capabilities(
        &self,
        request: &Request,
        repository: Option<Repository>,
        sandbox: &Sandbox,
        redactor: &Arc<Redactor>,
    ) -> Result<Capabilities, Failure> {
        // The task's time is over with the agent's; each action has a time of its own.
        let repository = repository.map(|cloned| cloned.outlive(CancellationToken::new()));
        let http = ForPlugins::new(&self.job.config.outbound)
            .map_err(|source| Failure::fault("making the client of plugins", source))?;
        Ok(Capabilities {
            workspace: sandbox.workspace().to_owned(),
            bucket: Arc::clone(self.job.tasks.bucket()),
            task: self.id.clone(),
            max_artifact_size: self.job.config.job.max_artifact_size,
            max_artifacts: self.job.config.job.max_artifacts,
            git: repository.map(|repository| Arc::new(repository) as Arc<dyn GitRepository>),
            http: Arc::new(http),
            secrets: Arc::new(request.sendable_secrets()),
            redactor: Arc::clone(redactor),
        })
    }
}

fn into_ending(end: AgentEnd) -> Ending {
    Ending {
        status: end.status,
        reason: end.reason,
        exit_code: end.exit_code,
        error: end.error,
        agent: end.summary,
        actions: BTreeMap::new(),
        git_commit: None,
        uploaded_files: Vec::new(),
        last_sequence: None,
    }
}
