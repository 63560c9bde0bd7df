//! PID 1 of a guest: sets the machine up and serves the host's requests.

fn main() {
    suture_vm::guest::run_if_init();
    eprintln!("guest-init is the first process of a virtual machine and does nothing elsewhere");
    std::process::exit(2);
}
