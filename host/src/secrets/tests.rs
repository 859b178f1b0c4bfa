//! Against Google's API as `fake-google` speaks it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::{Duration, Instant};

use fake_google::{FakeGoogle, Fault, VersionState};
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use super::*;
use crate::config::{Config, Google, SecretName, Sources, load};

const SECRET: &str = "projects/p-1/secrets/key";

fn google(fake: &FakeGoogle, age: Duration) -> Google {
    Google {
        project_id: "p-1".to_owned(),
        endpoint: Some(fake.url().parse().unwrap()),
        secrets_age: age,
        ..crate::google::tests::settings()
    }
}

fn name(text: &str) -> SecretName {
    SecretName::parse(text, "p-1").unwrap().unwrap()
}

async fn manager() -> (FakeGoogle, SecretManager) {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "first");
    let manager = SecretManager::new(&google(&fake, Duration::from_secs(60)));
    (fake, manager)
}

async fn words(manager: &SecretManager, text: &str) -> String {
    manager.read(&name(text)).await.unwrap_err().to_string()
}

#[tokio::test]
async fn the_request_is_that_of_googles_reference() {
    let (fake, manager) = manager().await;
    fake.add_secret(SECRET, "second");
    for (asked, value, version) in [
        ("secret://key", "second", "latest"),
        ("secret://key/1", "first", "1"),
    ] {
        let read = manager.read(&name(asked)).await.unwrap();
        assert_eq!(read.expose_secret(), value);
        let request = fake.requests().pop().unwrap();
        assert_eq!(
            (request.operation.as_str(), request.method.as_str()),
            ("secrets.access", "GET")
        );
        let target =
            format!("/v1/{SECRET}/versions/{version}:access?%24alt=json%3Benum-encoding%3Dint");
        assert_eq!(request.target, target);
        assert!(request.body.is_empty());
    }
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn what_passes_is_tried_again_and_given_up_after_five_tries() {
    let (fake, manager) = manager().await;
    let faults = [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Reset,
        Fault::LostReply,
        Fault::BrokenStream(20),
        Fault::WrongChecksum,
    ];
    for fault in faults {
        fake.nth("secrets.", 1, fault);
        let before = fake.count("secrets.");
        assert!(
            manager.read(&name("secret://key")).await.is_ok(),
            "{fault:?}"
        );
        assert_eq!(fake.count("secrets.") - before, 2, "{fault:?}");
    }
    fake.every("secrets.", 1, Fault::WrongChecksum);
    let before = fake.count("secrets.");
    assert!(words(&manager, "secret://key").await.contains("damaged"));
    assert_eq!(fake.count("secrets.") - before, 5);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_says_what_an_operator_must_do() {
    let (fake, manager) = manager().await;
    assert!(
        words(&manager, "secret://none")
            .await
            .contains("make the secret")
    );
    assert!(
        words(&manager, "secret://key/2")
            .await
            .contains("add a version")
    );
    for state in [VersionState::Disabled, VersionState::Destroyed] {
        fake.set_secret_version(SECRET, 1, state);
        assert!(
            words(&manager, "secret://key")
                .await
                .contains("enable that version")
        );
    }
    fake.nth("secrets.", 1, Fault::Status(403));
    let said = words(&manager, "secret://key").await;
    assert!(
        said.contains("roles/secretmanager.secretAccessor"),
        "{said}"
    );
    assert!(said.contains(SECRET), "{said}");
    assert_eq!(fake.count("secrets."), 5);
}

#[tokio::test]
async fn what_is_blank_no_text_or_too_long_is_refused() {
    let (fake, manager) = manager().await;
    for (data, why) in [
        (b" \n".to_vec(), "blank"),
        (vec![0xff, 0xfe], "UTF-8"),
        (vec![b'x'; 64 * 1024 + 1], "longer than 65536 bytes"),
    ] {
        fake.add_secret(SECRET, data);
        let said = words(&manager, "secret://key").await;
        assert!(said.contains(why), "{said}");
    }
    fake.add_secret(SECRET, vec![b'x'; 64 * 1024]);
    assert!(manager.read(&name("secret://key")).await.is_ok());
}

/// Settings whose secrets stand in the fake.
fn settings(fake: &FakeGoogle, more: &[(&str, &str)]) -> Config {
    let endpoint = fake.url();
    let given = [
        ("PROJECT_ID", "p-1"),
        ("GATEHOUSE__GOOGLE__ENDPOINT", endpoint.as_str()),
        ("GATEHOUSE__GOOGLE__SECRETS_AGE", "20ms"),
    ];
    let environment = given
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    load(&Sources {
        environment,
        ..Sources::default()
    })
    .unwrap()
}

fn keys(config: &Config) -> Vec<&str> {
    let keys = config.auth.api_keys.iter();
    keys.map(|key| key.expose_secret()).collect()
}

#[tokio::test]
async fn every_secret_of_the_settings_is_filled_in_and_each_is_read_once() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "key-1,key-2\n");
    fake.add_secret("projects/p-1/secrets/admin", "key-of-the-operator");
    fake.add_secret("projects/p-2/secrets/hook", "webhook-1");
    fake.add_secret("projects/p-1/secrets/password", "quite secret");
    let registries =
        r#"{ "registry.example" = { username = "me", password = "secret://password/1" } }"#;
    let mut config = settings(
        &fake,
        &[
            ("GATEHOUSE_API_KEYS", "secret://key,key-3,secret://key/1"),
            ("GATEHOUSE_ADMIN_KEY", "secret://admin"),
            (
                "CLOUDRUN_CALLBACK_SECRET",
                "secret://projects/p-2/secrets/hook/versions/latest,plain",
            ),
            ("GATEHOUSE__PLUGINS__REGISTRIES", registries),
        ],
    );
    SecretSettings::fill(&mut config).await.unwrap();
    assert_eq!(keys(&config), ["key-1", "key-2", "key-3", "key-1", "key-2"]);
    let admin = config.auth.admin_key.as_ref().unwrap();
    assert_eq!(admin.expose_secret(), "key-of-the-operator");
    let hooks = config.webhook.secret.iter();
    let hooks: Vec<_> = hooks.map(|secret| secret.expose_secret()).collect();
    assert_eq!(hooks, ["webhook-1", "plain"]);
    let password = config.plugins.registries["registry.example"]
        .password
        .as_ref();
    assert_eq!(password.unwrap().expose_secret(), "quite secret");
    assert_eq!(fake.count("secrets.access"), 5);
}

