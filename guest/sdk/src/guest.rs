//! What a guest is: the trait, and the macro that makes it a component.

use crate::bindings::auditchain::verifier::types::{self, RbacSnapshot};
use crate::{Call, Severity, Verdicts};

/// A rule that verdicts refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Stable, lower-case, at most 64 characters of a-z 0-9 and "-".
    pub id: &'static str,
    /// How much a finding of this rule weighs.
    pub severity: Severity,
    /// One line for people.
    pub title: &'static str,
}

impl Rule {
    /// A rule.
    #[must_use]
    pub const fn new(id: &'static str, severity: Severity, title: &'static str) -> Self {
        Self {
            id,
            severity,
            title,
        }
    }
}

/// What a guest says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// Name of the guest.
    pub name: &'static str,
    /// Semantic version of the guest.
    pub version: &'static str,
    /// Every rule that a verdict of this guest can name.
    pub rules: &'static [Rule],
    /// True: [`Guest::prepare`] wants the RBAC snapshots.
    pub needs_rbac_snapshot: bool,
}

impl Description {
    /// A guest that needs no RBAC snapshot.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str, rules: &'static [Rule]) -> Self {
        Self {
            name,
            version,
            rules,
            needs_rbac_snapshot: false,
        }
    }

    /// The same, as it crosses the boundary.
    #[must_use]
    pub fn to_wit(&self) -> types::Description {
        types::Description {
            name: self.name.into(),
            version: self.version.into(),
            rules: self
                .rules
                .iter()
                .map(|rule| types::Rule {
                    id: rule.id.into(),
                    severity: rule.severity,
                    title: rule.title.into(),
                })
                .collect(),
            needs_rbac_snapshot: self.needs_rbac_snapshot,
        }
    }
}

/// A verification plugin: a pure function of what it is given.
///
/// `prepare` runs once when a policy is loaded. For every slice of a block a fresh
/// instance runs `configure` and then `verify`, so nothing is kept between slices:
/// verdicts must not depend on how a block was cut into slices.
pub trait Guest: Sized {
    /// Name, version and rules.
    const DESCRIPTION: Description;

    /// Turns settings (JSON) into the form that [`configure`](Self::configure) takes
    /// up, where work done once is worth it. As given: the settings are tried with
    /// `configure`, so that a mistake refuses the policy, and passed through.
    ///
    /// # Errors
    /// In words that name the setting; the policy is refused.
    fn prepare(settings: &str, rbac_snapshots: &[RbacSnapshot]) -> Result<Vec<u8>, String> {
        let _ = rbac_snapshots;
        Self::configure(settings.into())?;
        Ok(settings.into())
    }

    /// Takes what [`prepare`](Self::prepare) returned. Runs for every slice: keep it cheap.
    ///
    /// # Errors
    /// In words that name the setting.
    fn configure(prepared: Vec<u8>) -> Result<Self, String>;

    /// Judges one slice of a block.
    fn verify(&self, call: &Call<'_>, verdicts: &mut Verdicts);
}

/// Judges one slice with a configured guest: what the component does on `verify`,
/// and what a native test calls.
#[must_use]
pub fn run<G: Guest>(
    guest: &G,
    context: &types::Context,
    slice: &types::Slice,
) -> Vec<types::Verdict> {
    let mut verdicts = Verdicts::new(G::DESCRIPTION.rules);
    guest.verify(&Call::new(context, slice), &mut verdicts);
    verdicts.into_vec()
}

/// Makes a component of a type that is a [`Guest`]. For WebAssembly only: natively
/// it expands to nothing, so that several guests can be linked into one test.
#[macro_export]
macro_rules! export_guest {
    ($guest:ident) => {
        #[cfg(target_arch = "wasm32")]
        mod exported_guest {
            use std::sync::OnceLock;

            use $crate::bindings;
            use $crate::types;

            /// Set by `configure`, once in the life of an instance.
            static GUEST: OnceLock<super::$guest> = OnceLock::new();

            struct Component;

            impl bindings::Guest for Component {
                fn describe() -> types::Description {
                    <super::$guest as $crate::Guest>::DESCRIPTION.to_wit()
                }

                fn prepare(
                    settings: String,
                    rbac_snapshots: Vec<types::RbacSnapshot>,
                ) -> Result<Vec<u8>, String> {
                    <super::$guest as $crate::Guest>::prepare(&settings, &rbac_snapshots)
                }

                fn configure(prepared: Vec<u8>) -> Result<(), String> {
                    let guest = <super::$guest as $crate::Guest>::configure(prepared)?;
                    GUEST
                        .set(guest)
                        .map_err(|_| String::from("this instance is configured already"))
                }

                fn verify(context: types::Context, slice: types::Slice) -> Vec<types::Verdict> {
                    // A host that skips `configure` breaks the contract; an empty answer
                    // would say "all valid", so trap.
                    let Some(guest) = GUEST.get() else {
                        panic!("verify before configure")
                    };
                    $crate::run(guest, &context, &slice)
                }
            }

            bindings::export!(Component with_types_in bindings);
        }
    };
}
