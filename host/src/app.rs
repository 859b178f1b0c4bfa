//! The gateway, put together once: what every endpoint works with.

use std::sync::Arc;

use crate::admission::Admission;
use crate::config::Config;
use crate::envelope::Envelope;
use crate::isolation::Isolation;
use crate::launch::Dispatcher;
use crate::outbound::Outbound;
use crate::plugin::Plugins;
use crate::task::Tasks;
use crate::webhook::Courier;

/// All parts of a running gateway.
#[derive(Debug)]
pub struct App {
    /// The settings.
    pub config: Arc<Config>,
    /// Records and events.
    pub tasks: Tasks,
    /// Seals payloads.
    pub envelope: Envelope,
    /// Checks requests.
    pub admission: Admission,
    /// The active set.
    pub plugins: Plugins,
    /// Starts jobs.
    pub dispatcher: Arc<Dispatcher>,
    /// Delivers reports.
    pub courier: Arc<Courier>,
    /// Judges callback URLs.
    pub outbound: Outbound,
    /// What separates agents here.
    pub isolation: Isolation,
}
