//! sshd and lighttpd, with keys and certificates of their own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::git;

/// Ports to choose from, upwards of 12000.
const PORTS: u32 = 20_000;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}: `scripts/check.sh` installs it"));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
}

pub(super) fn keygen(path: &Path) {
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
pub(super) fn certificates(root: &Path) {
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

/// A port for a server that must be told one. Below those that the system gives to whoever asks for any,
/// so that no other test is given it before the server has taken it; each is handed out once.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    for _ in 0..PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = 12_000 + u16::try_from(number).expect("small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS} is free");
}

/// What tells callers by SSH where files of LFS are, and what lets them in there.
pub(super) fn authenticate(root: &Path, https_port: u16, ticket: &str) {
    let (directory, repositories) = (root.join("bin"), root.join("repositories"));
    fs::create_dir(&directory).expect("writable");
    let script = format!(
        "#!/bin/sh\nprintf '{{\"href\": \"https://localhost:{https_port}/%s/info/lfs\", \
         \"header\": {{\"Authorization\": \"RemoteAuth {ticket}\"}}, \"expires_in\": 600}}' \"${{1#{}/}}\"\n",
        // As `git-lfs` has it: without the slash that ends the host.
        repositories.display().to_string().trim_start_matches('/')
    );
    let file = directory.join("git-lfs-authenticate");
    fs::write(&file, script).expect("writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
}

pub(super) fn sshd(root: &Path, port: u16) -> Child {
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
         PermitRootLogin yes\nAllowAgentForwarding no\nMaxStartups 100\nLogLevel ERROR\n\
         SetEnv PATH={}:/usr/local/bin:/usr/bin:/bin\n",
        at("host_key"),
        at("authorized_keys"),
        at("bin"),
    );
    fs::write(root.join("sshd_config"), settings).expect("writable");
    spawn(
        "/usr/sbin/sshd",
        &["-D", "-e", "-f", &at("sshd_config")],
        root,
        "sshd.log",
    )
}

pub(super) fn lighttpd(root: &Path, port: u16, lfs_port: u16, token: &str) -> Child {
    let at = |name: &str| root.join(name).display().to_string();
    let core = git(root, &["--exec-path"]);
    let backend = format!("{}/git-http-backend", core.trim());
    fs::write(root.join("users"), format!("x-access-token:{token}\n")).expect("writable");
    let settings = format!(
        "server.modules = (\"mod_setenv\", \"mod_redirect\", \"mod_auth\", \"mod_authn_file\", \"mod_alias\", \"mod_cgi\", \"mod_proxy\", \"mod_openssl\")\n\
         server.document-root = \"{repositories}\"\n\
         server.bind = \"127.0.0.1\"\nserver.port = {port}\n\
         server.errorlog = \"{log}\"\n\
         server.max-request-size = 4000000\n\
         ssl.engine = \"enable\"\nssl.pemfile = \"{pem}\"\n\
         url.redirect = (\"^/moved/(.*)$\" => \"/$1\")\n\
         auth.backend = \"plain\"\nauth.backend.plain.userfile = \"{users}\"\n\
         $HTTP[\"url\"] =~ \"^/storage/|[.]git/info/lfs/\" {{\n\
         server.stream-response-body = 2\n\
         proxy.server = (\"\" => ((\"host\" => \"127.0.0.1\", \"port\" => {lfs_port})))\n}} else {{\n\
         auth.require = (\"\" => (\"method\" => \"basic\", \"realm\" => \"git\", \"require\" => \"valid-user\"))\n\
         alias.url = (\"/\" => \"{backend}/\")\ncgi.assign = (\"\" => \"\")\ncgi.execute-x-only = \"enable\"\n}}\n\
         setenv.set-environment = (\"GIT_PROJECT_ROOT\" => \"{repositories}\", \"GIT_HTTP_EXPORT_ALL\" => \"1\", \
         \"GIT_CONFIG_COUNT\" => \"1\", \"GIT_CONFIG_KEY_0\" => \"safe.directory\", \"GIT_CONFIG_VALUE_0\" => \"*\")\n",
        repositories = at("repositories"),
        log = at("lighttpd.log"),
        pem = at("server.pem"),
        users = at("users"),
    );
    fs::write(root.join("lighttpd.conf"), settings).expect("writable");
    spawn(
        "/usr/sbin/lighttpd",
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
        .unwrap_or_else(|error| panic!("{program}: {error}: `scripts/check.sh` installs it"))
}
