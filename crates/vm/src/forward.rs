//! Ports of the guest that this machine can reach.

use std::net::SocketAddr;

/// The address of this machine from which the network leads to the guest's port, in what QEMU's
/// monitor says to `info usernet`: a table with the lines `TCP[HOST_FORWARD] FD ADDRESS PORT
/// ADDRESS PORT …`.
pub fn forwarded(table: &str, guest_port: u16) -> Option<SocketAddr> {
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? != "TCP[HOST_FORWARD]" {
            return None;
        }
        let (address, port) = (words.nth(1)?, words.next()?);
        let to: u16 = words.nth(1)?.parse().ok()?;
        let here = SocketAddr::new(address.parse().ok()?, port.parse().ok()?);
        (to == guest_port).then_some(here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Hub -1 (n0):\r\n  \
        Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
        TCP[ESTABLISHED]   14       10.0.2.15 55038       127.0.0.1  8443     0     0\r\n  \
        TCP[HOST_FORWARD]  12       127.0.0.1 40123       10.0.2.15    80     0     0\r\n  \
        TCP[HOST_FORWARD]  13       127.0.0.1 40124       10.0.2.15    22     0     0\r\n";

    #[test]
    fn the_way_to_a_port_is_found_among_others() {
        assert_eq!(forwarded(TABLE, 22), "127.0.0.1:40124".parse().ok());
        assert_eq!(forwarded(TABLE, 443), None);
        assert_eq!(forwarded("", 22), None);
    }
}
