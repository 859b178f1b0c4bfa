//! The gateway, put together once: what every endpoint works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::admission::Admission;
use crate::bucket;
use crate::config::{self, Config, Mistakes};
use crate::envelope::{self, Envelope, EnvelopeError};
use crate::http::{ClaudeCli, Presence, StorageProbe, Turns, needs_follower};
use crate::isolation::{Isolation, IsolationError};
use crate::launch::{Cancelled, Dispatcher, LaunchError, Launcher, LocalLauncher};
use crate::outbound::{Forbidden, Outbound};
use crate::plugin::{Plugins, keep_removing_old_inputs, keep_removing_old_sets};
use crate::secret_file::{self, SecretError};
use crate::secrets::SecretSettings;
use crate::task::{Marks, TaskError, TaskId, Tasks, keep_removing_old_claims};
use crate::wasm::Compiler;
use crate::webhook::Courier;

/// All parts of a running gateway.
#[derive(Debug)]
pub struct App {
    /// The settings, with every secret filled in as it was at the start.
    pub config: Arc<Config>,
    /// Who may call, and how much.
    pub access: Arc<Access>,
    /// Records and events.
    pub tasks: Tasks,
    /// Seals payloads.
    pub envelope: Envelope,
    /// Checks requests.
    pub admission: Admission,
    /// The active set.
    pub plugins: Arc<Plugins>,
    /// Starts jobs.
    pub dispatcher: Arc<Dispatcher>,
    /// Delivers reports.
    pub courier: Arc<Courier>,
    /// Judges callback URLs.
    pub outbound: Outbound,
    /// What separates agents here. None where they run elsewhere.
    pub isolation: Option<Isolation>,
    /// Who follows which task.
    pub presence: Presence,
    /// Requests under one idempotency key, one after another.
    pub turns: Arc<Turns>,
    /// Whether the bucket takes writes.
    pub storage: StorageProbe,
    /// The agent's CLI, for `/health`.
    pub claude: ClaudeCli,
    /// Cancelled when the gateway takes no more requests.
    pub stopping: CancellationToken,
}

