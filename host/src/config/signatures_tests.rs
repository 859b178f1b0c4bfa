//! Keys and whose signatures are wanted.

use super::*;

const ALICE: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5TNsCIbgcBmCFgwSK2XjLgUvmYgN\nbVrBecQk0rHfB9kiOLp+MIj2sXlkTlHHEIeKpwME/PwIW+Bv3rLNnjseEg==\n-----END PUBLIC KEY-----\n";
const BOB: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAkcZdLOLfEfvFexI7Mvsh+gDg3K6tCaVh+n4rvQhGLr4=\n-----END PUBLIC KEY-----\n";

/// A configuration file with keys beside it.
fn signatures(content: &str) -> (tempfile::TempDir, Sources) {
    let (scratch, sources) = file(&format!("[plugins.signatures]\n{content}\n"));
    std::fs::create_dir(scratch.path().join("keys")).unwrap();
    let large = "#".repeat((16 << 10) + 1);
    for (name, pem) in [
        ("alice.pub", ALICE),
        ("bob.pub", BOB),
        ("same.pub", ALICE),
        ("large.pub", &large),
    ] {
        std::fs::write(scratch.path().join("keys").join(name), pem).unwrap();
    }
    (scratch, sources)
}

#[test]
fn keys_are_files_beside_the_configuration_or_stand_in_it() {
    let inline = BOB.replace('\n', "\\n");
    let (_scratch, mut sources) = signatures(&format!(
        "keys = {{ alice = 'keys/alice.pub', bob = \"{inline}\" }}\nall_of = ['alice']\n\
         any_of = {{ minimum = 1, keys = ['alice', 'bob'] }}"
    ));
    let signatures = load(&sources).unwrap().plugins.signatures;
    assert_eq!(signatures.keys.len(), 2);
    assert_eq!(signatures.all_of, ["alice"]);
    assert_eq!(signatures.any_of.unwrap().minimum, 1);

    // The environment goes over the file, whole tables too.
    sources.environment = environment(&[
        ("GATEHOUSE__PLUGINS__SIGNATURES__ALL_OF", "carol"),
        (
            "GATEHOUSE__PLUGINS__SIGNATURES__KEYS",
            &format!("{{ carol = \"{inline}\" }}"),
        ),
        ("GATEHOUSE__PLUGINS__SIGNATURES__ANY_OF", "{}"),
    ])
    .environment;
    let signatures = load(&sources).unwrap().plugins.signatures;
    assert_eq!(signatures.keys.keys().collect::<Vec<_>>(), ["carol"]);
    assert!(signatures.any_of.is_none());
}

#[test]
fn what_nobody_could_fulfil_or_would_count_double_is_refused() {
    let keys = "keys = { alice = 'keys/alice.pub', bob = 'keys/bob.pub' }";
    for (content, words) in [
        (
            "keys = { alice = 'keys/large.pub' }".to_owned(),
            "larger than 16384 bytes",
        ),
        (
            "keys = { alice = 'keys/none.pub' }".to_owned(),
            "keys/none.pub` cannot be read",
        ),
        (
            "keys = { alice = 'gatehouse.toml' }".to_owned(),
            "not one PEM block",
        ),
        ("keys = { alice = 7 }".to_owned(), "path of a file"),
        (
            "keys = { 'a b' = 'keys/alice.pub' }".to_owned(),
            "no name for a key",
        ),
        ("keys = 'keys/alice.pub'".to_owned(), "names with keys"),
        (
            "keys = { alice = 'keys/alice.pub', other = 'keys/same.pub' }".to_owned(),
            "`alice` and `other` are the same key",
        ),
        ("all_of = ['alice']".to_owned(), "no key is named `alice`"),
        (
            format!("{keys}\nall_of = ['carol']"),
            "there are: alice, bob",
        ),
        (
            format!("{keys}\nall_of = ['bob', 'bob']"),
            "the same key twice",
        ),
        (
            format!("{keys}\nany_of = {{ minimum = 0, keys = ['bob'] }}"),
            "from 1",
        ),
        (
            format!("{keys}\nany_of = {{ minimum = 2, keys = ['bob'] }}"),
            "minimum",
        ),
        (
            format!("{keys}\nany_of = {{ minimum = 2, keys = ['bob', 'bob'] }}"),
            "twice",
        ),
        (
            format!("{keys}\nany_of = {{ minimum = 1, keys = ['carol'] }}"),
            "`carol`",
        ),
        (format!("{keys}\nany_of = {{ minimum = 1 }}"), "keys"),
        (format!("{keys}\nany_of = ['bob']"), "a table such as"),
        (format!("{keys}\none_of = ['bob']"), "did you mean"),
        (
            format!(
                "keys = {{ {} }}",
                (0..17)
                    .map(|n| format!("k{n} = 'keys/bob.pub'"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            "at most 16",
        ),
    ] {
        let (_scratch, sources) = signatures(&content);
        let told = mistakes(&sources);
        assert_eq!(told.len(), 1, "{content}: {told:?}");
        assert!(told[0].contains(words), "{content}: {told:?}");
    }
}

#[test]
fn a_job_needs_no_key() {
    let (scratch, sources) = signatures("keys = { alice = 'keys/alice.pub' }\nall_of = ['alice']");
    let config = load(&sources).unwrap();
    let job = Sources {
        environment: job_environment(&sources, &config),
        ..Sources::default()
    };
    std::fs::remove_dir_all(scratch.path().join("keys")).unwrap();
    assert_eq!(mistakes(&sources).len(), 1);
    let signatures = load(&job).unwrap().plugins.signatures;
    assert!(signatures.keys.is_empty() && signatures.all_of.is_empty());
}
