//! Manifests for tests: the shipped plugins, or guests that misbehave on purpose.

use std::path::PathBuf;

use crate::repository;

/// A manifest in the making.
#[derive(Clone, Debug, Default)]
pub struct Manifest(String);

impl Manifest {
    /// No plugin at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The shipped plugins that need no repository, with no settings of the operator's.
    pub fn shipped() -> Self {
        Self::empty()
            .plugin("request-rules", "validator", shipped("request-rules"), "")
            .plugin("tool-rules", "tool-permission", shipped("tool-rules"), "")
            .plugin(
                "upload-files",
                "post-execution",
                shipped("upload-files"),
                r#"grants = ["workspace", "artifacts"]"#,
            )
    }

    /// The shipped plugin `git`; `settings` is TOML of its settings.
    pub fn git(self, settings: &str) -> Self {
        self.git_named("git", settings)
    }

    /// The same by a name of the operator's own.
    pub fn git_named(self, name: &str, settings: &str) -> Self {
        let more = format!(
            "grants = [\"git\"]\nlimits = {{ time = \"10m\" }}\nsettings = {{ {settings} }}"
        );
        self.plugin(name, "post-execution", shipped("git"), &more)
    }

    /// The shipped plugin `pull-request`, with the server of `host` behind this API.
    pub fn pull_request(self, host: &str, kind: &str, api: &str) -> Self {
        self.pull_request_granted(&format!("http:{api}"), host, kind, api)
    }

    /// The same where the API lies below the root of what is granted.
    pub fn pull_request_granted(self, grant: &str, host: &str, kind: &str, api: &str) -> Self {
        let more = format!(
            "grants = [\"{grant}\", \"secret:gitToken\"]\nneeds_repository = true\n\
             settings = {{ hosts = {{ \"{host}\" = {{ kind = \"{kind}\", api = \"{api}\" }} }} }}"
        );
        self.plugin(
            "pull-request",
            "post-execution",
            shipped("pull-request"),
            &more,
        )
    }

    /// One of `tests/guests/` after what is there.
    pub fn guest(self, name: &str, world: &str) -> Self {
        self.plugin(name, world, guest(name), "")
    }

    /// Any component; `more` is further TOML of the entry.
    pub fn plugin(mut self, name: &str, world: &str, source: PathBuf, more: &str) -> Self {
        self.0.push_str(&format!(
            "[[plugin]]\nname = \"{name}\"\nworld = \"{world}\"\nsource = \"{}\"\n{more}\n\n",
            source.display()
        ));
        self
    }

    /// Any TOML after what is there.
    pub fn text_of(mut self, text: &str) -> Self {
        self.0.push_str(text);
        self
    }

    /// As TOML.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Where `scripts/build-plugins.sh` puts a shipped plugin.
pub fn shipped(name: &str) -> PathBuf {
    built(
        repository()
            .join("plugins/dist")
            .join(format!("{name}.wasm")),
    )
}

/// Where `scripts/build-plugins.sh --guests` puts a guest.
pub fn guest(name: &str) -> PathBuf {
    built(
        repository()
            .join("tests/guests/dist")
            .join(format!("{name}.wasm")),
    )
}

fn built(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run `scripts/build-plugins.sh --guests` first",
        path.display()
    );
    path
}
