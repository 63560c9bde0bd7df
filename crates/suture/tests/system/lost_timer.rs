//! A machine whose emulated processor loses its timer while the kernel comes up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use suture_factory::archive::Archive;
use suture_factory::{Log, ShippedKernel, default_cache};
use suture_vm::{GuestKernel, Vm, VmError, kernel_faults};

use crate::site::picked;

/// An init that says what the kernel says then, and never answers.
const SILENT_INIT: &str = "#!/bin/sh\n\
    echo 'rcu: \tPossible timer handling issue on cpu=1 timer-softirq=8'\n\
    while true; do sleep 1000; done\n";

#[test]
fn a_boot_that_lost_a_timer_is_begun_again_and_not_for_ever() -> anyhow::Result<()> {
    let archive = Archive::new(&default_cache(), Log::none());
    let shipped = ShippedKernel::fetch(&default_cache(), &archive, &picked().release)?;
    let folder = tempfile::tempdir()?;
    let init = folder.path().join("init");
    std::fs::write(&init, SILENT_INIT)?;
    let boots = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&boots);
    let booted = Vm::builder(GuestKernel::new(shipped.vmlinuz(), shipped.modules()))
        .guest_init(&init)
        .boot_timeout(Duration::from_secs(40))
        .console_to(move |line| {
            counted.fetch_add(usize::from(line.contains("Run /init")), Ordering::Relaxed);
        })
        .boot();
    let Err(VmError::NoAnswer { console, .. }) = booted else {
        anyhow::bail!("{:?}", booted.map(|vm| vm.console()));
    };
    assert_eq!(boots.load(Ordering::Relaxed), 3, "{console}");
    assert!(console.contains("Possible timer"), "{console}");
    assert!(kernel_faults(&console).is_empty(), "{console}");
    Ok(())
}
