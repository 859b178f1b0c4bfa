//! Secrets that must never be seen again, and the search for them.

use std::path::{Path, PathBuf};

/// Values given to one gateway and its tasks.
#[derive(Clone, Debug)]
pub struct Canaries {
    /// The caller's API key: what the scripted model wants to see, and nobody else may.
    pub api_key: String,
    /// A value in `environmentSecrets`: the agent may see it, nothing else may.
    pub environment_secret: String,
    /// Signs webhooks.
    pub webhook_secret: String,
    /// Given by one test alone: keys line by line, tokens.
    pub more: Vec<String>,
}

impl Canaries {
    /// Fresh ones, so that a find tells which test leaked.
    pub fn fresh() -> Self {
        let unique = || uuid::Uuid::new_v4().simple().to_string();
        Self {
            api_key: format!("sk-ant-canary-{}", unique()),
            environment_secret: format!("canary-env-{}", unique()),
            webhook_secret: format!("canary-webhook-secret-{}", unique()),
            more: Vec::new(),
        }
    }

    /// A further secret; of one with several lines each long one.
    pub fn add(&mut self, secret: &str) {
        let lines = secret
            .lines()
            .filter(|line| line.len() >= 16 && !line.contains("-----"));
        self.more.extend(lines.map(str::to_owned));
    }

    fn values(&self) -> impl Iterator<Item = &str> {
        [
            &self.api_key,
            &self.environment_secret,
            &self.webhook_secret,
        ]
        .into_iter()
        .chain(&self.more)
        .map(String::as_str)
    }

    /// The secrets found in `bytes`, plain or in base64.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        use base64::Engine as _;
        let encoded = |value: &str| base64::engine::general_purpose::STANDARD_NO_PAD.encode(value);
        let holds = |needle: &str| {
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        };
        self.values()
            .filter(|value| holds(value) || holds(&encoded(value)))
            .map(str::to_owned)
            .collect()
    }

    /// Files below `root` that hold one.
    pub fn found_below(&self, root: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![root.to_owned()];
        while let Some(directory) = directories.pop() {
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                if kind.is_dir() {
                    directories.push(entry.path());
                } else if kind.is_file()
                    && let Ok(content) = std::fs::read(entry.path())
                    && !self.found_in(&content).is_empty()
                {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}
