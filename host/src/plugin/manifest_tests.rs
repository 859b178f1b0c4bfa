#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use std::time::Duration;

use serde_json::json;

use super::super::limits::ACTION_TIME;
use super::super::{test_outbound, test_settings};
use super::*;

fn defaults() -> config::Plugins {
    test_settings(Path::new("m"))
}

fn one(text: &str) -> Result<Entry, LoadError> {
    of_world("post-execution", text)
}

fn of_world(world: &str, text: &str) -> Result<Entry, LoadError> {
    let base = format!("name = \"p\"\nworld = \"{world}\"\nsource = \"p.wasm\"\n");
    let text = format!("[[plugin]]\n{base}{text}");
    parse(&text, Path::new("/etc/g"), &defaults(), &test_outbound())
        .unwrap()
        .entries
        .remove(0)
        .1
}

fn whole(text: &str) -> String {
    parse(text, Path::new("/etc/g"), &defaults(), &test_outbound()).unwrap_err()
}

#[test]
fn an_entry_says_everything_and_gets_the_defaults_where_it_does_not() {
    let entry = one("").unwrap();
    assert_eq!(entry.source, Source::File("/etc/g/p.wasm".into()));
    assert_eq!(
        (entry.mode, entry.on_error),
        (Enforcement::Enforce, OnError::Deny)
    );
    assert_eq!(entry.limits.memory, 64 << 20);
    assert_eq!(entry.limits.time, ACTION_TIME);
    let entry = one(
        "sha256 = \"AB\"\nsettings = { n = 1, t = { x = [1.5, true] }, d = 1979-05-27 }\n\
         grants = [\"workspace\", \"artifacts\"]\non_error = \"allow\"\n\
         limits = { memory = \"1MiB\", time = \"3s\", output = \"2KiB\" }",
    );
    assert_eq!(entry.unwrap_err().code, "plugin-manifest");
    let entry = one(
        "settings = { n = 1, t = { x = [1.5, true] }, d = 1979-05-27 }\n\
         grants = [\"workspace\", \"artifacts\"]\non_error = \"allow\"\n\
         limits = { memory = \"1MiB\", time = \"3s\", output = \"2KiB\" }",
    )
    .unwrap();
    let settings = Value::Object(entry.settings);
    assert_eq!(
        settings,
        json!({"n": 1, "t": {"x": [1.5, true]}, "d": "1979-05-27"})
    );
    assert_eq!(entry.grants.words(), ["artifacts", "workspace"]);
    let limits = Limits {
        memory: 1 << 20,
        time: Duration::from_secs(3),
        output: 2 << 10,
    };
    assert_eq!(entry.limits, limits);
    assert!(!entry.needs_repository);
    assert!(one("needs_repository = true").unwrap().needs_repository);
    assert!(!entry.required);
    assert!(one("required = true").unwrap().required);
}

#[test]
fn what_does_not_exist_is_refused_with_what_does() {
    for (text, hint) in [
        ("grants = [\"env\"]", "workspace, artifacts, git"),
        (
            "grants = [\"http:http://example.com\"]",
            "can never be used",
        ),
        (
            "grants = [\"http:https://10.0.0.1\"]",
            "not a public address",
        ),
        ("grants = [\"http:https://x:22\"]", "port 22"),
        ("when = \"success\"", "always = true"),
        ("options = {}", "always = true"),
        ("always = true\noptions = { n = nan }", "options.n"),
        ("mode = \"monitor\"", "no mode `monitor`"),
        ("limits = { memory = \"64\" }", "64MiB"),
        ("limits = { memory = \"2GiB\" }", "1GiB"),
        ("limits = { time = \"0s\" }", "limits.time"),
        ("limits = { output = \"999999999999GiB\" }", "limits.output"),
        ("settings = { n = nan }", "settings.n"),
    ] {
        let message = one(text).unwrap_err().message;
        assert!(message.contains(hint), "{text}: {message}");
    }
    for switch in ["needs_repository", "required"] {
        let validator = of_world("validator", &format!("{switch} = true"));
        let message = validator.unwrap_err().message;
        assert!(message.starts_with(switch), "{message}");
        assert!(message.contains("post-execution plugins"), "{message}");
    }
    for (source, pinned, expected) in [
        ("oci://x/p", true, "neither tag nor digest"),
        ("bucket:x", false, "64 hex digits"),
        ("gs://b/p", true, "no `gs://`"),
        ("https://x.example/p.wasm", false, "`sha256` has to say"),
        ("http://x.example/p.wasm", true, "can never be fetched"),
        (
            "https://name:word@x.example/p.wasm",
            true,
            "can never be fetched",
        ),
        ("", false, "empty"),
    ] {
        let read = Source::parse(
            source,
            Path::new(""),
            pinned,
            &defaults().registries,
            &test_outbound(),
        );
        let message = read.unwrap_err().message;
        assert!(message.contains(expected), "{source}: {message}");
    }
}

