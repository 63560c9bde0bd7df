//! What the host tells the guest through the initramfs.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Where the configuration lies in the initramfs.
pub const CONFIG_PATH: &str = "/etc/guest-init.json";

/// The guest's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestConfig {
    pub hostname: String,
    /// Module files to load at boot, in this order.
    pub modules: Vec<String>,
    pub network: Option<NetworkConfig>,
    /// The device over which the host talks.
    pub port: String,
    /// Where the first virtio disk is mounted.
    pub disk: Option<String>,
}

/// The guest's network as QEMU's user networking expects it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    pub interface: String,
    /// Address with prefix length.
    pub address: String,
    pub gateway: String,
}

impl GuestConfig {
    /// Reads [`CONFIG_PATH`].
    pub fn read() -> Result<Self> {
        let bytes = fs::read(CONFIG_PATH).context(CONFIG_PATH)?;
        serde_json::from_slice(&bytes).context(CONFIG_PATH)
    }
}