#[tokio::test]
async fn whoever_ships_plugins_reads_the_passwords_alone() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret("projects/p-1/secrets/password", "quite secret");
    let registries =
        r#"{ "registry.example" = { username = "me", password = "secret://password" } }"#;
    let written = [
        ("GATEHOUSE_API_KEYS", "secret://key"),
        ("GATEHOUSE__PLUGINS__REGISTRIES", registries),
    ];
    let mut config = settings(&fake, &written);
    SecretSettings::fill_passwords(&mut config).await.unwrap();
    let password = config.plugins.registries["registry.example"]
        .password
        .as_ref();
    assert_eq!(password.unwrap().expose_secret(), "quite secret");
    assert_eq!(keys(&config), ["secret://key"]);
    assert_eq!(fake.count("secrets."), 1);
}

#[tokio::test]
async fn every_mistake_is_listed_with_its_key_and_nothing_of_a_secret() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "with a space");
    fake.add_secret("projects/p-1/secrets/commas", ",");
    let written = [
        ("GATEHOUSE_API_KEYS", "secret://none"),
        ("CLOUDRUN_CALLBACK_SECRET", "secret://key/7"),
    ];
    let mut config = settings(&fake, &written);
    let said = SecretSettings::fill(&mut config).await.unwrap_err().0;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.iter()
            .any(|line| line.starts_with("`auth.api_keys`: projects/p-1/secrets/none"))
    );
    assert!(
        said.iter()
            .any(|line| line.starts_with("`webhook.secret`: projects/p-1/secrets/key"))
    );
    assert_eq!(keys(&config), ["secret://none"], "it is as it was");

    for (secret, why) in [
        ("secret://key", "printable ASCII"),
        ("secret://commas", "commas"),
    ] {
        let mut config = settings(&fake, &[("GATEHOUSE_API_KEYS", secret)]);
        let said = SecretSettings::fill(&mut config)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("auth.api_keys") && said.contains(why),
            "{said}"
        );
        assert!(!said.contains("with a space"), "{said}");
    }
}

