//! Keys: which are good, and for whom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;
use crate::config::{Sources, load};

fn hash(key: &str) -> String {
    hex::encode(digest(key))
}

fn access(settings: &[(&str, &str)]) -> Access {
    let flags = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let config = load(&Sources {
        flags,
        ..Sources::default()
    });
    Access::new(&config.unwrap().auth).unwrap()
}

async fn who(access: &Access, shown: &str) -> Option<Caller> {
    access.identify(Some(shown)).await.ok()
}

#[tokio::test]
async fn a_named_key_is_known_by_its_hash_and_two_of_them_are_one_caller() {
    let keys = format!(
        "{{ ci = {{ sha256 = [\"{}\", \"{}\"], tenant = \"team-a\" }}, desk = {{ sha256 = \"{}\" }} }}",
        hash("old"),
        hash("new"),
        hash("third"),
    );
    let access = access(&[("auth.keys", &keys)]);
    let caller = who(&access, "old").await.unwrap();
    assert_eq!((&*caller.name, &*caller.tenant), ("ci", "team-a"));
    assert_eq!(who(&access, "new").await.unwrap(), caller);
    let desk = who(&access, "third").await.unwrap();
    assert_eq!((&*desk.name, &*desk.tenant), ("desk", ""));
    assert_ne!(desk.scope, caller.scope);
    for nobody in ["", "ol", "old2", "OLD", &hash("old")] {
        assert_eq!(who(&access, nobody).await, None, "{nobody}");
    }
    assert_eq!(access.identify(None).await, Err(Refused::Unknown));
}

#[tokio::test]
async fn keys_without_a_name_are_good_as_before() {
    let access = access(&[("auth.api_keys", "first-key,second-key")]);
    let caller = who(&access, "second-key").await.unwrap();
    assert_eq!(caller.name.len(), "key-".len() + 8);
    assert_eq!(caller.scope, hash("second-key"));
    assert_ne!(who(&access, "first-key").await.unwrap(), caller);
    for nobody in ["", "second", "second-key2", "third-key"] {
        assert_eq!(who(&access, nobody).await, None, "{nobody}");
    }
}

#[tokio::test]
async fn keys_that_are_turned_while_the_gateway_runs_count_at_once() {
    let access = access(&[("auth.api_keys", "first-key")]);
    let turned = load(&Sources {
        flags: [("auth.api_keys".to_owned(), "second-key".to_owned())].into(),
        ..Sources::default()
    });
    access.renew(&turned.unwrap().auth);
    assert_eq!(who(&access, "first-key").await, None);
    assert!(who(&access, "second-key").await.is_some());
    access.renew(&load(&Sources::default()).unwrap().auth);
    for shown in [None, Some("second-key")] {
        assert_eq!(access.identify(shown).await, Err(Refused::Unknown));
    }
    assert!(access.asks(), "no key is left, and still it asks");
}

#[tokio::test]
async fn without_keys_everybody_is_anonymous_and_only_the_operator_is_somebody() {
    let access = access(&[("auth.admin_sha256", &hash("operators"))]);
    assert!(!access.asks());
    for shown in [None, Some("anything")] {
        let caller = access.identify(shown).await.unwrap();
        assert_eq!((&*caller.name, caller.operator), ("anonymous", false));
    }
    assert!(access.operator("operators").unwrap().operator);
    assert_eq!(access.operator("anything"), None);
}

#[test]
fn a_caller_sees_its_tenant_and_the_operator_everything() {
    let caller = Caller::named("ci".to_owned(), "a".to_owned(), "key");
    assert!(caller.sees("a") && !caller.sees("b") && !caller.sees(""));
    let operator = Caller::unnamed(OPERATOR, OPERATOR);
    assert!(operator.sees("a") && operator.sees(""));
    assert_eq!(caller.only_tenant(), Some("a"));
    assert_eq!(operator.only_tenant(), None);
}

#[test]
fn what_is_nobodys_is_shown_to_the_operator_and_to_all_where_there_are_no_tenants() {
    assert!(!config::is_tenant(NOBODY));
    let operator = Caller::unnamed(OPERATOR, OPERATOR);
    let key = |tenant: &str| {
        let hash = hash("key");
        format!("{{ ci = {{ sha256 = [\"{hash}\"], tenant = \"{tenant}\" }} }}")
    };
    for (tenant, shown) in [("", true), ("a", false)] {
        let access = access(&[("auth.keys", &key(tenant))]);
        for tenant in ["", "a"] {
            let caller = Caller::named("ci".to_owned(), tenant.to_owned(), "key");
            assert_eq!(access.shows(&caller, NOBODY), shown);
            assert!(access.shows(&caller, tenant));
        }
        assert!(access.shows(&operator, NOBODY));
    }
}

#[test]
fn one_key_in_two_places_and_what_is_no_hash_are_mistakes() {
    let mistakes = |settings: &[(&str, &str)]| {
        let flags = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let loaded = load(&Sources {
            flags,
            ..Sources::default()
        });
        loaded.unwrap_err().to_string()
    };
    let one = hash("s3cr3t");
    let named = |name: &str| format!("{{ {name} = {{ sha256 = \"{one}\" }} }}");
    assert!(
        mistakes(&[("auth.keys", &named("ci")), ("auth.api_keys", "s3cr3t")])
            .contains("must not stand among those without one")
    );
    assert!(
        mistakes(&[("auth.keys", &named("ci")), ("auth.admin_key", "s3cr3t")])
            .contains("must not be one of the callers'")
    );
    let twice = format!("{{ a = {{ sha256 = \"{one}\" }}, b = {{ sha256 = \"{one}\" }} }}");
    assert!(mistakes(&[("auth.keys", &twice)]).contains("stands there twice"));
    for name in ["operator", "anonymous", "key-1", "\"a:b\"", "\"\""] {
        let found = mistakes(&[("auth.keys", &named(name))]);
        assert!(found.contains("is no name for a key"), "{found}");
    }
    for value in [
        "{ ci = { sha256 = \"s3cr3t\" } }",
        "{ ci = { sha256 = [] } }",
        "{ ci = { tenant = \"a\" } }",
        "{ ci = \"s3cr3t\" }",
    ] {
        let found = mistakes(&[("auth.keys", value)]);
        assert!(
            found.contains("`ci`") && !found.contains("s3cr3t"),
            "{found}"
        );
    }
    let tenant = format!("{{ ci = {{ sha256 = \"{one}\", tenant = \"a/b\" }} }}");
    assert!(mistakes(&[("auth.keys", &tenant)]).contains("as tenant"));
    let issuer = ("auth.oidc.issuer", "http://issuer.example");
    let found = mistakes(&[issuer]);
    assert!(
        found.contains("must be https") && found.contains("auth.oidc.audience"),
        "{found}"
    );
}
