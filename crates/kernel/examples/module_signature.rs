//! Signs a module as `scripts/sign-file` of the kernel does, or checks one:
//!
//! ```text
//! module_signature sign KEY.pem CERTIFICATE.pem MODULE.ko SIGNED.ko
//! module_signature verify CERTIFICATE.pem SIGNED.ko
//! ```

use std::error::Error;
use std::{env, fs};

use suture_kernel::signature::{SigningKey, certificate_from_pem, sign, verify};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["sign", key, certificate, module, signed] => {
            let key = SigningKey::from_pem(&fs::read_to_string(key)?)?;
            let certificate = certificate_from_pem(&fs::read_to_string(certificate)?)?;
            fs::write(signed, sign(&fs::read(module)?, &key, &certificate)?)?;
        }
        ["verify", certificate, module] => {
            let certificate = certificate_from_pem(&fs::read_to_string(certificate)?)?;
            let module = fs::read(module)?;
            println!(
                "good signature over {} bytes",
                verify(&module, &[certificate])?.len()
            );
        }
        _ => return Err("expected `sign` or `verify`, see the head of this example".into()),
    }
    Ok(())
}