#[tokio::test]
async fn a_new_version_counts_soon_and_what_cannot_be_used_or_had_changes_nothing() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "key-1");
    let mut config = settings(&fake, &[("GATEHOUSE_API_KEYS", "secret://key")]);
    let secrets = SecretSettings::fill(&mut config).await.unwrap();
    let (sender, mut told) = watch::channel(keys(&config).join(","));
    let watching = tokio::spawn(secrets.keep_current(move |config| {
        sender.send_replace(keys(config).join(","));
    }));

    fake.add_secret(SECRET, "key-2");
    told.wait_for(|keys| keys == "key-2").await.unwrap();

    fake.add_secret(SECRET, "no key");
    until_asked(&fake, 3).await;
    fake.every("secrets.", 1, Fault::Status(503));
    until_asked(&fake, 3).await;
    fake.heal();
    assert_eq!(*told.borrow(), "key-2");

    fake.add_secret(SECRET, "key-3");
    told.wait_for(|keys| keys == "key-3").await.unwrap();
    watching.abort();
}

#[tokio::test]
async fn keys_of_a_secret_that_was_withdrawn_are_dropped_and_come_back_with_it() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "key-1");
    fake.add_secret("projects/p-1/secrets/admin", "key-of-the-operator");
    let given = [
        ("GATEHOUSE_API_KEYS", "secret://key,key-2"),
        ("GATEHOUSE_ADMIN_KEY", "secret://admin"),
        ("CLOUDRUN_CALLBACK_SECRET", "secret://key"),
    ];
    let mut config = settings(&fake, &given);
    let secrets = SecretSettings::fill(&mut config).await.unwrap();
    let (sender, mut told) = watch::channel((String::new(), true, 0));
    let watching = tokio::spawn(secrets.keep_current(move |config| {
        let operator = config.auth.admin_key.is_some();
        sender.send_replace((
            keys(config).join(","),
            operator,
            config.webhook.secret.len(),
        ));
    }));

    fake.set_secret_version(SECRET, 1, VersionState::Disabled);
    let gone = ("key-2".to_owned(), true, 1);
    told.wait_for(|told| *told == gone).await.unwrap();
    fake.set_secret_version("projects/p-1/secrets/admin", 1, VersionState::Destroyed);
    told.wait_for(|told| !told.1).await.unwrap();

    fake.set_secret_version(SECRET, 1, VersionState::Enabled);
    let back = ("key-1,key-2".to_owned(), false, 1);
    told.wait_for(|told| *told == back).await.unwrap();
    fake.every("secrets.", 1, Fault::Status(403));
    told.wait_for(|told| told.0 == "key-2").await.unwrap();
    watching.abort();
}

#[tokio::test]
async fn a_secret_of_no_use_keeps_out_no_other() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "key-1");
    fake.add_secret("projects/p-1/secrets/other", "key-2");
    let given = [("GATEHOUSE_API_KEYS", "secret://key,secret://other")];
    let mut config = settings(&fake, &given);
    let secrets = SecretSettings::fill(&mut config).await.unwrap();
    let (sender, mut told) = watch::channel(String::new());
    let watching = tokio::spawn(secrets.keep_current(move |config| {
        sender.send_replace(keys(config).join(","));
    }));

    fake.add_secret(SECRET, "no key");
    fake.add_secret("projects/p-1/secrets/other", "key-3");
    told.wait_for(|keys| keys == "key-1,key-3").await.unwrap();
    watching.abort();
}

