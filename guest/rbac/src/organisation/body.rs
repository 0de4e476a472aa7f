//! Bodies: copied from the host only for events whose other fields ask for it, and
//! read in place.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;

use auditchain_guest_sdk::{Event, Level};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::snapshot::PolicyRule;

/// Bodies larger than this are not looked into: reading them would use up the fuel of
/// other events. A binding has some 2 KB, a pod 3 to 10.
const MAX_BODY_BYTES: u32 = 64 * 1024;

/// Why a body was not looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// It has more than [`MAX_BODY_BYTES`].
    TooLarge(u32),
    /// The apiserver cut request and response off.
    CutOff,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(size) => write!(f, "{size} bytes, too many to look into"),
            Self::CutOff => f.write_str("the apiserver cut the body off"),
        }
    }
}

/// Where an event's body is kept once it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Bytes(OnceCell<Vec<u8>>);

impl Bytes {
    /// The body, or why it isn't looked into.
    pub(crate) fn of(&self, event: Event<'_>) -> Result<&[u8], Unread> {
        match event.raw().body_size {
            size if size > MAX_BODY_BYTES => Err(Unread::TooLarge(size)),
            _ => Ok(self.0.get_or_init(|| event.body().unwrap_or_default())),
        }
    }
}

/// What a request asked for and what it was answered; a patch names things in the
/// response only. Neither need be an object.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Objects<'a> {
    #[serde(borrow)]
    pub(crate) request_object: Option<&'a RawValue>,
    pub(crate) response_object: Option<&'a RawValue>,
}

impl<'a> Objects<'a> {
    /// Both, where there are any. None of them at a level that has none.
    pub(crate) fn of(event: Event<'_>, bytes: &'a Bytes) -> Result<Self, Unread> {
        if matches!(event.level(), Level::None | Level::Metadata) {
            return Ok(Self::default());
        }
        if event.is_truncated() {
            return Err(Unread::CutOff);
        }
        Ok(serde_json::from_slice(bytes.of(event)?).unwrap_or_default())
    }

    /// Those of the two that can be read as this.
    pub(crate) fn read<T: Deserialize<'a>>(self) -> impl Iterator<Item = T> {
        [self.request_object, self.response_object]
            .into_iter()
            .flatten()
            .filter_map(|object| serde_json::from_str(object.get()).ok())
    }

    /// What was asked for as a whole, so that what is absent from it is absent.
    pub(crate) fn whole<T: Deserialize<'a>>(self) -> Option<T> {
        let object = self.request_object.or(self.response_object)?;
        serde_json::from_str(object.get()).ok()
    }
}

/// What the rules ask of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec<'a> {
    pub(crate) host_network: Option<bool>,
    #[serde(rename = "hostPID")]
    pub(crate) host_pid: Option<bool>,
    #[serde(rename = "hostIPC")]
    pub(crate) host_ipc: Option<bool>,
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    ephemeral_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    volumes: Option<Vec<Volume<'a>>>,
}

/// A container of a pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(crate) struct Container<'a> {
    #[serde(borrow)]
    pub(crate) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) image: Option<Cow<'a, str>>,
    security_context: Option<SecurityContext>,
}

#[derive(Debug, Deserialize)]
struct SecurityContext {
    privileged: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume<'a> {
    #[serde(borrow)]
    host_path: Option<HostPath<'a>>,
}

#[derive(Debug, Deserialize)]
struct HostPath<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
}

impl<'a> PodSpec<'a> {
    /// All of them, of whatever sort.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container<'a>> {
        [
            &self.containers,
            &self.init_containers,
            &self.ephemeral_containers,
        ]
        .into_iter()
        .flatten()
        .flatten()
    }

    pub(crate) fn keep_ephemeral_containers(&mut self) {
        *self = Self {
            ephemeral_containers: self.ephemeral_containers.take(),
            ..Self::default()
        };
    }

    /// Directories and files of the node that it mounts.
    pub(crate) fn host_paths(&self) -> impl Iterator<Item = &str> {
        let volumes = self.volumes.iter().flatten();
        volumes.filter_map(|volume| Some(volume.host_path.as_ref()?.path.as_ref()))
    }
}

impl Container<'_> {
    pub(crate) fn is_privileged(&self) -> bool {
        let context = self.security_context.as_ref();
        context.and_then(|context| context.privileged) == Some(true)
    }
}

#[derive(Deserialize)]
struct Spec<T> {
    spec: Option<T>,
}

#[derive(Deserialize)]
struct Template<T> {
    template: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobTemplate<T> {
    job_template: Option<T>,
}

type Workload<T> = Spec<Template<Spec<T>>>;

/// The pods that a request writes, or that what it writes is the template of.
pub(crate) fn pods<'a>(resource: &str, objects: Objects<'a>) -> Vec<PodSpec<'a>> {
    fn template<T>(of: Workload<T>) -> Option<T> {
        of.spec?.template?.spec
    }
    match resource {
        "pods" => objects.read().filter_map(|pod: Spec<_>| pod.spec).collect(),
        "cronjobs" => objects
            .read()
            .filter_map(|cron: Spec<JobTemplate<Workload<_>>>| template(cron.spec?.job_template?))
            .collect(),
        _ => objects.read().filter_map(template).collect(),
    }
}

#[derive(Deserialize)]
struct Role {
    rules: Option<Vec<PolicyRule>>,
}

/// The rules of the role that a request writes.
pub(crate) fn role_rules(objects: Objects<'_>) -> Vec<PolicyRule> {
    let rules = objects.read().filter_map(|role: Role| role.rules);
    rules.flatten().collect()
}

