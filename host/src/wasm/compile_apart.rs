//! The child that compiles: it limits itself, reads a component, and writes machine code or what is wrong.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::compiler::{Bounds, INVALID};
use super::engine::base_config;

/// Files that may be open: the pipes, and what the runtime looks at to count processors.
const FILES: u64 = 32;

/// Compiles what comes by standard input to standard output, for the process `parent` and not longer
/// than that lives.
pub(crate) fn compile_apart(parent: i32, bounds: Bounds) -> ExitCode {
    match confine(parent, bounds).and_then(|()| compile()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn confine(parent: i32, bounds: Bounds) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw() != parent {
        return Err(io::Error::other("who started this is gone"));
    }
    prctl::set_no_new_privs()?;
    for (resource, limit) in [
        (Resource::RLIMIT_AS, bounds.memory),
        (Resource::RLIMIT_CPU, bounds.seconds),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_NOFILE, FILES),
    ] {
        // At the soft limit of processor time a signal tells why; the hard one just kills.
        let hard = match resource {
            Resource::RLIMIT_CPU => limit.saturating_add(1),
            _ => limit,
        };
        setrlimit(resource, limit, hard)?;
    }
    // Requests and jobs come first, and where memory runs out this goes first. Neither is refused to
    // whom asks for less, and nothing depends on it.
    let _ = rustix::process::nice(5);
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

fn compile() -> io::Result<ExitCode> {
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    // As the gateway's engine, but without a place for instances.
    let engine = wasmtime::Engine::new(&base_config()).map_err(io::Error::other)?;
    match engine.precompile_component(&component) {
        Ok(code) => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&code)?;
            stdout.flush()?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error:#}");
            Ok(ExitCode::from(u8::try_from(INVALID).unwrap_or(u8::MAX)))
        }
    }
}
