//! Guests written by hand: what no toolchain makes. A core module that keeps the
//! contract, but for the part that a test changes.

use wasm_encoder::{
    CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, InstructionSink, MemorySection,
    MemoryType, Module, RefType, StartSection, TableSection, TableType, TypeSection, ValType,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where a guest may write what its verdict gives as the reason.
pub const REASON: i32 = 2_048;
const STRINGS: i32 = 1_024;
const DESCRIPTION: i32 = 1_100;
const RULE: i32 = 1_200;
const NOTHING: i32 = 1_300;
const LIST: i32 = 1_400;
pub const VERDICT: i32 = 1_500;
const HEAP: i32 = 1 << 16;
const PAGES: u64 = 64;

type Body = fn(&mut InstructionSink<'_>);

pub struct Raw {
    /// Of the contract that it imports.
    pub version: &'static str,
    /// What `verify` returns: where, how many.
    pub list: [u32; 2],
    /// Where `verify` says that is.
    pub list_at: i32,
    /// Its one verdict.
    pub reason: [u32; 2],
    pub reason_bytes: Vec<u8>,
    pub subject_tag: u8,
    pub rules: u32,
    /// What `cabi_realloc` returns instead of memory.
    pub realloc: Option<i32>,
    /// Before `verify` returns; local 1 to 3 are i32, 4 and 5 v128.
    pub verify: Body,
    pub start: Option<Body>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            version: "1.0.0",
            list: [VERDICT as u32, 1],
            list_at: LIST,
            reason: [REASON as u32, 0],
            reason_bytes: vec![],
            subject_tag: 2,
            rules: 1,
            realloc: None,
            verify: |_| {},
            start: None,
        }
    }
}

impl Raw {
    pub fn component(&self) -> Vec<u8> {
        let mut module = self.module().finish();
        let wit = include_str!("../../../../wit/verifier.wit");
        let mut resolve = Resolve::default();
        let package = resolve
            .push_str(
                "verifier.wit",
                &wit.replace("@1.0.0", &format!("@{}", self.version)),
            )
            .expect("the contract");
        let world = resolve
            .select_world(&[package], Some("verifier"))
            .expect("its world");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("a module");
        let mut encoder = ComponentEncoder::default()
            .module(&module)
            .expect("a guest");
        encoder.encode().expect("a component")
    }

    fn module(&self) -> Module {
        use ValType::{I32, V128};
        let mut types = TypeSection::new();
        types.ty().function([], [I32]);
        types.ty().function([I32; 4], [I32]);
        types.ty().function([I32; 2], [I32]);
        types.ty().function([I32; 1], [I32]);
        types.ty().function([], []);
        types.ty().function([I32; 3], []);
        let mut imports = ImportSection::new();
        let host = format!("auditchain:verifier/host@{}", self.version);
        imports.import(&host, "log", EntityType::Function(5));
        let mut functions = FunctionSection::new();
        for ty in [0, 1, 2, 3, 1, 4] {
            functions.function(ty);
        }
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: 1,
            maximum: None,
            shared: false,
        });
        let mut memories = MemorySection::new();
        memories.memory(memory(PAGES));
        let mut globals = GlobalSection::new();
        let mutable = GlobalType {
            val_type: I32,
            mutable: true,
            shared: false,
        };
        globals.global(mutable, &ConstExpr::i32_const(HEAP));
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        for (name, index) in ["describe", "prepare", "configure", "verify", "cabi_realloc"]
            .into_iter()
            .zip(1..)
        {
            exports.export(name, ExportKind::Func, index);
        }
        let mut code = CodeSection::new();
        let mut add = |locals: &[(u32, ValType)], body: &dyn Fn(&mut InstructionSink<'_>)| {
            let mut function = Function::new(locals.iter().copied());
            body(&mut function.instructions());
            function.instructions().end();
            code.function(&function);
        };
        for at in [DESCRIPTION, NOTHING, NOTHING] {
            add(&[], &|i| {
                i.i32_const(at);
            });
        }
        add(&[(3, I32), (2, V128)], &|i| {
            (self.verify)(i);
            i.i32_const(self.list_at);
        });
        add(&[], &|i| match self.realloc {
            Some(at) => {
                i.i32_const(at);
            }
            None => {
                i.global_get(0)
                    .local_get(2)
                    .i32_add()
                    .i32_const(1)
                    .i32_sub();
                i.i32_const(0).local_get(2).i32_sub().i32_and().local_tee(0);
                i.local_get(3).i32_add().global_set(0).local_get(0);
            }
        });
        add(&[], &|i| {
            if let Some(start) = self.start {
                start(i);
            }
        });
        let mut module = Module::new();
        module
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&tables)
            .section(&memories)
            .section(&globals)
            .section(&exports);
        if self.start.is_some() {
            module.section(&StartSection { function_index: 6 });
        }
        module.section(&code).section(&self.data());
        module
    }

    fn data(&self) -> DataSection {
        let mut data = DataSection::new();
        let mut put = |at: i32, bytes: Vec<u8>| {
            data.active(0, &ConstExpr::i32_const(at), bytes);
        };
        let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let strings = STRINGS as u32;
        put(STRINGS, b"raw1.0.0rt".to_vec());
        put(
            DESCRIPTION,
            words(&[strings, 3, strings + 3, 5, RULE as u32, self.rules, 0]),
        );
        put(RULE, words(&[strings + 8, 1, 0, strings + 9, 1]));
        put(LIST, words(&self.list));
        let tag = u32::from(self.subject_tag);
        let [reason, len] = self.reason;
        put(VERDICT, words(&[tag, 0, 1, 0, reason, len, 0, 0, 0]));
        put(REASON, self.reason_bytes.clone());
        data
    }
}

pub fn memory(minimum: u64) -> MemoryType {
    MemoryType {
        minimum,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    }
}
