//! The settings whose values are secrets, and what they name in Secret Manager.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};

use super::{Config, Mistakes, SecretName, units, validate};

impl Config {
    /// Every secret, with the key that it belongs to.
    pub fn secrets(&self) -> Vec<(&'static str, &SecretString)> {
        let registries = self.plugins.registries.values();
        let keyed = |key: &'static str| move |secret| (key, secret);
        let callers = self.auth.api_keys.iter().map(keyed("auth.api_keys"));
        callers
            .chain(self.auth.admin_key.iter().map(keyed("auth.admin_key")))
            .chain(self.webhook.secret.iter().map(keyed("webhook.secret")))
            .chain(
                registries
                    .filter_map(|registry| registry.password.as_ref())
                    .map(keyed("plugins.registries")),
            )
            .collect()
    }

    /// What a value of these settings names in Secret Manager, with its mistake; None where it is the value
    /// itself.
    pub fn secret_name(&self, value: &str) -> Option<Result<SecretName, String>> {
        SecretName::parse(value, &self.google.project_id)
    }

    /// The same settings with what `read` holds in place of the names, checked as what is written into them
    /// directly is. A secret may hold several values for a list, with commas between. Keys that stand in
    /// `withdrawn` are left out.
    pub fn with_secrets(
        &self,
        read: &BTreeMap<SecretName, SecretString>,
        withdrawn: &BTreeSet<SecretName>,
    ) -> Result<Self, Mistakes> {
        let name = |secret: &SecretString| self.secret_name(secret.expose_secret())?.ok();
        let found = |secret: &SecretString| read.get(&name(secret)?);
        let counts =
            |secret: &&SecretString| name(secret).is_none_or(|name| !withdrawn.contains(&name));
        let one = |secret: &SecretString| {
            found(secret).map_or_else(
                || secret.clone(),
                |text| SecretString::from(text.expose_secret().trim()),
            )
        };
        let each = |secret: &SecretString| match found(secret) {
            Some(text) => units::split_secrets(text.expose_secret()),
            None => vec![secret.clone()],
        };
        let api_keys = self.auth.api_keys.iter().filter(counts).map(each);
        let api_keys: Vec<_> = api_keys.collect();
        let webhook: Vec<_> = self.webhook.secret.iter().map(each).collect();
        for (key, lists) in [("auth.api_keys", &api_keys), ("webhook.secret", &webhook)] {
            // Without any key nobody would be asked for one.
            if lists.iter().any(Vec::is_empty) {
                let mistake = format!("`{key}`: what its secret holds is no value but commas");
                return Err(Mistakes(vec![mistake]));
            }
        }
        let mut config = self.clone();
        config.auth.api_keys = api_keys.into_iter().flatten().collect();
        config.auth.admin_key = self.auth.admin_key.as_ref().filter(counts).map(one);
        config.webhook.secret = webhook.into_iter().flatten().collect();
        for registry in config.plugins.registries.values_mut() {
            registry.password = registry.password.as_ref().map(one);
        }
        let mistakes = validate::mistakes(&config, &BTreeSet::new());
        match mistakes.is_empty() {
            true => Ok(config),
            false => Err(Mistakes(mistakes)),
        }
    }
}

#[cfg(all(test, feature = "gcp"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use crate::config::{Config, Mistakes, Sources, load};

    fn loaded(given: &[(&str, &str)]) -> Result<Config, Mistakes> {
        let environment = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        load(&Sources {
            environment,
            ..Sources::default()
        })
    }

    #[test]
    fn what_names_no_secret_well_is_a_mistake_of_its_key() {
        let written = [
            ("GATEHOUSE_API_KEYS", "secret://a/b/c"),
            ("GATEHOUSE_ADMIN_KEY", "secret://x"),
            ("CLOUDRUN_CALLBACK_SECRET", "secret://its-name/"),
            ("GATEHOUSE__TASK__SYSTEM_PROMPT_FILE", "secret://"),
        ];
        let said = loaded(&written).unwrap_err().0;
        for (key, words) in [
            ("auth.api_keys", "secret://NAME"),
            ("auth.admin_key", "google.project_id"),
            ("webhook.secret", "secret://NAME"),
            ("task.system_prompt_file", "secret://NAME"),
        ] {
            let of_key = |line: &&String| line.starts_with(&format!("`{key}`"));
            let line = said.iter().find(of_key).unwrap();
            assert!(line.contains(words), "{line}");
            assert!(!line.contains("its-name"), "{line}");
        }
        assert_eq!(said.len(), 4, "{said:#?}");
    }

    #[test]
    fn a_prompt_in_secret_manager_is_no_path() {
        let written = [
            ("PROJECT_ID", "p-1"),
            ("GATEHOUSE__TASK__SYSTEM_PROMPT_FILE", "secret://prompt/2"),
        ];
        let config = loaded(&written).unwrap();
        let path = config.task.system_prompt_file.unwrap();
        assert_eq!(path, Path::new("secret://prompt/2"));
    }
}
