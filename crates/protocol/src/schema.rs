//! How types of the crates below look on the wire, for the API's description alone. They derive
//! no schema themselves, since nothing else there needs the library.

use serde::Serialize;
use utoipa::ToSchema;

/// One exact kernel binary.
#[derive(Serialize, ToSchema)]
#[schema(as = KernelBuild)]
pub struct KernelBuildSchema {
    /// What `uname -r` prints.
    #[schema(example = "6.1.0-53-amd64")]
    release: String,
    #[schema(example = "amd64")]
    architecture: String,
    /// GNU build id, lowercase hex.
    #[schema(example = "5f2b6c0e9d8a47c1b3e4f5061728394a5f2b6c0e")]
    build_id: String,
}

/// Where a machine is to go.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[schema(as = Offer)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "it describes, and is made in the test alone")
)]
pub enum OfferSchema {
    /// To this version.
    Version {
        #[schema(example = "104.1")]
        version: String,
    },
    /// It has the newest version that there is for it.
    UpToDate,
    /// There is a live patch, but its rollout has not come to this machine.
    NotYet,
    /// No live patch is made for this kernel build.
    NotCovered,
}

#[cfg(test)]
mod tests {
    use suture_kernel::KernelBuild;
    use suture_rollout::Offer;

    use super::*;

    #[test]
    fn the_description_is_what_is_sent() {
        let kernel = KernelBuildSchema {
            release: "6.1.0-53-amd64".to_owned(),
            architecture: "amd64".to_owned(),
            build_id: "ab".repeat(20),
        };
        let json = serde_json::to_value(&kernel).unwrap();
        let sent: KernelBuild = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&sent).unwrap(), json);
        let version = OfferSchema::Version {
            version: "104.1".to_owned(),
        };
        for described in [
            version,
            OfferSchema::UpToDate,
            OfferSchema::NotYet,
            OfferSchema::NotCovered,
        ] {
            let json = serde_json::to_value(&described).unwrap();
            let sent: Offer = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&sent).unwrap(), json);
        }
    }
}
