//! What is refused when a policy set is loaded, each with its exact error.

#![allow(clippy::cast_possible_truncation, reason = "test code")]

mod common;

use std::sync::Arc;

use auditchain_sandbox::{
    FailureKind, Limits, LimitsError, LoadProblem, MAX_MODULE_BYTES, MAX_POLICIES,
    MAX_RBAC_SNAPSHOT_BYTES, MAX_SETTINGS_BYTES, MAX_TEXT_BYTES, PolicySet, PolicySpec,
};
use common::{engine, hostile, hostile_module, load, raw, raw::Raw, recorded::snapshot};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, CodeSection, Component, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentTypeRef,
    ComponentTypeSection, ExportKind, ExportSection, Function, FunctionSection, InstanceSection,
    InstanceType, MemorySection, MemoryType, Module, ModuleSection, PrimitiveValType, TypeSection,
};

/// The problem of a set of one policy.
fn problem(spec: PolicySpec) -> LoadProblem {
    let error = load(&[spec]).expect_err("must not load");
    assert_eq!(error.policy, "bad");
    error.problem
}

fn behaving(behaviour: &str) -> LoadProblem {
    problem(hostile("bad", behaviour))
}

fn with_module(module: impl Into<Arc<[u8]>>) -> LoadProblem {
    problem(PolicySpec {
        module: module.into(),
        ..hostile("bad", "")
    })
}

/// A component that imports an empty instance of that name.
fn importing(name: &str) -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    types.instance(&InstanceType::new());
    let mut imports = ComponentImportSection::new();
    imports.import(name, ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component.finish()
}

