//! What a component may import: its world's interfaces, the granted ones, and an empty WASI.

use wasmtime::component::{HasSelf, Linker};

use super::bindings::post_execution::PostExecutionPre;
use super::bindings::tool_permission::ToolPermissionPre;
use super::bindings::validator::ValidatorPre;
use super::bindings::{
    artifacts, failures, git, host, http, outcomes, task_state, tasks, tool_calls, workspace,
};
use super::component::{LoadError, Pre, World};
use super::contract::{self, interface};
use super::guest::Guest;
use crate::plugin::Grants;

/// Refuses by name every import that is outside the contract, the world and the grants.
pub(super) fn check_imports(
    component: &wasmtime::component::Component,
    engine: &wasmtime::Engine,
    world: World,
    grants: &Grants,
) -> Result<(), LoadError> {
    for (import, _) in component.component_type().imports(engine) {
        check_import(import, world, grants)?;
    }
    Ok(())
}

fn check_import(import: &str, world: World, grants: &Grants) -> Result<(), LoadError> {
    if is_empty_wasi(import) {
        return Ok(());
    }
    match interface(import) {
        Some(interface) if world.interfaces().contains(&interface) || grants.holds(interface) => {
            Ok(())
        }
        Some(interface) if world.grantable().contains(&interface) => Err(LoadError::new(
            "plugin-not-granted",
            format!(
                "it imports `{import}`, which is not granted: add \"{}\" to the plugin's `grants` in \
                 the manifest",
                grant(interface)
            ),
        )),
        _ => Err(LoadError::new(
            "plugin-import-refused",
            format!(
                "it imports `{import}`, which does not exist for {}; {}",
                world.as_str(),
                offer(world)
            ),
        )),
    }
}

/// The words of the manifest without which it would not be loaded.
pub(super) fn asked(
    component: &wasmtime::component::Component,
    engine: &wasmtime::Engine,
    world: World,
) -> Vec<&'static str> {
    let imports: Vec<_> = component
        .component_type()
        .imports(engine)
        .filter_map(|(import, _)| interface(import).map(str::to_owned))
        .collect();
    let asked = |interface: &&&str| imports.iter().any(|import| import == **interface);
    let grantable = world.grantable().iter().filter(asked);
    grantable.map(|interface| grant(interface)).collect()
}

/// The word of the manifest that grants an interface.
fn grant(interface: &str) -> &str {
    match interface {
        "http" => "http:https://HOST",
        interface => interface,
    }
}

fn offer(world: World) -> String {
    let granted = match world.grantable() {
        [] => String::new(),
        list => format!(", where granted {}", list.join(", ")),
    };
    format!(
        "a {} plugin can import {} of gatehouse:plugin{granted}, and WASI 0.2 except wasi:http",
        world.as_str(),
        world.interfaces().join(", "),
    )
}

/// The interfaces of WASI 0.2 that are linked, all of them empty or harmless.
fn is_empty_wasi(import: &str) -> bool {
    let Some((package, rest)) = import
        .strip_prefix("wasi:")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let version = rest.split_once('@').map(|(_interface, version)| version);
    matches!(
        package,
        "cli" | "clocks" | "filesystem" | "io" | "random" | "sockets"
    ) && version.is_some_and(|version| version.starts_with("0.2."))
}

/// Links a component whose imports were checked, and finds the world's exports in it.
pub(super) fn link(
    component: &wasmtime::component::Component,
    engine: &wasmtime::Engine,
    world: World,
    grants: &Grants,
) -> Result<Pre, LoadError> {
    let linker = linker(engine, world, grants)
        .map_err(|error| LoadError::new("plugin-link-failed", format!("{error:#}")))?;
    let pre = linker.instantiate_pre(component).map_err(|error| {
        LoadError::new(
            "plugin-import-refused",
            format!(
                "an import does not have the shape that this version offers, {error:#}. {}",
                contract::hint(contract::built_against(component, engine))
            ),
        )
    })?;
    let wrong_world = |error: wasmtime::Error| {
        LoadError::new(
            "plugin-wrong-world",
            format!(
                "it does not export what the world {} asks for: {error:#}",
                world.as_str()
            ),
        )
    };
    Ok(match world {
        World::Validator => Pre::Validator(ValidatorPre::new(pre).map_err(wrong_world)?),
        World::ToolPermission => {
            Pre::ToolPermission(ToolPermissionPre::new(pre).map_err(wrong_world)?)
        }
        World::PostExecution => {
            Pre::PostExecution(PostExecutionPre::new(pre).map_err(wrong_world)?)
        }
    })
}

/// Only what the world always has and what was granted: what is not in the linker can't be called.
fn linker(
    engine: &wasmtime::Engine,
    world: World,
    grants: &Grants,
) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::<Guest>::new(engine);
    let linked = &mut linker;
    wasmtime_wasi::p2::add_to_linker_async(linked)?;
    host::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
    tasks::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
    match world {
        World::Validator => {}
        World::ToolPermission => {
            failures::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            tool_calls::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            task_state::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
        }
        World::PostExecution => {
            failures::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            outcomes::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            if grants.workspace {
                workspace::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            }
            if grants.artifacts {
                artifacts::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            }
            if grants.git {
                git::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            }
            if grants.holds("http") {
                http::add_to_linker::<_, HasSelf<_>>(linked, |guest| guest)?;
            }
        }
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_import_outside_world_and_grants_is_refused_by_name() {
        let none = &Grants::default();
        let action = World::PostExecution;
        assert!(check_import("gatehouse:plugin/host@0.1.0", World::Validator, none).is_ok());
        assert!(check_import("wasi:io/streams@0.2.9", World::Validator, none).is_ok());
        let refusal =
            |import: &str, world, grants| check_import(import, world, grants).unwrap_err();
        let code = |import: &str, world, grants| refusal(import, world, grants).code;
        for (interface, word) in [
            ("workspace", "workspace"),
            ("artifacts", "artifacts"),
            ("git", "git"),
            ("http", "http:https://x"),
        ] {
            let import = format!("gatehouse:plugin/{interface}@0.1.0");
            let refused = refusal(&import, action, none);
            assert_eq!(refused.code, "plugin-not-granted");
            assert!(refused.message.contains(interface), "{refused}");
            let granted = Grants::parse(&[word]).unwrap();
            assert!(
                check_import(&import, action, &granted).is_ok(),
                "{interface}"
            );
            assert_eq!(
                code(&import, World::Validator, none),
                "plugin-import-refused"
            );
        }
        assert_eq!(
            code("gatehouse:plugin/sockets@0.1.0", action, none),
            "plugin-import-refused"
        );
        assert_eq!(
            code("wasi:http/types@0.2.10", action, none),
            "plugin-import-refused"
        );
        assert_eq!(
            code("wasi:cli/stdin@0.3.0", action, none),
            "plugin-import-refused"
        );
        assert_eq!(code("env", action, none), "plugin-import-refused");
    }
}
