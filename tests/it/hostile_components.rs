//! Components that are made to harm whoever loads or compiles them: what was active stays active, and the
//! operator is told why.

use std::path::Path;

use gatehouse_tests::component::Validator;
use gatehouse_tests::manifest::{Manifest, guest, shipped};
use gatehouse_tests::{Gateway, eventually};
use serde_json::{Value, json};

const ACCEPT: &str = "(i32.const 2048)";

fn write(gateway: &Gateway, manifest: &Manifest) {
    let path = gateway.data().with_file_name("plugins.toml");
    std::fs::write(path, manifest.text()).unwrap();
}

/// Waits until the manifest's plugin `name` has this code; its words.
async fn told(gateway: &Gateway, name: &str, code: &str) -> String {
    eventually(&format!("{name} is told as {code}"), || async {
        let status = gateway.get("/plugins").await;
        let mut plugins = status["plugins"].as_array()?.iter();
        let plugin = plugins.find(|plugin| plugin["name"] == name)?;
        let error = plugin["error"].as_str()?.to_owned();
        assert!(
            plugin["code"] == code,
            "{name}: {} instead of {code}: {error}",
            plugin["code"]
        );
        Some(error)
    })
    .await
}

/// The same bytes for the same seed, without a pattern.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// The bytes of a length in WebAssembly.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A component with so many instances of an empty module behind everything else.
fn with_instances(count: usize) -> Vec<u8> {
    let mut component = Validator::new(ACCEPT).build();
    let mut at = 8;
    let mut modules = 0;
    while at < component.len() {
        let id = component[at];
        let (mut size, mut shift) = (0, 0);
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
        modules += usize::from(id == 1);
    }
    let mut section = |id: u8, content: Vec<u8>| {
        component.push(id);
        component.extend(leb(content.len()));
        component.extend(content);
    };
    section(1, b"\0asm\x01\0\0\0".to_vec());
    let mut instances = leb(count);
    for _ in 0..count {
        instances.push(0);
        instances.extend(leb(modules));
        instances.push(0);
    }
    section(2, instances);
    component
}

/// A small function that takes long and much to compile: every loop goes over hundreds of variables.
fn bomb(loops: usize) -> Validator {
    const VARIABLES: usize = 400;
    let locals = "i32 ".repeat(VARIABLES);
    let body: String = (0..loops)
        .map(|n| {
            let (a, b, c) = (n % VARIABLES, n * 7 % VARIABLES, n * 13 % VARIABLES);
            format!(
                "(loop $l{n} (local.set {a} (i32.add (local.get {b}) (local.get {c}))) (br_if $l{n} (local.get {a})) "
            )
        })
        .collect();
    let ends = ")".repeat(loops);
    Validator::new(ACCEPT).with(&format!(
        "(func (export \"bomb\") (local {locals}) {body}{ends})"
    ))
}

fn alone(name: &str, path: &Path) -> Manifest {
    Manifest::empty().plugin(name, "validator", path.to_owned(), "")
}

/// How often the gateway has compiled.
fn compilations(gateway: &Gateway) -> usize {
    gateway.log().matches("compiled a component").count()
}

async fn is_untouched(gateway: &Gateway, revision: &Value) {
    let status = gateway.get("/plugins").await;
    assert_eq!(&status["revision"], revision);
    let body = gateway.refused(&gateway.request("hello")).await;
    assert_eq!(body["code"], "rejected-by-guest", "{body}");
}

