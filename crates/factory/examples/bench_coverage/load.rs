//! Loads modules that were built, one after another, into the stock kernel.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use suture_factory::{Workbench, check_use};
use suture_vm::{GuestKernel, Vm, kernel_faults};

use crate::row::{Function, Outcome, Row};

/// Where a guest keeps the modules that are loaded.
const FOLDER: &str = "/tmp/modules";

struct Loadable<'a> {
    file: &'a str,
    module: &'a str,
    functions: &'a [Function],
}

/// Boots the kernel and loads one of `each` modules, each of which replaces the one before.
pub fn load(
    rows: &[Row],
    from: &str,
    bench: &Workbench<'_>,
    modules: &Path,
    each: usize,
) -> Result<()> {
    let of_step = rows.iter().filter(|row| row.from == from);
    let built = of_step.filter_map(|row| match &row.outcome {
        Outcome::Built { module, functions } => Some(Loadable {
            file: &row.file,
            module,
            functions,
        }),
        _ => None,
    });
    let chosen: Vec<Loadable<'_>> = built.step_by(each).collect();
    let (vmlinuz, folder) = bench.boot_files();
    let mut builder = Vm::builder(GuestKernel::new(vmlinuz, folder)).memory_mib(2048);
    for function in chosen.iter().flat_map(|one| one.functions) {
        if !function.object.is_vmlinux() {
            builder = builder.module_file(function.object.as_str());
        }
    }
    let vm = builder.boot()?;
    vm.shell("mount -t tracefs tracefs /sys/kernel/tracing")?;
    let mut bad = 0;
    for one in &chosen {
        let name = format!("{}.ko", one.module);
        let bytes = std::fs::read(modules.join(&name)).context("a module that was built")?;
        match load_one(&vm, one, &bytes) {
            Ok(in_use) => println!("  loaded {}: {in_use} functions in use", one.file),
            Err(error) => {
                bad += 1;
                println!("  NOT LOADED {}: {error:#}", one.file);
            }
        }
    }
    println!(
        "{} modules loaded one after another, {bad} with a problem",
        chosen.len() - bad
    );
    vm.shutdown()?;
    Ok(())
}

/// Loads one and checks that the kernel uses it; how many of its functions. Those of modules that
/// are not loaded, because they want their hardware, can't be.
fn load_one(vm: &Vm, one: &Loadable<'_>, bytes: &[u8]) -> Result<usize> {
    for function in one
        .functions
        .iter()
        .filter(|function| !function.object.is_vmlinux())
    {
        vm.shell(&format!("modprobe {} || true", function.object))?;
    }
    // What a module that is not patched yet has to complain of is not the patch's doing: a self-test
    // of `ecdh_generic`, which Bluetooth needs, fails in an emulator.
    let before = vm.console().len();
    let path = format!("{FOLDER}/{}.ko", one.module);
    vm.write_file(&path, bytes, 0o600)?;
    let output = vm.shell(&format!(
        "insmod {path}; status=$?; rm {path}; exit $status"
    ))?;
    ensure!(output.success(), "insmod: {}", output.stderr.trim());
    let patch = format!("/sys/kernel/livepatch/{}", one.module);
    // Every wait of the shell below ends by itself, after a minute.
    let script = format!(
        "for i in $(seq 600); do [ \"$(cat {patch}/transition)\" = 0 ] && exit 0; \
         sleep 0.1; done; exit 1"
    );
    ensure!(vm.shell(&script)?.success(), "the transition does not end");
    let known = vm.shell(&format!("cd {patch}; ls -d */*,*"))?.stdout;
    let used = vm
        .shell("cat /sys/kernel/tracing/enabled_functions")?
        .stdout;
    let loaded = vm.shell("cut -d' ' -f1 /proc/modules")?.stdout;
    let mut in_use = 0;
    for function in one.functions {
        let Function {
            object,
            name,
            position,
        } = function;
        if object.is_vmlinux() || loaded.lines().any(|module| module == object.as_str()) {
            let function = (name.as_str(), *position);
            check_use(object, function, &known, &used).map_err(anyhow::Error::msg)?;
            in_use += 1;
        }
    }
    vm.shell(&format!(
        "for m in $(cut -d' ' -f1 /proc/modules | grep ^suture_); do \
         [ $m = {} ] || rmmod $m; done",
        one.module
    ))?;
    let console = vm.console();
    let faults = kernel_faults(console.get(before..).unwrap_or(&console));
    ensure!(faults.is_empty(), "the kernel reports {faults:?}");
    Ok(in_use)
}
