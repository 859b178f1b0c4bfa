//! Durable files of a task, as a post-execution plugin may keep them: below `files/{task}/` in the
//! bucket, counted and bounded.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Failure, Workspace};
use crate::bucket::{Bucket, BucketError, Durability, When};
use crate::redact::Redactor;
use crate::task::{TaskId, UploadedFile, names};

/// Bytes of a name below the task's place.
const NAME: usize = 512;
/// Bytes of a file that are looked through at once.
const PIECE: usize = 1 << 20;

/// A file that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Relative to the workspace, or the name given to `write`.
    pub path: String,
    /// Where an operator finds it.
    pub uri: String,
    /// Bytes.
    pub size: u64,
    /// By the name's ending.
    pub content_type: String,
    /// Lower-case hex.
    pub sha256: String,
}

/// The place for one run of one plugin.
#[derive(Debug)]
pub struct Artifacts {
    bucket: Arc<dyn Bucket>,
    task: TaskId,
    workspace: Workspace,
    max_size: u64,
    max_count: usize,
    /// Finds what must not be kept.
    redactor: Redactor,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Places taken: files that are kept or on their way.
    count: usize,
    files: Vec<UploadedFile>,
}

impl Artifacts {
    pub(super) fn new(
        bucket: Arc<dyn Bucket>,
        task: TaskId,
        workspace: Workspace,
        max_size: u64,
        max_count: u32,
    ) -> Self {
        let kept = Mutex::default();
        Self {
            bucket,
            task,
            workspace,
            max_size,
            max_count: max_count as usize,
            redactor: Redactor::default(),
            kept,
        }
    }

    /// Keeps no file that holds one of these.
    pub(super) fn guard(mut self, redactor: Redactor) -> Self {
        self.redactor = redactor;
        self
    }

    /// What was kept so far.
    pub(super) fn kept(&self) -> Vec<UploadedFile> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files
            .clone()
    }

    /// Streams a workspace file into the bucket.
    pub(crate) async fn upload(&self, path: &str, prefix: Option<&str>) -> Result<Stored, Failure> {
        let name = match prefix.map(|prefix| prefix.trim_end_matches('/')) {
            Some(prefix) if !prefix.is_empty() => self.object(&format!("{prefix}/{path}"))?,
            _ => self.object(path)?,
        };
        let workspace = self.workspace.clone();
        let wanted = path.to_owned();
        let file = tokio::task::spawn_blocking(move || workspace.file(&wanted))
            .await
            .unwrap_or_else(|_| Err(Failure::new("io", "the file could not be opened")))?;
        // What is too large already is not read; what grows is ended by the bucket.
        if file.metadata().is_ok_and(|it| it.len() > self.max_size) {
            return Err(too_large(self.max_size));
        }
        let redactor = self.redactor.clone();
        let (file, clean) = tokio::task::spawn_blocking(move || {
            let clean = is_clean(&file, &redactor);
            (file, clean)
        })
        .await
        .map_err(|_| Failure::new("io", "the file could not be read"))?;
        if !clean.map_err(|error| Failure::new("io", error.kind().to_string()))? {
            return Err(holds_a_secret(path));
        }
        let place = self.take_place()?;
        let file = tokio::fs::File::from_std(file);
        let uploaded = self
            .bucket
            .upload(&name, file, self.max_size)
            .await
            .map_err(storage)?;
        Ok(place.keep(path, &name, uploaded.size, uploaded.sha256))
    }

    /// Keeps bytes under a name.
    pub(crate) async fn write(&self, path: &str, content: Vec<u8>) -> Result<Stored, Failure> {
        let name = self.object(path)?;
        let size = content.len() as u64;
        if size > self.max_size {
            return Err(too_large(self.max_size));
        }
        if self.redactor.finds(&content) {
            return Err(holds_a_secret(path));
        }
        let place = self.take_place()?;
        let sha256 = hex::encode(Sha256::digest(&content));
        self.bucket
            .put(
                &name,
                Bytes::from(content),
                When::Always,
                Durability::Synced,
            )
            .await
            .map_err(storage)?;
        Ok(place.keep(path, &name, size, sha256))
    }

    fn object(&self, path: &str) -> Result<String, Failure> {
        let part_is_plain = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.chars().any(char::is_control)
        };
        if path.len() > NAME || !path.split('/').all(part_is_plain) {
            return Err(Failure::new(
                "bad-path",
                format!(
                    "a name has at most {NAME} bytes, is relative and holds no `.`, `..` or empty part"
                ),
            ));
        }
        Ok(format!("{}{path}", names::artifacts(&self.task)))
    }

    fn take_place(&self) -> Result<Place<'_>, Failure> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.count >= self.max_count {
            return Err(Failure::new(
                "too-many",
                format!("at most {} files are kept of a task", self.max_count),
            ));
        }
        kept.count += 1;
        Ok(Place {
            artifacts: self,
            filled: false,
        })
    }
}

