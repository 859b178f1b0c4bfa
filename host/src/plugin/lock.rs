//! The lock file: which bytes each entry of a manifest was when somebody looked at them.
//!
//! A manifest says where a component is; what is there may change, to something newer or to something
//! older. Where `manifest.lock` lies beside `manifest.toml`, nothing is loaded but what stands in it.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::Entry;
use crate::wasm::LoadError;

/// Bytes of a lock file.
const SIZE: u64 = 1 << 20;

const HEADER: &str =
    "# Which bytes each plugin of the manifest is. Written by `gatehouse plugin lock`.\n\n";

/// The components of a manifest, by the plugins' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lock(BTreeMap<String, Locked>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Locked {
    /// As the manifest spells it.
    source: String,
    /// Of the component.
    sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    plugin: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    source: String,
    sha256: String,
}

/// The lock file of a manifest: `plugins.toml` has `plugins.lock`.
pub(super) fn beside(manifest: &Path) -> PathBuf {
    let path = manifest.with_extension("lock");
    match path == manifest {
        true => manifest.with_extension("lock.lock"),
        false => path,
    }
}

fn not_locked(message: String) -> LoadError {
    LoadError::new(
        "plugin-not-locked",
        format!("{message}. Look at what changed, then `gatehouse plugin lock`"),
    )
}

impl Lock {
    /// None where there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, String> {
        let shown = path.display();
        let content = match crate::wasm::read_bounded(path, SIZE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!("the lock file `{shown}` cannot be read ({error})"));
            }
            Ok(None) => {
                return Err(format!(
                    "the lock file `{shown}` is no file of at most {SIZE} bytes"
                ));
            }
            Ok(Some(content)) => content,
        };
        let lock = String::from_utf8(content)
            .map_err(|_| "it is not UTF-8".to_owned())
            .and_then(|text| Self::parse(&text));
        lock.map(Some).map_err(|why| {
            format!(
                "the lock file `{shown}` is broken: {why}. `gatehouse plugin lock` writes it anew"
            )
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text: Text = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut lock = Self::default();
        for Line {
            name,
            source,
            sha256,
        } in text.plugin
        {
            let line = Locked { source, sha256 };
            if lock.0.insert(name.clone(), line).is_some() {
                return Err(format!("`{name}` stands in it twice"));
            }
        }
        Ok(lock)
    }

    pub(super) fn add(&mut self, entry: &Entry, digest: &str) {
        let line = Locked {
            source: entry.written.clone(),
            sha256: digest.to_owned(),
        };
        self.0.insert(entry.name.clone(), line);
    }

    /// What the component of `entry` has to be.
    pub(super) fn digest(&self, entry: &Entry) -> Result<String, LoadError> {
        let Some(Locked { source, sha256 }) = self.0.get(&entry.name) else {
            return Err(not_locked("the lock file does not have it".to_owned()));
        };
        if *source != entry.written {
            return Err(not_locked(format!(
                "the lock file has it from `{source}`, the manifest from `{}`",
                entry.written
            )));
        }
        Ok(sha256.clone())
    }

    /// How `new` differs from it: a line for each plugin that does.
    pub(super) fn changes(&self, new: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<_> = self.0.keys().chain(new.0.keys()).collect();
        let line = |name: &String| match (self.0.get(name), new.0.get(name)) {
            (None, Some(is)) => Some(format!("{name}: {} is not locked", is.sha256)),
            (Some(_), None) => Some(format!("{name}: locked, and not in the manifest")),
            (Some(was), Some(is)) if was.sha256 != is.sha256 => Some(format!(
                "{name}: locked at {}, and is {}",
                was.sha256, is.sha256
            )),
            (Some(was), Some(is)) if was.source != is.source => Some(format!(
                "{name}: locked from {}, and comes from {}",
                was.source, is.source
            )),
            _ => None,
        };
        names.into_iter().filter_map(line).collect()
    }

    fn text(&self) -> Result<String, toml::ser::Error> {
        let line = |(name, locked): (&String, &Locked)| Line {
            name: name.clone(),
            source: locked.source.clone(),
            sha256: locked.sha256.clone(),
        };
        let text = toml::to_string(&Text {
            plugin: self.0.iter().map(line).collect(),
        })?;
        Ok(format!("{HEADER}{text}"))
    }

    /// Replaces the file at once: who reads meanwhile sees the old one or the new one.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.text().map_err(io::Error::other)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
        file.write_all(text.as_bytes())?;
        // It holds no secret, and the gateway may be another user than whoever locks.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

impl Entry {
    /// Refuses a component that is not the one that was locked.
    pub(super) fn is_locked_at(&self, digest: &str) -> Result<(), LoadError> {
        match &self.locked {
            Some(locked) if locked != digest => Err(not_locked(format!(
                "the component's SHA-256 is {digest}, and the lock file has {locked}"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lock(lines: &[(&str, &str, &str)]) -> Lock {
        let line = |(name, source, sha256): &(&str, &str, &str)| {
            let line = Locked {
                source: (*source).to_owned(),
                sha256: (*sha256).to_owned(),
            };
            ((*name).to_owned(), line)
        };
        Lock(lines.iter().map(line).collect())
    }

    #[test]
    fn it_lies_beside_the_manifest_and_is_never_the_manifest() {
        for (manifest, lock) in [
            ("plugins/manifest.toml", "plugins/manifest.lock"),
            ("plugins.toml", "plugins.lock"),
            ("manifest", "manifest.lock"),
            ("manifest.lock", "manifest.lock.lock"),
        ] {
            assert_eq!(beside(Path::new(manifest)), Path::new(lock));
        }
    }

    #[test]
    fn what_is_written_is_sorted_and_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.lock");
        assert_eq!(Lock::read(&path), Ok(None));
        let written = lock(&[
            ("b", "b.wasm", "22"),
            ("a", "https://example.com/\"a\"", "11"),
        ]);
        written.write(&path).unwrap();
        assert_eq!(Lock::read(&path), Ok(Some(written)));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.find("\"a\"").unwrap() < text.find("\"b\"").unwrap(),
            "{text}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_broken_one_is_an_error_and_not_an_absent_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.lock");
        let line = "[[plugin]]\nname = \"a\"\nsource = \"a\"\nsha256 = \"1\"\n";
        for text in ["[[plugin]", "digest = 1", &format!("{line}{line}")] {
            std::fs::write(&path, text).unwrap();
            let error = Lock::read(&path).unwrap_err();
            assert!(error.contains("gatehouse plugin lock"), "{error}");
        }
        std::fs::write(&path, vec![b'#'; usize::try_from(SIZE).unwrap() + 1]).unwrap();
        assert!(Lock::read(&path).unwrap_err().contains("at most"));
    }

    #[test]
    fn what_differs_is_told_by_plugin() {
        let before = lock(&[
            ("a", "a", "1"),
            ("b", "b", "2"),
            ("c", "c", "3"),
            ("d", "d", "4"),
        ]);
        let after = lock(&[
            ("a", "a", "1"),
            ("b", "b", "5"),
            ("c", "x", "3"),
            ("e", "e", "6"),
        ]);
        let told = before.changes(&after);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(before.changes(&before).is_empty());
    }
}
