//! What a live patch module says of itself in its modinfo.

use suture_kernel::KernelBuild;
use suture_kernel::modinfo::Modinfo;

/// Keys of the kernel build that a module was made for; the kernel ignores them, the agent and
/// the publisher insist on them.
pub const MODINFO_RELEASE: &str = "suture_release";
pub const MODINFO_ARCHITECTURE: &str = "suture_architecture";
pub const MODINFO_BUILD_ID: &str = "suture_build_id";

/// The kernel build that a module says it was made for; none if it does not say.
pub fn built_for(modinfo: &Modinfo) -> Option<KernelBuild> {
    Some(KernelBuild {
        release: modinfo.get(MODINFO_RELEASE)?.parse().ok()?,
        architecture: modinfo.get(MODINFO_ARCHITECTURE)?.parse().ok()?,
        build_id: modinfo.get(MODINFO_BUILD_ID)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_must_name_all_of_its_kernel() {
        let full = "suture_release=6.1.0-53-amd64\0suture_architecture=amd64\0suture_build_id=abababababababababab\0";
        let built = |text: &str| built_for(&Modinfo::parse(text.as_bytes()).unwrap());
        assert_eq!(built(full).unwrap().release.as_str(), "6.1.0-53-amd64");
        assert_eq!(built(&full.replace("suture_build_id", "other")), None);
        assert_eq!(
            built(&full.replace("amd64\0suture_b", "z80\0suture_b")),
            None
        );
    }
}
