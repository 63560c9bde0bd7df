//! Whether the kernel says that it redirects the calls of functions.

use suture_kernel::ObjectName;

use crate::glue::GlueFunction;

/// The functions of an object that are redirected, of which all have to be. Of an object that is
/// not loaded nothing can be redirected yet.
pub(super) fn used(
    object: &ObjectName,
    functions: &[GlueFunction],
    loaded: bool,
    known: &str,
    enabled: &str,
) -> Result<Vec<String>, String> {
    let mut used = Vec::new();
    for function in functions {
        let (name, position) = (function.old_name.as_str(), function.old_sympos);
        if loaded {
            check_use(object, (name, position), known, enabled)?;
            used.push(name.to_owned());
        } else {
            check_listed(object, (name, position), known)?;
        }
    }
    Ok(used)
}

/// Checks that the kernel knows of a patched function (its name, and its position among those of
/// that name) and redirects its calls.
///
/// `known` lists the patch's functions as `OBJECT/FUNCTION,POSITION` (kernel:
/// Documentation/ABI/testing/sysfs-kernel-livepatch), `enabled` is ftrace's list of handled
/// functions.
pub fn check_use(
    object: &ObjectName,
    function: (&str, u64),
    known: &str,
    enabled: &str,
) -> Result<(), String> {
    check_listed(object, function, known)?;
    let name = function.0;
    if enabled.lines().any(|line| redirects(line, object, name)) {
        return Ok(());
    }
    Err(format!(
        "the kernel does not redirect the calls of `{name}` in {object}"
    ))
}

fn check_listed(
    object: &ObjectName,
    (name, position): (&str, u64),
    known: &str,
) -> Result<(), String> {
    // A name that is unique in its object is shown with the position 1.
    let place = format!("{object}/{name},{}", position.max(1));
    if known.lines().any(|line| line == place) {
        return Ok(());
    }
    Err(format!("the kernel does not list `{place}` for the patch"))
}

/// Whether a line such as `pipe_read (1) R I   tramp: …` or `pep_ioctl [pn_pep] (1) R I` is of
/// this function and has the flag `I`: a handler changes where the call goes on.
fn redirects(line: &str, object: &ObjectName, function: &str) -> bool {
    let Some((name, rest)) = line.split_once('(') else {
        return false;
    };
    let mut words = name.split_whitespace();
    let same_name = words.next() == Some(function);
    let module = words.next().map(|word| word.trim_matches(['[', ']']));
    let same_object = match module {
        None => object.is_vmlinux(),
        Some(module) => module == object.as_str(),
    };
    let flags = rest.split_once(')').map_or("", |(_, flags)| flags);
    let flags = flags.split("tramp:").next().unwrap_or_default();
    let flags = flags.split("->").next().unwrap_or_default();
    same_name && same_object && flags.split_whitespace().any(|flag| flag == "I")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used_of(object: &str, enabled: &str) -> Result<Vec<String>, String> {
        let function = GlueFunction {
            old_name: "pep_ioctl".into(),
            old_sympos: 0,
            alias: "a".into(),
        };
        let known = format!("{object}/pep_ioctl,1\n");
        used(&object.parse().unwrap(), &[function], true, &known, enabled)
    }

    #[test]
    fn a_redirected_function_has_the_flag_of_a_changed_address() {
        let line = "pep_ioctl [pn_pep] (1) R I     \ttramp: 0xffffffffc0 (klp_ftrace_handler+0x0/0x1d0) ->klp_ftrace_handler+0x0/0x1d0";
        assert_eq!(used_of("pn_pep", line).unwrap(), ["pep_ioctl"]);
        assert!(used_of("vmlinux", line).is_err(), "another object's");
        let traced = "pep_ioctl [pn_pep] (1) R \ttramp: 0xffffffffc0 (I+0x0/0x1d0)";
        assert!(used_of("pn_pep", traced).is_err(), "only traced");
        assert!(used_of("pn_pep", "").is_err());
        assert_eq!(used_of("vmlinux", "pep_ioctl (2) R I\n").unwrap().len(), 1);
    }

    #[test]
    fn a_function_that_the_patch_does_not_list_is_missed() {
        let function = GlueFunction {
            old_name: "f".into(),
            old_sympos: 2,
            alias: "a".into(),
        };
        let vmlinux = "vmlinux".parse().unwrap();
        let error = used(&vmlinux, &[function], false, "vmlinux/f,1\n", "").unwrap_err();
        assert!(error.contains("vmlinux/f,2"), "{error}");
    }
}
