//! The contract as a page of the documentation: nothing on it that `wit/gatehouse.wit` does not say.

use std::fmt::Write as _;
use std::path::Path;

use wit_parser::{
    Docs, Enum, Function, FunctionKind, Handle, Interface, Record, Resolve, Type, TypeDef,
    TypeDefKind, Variant, World, WorldItem, WorldKey,
};

const PAGE: &str = "docs/reference/plugins/interfaces.md";

const INTRODUCTION: &str = "\
# The interfaces of the plugin contract

Made from [`wit/gatehouse.wit`](../../../wit/gatehouse.wit), which is what a plugin is built against; what is promised beside
the types stands in [the plugin contract](contract.md). It is written anew by
`GATEHOUSE_WRITE_REFERENCE=1 cargo test --manifest-path plugins/Cargo.toml -p contract`.
";

#[test]
fn the_reference_says_what_the_contract_says() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = page(&repository.join("wit/gatehouse.wit"));
    let place = repository.join(PAGE);
    if std::env::var_os("GATEHOUSE_WRITE_REFERENCE").is_some() {
        std::fs::write(&place, &page).unwrap();
    }
    let written = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(
        written == page,
        "{PAGE} is not what the contract says; write it anew by GATEHOUSE_WRITE_REFERENCE=1 and this test"
    );
}

fn page(wit: &Path) -> String {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).unwrap();
    let package = &resolve.packages[package];
    let mut page = Page {
        resolve: &resolve,
        text: INTRODUCTION.to_owned(),
    };
    page.heading(2, &format!("`{}`", package.name));
    page.docs(&package.docs);
    page.heading(2, "Worlds");
    page.line("| world | the plugin answers | and may use |");
    page.line("|---|---|---|");
    for world in package.worlds.values() {
        page.world(&resolve.worlds[*world]);
    }
    page.line("");
    for interface in package.interfaces.values() {
        page.interface(&resolve.interfaces[*interface]);
    }
    page.text.trim_end().to_owned() + "\n"
}