/// A place among the files; given back unless a file came.
struct Place<'a> {
    artifacts: &'a Artifacts,
    filled: bool,
}

impl Place<'_> {
    fn keep(mut self, path: &str, name: &str, size: u64, sha256: String) -> Stored {
        self.filled = true;
        let uri = self.artifacts.bucket.uri(name);
        let content_type = content_type(path).to_owned();
        let file = UploadedFile {
            original_path: path.to_owned(),
            gcs_path: uri.clone(),
            size_bytes: size,
            content_type: content_type.clone(),
            sha256: sha256.clone(),
        };
        let mut kept = self
            .artifacts
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Kept twice under one name is one file, and the later one is it.
        match kept.files.iter_mut().find(|known| known.gcs_path == uri) {
            Some(known) => *known = file,
            None => kept.files.push(file),
        }
        Stored {
            path: path.to_owned(),
            uri,
            size,
            content_type,
            sha256,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.filled {
            let mut kept = self
                .artifacts
                .kept
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            kept.count = kept.count.saturating_sub(1);
        }
    }
}

/// Whether nothing in the file is to be found. Piece by piece, each with the end of the one before, so
/// that nothing lies across a cut; from the beginning again for whoever reads it next.
fn is_clean(mut file: &std::fs::File, redactor: &Redactor) -> std::io::Result<bool> {
    use std::io::{Read as _, Seek as _};
    let reach = redactor.reach();
    let mut window = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece)?;
        let read = piece.get(..length).unwrap_or_default();
        if read.is_empty() {
            file.rewind()?;
            return Ok(true);
        }
        window.extend_from_slice(read);
        if redactor.finds(&window) {
            return Ok(false);
        }
        window.drain(..window.len().saturating_sub(reach));
    }
}

fn holds_a_secret(path: &str) -> Failure {
    Failure::new(
        "secret-found",
        format!("`{path}` holds a secret of the task"),
    )
}

fn too_large(limit: u64) -> Failure {
    Failure::new(
        "too-large",
        format!("a file of at most {limit} bytes is kept"),
    )
}

/// The storage's own words may name paths of this machine, so they go to the log only.
fn storage(error: BucketError) -> Failure {
    match error {
        BucketError::TooLarge { limit, .. } => too_large(limit),
        BucketError::InvalidName(_) => {
            Failure::new("bad-path", "the storage does not take this name")
        }
        BucketError::Conflict(_) | BucketError::Io { .. } => {
            tracing::warn!(%error, "an artefact could not be kept");
            Failure::new("storage", "the file could not be stored")
        }
    }
}

