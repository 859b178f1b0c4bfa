//! A real server of repositories on loopback: sshd and, for HTTPS, lighttpd with git's own CGI.
//!
//! Both serve the bare repositories of one directory, and files of Git LFS beside them. The key, the token
//! and the ticket that let callers in are canaries: nothing that Gatehouse produces may hold them.

pub(crate) mod daemons;
pub mod lfs;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::eventually;
use daemons::{authenticate, certificates, free_port, keygen, lighttpd, sshd};
use lfs::Lfs;

/// The server. It ends when this drops.
pub struct GitServer {
    root: TempDir,
    ssh_port: u16,
    https_port: u16,
    servers: Vec<Child>,
    /// Lets callers in by SSH.
    pub key: String,
    /// Lets callers in by HTTPS.
    pub token: String,
    /// Lets callers of SSH in where files of LFS are, and everybody into their storage.
    pub ticket: String,
    /// The files of LFS.
    pub lfs: Lfs,
}

impl Drop for GitServer {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl GitServer {
    /// Starts both servers.
    pub async fn start() -> Self {
        let root = tempfile::Builder::new()
            .prefix("git-server-")
            .tempdir()
            .expect("a temporary directory");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("repositories")).expect("writable");
        for name in ["host_key", "caller_key", "other_key"] {
            keygen(&at(name));
        }
        let token = format!("canary-git-token-{}", uuid::Uuid::new_v4().simple());
        certificates(root.path());
        let ticket = format!("canary-lfs-ticket-{}", uuid::Uuid::new_v4().simple());
        let (ssh_port, https_port, lfs_port) = (free_port(), free_port(), free_port());
        let lfs = Lfs::start(lfs_port, https_port, &token, &ticket);
        authenticate(root.path(), https_port, &ticket);
        let servers = vec![
            sshd(root.path(), ssh_port),
            lighttpd(root.path(), https_port, lfs_port, &token),
        ];
        for port in [ssh_port, https_port] {
            eventually("the server listens", || async {
                tokio::net::TcpStream::connect(("127.0.0.1", port))
                    .await
                    .ok()
            })
            .await;
        }
        Self {
            key: fs::read_to_string(at("caller_key")).expect("made"),
            root,
            ssh_port,
            https_port,
            servers,
            token,
            ticket,
            lfs,
        }
    }

    /// Settings by which a gateway trusts this server.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let file = |name: &str| self.root.path().join(name).display().to_string();
        [
            ("GATEHOUSE__GIT__KNOWN_HOSTS", file("known_hosts")),
            ("GATEHOUSE__GIT__CA_FILE", file("ca.pem")),
        ]
    }

    /// OpenSSH as the caller, who knows this server.
    pub fn ssh_command(&self) -> String {
        let at = |name: &str| self.root.path().join(name).display().to_string();
        format!(
            "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o UserKnownHostsFile={}",
            at("caller_key"),
            at("known_hosts"),
        )
    }

    /// From now on callers believe that this server has the key of another one.
    pub fn pretend_another_key(&self, other: &Self) {
        let key = fs::read_to_string(other.root.path().join("host_key.pub")).expect("made");
        let line = format!("[127.0.0.1]:{} {key}", self.ssh_port);
        fs::write(self.root.path().join("known_hosts"), line).expect("writable");
    }

    /// From now on callers by SSH are not told where files of LFS are.
    pub fn forget_lfs(&self) {
        let program = self.root.path().join("bin/git-lfs-authenticate");
        fs::remove_file(program).expect("ours");
    }

    /// A key that nobody lets in.
    pub fn strangers_key(&self) -> String {
        fs::read_to_string(self.root.path().join("other_key")).expect("made")
    }

    /// A repository with one commit that holds these files, on the branch `trunk`.
    pub fn repository(&self, name: &str, files: &[(&str, &str)]) -> Repository<'_> {
        let repository = self.empty_repository(name);
        repository.commit("trunk", "Begin", files);
        repository
    }

    /// A repository without a commit.
    pub fn empty_repository(&self, name: &str) -> Repository<'_> {
        let path = self
            .root
            .path()
            .join("repositories")
            .join(format!("{name}.git"));
        git(
            self.root.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=trunk",
                &path.display().to_string(),
            ],
        );
        git(&path, &["config", "http.receivepack", "true"]);
        git(&path, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        Repository {
            server: self,
            name: name.to_owned(),
            path,
        }
    }
}

/// One repository of the server.
pub struct Repository<'a> {
    server: &'a GitServer,
    name: String,
    path: PathBuf,
}

