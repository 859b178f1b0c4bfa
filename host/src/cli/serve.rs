//! `gatehouse serve`: build, bind, serve, drain.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::admission::PlacesOfPrompts;
use crate::app::App;
use crate::config::{Config, Sources, job_environment};
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
