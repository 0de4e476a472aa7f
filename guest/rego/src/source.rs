//! What is looked for in a policy's text before it is used: its rules, and calls
//! that could not be carried out.
//!
//! The interpreter finds a function that isn't there, and a recursion, only when it
//! comes to them, which may be on the one event that matters. So every call is
//! looked at when the policy is loaded. The syntax tree is read as JSON, the only
//! form in which regorus gives it.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;
use serde_json::Value;

use crate::outcome::Kind;
use crate::policy::one_line;

/// Functions of OPA whose value is no function of their arguments, and why.
const IMPURE: [(&str, &str); 6] = [
    ("http.send", "reaches the network"),
    ("net.lookup_ip_addr", "reaches the network"),
    ("opa.runtime", "tells where it runs"),
    ("rand.intn", "is random"),
    ("time.now_ns", "reads the clock"),
    ("uuid.rfc4122", "is random"),
];

/// A module, as far as it is looked at.
#[derive(Debug)]
pub struct Module {
    /// The package, as a path below `data`.
    pub package: Vec<String>,
    /// Rules that are asked, by name.
    pub entries: BTreeMap<String, Kind>,
    /// Paths of all rules and functions that it defines.
    pub defined: BTreeSet<Vec<String>>,
    functions: BTreeSet<Vec<String>>,
    calls: Vec<Call>,
}

/// A call, resolved as far as the module by itself allows.
#[derive(Debug)]
struct Call {
    /// The function in which it stands, if it stands in one.
    caller: Option<Vec<String>>,
    /// As written, with imports resolved.
    callee: Vec<String>,
    /// `file:line:column`
    place: String,
}

impl Module {
    /// Reads the only module of an engine.
    ///
    /// # Errors
    /// The module nests too deep to be looked at.
    pub fn read(engine: &Engine, file: &str, text: &str) -> Result<Self, String> {
        let tree = engine
            .get_ast_as_json()
            .map_err(|error| format!("{file}: {}", one_line(&error)))?;
        let tree: Vec<Value> =
            serde_json::from_str(&tree).map_err(|_| format!("{file}: nests too deep"))?;
        let tree = tree.first().map_or(&Value::Null, |module| &module["ast"]);
        let mut module = Self {
            package: path(&tree["package"]["refr"]).unwrap_or_default(),
            entries: BTreeMap::new(),
            defined: BTreeSet::new(),
            functions: BTreeSet::new(),
            calls: Vec::new(),
        };
        let imports = imports(&tree["imports"], text);
        for rule in array(&tree["rules"]) {
            let head = &rule["Spec"]["head"];
            let function = path(&head["Func"]["refr"]).map(|name| module.below(name));
            if let Some(function) = &function {
                module.functions.insert(function.clone());
                module.defined.insert(function.clone());
            } else {
                module.add_rule(rule);
            }
            let mut found = Vec::new();
            find_calls(rule, &mut found);
            module.calls.extend(found.into_iter().map(|call| Call {
                caller: function.clone(),
                callee: resolve(call.callee, &imports),
                place: format!("{file}:{}:{}", call.line, call.column),
            }));
        }
        Ok(module)
    }

    fn add_rule(&mut self, rule: &Value) {
        let heads = [
            &rule["Spec"]["head"]["Compr"]["refr"],
            &rule["Spec"]["head"]["Set"]["refr"],
            &rule["Default"]["refr"],
        ];
        let Some(name) = heads
            .into_iter()
            .find_map(|refr| root(refr)?["value"].as_str())
        else {
            return;
        };
        self.defined.insert(self.below(vec![name.to_owned()]));
        if let Some(kind) = Kind::of_rule(name) {
            self.entries.insert(name.to_owned(), kind);
        }
    }

    fn below(&self, mut name: Vec<String>) -> Vec<String> {
        let mut path = self.package.clone();
        path.append(&mut name);
        path
    }
}

/// Refuses calls of what isn't there, and functions that call themselves. `is_builtin`
/// knows the builtin functions.
///
/// # Errors
/// With file, line and column of a call.
pub fn check_calls(modules: &[Module], is_builtin: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let functions: BTreeSet<&Vec<String>> = modules
        .iter()
        .flat_map(|module| &module.functions)
        .collect();
    let defined: BTreeSet<&Vec<String>> =
        modules.iter().flat_map(|module| &module.defined).collect();
    let mut graph: BTreeMap<&Vec<String>, Vec<(&Vec<String>, &str)>> = BTreeMap::new();
    for module in modules {
        for call in &module.calls {
            let found = match call.callee.split_first() {
                Some((first, rest)) if first == "data" => defined.get(&rest.to_vec()).copied(),
                _ => defined.get(&module.below(call.callee.clone())).copied(),
            };
            let Some(callee) = found else {
                check_builtin(call, is_builtin)?;
                continue;
            };
            if let (Some(caller), true) = (&call.caller, functions.contains(callee)) {
                graph.entry(caller).or_default().push((callee, &call.place));
            }
        }
    }
    check_recursion(&graph)
}