/// A component that imports a function.
fn importing_function(name: &str) -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    nothing_to_nothing(&mut types);
    let mut imports = ComponentImportSection::new();
    imports.import(name, ComponentTypeRef::Func(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component.finish()
}

/// A component that exports functions that take and return nothing.
fn exporting(names: &[&str]) -> Vec<u8> {
    let mut core_types = TypeSection::new();
    core_types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut core_exports = ExportSection::new();
    core_exports.export("f", ExportKind::Func, 0);
    let mut body = Function::new([]);
    body.instructions().end();
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = Module::new();
    module
        .section(&core_types)
        .section(&functions)
        .section(&core_exports)
        .section(&code);

    let mut instances = InstanceSection::new();
    instances.instantiate::<_, &str>(0, []);
    let mut aliases = ComponentAliasSection::new();
    aliases.alias(Alias::CoreInstanceExport {
        instance: 0,
        kind: ExportKind::Func,
        name: "f",
    });
    let mut types = ComponentTypeSection::new();
    nothing_to_nothing(&mut types);
    let mut lifted = CanonicalFunctionSection::new();
    lifted.lift(0, 0, []);
    let mut exports = ComponentExportSection::new();
    for name in names {
        exports.export(*name, ComponentExportKind::Func, 0, None);
    }
    let mut component = Component::new();
    component
        .section(&ModuleSection(&module))
        .section(&instances)
        .section(&aliases)
        .section(&types)
        .section(&lifted)
        .section(&exports);
    component.finish()
}

fn nothing_to_nothing(types: &mut ComponentTypeSection) {
    let none: [(&str, PrimitiveValType); 0] = [];
    types.function().params(none).result(None);
}

#[test]
fn a_guest_that_behaves_loads_and_is_described() {
    let set = load(&[hostile("good", "")]).expect("loads");
    let policy = &set.policies()[0];
    assert_eq!(policy.name(), "good");
    assert_eq!(policy.settings(), r#"{"do":""}"#);
    assert_eq!(policy.description().name, "hostile");
    let rules: Vec<_> = policy
        .description()
        .rules
        .iter()
        .map(|rule| &*rule.id)
        .collect();
    assert_eq!(rules, ["seen", "bad"]);
}

#[test]
fn what_is_no_component_is_refused() {
    assert_eq!(with_module(Module::new().finish()), LoadProblem::CoreModule);
    assert!(matches!(with_module(*b"not wasm"), LoadProblem::Invalid(_)));
    assert!(matches!(with_module(*b""), LoadProblem::Invalid(_)));
    let half = hostile_module();
    assert!(matches!(
        with_module(&half[..half.len() / 2]),
        LoadProblem::Invalid(_)
    ));
    let too_large = vec![0; MAX_MODULE_BYTES + 1];
    assert_eq!(
        with_module(too_large),
        LoadProblem::ModuleTooLarge(MAX_MODULE_BYTES + 1)
    );
}

#[test]
fn another_world_is_refused_by_the_name_of_what_is_wrong() {
    for name in ["wasi:cli/environment@0.2.0", "wasi:clocks/wall-clock@0.2.0"] {
        assert_eq!(
            with_module(importing(name)),
            LoadProblem::Import(name.into())
        );
    }
    for name in [
        "auditchain:verifier/host@2.0.0",
        "auditchain:verifier/host@1.1.0",
        "auditchain:verifier/types@1.1.0",
        "auditchain:verifier/other@1.0.0",
    ] {
        let problem = with_module(importing(name));
        assert_eq!(problem, LoadProblem::Version(name.into()));
        let text = problem.to_string();
        assert!(
            text.contains("runs guests of \"auditchain:verifier/host@1.0.0\""),
            "{text}"
        );
    }
    // A function where only interfaces are offered.
    assert_eq!(
        with_module(importing_function("random")),
        LoadProblem::Import("random".into())
    );
    assert_eq!(
        with_module(Component::new().finish()),
        LoadProblem::MissingExport("describe")
    );
    let some = exporting(&["describe", "prepare", "configure"]);
    assert_eq!(with_module(some), LoadProblem::MissingExport("verify"));
    let all = exporting(&["describe", "prepare", "configure", "verify"]);
    assert!(matches!(with_module(all), LoadProblem::World(_)));
    let types_only = importing("auditchain:verifier/types@1.0.0");
    assert_eq!(
        with_module(types_only),
        LoadProblem::MissingExport("describe")
    );
}

#[test]
fn prepare_is_bounded_and_may_refuse() {
    assert_eq!(
        behaving("prepare-refuse"),
        LoadProblem::PrepareRefused("I will not".into())
    );
    let LoadProblem::PrepareRefused(reason) = behaving("prepare-refuse-at-length") else {
        panic!("refuses");
    };
    assert!(reason.len() <= MAX_TEXT_BYTES && reason.starts_with("no no"));
    for (behaviour, kind) in [
        ("prepare-spin", FailureKind::OutOfFuel),
        ("prepare-trap", FailureKind::Trap),
        ("prepare-flood", FailureKind::BadOutput),
        ("prepare-grow", FailureKind::MemoryLimit),
    ] {
        let problem = behaving(behaviour);
        assert!(
            matches!(&problem, LoadProblem::Prepare(failure) if failure.kind == kind),
            "{behaviour}: {problem}"
        );
    }
}

#[test]
fn configure_is_tried_within_the_limits_of_the_policy() {
    assert_eq!(
        behaving("configure-refuse"),
        LoadProblem::ConfigureRefused("not today".into())
    );
    for (behaviour, kind) in [
        ("configure-spin", FailureKind::OutOfFuel),
        ("configure-trap", FailureKind::Trap),
    ] {
        let problem = behaving(behaviour);
        assert!(
            matches!(&problem, LoadProblem::Configure(failure) if failure.kind == kind),
            "{behaviour}: {problem}"
        );
    }
}

#[test]
fn a_snapshot_goes_only_to_guests_that_ask_for_it() {
    // The guest refuses a snapshot; it does not ask for one.
    let specs = [hostile("bad", "prepare-snapshot")];
    assert!(PolicySet::load(engine(), &specs, &[snapshot(b"{}")]).is_ok());
    let large = vec![b' '; MAX_RBAC_SNAPSHOT_BYTES + 1];
    let error = PolicySet::load(engine(), &specs, &[snapshot(&large)]).expect_err("too large");
    assert_eq!(
        error.problem,
        LoadProblem::RbacSnapshotTooLarge(large.len())
    );
}

#[test]
fn policies_out_of_bounds_are_refused() {
    let named = |name: &str| {
        load(&[hostile(name, "")])
            .map(drop)
            .map_err(|error| error.problem)
    };
    for name in ["", "A", "a b", "a/b", "ä", &"a".repeat(64)] {
        assert_eq!(named(name), Err(LoadProblem::Name), "{name:?}");
    }
    assert_eq!(named(&"a".repeat(63)), Ok(()));

    let twice = [hostile("bad", ""), hostile("bad", "")];
    assert_eq!(
        load(&twice).expect_err("twice").problem,
        LoadProblem::DuplicateName
    );

    let limits = Limits {
        slice_events: 0,
        ..Limits::default()
    };
    let expected = LimitsError {
        field: "sliceEvents",
        value: 0,
        min: 1,
        max: 4_096,
    };
    assert_eq!(
        problem(PolicySpec {
            limits,
            ..hostile("bad", "")
        }),
        LoadProblem::Limits(expected)
    );

    let settings = serde_json::json!("x".repeat(MAX_SETTINGS_BYTES));
    assert_eq!(
        problem(PolicySpec {
            settings,
            ..hostile("bad", "")
        }),
        LoadProblem::SettingsTooLarge(MAX_SETTINGS_BYTES + 2)
    );
}

#[test]
fn a_set_has_a_largest_size() {
    let specs: Vec<_> = (0..=MAX_POLICIES)
        .map(|index| hostile(&format!("p{index}"), ""))
        .collect();
    let error = load(&specs).expect_err("one too many");
    assert_eq!(
        (error.policy.as_str(), error.problem),
        ("p32", LoadProblem::TooManyPolicies)
    );
    assert!(load(&specs[..2]).is_ok());
}

#[test]
fn settings_are_canonical() {
    let settings = serde_json::json!({"b": 1.0, "a": [true, null, "\u{e9}\u{7}"], "do": ""});
    let set = load(&[PolicySpec {
        settings,
        ..hostile("good", "")
    }])
    .expect("loads");
    let policy = &set.policies()[0];
    assert_eq!(
        policy.settings(),
        "{\"a\":[true,null,\"é\\u0007\"],\"b\":1,\"do\":\"\"}"
    );
    let again = load(&[PolicySpec {
        settings: serde_json::from_str(policy.settings()).expect("JSON"),
        ..hostile("good", "")
    }])
    .expect("loads");
    assert_eq!(
        policy.settings_digest(),
        again.policies()[0].settings_digest()
    );
    assert_eq!(policy.module_digest(), again.policies()[0].module_digest());
}

/// A component with a core module of these memories.
fn with_memories(memories: &[MemoryType]) -> LoadProblem {
    let mut section = MemorySection::new();
    for memory in memories {
        section.memory(*memory);
    }
    let mut module = Module::new();
    module.section(&section);
    let mut component = Component::new();
    component.section(&ModuleSection(&module));
    with_module(component.finish())
}

fn assert_invalid(problem: &LoadProblem, says: &str) {
    let LoadProblem::Invalid(reason) = problem else {
        panic!("{problem}");
    };
    assert!(reason.contains(says), "{reason}");
}

#[test]
fn guests_of_other_versions_are_refused_by_their_version() {
    assert!(load(&[with("good", &Raw::default())]).is_ok());
    for version in ["1.1.0", "1.0.1", "2.0.0"] {
        let raw = Raw {
            version,
            ..Raw::default()
        };
        let LoadProblem::Version(name) = with_module(raw.component()) else {
            panic!("{version} is another version");
        };
        assert!(name.ends_with(&format!("@{version}")), "{name}");
    }
}

fn with(name: &str, raw: &Raw) -> PolicySpec {
    PolicySpec {
        module: raw.component().into(),
        ..hostile(name, "")
    }
}

#[test]
fn shared_several_and_large_memories_are_refused() {
    let shared = MemoryType {
        maximum: Some(1),
        shared: true,
        ..raw::memory(1)
    };
    assert_invalid(&with_memories(&[shared]), "threads must be enabled");
    let two = [raw::memory(1); 2];
    assert_invalid(&with_memories(&two), "multiple memories");
    let large = MemoryType {
        memory64: true,
        ..raw::memory(1)
    };
    assert_invalid(&with_memories(&[large]), "memory64");
}

#[test]
fn a_start_function_that_loops_runs_out_of_fuel() {
    let raw = Raw {
        start: Some(|i| {
            i.loop_(wasm_encoder::BlockType::Empty).br(0).end();
        }),
        ..Raw::default()
    };
    let problem = with_module(raw.component());
    assert!(
        matches!(&problem, LoadProblem::Describe(failure) if failure.kind == FailureKind::OutOfFuel),
        "{problem}"
    );
}

#[test]
fn a_description_that_lies_about_its_length_is_refused() {
    let raw = Raw {
        rules: u32::MAX,
        ..Raw::default()
    };
    let problem = with_module(raw.component());
    assert!(
        matches!(&problem, LoadProblem::Describe(failure) if failure.kind == FailureKind::BadOutput),
        "{problem}"
    );
}

#[test]
fn machine_code_is_never_run() {
    let compiled = wasmtime::Engine::default()
        .precompile_component(&hostile_module())
        .expect("compiles");
    assert_eq!(with_module(compiled), LoadProblem::Precompiled);
}

/// A hundred thousand components of a megabyte took the compiler all memory there was.
#[test]
fn nesting_is_bounded() {
    // Each around the next, as many as a module has room for by thousands.
    let header = Component::new().finish();
    let mut sizes = vec![header.len()];
    for _ in 0..100_000 {
        let inner = sizes[sizes.len() - 1];
        sizes.push(header.len() + 1 + leb(inner).len() + inner);
    }
    let mut nested = Vec::new();
    for inner in sizes.iter().rev().skip(1) {
        nested.extend(&header);
        nested.push(wasm_encoder::ComponentSectionId::Component.into());
        nested.extend(leb(*inner));
    }
    nested.extend(&header);
    assert_eq!(nested.len(), sizes[sizes.len() - 1]);
    assert_eq!(with_module(nested), LoadProblem::TooManyParts(100_000));

    let mut types = ComponentTypeSection::new();
    types.defined_type().list(PrimitiveValType::U8);
    for inner in 0..10_000 {
        let inner = wasm_encoder::ComponentValType::Type(inner);
        types.defined_type().list(inner);
    }
    let mut component = Component::new();
    component.section(&types);
    let problem = with_module(component.finish());
    assert!(
        matches!(
            problem,
            LoadProblem::Invalid(_) | LoadProblem::MissingExport("describe")
        ),
        "{problem}"
    );
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = vec![];
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
