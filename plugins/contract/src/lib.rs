//! Holds `wit/gatehouse.wit` against every contract that was released: nothing that a plugin may rely on is
//! taken away; and writes its page of the documentation. Beside the plugins, because it concerns their tools and
//! not the host's.

#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use sha2::{Digest, Sha256};
    use wit_parser::{Resolve, UnresolvedPackageGroup};

    /// Every contract that was released, with the SHA-256 of its text: what was published never changes.
    const RELEASED: [(&str, &str); 1] = [(
        "0.1.0",
        "e8d96304ef9044d4e7c508fc0a91bcb9e2f2dd8296fcd35edd5e797dde18c1be",
    )];
    const WORLDS: [&str; 3] = ["validator", "tool-permission", "post-execution"];

    fn wit(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../wit")
            .join(path)
    }

    fn released(version: &str) -> String {
        std::fs::read_to_string(wit(&format!("released/{version}.wit"))).unwrap()
    }

    /// The contract's text as if it were of the last patch version of all.
    fn as_newest(text: &str) -> String {
        let line = text
            .lines()
            .find(|line| line.starts_with("package "))
            .unwrap();
        text.replacen(line, "package gatehouse:plugin@0.1.999;", 1)
    }

    /// What a component of the released contract would miss in the other one; none where nothing.
    fn breaks(released: &str, now: &str) -> Option<String> {
        let mut resolve = Resolve::default();
        let mut package = |name: &str, text: &str| {
            let group = UnresolvedPackageGroup::parse(name, text).unwrap();
            resolve.push_group(group).unwrap()
        };
        let (before, after) = (package("before.wit", released), package("after.wit", now));
        WORLDS.iter().find_map(|world| {
            let of = |package| resolve.select_world(&[package], Some(world)).unwrap();
            let checked = wit_component::semver_check(resolve.clone(), of(before), of(after));
            checked.err().map(|error| format!("{world}: {error:#}"))
        })
    }

    #[test]
    fn the_contract_takes_nothing_from_any_that_was_released() {
        let now = as_newest(&std::fs::read_to_string(wit("gatehouse.wit")).unwrap());
        for (version, digest) in RELEASED {
            let text = released(version);
            assert_eq!(
                hex::encode(Sha256::digest(&text)),
                digest,
                "{version} was edited"
            );
            assert_eq!(breaks(&text, &now), None, "{version}");
        }
    }

    #[test]
    fn a_change_that_breaks_a_plugin_is_noticed_and_an_addition_is_none() {
        let text = released("0.1.0");
        let changed = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            breaks(&text, &as_newest(&text.replacen(from, to, 1)))
        };
        for (from, to) in [
            ("    abstain,\n", "    abstain,\n    perhaps,\n"),
            ("prompt: func() -> string;", ""),
            (
                "field: option<string>,",
                "field: option<string>, more: u32,",
            ),
            (
                "log: func(level: level, message: string);",
                "log: func(message: string);",
            ),
            (
                "  export validation;\n",
                "  export validation;\n  export post-action;\n",
            ),
        ] {
            assert!(changed(from, to).is_some(), "{from} -> {to}");
        }
        let more = "prompt: func() -> string;\n    priority: func() -> u32;";
        assert_eq!(changed("prompt: func() -> string;", more), None);
    }

    #[test]
    fn the_contract_itself_is_released() {
        let text = std::fs::read_to_string(wit("gatehouse.wit")).unwrap();
        let of_this =
            |(version, _): &(&str, &str)| text.contains(&format!("gatehouse:plugin@{version};"));
        assert!(RELEASED.iter().any(of_this));
    }
}
