//! One rule about a tool call in four other languages that a gateway could embed, each in its usual way:
//! compiled once, given the call as a value, asked for a verdict. `peers DIRECTORY` leaves the time of every
//! single call there, in Criterion's form; `scripts/bench/run.sh` puts them beside the same rule as a component.
//!
//! The rule is `tests/guests/examples/same-rule.rs`: all tools but three are denied, and so is a Bash
//! command with `sudo` or `rm -rf` in it.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const CALLS: usize = 3000;
/// As long as what they are compared with waits before each call.
const PAUSE: Duration = Duration::from_micros(200);

fn main() {
    let allowed = json!(["Write", "Read", "Bash"]);
    let fine = json!({"tool": "Bash", "input": {"command": "git log --oneline -5 && git diff HEAD~1 -- src"}});
    let bad = json!({"tool": "Bash", "input": {"command": "cd /tmp && sudo rm -rf /"}});
    let other = json!({"tool": "WebFetch", "input": {"url": "https://example.com"}});

    let directory = std::env::args()
        .nth(1)
        .expect("the directory for the results");
    for (name, mut engine) in engines(&allowed) {
        assert!(engine(&fine), "{name} denies what is allowed");
        assert!(!engine(&bad), "{name} allows a word that is denied");
        assert!(!engine(&other), "{name} allows another tool");
        let took = (0..CALLS).map(|_| {
            std::thread::sleep(PAUSE);
            let since = Instant::now();
            black_box(engine(black_box(&fine)));
            since.elapsed().as_nanos() as u64
        });
        let sample = json!({"times": took.collect::<Vec<_>>(), "iters": vec![1.0; CALLS]});
        let place = Path::new(&directory).join(format!("peers_{name}/new"));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("sample.json"), sample.to_string()).unwrap();
    }
}

/// Whether a call is allowed.
type Rule = Box<dyn FnMut(&Value) -> bool>;

fn engines(allowed: &Value) -> Vec<(&'static str, Rule)> {
    vec![
        ("lua", lua(allowed.clone())),
        ("lua-fresh", lua_fresh(allowed.clone())),
        ("rhai", rhai(allowed)),
        ("cel", cel(allowed)),
        ("rego", rego(allowed)),
    ]
}

const LUA: &str = r#"
function decide(tool, input, allowed)
  local is_allowed = false
  for _, name in ipairs(allowed) do if name == tool then is_allowed = true end end
  if not is_allowed then return false end
  if tool ~= "Bash" then return true end
  local command = input.command
  return not (command:find("sudo", 1, true) or command:find("rm -rf", 1, true))
end
"#;

fn ask_lua(lua: &mlua::Lua, call: &Value, allowed: &Value) -> bool {
    use mlua::LuaSerdeExt as _;
    let decide: mlua::Function = lua.globals().get("decide").unwrap();
    let arguments = (
        call["tool"].as_str().unwrap(),
        lua.to_value(&call["input"]).unwrap(),
        lua.to_value(allowed).unwrap(),
    );
    decide.call(arguments).unwrap()
}

/// One state for all calls: what one leaves in it, the next one finds.
fn lua(allowed: Value) -> Rule {
    let lua = mlua::Lua::new();
    lua.load(LUA).exec().unwrap();
    Box::new(move |call| ask_lua(&lua, call, &allowed))
}

/// A state for each call, as a component has an instance.
fn lua_fresh(allowed: Value) -> Rule {
    let code = mlua::Lua::new()
        .load(LUA)
        .into_function()
        .unwrap()
        .dump(true);
    Box::new(move |call| {
        let lua = mlua::Lua::new();
        let chunk = lua.load(&code[..]).set_mode(mlua::chunk::ChunkMode::Binary);
        chunk.exec().unwrap();
        ask_lua(&lua, call, &allowed)
    })
}

fn rhai(allowed: &Value) -> Rule {
    let engine = rhai::Engine::new();
    let rule = engine
        .compile(
            r#"
            if !(tool in allowed) { return false; }
            if tool != "Bash" { return true; }
            !(input.command.contains("sudo") || input.command.contains("rm -rf"))
            "#,
        )
        .unwrap();
    let allowed = rhai::serde::to_dynamic(allowed).unwrap();
    Box::new(move |call| {
        let mut scope = rhai::Scope::new();
        scope.push("tool", call["tool"].as_str().unwrap().to_owned());
        scope.push_dynamic("input", rhai::serde::to_dynamic(&call["input"]).unwrap());
        scope.push_dynamic("allowed", allowed.clone());
        engine.eval_ast_with_scope(&mut scope, &rule).unwrap()
    })
}

fn cel(allowed: &Value) -> Rule {
    let rule = cel::Program::compile(
        "tool in allowed && (tool != 'Bash' || !(input.command.contains('sudo') || input.command.contains('rm -rf')))",
    )
    .unwrap();
    let allowed = cel::to_value(allowed).unwrap();
    Box::new(move |call| {
        let mut context = cel::Context::default();
        context.add_variable("tool", &call["tool"]).unwrap();
        context.add_variable("input", &call["input"]).unwrap();
        context.add_variable_from_value("allowed", allowed.clone());
        rule.execute(&context).unwrap() == cel::Value::Bool(true)
    })
}

fn rego(allowed: &Value) -> Rule {
    let mut engine = regorus::Engine::new();
    let rule = r#"
        package gate
        import rego.v1
        default allow := false
        allow if { input.tool in data.allowed; not denied }
        denied if { input.tool == "Bash"; some word in ["sudo", "rm -rf"]; contains(input.input.command, word) }
    "#;
    engine.add_policy("gate.rego".into(), rule.into()).unwrap();
    let data = json!({"allowed": allowed}).to_string();
    engine
        .add_data(regorus::Value::from_json_str(&data).unwrap())
        .unwrap();
    Box::new(move |call| {
        // As its documentation advises: the prepared engine is cloned for each question.
        let mut engine = engine.clone();
        engine.set_input(regorus::Value::from_json_str(&call.to_string()).unwrap());
        engine
            .eval_bool_query("data.gate.allow".into(), false)
            .unwrap()
    })
}
