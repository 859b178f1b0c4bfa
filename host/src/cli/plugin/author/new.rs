//! `gatehouse plugin new`: a project that builds and passes its first cases.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use super::templates::{self, CONTRACT, Language, TargetWorld, files};
use crate::wasm::World;

pub(super) fn run(
    directory: &Path,
    name: Option<String>,
    world: TargetWorld,
    language: Language,
) -> anyhow::Result<bool> {
    let world = World::from(world);
    let absolute = std::path::absolute(directory).context("the directory")?;
    let last = absolute.file_name().unwrap_or_default().to_string_lossy();
    let name = name.unwrap_or_else(|| last.into_owned());
    check_empty(directory)?;
    check_name(&name)?;
    let filled_in = |text: &str| {
        let case = match world {
            World::Validator => "a-long-prompt",
            World::ToolPermission => "a-denied-command",
            World::PostExecution => "files-are-counted",
        };
        let grants = match world {
            World::PostExecution => "grants = [\"workspace\"]\n",
            World::Validator | World::ToolPermission => "",
        };
        text.replace("{{name}}", &name)
            .replace("{{world}}", world.as_str())
            .replace("{{contract}}", templates::contract())
            .replace("{{language}}", language.name())
            .replace("{{source}}", language.source())
            .replace("{{case}}", case)
            .replace("{{directory}}", &absolute.to_string_lossy())
            .replace("{{grants}}", grants)
    };
    for template in files(language, world) {
        let path = directory.join(template.path);
        let text = match template.path {
            CONTRACT => contract(language, world, template.text),
            _ => filled_in(template.text),
        };
        write(&path, &text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let shown = directory.display();
    println!(
        "{shown} is a plugin for {} in {}; README.md says more. Next:\n\n  gatehouse plugin build {shown}\n  gatehouse plugin test {shown}",
        world.as_str(),
        language.name()
    );
    Ok(true)
}

/// The contract for this language. An interpreter's component imports everything that its world has,
/// used or not, and what is imported has to be granted: so the world has what the plugin uses.
fn contract(language: Language, world: World, text: &str) -> String {
    let imports_all = matches!(language, Language::Javascript | Language::Python);
    if world != World::PostExecution || !imports_all {
        return text.to_owned();
    }
    let (before, world) = match text.split_once("\nworld post-execution {") {
        Some((before, world)) => (before, world),
        None => return text.to_owned(),
    };
    let mut world = world.to_owned();
    for interface in ["artifacts", "git", "http"] {
        let import = format!("  import {interface};");
        world = world.replace(&import, &format!("  // import {interface};"));
    }
    format!(
        "{before}\n/// Whatever stands here is imported, used or not, and has to be granted: take off `//` what you use.\n\
         world post-execution {{{world}"
    )
}

/// A manifest's name for a plugin, which is a name for a crate as well.
fn check_name(name: &str) -> anyhow::Result<()> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase());
    if starts && name.len() <= 64 && name.bytes().all(allowed) && !name.ends_with('-') {
        return Ok(());
    }
    bail!(
        "`{}` is no name for a plugin: 1 to 64 lower-case letters, digits and hyphens, a letter first; say \
         another one by --name",
        name.escape_debug()
    )
}

fn check_empty(directory: &Path) -> anyhow::Result<()> {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => bail!(
            "`{}` is not empty, and nothing of yours shall be written over: name another directory",
            directory.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("`{}` cannot be read", directory.display()))
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)?;
    // A script is there to be started.
    if path.extension().is_some_and(|ending| ending == "sh") {
        let mut permissions = fs::metadata(path)?.permissions();
        permissions.set_mode(permissions.mode() | 0o111);
        fs::set_permissions(path, permissions)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_project_has_no_placeholder_left_and_is_never_written_over_another() {
        for (language, world) in Language::value_variants().iter().flat_map(|language| {
            TargetWorld::value_variants()
                .iter()
                .map(move |world| (language, world))
        }) {
            let parent = tempfile::tempdir().unwrap();
            let directory = parent.path().join("mine");
            run(&directory, None, *world, *language).unwrap();
            for template in files(*language, World::from(*world)) {
                let text = fs::read_to_string(directory.join(template.path)).unwrap();
                assert!(!text.contains("{{"), "{}: {text}", template.path);
            }
            assert!(run(&directory, None, *world, *language).is_err());
        }
    }

    #[test]
    fn a_name_is_one_that_a_manifest_takes() {
        for name in ["a", "no-curl", "p2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "A", "2p", "a_b", "a-", "a/b", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
