//! From settings to a policy that can be asked.
//!
//! [`prepare`] finds what can be found wrong; what it returns is the settings and the
//! rules that are asked. The modules are parsed again for every slice: some tens of
//! microseconds a kilobyte. (regorus has a compiled form that can be kept, but without
//! the keyword `with`.)

use std::fmt;

use regorus::{Engine, Value};
use serde::{Deserialize, Serialize};

use crate::builtins;
use crate::outcome::Kind;
use crate::settings::{BuiltinErrors, OnUnreadable, RegoVersion, Settings};
use crate::source::{Module, check_calls, conflict};

/// Rules that are asked; each is evaluated by itself.
const MAX_ENTRIES: usize = 256;

/// A rule that is asked about every event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPoint {
    /// As `data.package.rule`.
    pub path: String,
    /// What its entries mean.
    pub kind: Kind,
}

#[derive(Serialize, Deserialize)]
struct Prepared {
    settings: Settings,
    entry_points: Vec<EntryPoint>,
}

/// A policy that is ready to be asked.
pub struct Policy {
    engine: Engine,
    /// Rules that may not have entries, or should not.
    pub entry_points: Vec<EntryPoint>,
    /// A rule that must be true.
    pub query: Option<String>,
    /// What to do about an event that can't be asked about.
    pub on_unreadable: OnUnreadable,
}

impl Policy {
    /// Takes what [`prepare`] returned.
    ///
    /// # Errors
    /// It did not come from there.
    pub fn read(prepared: &[u8]) -> Result<Self, String> {
        let prepared: Prepared =
            serde_json::from_slice(prepared).map_err(|error| format!("prepared: {error}"))?;
        Self::new(prepared.settings, prepared.entry_points)
    }

    fn new(settings: Settings, entry_points: Vec<EntryPoint>) -> Result<Self, String> {
        let mut engine = engine(&settings)?;
        for (file, text) in settings.modules {
            let added = engine.add_policy(file, text);
            added.map_err(|error| one_line(&error))?;
        }
        let added = engine.add_data(settings.data);
        added.map_err(|error| format!("settings: data: {}", one_line(&error)))?;
        Ok(Self {
            engine,
            entry_points,
            query: settings.query,
            on_unreadable: settings.on_unreadable,
        })
    }

