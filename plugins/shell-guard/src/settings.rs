//! The operator's settings, as the manifest states them.

use serde::Deserialize;

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

/// What the operator set; `settings.schema.json` documents each member.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub(crate) tools: Vec<String>,
    pub(crate) download_and_run: bool,
    pub(crate) opaque_scripts: bool,
    pub(crate) unknown_commands: bool,
    pub(crate) confine_writes: bool,
    pub(crate) writable: Vec<String>,
    pub(crate) unknown_targets: bool,
    pub(crate) privileges: bool,
    pub(crate) credentials: bool,
    pub(crate) credential_files: Vec<String>,
    pub(crate) env_dump: bool,
    pub(crate) destructive_git: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tools: vec!["Bash".to_owned(), "Monitor".to_owned()],
            download_and_run: true,
            opaque_scripts: true,
            unknown_commands: true,
            confine_writes: true,
            writable: Vec::new(),
            unknown_targets: true,
            privileges: true,
            credentials: true,
            credential_files: Vec::new(),
            env_dump: false,
            destructive_git: false,
        }
    }
}

impl Settings {
    /// Reads settings.
    ///
    /// # Errors
    /// What does not fit the schema.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("settings: {error}"))
    }

    /// Reads settings and checks what the schema cannot say.
    ///
    /// # Errors
    /// Names the member at fault, e.g. `writable[1]: …`.
    pub fn check(text: &str) -> Result<(), String> {
        let settings = Self::read(text)?;
        for (place, directory) in settings.writable.iter().enumerate() {
            if !directory.starts_with('/') || directory.split('/').any(|name| name == "..") {
                return Err(format!(
                    "writable[{place}]: expected the absolute path of a directory, without `..`"
                ));
            }
        }
        for (place, file) in settings.credential_files.iter().enumerate() {
            if file.split('/').any(|name| matches!(name, "" | "." | "..")) {
                return Err(format!(
                    "credential_files[{place}]: expected the last names of a path, such as .env or .config/app/token"
                ));
            }
        }
        Ok(())
    }

    /// Whether calls of this tool hold a command line.
    pub fn judges(&self, tool: &str) -> bool {
        self.tools.iter().any(|known| known == tool)
    }
}
