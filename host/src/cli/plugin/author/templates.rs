//! What `gatehouse plugin new` writes: a file for each of a project's, by language and world.

use clap::ValueEnum;

use crate::wasm::World;

/// The contract, as this version of the gateway has it.
const WIT: &str = include_str!("../../../../../wit/gatehouse.wit");

/// Name and version of the contract, e.g. `gatehouse:plugin@0.1.0`.
pub(super) fn contract() -> &'static str {
    let mut lines = WIT.lines().filter_map(|line| line.strip_prefix("package "));
    lines.next().unwrap_or_default().trim_end_matches(';')
}

/// Where a project has it.
pub(super) const CONTRACT: &str = "wit/gatehouse.wit";

/// The worlds by the names of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli::plugin) enum TargetWorld {
    /// Judges requests
    Validator,
    /// Judges tool calls
    ToolPermission,
    /// Acts after the agent
    PostExecution,
}

/// Languages with a toolchain that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli::plugin) enum Language {
    /// By cargo and wit-bindgen
    Rust,
    /// By componentize-qjs
    Javascript,
    /// By componentize-py
    Python,
    /// By clang and wit-bindgen
    C,
}

/// A file of a project, with placeholders.
#[derive(Clone, Copy)]
pub(super) struct Template {
    pub(super) path: &'static str,
    pub(super) text: &'static str,
}

impl From<TargetWorld> for World {
    fn from(world: TargetWorld) -> Self {
        match world {
            TargetWorld::Validator => Self::Validator,
            TargetWorld::ToolPermission => Self::ToolPermission,
            TargetWorld::PostExecution => Self::PostExecution,
        }
    }
}

impl Language {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Javascript => "JavaScript",
            Self::Python => "Python",
            Self::C => "C",
        }
    }

    /// The file that an author changes.
    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Javascript => "plugin.js",
            Self::Python => "plugin.py",
            Self::C => "plugin.c",
        }
    }
}

macro_rules! template {
    ($path:expr, $($from:literal)+) => {
        Template {
            path: $path,
            text: include_str!(concat!("../../../../templates/plugin/", $($from),+)),
        }
    };
}

/// Every file of a project.
pub(super) fn files(language: Language, world: World) -> Vec<Template> {
    let contract = Template {
        path: CONTRACT,
        text: WIT,
    };
    let mut files = vec![
        contract,
        template!("README.md", "README.md"),
        template!(".gitignore", "gitignore"),
        template!("plugin.toml", "plugin.toml"),
        source(language, world),
    ];
    files.extend(project(language));
    files.extend(cases(world));
    files
}

fn project(language: Language) -> Vec<Template> {
    match language {
        Language::Rust => vec![
            template!("build.sh", "rust/build.sh"),
            template!("Cargo.toml", "rust/manifest.toml"),
        ],
        Language::Javascript => vec![template!("build.sh", "javascript/build.sh")],
        Language::Python => vec![template!("build.sh", "python/build.sh")],
        Language::C => vec![
            template!("build.sh", "c/build.sh"),
            template!("json.h", "c/json.h"),
        ],
    }
}

fn source(language: Language, world: World) -> Template {
    let path = language.source();
    match (language, world) {
        (Language::Rust, World::Validator) => template!(path, "rust/validator.rs"),
        (Language::Rust, World::ToolPermission) => template!(path, "rust/tool-permission.rs"),
        (Language::Rust, World::PostExecution) => template!(path, "rust/post-execution.rs"),
        (Language::Javascript, World::Validator) => template!(path, "javascript/validator.js"),
        (Language::Javascript, World::ToolPermission) => {
            template!(path, "javascript/tool-permission.js")
        }
        (Language::Javascript, World::PostExecution) => {
            template!(path, "javascript/post-execution.js")
        }
        (Language::Python, World::Validator) => template!(path, "python/validator.py"),
        (Language::Python, World::ToolPermission) => template!(path, "python/tool-permission.py"),
        (Language::Python, World::PostExecution) => template!(path, "python/post-execution.py"),
        (Language::C, World::Validator) => template!(path, "c/validator.c"),
        (Language::C, World::ToolPermission) => template!(path, "c/tool-permission.c"),
        (Language::C, World::PostExecution) => template!(path, "c/post-execution.c"),
    }
}

macro_rules! cases {
    ($world:literal: $($file:literal),+ $(,)?) => {
        vec![$(template!(concat!("cases/", $file), "cases/" $world "/" $file)),+]
    };
}

fn cases(world: World) -> Vec<Template> {
    match world {
        World::Validator => cases!("validator":
            "a-long-prompt/task.json",
            "a-long-prompt/settings.json",
            "a-long-prompt/expected.json",
            "a-short-prompt/task.json",
            "a-short-prompt/expected.json",
        ),
        World::ToolPermission => cases!("tool-permission":
            "a-denied-command/call.json",
            "a-denied-command/expected.json",
            "another-command/call.json",
            "another-command/expected.json",
            "another-tool/call.json",
            "another-tool/expected.json",
            "settings-of-its-own/call.json",
            "settings-of-its-own/settings.json",
            "settings-of-its-own/expected.json",
        ),
        World::PostExecution => cases!("post-execution":
            "files-are-counted/options.json",
            "files-are-counted/expected.json",
            "files-are-counted/workspace/a.txt",
            "files-are-counted/workspace/c.md",
            "files-are-counted/workspace/notes/b.txt",
            "options-without-patterns/options.json",
            "options-without-patterns/expected.json",
        ),
    }
}
