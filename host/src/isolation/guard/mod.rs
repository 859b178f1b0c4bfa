//! The two processes between a job and a program of the agent's: this binary, started again.
//!
//! ```text
//! job ──(standard input: control socket)── guard ──── guard-exec, which becomes the program
//!  └───────────── standard input, output, error of the program ──────────┘
//! ```
//!
//! The **guard** ([`supervise`]) runs as the service's user, is single-threaded and lives for one
//! program. It is a subreaper: what the program leaves behind becomes its child, so that it knows
//! when nothing is left and ends only then. When the job's end of the control socket closes, even by
//! SIGKILL, it kills everything at once. **guard-exec** ([`execute`]) gives up what the agent must not
//! have and executes the program; should the guard die, the kernel kills the program.
//!
//! What is to be run comes by a file in memory and not by arguments or environment: those of every
//! process are public, and an `LD_PRELOAD` of the caller's must not act before privileges are gone.
//!
//! On the control socket the job writes the lines `terminate` and `kill`; the other side writes
//! [`Notice`]s, one JSON object a line.

mod execute;
mod probe;
mod supervise;

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::confinement::Confinement;

pub use execute::execute;
pub(super) use probe::{Attempt, Trial};
pub use probe::{linger, probe};
pub use supervise::supervise;

/// File descriptor of the program's standard input in guard and guard-exec, where 0 is the control
/// socket.
pub(super) const PROGRAM_STDIN: i32 = 3;
/// File descriptor of the [`Order`].
pub(super) const ORDER: i32 = 4;

/// What guard-exec is to run. No `Debug`: the environment holds secrets.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) confinement: Confinement,
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: OsString,
}

/// What the job is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Notice {
    /// The program ended with this exit code.
    Ended(i32),
    /// The program was ended by this signal.
    Signalled(i32),
    /// The program was not started.
    Failed {
        /// The step that failed.
        step: String,
        /// As the system numbers it.
        errno: i32,
    },
}

impl Notice {
    fn failed(step: &str, error: &std::io::Error) -> Self {
        Self::Failed {
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or_default(),
        }
    }

    fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}
