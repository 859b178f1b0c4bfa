//! `gatehouse serve`: build, bind, serve, drain.

use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{User, chown, geteuid, setgroups, setresgid, setresuid};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admission::PlacesOfPrompts;
use crate::app::App;
use crate::config::{Config, Launcher, Sources, job_environment};
use crate::http;
use crate::plugin::Asked;

/// After `server.shutdown_grace` there is so much time for what is to be written in the end. With the grace's default it
/// is over before the platform ends the process, which Cloud Run does after ten seconds.
const LAST_WORDS: Duration = Duration::from_millis(1500);

pub(super) async fn run(config: Config, sources: &Sources) -> ExitCode {
    match serve(config, sources).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            error!(error = %failure, "the gateway cannot run");
            eprintln!("gatehouse: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes `server.user`, where root is not needed: only agents that run here take it.
pub(super) fn give_up_root(config: &Config) -> anyhow::Result<()> {
    let Some(name) = &config.server.user else {
        return Ok(());
    };
    if config.job.launcher == Launcher::Local || !geteuid().is_root() {
        info!(
            user = name,
            "not server.user: agents run here, or this is not root"
        );
        return Ok(());
    }
    let user = User::from_name(name)?
        .ok_or_else(|| anyhow::anyhow!("server.user: there is no user `{name}` here"))?;
    // It starts with an empty directory, which may have been made for it or for root.
    let place = &config.data_dir;
    std::fs::create_dir_all(place).with_context(|| format!("{}", place.display()))?;
    if std::fs::metadata(place)?.uid() != user.uid.as_raw() {
        let given = chown(place, Some(user.uid), Some(user.gid));
        given.with_context(|| format!("{} cannot be given to `{name}`", place.display()))?;
    }
    setgroups(&[])?;
    setresgid(user.gid, user.gid, user.gid)?;
    setresuid(user.uid, user.uid, user.uid)?;
    set_no_new_privs()?;
    // A change of user opens a process to others of the same one.
    crate::isolation::harden_self()?;
    info!(user = name, "serving as this user");
    Ok(())
}

async fn serve(config: Config, sources: &Sources) -> anyhow::Result<()> {
    if let Some(mistake) = PlacesOfPrompts::of(&config)
        .mistakes_of_files()
        .into_iter()
        .next()
    {
        anyhow::bail!("the system prompt of `[task]` cannot be used: {mistake}");
    }
    let stop = CancellationToken::new();
    tokio::spawn(stop_at_signal(stop.clone())?);
    let hangup = signal(SignalKind::hangup())?;
    let listener = TcpListener::bind(config.server.listen)
        .await
        .map_err(|error| anyhow::anyhow!("cannot listen on {}: {error}", config.server.listen))?;
    let address = listener.local_addr()?;
    let job_environment = job_environment(sources, &config);
    let grace = config.server.shutdown_grace;
    let build = App::build(config, std::env::current_exe()?, job_environment);
    let Some(app) = stop.run_until_cancelled(build).await else {
        return Ok(());
    };
    let app = app?;
    info!(%address, "listening");
    // On Cloud Run it is IAM that asks.
    if !app.access.asks() && !address.ip().is_loopback() && sources.variable("K_SERVICE").is_none()
    {
        warn!(
            %address,
            "whoever reaches this address may run tasks: no key is asked for (GATEHOUSE_API_KEYS, auth.keys, auth.oidc)"
        );
    }
    // For scripts that start the gateway on port 0; whoever closed stdout does not want to know.
    let _ = writeln!(std::io::stdout(), "listening on http://{address}");
    tokio::spawn(reload_at(hangup, Arc::clone(&app), stop.clone()));
    let work = async {
        http::serve(Arc::clone(&app), listener, stop.clone()).await;
        app.stop().await;
    };
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(grace.saturating_add(LAST_WORDS)).await;
    };
    tokio::select! {
        () = work => {}
        () = late => warn!("the storage does not answer; what was to be written in the end is left"),
    }
    Ok(())
}

/// Cancels `stop` at the first SIGTERM or SIGINT. The handlers stand when this returns.
fn stop_at_signal(stop: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("told to stop; jobs run on and the next start takes them up");
        stop.cancel();
    })
}

/// Loads the manifest at each SIGHUP.
async fn reload_at(mut hangup: Signal, app: Arc<App>, stop: CancellationToken) {
    while let Some(Some(())) = stop.run_until_cancelled(hangup.recv()).await {
        let asked = Asked {
            by: "signal",
            seen: None,
        };
        match app.plugins.reload(&asked).await {
            Ok(changed) => info!(
                revision = changed.revision,
                changed = changed.change.is_some(),
                "read the manifest again"
            ),
            Err(error) => error!(%error, "the manifest's plugins cannot be used"),
        }
    }
}