#[test]
fn mistakes_of_the_whole_file_are_told_with_their_place() {
    let entry = |name: &str| {
        format!("[[plugin]]\nname = \"{name}\"\nworld = \"validator\"\nsource = \"a\"\n")
    };
    assert!(whole(&format!("{0}{0}", entry("a"))).contains("two plugins or groups are named `a`"));
    for name in ["A", "", "a_b", "ü", &"a".repeat(65)] {
        assert!(whole(&entry(name)).contains("is no name"), "{name}");
    }
    let unknown = whole(&format!("{}setings = {{}}\n", entry("a")));
    assert!(
        unknown.contains("setings") && unknown.contains("settings"),
        "{unknown}"
    );
    assert!(whole(&entry("a").replace("validator", "filter")).contains("tool-permission"));
}

#[test]
fn a_missing_or_empty_manifest_says_what_to_do_and_a_comment_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifest.toml");
    assert!(
        read(&path, &defaults(), &test_outbound())
            .unwrap_err()
            .contains("GATEHOUSE_PLUGINS")
    );
    std::fs::write(&path, "\n").unwrap();
    assert!(
        read(&path, &defaults(), &test_outbound())
            .unwrap_err()
            .contains("is empty")
    );
    std::fs::write(&path, "# none\n").unwrap();
    assert!(
        read(&path, &defaults(), &test_outbound())
            .unwrap()
            .entries
            .is_empty()
    );
}

#[test]
fn a_digest_is_said_once() {
    let (one, two) = ("0".repeat(64), "1".repeat(64));
    let of = |more: &str| {
        let text = format!(
            "[[plugin]]\nname = \"p\"\nworld = \"validator\"\nsource = \"bucket:{one}\"\n{more}"
        );
        let mut manifest = parse(&text, Path::new(""), &defaults(), &test_outbound()).unwrap();
        manifest.entries.remove(0).1
    };
    assert_eq!(of("").unwrap().sha256, Some(one.clone()));
    assert!(of(&format!("sha256 = \"{one}\"")).is_ok());
    assert_eq!(
        of(&format!("sha256 = \"{two}\"")).unwrap_err().code,
        "plugin-manifest"
    );
}

#[test]
fn groups_are_checked_against_the_plugins_of_the_same_manifest() {
    let plugin = "[[plugin]]\nname = \"p\"\nworld = \"validator\"\nsource = \"p.wasm\"\n";
    let group = |name: &str, more: &str| format!("[[group]]\nname = \"{name}\"\n{more}\n{plugin}");
    let read = |text: &str| parse(text, Path::new("/etc/g"), &defaults(), &test_outbound());

    let read_well = read(&group("g", "expression = \"!p\"\nmode = \"monitor\"")).unwrap();
    let (pin, checked) = &read_well.groups[0];
    assert_eq!(pin.mode, Enforcement::Monitor);
    assert_eq!(checked.as_ref().unwrap().world, World::Validator);
    let read_badly = read(&group("g", "expression = \"q\"")).unwrap();
    assert!(read_badly.groups[0].1.is_err());

    for (text, expected) in [
        (group("p", "expression = \"p\""), "two plugins or groups"),
        (group("P", "expression = \"p\""), "no name for a group"),
        (group("g", ""), "missing field `expression`"),
        (
            group("g", "expression = \"p\"\nmembers = []"),
            "unknown field `members`",
        ),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