impl Repository<'_> {
    /// Its address by SSH.
    pub fn ssh(&self) -> String {
        let user = Command::new("id").arg("-un").output().expect("id runs");
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        format!(
            "ssh://{user}@127.0.0.1:{}{}",
            self.server.ssh_port,
            self.path.display()
        )
    }

    /// Its address by HTTPS.
    pub fn https(&self) -> String {
        format!(
            "https://localhost:{}/{}.git",
            self.server.https_port, self.name
        )
    }

    /// A file of a branch as somebody else has it who clones with the real `git-lfs`.
    pub fn file_of_a_clone(&self, branch: &str, path: &str) -> String {
        let tree = tempfile::tempdir().expect("a temporary directory");
        let login = format!("https://x-access-token:{}@", self.server.token);
        let url = self.https().replace("https://", &login);
        let authority = self.server.root.path().join("ca.pem");
        let authority = format!("http.sslCAInfo={}", authority.display());
        // Whatever a file of the repository says.
        let server = format!("lfs.url={url}/info/lfs");
        let settings = [
            authority.as_str(),
            server.as_str(),
            "filter.lfs.process=git-lfs filter-process",
            "filter.lfs.smudge=git-lfs smudge -- %f",
            "filter.lfs.clean=git-lfs clean -- %f",
            "filter.lfs.required=true",
        ];
        let mut arguments: Vec<&str> = settings.iter().flat_map(|one| ["-c", one]).collect();
        arguments.extend(["clone", "--quiet", "--branch", branch, &url, "."]);
        git(tree.path(), &arguments);
        fs::read_to_string(tree.path().join(path)).expect("it is there")
    }

    /// What lets callers in by HTTPS.
    pub fn token(&self) -> &str {
        &self.server.token
    }

    /// Who serves it.
    pub fn server(&self) -> &GitServer {
        self.server
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Somebody else commits these files on top of a branch, made where it is not there; its new tip.
    pub fn commit(&self, branch: &str, message: &str, files: &[(&str, &str)]) -> String {
        let tree = tempfile::tempdir().expect("a temporary directory");
        let at = tree.path();
        let remote = self.path.display().to_string();
        git(
            at,
            &[
                "init",
                "--quiet",
                &format!("--initial-branch={branch}"),
                ".",
            ],
        );
        if self.tip(branch).is_some() {
            git(at, &["pull", "--quiet", &remote, branch]);
        }
        for (name, content) in files {
            let path = at.join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("writable");
            fs::write(path, content).expect("writable");
        }
        git(at, &["add", "--all"]);
        git(
            at,
            &["commit", "--quiet", "--allow-empty", "--message", message],
        );
        git(
            at,
            &[
                "push",
                "--quiet",
                &remote,
                &format!("HEAD:refs/heads/{branch}"),
            ],
        );
        self.tip(branch).expect("it was pushed")
    }

    /// Somebody else puts a submodule into a branch.
    pub fn commit_submodule(&self, branch: &str, modules: &str, path: &str, commit: &str) {
        self.commit_submodules(branch, modules, &[path], commit);
    }

    /// The same commit at several places.
    pub fn commit_submodules(&self, branch: &str, modules: &str, paths: &[&str], commit: &str) {
        let tree = tempfile::tempdir().expect("a temporary directory");
        let at = tree.path();
        let remote = self.path.display().to_string();
        git(at, &["clone", "--quiet", "--branch", branch, &remote, "."]);
        fs::write(at.join(".gitmodules"), modules).expect("writable");
        git(at, &["add", ".gitmodules"]);
        for path in paths {
            let entry = format!("160000,{commit},{path}");
            git(at, &["update-index", "--add", "--cacheinfo", &entry]);
        }
        git(
            at,
            &[
                "commit",
                "--quiet",
                "--allow-empty",
                "--message",
                "Add a submodule",
            ],
        );
        git(
            at,
            &[
                "push",
                "--quiet",
                &remote,
                &format!("HEAD:refs/heads/{branch}"),
            ],
        );
    }

    /// What stands at a branch.
    pub fn tip(&self, branch: &str) -> Option<String> {
        let reference = format!("refs/heads/{branch}");
        let found = try_git(
            &self.path,
            &["rev-parse", "--verify", "--quiet", &reference],
        );
        found.map(|id| id.trim().to_owned())
    }

    /// A file at a branch.
    pub fn file(&self, branch: &str, path: &str) -> Option<String> {
        try_git(
            &self.path,
            &["show", &format!("refs/heads/{branch}:{path}")],
        )
    }

    /// Messages of a branch's commits, newest first.
    pub fn log(&self, branch: &str) -> Vec<String> {
        let log = git(
            &self.path,
            &["log", "--format=%s", &format!("refs/heads/{branch}")],
        );
        log.lines().map(str::to_owned).collect()
    }

    /// Any git command in it.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, arguments)
    }

    /// A hook of the server's, as a shell script.
    pub fn hook(&self, name: &str, script: &str) {
        let file = self.path.join("hooks").join(name);
        fs::create_dir_all(file.parent().expect("below")).expect("writable");
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("writable");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = run_git(directory, arguments);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "git {arguments:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn try_git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = run_git(directory, arguments);
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run_git(directory: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new("git")
        .args(arguments)
        .current_dir(directory)
        // Who is trusted is said where it matters.
        .env_remove("GIT_SSL_CAINFO")
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "Somebody"),
            ("GIT_AUTHOR_EMAIL", "somebody@example.com"),
            ("GIT_COMMITTER_NAME", "Somebody"),
            ("GIT_COMMITTER_EMAIL", "somebody@example.com"),
        ])
        .output()
        .expect("git is installed")
}
