//! Jobs as sub-processes of this binary that outlive it.

/// Starts `gatehouse run-job`.
#[derive(Debug)]
pub struct LocalLauncher {}
