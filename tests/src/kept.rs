//! What a gateway keeps and leaves behind, wherever the run of the tests has put it.

use std::fs;
use std::path::Path;

use fake_google::Fault;

use crate::{BUCKET, CloudRun, Gateway, eventually};

/// Says where the gateways of the ordinary tests keep and run everything.
const VARIABLE: &str = "TESTS_ON";

/// Whether the ordinary tests run with everything in the cloud: state in Cloud Storage, keys in KMS, jobs as
/// executions. Otherwise all of it is on one machine.
pub fn on_cloud() -> bool {
    match std::env::var(VARIABLE) {
        Err(_) => false,
        Ok(place) if place == "machine" => false,
        Ok(place) if place == "cloud" => true,
        Ok(place) => panic!("{VARIABLE} is machine or cloud, not {place}"),
    }
}

impl Gateway {
    /// The names of objects that begin with `prefix`, in order.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let mut names = match &self.cloud {
            Some(service) => service.google.objects(BUCKET),
            None => names_below(&self.data().join("bucket")),
        };
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        names
    }

    /// What it keeps by this name.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        match &self.cloud {
            Some(service) => Some(service.google.object(BUCKET, name)?.to_vec()),
            None => fs::read(self.data().join("bucket").join(name)).ok(),
        }
    }

    /// What it keeps at a place that a report or a record names.
    pub fn object_at(&self, place: &str) -> Option<Vec<u8>> {
        if self.cloud.is_some() {
            return self.object(place.strip_prefix(&format!("gs://{BUCKET}/"))?);
        }
        fs::read(place.strip_prefix("file://")?).ok()
    }

    /// Puts other content into an object, past the gateway.
    pub fn overwrite(&self, name: &str, content: &[u8]) {
        match &self.cloud {
            Some(service) => service.google.put_object(BUCKET, name, content),
            None => {
                let bucket = self.data().join("bucket");
                let aside = self.data().join("overwritten");
                fs::write(&aside, content).expect("writable");
                fs::rename(&aside, bucket.join(name)).expect("the same disk");
            }
        }
    }

    /// Lets every write fail, or none any more.
    pub fn storage_fails(&self, fails: bool) {
        if let Some(CloudRun { google }) = &self.cloud {
            match fails {
                true => google.every("storage.", 1, Fault::Status(503)),
                false => google.heal(),
            }
            return;
        }
        // Every write goes through this directory.
        let temporary = self.data().join("bucket/.temp");
        let aside = self.data().join("bucket/.aside");
        if fails {
            fs::rename(&temporary, &aside).expect("it is there");
            fs::write(&temporary, "no directory").expect("writable");
        } else {
            fs::remove_file(&temporary).expect("it is there");
            fs::rename(&aside, &temporary).expect("it is there");
        }
    }

    /// A task's whole log from its stored chunks.
    pub fn stored_log(&self, id: &str) -> String {
        let chunks = self.objects(&format!("sessions/{id}/0"));
        let text = |name: &String| {
            let chunk = self.object(name).expect("it was listed");
            String::from_utf8(chunk).expect("text")
        };
        chunks.iter().map(text).collect()
    }

    /// What the job of a task logs, to be read at any later time: a log on this machine goes with its job,
    /// but not for whoever has it open. In the cloud all jobs of a gateway share one.
    pub fn open_job_log(&self, id: &str) -> fs::File {
        let path = match &self.cloud {
            Some(_) => self.job_log(),
            None => self.data().join(format!("jobs/{id}.log")),
        };
        fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Waits until no process and no workspace is left.
    pub async fn is_clean(&self) {
        eventually("no process and no workspace is left", || async {
            let is_idle = self.processes().is_empty();
            if is_idle && self.cloud.is_some() {
                // A killed job's goes with its container.
                self.workspaces().for_each(|left| {
                    let _ = fs::remove_dir_all(left.path());
                });
            }
            (is_idle && self.workspaces().next().is_none()).then_some(())
        })
        .await;
    }

    fn workspaces(&self) -> impl Iterator<Item = fs::DirEntry> {
        let work = fs::read_dir(self.work());
        work.into_iter().flatten().flatten().filter(is_a_task)
    }

    /// No canary in any byte that was produced: data, logs, workspaces; in the cloud also what is stored
    /// there and all that Google was ever sent.
    pub fn has_leaked_nothing(&self) {
        let found = self.canaries.found_below(self.root());
        assert!(found.is_empty(), "a secret was found in {found:?}");
        let Some(service) = &self.cloud else {
            return;
        };
        for name in self.objects("") {
            let content = self.object(&name).unwrap_or_default();
            let found = self.canaries.found_in(&content);
            assert!(found.is_empty(), "a secret was found in the object {name}");
        }
        let requests = service.google.requests().into_iter();
        // An operator's words stand in an approval until the job, which knows the secrets, takes them out.
        for request in requests.filter(|request| !request.target.contains("%2Fapprovals%2F")) {
            let found = self.canaries.found_in(&request.body);
            assert!(
                found.is_empty() && self.canaries.found_in(request.target.as_bytes()).is_empty(),
                "a secret was sent with {} {}",
                request.operation,
                request.target
            );
        }
    }
}

fn is_a_task(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_str().is_some_and(|name| name != "bin")
}

fn names_below(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path
                .strip_prefix(root)
                .expect("below it")
                .display()
                .to_string();
            if path.is_dir() {
                directories.push(path);
            } else {
                names.push(name);
            }
        }
    }
    names
}
