#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

fn pin(name: &str, more: Value) -> GroupPin {
    let mut text = json!({"name": name});
    let members = more.as_object().unwrap().clone();
    text.as_object_mut().unwrap().extend(members);
    serde_json::from_value(text).unwrap()
}

fn plugin(name: &str, world: World) -> Candidate<'_> {
    Candidate {
        name,
        world,
        mode: Enforcement::Enforce,
        modes: &[],
    }
}

fn policies() -> Vec<Candidate<'static>> {
    let names = ["a", "b", "c"];
    names.map(|name| plugin(name, World::ToolPermission)).into()
}

#[test]
fn what_an_operator_gets_wrong_is_told_with_what_there_is() {
    let mut plugins = policies();
    plugins.extend([
        plugin("checks", World::Validator),
        plugin("git", World::PostExecution),
    ]);
    plugins.push(Candidate {
        mode: Enforcement::Monitor,
        ..plugin("watches", World::ToolPermission)
    });
    let for_some: Vec<ModeFor> =
        serde_json::from_value(json!([{"mode": "off", "caller": "ci-*"}])).unwrap();
    plugins.push(Candidate {
        modes: &for_some,
        ..plugin("sometimes", World::ToolPermission)
    });
    for (more, expected) in [
        (
            json!({"expression": "a && d"}),
            "no plugin is named `d`; there are: a, b, c, checks, watches, sometimes",
        ),
        (
            json!({"expression": "a && checks"}),
            "a group is of one world",
        ),
        (
            json!({"expression": "git || !a"}),
            "acts and judges nothing",
        ),
        (
            json!({"expression": "a && watches"}),
            "its `mode` is `enforce`",
        ),
        (json!({"expression": "sometimes"}), "it has no `modes`"),
        (json!({"expression": "a || !a"}), "whatever its members say"),
        (json!({"expression": "a &"}), "expected `&&`"),
        (
            json!({"expression": "a", "message": "m".repeat(513)}),
            "1 to 512 bytes",
        ),
        (json!({"expression": "a", "message": ""}), "1 to 512 bytes"),
        (
            json!({"expression": "a", "modes": [{"mode": "off"}]}),
            "say for which tasks",
        ),
    ] {
        let error = check(&[pin("g", more.clone())], &plugins).remove(0);
        let error = error.unwrap_err();
        assert_eq!(error.code, "plugin-group-invalid");
        assert!(error.message.contains(expected), "{more}: {error}");
    }
    let twice = [
        pin("g", json!({"expression": "a || b"})),
        pin("h", json!({"expression": "b || c"})),
    ];
    let error = check(&twice, &plugins).remove(1).unwrap_err();
    assert!(error.message.contains("group `g` already"), "{error}");
    let none = check(&twice[..1], &[]).remove(0).unwrap_err();
    assert!(none.message.contains("none that judges"), "{none}");
}
