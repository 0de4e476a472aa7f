//! Loads a policy: compiles its module, sees that it is a guest, asks it what it
//! is, and has it prepare its settings.
//!
//! What can be found wrong is found here, before any event depends on it.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::component::{Component, Linker, types::ComponentItem};

use crate::{
    Description, DescriptionError, Engine, Failure, FailureKind, LimitsError, LoadedPolicy,
    PolicySpec, RbacSnapshot,
    bindings::VerifierPre,
    imports::{self, BODY_FUNCTION, HOST_INTERFACE, PACKAGE, TYPES_INTERFACE},
    instance::{Grant, Instance, cut},
    limits::MAX_MEMORY_BYTES,
    spec::{MAX_POLICY_NAME_BYTES, is_policy_name},
    state::{Bodies, State},
};

/// Size of a component; the default guests have some 200 KB.
pub const MAX_MODULE_BYTES: usize = 16 << 20;
/// Core modules and components inside a component, at any depth; one that wit-component
/// made has three. Each costs the compiler memory, and an empty one has but nine bytes.
pub const MAX_PARTS: usize = 64;
/// Size of the settings as JSON.
pub const MAX_SETTINGS_BYTES: usize = 1 << 20;
/// Size of an RBAC snapshot, or of all that are in question together; that of a large
/// cluster has some 10 MB.
pub const MAX_RBAC_SNAPSHOT_BYTES: usize = 64 << 20;
/// Size of what `prepare` returns; every fresh instance copies it.
pub const MAX_PREPARED_BYTES: usize = 16 << 20;
/// Fuel of `describe` and `prepare`: for a snapshot of 10 MB, some ten times what
/// parsing takes.
const PREPARE_FUEL: u64 = 4_000_000_000;
/// What a guest exports.
const EXPORTS: [&str; 4] = ["describe", "prepare", "configure", "verify"];

