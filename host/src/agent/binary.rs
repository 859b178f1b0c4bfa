//! Finding the CLI's platform binary.
//!
//! The npm package `@anthropic-ai/claude-code` is a wrapper; the program is one ELF file in a package
//! for the platform. Executing that directly needs no Node.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// See [`super::find_binary`].
pub(super) fn find(configured: Option<&Path>) -> Option<PathBuf> {
    if let Some(configured) = configured {
        return resolve(configured);
    }
    let tools = std::env::current_dir()
        .ok()
        .and_then(|here| in_modules(&here.join("tools")));
    tools.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find_map(|directory| resolve(&directory.join("claude")))
    })
}

/// The file itself where it is a program, else what the wrapper stands for.
fn resolve(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    if is_program(&path) {
        Some(path)
    } else {
        path.ancestors().find_map(in_modules)
    }
}

/// The platform package installed in `directory`.
fn in_modules(directory: &Path) -> Option<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    // A machine that has only musl cannot run the other, even if both are installed.
    let mut packages = [
        format!("claude-code-linux-{architecture}"),
        format!("claude-code-linux-{architecture}-musl"),
    ];
    if Path::new(&format!("/lib/ld-musl-{}.so.1", std::env::consts::ARCH)).exists() {
        packages.reverse();
    }
    let modules = directory.join("node_modules/@anthropic-ai");
    packages
        .iter()
        .map(|package| modules.join(package).join("claude"))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file()
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok()
        && magic == *b"\x7fELF"
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_wrapper_leads_to_the_platform_binary_and_a_program_to_itself() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let modules = root.join("node_modules");
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x64"
        };
        let package = modules.join(format!("@anthropic-ai/claude-code-linux-{architecture}"));
        std::fs::create_dir_all(&package).unwrap();
        std::fs::create_dir_all(modules.join("@anthropic-ai/claude-code/bin")).unwrap();
        std::fs::create_dir_all(modules.join(".bin")).unwrap();
        std::fs::write(package.join("claude"), b"\x7fELF\x02\x01").unwrap();
        std::fs::write(
            modules.join("@anthropic-ai/claude-code/bin/claude.exe"),
            "#!/bin/sh\n",
        )
        .unwrap();
        let wrapper = modules.join(".bin/claude");
        std::os::unix::fs::symlink("../@anthropic-ai/claude-code/bin/claude.exe", &wrapper)
            .unwrap();

        assert_eq!(find(Some(&wrapper)), Some(package.join("claude")));
        assert_eq!(
            find(Some(&package.join("claude"))),
            Some(package.join("claude"))
        );
        assert_eq!(in_modules(&root), Some(package.join("claude")));
        assert_eq!(find(Some(&root.join("absent"))), None);
    }
}
