//! What the guests share: how one becomes a component and describes itself.
//!
//! Each guest is one file of `examples/` that does one thing wrong (or one thing right that a test
//! of the host needs). A guest only exists as a component: natively there is nothing in its file.

/// Makes a component of `$guest` in `$world`: generates the bindings here, exports the guest, and
/// answers `describe` with its name, its summary and a schema that takes any settings.
#[macro_export]
macro_rules! guest {
    ($world:literal, $guest:ident, $name:literal, $summary:literal) => {
        wit_bindgen::generate!({ path: "../../wit", world: $world });

        impl exports::gatehouse::plugin::about::Guest for $guest {
            fn describe() -> exports::gatehouse::plugin::about::Description {
                exports::gatehouse::plugin::about::Description {
                    name: $name.into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    summary: $summary.into(),
                    settings_schema: r#"{"$schema":"https://json-schema.org/draft/2020-12/schema"}"#.into(),
                }
            }

            fn check_settings(_settings: String) -> Result<(), String> {
                Ok(())
            }
        }

        export!($guest);
    };
}
