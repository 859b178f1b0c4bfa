#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

fn settings(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn settings_that_break_the_schema_are_told_by_their_place() {
    let schema = r#"{"type":"object","properties":{"max":{"type":"integer"}},
                     "required":["max"],"additionalProperties":false}"#;
    assert!(check_schema(schema, &settings(json!({"max": 1}))).is_ok());
    let error = check_schema(schema, &settings(json!({"max": "x"}))).unwrap_err();
    assert_eq!(error.code, "plugin-settings-invalid");
    assert!(error.message.contains("/max"), "{error}");
    let error = check_schema(schema, &settings(json!({"maxx": 1}))).unwrap_err();
    assert!(
        error.message.contains("maxx") && error.message.contains("max"),
        "{error}"
    );
}

#[test]
fn a_schema_that_is_none_is_the_authors_mistake() {
    for schema in [
        "",
        "7",
        r#"{"type":"colour"}"#,
        r#"{"$ref":"https://example.com/s.json"}"#,
    ] {
        let error = check_schema(schema, &Map::new()).unwrap_err();
        assert_eq!(error.code, "plugin-schema-invalid", "{schema}");
    }
}

#[test]
fn a_revision_does_not_depend_on_the_order_of_keys() {
    let pin = |settings: &str| {
        let text = format!(
            r#"{{"plugins":[{{"name":"a","world":"validator","digest":"d","settings":{settings},
            "grants":[],"mode":"enforce","onError":"deny",
            "limits":{{"memory":1,"timeMs":1,"output":1}}}}]}}"#
        );
        serde_json::from_str::<Pins>(&text)
            .unwrap()
            .canonical()
            .unwrap()
            .1
    };
    assert_eq!(
        pin(r#"{"a":1,"b":{"c":1,"d":2}}"#),
        pin(r#"{"b":{"d":2,"c":1},"a":1}"#)
    );
    assert_ne!(pin(r#"{"a":1}"#), pin(r#"{"a":2}"#));
    assert_eq!(pin("{}").len(), 16);
}
