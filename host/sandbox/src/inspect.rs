//! What a module is, for people: what it imports and exports, whether or not a policy
//! could be made of it, and what its guest says of itself.

use std::fmt;

use wasmtime::component::types::ComponentItem;

use crate::{Description, Engine, LoadProblem, load};

/// What a component imports and exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// In the component's order.
    pub imports: Vec<Item>,
    /// In the component's order.
    pub exports: Vec<Item>,
}

/// An import or an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Of an interface: what is in it.
    pub members: Vec<String>,
}

impl Interface {
    /// Compiles the module, and runs nothing of it.
    ///
    /// # Errors
    /// It is no component.
    pub fn of(engine: &Engine, module: &[u8]) -> Result<Self, LoadProblem> {
        let component = load::compile(engine, module)?;
        let component = component.component_type();
        let engine = engine.wasmtime();
        let item = |name: &str, item: &ComponentItem| Item {
            name: name.to_owned(),
            members: match item {
                ComponentItem::ComponentInstance(instance) => instance
                    .exports(engine)
                    .map(|(name, _)| name.to_owned())
                    .collect(),
                _ => Vec::new(),
            },
        };
        Ok(Self {
            imports: component
                .imports(engine)
                .map(|(name, import)| item(name, &import.ty))
                .collect(),
            exports: component
                .exports(engine)
                .map(|(name, export)| item(name, &export.ty))
                .collect(),
        })
    }
}

/// What a module's guest says of itself, whatever settings it wants.
///
/// # Errors
/// It is no guest.
pub fn describe_module(engine: &Engine, module: &[u8]) -> Result<Description, LoadProblem> {
    load::describe_module(engine, module)
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.members.is_empty() {
            write!(f, ": {}", self.members.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EngineOptions, ModuleRef, builtin_module};

    #[test]
    fn a_default_guest_is_described() {
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let module = builtin_module(&ModuleRef::Builtin("rbac".into())).unwrap();
        let interface = Interface::of(&engine, &module).unwrap();
        let imports: Vec<&str> = interface.imports.iter().map(|i| &*i.name).collect();
        let ours = |name: &&str| name.starts_with("auditchain:verifier/");
        assert!(
            !imports.is_empty() && imports.iter().all(ours),
            "{imports:?}"
        );
        let exports: Vec<String> = interface.exports.iter().map(Item::to_string).collect();
        for export in ["describe", "prepare", "configure", "verify"] {
            assert!(exports.iter().any(|name| name == export), "{exports:?}");
        }
        let description = describe_module(&engine, &module).unwrap();
        assert!(description.needs_rbac_snapshot);
        let no_module = describe_module(&engine, b"\0asm\x01\0\0\0");
        assert_eq!(no_module, Err(LoadProblem::CoreModule));
    }
}
