//! What a family of rules asks of an event beside its selectors.

use auditchain_guest_sdk::User;
use serde::Deserialize;

use super::body::{PodSpec, Unread};
use super::facts::Facts;
use super::family::Check;
use super::hours::Hours;
use super::pattern::matches_any;
use crate::rule::MASTERS;
use crate::snapshot::{PolicyRule, RoleRef};

/// What doesn't need the body: false where the family doesn't apply.
pub(crate) fn event(check: Check, facts: &Facts<'_>, hours: Option<Hours>) -> bool {
    match check {
        Check::Impersonated => facts.is_impersonated(),
        Check::Anonymous => facts.is_anonymous() && !facts.is_to_a_public_path(),
        Check::FullAdmin => facts.persons().any(|user: User<'_>| user.in_group(MASTERS)),
        Check::OutsideWorkingHours => {
            let outside = match (hours, facts.time()) {
                (Some(hours), Some(time)) => !hours.contains(time),
                // Not known when: rather reported than missed.
                (hours, _) => hours.is_some(),
            };
            outside && facts.is_by_a_person()
        }
        Check::NoBookkeeping => !facts.is_bookkeeping(),
        // A collection may hold some.
        Check::SystemRole => facts.is_unnamed() || facts.name.starts_with("system:"),
        Check::NotExamined => false,
        _ => true,
    }
}

/// What the body says of it: the words in which it is caught, empty where there is
/// nothing to add; none where it isn't.
pub(crate) fn body(
    check: Check,
    facts: &Facts<'_>,
    words: &[&str],
) -> Result<Option<String>, Unread> {
    let nothing_to_add = |caught: bool| Ok(caught.then(String::new));
    let of_pods =
        |caught: fn(&PodSpec<'_>) -> bool| nothing_to_add(facts.pods()?.iter().any(caught));
    let of_role =
        |caught: fn(&PolicyRule) -> bool| nothing_to_add(facts.role_rules()?.iter().any(caught));
    match check {
        Check::PrivilegedPod => {
            let mut containers = facts.pods()?.iter().flat_map(PodSpec::containers);
            let privileged = containers.find(|container| container.is_privileged());
            Ok(privileged.map(|container| format!("container {:?}", container.name)))
        }
        Check::HostNetwork => of_pods(|pod| pod.host_network == Some(true)),
        Check::HostPid => of_pods(|pod| pod.host_pid == Some(true)),
        Check::HostIpc => of_pods(|pod| pod.host_ipc == Some(true)),
        Check::HostPath => {
            let mut paths = facts.pods()?.iter().flat_map(PodSpec::host_paths);
            let sensitive = paths.find(|path| matches_any(words, &plain(path)));
            Ok(sensitive.map(|path| format!("{path:?}")))
        }
        Check::Image => {
            let containers = facts.pods()?.iter().flat_map(PodSpec::containers);
            let images: Vec<&str> = containers
                .filter_map(|container| container.image.as_deref())
                .collect();
            Ok((!images.is_empty()).then(|| images.join(" ")))
        }
        Check::NodePort => {
            let mut services = facts.objects()?.read::<Service>();
            nothing_to_add(services.any(|service| service.spec.r#type == "NodePort"))
        }
        Check::Credentials => {
            let mut maps = facts.objects()?.read::<ConfigMap<'_>>();
            let word = maps.find_map(|map| {
                let parts = [map.data, map.binary_data].into_iter().flatten();
                let mut texts = parts.map(|part| part.get().as_bytes());
                texts.find_map(|text| find_word(text, words))
            });
            Ok(word.map(|word| format!("{word:?}")))
        }
        Check::ClusterAdmin => match facts.objects() {
            Ok(objects) => {
                let mut bindings = objects.read::<Binding>();
                nothing_to_add(bindings.any(|Binding { role_ref: role }| {
                    role.kind == "ClusterRole" && role.name == "cluster-admin"
                }))
            }
            // A binding of that size is none that people write.
            Err(unread @ Unread::TooLarge(_)) => Ok(Some(unread.to_string())),
            Err(unread) => Err(unread),
        },
        Check::WildcardRole => of_role(|rule| {
            let lists = [&rule.verbs, &rule.resources, &rule.non_resource_urls];
            lists.into_iter().any(|list| contains(list, &["*"]))
        }),
        Check::WriteRole => of_role(|rule| {
            contains(
                &rule.verbs,
                &[
                    "*",
                    "create",
                    "update",
                    "patch",
                    "delete",
                    "deletecollection",
                ],
            )
        }),
        Check::ExecRole => of_role(|rule| {
            let into = ["pods/exec", "pods/attach", "*/exec", "*/attach"];
            contains(&rule.resources, &into) && contains(&rule.verbs, &["*", "create", "get"])
        }),
        Check::NoTls => {
            let ingress = facts.objects()?.whole::<Ingress>();
            nothing_to_add(
                ingress.is_some_and(|ingress| ingress.spec.tls.is_none_or(|tls| tls.is_empty())),
            )
        }
        Check::Nothing
        | Check::NotExamined
        | Check::Impersonated
        | Check::Anonymous
        | Check::FullAdmin
        | Check::NoBookkeeping
        | Check::OutsideWorkingHours
        | Check::SystemRole => nothing_to_add(true),
    }
}

fn contains(list: &[String], any: &[&str]) -> bool {
    list.iter().any(|item| any.contains(&item.as_str()))
}

/// A path without doubled and trailing slashes: `/etc//` is /etc.
fn plain(path: &str) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let plain = parts.fold(String::new(), |path, part| path + "/" + part);
    if plain.is_empty() { "/".into() } else { plain }
}

/// The first of the words that is in a text, whatever the case of ASCII letters.
fn find_word<'w>(text: &[u8], words: &[&'w str]) -> Option<&'w str> {
    // Most bytes begin no word: one look-up each, so that a large ConfigMap doesn't
    // cost as many passes as there are words.
    let mut begins = [false; 256];
    for word in words {
        if let Some(first) = word.as_bytes().first() {
            begins[usize::from(first.to_ascii_lowercase())] = true;
            begins[usize::from(first.to_ascii_uppercase())] = true;
        }
    }
    let starts = (0..text.len()).filter(|at| begins[usize::from(text[*at])]);
    let mut rests = starts.filter_map(|at| text.get(at..));
    rests.find_map(|rest| {
        let is_here = |word: &&&str| {
            let here = rest.get(..word.len());
            here.is_some_and(|here| here.eq_ignore_ascii_case(word.as_bytes()))
        };
        words.iter().find(is_here).copied()
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    role_ref: RoleRef,
}

#[derive(Deserialize)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Deserialize)]
struct ServiceSpec {
    #[serde(default)]
    r#type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMap<'a> {
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
    binary_data: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct Ingress {
    spec: IngressSpec,
}

#[derive(Deserialize)]
struct IngressSpec {
    tls: Option<Vec<serde::de::IgnoredAny>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whatever_their_case() {
        let words = ["password", "aws_access_key_id"];
        assert_eq!(find_word(b"\"DB_PASSWORD\":1", &words), Some("password"));
        assert_eq!(find_word(b"Aws_Access_Key_Id", &words), Some(words[1]));
        assert_eq!(find_word(b"passwor", &words), None);
        assert_eq!(find_word(b"", &words), None);
        assert_eq!(find_word(b"password", &[]), None);
    }

    #[test]
    fn paths_are_compared_in_their_plain_form() {
        for (path, expected) in [
            ("/", "/"),
            ("//.", "/"),
            ("/etc//", "/etc"),
            ("//var/./run/", "/var/run"),
            ("/a", "/a"),
        ] {
            assert_eq!(plain(path), expected);
        }
    }
}
