//! Who asked.

use crate::bindings::auditchain::verifier::types::UserInfo;
use crate::call::Call;

/// `user` or `impersonatedUser` of an event.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    call: Call<'a>,
    raw: &'a UserInfo,
}

impl<'a> User<'a> {
    pub(crate) fn new(call: Call<'a>, raw: &'a UserInfo) -> Self {
        Self { call, raw }
    }

    /// `username`.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        self.call.str(self.raw.username)
    }

    /// `uid`.
    #[must_use]
    pub fn uid(&self) -> Option<&'a str> {
        self.call.str(self.raw.uid)
    }

    /// `groups`.
    pub fn groups(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.call.list(self.raw.groups)
    }

    /// True if the user is a member of the group.
    #[must_use]
    pub fn in_group(&self, group: &str) -> bool {
        self.groups().any(|member| member == group)
    }
}