    /// An engine of its own for a slice; it shares modules and data.
    #[must_use]
    pub fn session(&self) -> Session {
        Session(self.engine.clone())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("entry_points", &self.entry_points)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// A policy being asked.
pub struct Session(Engine);

impl Session {
    /// The event that is asked about from here.
    pub fn set_input(&mut self, input: Value) {
        self.0.set_input(input);
    }

    /// The value of a rule.
    ///
    /// # Errors
    /// In one line, with file, line and column.
    pub fn eval(&mut self, path: &str) -> Result<Value, String> {
        let value = self.0.eval_rule(path.to_owned());
        value.map_err(|error| one_line(&error))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Checks the settings and the policy's text.
///
/// # Errors
/// In words that name the setting, or file, line and column.
pub fn prepare(settings: &str) -> Result<Vec<u8>, String> {
    let settings: Settings = auditchain_guest_sdk::settings(settings.as_bytes())?;
    settings.check()?;
    let modules = settings
        .modules
        .iter()
        .map(|(file, text)| {
            let mut engine = engine(&settings)?;
            let added = engine.add_policy(file.clone(), text.clone());
            added.map_err(|error| one_line(&error))?;
            Module::read(&engine, file, text)
        })
        .collect::<Result<Vec<_>, _>>()?;
    check_calls(&modules, &|name| is_builtin(name))?;
    if let Some(path) = conflict(&modules, &settings.data) {
        return Err(format!(
            "settings: data has {}, which a module defines",
            path.join(".")
        ));
    }
    let entry_points = entry_points(&settings, &modules)?;
    let policy = Policy::new(settings.clone(), entry_points.clone())?;
    try_out(&policy)?;
    serde_json::to_vec(&Prepared {
        settings,
        entry_points,
    })
    .map_err(|error| format!("settings: {error}"))
}

fn engine(settings: &Settings) -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_rego_v0(settings.rego_version == RegoVersion::V0);
    engine.set_strict_builtin_errors(settings.builtin_errors == BuiltinErrors::Fail);
    builtins::add(&mut engine, settings.builtin_errors).map_err(|error| one_line(&error))?;
    Ok(engine)
}

/// Whether an engine has a function of that name. There is no list to look at; a call
/// without arguments fails one way or the other.
fn is_builtin(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    let mut engine = Engine::new();
    if !name.bytes().all(is_name) || builtins::add(&mut engine, BuiltinErrors::Fail).is_err() {
        return false;
    }
    match engine.eval_query(format!("{name}()"), false) {
        Ok(_) => true,
        Err(error) => !error.to_string().contains("could not find function"),
    }
}

fn entry_points(settings: &Settings, modules: &[Module]) -> Result<Vec<EntryPoint>, String> {
    let paths: Vec<String> = modules
        .iter()
        .map(|module| dotted(&module.package))
        .collect();
    for package in &settings.packages {
        let has_rules = paths
            .iter()
            .zip(modules)
            .any(|(path, module)| is_package(package, path) && !module.entries.is_empty());
        if !has_rules {
            return Err(format!(
                "settings: packages: no module has package {package} with a rule deny, \
                 violation or warn"
            ));
        }
    }
    let mut found: Vec<EntryPoint> = Vec::new();
    for (package, module) in paths.iter().zip(modules) {
        let asked = settings.packages.is_empty()
            || settings
                .packages
                .iter()
                .any(|name| is_package(name, package));
        for (name, kind) in module.entries.iter().filter(|_| asked) {
            let path = format!("{package}.{name}");
            // A package may be spread over several modules.
            if found.iter().all(|known| known.path != path) {
                found.push(EntryPoint { path, kind: *kind });
            }
        }
    }
    if found.is_empty() && settings.query.is_none() {
        return Err(
            "settings: no package of the modules has a rule deny, violation or warn, and no \
             query is set: nothing would be asked"
                .into(),
        );
    }
    if found.len() > MAX_ENTRIES {
        return Err(format!(
            "settings: {} rules deny, violation and warn; at most {MAX_ENTRIES} are allowed",
            found.len()
        ));
    }
    // Files are in the order of their names; verdicts shall not hang on those.
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Whether settings mean a package: `audit` or `data.audit`.
fn is_package(named: &str, path: &str) -> bool {
    path == named || path.strip_prefix("data.") == Some(named)
}

/// A path below `data` as regorus spells it.
fn dotted(path: &[String]) -> String {
    let is_name = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !name.starts_with(|first: char| first.is_ascii_digit())
    };
    path.iter().fold(String::from("data"), |mut dotted, name| {
        if is_name(name) {
            dotted.push('.');
            dotted.push_str(name);
        } else {
            dotted.push_str(&format!("[{}]", Value::from(name.as_str())));
        }
        dotted
    })
}

/// Asks about an event that has nothing: what fails on it would fail on real ones too.
fn try_out(policy: &Policy) -> Result<(), String> {
    let mut session = policy.session();
    session.set_input(Value::new_object());
    let entry_points = policy.entry_points.iter().map(|entry| &entry.path);
    for path in entry_points.chain(&policy.query) {
        session
            .eval(path)
            .map_err(|error| format!("{path}, asked about an empty event: {error}"))?;
    }
    Ok(())
}

/// An error of regorus, which draws the line with a caret below, as
/// `file:line:column: message`.
#[must_use]
pub fn one_line(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let rest_of_line = |marker: &str| {
        let (_, rest) = text.split_once(marker)?;
        rest.lines().next()
    };
    match (rest_of_line("--> "), rest_of_line("error: ")) {
        (Some(place), Some(message)) => format!("{place}: {}", message.trim_end_matches(':')),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests;
