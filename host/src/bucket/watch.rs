//! A hint that something changed below a prefix, so that nobody polls in haste.

use std::time::Duration;

use tokio::sync::watch::Receiver;

/// Made before the first read, asked after each: a change in between is not missed.
#[derive(Debug)]
pub struct Watch {
    hints: Option<Receiver<u64>>,
}

impl Watch {
    /// A watch that is told of changes through `hints`.
    pub fn on(hints: Receiver<u64>) -> Self {
        Self { hints: Some(hints) }
    }

    /// A watch where nobody tells: [`Watch::changed`] waits its whole time.
    pub fn blind() -> Self {
        Self { hints: None }
    }

    /// Returns when something may have changed since the last call, and after `at_most` anyway.
    pub async fn changed(&mut self, at_most: Duration) {
        match &mut self.hints {
            Some(hints) => {
                if let Ok(Err(_sender_gone)) = tokio::time::timeout(at_most, hints.changed()).await
                {
                    self.hints = None;
                    tokio::time::sleep(at_most).await;
                }
            }
            None => tokio::time::sleep(at_most).await,
        }
    }
}