fn content_type(path: &str) -> &'static str {
    let ending = path
        .rsplit_once('.')
        .map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("txt" | "log") => "text/plain",
        Some("md") => "text/markdown",
        Some("html" | "htm") => "text/html",
        Some("css") => "text/css",
        Some("csv") => "text/csv",
        Some("js" | "mjs") => "text/javascript",
        Some("json") => "application/json",
        Some("xml") => "application/xml",
        Some("yaml" | "yml") => "application/yaml",
        Some("pdf") => "application/pdf",
        Some("zip") => "application/zip",
        Some("gz" | "tgz") => "application/gzip",
        Some("tar") => "application/x-tar",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("svg") => "image/svg+xml",
        Some("webp") => "image/webp",
        Some("mp4") => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plugin::memory_bucket::MemoryBucket;

    fn artifacts(
        max_size: u64,
        max_count: u32,
    ) -> (tempfile::TempDir, Arc<MemoryBucket>, Artifacts) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("out")).unwrap();
        std::fs::write(directory.path().join("out/report.json"), "{}").unwrap();
        let workspace = Workspace::open(directory.path()).unwrap();
        let bucket = Arc::new(MemoryBucket::default());
        let task = "t1".parse().unwrap();
        let artifacts = Artifacts::new(bucket.clone(), task, workspace, max_size, max_count);
        (directory, bucket, artifacts)
    }

    #[tokio::test]
    async fn a_file_that_holds_a_secret_is_not_kept_wherever_it_lies() {
        let (directory, bucket, artifacts) = artifacts(8 << 20, 10);
        let secret = secrecy::SecretString::from("s3cret-value");
        let artifacts = artifacts.guard(Redactor::new([&secret]));
        for before in [0, PIECE - 5, PIECE, 2 * PIECE - 1] {
            let content = format!("{}s3cret-value", "x".repeat(before));
            std::fs::write(directory.path().join("file"), &content).unwrap();
            let refused = artifacts.upload("file", None).await.unwrap_err();
            assert_eq!(refused.code, "secret-found", "{before}");
            let refused = artifacts
                .write("name", content.into_bytes())
                .await
                .unwrap_err();
            assert_eq!(refused.code, "secret-found");
        }
        std::fs::write(directory.path().join("file"), "x".repeat(PIECE + 7)).unwrap();
        assert_eq!(
            artifacts.upload("file", None).await.unwrap().size,
            PIECE as u64 + 7
        );
        assert_eq!(bucket.names().len(), 1);
    }

    #[tokio::test]
    async fn a_file_is_kept_below_the_tasks_place_and_reported() {
        let (_directory, bucket, artifacts) = artifacts(100, 10);
        let stored = artifacts
            .upload("out/report.json", Some("ci/"))
            .await
            .unwrap();
        assert_eq!(stored.path, "out/report.json");
        assert_eq!(stored.uri, "memory:files/t1/ci/out/report.json");
        assert_eq!(stored.content_type, "application/json");
        assert_eq!(stored.sha256, hex::encode(Sha256::digest("{}")));
        assert_eq!(bucket.content("files/t1/ci/out/report.json").unwrap(), "{}");
        artifacts.write("note.md", b"hi".to_vec()).await.unwrap();
        let kept = artifacts.kept();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept.last().unwrap().original_path, "note.md");
    }

    #[tokio::test]
    async fn names_that_leave_the_tasks_place_are_refused() {
        let (_directory, bucket, artifacts) = artifacts(100, 10);
        for prefix in ["..", "a/../..", "/a", "a//b", "a\n"] {
            let failure = artifacts
                .upload("out/report.json", Some(prefix))
                .await
                .unwrap_err();
            assert_eq!(failure.code, "bad-path", "{prefix}");
        }
        assert_eq!(
            artifacts.write("../x", Vec::new()).await.unwrap_err().code,
            "bad-path"
        );
        assert_eq!(
            artifacts
                .write(&"x".repeat(NAME + 1), Vec::new())
                .await
                .unwrap_err()
                .code,
            "bad-path"
        );
        assert!(bucket.names().is_empty());
    }

    #[tokio::test]
    async fn a_prefix_that_looks_like_another_place_is_a_folder_of_the_tasks_own() {
        let (_directory, bucket, artifacts) = artifacts(100, 10);
        for prefix in [
            "sessions/other",
            "tasks/other/payload.enc",
            "files/other/",
            "/",
        ] {
            artifacts
                .upload("out/report.json", Some(prefix))
                .await
                .unwrap();
        }
        assert_eq!(
            bucket.names(),
            [
                "files/t1/files/other/out/report.json",
                "files/t1/out/report.json",
                "files/t1/sessions/other/out/report.json",
                "files/t1/tasks/other/payload.enc/out/report.json",
            ]
        );
        for prefix in ["x".repeat(1025), "a\u{7f}".to_owned(), "a\0".to_owned()] {
            let failure = artifacts
                .upload("out/report.json", Some(&prefix))
                .await
                .unwrap_err();
            assert_eq!(failure.code, "bad-path");
        }
    }

    #[tokio::test]
    async fn a_huge_file_is_refused_by_its_size_and_not_read() {
        let (directory, bucket, artifacts) = artifacts(100 << 20, 10);
        let huge = std::fs::File::create(directory.path().join("huge")).unwrap();
        huge.set_len(10 << 30).unwrap();
        let started = std::time::Instant::now();
        let failure = artifacts.upload("huge", None).await.unwrap_err();
        assert_eq!(failure.code, "too-large");
        // Reading it would take seconds.
        assert!(started.elapsed() < std::time::Duration::from_secs(1));
        assert!(bucket.names().is_empty());
    }

    #[tokio::test]
    async fn size_and_number_are_bounded_and_a_failure_takes_no_place() {
        let (_directory, _bucket, artifacts) = artifacts(1, 1);
        assert_eq!(
            artifacts
                .upload("out/report.json", None)
                .await
                .unwrap_err()
                .code,
            "too-large"
        );
        assert_eq!(
            artifacts.write("a", vec![0; 2]).await.unwrap_err().code,
            "too-large"
        );
        assert_eq!(
            artifacts.upload("none", None).await.unwrap_err().code,
            "not-found"
        );
        artifacts.write("a", vec![0]).await.unwrap();
        assert_eq!(
            artifacts.write("b", vec![0]).await.unwrap_err().code,
            "too-many"
        );
        assert_eq!(artifacts.kept().len(), 1);
    }
}