/// The gateway cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The bucket.
    #[error("the storage cannot be opened: {0}")]
    Storage(#[source] std::io::Error),
    /// What wraps data keys.
    #[error(transparent)]
    Key(#[from] EnvelopeError),
    /// The webhook's secret or the operator's key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Secrets that cannot be read, or not be used once they are.
    #[error(transparent)]
    Settings(#[from] Mistakes),
    /// What separates agents.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// The dialler.
    #[error(transparent)]
    Outbound(#[from] Forbidden),
    /// What starts jobs.
    #[error(transparent)]
    Launcher(#[from] LaunchError),
    /// What an earlier gateway left cannot be taken up.
    #[error("unfinished tasks cannot be taken up: {0}")]
    Tasks(#[from] TaskError),
}

impl App {
    /// Puts everything together and takes up what an earlier gateway left. Jobs run as `exe run-job`
    /// with `job_env` for their environment.
    pub async fn build(
        mut config: Config,
        exe: PathBuf,
        job_env: BTreeMap<String, String>,
    ) -> Result<Arc<Self>, BuildError> {
        make_secrets(&mut config)?;
        let secrets = SecretSettings::fill(&mut config).await?;
        let config = Arc::new(config);
        let isolation = match config.job.launcher {
            config::Launcher::Local => Some(Isolation::detect(&config)?),
            config::Launcher::CloudRun => None,
        };
        let outbound = Outbound::new(&config)?;
        let envelope = Envelope::new(envelope::keys(&config).await?, &config.envelope);
        let admission = Admission::new(&config);
        let access = Arc::new(Access::new(&config.auth)?);

        let bucket = bucket::open(&config).await.map_err(BuildError::Storage)?;
        let tasks = Tasks::new(Arc::clone(&bucket));
        let compiler = Compiler::apart(&config.plugins);
        let plugins = Arc::new(Plugins::load(&config, compiler, Arc::clone(&bucket)).await);

        let courier = Courier::start(&config, Arc::clone(&bucket), outbound.clone());
        let launcher: Arc<dyn Launcher> = match &isolation {
            Some(isolation) => {
                Arc::new(LocalLauncher::new(&config, exe, job_env, isolation.clone()))
            }
            None => cloud_run(&config, &tasks).await?,
        };
        let dispatcher = Dispatcher::start(
            &config,
            tasks.clone(),
            envelope.clone(),
            launcher,
            Arc::clone(&courier),
        )
        .await?;

        let marks = dispatcher.is_shared().then(|| Marks::new(tasks.clone()));
        let (presence, abandoned) = Presence::new(config.server.disconnect_grace, marks);
        // A task of several gateways may be followed at another one.
        if !dispatcher.is_shared() {
            for record in dispatcher
                .status(None)
                .await?
                .tasks
                .iter()
                .filter(|record| needs_follower(record))
            {
                presence.expect(&record.task_id);
            }
        }
        tokio::spawn(end_abandoned(
            Arc::clone(&dispatcher),
            presence.clone(),
            abandoned,
        ));
        let stopping = CancellationToken::new();
        plugins.keep_current(Arc::clone(&bucket), &stopping);
        plugins.keep_counting(Arc::clone(&bucket), dispatcher.ended());
        tokio::spawn(
            stopping
                .clone()
                .run_until_cancelled_owned(keep_removing_old_inputs(
                    Arc::clone(&bucket),
                    config.plugins.inputs_expire,
                )),
        );
        tokio::spawn({
            let (courier, stopping) = (Arc::clone(&courier), stopping.clone());
            let access = Arc::clone(&access);
            let current = secrets.keep_current(move |config| {
                access.renew(&config.auth);
                courier.sign_with(&config.webhook.secret);
            });
            stopping.run_until_cancelled_owned(current)
        });
        tokio::spawn({
            let (tasks, kept) = (tasks.clone(), config.plugins.keep_sets);
            let stopping = stopping.clone();
            stopping.run_until_cancelled_owned(keep_removing_old_sets(tasks, kept))
        });
        tokio::spawn({
            let (tasks, stopping) = (tasks.clone(), stopping.clone());
            stopping.run_until_cancelled_owned(keep_removing_old_claims(tasks))
        });

        Ok(Arc::new(Self {
            storage: StorageProbe::new(bucket),
            claude: ClaudeCli::new(config.agent.claude_bin.clone()),
            stopping,
            turns: Arc::default(),
            config,
            access,
            tasks,
            envelope,
            admission,
            plugins,
            dispatcher,
            courier,
            outbound,
            isolation,
            presence,
        }))
    }

    /// Ends what runs in the background, after [`crate::http::serve`] has returned. Jobs run on.
    pub async fn stop(&self) {
        self.presence.stop().await;
        self.dispatcher.stop().await;
        self.courier.stop().await;
    }
}

#[cfg(feature = "gcp")]
async fn cloud_run(config: &Config, tasks: &Tasks) -> Result<Arc<dyn Launcher>, LaunchError> {
    let launcher = crate::launch::CloudRunLauncher::new(config, tasks.clone()).await?;
    Ok(Arc::new(launcher))
}

/// The settings were refused before.
#[cfg(not(feature = "gcp"))]
async fn cloud_run(_config: &Config, _tasks: &Tasks) -> Result<Arc<dyn Launcher>, LaunchError> {
    Err(LaunchError::NotNow(
        "this build lacks the feature `gcp`".to_owned(),
    ))
}

/// What the operator did not configure is made once and kept.
fn make_secrets(config: &mut Config) -> Result<(), SecretError> {
    let keys = config.data_dir.join("keys");
    if config.webhook.secret.is_empty() {
        let made = "made a webhook secret: receivers verify with its text";
        let secret = secret_file::kept(&keys.join("webhook.secret"), made)?;
        config.webhook.secret = vec![secret];
    }
    if config.auth.admin_key.is_none() && config.auth.admin_sha256.is_empty() {
        let made = "made an operator's key: `gatehouse plugin` finds it here";
        config.auth.admin_key = Some(secret_file::kept(&keys.join(ADMIN_KEY), made)?);
    }
    Ok(())
}

/// The operator's key, below `keys/` of the data directory.
pub const ADMIN_KEY: &str = "admin.key";

/// Ends tasks that nobody follows any more.
async fn end_abandoned(
    dispatcher: Arc<Dispatcher>,
    presence: Presence,
    mut abandoned: UnboundedReceiver<TaskId>,
) {
    while let Some(id) = abandoned.recv().await {
        match dispatcher.cancel(&id, "disconnect").await {
            Ok(Cancelled::Requested(_)) => {
                tracing::info!(task = %id, "nobody follows the task any more: it is cancelled")
            }
            Ok(Cancelled::Already(_) | Cancelled::Over(_) | Cancelled::Unknown) => {}
            Err(error) => {
                tracing::warn!(task = %id, %error, "an abandoned task cannot be cancelled yet");
                // It is ours to end, and waits for somebody once more before that is tried again.
                drop(presence.begin(&id));
            }
        }
    }
}