#[tokio::test]
async fn a_numbered_version_is_not_looked_at_again() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "key-1");
    let mut config = settings(&fake, &[("GATEHOUSE_API_KEYS", "secret://key/1")]);
    let secrets = SecretSettings::fill(&mut config).await.unwrap();
    secrets.keep_current(|_| panic!("it changed")).await;
    assert_eq!(fake.count("secrets."), 1);
}

async fn until_asked(fake: &FakeGoogle, times: usize) {
    let before = fake.count("secrets.");
    while fake.count("secrets.") < before + times {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn text(fake: &FakeGoogle, age: Duration) -> SecretText {
    let check = |text: &str| match text.contains('\0') {
        true => Err("must not contain NUL"),
        false => Ok(()),
    };
    SecretText::new(&google(fake, age), name("secret://key"), check)
}

async fn reads(text: &SecretText) -> String {
    text.read().await.unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn many_who_want_a_text_at_once_are_one_who_asks() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "be brief\n");
    fake.set_latency(Duration::from_millis(50));
    let text = text(&fake, Duration::from_secs(60));
    let all = futures::future::join_all((0..50).map(|_| reads(&text))).await;
    assert!(all.iter().all(|read| read == "be brief\n"));
    assert_eq!(fake.count("secrets."), 1);
}

#[tokio::test]
async fn a_text_is_read_again_when_it_is_old_and_kept_for_a_while_when_it_cannot_be() {
    let fake = FakeGoogle::start().await.unwrap();
    let age = Duration::from_millis(200);
    fake.add_secret(SECRET, "be brief");
    let text = text(&fake, age);
    assert_eq!(reads(&text).await, "be brief");
    fake.add_secret(SECRET, "be thorough");
    tokio::time::sleep(age).await;
    assert_eq!(reads(&text).await, "be thorough");

    // What is no prompt is as if it could not be read; nor can it be soon after.
    fake.add_secret(SECRET, "be\0thorough");
    tokio::time::sleep(age).await;
    assert_eq!(reads(&text).await, "be thorough");
    fake.every("secrets.", 1, Fault::Status(403));
    let began = Instant::now();
    let failed = loop {
        match text.read().await {
            Ok(read) => assert_eq!(read.expose_secret(), "be thorough"),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(began.elapsed() > 5 * age, "{:?}", began.elapsed());
    assert!(failed.to_string().contains("secretAccessor"), "{failed}");

    fake.heal();
    fake.add_secret(SECRET, "be kind");
    tokio::time::sleep(age).await;
    assert_eq!(reads(&text).await, "be kind");
}

#[tokio::test]
async fn a_text_that_was_never_read_fails_and_is_not_asked_for_by_everybody() {
    let fake = FakeGoogle::start().await.unwrap();
    let text = text(&fake, Duration::from_secs(60));
    for _ in 0..10 {
        let error = text.read().await.unwrap_err().to_string();
        assert!(error.contains("make the secret"), "{error}");
    }
    assert_eq!(fake.count("secrets."), 1);
}

#[tokio::test]
async fn who_has_a_text_does_not_wait_long_for_a_new_one() {
    let fake = FakeGoogle::start().await.unwrap();
    fake.add_secret(SECRET, "be brief");
    let text = text(&fake, Duration::from_secs(1));
    assert_eq!(reads(&text).await, "be brief");
    tokio::time::sleep(Duration::from_secs(1)).await;
    fake.every("secrets.", 1, Fault::Delay(Duration::from_secs(3600)));
    let began = Instant::now();
    assert_eq!(reads(&text).await, "be brief");
    assert!(began.elapsed() < Duration::from_secs(5));
}