struct Page<'a> {
    resolve: &'a Resolve,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn paragraph(&mut self, text: &str) {
        self.line(text.trim_end());
        self.line("");
    }

    fn heading(&mut self, level: usize, text: &str) {
        if !self.text.ends_with("\n\n") {
            self.line("");
        }
        self.paragraph(&format!("{} {text}", "#".repeat(level)));
    }

    fn docs(&mut self, docs: &Docs) {
        if let Some(text) = &docs.contents {
            self.paragraph(text);
        }
    }

    fn world(&mut self, world: &World) {
        let named = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
            let names = items.filter_map(|(key, _)| match key {
                WorldKey::Interface(id) => self.resolve.interfaces[*id].name.clone(),
                WorldKey::Name(name) => Some(name.clone()),
            });
            let links: Vec<String> = names.map(|name| format!("[`{name}`](#{name})")).collect();
            links.join(", ")
        };
        let exports = named(&mut world.exports.iter());
        let imports = named(&mut world.imports.iter());
        self.line(&format!("| `{}` | {exports} | {imports} |", world.name));
    }

    fn interface(&mut self, interface: &Interface) {
        let name = interface.name.as_deref().unwrap_or_default();
        self.heading(2, &format!("`{name}`"));
        self.docs(&interface.docs);
        for id in interface.types.values() {
            self.defined(&self.resolve.types[*id]);
        }
        let functions = interface.functions.values();
        let free: Vec<&Function> = functions
            .clone()
            .filter(|function| function.kind == FunctionKind::Freestanding)
            .collect();
        self.functions(&free);
        for (name, id) in &interface.types {
            let methods: Vec<&Function> = functions
                .clone()
                .filter(|function| function.kind == FunctionKind::Method(*id))
                .collect();
            if !methods.is_empty() {
                self.heading(3, &format!("resource `{name}`"));
                self.docs(&self.resolve.types[*id].docs);
                self.functions(&methods);
            }
        }
    }

    fn defined(&mut self, defined: &TypeDef) {
        let name = defined.name.as_deref().unwrap_or_default();
        match &defined.kind {
            TypeDefKind::Record(Record { fields }) => {
                self.heading(3, &format!("record `{name}`"));
                self.docs(&defined.docs);
                self.rows(
                    "field",
                    fields
                        .iter()
                        .map(|field| {
                            (
                                format!("{}: {}", field.name, self.shown(&field.ty)),
                                &field.docs,
                            )
                        })
                        .collect(),
                );
            }
            TypeDefKind::Variant(Variant { cases }) => {
                self.heading(3, &format!("variant `{name}`"));
                self.docs(&defined.docs);
                self.rows(
                    "case",
                    cases
                        .iter()
                        .map(|case| {
                            let of = case.ty.as_ref().map(|of| format!("({})", self.shown(of)));
                            (
                                format!("{}{}", case.name, of.unwrap_or_default()),
                                &case.docs,
                            )
                        })
                        .collect(),
                );
            }
            TypeDefKind::Enum(Enum { cases }) => {
                self.heading(3, &format!("enum `{name}`"));
                self.docs(&defined.docs);
                self.rows(
                    "case",
                    cases
                        .iter()
                        .map(|case| (case.name.clone(), &case.docs))
                        .collect(),
                );
            }
            // A resource is told with its methods; an alias is of another interface's type.
            TypeDefKind::Resource | TypeDefKind::Type(_) => {}
            other => panic!("{} is new in the contract: {}", name, other.as_str()),
        }
    }

    fn functions(&mut self, functions: &[&Function]) {
        let rows = functions
            .iter()
            .map(|function| (self.signature(function), &function.docs));
        self.rows("function", rows.collect());
    }

    fn rows(&mut self, what: &str, rows: Vec<(String, &Docs)>) {
        if rows.is_empty() {
            return;
        }
        self.line(&format!("| {what} | |"));
        self.line("|---|---|");
        for (code, docs) in rows {
            let docs = docs.contents.as_deref().unwrap_or_default();
            let docs = docs.split_whitespace().collect::<Vec<_>>().join(" ");
            self.line(&format!("| `{code}` | {docs} |"));
        }
        self.line("");
    }

    fn signature(&self, function: &Function) -> String {
        // The first one of a method is the resource itself.
        let own = usize::from(matches!(function.kind, FunctionKind::Method(_)));
        let params = function.params.iter().skip(own);
        let params = params.map(|param| format!("{}: {}", param.name, self.shown(&param.ty)));
        let params = params.collect::<Vec<_>>().join(", ");
        let mut text = format!("{}: func({params})", function.item_name());
        if let Some(result) = &function.result {
            write!(text, " -> {}", self.shown(result)).unwrap();
        }
        text
    }

    fn shown(&self, shown: &Type) -> String {
        let Type::Id(id) = shown else {
            return match shown {
                Type::Bool => "bool",
                Type::U8 => "u8",
                Type::U16 => "u16",
                Type::U32 => "u32",
                Type::U64 => "u64",
                Type::S64 => "s64",
                Type::S32 => "s32",
                Type::F64 => "f64",
                Type::String => "string",
                other => panic!("{other:?} is new in the contract"),
            }
            .to_owned();
        };
        let defined = &self.resolve.types[*id];
        if let Some(name) = &defined.name {
            return name.clone();
        }
        match &defined.kind {
            TypeDefKind::Option(of) => format!("option<{}>", self.shown(of)),
            TypeDefKind::List(of) => format!("list<{}>", self.shown(of)),
            TypeDefKind::Tuple(of) => {
                let types: Vec<String> = of.types.iter().map(|of| self.shown(of)).collect();
                format!("tuple<{}>", types.join(", "))
            }
            TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                (None, None) => "result".to_owned(),
                (Some(ok), None) => format!("result<{}>", self.shown(ok)),
                (ok, Some(err)) => {
                    let ok = ok
                        .as_ref()
                        .map_or_else(|| "_".to_owned(), |ok| self.shown(ok));
                    format!("result<{ok}, {}>", self.shown(err))
                }
            },
            TypeDefKind::Handle(Handle::Own(of)) => self.shown(&Type::Id(*of)),
            other => panic!("{} is new in the contract", other.as_str()),
        }
    }
}