/// A policy that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[error("policy {policy:?}: {problem}")]
pub struct LoadError {
    /// Its name.
    pub policy: String,
    /// What is wrong with it.
    #[source]
    pub problem: LoadProblem,
}

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadProblem {
    /// Not a name.
    #[error("its name must be 1 to {MAX_POLICY_NAME_BYTES} characters of a-z, 0-9 and \"-\"")]
    Name,
    /// Another policy of the set has the name.
    #[error("another policy of the set has its name")]
    DuplicateName,
    /// One more than a set may have.
    #[error("a set has at most {max} policies", max = crate::MAX_POLICIES)]
    TooManyPolicies,
    /// A limit that is out of range.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Settings over [`MAX_SETTINGS_BYTES`].
    #[error("its settings have {0} bytes; at most {MAX_SETTINGS_BYTES} are allowed")]
    SettingsTooLarge(usize),
    /// Settings that are no canonical JSON.
    #[error("its settings cannot be written as canonical JSON: {0}")]
    Settings(String),
    /// Snapshots over [`MAX_RBAC_SNAPSHOT_BYTES`].
    #[error("the RBAC snapshot has {0} bytes; at most {MAX_RBAC_SNAPSHOT_BYTES} are allowed")]
    RbacSnapshotTooLarge(usize),
    /// A module over [`MAX_MODULE_BYTES`].
    #[error("its module has {0} bytes; at most {MAX_MODULE_BYTES} are allowed")]
    ModuleTooLarge(usize),
    /// A core module.
    #[error("its module is a core WebAssembly module; a guest is a component")]
    CoreModule,
    /// Machine code that an engine compiled before.
    #[error(
        "its module is precompiled machine code, which is never run; give the component \
         that it was made from"
    )]
    Precompiled,
    /// More modules and components inside it than [`MAX_PARTS`].
    #[error("its module is made of {0} modules and components; at most {MAX_PARTS} are allowed")]
    TooManyParts(usize),
    /// Not a component that this engine compiles.
    #[error("its module is no valid component: {0}")]
    Invalid(String),
    /// It wants something that guests do not get.
    #[error(
        "its module imports {0:?}; a guest gets {HOST_INTERFACE:?} and nothing else: no \
         WASI, no clock, no randomness"
    )]
    Import(String),
    /// It was made for another version of the contract.
    #[error(
        "its module imports {0:?}; this program runs guests of {HOST_INTERFACE:?}: build it \
         against that version"
    )]
    Version(String),
    /// It lacks a function of the contract.
    #[error("its module does not export {0:?}, as world auditchain:verifier/verifier@1.0.0 asks")]
    MissingExport(&'static str),
    /// A function of the contract has another type.
    #[error("its module does not fit world auditchain:verifier/verifier@1.0.0: {0}")]
    World(String),
    /// It could not be started or asked what it is.
    #[error("its module failed to describe itself: {0}")]
    Describe(Failure),
    /// What it says of itself breaks the contract.
    #[error("its module's description: {0}")]
    Description(#[from] DescriptionError),
    /// It refused the settings or the snapshot.
    #[error("its module refused the settings: {0}")]
    PrepareRefused(String),
    /// `prepare` failed.
    #[error("its module failed to prepare: {0}")]
    Prepare(Failure),
    /// It refused what it prepared.
    #[error("its module refused what it had prepared: {0}")]
    ConfigureRefused(String),
    /// `configure` failed, within the limits of the policy.
    #[error("its module failed to configure: {0}")]
    Configure(Failure),
}

/// Loads one policy; the caller has checked that its name is free.
pub(crate) fn load(
    engine: &Engine,
    spec: &PolicySpec,
    rbac_snapshots: &[RbacSnapshot<'_>],
) -> Result<LoadedPolicy, LoadProblem> {
    if !is_policy_name(&spec.name) {
        return Err(LoadProblem::Name);
    }
    spec.limits.check()?;
    let settings = canonical(&spec.settings)?;
    let size = rbac_snapshots.iter().map(|snapshot| snapshot.json.len());
    let size = size.fold(0, usize::saturating_add);
    if size > MAX_RBAC_SNAPSHOT_BYTES {
        return Err(LoadProblem::RbacSnapshotTooLarge(size));
    }
    let module_digest = Sha256::digest(&spec.module).into();
    let Compiled {
        guest,
        reads_bodies,
    } = engine.compiled(module_digest, || Compiled::new(engine, &spec.module))?;

    let name: Arc<str> = spec.name.as_str().into();
    let description = describe(engine, &guest, &name)?;
    let snapshots = if description.needs_rbac_snapshot {
        rbac_snapshots
    } else {
        &[]
    };
    let prepared = prepare(engine, &guest, &name, &settings, snapshots)?;
    let policy = LoadedPolicy {
        name,
        module_digest,
        settings_digest: Sha256::digest(&settings).into(),
        settings: settings.into(),
        mode: spec.mode,
        limits: spec.limits,
        description: Arc::new(description),
        reads_bodies,
        guest,
        prepared: prepared.into(),
        suspended: false,
    };
    try_configure(engine, &policy)?;
    Ok(policy)
}

/// See [`describe_module`](crate::describe_module).
pub(crate) fn describe_module(engine: &Engine, module: &[u8]) -> Result<Description, LoadProblem> {
    let digest = Sha256::digest(module).into();
    let Compiled { guest, .. } = engine.compiled(digest, || Compiled::new(engine, module))?;
    describe(engine, &guest, &Arc::from("module"))
}

/// A module that is a guest, compiled and linked: what the engine keeps, so that a
/// new snapshot or other settings need no compiler.
#[derive(Clone)]
pub(crate) struct Compiled {
    guest: VerifierPre<State>,
    /// Whether it can ask for bodies.
    reads_bodies: bool,
}

impl Compiled {
    fn new(engine: &Engine, module: &[u8]) -> Result<Self, LoadProblem> {
        let component = compile(engine, module)?;
        let reads_bodies = check_imports(engine, &component)?;
        check_exports(engine, &component)?;
        Ok(Self {
            guest: link(engine, &component)?,
            reads_bodies,
        })
    }
}

fn canonical(settings: &serde_json::Value) -> Result<String, LoadProblem> {
    let mut canonical = Vec::new();
    auditchain_log::json::canonicalize(settings.to_string().as_bytes(), &mut canonical)
        .map_err(|error| LoadProblem::Settings(error.to_string()))?;
    if canonical.len() > MAX_SETTINGS_BYTES {
        return Err(LoadProblem::SettingsTooLarge(canonical.len()));
    }
    String::from_utf8(canonical).map_err(|error| LoadProblem::Settings(error.to_string()))
}

pub(crate) fn compile(engine: &Engine, module: &[u8]) -> Result<Component, LoadProblem> {
    if module.len() > MAX_MODULE_BYTES {
        return Err(LoadProblem::ModuleTooLarge(module.len()));
    }
    if wasmtime::Engine::detect_precompiled(module).is_some() {
        return Err(LoadProblem::Precompiled);
    }
    if module.get(4..8) == Some(&[1, 0, 0, 0]) {
        return Err(LoadProblem::CoreModule);
    }
    let parts = parts(module);
    if parts > MAX_PARTS {
        return Err(LoadProblem::TooManyParts(parts));
    }
    Component::new(engine.wasmtime(), module)
        .map_err(|error| LoadProblem::Invalid(format!("{error:#}")))
}

/// Counts the core modules and components inside a component. What is no section ends
/// the count; the compiler says what is wrong with it.
fn parts(component: &[u8]) -> usize {
    const HEADER_BYTES: usize = 8;
    const CORE_MODULE: u8 = 1;
    const COMPONENT: u8 = 4;
    let mut parts = 0;
    let mut rest = component.get(HEADER_BYTES..).unwrap_or_default();
    while let [id, sized @ ..] = rest {
        let Some((size, content)) = leb128_u32(sized) else {
            break;
        };
        parts += usize::from(matches!(*id, CORE_MODULE | COMPONENT));
        // A component's own sections are counted like those beside it.
        let skipped = if *id == COMPONENT { HEADER_BYTES } else { size };
        rest = content.get(skipped..).unwrap_or_default();
    }
    parts
}

fn leb128_u32(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[at + 1..]));
        }
    }
    None
}

