//! A real server of repositories on loopback: sshd and, for HTTPS, lighttpd with git's own CGI.
//!
//! Both serve the bare repositories of one directory. The key and the token that let callers in are
//! canaries: nothing that Gatehouse produces may hold them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::eventually;

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
        let (ssh_port, https_port) = (free_port(), free_port());
        let servers = vec![
            sshd(root.path(), ssh_port),
            lighttpd(root.path(), https_port, &token),
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

    /// From now on callers believe that this server has the key of another one.
    pub fn pretend_another_key(&self, other: &Self) {
        let key = fs::read_to_string(other.root.path().join("host_key.pub")).expect("made");
        let line = format!("[127.0.0.1]:{} {key}", self.ssh_port);
        fs::write(self.root.path().join("known_hosts"), line).expect("writable");
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
        let tree = tempfile::tempdir().expect("a temporary directory");
        let at = tree.path();
        let remote = self.path.display().to_string();
        git(at, &["clone", "--quiet", "--branch", branch, &remote, "."]);
        fs::write(at.join(".gitmodules"), modules).expect("writable");
        git(at, &["add", ".gitmodules"]);
        let entry = format!("160000,{commit},{path}");
        git(at, &["update-index", "--add", "--cacheinfo", &entry]);
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

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: run `scripts/setup.sh --tests` first"));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
}

fn keygen(path: &Path) {
    run(
        "ssh-keygen",
        &[
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            "",
            "-f",
            &path.display().to_string(),
        ],
    );
}

/// An authority of our own and a certificate for this machine.
fn certificates(root: &Path) {
    let at = |name: &str| root.join(name).display().to_string();
    let subject = |name: &str| format!("/CN={name}");
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ];
    let (ca_key, ca, server_key, server) = (
        at("ca.key"),
        at("ca.pem"),
        at("server.key"),
        at("server.crt"),
    );
    let mut authority = vec!["req", "-x509", "-days", "2"];
    authority.extend(key);
    let name = subject("Gatehouse tests");
    authority.extend(["-keyout", &ca_key, "-out", &ca, "-subj", &name]);
    run("openssl", &authority);
    let mut own = vec!["req", "-x509", "-days", "2", "-CA", &ca, "-CAkey", &ca_key];
    own.extend(key);
    let name = subject("localhost");
    own.extend([
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &server_key,
        "-out",
        &server,
        "-subj",
        &name,
    ]);
    run("openssl", &own);
    let both = fs::read_to_string(&server).expect("made")
        + &fs::read_to_string(&server_key).expect("made");
    fs::write(root.join("server.pem"), both).expect("writable");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

fn sshd(root: &Path, port: u16) -> Child {
    // It wants this directory when it is root's.
    let _ = fs::create_dir_all("/run/sshd");
    let at = |name: &str| root.join(name).display().to_string();
    let public = |name: &str| fs::read_to_string(root.join(format!("{name}.pub"))).expect("made");
    fs::copy(root.join("caller_key.pub"), root.join("authorized_keys")).expect("writable");
    fs::write(
        root.join("known_hosts"),
        format!("[127.0.0.1]:{port} {}", public("host_key")),
    )
    .expect("writable");
    let settings = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin yes\nAllowAgentForwarding no\nMaxStartups 100\nLogLevel ERROR\n",
        at("host_key"),
        at("authorized_keys"),
    );
    fs::write(root.join("sshd_config"), settings).expect("writable");
    spawn(
        "/usr/sbin/sshd",
        &["-D", "-e", "-f", &at("sshd_config")],
        root,
        "sshd.log",
    )
}

fn lighttpd(root: &Path, port: u16, token: &str) -> Child {
    let at = |name: &str| root.join(name).display().to_string();
    let core = git(root, &["--exec-path"]);
    let backend = format!("{}/git-http-backend", core.trim());
    fs::write(root.join("users"), format!("x-access-token:{token}\n")).expect("writable");
    let settings = format!(
        "server.modules = (\"mod_setenv\", \"mod_auth\", \"mod_authn_file\", \"mod_alias\", \"mod_cgi\", \"mod_openssl\")\n\
         server.document-root = \"{repositories}\"\n\
         server.bind = \"127.0.0.1\"\nserver.port = {port}\n\
         server.errorlog = \"{log}\"\n\
         server.max-request-size = 4000000\n\
         ssl.engine = \"enable\"\nssl.pemfile = \"{pem}\"\n\
         auth.backend = \"plain\"\nauth.backend.plain.userfile = \"{users}\"\n\
         auth.require = (\"\" => (\"method\" => \"basic\", \"realm\" => \"git\", \"require\" => \"valid-user\"))\n\
         alias.url = (\"/\" => \"{backend}/\")\ncgi.assign = (\"\" => \"\")\ncgi.execute-x-only = \"enable\"\n\
         setenv.set-environment = (\"GIT_PROJECT_ROOT\" => \"{repositories}\", \"GIT_HTTP_EXPORT_ALL\" => \"1\", \
         \"GIT_CONFIG_COUNT\" => \"1\", \"GIT_CONFIG_KEY_0\" => \"safe.directory\", \"GIT_CONFIG_VALUE_0\" => \"*\")\n",
        repositories = at("repositories"),
        log = at("lighttpd.log"),
        pem = at("server.pem"),
        users = at("users"),
    );
    fs::write(root.join("lighttpd.conf"), settings).expect("writable");
    spawn(
        "lighttpd",
        &["-D", "-f", &at("lighttpd.conf")],
        root,
        "lighttpd.out",
    )
}

fn spawn(program: &str, arguments: &[&str], root: &Path, log: &str) -> Child {
    let log = fs::File::create(root.join(log)).expect("writable");
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}: run `scripts/setup.sh --tests` first"))
}