#[tokio::test]
async fn what_cannot_be_loaded_leaves_the_active_set_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with()
        .plugins(&Manifest::empty().guest("rejects", "validator"))
        .start()
        .await;
    let revision = gateway.get("/plugins").await["revision"].clone();
    let before = gateway.memory();

    let whole = std::fs::read(guest("denies-all")).unwrap();
    let header = &whole[..8];
    let starts_looping = Validator::new(ACCEPT).with("(func $s (loop $l (br $l))) (start $s)");
    let machine_code = std::fs::read_dir(gateway.data().join("cache/wasm")).unwrap();
    let machine_code = machine_code.flatten().next().unwrap().path();
    let machine_code = std::fs::read(machine_code).unwrap()[32..].to_vec();
    assert!(machine_code.starts_with(b"\x7fELF"));
    let mut half_noise = whole[..whole.len() / 2].to_vec();
    half_noise.extend(noise(7, whole.len() / 2));

    for (name, bytes, code, words) in [
        ("nothing", Vec::new(), "plugin-not-a-component", "magic"),
        ("noise", noise(1, 10_000), "plugin-not-a-component", "magic"),
        (
            "noise-in-a-component",
            [header, &noise(2, 10_000)].concat(),
            "plugin-compile-failed",
            "not valid",
        ),
        (
            "half-noise",
            half_noise,
            "plugin-compile-failed",
            "not valid",
        ),
        (
            "truncated",
            whole[..whole.len() - 7].to_vec(),
            "plugin-compile-failed",
            "not valid",
        ),
        (
            "core-module",
            b"\0asm\x01\0\0\0".to_vec(),
            "plugin-core-module",
            "wasm32-wasip2",
        ),
        // Machine code that somebody else compiled is never taken for a component.
        ("cwasm", machine_code, "plugin-not-a-component", "magic"),
        (
            "large",
            [header, &vec![0; 100 << 20]].concat(),
            "plugin-too-large",
            "max_component_size",
        ),
        (
            "start",
            starts_looping.build(),
            "plugin-trial-failed",
            "takes too long",
        ),
        (
            "instances",
            with_instances(900),
            "plugin-compile-failed",
            "maximum of 60",
        ),
        (
            "more-instances",
            with_instances(10_000),
            "plugin-compile-failed",
            "instances",
        ),
    ] {
        let path = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).unwrap();
        write(&gateway, &alone(name, &path));
        let error = told(&gateway, name, code).await;
        assert!(error.contains(words), "{name}: {error}");
        is_untouched(&gateway, &revision).await;
    }
    let grown = gateway.peak_memory().saturating_sub(before);
    println!("it grew by {} KiB", grown >> 10);
    assert!(grown < 192 << 20, "it grew by {grown} bytes");
}

#[tokio::test]
async fn an_import_that_is_not_offered_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with()
        .plugins(&Manifest::empty().guest("rejects", "validator"))
        .start()
        .await;
    let revision = gateway.get("/plugins").await["revision"].clone();
    let imports = [
        ("wasi:http", "outgoing-handler@0.2.0"),
        ("wasi:keyvalue", "store@0.2.0"),
        ("wasi:logging", "logging@0.1.0"),
        ("wasi:config", "runtime@0.2.0"),
        ("wasi:nn", "inference@0.2.0"),
        ("wasi:filesystem", "types@0.3.0"),
        ("wasi:sockets", "types@0.3.0"),
        ("wasi:random", "random@0.3.0"),
        ("wasi:clocks", "monotonic-clock@0.3.0"),
        ("wasi:cli", "environment@0.3.0"),
        ("wasi:cli", "environment"),
        ("evil:host", "process@1.0.0"),
    ];
    for (n, (package, interface)) in imports.into_iter().enumerate() {
        let (interface, version) = match interface.split_once('@') {
            Some((interface, version)) => (interface, format!("@{version}")),
            None => (interface, String::new()),
        };
        let import = format!("{package}/{interface}{version}");
        let text = format!("package {package}{version}; interface {interface} {{ f: func(); }}");
        let validator = Validator::new(&format!("(call $f) {ACCEPT}"))
            .importing(&format!("(import \"{import}\" \"f\" (func $f))"))
            .also(&format!("import {import};"), &[&text]);
        let name = format!("import-{n}");
        write(
            &gateway,
            &alone(&name, &validator.file(folder.path(), &name)),
        );
        let error = told(&gateway, &name, "plugin-import-refused").await;
        assert!(error.contains(&format!("`{import}`")), "{error}");
    }
    is_untouched(&gateway, &revision).await;
}

#[tokio::test]
async fn a_component_that_is_made_to_be_slow_to_compile_ends_at_a_bound_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = bomb(6000).file(folder.path(), "bomb");
    for (time, memory, words) in [
        (
            "1s",
            "2GiB",
            "more than 1 s of processor time (plugins.compile_time)",
        ),
        (
            "60s",
            "128MiB",
            "more than 128 MiB of memory (plugins.compile_memory)",
        ),
    ] {
        let gateway = Gateway::with()
            .plugins(&Manifest::empty().guest("rejects", "validator"))
            .env("GATEHOUSE__PLUGINS__COMPILE_TIME", time)
            .env("GATEHOUSE__PLUGINS__COMPILE_MEMORY", memory)
            .start()
            .await;
        let revision = gateway.get("/plugins").await["revision"].clone();
        let before = gateway.memory();
        write(&gateway, &alone("bomb", &bomb));
        gateway.process_named("compile-component").await;
        // Requests are answered while it is compiled.
        is_untouched(&gateway, &revision).await;
        let error = told(&gateway, "bomb", "plugin-compile-failed").await;
        assert!(error.contains(words), "{error}");
        is_untouched(&gateway, &revision).await;
        let grown = gateway.peak_memory().saturating_sub(before);
        assert!(grown < 64 << 20, "it grew by {grown} bytes");
        gateway.is_clean().await;
    }
}