fn check_builtin(call: &Call, is_builtin: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let name = call.callee.join(".");
    if let Some((_, why)) = IMPURE.iter().find(|(impure, _)| *impure == name) {
        return Err(format!(
            "{}: {name} {why}; a policy may depend on the event alone, so that its \
             verdicts can be computed again",
            call.place
        ));
    }
    if is_builtin(&name) {
        return Ok(());
    }
    Err(format!("{}: there is no function {name} here", call.place))
}

/// Rego forbids recursion. Depth-first, by colours, without recursion of our own.
fn check_recursion(
    graph: &BTreeMap<&Vec<String>, Vec<(&Vec<String>, &str)>>,
) -> Result<(), String> {
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        // The path from `start`, each with the next of its calls to look at.
        let mut stack = vec![(*start, 0)];
        while let Some((function, next)) = stack.last_mut() {
            let function = *function;
            let call = graph.get(function).and_then(|calls| calls.get(*next));
            *next += 1;
            let Some((callee, place)) = call else {
                done.insert(function);
                stack.pop();
                continue;
            };
            if stack.iter().any(|(on_path, _)| on_path == callee) {
                return Err(format!(
                    "{place}: {} calls itself; Rego has no recursion",
                    callee.join(".")
                ));
            }
            if !done.contains(callee) {
                stack.push((callee, 0));
            }
        }
    }
    Ok(())
}

/// Whether `data` holds something where a module defines a rule: which of them counts
/// would be a guess.
#[must_use]
pub fn conflict<'a>(modules: &'a [Module], data: &regorus::Value) -> Option<&'a [String]> {
    let is_there = |path: &&Vec<String>| {
        let found = path.iter().try_fold(data, |value, name| {
            value.as_object().ok()?.get(&name.as_str().into())
        });
        found.is_some()
    };
    let mut defined = modules.iter().flat_map(|module| &module.defined);
    defined.find(is_there).map(Vec::as_slice)
}

struct FoundCall {
    callee: Vec<String>,
    line: u64,
    column: u64,
}

/// The parser bounds the depth of what it reads, and serde_json that of the tree.
fn find_calls(tree: &Value, found: &mut Vec<FoundCall>) {
    match tree {
        Value::Array(items) => items.iter().for_each(|item| find_calls(item, found)),
        Value::Object(members) => {
            if let Some(call) = members.get("Call")
                && let Some(callee) = path(&call["fcn"])
            {
                let of_name = |field| root(&call["fcn"])?["span"][field].as_u64();
                found.push(FoundCall {
                    callee,
                    line: of_name("line").unwrap_or(0),
                    column: of_name("col").unwrap_or(0),
                });
            }
            members
                .values()
                .for_each(|member| find_calls(member, found));
        }
        _ => {}
    }
}

/// Alias and path of each import of `data`. The tree has an alias as a range only.
fn imports(tree: &Value, text: &str) -> BTreeMap<String, Vec<String>> {
    let alias = |import: &Value| {
        let at = |field| usize::try_from(import["as"][field].as_u64()?).ok();
        text.get(at("start")?..at("end")?).map(str::to_owned)
    };
    array(tree)
        .filter_map(|import| {
            let path = path(&import["refr"])?;
            let name = alias(import).or_else(|| path.last().cloned())?;
            (path.first()? == "data").then_some((name, path))
        })
        .collect()
}

fn resolve(callee: Vec<String>, imports: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    match callee.split_first() {
        Some((first, rest)) => match imports.get(first) {
            Some(path) => path.iter().chain(rest).cloned().collect(),
            None => callee,
        },
        None => callee,
    }
}

/// A reference of names only, as its components.
fn path(expression: &Value) -> Option<Vec<String>> {
    if let Some(name) = expression["Var"]["value"].as_str() {
        return Some(vec![name.to_owned()]);
    }
    let (refr, name) = match expression {
        Value::Object(members) if members.contains_key("RefDot") => {
            let dot = &members["RefDot"];
            (&dot["refr"], &dot["field"][1])
        }
        Value::Object(members) if members.contains_key("RefBrack") => {
            let brackets = &members["RefBrack"];
            (&brackets["refr"], &brackets["index"]["String"]["value"])
        }
        _ => return None,
    };
    let mut path = path(refr)?;
    path.push(name.as_str()?.to_owned());
    Some(path)
}

/// The variable that a reference begins with.
fn root(mut expression: &Value) -> Option<&Value> {
    loop {
        if let Some(variable) = expression.get("Var") {
            return Some(variable);
        }
        let members = expression.as_object()?;
        let inner = members.get("RefDot").or_else(|| members.get("RefBrack"))?;
        expression = &inner["refr"];
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
