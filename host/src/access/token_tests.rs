//! What a token with a good signature must say. Bad signatures are tried against the whole gateway.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use serde_json::json;

use super::*;
use crate::config::{Sources, load};

fn tokens(settings: &[(&str, &str)]) -> Tokens {
    let given = [
        ("auth.oidc.issuer", "https://issuer.example"),
        ("auth.oidc.audience", "gatehouse"),
    ];
    let flags = given
        .iter()
        .chain(settings)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let config = load(&Sources {
        flags,
        ..Sources::default()
    });
    Tokens::new(&config.unwrap().auth.oidc).unwrap().unwrap()
}

fn caller(tokens: &Tokens, claims: Value) -> Option<(String, String)> {
    let Value::Object(claims) = claims else {
        panic!("{claims}");
    };
    let now = Timestamp::from_second(1_000_000).unwrap();
    let caller = tokens.caller(&claims, now).ok()?;
    Some((caller.name, caller.tenant))
}

#[test]
fn the_subject_is_the_caller_and_the_default_tenant_its_own() {
    let tokens = tokens(&[]);
    let named = caller(&tokens, json!({"sub": "alice"})).unwrap();
    assert_eq!(named, ("oidc:alice".to_owned(), String::new()));
    for claims in [
        json!({}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "a\nb"}),
        json!({"sub": "x".repeat(257)}),
        json!({"sub": "alice", "iat": 1_000_061}),
        json!({"sub": "alice", "iat": "then"}),
    ] {
        assert_eq!(caller(&tokens, claims.clone()), None, "{claims}");
    }
    assert!(caller(&tokens, json!({"sub": "alice", "iat": 1_000_060})).is_some());
}

#[test]
fn a_tenant_that_is_asked_for_must_be_told() {
    let tokens = tokens(&[("auth.oidc.tenant_claim", "hd")]);
    let named = caller(&tokens, json!({"sub": "alice", "hd": "example.com"})).unwrap();
    assert_eq!(named.1, "example.com");
    for tenant in [
        json!(null),
        json!(""),
        json!("a/b"),
        json!(["a"]),
        json!("x".repeat(129)),
    ] {
        let claims = json!({"sub": "alice", "hd": tenant});
        assert_eq!(caller(&tokens, claims.clone()), None, "{claims}");
    }
    assert_eq!(caller(&tokens, json!({"sub": "alice"})), None);
}

#[test]
fn every_required_claim_must_be_one_of_its_values() {
    let tokens = tokens(&[(
        "auth.oidc.require",
        "{ hd = \"example.com\", groups = [\"ops\", \"dev\"] }",
    )]);
    let good = json!({"sub": "alice", "hd": "example.com", "groups": ["sales", "dev"]});
    assert!(caller(&tokens, good).is_some());
    for claims in [
        json!({"sub": "alice", "groups": ["dev"]}),
        json!({"sub": "alice", "hd": "example.com"}),
        json!({"sub": "alice", "hd": "example.com", "groups": ["sales"]}),
        json!({"sub": "alice", "hd": "example.org", "groups": "dev"}),
        json!({"sub": "alice", "hd": true, "groups": "dev"}),
    ] {
        assert_eq!(caller(&tokens, claims.clone()), None, "{claims}");
    }
}

#[test]
fn an_email_that_the_issuer_did_not_verify_names_nobody() {
    let tokens = tokens(&[("auth.oidc.caller_claim", "email")]);
    let claims =
        |verified: bool| json!({"sub": "1", "email": "a@example.com", "email_verified": verified});
    assert_eq!(
        caller(&tokens, claims(true)).unwrap().0,
        "oidc:a@example.com"
    );
    let claims =
        |verified: Value| json!({"sub": "1", "email": "a@example.com", "email_verified": verified});
    for verified in [
        json!(false),
        json!(null),
        json!("TRUE"),
        json!(1),
        json!(["true"]),
    ] {
        assert_eq!(
            caller(&tokens, claims(verified.clone())),
            None,
            "{verified}"
        );
    }
    assert!(caller(&tokens, claims(json!("true"))).is_some());
    let silent = json!({"sub": "1", "email": "a@example.com"});
    assert_eq!(caller(&tokens, silent.clone()), None);
    for setting in [
        ("auth.oidc.tenant_claim", "email"),
        ("auth.oidc.require", "{ email = \"a@example.com\" }"),
    ] {
        let tokens = self::tokens(&[setting]);
        assert_eq!(caller(&tokens, silent.clone()), None, "{setting:?}");
        assert!(
            caller(&tokens, claims(json!(true))).is_some(),
            "{setting:?}"
        );
    }
}