/// Whether JSON has something at a pointer: one of the values, or if there are none
/// anything but null. None where it is no JSON.
pub(crate) fn has(json: &[u8], pointer: &str, values: &[&str]) -> Option<bool> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Walk { pointer, values }.deserialize(&mut deserializer).ok()
}

/// One step down a JSON pointer. As deep as the pointer: what lies beside and below
/// is skipped without recursion.
#[derive(Clone, Copy)]
struct Walk<'w> {
    pointer: &'w str,
    values: &'w [&'w str],
}

impl<'w> Walk<'w> {
    /// The first step and the walk after it; none at the end.
    fn step(self) -> Option<(&'w str, Self)> {
        let rest = self.pointer.strip_prefix('/')?;
        let end = rest.find('/').unwrap_or(rest.len());
        let after = Self {
            pointer: &rest[end..],
            ..self
        };
        Some((&rest[..end], after))
    }

    fn is_value(self, text: &str) -> bool {
        self.step().is_none()
            && (self.values.is_empty() || super::pattern::matches_any(self.values, text))
    }

    /// An object or an array at the end of the pointer is there, but no value.
    fn is_there(self) -> bool {
        self.step().is_none() && self.values.is_empty()
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
        Ok(self.is_value(if value { "true" } else { "false" }))
    }

    fn visit_i64<E>(self, value: i64) -> Result<bool, E> {
        Ok(self.is_value(&value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<bool, E> {
        Ok(self.is_value(&value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<bool, E> {
        Ok(self.is_value(&value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<bool, E> {
        Ok(self.is_value(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = self.is_there();
        let mut index = 0_usize;
        loop {
            let further = match self.step() {
                Some((step, after)) if step == "*" || step.parse() == Ok(index) => {
                    seq.next_element_seed(after)?
                }
                _ => seq.next_element::<IgnoredAny>()?.map(|_| false),
            };
            let Some(further) = further else {
                return Ok(found);
            };
            found |= further;
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut found = self.is_there();
        let (step, after) = self.step().unwrap_or(("", self));
        // `~1` is "/" and `~0` is "~".
        let member = if step.contains('~') {
            Cow::Owned(step.replace("~1", "/").replace("~0", "~"))
        } else {
            Cow::Borrowed(step)
        };
        while let Some(is_step) = map.next_key_seed(IsStep(&member))? {
            if self.step().is_some() && (is_step || step == "*") {
                found |= map.next_value_seed(after)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a member's name without keeping it.
struct IsStep<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for IsStep<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsStep<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"a":{"b/c":[{"d":"x"},{"d":7},{"d":null}],"e":{}},"f":true,"g":[[1]],"":2}"#;

    #[test]
    fn pointers() {
        for (pointer, values, expected) in [
            ("/f", &["true"][..], true),
            ("/f", &["false"], false),
            ("/f", &[], true),
            ("/f/g", &[], false),
            ("/a/b~1c/0/d", &["x"], true),
            ("/a/b~1c/1/d", &["x"], false),
            ("/a/b~1c/1/d", &["7"], true),
            ("/a/b~1c/2/d", &[], false),
            ("/a/b~1c/*/d", &["y", "7"], true),
            ("/*/b~1c/*/d", &["x*"], true),
            ("/a/e", &[], true),
            ("/a/e", &["x"], false),
            ("/a/e/z", &[], false),
            ("/g/0/0", &["1"], true),
            ("/g/0", &["1"], false),
            ("/", &["2"], true),
            ("", &[], true),
        ] {
            assert_eq!(
                has(JSON.as_bytes(), pointer, values),
                Some(expected),
                "{pointer}"
            );
        }
        assert_eq!(has(b"{", "/a", &[]), None);
    }

    #[test]
    fn deep_bodies_are_skipped_without_recursion() {
        let deep = format!(
            r#"{{"a":{}{},"b":1}}"#,
            "[".repeat(9_990),
            "]".repeat(9_990)
        );
        assert_eq!(has(deep.as_bytes(), "/b", &["1"]), Some(true));
        assert_eq!(has(deep.as_bytes(), "/a", &[]), Some(true));
        assert_eq!(has(deep.as_bytes(), "/a/0/0/0", &[]), Some(true));
    }

    #[test]
    fn pods_of_each_workload() {
        let spec = r#"{"containers":[{"name":"c","image":"i","securityContext":{"privileged":true}}],
            "initContainers":null,"volumes":[{"name":"v","hostPath":{"path":"/etc"}},{"emptyDir":{}}]}"#;
        let template = format!(r#"{{"spec":{{"template":{{"spec":{spec}}}}}}}"#);
        for (resource, object) in [
            ("pods", format!(r#"{{"spec":{spec}}}"#)),
            ("deployments", template.clone()),
            ("jobs", template.clone()),
            (
                "cronjobs",
                format!(r#"{{"spec":{{"jobTemplate":{template}}}}}"#),
            ),
        ] {
            let body = format!(r#"{{"requestObject":[1],"responseObject":{object}}}"#);
            let pods = pods(resource, serde_json::from_str(&body).unwrap());
            let [pod] = pods.as_slice() else {
                panic!("{resource}: {pods:?}")
            };
            let container = pod.containers().next().unwrap();
            assert!(container.is_privileged() && container.image.as_deref() == Some("i"));
            assert_eq!(pod.host_paths().collect::<Vec<_>>(), ["/etc"]);
        }
        for other in [
            "7",
            "null",
            "{}",
            r#"{"spec":null}"#,
            r#"{"spec":{"template":7}}"#,
        ] {
            let body = format!(r#"{{"requestObject":{other}}}"#);
            assert!(
                pods("jobs", serde_json::from_str(&body).unwrap()).is_empty(),
                "{other}"
            );
        }
    }
}
