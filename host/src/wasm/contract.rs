//! Which contract a component was built against, and whether this gateway offers it.
//!
//! A patch version of the contract adds getters, host functions and interfaces, and takes nothing away: a
//! component of an older one runs, and one of a newer one where it uses nothing that is new. Anything else
//! is told by the versions, before a linker complains about types.

use std::fmt;

use super::component::LoadError;

/// Begins the names of what a component imports and exports of the contract.
const PACKAGE: &str = "gatehouse:plugin/";

/// What this gateway offers; a test holds it against `wit/gatehouse.wit`.
pub(super) const OFFERED: Version = Version(0, 1, 0);

/// Of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64, u64, u64);

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Version {
    /// Of an import or export; none where it is none of the contract's.
    fn of(name: &str) -> Option<Self> {
        let (_, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
        let mut parts = version.splitn(3, '.');
        let mut part = || parts.next()?.parse().ok();
        Some(Self(part()?, part()?, part()?))
    }

    /// Whether what was built against this one may run where `offered` is.
    fn fits(self, offered: Self) -> bool {
        (self.0, self.1) == (offered.0, offered.1)
    }
}

/// The interface of the contract that a name stands for, without package and version.
pub(super) fn interface(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(PACKAGE)?;
    Some(rest.split_once('@').map_or(rest, |(name, _version)| name))
}

/// The newest contract that a component names; none where it names none.
pub(super) fn built_against(
    component: &wasmtime::component::Component,
    engine: &wasmtime::Engine,
) -> Option<Version> {
    let kind = component.component_type();
    let imports = kind
        .imports(engine)
        .filter_map(|(name, _)| Version::of(name));
    let exports = kind
        .exports(engine)
        .filter_map(|(name, _)| Version::of(name));
    imports.chain(exports).max()
}

/// Refuses a component of another major or minor version.
pub(super) fn check(built: Option<Version>) -> Result<(), LoadError> {
    match built {
        Some(built) if !built.fits(OFFERED) => {
            let way = if built > OFFERED { "newer" } else { "older" };
            Err(LoadError::new(
                "plugin-other-contract",
                format!(
                    "it was built against gatehouse:plugin {built}, and this gateway offers {OFFERED}: run \
                     it on a {way} gateway that offers {}.{}, or build it against this one's \
                     wit/gatehouse.wit",
                    built.0, built.1
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// What to add where an import of it cannot be had.
pub(super) fn hint(built: Option<Version>) -> String {
    match built {
        Some(built) if built > OFFERED => format!(
            "It was built against gatehouse:plugin {built} and uses what came after {OFFERED}, which this \
             gateway offers: run it on a gateway that offers {built}"
        ),
        _ => "Build it against wit/gatehouse.wit of this version or an older one of the same 0.1"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_offered_is_what_the_contract_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../wit/gatehouse.wit");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("package gatehouse:plugin@{OFFERED};")));
    }

    #[test]
    fn a_version_is_read_from_names_and_told() {
        let of = Version::of("gatehouse:plugin/host@0.1.7").unwrap();
        assert!(check(Some(of)).is_ok() && check(None).is_ok());
        assert!(hint(Some(of)).contains("0.1.7"));
        assert_eq!(Version::of("wasi:io/streams@0.2.9"), None);
        let error = check(Version::of("gatehouse:plugin/host@0.2.0")).unwrap_err();
        assert!(
            error.message.contains("newer gateway that offers 0.2"),
            "{error}"
        );
    }
}
