//! Which kernels can be patched, told from the configuration that they were built with.

/// Settings with which no patch can be made, and why.
const OBSTACLES: [(&str, &str); 5] = [
    (
        "CONFIG_RANDSTRUCT=y",
        "its data structures are laid out at random, by a seed that is not published",
    ),
    (
        "CONFIG_GCC_PLUGIN_RANDSTRUCT=y",
        "its data structures are laid out at random, by a seed that is not published",
    ),
    (
        "CONFIG_LTO_CLANG=y",
        "it was optimised as a whole, so no unit of it can be compiled alone",
    ),
    (
        "CONFIG_LTO_GCC=y",
        "it was optimised as a whole, so no unit of it can be compiled alone",
    ),
    (
        "CONFIG_CFI_CLANG=y",
        "its indirect calls are checked by a compiler that this factory does not know",
    ),
];

/// Settings without which no patch can be loaded, and why.
const NEEDS: [(&str, &str); 3] = [
    ("CONFIG_X86_64=y", "it is not for x86-64"),
    (
        "CONFIG_LIVEPATCH=y",
        "it was built without support for live patches",
    ),
    (
        "CONFIG_CC_IS_GCC=y",
        "it was built by another compiler than gcc",
    ),
];

/// Why a kernel with this configuration can't be served, if it can't.
pub(crate) fn obstacle(configuration: &str) -> Option<(&'static str, &'static str)> {
    let has = |setting: &str| configuration.lines().any(|line| line == setting);
    let obstacles = OBSTACLES.into_iter().filter(|(setting, _)| has(setting));
    // Before 4.18 Kconfig did not ask the compiler; the image's banner tells it then.
    let asked = configuration.contains("CONFIG_CC_VERSION_TEXT=");
    let needs = NEEDS
        .into_iter()
        .filter(|(setting, _)| asked || !setting.starts_with("CONFIG_CC_IS_"))
        .filter(|(setting, _)| !has(setting));
    obstacles.chain(needs).next()
}

/// Whether parts of the kernel are written in Rust.
pub(crate) fn has_rust(configuration: &str) -> bool {
    configuration.lines().any(|line| line == "CONFIG_RUST=y")
}

/// Whether there was a Rust compiler where the kernel was built. Kconfig records what it can do, even
/// for a kernel without any Rust.
pub(crate) fn had_rustc(configuration: &str) -> bool {
    let mut lines = configuration.lines();
    let version = lines.find_map(|line| line.strip_prefix("CONFIG_RUSTC_VERSION="));
    version.is_some_and(|version| version != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_was_built_without_a_rust_compiler_says_so() {
        assert!(!had_rustc(
            "CONFIG_X86_64=y\nCONFIG_RUSTC_VERSION=0\nCONFIG_HAVE_RUST=y\n"
        ));
        assert!(!had_rustc("CONFIG_X86_64=y\n"));
        assert!(had_rustc("CONFIG_RUSTC_VERSION=108500\nCONFIG_RUST=y\n"));
    }

    const GOOD: &str = "CONFIG_CC_VERSION_TEXT=\"gcc-12\"\nCONFIG_X86_64=y\nCONFIG_LIVEPATCH=y\n\
                        CONFIG_CC_IS_GCC=y\n";

    #[test]
    fn what_no_patch_can_be_made_for_is_told() {
        assert_eq!(obstacle(GOOD), None);
        let why = |configuration: &str| obstacle(configuration).unwrap().1;
        assert!(why(&format!("{GOOD}CONFIG_RANDSTRUCT=y\n")).contains("laid out at random"));
        assert!(why(&format!("{GOOD}CONFIG_LTO_CLANG=y\n")).contains("as a whole"));
        let without = GOOD.replace("CONFIG_LIVEPATCH=y", "# CONFIG_LIVEPATCH is not set");
        assert!(why(&without).contains("without support"));
        let clang = GOOD.replace("CONFIG_CC_IS_GCC=y\n", "");
        assert!(why(&clang).contains("another compiler"));
    }

    #[test]
    fn a_configuration_from_before_kconfig_asked_the_compiler_is_served() {
        assert_eq!(obstacle("CONFIG_X86_64=y\nCONFIG_LIVEPATCH=y\n"), None);
        assert!(obstacle("CONFIG_X86_64=y\n").is_some());
    }
}
