#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use super::*;

// Made once by `openssl genpkey`, `openssl dgst -sha256 -sign` and `openssl pkeyutl -sign -rawin`.
const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5TNsCIbgcBmCFgwSK2XjLgUvmYgN
bVrBecQk0rHfB9kiOLp+MIj2sXlkTlHHEIeKpwME/PwIW+Bv3rLNnjseEg==
-----END PUBLIC KEY-----
";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAkcZdLOLfEfvFexI7Mvsh+gDg3K6tCaVh+n4rvQhGLr4=
-----END PUBLIC KEY-----
";
const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE/q1sicfM2DmrS3IsPcG7QqnrZH9y61UO
KigNoy8dzWT/M/6N/m5pFFQpzTphu7HRZ1N7ZfxMacNtLZ2f5MClgftiKYczGILA
wYot8QVkUg0xi8rddwufOh39YE8kVLdu
-----END PUBLIC KEY-----
";
const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC6cTq8eHWpI17iUx9VYgOUT1Lx
PwHXQ9iAmNUUm/Gu1PhJrdihTXoVITisaYSYAXwUKexUJgesk1JbSqHeR1afPnxU
Dv9KYdudRlbBIR2f5CNmqIFYrC98cyZwW5lueGHyvWwGuyOa22LDnHCKcM6hL5al
tRMqUFhPJED3HhlRIwIDAQAB
-----END PUBLIC KEY-----
";

const COMPONENT: &[u8] = b"the bytes of a component";
const BY_P256: &str = "MEUCIE2XMd2dODQDlkYAT7izmX1dXkd+vGYnevC0vf+XcAPeAiEA1sgICUPClRdtdx2EfT7xf94QhFrwJDU7t7JfmKEnU3w=";
const BY_ED25519: &str =
    "egMCibXcrUp3jpVPr+faKKra7n9mt5If+jplflP7Z8mffM63TPoKpsilxP2jKGMYfIkCYNBcruNMC5lkeVZGAg==";

const MANIFEST: &str = "sha256:e59625a822497c164d60705eb3fd6975c375ca213b8140137a826a77790986a9";
const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"registry.example/acme/guard"},"image":{"docker-manifest-digest":"sha256:e59625a822497c164d60705eb3fd6975c375ca213b8140137a826a77790986a9"},"type":"cosign container image signature"},"optional":null}"#;
const PAYLOAD_BY_P256: &str = "MEUCIQC9aml215RCu/jle18oMCxvOm/ed/dF9FEPnYODCSD+LgIgdnW3pv4M8o/d3sOXprt7LUvr6c0cE+C5ChNSmP0uIvE=";
const PAYLOAD_BY_ED25519: &str =
    "/xLAE8LptGX3MvFODs4W5WjDqJDiM9s8LPmKShNEuWx772LPHBuekMaYuBqU535XSmfh89lTPWG/djoSA/R3CA==";

fn known(all_of: &[&str], any_of: Option<(u32, &[&str])>) -> Arc<Signatures> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let key = |name: &str, pem: &str| (name.to_owned(), PublicKey::from_pem(pem).unwrap());
    Arc::new(Signatures {
        keys: BTreeMap::from([key("alice", P256), key("bob", ED25519)]),
        all_of: names(all_of),
        any_of: any_of.map(|(minimum, keys)| AnyOf {
            minimum,
            keys: names(keys),
        }),
    })
}

fn detached(lines: &[&str]) -> Vec<Claim> {
    Claim::detached(lines.join("\n").as_bytes(), "a.wasm.sig").unwrap()
}

fn of_artifact(payload: &str, signature: &str, manifest: &str) -> Vec<Claim> {
    let signed = Signed {
        payload: payload.as_bytes().to_vec(),
        signature: STANDARD.decode(signature).unwrap(),
    };
    Claim::of_artifact(manifest, vec![signed])
}

fn signers(component: &[u8], claims: Vec<Claim>) -> Vec<String> {
    known(&[], None).verify(component, claims).signed_by
}