/// Whether the guest can ask for bodies.
fn check_imports(engine: &Engine, component: &Component) -> Result<bool, LoadProblem> {
    let engine = engine.wasmtime();
    let mut reads_bodies = false;
    for (name, import) in component.component_type().imports(engine) {
        match (name, import.ty) {
            (TYPES_INTERFACE, _) => {}
            (HOST_INTERFACE, ComponentItem::ComponentInstance(host)) => {
                reads_bodies = host.get_export(engine, BODY_FUNCTION).is_some();
            }
            _ if name.starts_with(PACKAGE) => {
                return Err(LoadProblem::Version(cut(name.to_owned())));
            }
            _ => return Err(LoadProblem::Import(cut(name.to_owned()))),
        }
    }
    Ok(reads_bodies)
}

fn check_exports(engine: &Engine, component: &Component) -> Result<(), LoadProblem> {
    for export in EXPORTS {
        let item = component
            .component_type()
            .get_export(engine.wasmtime(), export)
            .map(|export| export.ty);
        if !matches!(item, Some(ComponentItem::ComponentFunc(_))) {
            return Err(LoadProblem::MissingExport(export));
        }
    }
    Ok(())
}

fn link(engine: &Engine, component: &Component) -> Result<VerifierPre<State>, LoadProblem> {
    let world = |error: wasmtime::Error| LoadProblem::World(format!("{error:#}"));
    let mut linker = Linker::new(engine.wasmtime());
    imports::link(&mut linker).map_err(world)?;
    let guest = linker.instantiate_pre(component).map_err(world)?;
    VerifierPre::new(guest).map_err(world)
}

fn describe(
    engine: &Engine,
    guest: &VerifierPre<State>,
    policy: &Arc<str>,
) -> Result<Description, LoadProblem> {
    let mut instance = start(engine, guest, policy).map_err(|failure| match failure.kind {
        // The types of the exports are looked at when the first instance is made.
        FailureKind::Host => LoadProblem::World(failure.detail),
        _ => LoadProblem::Describe(failure),
    })?;
    let given = instance.describe().map_err(LoadProblem::Describe)?;
    Ok(Description::check(given)?)
}

fn prepare(
    engine: &Engine,
    guest: &VerifierPre<State>,
    policy: &Arc<str>,
    settings: &str,
    rbac_snapshots: &[RbacSnapshot<'_>],
) -> Result<Vec<u8>, LoadProblem> {
    start(engine, guest, policy)
        .and_then(|mut instance| instance.prepare(settings, rbac_snapshots))
        .map_err(LoadProblem::Prepare)?
        .map_err(|refusal| LoadProblem::PrepareRefused(cut(refusal)))
}

fn start<'e>(
    engine: &'e Engine,
    guest: &VerifierPre<State>,
    policy: &Arc<str>,
) -> Result<Instance<'e>, Failure> {
    let grant = Grant {
        memory_bytes: MAX_MEMORY_BYTES,
        fuel: PREPARE_FUEL,
        output_bytes: MAX_PREPARED_BYTES as u64,
    };
    Instance::start(engine, guest, policy, grant, Bodies::default())
}

/// What every slice begins with, within what an empty slice may use up.
fn try_configure(engine: &Engine, policy: &LoadedPolicy) -> Result<(), LoadProblem> {
    let configured = Instance::start(
        engine,
        &policy.guest,
        &policy.name,
        policy.grant(0, 0),
        Bodies::default(),
    )
    .and_then(|mut instance| instance.configure(&policy.prepared));
    configured.map_err(|failure| match failure.kind {
        FailureKind::ConfigureRefused => LoadProblem::ConfigureRefused(failure.detail),
        _ => LoadProblem::Configure(failure),
    })
}
