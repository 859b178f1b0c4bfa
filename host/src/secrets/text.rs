//! A text that is asked for at each task, and changes while the gateway runs.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{SecretManager, Unreadable};
use crate::config::{Google, SecretName};

/// What was read last counts for so many times `google.secrets_age` where nothing new can be read.
const LAST_GOOD: u32 = 15;
/// After a failure it is asked again in this part of `google.secrets_age`.
const AGAIN: u32 = 12;
/// Whoever can be given what was read last waits no longer for what is new.
const PATIENCE: Duration = Duration::from_secs(2);

/// One secret's text.
#[derive(Debug)]
pub struct SecretText {
    manager: SecretManager,
    name: SecretName,
    age: Duration,
    check: fn(&str) -> Result<(), &'static str>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// And when it was read.
    text: Option<(SecretString, Instant)>,
    /// How the last try ended, and when.
    tried: Option<(Result<(), Unreadable>, Instant)>,
}

impl SecretText {
    /// What `check` refuses counts as not read.
    pub fn new(
        google: &Google,
        name: SecretName,
        check: fn(&str) -> Result<(), &'static str>,
    ) -> Self {
        Self {
            manager: SecretManager::new(google),
            name,
            age: google.secrets_age,
            check,
            known: Mutex::default(),
        }
    }

    /// Not older than `google.secrets_age` while it can be read, and fifteen times that while it cannot.
    pub async fn read(&self) -> Result<SecretString, Unreadable> {
        // Held while one asks: whoever comes meanwhile gets the same answer.
        let mut known = self.known.lock().await;
        let wait = match &known.tried {
            None => Duration::ZERO,
            Some((Ok(()), _)) => self.age,
            Some((Err(_), _)) => self.age / AGAIN,
        };
        if known
            .tried
            .as_ref()
            .is_none_or(|(_, at)| at.elapsed() >= wait)
        {
            let lasts = known.text.as_ref().is_some_and(|(_, at)| self.lasts(*at));
            let asked = Instant::now();
            let outcome = match self.ask(lasts).await {
                Ok(text) => {
                    known.text = Some((text, asked));
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(%error, usable = lasts, "a text cannot be read again from Secret Manager");
                    Err(error)
                }
            };
            known.tried = Some((outcome, Instant::now()));
        }
        match (&known.text, &known.tried) {
            (Some((text, at)), _) if self.lasts(*at) => Ok(text.clone()),
            (_, Some((Err(error), _))) => Err(error.clone()),
            _ => Err(Unreadable::Failed(format!("{}: not read", self.name))),
        }
    }

    fn lasts(&self, read: Instant) -> bool {
        read.elapsed() < self.age * LAST_GOOD
    }

    async fn ask(&self, has_another: bool) -> Result<SecretString, Unreadable> {
        let asked = self.manager.read(&self.name);
        let text = match has_another {
            false => asked.await?,
            true => tokio::time::timeout(PATIENCE, asked)
                .await
                .unwrap_or_else(|_| {
                    Err(Unreadable::Failed(format!(
                        "{}: no answer in {PATIENCE:?}",
                        self.name
                    )))
                })?,
        };
        match (self.check)(text.expose_secret()) {
            Ok(()) => Ok(text),
            Err(why) => Err(Unreadable::Failed(format!("{}: {why}", self.name))),
        }
    }
}