#[test]
fn a_key_is_one_block_of_one_of_two_kinds() {
    for good in [P256, ED25519, &format!("\n{P256}\n\n")] {
        assert!(PublicKey::from_pem(good).is_ok(), "{good}");
    }
    let block = |label: &str, content: &str| {
        format!("-----BEGIN {label}-----\n{content}\n-----END {label}-----\n")
    };
    let content = |pem: &str| pem.lines().nth(1).unwrap().to_owned();
    for (bad, words) in [
        (String::new(), "not one PEM block"),
        (format!("{P256}{ED25519}"), "not one PEM block"),
        (P256.replace("MFkw", "M"), "not one PEM block"),
        (block("PRIVATE KEY", &content(ED25519)), "private key"),
        (block("EC PRIVATE KEY", &content(ED25519)), "private key"),
        (block("CERTIFICATE", &content(ED25519)), "BEGIN CERTIFICATE"),
        (block("PUBLIC KEY", "MAA="), "holds no public key"),
        (P384.to_owned(), "P-256"),
        (RSA.to_owned(), "1.2.840.113549.1.1.1"),
        // A point that is not on the curve.
        (P256.replace("5TNs", "5TNt"), "P-256"),
        // The neutral element, a point of order four, and one written with a coordinate above the prime.
        (
            block(
                "PUBLIC KEY",
                "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            ),
            "weak",
        ),
        (
            block(
                "PUBLIC KEY",
                "MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            ),
            "weak",
        ),
        (
            block(
                "PUBLIC KEY",
                "MCowBQYDK2VwAyEA8P///////////////////////////////////////38=",
            ),
            "weak",
        ),
    ] {
        let error = PublicKey::from_pem(&bad).unwrap_err();
        assert!(error.contains(words), "{bad}: {error}");
        assert!(!error.contains(&content(ED25519)), "{error}");
    }
}

#[test]
fn a_signature_is_of_one_key_over_one_content() {
    assert_eq!(signers(COMPONENT, detached(&[BY_P256])), ["alice"]);
    assert_eq!(signers(COMPONENT, detached(&[BY_ED25519])), ["bob"]);
    assert_eq!(
        signers(COMPONENT, detached(&[BY_ED25519, "", BY_P256, BY_P256])),
        ["alice", "bob"]
    );
    for place in 0..COMPONENT.len() {
        let mut other = COMPONENT.to_vec();
        other[place] ^= 1;
        assert!(signers(&other, detached(&[BY_P256, BY_ED25519])).is_empty());
    }
    for signature in [BY_P256, BY_ED25519] {
        let bytes = STANDARD.decode(signature).unwrap();
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1;
            assert!(
                signers(COMPONENT, detached(&[&STANDARD.encode(other)])).is_empty(),
                "{place}"
            );
        }
        let longer = [&*bytes, &[0]].concat();
        assert!(signers(COMPONENT, detached(&[&STANDARD.encode(longer)])).is_empty());
    }
}

#[test]
fn a_file_of_signatures_is_base64_and_bounded() {
    let many = vec![BY_P256; MOST + 1].join("\n");
    for (file, words) in [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("<html>", "line 1"),
        (&*format!("{BY_P256}\nMEUC*"), "line 2"),
        (&*format!("{BY_P256}{BY_P256}"), "line 1"),
        (&*many, "more than 16"),
    ] {
        let error = Claim::detached(file.as_bytes(), "a.wasm.sig").unwrap_err();
        assert_eq!(error.code, "plugin-signature-refused");
        assert!(error.message.contains(words), "{error}");
    }
    assert!(Claim::detached(b"\xff\xfe", "a.wasm.sig").is_err());
}

#[test]
fn an_artifacts_signature_counts_for_its_manifest_only() {
    for (signature, signer) in [(PAYLOAD_BY_P256, "alice"), (PAYLOAD_BY_ED25519, "bob")] {
        let claims = of_artifact(PAYLOAD, signature, MANIFEST);
        assert_eq!(signers(COMPONENT, claims), [signer]);
        let other = format!("sha256:{}", "0".repeat(64));
        assert!(signers(COMPONENT, of_artifact(PAYLOAD, signature, &other)).is_empty());
        // What is signed is the payload, byte by byte.
        let spaced = PAYLOAD.replace(",\"optional\"", ", \"optional\"");
        assert!(signers(COMPONENT, of_artifact(&spaced, signature, MANIFEST)).is_empty());
    }
    // A signature of the component itself says nothing of a payload, and the other way round.
    assert!(signers(COMPONENT, of_artifact(PAYLOAD, BY_P256, MANIFEST)).is_empty());
    assert!(signers(COMPONENT, detached(&[PAYLOAD_BY_P256])).is_empty());
    // Nor can a payload be passed off as a component's signature.
    assert_eq!(
        signers(PAYLOAD.as_bytes(), detached(&[PAYLOAD_BY_P256])),
        ["alice"]
    );
}

#[test]
fn a_payload_says_what_cosign_says_and_nothing_else() {
    let about = |payload: &str| artifact::is_about(payload.as_bytes(), MANIFEST);
    assert!(about(PAYLOAD));
    assert!(about(
        &PAYLOAD.replace("null", r#"{"creator":"ci","timestamp":1}"#)
    ));
    assert!(about(&PAYLOAD.replace(r#","optional":null"#, "")));
    for (from, to) in [
        (
            "cosign container image signature",
            "atomic container signature",
        ),
        (
            r#""type":"cosign container image signature""#,
            r#""kind":"x""#,
        ),
        ("sha256:e596", "sha256:0596"),
        ("sha256:e596", "e596"),
        (r#""type""#, r#""expires":1,"type""#),
        (
            r#""docker-manifest-digest""#,
            r#""size":1,"docker-manifest-digest""#,
        ),
        (r#""optional""#, r#""more""#),
        (r#""optional":null"#, r#""critical":{}"#),
        ("{\"critical", "[{\"critical"),
        ("null}", "null"),
        ("null}", "null}{}"),
    ] {
        let payload = PAYLOAD.replace(from, to);
        assert_ne!(payload, PAYLOAD, "{from}");
        assert!(!about(&payload), "{payload}");
    }
    assert!(!about(&format!(
        "{PAYLOAD}{}",
        " ".repeat(artifact::LONGEST)
    )));
}

#[tokio::test]
async fn what_is_wanted_must_be_there_and_the_refusal_says_who_signed() {
    let component: Arc<[u8]> = COMPONENT.into();
    let both: &[&str] = &["alice", "bob"];
    let stranger = STANDARD.encode([7; 64]);
    for (all_of, any_of, signatures, expected) in [
        (&[][..], None, vec![], Ok(0)),
        (&[], None, vec![&*stranger], Ok(0)),
        (&["alice"], None, vec![BY_P256], Ok(1)),
        (
            &["alice"],
            None,
            vec![BY_P256, &*stranger, BY_ED25519],
            Ok(2),
        ),
        (&["alice"], None, vec![], Err("plugin-unsigned")),
        (
            &["alice"],
            None,
            vec![BY_ED25519],
            Err("signed by bob; wanted is alice"),
        ),
        (
            both,
            None,
            vec![BY_ED25519],
            Err("plugin-signature-refused"),
        ),
        (&[], Some((1, both)), vec![BY_ED25519], Ok(1)),
        (&[], Some((2, both)), vec![BY_ED25519, BY_P256], Ok(2)),
        (
            &[],
            Some((2, both)),
            vec![BY_P256, BY_P256],
            Err("wanted is 2 of alice, bob"),
        ),
        (
            &["alice"],
            Some((1, &["bob"])),
            vec![BY_P256],
            Err("wanted is alice, and 1 of bob"),
        ),
        (
            &["alice"],
            None,
            vec![&*stranger],
            Err("none of the 1 signatures"),
        ),
    ] {
        let claims = match &*signatures {
            [] => Vec::new(),
            lines => detached(lines),
        };
        let checked = known(all_of, any_of).check(&component, claims).await;
        match (checked, expected) {
            (Ok(verified), Ok(number)) => {
                assert_eq!(verified.signed_by.len(), number);
                assert_eq!(verified.claims.len(), number, "only what counted is kept");
            }
            (Err(error), Err(words)) => {
                let told = format!("{} {}", error.code, error.message);
                assert!(told.contains(words), "{told}");
            }
            (got, expected) => unreachable!("{signatures:?}: {got:?}, not {expected:?}"),
        }
    }
}

#[test]
fn what_is_kept_reads_the_same_and_is_bounded() {
    let mut kept = Kept::default();
    assert!(kept.add(&of_artifact(PAYLOAD, PAYLOAD_BY_P256, MANIFEST)));
    assert!(kept.add(&detached(&[BY_P256])));
    assert!(!kept.add(&detached(&[BY_P256])), "it is there");
    let text = serde_json::to_string(&kept).unwrap();
    let read: Kept = serde_json::from_str(&text).unwrap();
    assert_eq!(read.signatures, kept.signatures);
    assert_eq!(signers(COMPONENT, read.signatures), ["alice"]);

    let newer: Vec<_> = (0..MOST)
        .map(|number| Claim {
            signature: vec![u8::try_from(number).unwrap()],
            artifact: None,
        })
        .collect();
    assert!(kept.add(&newer));
    assert_eq!(kept.signatures, newer, "the oldest went");
}