#[tokio::test]
async fn a_compiler_that_stands_still_is_killed_and_one_whose_gateway_is_gone_ends() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = bomb(6000).file(folder.path(), "bomb");
    let mut gateway = Gateway::with()
        .plugins(&Manifest::empty().guest("rejects", "validator"))
        .env("GATEHOUSE__PLUGINS__COMPILE_TIME", "1s")
        .start()
        .await;
    write(&gateway, &alone("bomb", &bomb));
    gateway.process_named("compile-component").await.pause();
    let error = told(&gateway, "bomb", "plugin-compile-failed").await;
    assert!(error.contains("not compiled after 30 s"), "{error}");

    write(&gateway, &alone("again", &bomb));
    let child = gateway.process_named("compile-component").await;
    gateway.kill().await;
    eventually("the child is gone with its gateway", || async {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid));
        status
            .map_or(true, |text| text.contains("State:\tZ"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_component_is_compiled_once_by_whomever_and_however_often_it_is_used() {
    let settings = |turns: u32| format!("settings = {{ max_turns = {turns} }}");
    let rules = shipped("request-rules");
    let manifest = Manifest::empty()
        .plugin("few", "validator", rules.clone(), &settings(3))
        .plugin("many", "validator", rules.clone(), &settings(5))
        .guest("denies-all", "tool-permission");
    let mut gateway = Gateway::with()
        .on_an_empty_disk()
        .scenario("one-bash-call")
        .plugins(&manifest)
        .start()
        .await;
    assert_eq!(compilations(&gateway), 2);
    let more = json!({"permissionMode": "bypassPermissions", "maxTurns": 2});
    gateway.ends(&gateway.request_with("run it", more)).await;
    gateway.stop().await;
    gateway.start_again().await;
    assert_eq!(compilations(&gateway), 2, "a restart finds them compiled");
    let logs = std::fs::read_dir(gateway.data().with_file_name("job-logs")).unwrap();
    for log in logs.flatten() {
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert!(
            !log.contains("compiled a component"),
            "jobs find them compiled: {log}"
        );
    }

    // Other settings or limits are another plugin of the same machine code.
    let stingy = format!(
        "{}\nlimits = {{ memory = \"64KiB\", output = \"4KiB\" }}",
        settings(3)
    );
    write(
        &gateway,
        &Manifest::empty().plugin("few", "validator", rules.clone(), &stingy),
    );
    told(&gateway, "few", "plugin-trial-failed").await;
    let answer = async |turns: u32| {
        let request = gateway.request_with("hello", json!({ "maxTurns": turns }));
        gateway.refused(&request).await["error"].to_string()
    };
    assert!(
        answer(4).await.contains('3'),
        "each keeps to its own settings"
    );
    write(
        &gateway,
        &Manifest::empty().plugin("few", "validator", rules, &settings(4)),
    );
    eventually("the new settings hold", || async {
        answer(7).await.contains('4').then_some(())
    })
    .await;
    assert_eq!(compilations(&gateway), 2);
}

#[tokio::test]
async fn a_compiled_form_that_was_tampered_with_is_compiled_again() {
    let manifest = Manifest::empty().guest("rejects", "validator");
    let mut gateway = Gateway::with()
        .on_an_empty_disk()
        .plugins(&manifest)
        .start()
        .await;
    assert_eq!(compilations(&gateway), 1);
    gateway.stop().await;
    let cache = gateway.data().join("cache/wasm");
    let file = std::fs::read_dir(&cache)
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    let mut content = std::fs::read(&file).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&file, &content).unwrap();

    gateway.start_again().await;
    let body = gateway.refused(&gateway.request("hello")).await;
    assert_eq!(body["code"], "rejected-by-guest", "{body}");
    assert_eq!(compilations(&gateway), 2);
    assert!(gateway.log().contains("content does not match its digest"));
}
