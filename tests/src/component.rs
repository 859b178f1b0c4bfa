//! Components written by hand, for what no compiler would build: a module in WebAssembly's text format, made
//! a component of a world by its types.

use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding};

use crate::repository;

/// A validator that accepts every request, but for what is written over it.
#[derive(Clone, Debug)]
pub struct Validator {
    body: String,
    imports: String,
    more: String,
    /// The linear memory, in pages: what it begins with, and the most.
    memory: &'static str,
    /// Further imports and exports, in WIT, and the packages that they need.
    world: String,
    packages: Vec<String>,
}

impl Validator {
    /// `body` is that of `validate`: `$task` is its parameter, and what it leaves on the stack the address
    /// of its answer. `i32.const 2048` accepts: there memory is zero.
    pub fn new(body: &str) -> Self {
        Self {
            body: body.to_owned(),
            imports: String::new(),
            more: String::new(),
            memory: "2",
            world: String::new(),
            packages: Vec::new(),
        }
    }

    /// Imports of the module.
    pub fn importing(mut self, imports: &str) -> Self {
        self.imports.push_str(imports);
        self
    }

    /// Further fields of the module.
    pub fn with(mut self, fields: &str) -> Self {
        self.more.push_str(fields);
        self
    }

    /// The linear memory as text: pages at first, and the most.
    pub fn memory(mut self, pages: &'static str) -> Self {
        self.memory = pages;
        self
    }

    /// Imports or exports beyond the world, in WIT, of `packages`.
    pub fn also(mut self, world: &str, packages: &[&str]) -> Self {
        self.world.push_str(world);
        self.packages
            .extend(packages.iter().map(|package| (*package).to_owned()));
        self
    }

    /// The component.
    pub fn build(&self) -> Vec<u8> {
        let module = format!(
            r#"(module
              {imports}
              (import "gatehouse:plugin/host@0.1.0" "log" (func $log (param i32 i32 i32)))
              (import "gatehouse:plugin/tasks@0.1.0" "[method]task.prompt" (func $prompt (param i32 i32)))
              (memory (export "memory") {memory})
              (global $free (mut i32) (i32.const 65536))
              ;; What it says about itself: at 64 four texts.
              (data (i32.const 16) "hostile0.1.0By hand.{{}}")
              (data (i32.const 64) "\10\00\00\00\07\00\00\00\17\00\00\00\05\00\00\00\1c\00\00\00\08\00\00\00\24\00\00\00\02\00\00\00")
              (func (export "gatehouse:plugin/about@0.1.0#describe") (result i32) (i32.const 64))
              (func (export "gatehouse:plugin/about@0.1.0#check-settings") (param i32 i32) (result i32)
                (i32.const 2048))
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.set $free (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
              (func $validate (export "gatehouse:plugin/validation@0.1.0#validate") (param $task i32) (result i32)
                {body})
              {more})"#,
            imports = self.imports,
            memory = self.memory,
            body = self.body,
            more = self.more,
        );
        let module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}"));
        self.encode(module)
    }

    fn encode(&self, mut module: Vec<u8>) -> Vec<u8> {
        let contract = repository().join("wit/gatehouse.wit");
        let contract = std::fs::read_to_string(contract).expect("the contract");
        let mut resolve = wit_parser::Resolve::default();
        let mut push = |text: &str| resolve.push_source("by-hand.wit", text).expect("WIT");
        push(&contract);
        for package in &self.packages {
            push(package);
        }
        let package = push(&format!(
            "package test:hostile; world hostile {{ include gatehouse:plugin/validator@0.1.0; {} }}",
            self.world
        ));
        let world = resolve.select_world(&[package], None).expect("one world");
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("types");
        ComponentEncoder::default()
            .module(&module)
            .and_then(|mut encoder| encoder.encode())
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The component as a file of this name.
    pub fn file(&self, directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(format!("{name}.wasm"));
        std::fs::write(&path, self.build()).expect("writable");
        path
    }
}
